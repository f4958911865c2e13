//! What a loaded plugin offers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

use lmprobe_abi::{
    LMPROBE_KIND_ENCODER, LMPROBE_KIND_METRIC, LMPROBE_KIND_OBJECTIVE, LMPROBE_KIND_PROBER, LMPROBE_KIND_TASK, lmprobe_buf, lmprobe_call, lmprobe_encoder_vt,
    lmprobe_error, lmprobe_instance, lmprobe_metric_vt, lmprobe_objective_vt, lmprobe_prober_vt, lmprobe_str, lmprobe_task_vt,
};
use serde_json::Value;

use crate::floating_point;

/// Creates an instance.
pub type Create = unsafe extern "C" fn(call: *const lmprobe_call, params: lmprobe_str, instance: *mut *mut lmprobe_instance, error: *mut lmprobe_error) -> i32;
/// Destroys an instance.
pub type Destroy = unsafe extern "C" fn(instance: *mut lmprobe_instance);
/// Says what an instance is or needs, as JSON.
pub type Describe = unsafe extern "C" fn(instance: *mut lmprobe_instance, json: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32;
/// Called once at the end of the program.
pub(crate) type Shutdown = unsafe extern "C" fn();

/// A plugin that was loaded and stays. Its texts are copies.
#[derive(Debug)]
pub struct Library {
    /// The vendor of its components.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// SPDX expression; may be empty.
    pub license: String,
    /// Compiler and kit; may be empty.
    pub build_info: String,
    /// Major and minor version of the interface it was built against.
    pub abi: (u16, u16),
    /// The file, absolute, without symbolic links.
    pub path: PathBuf,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
    /// Whether the bytes run from a sealed copy in memory, from a private copy, or from the file itself.
    pub via: crate::Via,
    /// Libraries that were loaded with it, which no pin covers.
    pub needed: Vec<String>,
    /// What it offers.
    pub components: Vec<Component>,
    /// Kinds of components that this program does not know; they were skipped.
    pub skipped: Vec<u32>,
    /// Whether loading it changed how the thread computes. That was put back.
    pub changed_floating_point: bool,
    pub(crate) shutdown: Option<Shutdown>,
}

/// One encoder, prober, objective, task or metric of a plugin.
#[derive(Debug)]
pub struct Component {
    /// Which of them.
    pub kind: ComponentKind,
    /// `vendor/name`.
    pub id: String,
    /// Version of its behaviour.
    pub version: String,
    /// One line; may be empty.
    pub summary: String,
    /// The manual in Markdown; may be empty.
    pub manual: String,
    /// JSON Schema of the parameters: an object without references.
    pub schema: Value,
    /// The `model_type` values an encoder reads.
    pub families: Vec<String>,
    /// Defaults an objective sets for its training: an object.
    pub recipe: Option<Value>,
    /// `LMPROBE_CAP_*`, those we do not know included.
    pub caps: u64,
    /// Creates an instance.
    pub create: Create,
    /// Destroys an instance, once.
    pub destroy: Destroy,
    /// What the instance is or needs.
    pub describe: Option<Describe>,
    /// What it does.
    pub operations: Operations,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ComponentKind {
    /// A language model.
    Encoder,
    /// A way of asking.
    Prober,
    /// A training signal.
    Objective,
    /// A set of questions.
    Task,
    /// A number about answers.
    Metric,
}

impl ComponentKind {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Prober => "prober",
            Self::Objective => "objective",
            Self::Task => "task",
            Self::Metric => "metric",
        }
    }

    /// The kind with a number of the interface, if we know it.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            LMPROBE_KIND_ENCODER => Some(Self::Encoder),
            LMPROBE_KIND_PROBER => Some(Self::Prober),
            LMPROBE_KIND_OBJECTIVE => Some(Self::Objective),
            LMPROBE_KIND_TASK => Some(Self::Task),
            LMPROBE_KIND_METRIC => Some(Self::Metric),
            _ => None,
        }
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The functions of a component. Those without which a kind does not work are there; others may be null.
#[derive(Debug, Clone, Copy)]
pub enum Operations {
    /// With `tokenize` and `encode`.
    Encoder(lmprobe_encoder_vt),
    /// With `run`.
    Prober(lmprobe_prober_vt),
    /// With `prepare`, `batch`, `destroy_examples` and `value_and_grad`.
    Objective(lmprobe_objective_vt),
    /// With `examples`.
    Task(lmprobe_task_vt),
    /// With `compute`.
    Metric(lmprobe_metric_vt),
}

/// Every library of this process, in the order in which they were loaded.
pub(crate) static LOADED: Mutex<Loaded> = Mutex::new(Loaded { libraries: Vec::new(), shut_down: 0 });

/// What was loaded, and how much of it was told that the program ends.
pub(crate) struct Loaded {
    pub(crate) libraries: Vec<&'static Library>,
    shut_down: usize,
}

/// Tells every library that the program ends in order, the last loaded first, each once. Call it after all instances are destroyed.
pub fn shutdown_all() {
    let libraries: Vec<&'static Library> = {
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = loaded.libraries.len();
        let told = std::mem::replace(&mut loaded.shut_down, all);
        loaded.libraries[told..].to_vec()
    };
    for shutdown in libraries.iter().rev().filter_map(|library| library.shutdown) {
        // SAFETY: the library is never unloaded, and this is the one time it is called.
        floating_point::guarded(|| unsafe { shutdown() });
    }
}

const _: () = {
    const fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Library>();
};
