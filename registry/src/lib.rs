//! From a run file to objects: look-up of plugins by name, YAML with places, one check for every parameter.
//!
//! [`Registry`] knows the plugins; [`resolve`] turns a run file into a [`lmprobe_core::Resolved`] or into *all* of its
//! mistakes at once, each with file, line, column and key path; [`run_schema`] describes the file to editors.
//!
//! What happens to a file, in this order:
//!
//! 1. `yaml` reads it, follows `!include` and fills in `${NAME}` (`environment` does so in double quotes); it is the only module that knows the YAML library. The
//!    result is a tree of `node`s that know where they stand.
//! 2. `overrides` changes the tree as `--set` asks.
//! 3. `libraries` loads the shared libraries it lists, whose components join the built-in plugins.
//! 4. `run_file` walks the top level; `item` reads each list item, has `schema` check its parameters against the plugin's
//!    JSON Schema (defaults filled in, `paths` resolved) and builds the plugin.
//! 5. `fit` checks that every encoder can give what the probers and objectives ask.
//!
//! **Invariant:** no weight is read here; building an encoder reads its configuration and the header of its weights.
#![warn(missing_docs)]

mod diagnostic;
mod environment;
mod fit;
#[cfg(test)]
mod fixtures;
mod item;
mod libraries;
mod lists;
mod models;
mod node;
mod overrides;
mod paths;
mod registry;
mod run_file;
mod run_schema;
mod schema;
mod shape;
mod suggestion;
mod yaml;

pub use diagnostic::{Diagnostic, Invalid, Source};
pub use libraries::{LibraryPolicy, library_argument};
pub use lmprobe_bridge as bridge;
pub use lmprobe_hub::{Event as HubEvent, Hub};
pub use models::{ModelRequest, Models, OpenError, OpenModel, open_model};
pub use registry::{Registry, Unknown};
pub use run_file::{Request, resolve};
pub use run_schema::{plugin_schema, run_schema};

// Plugins register themselves, but the linker drops a crate that nothing names.
use lmprobe_plugins as _;
