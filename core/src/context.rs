//! What the host hands to every plugin call: seed, progress, cancellation, a place for warnings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{ContentHash, Error, Result, Seed, hash_path};

/// Receives what a run does while it does it. Implemented by whoever shows it to a person.
pub trait Progress: Send + Sync {
    /// A job begins; `index` counts from 0 over `total` jobs of the plan.
    fn job_started(&self, index: usize, total: usize, label: &str);
    /// `done` of `total` units (`"sentences"`, `"steps"`) of the current phase are finished.
    fn advanced(&self, phase: &str, done: usize, total: usize);
    /// A job ended; `error` is its message if it failed, `reused` says that an earlier run had finished it.
    fn job_finished(&self, index: usize, label: &str, error: Option<&str>, reused: bool);
    /// Something a person should know that does not stop the run.
    fn warning(&self, message: &str);
    /// What the current job found on its way, such as a development score.
    fn found(&self, message: &str) {
        let _ = message;
    }
}

/// A [`Progress`] that shows nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn job_started(&self, _: usize, _: usize, _: &str) {}
    fn advanced(&self, _: &str, _: usize, _: usize) {}
    fn job_finished(&self, _: usize, _: &str, _: Option<&str>, _: bool) {}
    fn warning(&self, _: &str) {}
}

/// A flag that asks a run to stop at the next safe point. Clones share it.
#[derive(Debug, Default, Clone)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the run to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a plugin call may use besides its arguments. Nothing is global.
pub struct CallContext<'a> {
    /// Root of all randomness of this call.
    pub seed: Seed,
    /// Where progress goes.
    pub progress: &'a dyn Progress,
    /// Whether to stop.
    pub cancel: Cancel,
    warnings: Mutex<Vec<String>>,
    inputs: Mutex<BTreeMap<PathBuf, ContentHash>>,
}

impl<'a> CallContext<'a> {
    /// A context for one job.
    pub fn new(seed: Seed, progress: &'a dyn Progress, cancel: Cancel) -> Self {
        Self { seed, progress, cancel, warnings: Mutex::default(), inputs: Mutex::default() }
    }

    /// Records a warning: it is shown, and kept in the job's record.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        self.progress.warning(&message);
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// Returns [`Error::Cancelled`] if the run was asked to stop.
    ///
    /// # Errors
    /// When a stop was requested.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_requested() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Records a file or folder that is no parameter and was read all the same: its hash stands in the job's record.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record_input(&self, path: &Path) -> Result<()> {
        let hash = hash_path(path)?;
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hash);
        Ok(())
    }

    /// The inputs recorded so far.
    pub fn inputs(&self) -> BTreeMap<PathBuf, ContentHash> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The warnings recorded so far, in order.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
