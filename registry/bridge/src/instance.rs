//! A component that was created with parameters, wherever its code runs.

use lmprobe_core::Result;

use crate::{Request, Response};

/// A component that was created with parameters. Calls may come from several threads.
pub trait Instance: Send + Sync {
    /// Asks it.
    ///
    /// # Errors
    /// Whatever the plugin reports, a panic or crash of it, or that it answered something malformed.
    fn call(&self, request: Request, services: &dyn Services) -> Result<Response>;
}

/// What a component may use during one call. May be used from threads that end before the call does.
pub trait Services: Sync {
    /// Tells a person something; levels are `LMPROBE_LOG_*`.
    fn log(&self, level: u32, message: &str);

    /// `done` of `total` units of a phase are finished.
    fn progress(&self, phase: &str, done: u64, total: u64);

    /// Whether the call should end soon.
    fn is_cancelled(&self) -> bool;

    /// Root of all randomness of the call.
    fn seed(&self) -> u64;

    /// How many threads the call may use.
    fn threads(&self) -> u32;

    /// Records a file that is no parameter.
    ///
    /// # Errors
    /// If it cannot be read.
    fn record_input(&self, path: &str) -> Result<()>;

    /// Asks the encoder in a slot: [`Request::Describe`], [`Request::Tokenize`], [`Request::Encode`] or [`Request::Token`]. The answer to `Encode` also holds
    /// `offsets`.
    ///
    /// # Errors
    /// If there is no such encoder, or it fails.
    fn encoder(&self, slot: u32, request: Request) -> Result<Response>;
}
