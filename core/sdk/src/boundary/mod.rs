//! Where memory of the host and memory of the plugin meet: all `unsafe` code of the kit but two conversions behind features.
//!
//! **Invariant:** no panic leaves an exported function, whatever is owned has one owner who frees it, and nothing of the host is kept past the call
//! unless it was handed over.

pub(crate) mod arrow_export;
pub(crate) mod arrow_import;
pub(crate) mod buffer;
pub(crate) mod dlpack;
pub(crate) mod encoder_exports;
pub(crate) mod exports;
pub(crate) mod guard;
pub(crate) mod host;
pub(crate) mod host_side;
pub(crate) mod objective_exports;
pub(crate) mod plugin;
pub(crate) mod request;
pub(crate) mod tensor_list;
pub(crate) mod text;
