//! Why a file is not loaded.

use std::fmt::Write;
use std::path::PathBuf;

use crate::SizeError;

/// A file that is not loaded, and why.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{}`: {refusal}", path.display())]
pub struct LoadError {
    /// The file as the caller named it.
    pub path: PathBuf,
    /// What was wrong. Part of the message, so no `source`: a printed chain would say it twice.
    pub refusal: Refusal,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file does not exist.
    #[error("there is no such file")]
    Missing,
    /// The last part of the path is a symbolic link.
    #[error("is a symbolic link; give the path of the file it points to")]
    SymbolicLink,
    /// A directory, a pipe, a device.
    #[error("is {found}, not a regular file; give the shared library itself")]
    NotRegular {
        /// What it is.
        found: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The file has no bytes.
    #[error("is empty")]
    Empty,
    /// The file is larger than any plugin.
    #[error("has {size} bytes; a plugin has at most {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Others may change the file, or put another one in its place.
    #[error("`{}` may be written by {who} (mode {mode:04o}), so the file could be replaced; run `chmod go-w` on it or move the plugin", path.display())]
    Writable {
        /// The file or the folder above it.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Who may write.
        who: &'static str,
    },
    /// Somebody else owns the file.
    #[error("belongs to user {owner}, not to you ({user}) or root; copy it to a file of your own")]
    Owner {
        /// The user id of its owner.
        owner: u32,
        /// The user id of this process.
        user: u32,
    },
    /// The file is no shared library for this machine.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// The file is not the pinned one.
    #[error("has sha256 {found}, but {expected} is pinned; if the change is wanted, pin the new one")]
    Pin {
        /// The pinned hash.
        expected: String,
        /// The hash of the file.
        found: String,
    },
    /// The function that every plugin has is missing.
    #[error("exports no function `lmprobe_plugin_entry_v1`; in C, define it after `LMPROBE_DECLARE_ENTRY`")]
    NoEntry,
    /// This build cannot load anything.
    #[error("this build of lmprobe has no dynamic loading ({why}); use a build for a dynamically linked target")]
    NoDynamicLoading {
        /// What stands in the way.
        why: &'static str,
    },
    /// The bytes could not be handed to the system's loader.
    #[error("a private copy of the file could not be made: {0}")]
    Copy(std::io::Error),
    /// The system's loader refused.
    #[error("cannot be loaded: {causes}")]
    Open {
        /// The loader's message with all its causes.
        causes: String,
    },
    /// The entry failed.
    #[error("its entry failed with status {status}: {message}")]
    Entry {
        /// What it returned.
        status: i32,
        /// Its message.
        message: String,
    },
    /// The entry said it succeeded and gave nothing.
    #[error("its entry gave no plugin though its status says it succeeded")]
    EntryGaveNothing,
    /// A table of the plugin breaks a rule.
    #[error("{place} {fault}")]
    Contents {
        /// The plugin, or which component.
        place: String,
        /// Which rule.
        fault: ContentsFault,
    },
}

/// A rule that a table of a plugin breaks. Fits after the name of the place.
#[derive(Debug, thiserror::Error)]
pub enum ContentsFault {
    /// A table has an impossible size.
    #[error("has a table of an impossible size: {0}")]
    Size(#[from] SizeError),
    /// The table says another major version than the stamp.
    #[error("says it was built for version {found} of the interface, this program has version {}", lmprobe_abi::LMPROBE_ABI_MAJOR)]
    Major {
        /// What it says.
        found: u16,
    },
    /// A text cannot be read.
    #[error("has an unreadable `{field}`: {why}")]
    Text {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A text is empty that must not be.
    #[error("has an empty `{field}`")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// The vendor's name breaks its rule.
    #[error("has the name `{found}`; a name is 1 to 64 of a-z, 0-9 and `-`, and begins with a letter or a digit")]
    Vendor {
        /// The name.
        found: String,
    },
    /// The name belongs to the program.
    #[error("has the name `builtin`, which is reserved; choose a name of your own")]
    Reserved,
    /// Too many components.
    #[error("has {found} components; {limit} is the most")]
    Count {
        /// How many it claims.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A pointer is null.
    #[error("has a null `{field}`")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// A function is missing without which the kind does not work.
    #[error("has no function `{function}`, which every {kind} has")]
    Function {
        /// The function.
        function: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// An id breaks its rule.
    #[error("has the id `{found}`; an id is `vendor/name`, the name 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or a digit")]
    Id {
        /// The id.
        found: String,
    },
    /// An id of another vendor.
    #[error("has the id `{found}`, which is not in the plugin's own namespace `{vendor}/`")]
    Namespace {
        /// The id.
        found: String,
        /// The plugin's name.
        vendor: String,
    },
    /// The same kind and id twice.
    #[error("has the same kind and id as component {first}: {kind} `{id}`")]
    Duplicate {
        /// The number of the earlier one.
        first: usize,
        /// The kind.
        kind: &'static str,
        /// The id.
        id: String,
    },
    /// A text that should be a JSON object of a known form is not.
    #[error("has an invalid `{field}`: {why}")]
    Json {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// An error with everything that caused it: the loader's own message is one level down.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("writing to a string succeeds");
        cause = error.source();
    }
    text
}
