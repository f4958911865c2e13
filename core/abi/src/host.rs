//! What the host offers to plugins.

use crate::{lmprobe_buf, lmprobe_encode_req, lmprobe_error, lmprobe_str, lmprobe_table, lmprobe_tensors};

/// One call of the host into a plugin. Valid until the called function returns; also on threads that are joined before.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_call {
    _opaque: [u8; 0],
}

/// Functions of the host. The table lives as long as the process; a null function is not offered by this host.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_host {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Major version of the host's interface.
    pub abi_major: u16,
    /// Minor version of the host's interface.
    pub abi_minor: u16,
    /// Version of the program, for messages only.
    pub host_version: lmprobe_str,
    /// Tells a person something; levels are `LMPROBE_LOG_*`.
    pub log: Option<unsafe extern "C" fn(call: *const lmprobe_call, level: u32, message: lmprobe_str)>,
    /// `done` of `total` units of a phase (`"questions"`) are finished.
    pub progress: Option<unsafe extern "C" fn(call: *const lmprobe_call, phase: lmprobe_str, done: u64, total: u64)>,
    /// Not 0 if the call should return `LMPROBE_CANCELLED` soon.
    pub cancelled: Option<unsafe extern "C" fn(call: *const lmprobe_call) -> i32>,
    /// Root of all randomness of the call.
    pub seed: Option<unsafe extern "C" fn(call: *const lmprobe_call) -> u64>,
    /// How many threads the call may use.
    pub threads: Option<unsafe extern "C" fn(call: *const lmprobe_call) -> u32>,
    /// Tells that a file that is no parameter was read; its hash goes into the record of the job.
    pub record_input: Option<unsafe extern "C" fn(call: *const lmprobe_call, path: lmprobe_str, error: *mut lmprobe_error) -> i32>,
    /// What the encoder in a slot is, as JSON.
    pub encoder_describe: Option<unsafe extern "C" fn(call: *const lmprobe_call, slot: u32, json: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32>,
    /// Tokenizes with the encoder in a slot; one row a token, as `tokenize` of `lmprobe_encoder_vt`.
    pub encoder_tokenize: Option<
        unsafe extern "C" fn(
            call: *const lmprobe_call,
            slot: u32,
            request: *const lmprobe_encode_req,
            tokens: *mut lmprobe_table,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
    /// Encodes texts or sequences with the encoder in a slot; besides what is wanted, `offsets` `(batch + 1)` comes back.
    pub encoder_encode: Option<
        unsafe extern "C" fn(
            call: *const lmprobe_call,
            slot: u32,
            request: *const lmprobe_encode_req,
            outputs: *mut lmprobe_tensors,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
    /// The text of a vocabulary entry of the encoder in a slot; empty if there is no such entry.
    pub encoder_token: Option<unsafe extern "C" fn(call: *const lmprobe_call, slot: u32, id: u32, text: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32>,
}
