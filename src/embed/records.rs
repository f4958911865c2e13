//! Records: the texts of an input, one at a time, whatever the file they stand in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};

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
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
}

/// Which cells of a record hold its texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    /// Column of the text; empty is the column `text`, or the only one.
    pub(crate) text: Option<String>,
    /// Column of the second text of a pair.
    pub(crate) pair: Option<String>,
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
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, line: 0, read: 0, buffer: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.source.path
    }

    pub(crate) fn progress(&self) -> (&'static str, u64, Option<u64>) {
        ("KiB read", self.read / 1024, self.source.length.map(|length| length / 1024))
    }

    /// The next line without its end, and its number from 1.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, &str)>> {
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
        if self.line == 1 {
            bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some((self.line, text))),
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

/// Names in backticks, the first forty.
pub(crate) fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(40).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > 40 { format!(" and {} more", names.len() - 40) } else { String::new() };
    if shown.is_empty() { "no columns at all".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}
