//! Checkpoint files of every format people have, read as data.
//!
//! A [`Checkpoint`] knows every tensor of a model folder by its header and reads values when asked for:
//!
//! | format | files | notes |
//! |---|---|---|
//! | safetensors | `model.safetensors`, or shards with `model.safetensors.index.json` | |
//! | PyTorch | `pytorch_model.bin`, or shards with `pytorch_model.bin.index.json` | both containers: zip (since 1.6) and the older one |
//! | TensorFlow 1 | `*.ckpt*.index` with its `.data-*` files | optimizer state is left out |
//!
//! Names are those in the file: prefixes and the transposed kernels of TensorFlow are matters of the caller.
//!
//! **Invariants:** nothing in a file is ever executed; files are mapped, so that opening one reads headers only; and a file makes this crate allocate no
//! more than 64 MiB beyond what it really holds, whatever it claims.

#![deny(unsafe_op_in_unsafe_fn)]

mod checkpoint;
mod dtype;
mod error;
mod folder;
mod limits;
mod mapped_file;
mod nearest;
pub mod parse;
mod pickle;
mod pickle_global;
mod pickle_machine;
mod protobuf;
mod safetensors_file;
mod shard_index;
mod sstable;
mod state_dict;
mod tensorflow_bundle;
mod torch_file;
mod torch_legacy;
mod torch_zip;
mod values;
pub mod vocabulary;
mod write;

pub use checkpoint::{Checkpoint, Entry, Format};
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use nearest::nearest;
pub use write::{ReadValues, write_safetensors};
