//! The built-in plugins: encoders, objectives, tasks, probers and metrics. One file a plugin, named after its name in the run file.
//!
//! [`nn`] holds what encoders and objectives share: differentiable operations, tokenizers, checkpoint files.
//!
//! **Invariant:** nothing here knows the registry, the run file's syntax or the terminal. A plugin registers itself in its own file.
#![warn(missing_docs)]

pub mod encoders;
pub mod metrics;
pub mod nn;
pub mod objectives;
pub mod probers;
pub mod tasks;
