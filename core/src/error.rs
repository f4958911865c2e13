//! Everything that can go wrong below the command line.

use std::path::PathBuf;

/// The result of every fallible call of the core and of plugins.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, one variant for each kind a caller can tell apart.
///
/// Messages are lower-case fragments that fit after "failed to ...": what was wrong, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data file does not hold what its format says.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Data {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1, where known.
        line: Option<usize>,
        /// What was found and what was expected.
        message: String,
    },
    /// A model folder is incomplete or not what it claims to be.
    #[error("{}: {message}", path.display())]
    Model {
        /// The model file or folder.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A checkpoint lacks tensors that the run needs.
    #[error("{}: tensor{} `{}` missing{}", path.display(), if names.len() == 1 { "" } else { "s" }, names.join("`, `"), near.as_ref().map(|near| format!("; the nearest name there is `{near}`")).unwrap_or_default())]
    MissingTensors {
        /// The checkpoint.
        path: PathBuf,
        /// The tensors that were looked for.
        names: Vec<String>,
        /// The most similar name that is there.
        near: Option<String>,
    },
    /// A parameter, or a combination of parameters, that no run can honour.
    #[error("{0}")]
    Config(String),
    /// A number that these predictions do not have, such as the correlation of a constant: the score is left out, nothing has failed.
    #[error("{0}")]
    Undefined(String),
    /// A plugin asked another one for something it cannot give.
    #[error("{0}")]
    Unsupported(String),
    /// A device to compute on that this program or this machine does not have.
    #[error("{0}")]
    Device(String),
    /// A plugin returned a table that does not match its declared schema.
    #[error("{origin} returned a malformed `{schema}` table: {message}")]
    Frame {
        /// Which plugin call.
        origin: String,
        /// The name of the schema.
        schema: &'static str,
        /// Column and reason.
        message: String,
    },
    /// A plugin panicked; the run goes on with the other jobs.
    #[error("{origin} panicked: {message}; this is a bug of the plugin")]
    Panic {
        /// Which plugin call.
        origin: String,
        /// The panic's message.
        message: String,
    },
    /// A plugin of a shared library failed.
    #[error("{origin}: {message}")]
    Plugin {
        /// Which plugin call.
        origin: String,
        /// What it said, or what became of it.
        message: String,
    },
    /// The run was asked to stop and can be resumed.
    #[error("stopped on request; the same command goes on from here")]
    Cancelled,
    /// Another process holds the run folder.
    #[error("{}: another lmprobe process is using this run folder", .0.display())]
    Locked(PathBuf),
    /// The tensor library failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The table library failed.
    #[error("table operation failed: {0}")]
    Table(#[from] polars::error::PolarsError),
    /// A value could not be written as, or read from, JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// Wraps an I/O failure with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// A malformed data file.
    pub fn data(path: impl Into<PathBuf>, line: impl Into<Option<usize>>, message: impl Into<String>) -> Self {
        Self::Data { path: path.into(), line: line.into(), message: message.into() }
    }

    /// A failure of a plugin of a shared library.
    pub fn plugin(origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Plugin { origin: origin.into(), message: message.into() }
    }

    /// A malformed model folder.
    pub fn model(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Model { path: path.into(), message: message.into() }
    }
}
