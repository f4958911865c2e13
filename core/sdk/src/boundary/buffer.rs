//! Values that are either our own or stand in memory that another side made.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use lmprobe_abi as abi;

/// Memory of another side, freed as its maker says when the last buffer over it is gone.
pub(crate) enum Foreign {
    /// A table.
    Table(abi::lmprobe_table),
    /// A tensor; never null.
    Tensor(*mut abi::DLManagedTensorVersioned),
}

// SAFETY: the memory is only read, and both interfaces allow the release on any thread.
unsafe impl Send for Foreign {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        match self {
            Self::Table(table) => {
                if let Some(release) = table.array.release {
                    // SAFETY: a struct with a release is alive, and this is its only owner.
                    unsafe { release(&raw mut table.array) };
                }
                if let Some(release) = table.schema.release {
                    // SAFETY: as above.
                    unsafe { release(&raw mut table.schema) };
                }
            }
            Self::Tensor(tensor) => {
                // SAFETY: the pointer is not null by construction, and this is its only owner.
                unsafe {
                    if let Some(deleter) = (**tensor).deleter {
                        deleter(*tensor);
                    }
                }
            }
        }
    }
}

/// Values in a row.
pub(crate) enum Buffer<T> {
    /// Our own.
    Owned(Vec<T>),
    /// Of another side, which `keep` keeps alive.
    Foreign {
        /// The first value: aligned, and `len` values are readable as long as `keep` lives.
        ptr: *const T,
        /// Number of values.
        len: usize,
        /// The owner of the memory.
        keep: Arc<Foreign>,
    },
}

// SAFETY: values are only read, and the owner may be dropped on any thread.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T: Copy> Buffer<T> {
    /// The `len` values at `ptr`; a copy of them if they are not aligned.
    ///
    /// # Safety
    /// Unless `len` is 0, `ptr` is readable for `len` initialised values as long as `keep` lives, and nobody writes to them.
    pub(crate) unsafe fn foreign(ptr: *const T, len: usize, keep: &Arc<Foreign>) -> Self {
        if len == 0 {
            return Self::Owned(Vec::new());
        }
        if ptr.is_aligned() {
            return Self::Foreign { ptr, len, keep: keep.clone() };
        }
        // SAFETY: the caller holds that `len` values are readable.
        Self::Owned((0..len).map(|index| unsafe { ptr.add(index).read_unaligned() }).collect())
    }
}

impl<T> Buffer<T> {
    /// Whether the memory is of another side.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            // SAFETY: `foreign` is the only maker, and its caller held that the values are readable while `keep` lives.
            Self::Foreign { ptr, len, .. } => unsafe { std::slice::from_raw_parts(*ptr, *len) },
        }
    }
}

impl<T: Clone> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Owned(values) => Self::Owned(values.clone()),
            Self::Foreign { ptr, len, keep } => Self::Foreign { ptr: *ptr, len: *len, keep: keep.clone() },
        }
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Owned(values)
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Text between two offsets.
///
/// # Safety
/// `bytes` was checked to be UTF-8, and both ends were checked to be in range and on the border of a character.
pub(crate) unsafe fn checked_text(bytes: &[u8], start: usize, end: usize) -> &str {
    // SAFETY: the caller holds what both functions ask for.
    unsafe { std::str::from_utf8_unchecked(bytes.get_unchecked(start..end)) }
}
