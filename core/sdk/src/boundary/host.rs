//! Functions of the host, called.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use lmprobe_abi as abi;

use crate::boundary::request::{Outgoing, prefix};
use crate::boundary::{arrow_import, tensor_list, text};
use crate::{Call, EncoderInfo, EncoderOutput, Error, HostEncoder, Result, TokenBatch, Tokenization, Want};

/// The host this library was entered by. The interface says that its table lives as long as the process.
static HOST: OnceLock<Host> = OnceLock::new();

/// Size of a host's table in 1.0, frozen.
const SMALLEST: usize = 104;

struct Host(abi::lmprobe_host);

// SAFETY: the table is never written, its functions may be called on any thread, and its texts live as long as the process.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Remembers the host. Of two hosts the first one counts.
///
/// # Safety
/// `host` is null or points to a table as large as it says that lives as long as the process.
pub(crate) unsafe fn enter(host: *const abi::lmprobe_host) -> Result<()> {
    let mut mine = MaybeUninit::<abi::lmprobe_host>::zeroed();
    // SAFETY: the caller holds what is asked for; every field of a host that was copied or zeroed is valid.
    let mine = unsafe {
        prefix(host.cast(), mine.as_mut_ptr().cast(), SMALLEST, size_of::<abi::lmprobe_host>())?;
        mine.assume_init()
    };
    if mine.abi_major != abi::LMPROBE_ABI_MAJOR {
        let (theirs, ours) = (mine.abi_major, abi::LMPROBE_ABI_MAJOR);
        return Err(Error::unsupported(format!("the host speaks version {theirs} of the plugin interface, this plugin speaks version {ours}")));
    }
    HOST.get_or_init(|| Host(mine));
    Ok(())
}

// SAFETY: the interface allows a call's functions on every thread that is joined before the call returns, and the lifetime ends there.
unsafe impl Send for Call<'_> {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for Call<'_> {}

/// Calls a function of the host that takes an error last.
macro_rules! ask {
    ($call:expr, $function:ident, $($argument:expr),*) => {{
        let function = $call.host.$function.ok_or_else(|| not_offered(stringify!($function)))?;
        let mut error = text::blank_error();
        // SAFETY: the call is alive as long as its lifetime, and the arguments are valid for the function: see each use.
        let status = unsafe { function($call.raw, $($argument,)* &raw mut error) };
        told(status, error, stringify!($function))
    }};
}

impl Call<'_> {
    /// The call behind a pointer.
    ///
    /// # Safety
    /// `raw` is null or valid as long as the result.
    pub(crate) unsafe fn enter(raw: *const abi::lmprobe_call) -> Result<Self> {
        let host = HOST.get().ok_or_else(|| Error::internal("the plugin was never entered"))?;
        if raw.is_null() {
            return Err(Error::internal("the host made no call"));
        }
        Ok(Self { host: &host.0, raw, lifetime: PhantomData })
    }

    pub(crate) fn log(&self, level: u32, message: &str) {
        if let Some(log) = self.host.log {
            // SAFETY: the call is alive as long as its lifetime, and the text for this statement; likewise below.
            unsafe { log(self.raw, level, text::lend(message)) };
        }
    }

    pub(crate) fn advance(&self, phase: &str, done: u64, total: u64) {
        if let Some(progress) = self.host.progress {
            // SAFETY: as in `log`.
            unsafe { progress(self.raw, text::lend(phase), done, total) };
        }
    }

    pub(crate) fn asked_to_stop(&self) -> bool {
        // SAFETY: as in `log`.
        self.host.cancelled.is_some_and(|cancelled| unsafe { cancelled(self.raw) } != 0)
    }

    pub(crate) fn host_seed(&self) -> Result<u64> {
        let seed = self.host.seed.ok_or_else(|| not_offered("seed"))?;
        // SAFETY: as in `log`.
        Ok(unsafe { seed(self.raw) })
    }

    pub(crate) fn host_threads(&self) -> usize {
        // SAFETY: as in `log`.
        self.host.threads.map_or(1, |threads| unsafe { threads(self.raw) } as usize)
    }

    pub(crate) fn host_record_input(&self, path: &str) -> Result<()> {
        ask!(self, record_input, text::lend(path)) // the text is alive for the call
    }
}

impl HostEncoder<'_> {
    pub(crate) fn describe(&self) -> Result<EncoderInfo> {
        let mut json = text::empty();
        ask!(self.call, encoder_describe, self.slot, &raw mut json)?; // the buffer is ours and empty
        // SAFETY: the host filled the buffer, and it is taken once.
        Ok(serde_json::from_str(&unsafe { text::take(json) })?)
    }

    pub(crate) fn host_tokenize(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch> {
        let outgoing = Outgoing::texts(texts);
        let request = outgoing.request(how)?;
        // SAFETY: a zeroed table is empty.
        let mut table = unsafe { MaybeUninit::<abi::lmprobe_table>::zeroed().assume_init() };
        ask!(self.call, encoder_tokenize, self.slot, &raw const request, &raw mut table)?; // the request's vectors are alive, the table is ours and empty
        // SAFETY: the host filled the table, and it is taken once.
        TokenBatch::from_table(&unsafe { arrow_import::take(&raw mut table) }?, texts.len())
    }

    pub(crate) fn host_encode(&self, tokens: &TokenBatch, want: &Want) -> Result<EncoderOutput> {
        let outgoing = Outgoing::sequences(tokens, want);
        let request = outgoing.request(Tokenization::default())?;
        let mut outputs = tensor_list::empty();
        ask!(self.call, encoder_encode, self.slot, &raw const request, &raw mut outputs)?; // the request's vectors are alive, the list is ours and empty
        // SAFETY: the host filled the list, and it is taken once.
        Ok(EncoderOutput::from_list(unsafe { tensor_list::take(outputs) }?))
    }

    pub(crate) fn host_token(&self, id: u32) -> Result<Option<String>> {
        let mut token = text::empty();
        ask!(self.call, encoder_token, self.slot, id, &raw mut token)?; // the buffer is ours and empty
        // SAFETY: the host filled the buffer, and it is taken once.
        let token = unsafe { text::take(token) };
        Ok(if token.is_empty() { None } else { Some(token) })
    }
}

fn not_offered(function: &str) -> Error {
    Error::unsupported(format!("`{function}` is not offered by this host"))
}

/// The result of a function of the host.
fn told(status: i32, error: abi::lmprobe_error, function: &str) -> Result<()> {
    // SAFETY: the texts of an error belong to the caller, and each is taken once.
    let (message, path) = unsafe { (text::take(error.message), text::take(error.path)) };
    if status == abi::LMPROBE_OK {
        return Ok(());
    }
    // A panic of the host, or a status of a later version, is no panic of this plugin.
    let status = if (1..=abi::LMPROBE_IO).contains(&status) && status != abi::LMPROBE_PANIC { status } else { abi::LMPROBE_INTERNAL };
    let message = if message.is_empty() { format!("`{function}` of the host failed") } else { message };
    Err(Error::with_status(status, message).at(path))
}

/// A host without functions, for tests of this crate.
#[cfg(test)]
pub(crate) fn bare() -> abi::lmprobe_host {
    // SAFETY: null functions and empty texts are valid.
    let mut host = unsafe { MaybeUninit::<abi::lmprobe_host>::zeroed().assume_init() };
    host.struct_size = u32::try_from(size_of::<abi::lmprobe_host>()).unwrap();
    host.abi_major = abi::LMPROBE_ABI_MAJOR;
    host.host_version = text::lend("");
    host
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn a_host_that_offers_nothing_is_told_apart_from_one_that_fails() {
        let host = bare();
        let call = Call { host: &host, raw: ptr::dangling(), lifetime: PhantomData };
        call.warn("nobody hears this");
        call.progress("questions", 1, 2);
        assert!(!call.is_cancelled() && call.check_cancelled().is_ok());
        assert_eq!(call.threads(), 1);
        assert_eq!(call.seed().unwrap_err().message(), "`seed` is not offered by this host");
        assert_eq!(call.record_input("x").unwrap_err().status(), abi::LMPROBE_UNSUPPORTED);
        let encoder = call.encoder(0);
        assert!(encoder.info().unwrap_err().message().contains("`encoder_describe` is not offered"));
        assert!(encoder.tokenize(&["a"], Tokenization::default()).is_err() && encoder.token(1).is_err());
        assert!(encoder.encode(&TokenBatch::default(), &Want::default()).is_err());
    }

    #[test]
    fn an_error_of_the_host_keeps_its_status_and_its_panic_does_not() {
        let error = |message: &str| abi::lmprobe_error { message: text::give(message.to_owned()), ..text::blank_error() };
        assert_eq!(told(abi::LMPROBE_CANCELLED, error("stopped"), "seed").unwrap_err(), Error::with_status(abi::LMPROBE_CANCELLED, "stopped"));
        assert_eq!(told(abi::LMPROBE_PANIC, error("oops"), "seed").unwrap_err().status(), abi::LMPROBE_INTERNAL);
        assert_eq!(told(99, error(""), "seed").unwrap_err().message(), "`seed` of the host failed");
    }

    #[test]
    fn a_host_of_another_major_version_is_refused() {
        let other = abi::lmprobe_host { abi_major: 2, ..bare() };
        let small = abi::lmprobe_host { struct_size: 96, ..bare() };
        // SAFETY: the tables outlive the calls, which refuse them.
        unsafe {
            assert!(enter(&raw const other).unwrap_err().message().contains("version 2"));
            assert!(enter(&raw const small).unwrap_err().message().contains("has 96 bytes"));
            assert!(enter(ptr::null()).is_err());
        }
    }
}
