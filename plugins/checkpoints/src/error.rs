//! What went wrong with which file.

use std::path::{Path, PathBuf};

/// A result with the [`Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a parser says of bytes whose file it does not know; [`Error::at`] adds the file.
pub(crate) type Parsed<T> = std::result::Result<T, String>;

/// A file that cannot be read (or written), and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct Error {
    path: PathBuf,
    message: String,
}

impl Error {
    /// An error about `path`; the message is a lower-case fragment.
    pub fn new(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into() }
    }

    /// The file or folder that the message is about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong, without the path.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Turns the message of a parser, or an error of the operating system, into one about `path`.
    pub(crate) fn at<M: ToString>(path: &Path) -> impl Fn(M) -> Self {
        move |message| Self::new(path, message.to_string())
    }
}
