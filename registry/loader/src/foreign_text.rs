//! Texts that a plugin lends.

use lmprobe_abi::lmprobe_str;

/// Copies a borrowed text of at most `limit` bytes.
///
/// # Errors
/// What is wrong with it: a null pointer, its length, its encoding.
///
/// # Safety
/// `text.ptr` is null or points to `text.len` readable bytes.
pub(crate) unsafe fn copied(text: lmprobe_str, limit: usize) -> Result<String, String> {
    if text.len == 0 {
        return Ok(String::new());
    }
    if text.len > limit {
        return Err(format!("it has {} bytes; {limit} is the most", text.len));
    }
    if text.ptr.is_null() {
        return Err(format!("its pointer is null, but it has {} bytes", text.len));
    }
    // SAFETY: the caller promises the bytes, and the length is below the limit.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr, text.len) };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(format!("byte {} is not UTF-8", error.valid_up_to())),
    }
}
