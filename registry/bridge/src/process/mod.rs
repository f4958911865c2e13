//! Plugins in processes of their own: a crash, an abort or an endless loop costs one call and nothing else.
//!
//! The program starts itself again and speaks with its child over a pair of pipes: [`RemoteLibrary`] is the program's end, [`serve`] the child's.
//! There is one child for each instance.
//!
//! **Invariant:** a child never outlives the instance that it serves, nor the program.

mod blobs;
mod child;
mod command;
mod exchange;
mod failure;
mod host;
mod packet;
mod system;
mod wire;

pub use child::{ComponentFactory, serve};
pub use command::ChildCommand;
pub use host::{RemoteInstance, RemoteLibrary};
