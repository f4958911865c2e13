//! What went wrong, with the status the host is told.

use std::fmt;

use lmprobe_abi as abi;

/// The result of every fallible call of this crate and of plugins.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: a kind, a message and, where known, the parameter or the column.
///
/// Messages are lower-case fragments without a full stop: what was wrong, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: i32,
    message: String,
    path: String,
}

impl Error {
    /// A parameter, or a combination of parameters, that no run can honour.
    pub fn config(message: impl Into<String>) -> Self {
        Self::with_status(abi::LMPROBE_CONFIG, message)
    }

    /// A table, a tensor or a file that is not what it should be.
    pub fn input(message: impl Into<String>) -> Self {
        Self::with_status(abi::LMPROBE_INPUT, message)
    }

    /// Something that is not offered.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::with_status(abi::LMPROBE_UNSUPPORTED, message)
    }

    /// A mistake of the plugin itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::with_status(abi::LMPROBE_INTERNAL, message)
    }

    /// A file that could not be read or written.
    pub fn io(message: impl Into<String>) -> Self {
        Self::with_status(abi::LMPROBE_IO, message)
    }

    /// The host asked to stop.
    pub fn cancelled() -> Self {
        Self::with_status(abi::LMPROBE_CANCELLED, "stopped on request")
    }

    /// Names the parameter (a JSON pointer, `/k`) or the column the failure is about.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The status, `LMPROBE_*` of the interface.
    pub fn status(&self) -> i32 {
        self.status
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The parameter or the column; empty if none is named.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the host asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.status == abi::LMPROBE_CANCELLED
    }

    pub(crate) fn with_status(status: i32, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), path: String::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, " (`{}`)", self.path) }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::io(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::input(format!("malformed JSON: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_message_and_its_path() {
        let error = Error::config("`k` is 0, expected at least 1").at("/k");
        assert_eq!((error.status(), error.path()), (abi::LMPROBE_CONFIG, "/k"));
        assert_eq!(error.to_string(), "`k` is 0, expected at least 1 (`/k`)");
        assert!(Error::cancelled().is_cancelled());
    }

    #[test]
    fn foreign_errors_keep_their_kind() {
        assert_eq!(Error::from(std::io::Error::other("disk full")).status(), abi::LMPROBE_IO);
        assert_eq!(Error::from(serde_json::from_str::<u8>("x").unwrap_err()).status(), abi::LMPROBE_INPUT);
    }
}
