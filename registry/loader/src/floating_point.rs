//! Keeps a plugin from changing how this process computes.
//!
//! A library that was linked with `-ffast-math` makes the processor take the smallest numbers for zero, from the moment it is loaded and for every computation of
//! the thread: numbers of built-in models would change because a plugin is there. The control register is therefore put back after each call.
//!
//! Only the control bits count. The exception flags in the same register change in ordinary arithmetic.

/// Runs `call`, puts the control register back to what it was, also if `call` panics, and says whether it had changed.
pub fn guarded<T>(call: impl FnOnce() -> T) -> (T, bool) {
    let restore = Restore(control());
    let result = call();
    let changed = control() != restore.0;
    drop(restore);
    (result, changed)
}

struct Restore(u64);

impl Drop for Restore {
    fn drop(&mut self) {
        if control() != self.0 {
            set_control(self.0);
        }
    }
}

/// Without the six exception flags.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const CONTROL_BITS: u32 = !0x3f;

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn register() -> u32 {
    let mut value = 0u32;
    // SAFETY: stores four bytes at the given place.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
    value
}

/// The bits that say how this thread computes.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub fn control() -> u64 {
    u64::from(register() & CONTROL_BITS)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn set_control(bits: u64) {
    let flags = register() & !CONTROL_BITS;
    let value = u32::try_from(bits).expect("the register has 32 bits") | flags;
    // SAFETY: loads four bytes that the processor gave us before, so no reserved bit is set.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, readonly, preserves_flags)) };
}

/// The bits that say how this thread computes.
#[cfg(all(target_arch = "aarch64", not(miri)))]
pub fn control() -> u64 {
    let value: u64;
    // SAFETY: reads a register. The exception flags are in another one.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn set_control(bits: u64) {
    // SAFETY: writes a value that the processor gave us before.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) bits, options(nomem, nostack, preserves_flags)) };
}

/// The bits that say how this thread computes: unknown on this machine, so nothing is guarded.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn control() -> u64 {
    0
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn set_control(_: u64) {}

#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests {
    use std::hint::black_box;

    use super::*;

    const FLUSH_AND_ZERO: u64 = 0x8040;

    #[test]
    fn the_register_is_put_back_and_the_change_is_told() {
        let before = control();
        let (halved, changed) = guarded(|| {
            set_control(before | FLUSH_AND_ZERO);
            // The compiler knows nothing of the register: without the outer box it may multiply later.
            black_box(black_box(f32::MIN_POSITIVE) * black_box(0.5))
        });
        assert_eq!((halved, changed, control()), (0.0, true, before));
        assert!(black_box(f32::MIN_POSITIVE) * black_box(0.5) > 0.0);
    }

    #[test]
    fn exception_flags_are_no_change() {
        let (_, changed) = guarded(|| black_box(1.0f32) / black_box(3.0)); // inexact
        assert!(!changed);
    }

    #[test]
    fn a_panic_puts_it_back_too() {
        let before = control();
        let _ = std::panic::catch_unwind(|| {
            guarded(|| {
                set_control(before | FLUSH_AND_ZERO);
                std::panic::resume_unwind(Box::new(()));
            })
        });
        assert_eq!(control(), before);
    }
}
