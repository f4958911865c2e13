//! What went wrong.

use crate::lmprobe_buf;

/// Zeroed by the caller but for `struct_size`, filled by the callee if it fails. The caller releases both texts.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_error {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// For the plugin's own numbers.
    pub code: i32,
    /// What was wrong, where, what to do: a lower-case sentence without a full stop.
    pub message: lmprobe_buf,
    /// JSON pointer into the parameters, or the name of a column; may be empty.
    pub path: lmprobe_buf,
}
