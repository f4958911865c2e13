//! One call of the host: messages, progress, cancellation, randomness, encoders.

use std::marker::PhantomData;
use std::path::Path;

use lmprobe_abi as abi;

use crate::{Error, HostEncoder, Result, Seed};

/// One call of the host into the plugin. It may be used from threads that are joined before the call returns, and cannot be kept:
///
/// ```compile_fail
/// fn keep(call: &lmprobe_sdk::Call<'_>) -> lmprobe_sdk::Call<'static> {
///     *call
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub(crate) host: &'a abi::lmprobe_host,
    pub(crate) raw: *const abi::lmprobe_call,
    pub(crate) lifetime: PhantomData<&'a abi::lmprobe_call>,
}

impl<'a> Call<'a> {
    /// Tells a person something they should know; it is kept in the record of the job.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(abi::LMPROBE_LOG_WARN, message.as_ref());
    }

    /// Tells something that is shown with `-v`.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(abi::LMPROBE_LOG_INFO, message.as_ref());
    }

    /// Tells something that is shown with `-vv`.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(abi::LMPROBE_LOG_DEBUG, message.as_ref());
    }

    /// `done` of `total` units of a phase (`"questions"`) are finished.
    pub fn progress(&self, phase: &str, done: usize, total: usize) {
        self.advance(phase, done as u64, total as u64);
    }

    /// Whether the host asks to stop.
    pub fn is_cancelled(&self) -> bool {
        self.asked_to_stop()
    }

    /// Ends the call with `?` if the host asks to stop. Call it at least ten times a second.
    ///
    /// # Errors
    /// If the host asks to stop.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Root of all randomness of the call.
    ///
    /// # Errors
    /// If this host offers none.
    pub fn seed(&self) -> Result<Seed> {
        self.host_seed().map(Seed)
    }

    /// How many threads the call may use, at least 1.
    pub fn threads(&self) -> usize {
        self.host_threads().max(1)
    }

    /// Tells that a file that is no parameter was read; its hash goes into the record of the job.
    ///
    /// # Errors
    /// If the host cannot read it.
    pub fn record_input(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = path.to_str().ok_or_else(|| Error::input(format!("the path {} is not UTF-8", path.display())))?;
        self.host_record_input(text)
    }

    /// The encoder in a slot, counted from 0.
    pub fn encoder(&self, slot: u32) -> HostEncoder<'a> {
        HostEncoder { call: *self, slot }
    }
}
