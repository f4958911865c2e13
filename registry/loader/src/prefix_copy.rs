//! Reads a table of functions whose maker knew more or fewer fields than we do.

use lmprobe_abi::{
    lmprobe_component, lmprobe_encoder_vt, lmprobe_host, lmprobe_metric_vt, lmprobe_objective_vt, lmprobe_plugin, lmprobe_prober_vt, lmprobe_task_vt,
};

/// The largest table anyone can mean.
const LARGEST: u32 = 65_536;

/// A table that begins with its size.
///
/// # Safety
/// The first four bytes are `struct_size`, every field may be all zero, and there is no padding.
pub unsafe trait Prefixed: Copy {
    /// Its name in the header.
    const NAME: &'static str;
    /// Its size in version 1.0. Frozen: a later minor adds fields, which older makers do not have.
    const V1_0_SIZE: u32;
}

macro_rules! prefixed {
    ($($name:ident $size:literal,)*) => {
        $(
            // SAFETY: integers, pointers and optional functions, all of which may be zero; the layout is asserted in the crate of the interface.
            unsafe impl Prefixed for $name {
                const NAME: &'static str = stringify!($name);
                const V1_0_SIZE: u32 = $size;
            }
        )*
        #[cfg(test)]
        const SIZES: &[(&str, u32)] = &[$((stringify!($name), $size)),*];
    };
}

prefixed! {
    lmprobe_host 104,
    lmprobe_plugin 96,
    lmprobe_component 144,
    lmprobe_encoder_vt 40,
    lmprobe_prober_vt 16,
    lmprobe_objective_vt 40,
    lmprobe_task_vt 16,
    lmprobe_metric_vt 16,
}

/// A size that no maker can have meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`struct_size` of `{table}` is {found}; it is a multiple of 8, at least {least} and at most {LARGEST}")]
pub struct SizeError {
    /// Name of the table.
    pub table: &'static str,
    /// Its `struct_size`.
    pub found: u32,
    /// Its size in version 1.0.
    pub least: u32,
}

/// Copies as much of a table as both sides know; the rest is zero, so a function that its maker did not know is null.
///
/// # Errors
/// If the size is impossible. Then only the size has been read.
///
/// # Safety
/// `table` points to as many readable bytes as its first four say, and to four at least. It need not be aligned.
pub unsafe fn prefix_copy<T: Prefixed>(table: *const T) -> Result<T, SizeError> {
    // SAFETY: the caller promises four bytes.
    let found = unsafe { table.cast::<u32>().read_unaligned() };
    if found < T::V1_0_SIZE || found > LARGEST || !found.is_multiple_of(8) {
        return Err(SizeError { table: T::NAME, found, least: T::V1_0_SIZE });
    }
    let mut copy = std::mem::MaybeUninit::<T>::zeroed();
    let size = size_of::<T>().min(found as usize);
    // SAFETY: `size` bytes are there on either side, and a fresh local overlaps nothing; zero is a value of every field, by the trait.
    unsafe {
        std::ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size);
        Ok(copy.assume_init())
    }
}

#[cfg(test)]
#[expect(clippy::cast_ptr_alignment, reason = "a table need not be aligned")]
mod tests {
    use lmprobe_abi::lmprobe_instance;

    use super::*;

    unsafe extern "C" fn destroy(_: *mut lmprobe_instance) {}

    fn component(struct_size: u32) -> lmprobe_component {
        // SAFETY: all zero is a value of the table.
        let zero: lmprobe_component = unsafe { std::mem::zeroed() };
        lmprobe_component { struct_size, kind: 5, destroy: Some(destroy), ..zero }
    }

    #[test]
    fn the_sizes_are_those_of_the_frozen_layout() {
        for (name, size) in SIZES {
            let (_, frozen, _) = lmprobe_abi::layout::LAYOUT.iter().find(|(frozen, ..)| frozen == name).unwrap();
            assert_eq!(*size as usize, *frozen, "{name}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused_and_nothing_else_is_read() {
        for size in [0, 8, 136, 145, 148, 65_537, 65_544, u32::MAX] {
            let only_the_size = size; // four bytes, so that reading a fifth is an error under miri
            // SAFETY: the size is there; nothing else is read, which is what this tests.
            let error = unsafe { prefix_copy((&raw const only_the_size).cast::<lmprobe_component>()) }.unwrap_err();
            assert_eq!(error, SizeError { table: "lmprobe_component", found: size, least: 144 });
        }
        assert_eq!(
            SizeError { table: "lmprobe_component", found: 8, least: 144 }.to_string(),
            "`struct_size` of `lmprobe_component` is 8; it is a multiple of 8, at least 144 and at most 65536"
        );
    }

    #[test]
    fn a_longer_table_is_cut() {
        let longer = (component(144 + 64), [u64::MAX; 8]);
        // SAFETY: as many bytes are there as the size says.
        let copy = unsafe { prefix_copy(&raw const longer.0) }.unwrap();
        assert_eq!((copy.kind, copy.destroy.is_some(), copy.create.is_none()), (5, true, true));
    }

    #[test]
    fn what_an_older_maker_did_not_know_is_null() {
        /// A table of a later minor, with one function more.
        #[derive(Clone, Copy)]
        #[repr(C)]
        struct Later {
            component: lmprobe_component,
            more: Option<unsafe extern "C" fn()>,
        }
        // SAFETY: as of `lmprobe_component`, with one optional function behind.
        unsafe impl Prefixed for Later {
            const NAME: &'static str = "later";
            const V1_0_SIZE: u32 = 144;
        }
        let old = component(144);
        // SAFETY: 144 bytes are there, and no more, so that reading further is an error under miri.
        let copy = unsafe { prefix_copy((&raw const old).cast::<Later>()) }.unwrap();
        assert!(copy.more.is_none() && copy.component.destroy.is_some());
    }

    #[test]
    fn a_table_need_not_be_aligned() {
        let mut bytes = vec![0u8; 1 + 144];
        let table = component(144);
        // SAFETY: 144 bytes are there on either side.
        let copy = unsafe {
            std::ptr::copy_nonoverlapping((&raw const table).cast::<u8>(), bytes.as_mut_ptr().add(1), 144);
            prefix_copy(bytes.as_ptr().add(1).cast::<lmprobe_component>())
        };
        assert_eq!(copy.unwrap().kind, 5);
    }
}
