//! What can be wrong with what is to be scored.

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure; messages are lower-case fragments that say what was wrong, where, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file does not hold what its format says.
    #[error("{file}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Malformed {
        /// The name of the file, as the caller gave it.
        file: String,
        /// Line in the file, from 1, where known.
        line: Option<usize>,
        /// What was found and what was expected.
        message: String,
    },
    /// Gold and prediction are not of equal length.
    #[error("{gold} gold {what} against {predicted} predicted; each needs its counterpart")]
    Lengths {
        /// What was counted, in the plural.
        what: &'static str,
        /// How many there are in the gold.
        gold: usize,
        /// How many were predicted.
        predicted: usize,
    },
    /// A label that the list of labels lacks.
    #[error("unknown label `{label}`; the labels are `{}`", known.join("`, `"))]
    UnknownLabel {
        /// The label.
        label: String,
        /// All labels.
        known: Vec<String>,
    },
    /// A tag that the scheme does not have.
    #[error("tag `{tag}` at position {position}: {message}")]
    Tag {
        /// The tag.
        tag: String,
        /// Index in its sequence, from 0.
        position: usize,
        /// What the scheme has.
        message: &'static str,
    },
    /// A name of a data set that a table does not have.
    #[error("unknown data set `{name}`{} (there are {})", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default(), known.join(", "))]
    UnknownSet {
        /// The name.
        name: String,
        /// The most similar name.
        near: Option<String>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// Results that a score needs and that are not there.
    #[error("no result of {}; the score needs all {needed}", names.join(", "))]
    MissingSets {
        /// The data sets without a result.
        names: Vec<&'static str>,
        /// How many the score needs.
        needed: usize,
    },
    /// A number outside its range, or one that is given twice.
    #[error("{0}")]
    Value(String),
}

impl Error {
    /// A mistake in a line of a file, counted from 1.
    pub(crate) fn at(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), line: Some(line), message: message.into() }
    }

    /// A mistake in a file that has no line.
    pub(crate) fn file(file: &str, message: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), line: None, message: message.into() }
    }
}
