//! Which vector instructions run, and how one kernel source becomes one function per instruction set.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set the kernels are compiled for.
///
/// It governs this crate's own kernels. The products of [`linear`](crate::linear) and its gradients come from the `gemm`
/// crate, which chooses by itself, always the widest set the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// Sixteen lanes: AVX-512 F, VL, BW and DQ, with FMA.
    Avx512,
    /// Eight lanes: AVX2 with FMA.
    Avx2,
    /// Eight lanes of plain Rust, for any processor.
    Portable,
}

/// The environment variable that forces an instruction set.
const VARIABLE: &str = "LMPROBE_SIMD";

/// No choice has been made yet.
const UNDECIDED: u8 = u8::MAX;

/// The instruction set in force, as an index into [`Simd::ALL`].
static SELECTED: AtomicU8 = AtomicU8::new(UNDECIDED);

/// The first choice, made once so that its warning is given once.
static FIRST: OnceLock<Simd> = OnceLock::new();

impl Simd {
    /// Every instruction set, the fastest first.
    const ALL: [Simd; 3] = [Simd::Avx512, Simd::Avx2, Simd::Portable];

    /// The name [`select_simd`] and `LMPROBE_SIMD` know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Simd::Avx512 => "avx512",
            Simd::Avx2 => "avx2",
            Simd::Portable => "portable",
        }
    }

    /// Whether this processor can run it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && Simd::Avx2.is_supported()
            }
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Simd::Avx512 | Simd::Avx2 => false,
            Simd::Portable => true,
        }
    }

    /// Whether products of bfloat16 pairs are one instruction: AVX-512 with its BF16 extension.
    #[must_use]
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == Simd::Avx512 {
            return self.is_supported() && is_x86_feature_detected!("avx512bf16");
        }
        false
    }

    /// What this processor can run, the fastest first. The last one is always [`Simd::Portable`].
    pub fn supported() -> impl Iterator<Item = Simd> {
        Simd::ALL.into_iter().filter(|simd| simd.is_supported())
    }

    /// The fastest instruction set of this processor.
    fn best() -> Simd {
        Simd::supported().next().unwrap_or(Simd::Portable)
    }

    fn index(self) -> u8 {
        self as u8
    }

    /// Looks a name up, and refuses what this processor cannot run.
    fn from_name(name: &str) -> Result<Simd, String> {
        let names = || Simd::supported().map(Simd::name).collect::<Vec<_>>().join(", ");
        let simd = Simd::ALL
            .into_iter()
            .find(|simd| simd.name() == name)
            .ok_or_else(|| format!("unknown instruction set `{name}`, this processor has: {}", names()))?;
        if simd.is_supported() { Ok(simd) } else { Err(format!("this processor does not have `{name}`, it has: {}", names())) }
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The instruction set in force: the one last selected with [`select_simd`], else the one `LMPROBE_SIMD` names, else the
/// fastest of this processor.
///
/// A bad `LMPROBE_SIMD` is said once on standard error and the fastest set runs. A program that wants to stop instead
/// asks [`simd_from_environment`] first.
#[must_use]
pub fn simd() -> Simd {
    let index = SELECTED.load(Ordering::Relaxed);
    if let Some(simd) = Simd::ALL.get(usize::from(index)) {
        return *simd;
    }
    let simd = *FIRST.get_or_init(|| {
        simd_from_environment().unwrap_or_else(|problem| {
            let best = Simd::best();
            eprintln!("warning: {problem}; running `{best}`");
            best
        })
    });
    // A selection made meanwhile by another thread wins, so this only replaces the undecided state.
    let _ = SELECTED.compare_exchange(UNDECIDED, simd.index(), Ordering::Relaxed, Ordering::Relaxed);
    simd
}

/// What `LMPROBE_SIMD` asks for, or the fastest instruction set of this processor where it is unset or empty.
///
/// # Errors
///
/// The variable holds an unknown name, or one this processor cannot run.
pub fn simd_from_environment() -> Result<Simd, String> {
    match std::env::var(VARIABLE) {
        Ok(name) if !name.is_empty() => Simd::from_name(&name).map_err(|problem| format!("{VARIABLE}: {problem}")),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Simd::best()),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{VARIABLE}: not a name")),
    }
}

/// Selects the instruction set of the whole process by its name: `avx512`, `avx2` or `portable`.
///
/// The paths round differently in the last bit, so a program selects once, before it computes.
///
/// # Errors
///
/// The name is unknown, or this processor cannot run it. The selection then stays as it was.
pub fn select_simd(name: &str) -> Result<Simd, String> {
    let simd = Simd::from_name(name)?;
    SELECTED.store(simd.index(), Ordering::Relaxed);
    Ok(simd)
}

/// Writes a kernel once, generic over [`Lanes`](crate::lanes::Lanes), and compiles it for every instruction set.
///
/// The generated function takes the instruction set as its first argument. Helpers a body calls must be
/// `#[inline(always)]`: a function that is not inlined would be compiled without the vector instructions.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$L:ident>($lanes:ident $(, $argument:ident : $kind:ty)* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name(simd: $crate::simd::Simd $(, $argument: $kind)*) $(-> $result)? {
            #[inline(always)]
            fn generic<$L: $crate::lanes::Lanes>($lanes: $L $(, $argument: $kind)*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($argument: $kind),*) $(-> $result)? {
                // SAFETY: the token needs the features this function enables, so whoever runs it has them.
                let lanes = unsafe { $crate::lanes::Avx512::new() };
                generic(lanes $(, $argument)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $kind),*) $(-> $result)? {
                // SAFETY: the token needs the features this function enables, so whoever runs it has them.
                let lanes = unsafe { $crate::lanes::Avx2::new() };
                generic(lanes $(, $argument)*)
            }

            match simd {
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Simd::Avx512 if simd.is_supported() => {
                    // SAFETY: the guard has just asked the processor for every feature the function enables.
                    unsafe { avx512($($argument),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Simd::Avx2 if simd.is_supported() => {
                    // SAFETY: the guard has just asked the processor for every feature the function enables.
                    unsafe { avx2($($argument),*) }
                }
                _ => generic($crate::lanes::Portable $(, $argument)*),
            }
        }
    };
}
pub(crate) use kernel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let problem = Simd::from_name("mmx").unwrap_err();
        assert!(problem.contains("`mmx`") && problem.contains("portable"), "{problem}");
    }

    #[test]
    fn every_supported_name_is_found_again() {
        for simd in Simd::supported() {
            assert_eq!(Simd::from_name(simd.name()), Ok(simd));
        }
    }

    #[test]
    fn an_unsupported_name_is_an_error() {
        for simd in Simd::ALL.into_iter().filter(|simd| !simd.is_supported()) {
            assert!(Simd::from_name(simd.name()).is_err());
        }
    }

    #[test]
    fn the_indices_follow_the_list() {
        for (index, simd) in Simd::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(simd.index()), index);
        }
    }
}
