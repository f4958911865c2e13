//! Plugins of shared libraries as encoders, objectives, tasks, probers and metrics.
//!
//! **Invariant:** whatever a plugin returns is checked and copied before anyone uses it; nothing of a plugin's memory outlives a call.

mod instance;
mod request;

pub use instance::{Instance, Services};
pub use request::{NamedTensor, Request, Response, Sequences, TensorValues, Texts};
