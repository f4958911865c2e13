//! Loads plugins: shared libraries that speak the interface of [`lmprobe_abi`].
//!
//! [`inspect()`] reads a file and says what it claims to be; nothing of it runs. [`load()`] does the same, compares the file with its [`Pin`], maps the very bytes
//! that were compared and asks them for their components. What comes out of a component later is checked before anyone uses it: tables by [`table_check`],
//! tensors by [`tensor_check`]; [`OwnedTable`], [`OwnedTensors`], [`OwnedBuf`] and [`ErrorSlot`] release it exactly once.
//!
//! **Invariant:** between the check of a file and its use there is no gap: the bytes that were hashed are the bytes that run.
//!
//! **Invariant:** a file is offered whole or not at all. One bad component refuses all of them.
//!
//! **Invariant:** a library is never unloaded. Threads and thread-local values of a plugin may outlive every call into it.
//!
//! Deliberately absent: a search path, and any directory that is scanned. A plugin is code with the rights of its user; only its pin protects from a wrong one.
//! The checks catch mistakes, not malice.

mod error;
mod error_slot;
pub mod floating_point;
mod foreign_text;
mod image;
mod inspect;
#[cfg(test)]
mod kept;
mod library;
mod load;
mod owned;
mod pin;
mod prefix_copy;
mod sealed_copy;
pub mod table_check;
pub mod tensor_check;
mod walk;

pub use error::{ContentsFault, LoadError, Refusal};
pub use error_slot::{ErrorSlot, ForeignError};
pub use image::{ImageError, Machine};
pub use inspect::{Inspection, Options, Permissions, inspect};
pub use library::{Component, ComponentKind, Create, Describe, Destroy, Library, Operations, shutdown_all};
pub use load::{LoadRequest, Via, load};
pub use owned::{OwnedBuf, OwnedTable, OwnedTensors};
pub use pin::{Pin, PinError};
pub use prefix_copy::{Prefixed, SizeError, prefix_copy};

/// Entrances for the fuzz targets; no part of the interface of this crate.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::image::{Image, Target, parse};
    pub use crate::walk::{Offer, walk};
}
