//! What a plugin says when it fails.

use std::mem::size_of;

use lmprobe_abi::{lmprobe_buf, lmprobe_error};

/// Of a message or a path; the rest is cut.
const TEXT_BYTES: usize = 64 << 10;

/// An error for a plugin to fill. Released once, when dropped.
#[derive(Debug)]
pub struct ErrorSlot(lmprobe_error);

/// What a plugin filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignError {
    /// The plugin's own number.
    pub code: i32,
    /// What was wrong.
    pub message: String,
    /// JSON pointer into the parameters, or the name of a column; may be empty.
    pub path: String,
}

impl ErrorSlot {
    /// An empty error.
    pub fn new() -> Self {
        let empty = || lmprobe_buf { ptr: std::ptr::null_mut(), len: 0, ctx: std::ptr::null_mut(), release: None };
        let struct_size = u32::try_from(size_of::<lmprobe_error>()).expect("the size is frozen");
        Self(lmprobe_error { struct_size, code: 0, message: empty(), path: empty() })
    }

    /// For the last argument of a call.
    pub fn as_mut_ptr(&mut self) -> *mut lmprobe_error {
        &raw mut self.0
    }

    /// What was filled in. Bytes that are not UTF-8 are replaced, and a missing message is `no message`.
    pub fn read(&self) -> ForeignError {
        // SAFETY: what a plugin fills in are readable bytes, by the interface.
        let (message, path) = unsafe { (lossy(&self.0.message), lossy(&self.0.path)) };
        ForeignError { code: self.0.code, message: if message.trim().is_empty() { "no message".to_owned() } else { message }, path }
    }
}

impl Default for ErrorSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ErrorSlot {
    fn drop(&mut self) {
        for text in [&mut self.0.message, &mut self.0.path] {
            crate::owned::release_buf(text);
        }
    }
}

/// # Safety
/// `text.ptr` is null or points to `text.len` readable bytes.
unsafe fn lossy(text: &lmprobe_buf) -> String {
    if text.ptr.is_null() || text.len == 0 {
        return String::new();
    }
    // SAFETY: the caller promises the bytes; fewer are read if there are very many.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr, text.len.min(TEXT_BYTES)) };
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ffi::c_void;

    use super::*;

    unsafe extern "C" fn count(buf: *mut lmprobe_buf) {
        // SAFETY: the test made the buffer, with a counter as its context.
        unsafe {
            let counter = (*buf).ctx.cast::<Cell<u32>>();
            (*counter).set((*counter).get() + 1);
        }
    }

    fn filled(message: &mut [u8], releases: &Cell<u32>) -> ErrorSlot {
        let mut slot = ErrorSlot::new();
        let ctx = std::ptr::from_ref(releases).cast_mut().cast::<c_void>();
        slot.0.message = lmprobe_buf { ptr: message.as_mut_ptr(), len: message.len(), ctx, release: Some(count) };
        slot
    }

    #[test]
    fn a_message_is_read_and_released_once() {
        let releases = Cell::new(0);
        let mut bytes = b"no \xff here".to_vec();
        let slot = filled(&mut bytes, &releases);
        assert_eq!(slot.read(), ForeignError { code: 0, message: "no \u{fffd} here".to_owned(), path: String::new() });
        drop(slot);
        assert_eq!(releases.get(), 1);
    }

    #[test]
    fn a_missing_message_is_said() {
        let mut slot = ErrorSlot::new();
        assert_eq!(slot.read().message, "no message");
        slot.0.message.len = 7; // null, but not empty
        assert_eq!(slot.read().message, "no message");
    }

    #[test]
    fn the_plugin_is_told_the_size() {
        // SAFETY: the slot is alive.
        assert_eq!(unsafe { (*ErrorSlot::new().as_mut_ptr()).struct_size }, 72);
    }
}
