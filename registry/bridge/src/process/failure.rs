//! Errors as JSON: what fails in the child fails in the parent as the same variant with the same message.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, candle_core, polars};
use serde::{Deserialize, Serialize};

/// Names of the schemas that the core declares.
const SCHEMAS: [&str; 6] = ["examples", "candidates", "predictions", "metric rows", "scores", "training"];

/// Kinds of I/O errors that come without a number of the system; any other one becomes `Other`, the message stays.
const IO_KINDS: [ErrorKind; 9] = [
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::AlreadyExists,
    ErrorKind::InvalidInput,
    ErrorKind::InvalidData,
    ErrorKind::UnexpectedEof,
    ErrorKind::TimedOut,
    ErrorKind::Unsupported,
    ErrorKind::OutOfMemory,
];

/// [`Error`] in a form that can be written. Paths are for messages, so one that is not UTF-8 is written as it would be shown.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    Io {
        path: String,
        code: Option<i32>,
        kind: String,
        message: String,
    },
    Data {
        path: String,
        line: Option<usize>,
        message: String,
    },
    Model {
        path: String,
        message: String,
    },
    MissingTensors {
        path: String,
        names: Vec<String>,
        near: Option<String>,
    },
    Config(String),
    Unsupported(String),
    Frame {
        origin: String,
        schema: String,
        message: String,
    },
    Panic {
        origin: String,
        message: String,
    },
    Plugin {
        origin: String,
        message: String,
    },
    Cancelled,
    Locked(String),
    Tensor(String),
    Table(String),
    Json(String),
    /// A variant that is newer than this file.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        match error {
            Error::Io { path, source } => {
                Self::Io { path: shown(&path), code: source.raw_os_error(), kind: format!("{:?}", source.kind()), message: source.to_string() }
            }
            Error::Data { path, line, message } => Self::Data { path: shown(&path), line, message },
            Error::Model { path, message } => Self::Model { path: shown(&path), message },
            Error::MissingTensors { path, names, near } => Self::MissingTensors { path: shown(&path), names, near },
            Error::Config(message) => Self::Config(message),
            Error::Unsupported(message) => Self::Unsupported(message),
            Error::Frame { origin, schema, message } => Self::Frame { origin, schema: schema.to_owned(), message },
            Error::Panic { origin, message } => Self::Panic { origin, message },
            Error::Plugin { origin, message } => Self::Plugin { origin, message },
            Error::Cancelled => Self::Cancelled,
            Error::Locked(path) => Self::Locked(shown(&path)),
            Error::Tensor(error) => Self::Tensor(error.to_string()),
            Error::Table(error) => Self::Table(error.to_string()),
            Error::Json(error) => Self::Json(error.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Failure {
    /// The error again; `origin` names the plugin where the variant is not known.
    pub(super) fn into_error(self, origin: &str) -> Error {
        match self {
            Self::Io { path, code, kind, message } => {
                let kind = || IO_KINDS.into_iter().find(|known| format!("{known:?}") == kind).unwrap_or(ErrorKind::Other);
                let source = code.map_or_else(|| std::io::Error::new(kind(), message), std::io::Error::from_raw_os_error);
                Error::Io { path: PathBuf::from(path), source }
            }
            Self::Data { path, line, message } => Error::Data { path: path.into(), line, message },
            Self::Model { path, message } => Error::Model { path: path.into(), message },
            Self::MissingTensors { path, names, near } => Error::MissingTensors { path: path.into(), names, near },
            Self::Config(message) => Error::Config(message),
            Self::Unsupported(message) => Error::Unsupported(message),
            Self::Frame { origin, schema, message } => {
                Error::Frame { origin, schema: SCHEMAS.into_iter().find(|known| *known == schema).unwrap_or("other"), message }
            }
            // The loop of the child does not know for whom it works.
            Self::Panic { origin: unnamed, message } if unnamed.is_empty() => Error::Panic { origin: origin.to_owned(), message },
            Self::Panic { origin, message } => Error::Panic { origin, message },
            Self::Plugin { origin: unnamed, message } if unnamed.is_empty() => Error::plugin(origin, message),
            Self::Plugin { origin, message } => Error::Plugin { origin, message },
            Self::Cancelled => Error::Cancelled,
            Self::Locked(path) => Error::Locked(path.into()),
            Self::Tensor(message) => Error::Tensor(candle_core::Error::Msg(message)),
            Self::Table(message) => Error::Table(polars::error::PolarsError::ComputeError(message.into())),
            Self::Json(message) => Error::Json(serde::de::Error::custom(message)),
            Self::Other(message) => Error::plugin(origin, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(error: Error) -> Error {
        let text = serde_json::to_string(&Failure::from(error)).unwrap();
        serde_json::from_str::<Failure>(&text).unwrap().into_error("plugin `acme`")
    }

    #[test]
    fn every_error_comes_back_as_itself() {
        let text = |text: &str| text.to_owned();
        let errors = || {
            vec![
                Error::Io { path: "a/b".into(), source: std::io::Error::from_raw_os_error(13) },
                Error::Io { path: "a/b".into(), source: std::io::Error::new(ErrorKind::NotFound, "gone") },
                Error::data("a.tsv", 7, "two columns, expected three"),
                Error::data("a.tsv", None, "empty"),
                Error::model("bert", "no vocabulary"),
                Error::MissingTensors { path: "bert".into(), names: vec![text("a"), text("b")], near: Some(text("c")) },
                Error::Config(text("`k` is \"0\"\n")),
                Error::Unsupported(text("no logits")),
                Error::Frame { origin: text("p"), schema: "metric rows", message: text("m") },
                Error::Panic { origin: text("p"), message: text("m") },
                Error::plugin("p", "m"),
                Error::Cancelled,
                Error::Locked("runs/a".into()),
                Error::Tensor(candle_core::Error::Msg(text("shape"))),
                Error::Table(polars::error::PolarsError::ColumnNotFound("x".into())),
                Error::Json(serde_json::from_str::<u32>("\n x").unwrap_err()),
            ]
        };
        for (error, same) in errors().into_iter().zip(errors()) {
            let found = back(error);
            assert_eq!(found.to_string(), same.to_string());
            assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&same), "{same:?}");
            if let (Error::Io { source: found, .. }, Error::Io { source, .. }) = (&found, &same) {
                assert_eq!(found.kind(), source.kind());
            }
        }
    }

    #[test]
    fn a_panic_of_nobody_gets_the_name_of_the_plugin() {
        let error = back(Error::Panic { origin: String::new(), message: "m".into() });
        assert_eq!(error.to_string(), "plugin `acme` panicked: m; this is a bug of the plugin");
    }
}
