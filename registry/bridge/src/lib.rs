//! Plugins of shared libraries as encoders, objectives, tasks, probers and metrics.
//!
//! [`OfferedLibrary`] loads a file and makes registrations of its components, the same type that built-in plugins submit. A component is an [`Instance`] that
//! answers requests; `native` answers them by calling the library's functions in this process, `process` by asking a child that does. On top of it
//! stand `encoder`, `objective`, `task`, `prober` and `metric`, which are what the rest of the program sees.
//!
//! **Invariant:** whatever a plugin returns is checked and copied before anyone uses it; nothing of a plugin's memory outlives a call.

mod callbacks;
mod conformance;
mod encoder;
mod gradient_check;
mod host_encoder;
mod host_services;
mod instance;
mod metric;
mod native;
mod objective;
mod offered_library;
mod prober;
pub mod process;
mod request;
mod standard_output;
mod table_export;
mod table_import;
mod task;
mod tensor_crossing;
mod watch;

pub use conformance::{Finding, Outcome, check};
pub use gradient_check::GradientReport;
pub use instance::{Instance, Services};
pub use lmprobe_loader::{Inspection, LoadError, Options, Permissions, Pin, PinError, inspect, shutdown_all};
pub use offered_library::{ComponentFacts, DEFAULT_TIMEOUT, LibraryFacts, LibraryRequest, OfferedLibrary, serve};
pub use request::{NamedTensor, Request, Response, Sequences, TensorValues, Texts};
pub use standard_output::own as standard_output;
pub use watch::leaving;
