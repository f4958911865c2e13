//! Borrowed and owned bytes of the interface.

use std::ptr;

use lmprobe_abi as abi;

use crate::{Error, Result};

/// Size of an error in 1.0, frozen.
const SMALLEST_ERROR: u32 = 72;

/// Lends a text for a call.
pub(crate) fn lend(text: &str) -> abi::lmprobe_str {
    abi::lmprobe_str { ptr: text.as_ptr(), len: text.len() }
}

/// Reads a text that was lent.
///
/// # Safety
/// `text` is readable for `'a`.
pub(crate) unsafe fn read<'a>(text: abi::lmprobe_str) -> Result<&'a str> {
    if text.len == 0 {
        return Ok("");
    }
    if text.ptr.is_null() || isize::try_from(text.len).is_err() {
        return Err(Error::internal("the host lent a text that is nowhere"));
    }
    // SAFETY: the pointer is not null, the length fits, and the caller holds that the bytes are readable.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr, text.len) };
    std::str::from_utf8(bytes).map_err(|error| Error::input(format!("the host lent a text that is not UTF-8: {error}")))
}

/// Owned bytes that release themselves.
pub(crate) fn give(text: String) -> abi::lmprobe_buf {
    if text.is_empty() {
        return empty();
    }
    let bytes = Box::into_raw(text.into_bytes().into_boxed_slice());
    abi::lmprobe_buf { ptr: bytes.cast(), len: bytes.len(), ctx: ptr::null_mut(), release: Some(release) }
}

/// No bytes.
pub(crate) fn empty() -> abi::lmprobe_buf {
    abi::lmprobe_buf { ptr: ptr::null_mut(), len: 0, ctx: ptr::null_mut(), release: None }
}

/// Frees what `give` made.
unsafe extern "C" fn release(buf: *mut abi::lmprobe_buf) {
    // SAFETY: the bytes come from `Box::into_raw` in `give`, and the interface says that this is called at most once, with a valid pointer.
    unsafe {
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut((*buf).ptr, (*buf).len)));
        *buf = empty();
    }
}

/// Takes over bytes of the host: a copy of them, lossily read as UTF-8. The original is released.
///
/// # Safety
/// `buf` is empty or alive, and nobody else releases it.
pub(crate) unsafe fn take(mut buf: abi::lmprobe_buf) -> String {
    let text = if buf.ptr.is_null() || buf.len == 0 {
        String::new()
    } else {
        // SAFETY: bytes of a living buffer are readable.
        String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(buf.ptr, buf.len) }).into_owned()
    };
    if let Some(release) = buf.release {
        // SAFETY: this is the only release.
        unsafe { release(&raw mut buf) };
    }
    text
}

/// An error for a callee to fill.
pub(crate) fn blank_error() -> abi::lmprobe_error {
    #[expect(clippy::cast_possible_truncation, reason = "72 bytes")]
    let struct_size = size_of::<abi::lmprobe_error>() as u32;
    abi::lmprobe_error { struct_size, code: 0, message: empty(), path: empty() }
}

/// Fills an error of the host.
///
/// # Safety
/// `error` is null or points to an error that the caller zeroed.
pub(crate) unsafe fn fill(error: *mut abi::lmprobe_error, message: String, path: String) {
    // SAFETY: the caller holds that the pointer is valid; a struct that is too small for the texts is left alone.
    unsafe {
        if error.is_null() || (*error).struct_size < SMALLEST_ERROR {
            return;
        }
        (*error).message = give(message);
        (*error).path = give(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_and_are_released() {
        // SAFETY: each buffer is taken once, and the text outlives its loan.
        unsafe {
            assert_eq!(take(give("süß".to_owned())), "süß");
            assert_eq!(take(give(String::new())), "");
            assert_eq!(read(lend("gout")).unwrap(), "gout");
            assert!(read(abi::lmprobe_str { ptr: ptr::null(), len: 1 }).is_err());
            let bytes = [0xff];
            assert!(read(abi::lmprobe_str { ptr: bytes.as_ptr(), len: 1 }).unwrap_err().message().contains("UTF-8"));
        }
    }
}
