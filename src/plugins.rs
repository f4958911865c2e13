//! Which plugins a command has: the built-in ones and those of shared libraries.

use clap::Args;
use lmprobe_registry::bridge::OfferedLibrary;
use lmprobe_registry::{LibraryPolicy, Registry, library_argument};

use crate::console::Console;
use crate::exit::UsageError;

/// What the command line says of plugins in shared libraries.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LibraryArgs {
    /// Load this shared library too, `PATH@sha256:HEX` as `lmprobe plugin pin` prints it; may be repeated
    #[arg(long = "plugin", value_name = "FILE@sha256:HEX", help_heading = "Plugins")]
    libraries: Vec<String>,
    /// Load no shared library; a run file that lists one is refused
    #[arg(long, help_heading = "Plugins", conflicts_with_all = ["libraries", "allow_unpinned_plugins"])]
    no_plugins: bool,
    /// Load shared libraries without a pin too; for development, and recorded in the manifest
    #[arg(long, help_heading = "Plugins")]
    allow_unpinned_plugins: bool,
    /// Load the file itself instead of a copy of the bytes that were checked; for debuggers
    #[arg(long, hide = true)]
    plugin_debug: bool,
}

impl LibraryArgs {
    /// Which libraries a run file may load.
    pub(crate) fn policy(&self) -> LibraryPolicy {
        LibraryPolicy { forbidden: self.no_plugins, unpinned: self.allow_unpinned_plugins, direct: self.plugin_debug }
    }

    /// The built-in plugins and those of the command line's libraries.
    pub(crate) fn registry(&self, console: Console) -> anyhow::Result<Registry> {
        let mut libraries = Vec::with_capacity(self.libraries.len());
        let policy = self.policy();
        for text in &self.libraries {
            let request = library_argument(text, &policy).map_err(UsageError)?;
            let library = OfferedLibrary::load(&request)?;
            for kind in &library.facts().skipped {
                console.warning(&format!("{}: skipped a component of kind {kind}, which this version does not know", request.path.display()));
            }
            libraries.push(library);
        }
        Ok(Registry::builtin()?.with_libraries(libraries)?)
    }
}
