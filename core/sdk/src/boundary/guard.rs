//! No panic leaves the plugin.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use lmprobe_abi as abi;

use crate::boundary::text;
use crate::{Error, Result};

thread_local! {
    /// How many exported functions this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// The last panic of this thread, with its place.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// How many exported functions are running on any thread.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The last panic of a thread that the plugin started itself.
static ELSEWHERE: Mutex<Option<String>> = Mutex::new(None);

/// Makes panics inside calls keep their place instead of printing it: the host tells it. Other panics go where they went before.
///
/// A shared library has its own standard library and so its own hook; that of the host is untouched.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or("a value that is no text");
            let told = match info.location() {
                Some(place) => format!("{message}, at {place}"),
                None => message.to_owned(),
            };
            if DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false) {
                LAST.with(|last| *last.borrow_mut() = Some(told));
            } else if RUNNING.load(Ordering::Relaxed) > 0 {
                *ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            } else {
                before(info);
            }
        }));
    });
}

/// Runs the body of an exported function and turns errors and panics into a status.
///
/// # Safety
/// `error` is null or points to an error that the caller zeroed.
pub(crate) unsafe fn guarded(error: *mut abi::lmprobe_error, body: impl FnOnce() -> Result<()>) -> i32 {
    let inside = Inside::enter();
    let outcome = catch_unwind(AssertUnwindSafe(body));
    drop(inside);
    let failure = match outcome {
        Ok(Ok(())) => return abi::LMPROBE_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => panicked(payload),
    };
    let (message, path) = (failure.message().to_owned(), failure.path().to_owned());
    // SAFETY: the caller holds what is asked for.
    unsafe { text::fill(error, message, path) };
    failure.status()
}

/// Runs the body of an exported function that cannot fail, such as a destructor.
pub(crate) fn contained(body: impl FnOnce()) {
    let inside = Inside::enter();
    let outcome = catch_unwind(AssertUnwindSafe(body));
    drop(inside);
    if let Err(payload) = outcome {
        discard(payload);
    }
}

/// Marks this thread as being inside an exported function.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        LAST.with(|last| last.borrow_mut().take());
        if RUNNING.fetch_add(1, Ordering::Relaxed) == 0 {
            ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let told = LAST.with(|last| last.borrow_mut().take());
    let mut message = told.unwrap_or_else(|| match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a value that is no text".to_owned(),
    });
    if let Some(elsewhere) = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        message.push_str("; a thread had panicked before: ");
        message.push_str(&elsewhere);
    }
    discard(payload);
    Error::with_status(abi::LMPROBE_PANIC, message)
}

/// Drops the payload of a panic. Its destructor may panic again, whose payload is dropped likewise; one that goes on and on is leaked.
fn discard(mut payload: Box<dyn Any + Send>) {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => {
                DEPTH.with(|depth| depth.set(depth.get() - 1));
                return;
            }
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
    DEPTH.with(|depth| depth.set(depth.get() - 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: impl FnOnce() -> Result<()>) -> (i32, String) {
        install_hook();
        let mut error = text::blank_error();
        // SAFETY: the error is blank, and its texts are taken once.
        unsafe {
            let status = guarded(&raw mut error, body);
            drop(text::take(error.path));
            (status, text::take(error.message))
        }
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_place() {
        let (status, message) = outcome(|| panic!("no {}", "luck"));
        assert_eq!(status, abi::LMPROBE_PANIC);
        assert!(message.starts_with("no luck, at ") && message.contains("guard.rs:"), "{message}");
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        struct Mine;
        impl Drop for Mine {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let (status, message) = outcome(|| std::panic::panic_any(Mine));
        assert_eq!(status, abi::LMPROBE_PANIC);
        assert!(message.starts_with("a value that is no text, at "), "{message}");
        contained(|| std::panic::panic_any(Mine));
        assert_eq!(outcome(|| Ok(())).0, abi::LMPROBE_OK);
    }

    #[test]
    fn a_panic_on_another_thread_is_told() {
        let (status, message) = outcome(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| panic!("worker"));
            });
            Ok(())
        });
        assert_eq!(status, abi::LMPROBE_PANIC);
        assert!(message.contains("a scoped thread panicked"), "{message}");
    }

    #[test]
    fn an_error_keeps_its_status() {
        assert_eq!(outcome(|| Err(Error::config("k is 0"))), (abi::LMPROBE_CONFIG, "k is 0".to_owned()));
    }
}
