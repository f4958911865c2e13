//! The binary interface between lmprobe and plugins in shared libraries, version 1.0.
//!
//! A plugin is one shared library with one data symbol, [`lmprobe_stamp`], which is read from the file before anything of it runs, and one
//! function symbol, [`lmprobe_plugin_entry_v1`](entry), which returns the table of its components. `include/lmprobe_plugin.h` is this crate in C.
//!
//! **Invariant:** no Rust type crosses. Tables cross as Arrow C data, tensors as DLPack, descriptions and parameters as JSON in UTF-8.
//!
//! # Rules
//!
//! * Every table begins with `struct_size`. A reader copies the smaller of that and its own size into zeroed memory, so that a function it
//!   does not find is null and means "not offered". Additions go to the end of a table and raise [`LMPROBE_ABI_MINOR`]; nothing else ever changes.
//! * A function that can fail returns a status, and takes an error as its last argument, which the caller zeroed.
//! * [`lmprobe_str`] is borrowed for the call; entry and component strings live as long as the process.
//! * Whatever is owned carries its own `release` or `deleter`. No memory is freed by the side that did not make it.
//! * Input tables belong to the plugin from the call on: it releases them, or leaves them and the host does after the call.
//! * Output tables, tensors and buffers belong to the host if the status is [`LMPROBE_OK`], and must be untouched if it is not.
//! * Sequences are packed end to end, without padding: sequence `i` owns tokens `offsets[i]..offsets[i + 1]`.
//! * Calls on one instance come one after another unless its component has [`LMPROBE_CAP_CONCURRENT`].
#![no_std]

mod arrow;
mod codes;
mod component;
mod dlpack;
mod error;
mod host;
#[doc(hidden)]
pub mod layout;
mod operations;
mod request;
mod stamp;
mod tensors;
mod text;

pub use arrow::{ArrowArray, ArrowSchema, lmprobe_table};
pub use codes::*;
pub use component::{entry, lmprobe_component, lmprobe_instance, lmprobe_plugin};
pub use dlpack::*;
pub use error::lmprobe_error;
pub use host::{lmprobe_call, lmprobe_host};
pub use operations::{lmprobe_encoder_vt, lmprobe_examples, lmprobe_metric_vt, lmprobe_objective_vt, lmprobe_prober_vt, lmprobe_task_vt};
pub use request::lmprobe_encode_req;
pub use stamp::lmprobe_stamp;
pub use tensors::{lmprobe_named_tensor, lmprobe_tensors};
pub use text::{lmprobe_buf, lmprobe_str};
