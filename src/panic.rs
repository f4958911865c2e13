//! What a person sees of a bug.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use crate::console::{Console, REPORT_A_BUG};
use crate::exit::Exit;

/// Message and place of the newest panic of any thread.
static NEWEST: Mutex<Option<String>> = Mutex::new(None);

/// Runs the program and turns a panic into a short message and exit code 1.
///
/// A plugin's panic is caught further down and becomes the error of its job, so the hook itself only takes notes.
pub(crate) fn guard(console: Console, program: impl FnOnce() -> Exit) -> Exit {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        tracing::info!("panic{place}: {message}");
        *NEWEST.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{message}{place}"));
    }));
    panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|_| {
        let newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner).take();
        console.error(&format!("lmprobe {} panicked: {}", env!("CARGO_PKG_VERSION"), newest.unwrap_or_else(|| "no message".into())));
        console.error(REPORT_A_BUG);
        Exit::Bug
    })
}
