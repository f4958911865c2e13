//! Memory for tests that outlives them, as that of a plugin does. Kept in sight, so that miri does not take it for lost.

use std::sync::{Mutex, PoisonError};

struct Kept(#[expect(dead_code, reason = "only to be reachable")] *mut ());
// SAFETY: nobody reads it.
unsafe impl Send for Kept {}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// Puts a value where it stays.
pub(crate) fn kept<T>(value: T) -> *mut T {
    let place = Box::into_raw(Box::new(value));
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(Kept(place.cast()));
    place
}

/// Puts values where they stay.
pub(crate) fn kept_slice<T>(values: Vec<T>) -> *mut T {
    // SAFETY: just made, and nobody else has it.
    unsafe { (*kept(values)).as_mut_ptr() }
}
