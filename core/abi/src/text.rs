//! Borrowed and owned bytes.

use core::ffi::c_void;

/// Borrowed UTF-8, not terminated by a zero byte. `ptr` may be null if `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_str {
    /// The first byte.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Owned bytes: UTF-8, unless said otherwise. All zero is empty and needs no release.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_buf {
    /// The first byte.
    pub ptr: *mut u8,
    /// Number of bytes.
    pub len: usize,
    /// For the maker.
    pub ctx: *mut c_void,
    /// Frees the bytes; called at most once. Null: nothing is to be freed.
    pub release: Option<unsafe extern "C" fn(buf: *mut lmprobe_buf)>,
}
