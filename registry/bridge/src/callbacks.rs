//! The functions a plugin may call while it is called.

use std::ffi::{CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use lmprobe_abi::{
    LMPROBE_ABI_MAJOR, LMPROBE_ABI_MINOR, LMPROBE_CANCELLED, LMPROBE_ENCODE_SOME_ROWS, LMPROBE_INPUT, LMPROBE_INTERNAL, LMPROBE_IO, LMPROBE_OK,
    LMPROBE_UNSUPPORTED, lmprobe_buf, lmprobe_call, lmprobe_encode_req, lmprobe_error, lmprobe_host, lmprobe_str, lmprobe_table, lmprobe_tensors,
};
use lmprobe_core::{Error, Result};

use crate::instance::Services;
use crate::request::{Request, Response, Sequences, Texts};
use crate::tensor_crossing::{borrowed, give};
use crate::{table_export, watch};

/// What an `lmprobe_call` points at.
pub(crate) struct CallFrame<'a> {
    pub(crate) services: &'a dyn Services,
    pub(crate) watched: &'a watch::Watched,
}

impl CallFrame<'_> {
    pub(crate) fn pointer(&self) -> *const lmprobe_call {
        ptr::from_ref(self).cast()
    }
}

/// The table of this host; it lives as long as the process.
pub(crate) fn host() -> &'static lmprobe_host {
    /// The pointers in the table are to functions and to a text that lives for ever.
    struct Shared(lmprobe_host);
    // SAFETY: nothing in the table changes.
    unsafe impl Sync for Shared {}
    // SAFETY: nothing in the table belongs to a thread.
    unsafe impl Send for Shared {}
    static HOST: OnceLock<Shared> = OnceLock::new();
    &HOST
        .get_or_init(|| {
            Shared(lmprobe_host {
                struct_size: u32::try_from(size_of::<lmprobe_host>()).expect("a table is small"),
                abi_major: LMPROBE_ABI_MAJOR,
                abi_minor: LMPROBE_ABI_MINOR,
                host_version: borrowed(env!("CARGO_PKG_VERSION")),
                log: Some(log),
                progress: Some(progress),
                cancelled: Some(cancelled),
                seed: Some(seed),
                threads: Some(threads),
                record_input: Some(record_input),
                encoder_describe: Some(encoder_describe),
                encoder_tokenize: Some(encoder_tokenize),
                encoder_encode: Some(encoder_encode),
                encoder_token: Some(encoder_token),
            })
        })
        .0
}

/// The frame behind a call.
///
/// # Safety
/// `call` is null or was made by [`CallFrame::pointer`] and the call lasts.
unsafe fn frame<'a>(call: *const lmprobe_call) -> Option<&'a CallFrame<'a>> {
    // SAFETY: by the caller's promise.
    let frame = unsafe { call.cast::<CallFrame<'a>>().as_ref() }?;
    frame.watched.sign_of_life();
    Some(frame)
}

/// A text of a plugin, damaged UTF-8 replaced.
///
/// # Safety
/// The text is live for the call.
unsafe fn text(text: lmprobe_str) -> String {
    if text.ptr.is_null() || text.len == 0 {
        return String::new();
    }
    // SAFETY: by the caller's promise.
    String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(text.ptr, text.len) }).into_owned()
}

/// A slice of a request; null is empty.
///
/// # Safety
/// `pointer` is null or points at `n` values that live for the call.
unsafe fn slice<'a, T>(pointer: *const T, n: usize) -> &'a [T] {
    // SAFETY: by the caller's promise.
    if pointer.is_null() || n == 0 { &[] } else { unsafe { std::slice::from_raw_parts(pointer, n) } }
}

/// Bytes of the host that a plugin will release.
pub(crate) fn buffer(text: &str) -> lmprobe_buf {
    unsafe extern "C" fn release(buf: *mut lmprobe_buf) {
        // SAFETY: a live buffer that `buffer` made, released once.
        let buf = unsafe { &mut *buf };
        buf.release = None;
        // SAFETY: made by `CString::into_raw`.
        drop(unsafe { CString::from_raw(buf.ctx.cast()) });
        (buf.ptr, buf.len, buf.ctx) = (ptr::null_mut(), 0, ptr::null_mut());
    }
    let text: Vec<u8> = text.bytes().map(|byte| if byte == 0 { b'?' } else { byte }).collect();
    let len = text.len();
    let raw = CString::new(text).unwrap_or_default().into_raw();
    lmprobe_buf { ptr: raw.cast(), len, ctx: raw.cast::<c_void>(), release: Some(release) }
}

/// Runs a callback: a panic must not unwind into foreign code.
///
/// # Safety
/// `call` as for [`frame`]; `error` is null or live.
unsafe fn answer(call: *const lmprobe_call, error: *mut lmprobe_error, work: impl FnOnce(&dyn Services) -> Result<()>) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by the caller's promise.
        let frame = unsafe { frame(call) }.ok_or_else(|| Error::Unsupported("there is no call".into()))?;
        work(frame.services)
    }))
    .unwrap_or_else(|_| Err(Error::Unsupported("the host panicked".into())));
    let Err(failure) = result else { return LMPROBE_OK };
    // SAFETY: by the caller's promise.
    if let Some(error) = unsafe { error.as_mut() } {
        error.message = buffer(&failure.to_string());
    }
    match failure {
        Error::Cancelled => LMPROBE_CANCELLED,
        Error::Unsupported(_) => LMPROBE_UNSUPPORTED,
        Error::Io { .. } => LMPROBE_IO,
        Error::Config(_) | Error::Data { .. } | Error::Frame { .. } => LMPROBE_INPUT,
        _ => LMPROBE_INTERNAL,
    }
}

unsafe extern "C" fn log(call: *const lmprobe_call, level: u32, message: lmprobe_str) {
    // SAFETY: the plugin passes the call it was given and a text that lives for this call.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe {
        if let Some(frame) = frame(call) {
            frame.services.log(level, &text(message));
        }
    }));
}

unsafe extern "C" fn progress(call: *const lmprobe_call, phase: lmprobe_str, done: u64, total: u64) {
    // SAFETY: as in `log`.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe {
        if let Some(frame) = frame(call) {
            frame.services.progress(&text(phase), done, total);
        }
    }));
}

unsafe extern "C" fn cancelled(call: *const lmprobe_call) -> i32 {
    // SAFETY: as in `log`.
    catch_unwind(AssertUnwindSafe(|| unsafe { frame(call) }.is_some_and(|frame| frame.services.is_cancelled()))).map_or(1, i32::from)
}

unsafe extern "C" fn seed(call: *const lmprobe_call) -> u64 {
    // SAFETY: as in `log`.
    catch_unwind(AssertUnwindSafe(|| unsafe { frame(call) }.map_or(0, |frame| frame.services.seed()))).unwrap_or(0)
}

unsafe extern "C" fn threads(call: *const lmprobe_call) -> u32 {
    // SAFETY: as in `log`.
    catch_unwind(AssertUnwindSafe(|| unsafe { frame(call) }.map_or(1, |frame| frame.services.threads()))).unwrap_or(1)
}

unsafe extern "C" fn record_input(call: *const lmprobe_call, path: lmprobe_str, error: *mut lmprobe_error) -> i32 {
    // SAFETY: as in `log`; the error is the plugin's own.
    unsafe { answer(call, error, |services| services.record_input(&text(path))) }
}

unsafe extern "C" fn encoder_describe(call: *const lmprobe_call, slot: u32, json: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32 {
    // SAFETY: as in `record_input`; `json` is null or live.
    unsafe {
        answer(call, error, |services| {
            let Response::Json(value) = services.encoder(slot, Request::Describe)? else { return Err(unexpected()) };
            *json.as_mut().ok_or_else(null_result)? = buffer(&value.to_string());
            Ok(())
        })
    }
}

unsafe extern "C" fn encoder_tokenize(
    call: *const lmprobe_call,
    slot: u32,
    request: *const lmprobe_encode_req,
    tokens: *mut lmprobe_table,
    error: *mut lmprobe_error,
) -> i32 {
    // SAFETY: as in `record_input`; the request and what it points at live for this call.
    unsafe {
        answer(call, error, |services| {
            let texts = texts(&read_request(request)?);
            let Response::Table(frame) = services.encoder(slot, Request::Tokenize(texts))? else { return Err(unexpected()) };
            *tokens.as_mut().ok_or_else(null_result)? = table_export::export(&frame)?;
            Ok(())
        })
    }
}

unsafe extern "C" fn encoder_encode(
    call: *const lmprobe_call,
    slot: u32,
    request: *const lmprobe_encode_req,
    outputs: *mut lmprobe_tensors,
    error: *mut lmprobe_error,
) -> i32 {
    // SAFETY: as in `encoder_tokenize`.
    unsafe {
        answer(call, error, |services| {
            let request = read_request(request)?;
            let mut sequences = sequences(&request)?;
            if request.n_sequences == 0 && request.n_texts > 0 {
                let Response::Table(tokens) = services.encoder(slot, Request::Tokenize(texts(&request)))? else { return Err(unexpected()) };
                let tokens = crate::encoder::tokens(&tokens, request.n_texts, "the host's encoder")?;
                sequences.offsets = tokens.offsets.iter().map(|&offset| offset as u64).collect();
                (sequences.ids, sequences.type_ids) = (tokens.ids, tokens.type_ids);
            }
            let Response::Tensors(tensors) = services.encoder(slot, Request::Encode(sequences))? else { return Err(unexpected()) };
            *outputs.as_mut().ok_or_else(null_result)? = give(tensors);
            Ok(())
        })
    }
}

unsafe extern "C" fn encoder_token(call: *const lmprobe_call, slot: u32, id: u32, text: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32 {
    // SAFETY: as in `encoder_describe`.
    unsafe {
        answer(call, error, |services| {
            let Response::Text(token) = services.encoder(slot, Request::Token(id))? else { return Err(unexpected()) };
            *text.as_mut().ok_or_else(null_result)? = buffer(&token);
            Ok(())
        })
    }
}

fn unexpected() -> Error {
    Error::Unsupported("the encoder answered something else".into())
}

fn null_result() -> Error {
    Error::Config("there is no place for the result: the pointer is null".into())
}

/// The request of a plugin that may be older or newer than this host.
///
/// # Safety
/// `request` is null or live and as long as it says.
unsafe fn read_request(request: *const lmprobe_encode_req) -> Result<lmprobe_encode_req> {
    const SIZE: usize = size_of::<lmprobe_encode_req>();
    if request.is_null() {
        return Err(Error::Config("the request is null".into()));
    }
    // SAFETY: every request begins with its size.
    let size = unsafe { (*request).struct_size } as usize;
    if !(SIZE..=65_536).contains(&size) || !size.is_multiple_of(8) {
        return Err(Error::Config(format!("the request says it has {size} bytes, and one of 1.0 has {SIZE}")));
    }
    // SAFETY: it is at least as long as this host's.
    Ok(unsafe { ptr::read(request) })
}

/// The texts of a request.
///
/// # Safety
/// What the request points at lives for the call.
unsafe fn texts(request: &lmprobe_encode_req) -> Texts {
    // SAFETY: by the caller's promise.
    let read = |pointer| unsafe { slice::<lmprobe_str>(pointer, request.n_texts).iter().map(|&item| text(item)).collect::<Vec<_>>() };
    Texts { texts: read(request.texts), pairs: read(request.pairs), max_length: request.max_len, flags: request.flags }
}

/// The sequences of a request.
///
/// # Safety
/// What the request points at lives for the call.
unsafe fn sequences(request: &lmprobe_encode_req) -> Result<Sequences> {
    let malformed = |message: &str| Error::Config(format!("the request to encode is malformed: {message}"));
    // SAFETY: by the caller's promise.
    unsafe {
        let layers = slice(request.layers, request.n_layers as usize).to_vec();
        let rows = (request.flags & LMPROBE_ENCODE_SOME_ROWS != 0).then(|| slice(request.rows, request.n_rows).to_vec());
        let mut sequences = Sequences { offsets: vec![0], want: request.want, layers, rows, ..Sequences::default() };
        if request.n_sequences > 0 {
            sequences.offsets = slice(request.offsets, request.n_sequences + 1).to_vec();
            let offsets = &sequences.offsets;
            if offsets.first() != Some(&0) || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
                return Err(malformed("the offsets must begin with 0 and ascend"));
            }
            let n = offsets.last().and_then(|&last| usize::try_from(last).ok()).filter(|&n| n <= 1 << 32).ok_or_else(|| malformed("more than 2^32 tokens"))?;
            if n > 0 && request.ids.is_null() {
                return Err(malformed("there are no ids"));
            }
            sequences.ids = slice(request.ids, n).to_vec();
            sequences.type_ids = if request.type_ids.is_null() { vec![0; n] } else { slice(request.type_ids, n).to_vec() };
        }
        Ok(sequences)
    }
}
