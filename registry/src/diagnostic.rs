//! Mistakes in a run file, each with its place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A text that mistakes point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave it, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Index into [`Invalid::sources`].
    pub source: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The bytes of the source text that are wrong.
    pub span: Option<Range<usize>>,
    /// The key path, `probers[0].layer`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// A few words beside the place: what was expected, or what was probably meant.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Sets the words beside the place.
    pub(crate) fn label(&mut self, label: impl Into<Option<String>>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Sets what to do.
    pub(crate) fn help(&mut self, help: impl Into<Option<String>>) -> &mut Self {
        self.help = help.into();
        self
    }
}

/// A run file that cannot be run: all of its mistakes, in file order.
#[derive(Debug, Clone)]
pub struct Invalid {
    /// The mistakes; never empty.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts they point into: the run file first, then what it includes, then the overrides.
    pub sources: Vec<Source>,
    /// Whether all of it is models that are not here and that the network, which is off or fails, might give.
    pub lacks_network: bool,
    /// Whether all of it is devices that this program cannot compute on.
    pub lacks_device: bool,
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            let name = self.sources.get(diagnostic.source).map_or("", |source| source.name.as_str());
            write!(formatter, "{name}:{}:{}: ", diagnostic.line, diagnostic.column)?;
            if !diagnostic.key.is_empty() {
                write!(formatter, "{}: ", diagnostic.key)?;
            }
            formatter.write_str(&diagnostic.message)?;
            for part in diagnostic.label.iter().chain(&diagnostic.help) {
                write!(formatter, "; {part}")?;
            }
        }
        Ok(())
    }
}

/// A place in a source, in characters as the parser counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) source: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

impl Location {
    /// The beginning of a source.
    pub(crate) fn start(source: usize) -> Self {
        Self { source, line: 1, column: 1, offset: 0, length: 0 }
    }
}

/// Collects mistakes and the texts they point into.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sources: Vec<Source>,
    folders: Vec<PathBuf>,
    diagnostics: Vec<Diagnostic>,
    /// How many of them are about a device that is not there.
    missing_devices: usize,
}

impl Report {
    /// Adds a text; relative paths written in it are relative to `folder`.
    pub(crate) fn add_source(&mut self, name: impl Into<String>, text: impl Into<String>, folder: &Path) -> usize {
        self.sources.push(Source { name: name.into(), text: text.into() });
        self.folders.push(folder.to_owned());
        self.sources.len() - 1
    }

    /// The folder that paths written at the place are relative to.
    pub(crate) fn folder(&self, location: Location) -> &Path {
        self.folders.get(location.source).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The character at a place.
    pub(crate) fn character(&self, location: Location) -> Option<char> {
        self.sources.get(location.source)?.text.chars().nth(location.offset)
    }

    /// Records a mistake.
    pub(crate) fn error(&mut self, location: Location, key: &str, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.sources.get(location.source).map(|source| span(&source.text, location.offset, location.length));
        self.diagnostics.push(Diagnostic {
            source: location.source,
            line: location.line,
            column: location.column,
            span,
            key: key.to_owned(),
            message: message.into(),
            label: None,
            help: None,
        });
        self.diagnostics.last_mut().expect("a diagnostic was just pushed")
    }

    /// Notes that the mistake recorded last is a device that this program cannot compute on.
    pub(crate) fn lacks_device(&mut self) {
        self.missing_devices += 1;
    }

    /// How a place is named in the message about another place: the line alone within one file.
    pub(crate) fn refer(&self, location: Location, from: Location) -> String {
        if location.source == from.source {
            format!("line {}", location.line)
        } else {
            let name = self.sources.get(location.source).map_or("", |source| source.name.as_str());
            format!("{name}:{}", location.line)
        }
    }

    /// How many mistakes there are so far.
    pub(crate) fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// Forgets all mistakes after the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.diagnostics.truncate(len);
    }

    /// The mistakes in file order.
    pub(crate) fn into_invalid(mut self) -> Invalid {
        let lacks_device = self.missing_devices > 0 && self.missing_devices == self.diagnostics.len();
        self.diagnostics.sort_by_key(|diagnostic| (diagnostic.source, diagnostic.line, diagnostic.column));
        self.diagnostics.dedup();
        Invalid { diagnostics: self.diagnostics, sources: self.sources, lacks_network: false, lacks_device }
    }
}

/// Bytes of a span given in characters; clamped, because an empty file is parsed as a synthetic value.
fn span(text: &str, offset: usize, length: usize) -> Range<usize> {
    let byte = |text: &str, characters: usize| text.char_indices().nth(characters).map_or(text.len(), |(byte, _)| byte);
    let start = byte(text, offset);
    let end = start + byte(&text[start..], length);
    // A block text ends with its line break, which an underline should not include.
    start..start + text[start..end].trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_bytes_and_columns_are_characters() {
        let mut report = Report::default();
        report.add_source("run.yaml", "é: ü\n", Path::new("/"));
        report.error(Location { source: 0, line: 1, column: 4, offset: 3, length: 1 }, "é", "wrong");
        let invalid = report.into_invalid();
        assert_eq!(invalid.diagnostics[0].span, Some(4..6));
        assert_eq!(invalid.to_string(), "run.yaml:1:4: é: wrong");
    }

    #[test]
    fn a_span_beyond_the_text_is_clamped() {
        assert_eq!(span("ab", 5, 3), 2..2);
        assert_eq!(span("ab\n", 0, 3), 0..2);
    }

    #[test]
    fn mistakes_come_in_file_order() {
        let mut report = Report::default();
        report.add_source("run.yaml", "a\nb\n", Path::new("/"));
        report.error(Location { line: 2, offset: 2, ..Location::start(0) }, "b", "second");
        report.error(Location::start(0), "a", "first").label("x".to_owned()).help("y".to_owned());
        assert_eq!(report.into_invalid().to_string(), "run.yaml:1:1: a: first; x; y\nrun.yaml:2:1: b: second");
    }
}
