//! Records: the texts of an input, one at a time, whatever the file they stand in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};
use serde_json::{Map, Value};

use super::json_lines::JsonLines;
use super::parquet_rows::ParquetRows;
use super::table_rows::TableRows;
use super::text_lines::TextLines;

/// Longest record in bytes. A file without line breaks should not fill the memory before somebody notices.
pub(crate) const LONGEST: usize = 16 << 20;

/// A text, or a pair of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where it stands: line or row, from 1.
    pub(crate) line: usize,
    /// Where its text begins in the file, in characters of the file as it is; known of plain text only.
    pub(crate) offset: Option<usize>,
    /// Its own id, a text or a number, if ids are read and it has one.
    pub(crate) id: Option<Value>,
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
}

/// Which cells of a record hold its texts and its id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    /// Column of the text; empty is the column `text`, or the only one.
    pub(crate) text: Option<String>,
    /// Column of the second text of a pair.
    pub(crate) pair: Option<String>,
    /// Column of the id.
    pub(crate) id: IdColumn,
}

/// Which cell of a record is its id.
#[derive(Debug, Clone, Default)]
pub(crate) enum IdColumn {
    /// None is read.
    #[default]
    Unread,
    /// `id`, where there is one.
    IfThere,
    /// The one of this name.
    Named(String),
}

impl IdColumn {
    /// The name to look for.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Unread => None,
            Self::IfThere => Some("id"),
            Self::Named(name) => Some(name),
        }
    }

    /// The name that was asked for.
    pub(crate) fn asked(&self) -> Option<&str> {
        if let Self::Named(name) = self { Some(name) } else { None }
    }

    /// Its place among the columns of a table.
    ///
    /// # Errors
    /// If the one that was asked for is not there; the error lists the columns.
    pub(crate) fn find(&self, path: &Path, names: &[String]) -> Result<Option<usize>> {
        match self {
            Self::Named(name) => find(path, names, Some(name)).map(Some),
            _ => Ok(self.name().and_then(|wanted| names.iter().position(|name| name == wanted))),
        }
    }

    /// The id among the fields of an object of a line; none where the field is missing or null.
    ///
    /// # Errors
    /// If it is neither text nor number, or the field that was asked for is missing.
    pub(crate) fn of_object(&self, path: &Path, line: usize, fields: &Map<String, Value>) -> Result<Option<Value>> {
        let Some(name) = self.name() else { return Ok(None) };
        match fields.get(name) {
            Some(id @ (Value::String(_) | Value::Number(_))) => Ok(Some(id.clone())),
            None if self.asked().is_some() => Err(missing_field(path, line, name, fields)),
            None | Some(Value::Null) => Ok(None),
            Some(other) => Err(Error::data(path, line, format!("the field `{name}` is {}, expected a text or a number", kind(other)))),
        }
    }
}

/// A source of records.
pub(crate) trait Records {
    /// The next record.
    ///
    /// # Errors
    /// If the file is not what its format says; the error names the line.
    fn next(&mut self) -> Result<Option<Record>>;

    /// The file, as errors name it.
    fn path(&self) -> &Path;

    /// Whether the source is a document of lines, so that the offsets of its records are known.
    fn is_plain_text(&self) -> bool {
        false
    }

    /// How much of the source is read, and how much there is if that is known, in some unit.
    fn progress(&self) -> (&'static str, u64, Option<u64>);
}

/// Opens an input by its ending; `-` is standard input, and what has no known ending holds one text a line.
///
/// # Errors
/// If it cannot be read, or lacks a column.
pub(crate) fn open(input: &str, columns: &Columns) -> Result<Box<dyn Records>> {
    let path = Path::new(input);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    if input != "-" && path.is_dir() {
        return Err(Error::data(path, None, "this is a folder; name a file of texts"));
    }
    Ok(match ending.as_str() {
        _ if input == "-" => Box::new(TextLines::new(Source::stdin(), columns)?),
        "csv" => Box::new(TableRows::new(Source::file(path)?, b',', columns)?),
        "tsv" => Box::new(TableRows::new(Source::file(path)?, b'\t', columns)?),
        "jsonl" | "ndjson" => Box::new(JsonLines::new(Source::file(path)?, columns)),
        "parquet" => Box::new(ParquetRows::open(path, columns)?),
        "xlsx" | "xls" | "docx" | "pdf" | "gz" | "zip" | "xz" | "zst" | "bz2" | "arrow" | "feather" | "json" => {
            let known = "texts are read from .txt (one a line), .csv, .tsv, .jsonl and .parquet";
            return Err(Error::data(path, None, format!("files ending in `.{ending}` are not read; {known}")));
        }
        _ => Box::new(TextLines::new(Source::file(path)?, columns)?),
    })
}

/// Bytes with a name and, for files, a length.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) reader: Box<dyn BufRead>,
    pub(crate) length: Option<u64>,
}

impl Source {
    fn file(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { path: path.to_owned(), reader: Box::new(BufReader::with_capacity(1 << 16, file)), length })
    }

    fn stdin() -> Self {
        Self { path: "standard input".into(), reader: Box::new(BufReader::new(io::stdin())), length: None }
    }
}

/// Lines of UTF-8, each of bounded length.
pub(crate) struct Lines {
    source: Source,
    line: usize,
    read: u64,
    /// Characters read, line ends and a byte order mark included.
    characters: usize,
    buffer: Vec<u8>,
}

/// A line without its end, and without a byte order mark.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// Where it begins, in characters of the file as it is.
    pub(crate) offset: usize,
    pub(crate) text: &'a str,
}

impl Lines {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, line: 0, read: 0, characters: 0, buffer: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.source.path
    }

    pub(crate) fn progress(&self) -> (&'static str, u64, Option<u64>) {
        ("KiB read", self.read / 1024, self.source.length.map(|length| length / 1024))
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut limited = (&mut self.source.reader).take(LONGEST as u64 + 1);
        let n = limited.read_until(b'\n', &mut self.buffer).map_err(Error::io(&self.source.path))?;
        if n == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.read += n as u64;
        if n > LONGEST {
            return Err(too_long(&self.source.path, self.line));
        }
        let mut bytes: &[u8] = &self.buffer;
        bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let n_end = self.buffer.len() - bytes.len();
        let mut offset = self.characters;
        if self.line == 1
            && let Some(rest) = bytes.strip_prefix("\u{feff}".as_bytes())
        {
            bytes = rest;
            offset += 1;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.characters = offset + text.chars().count() + n_end;
                Ok(Some(Line { number: self.line, offset, text }))
            }
            Err(error) => Err(not_utf8(&self.source.path, self.line, bytes[error.valid_up_to()])),
        }
    }
}

pub(crate) fn not_utf8(path: &Path, line: usize, byte: u8) -> Error {
    Error::data(path, line, format!("byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"))
}

pub(crate) fn too_long(path: &Path, line: usize) -> Error {
    Error::data(path, line, format!("longer than {} MiB; is there one text a line?", LONGEST >> 20))
}

/// Finds a column: the one asked for, else `text`, else the only one.
///
/// # Errors
/// If there is none; the error lists the columns.
pub(crate) fn find(path: &Path, names: &[String], asked: Option<&str>) -> Result<usize> {
    let place = |wanted: &str| names.iter().position(|name| name == wanted);
    let found = match asked {
        Some(name) => place(name),
        None if names.len() == 1 => Some(0),
        None => place("text"),
    };
    found.ok_or_else(|| {
        let wanted = asked.unwrap_or("text");
        let more = if asked.is_some() { "" } else { "; name the column of the texts with --column" };
        Error::data(path, None, format!("no column `{wanted}`; there are {}{more}", listed(names)))
    })
}

pub(crate) fn missing_field(path: &Path, line: usize, name: &str, fields: &Map<String, Value>) -> Error {
    let names: Vec<String> = fields.keys().cloned().collect();
    Error::data(path, line, format!("no field `{name}`; there are {}", listed(&names)))
}

/// What a value of a field is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Names in backticks, the first forty.
pub(crate) fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(40).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > 40 { format!(" and {} more", names.len() - 40) } else { String::new() };
    if shown.is_empty() { "no columns at all".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, offset and text of every line.
    fn lines(text: &'static str) -> Vec<(usize, usize, String)> {
        let mut lines = Lines::new(Source { path: "x.txt".into(), reader: Box::new(text.as_bytes()), length: None });
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line.number, line.offset, line.text.to_owned()));
        }
        found
    }

    #[test]
    fn offsets_count_the_characters_of_the_file_as_it_is() {
        assert_eq!(lines("na\u{ef}ve\n\nb"), [(1, 0, "na\u{ef}ve".into()), (2, 6, String::new()), (3, 7, "b".into())]);
        assert_eq!(lines("ab\r\nc\r\n"), [(1, 0, "ab".into()), (2, 4, "c".into())], "a carriage return is a character");
        assert_eq!(lines("\u{feff}ab\nc\n"), [(1, 1, "ab".into()), (2, 4, "c".into())], "so is a mark of the byte order");
    }
}
