//! Rows of CSV and TSV.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lmprobe_core::{Error, Result};

use super::records::{Columns, LONGEST, Record, Records, Source, find, not_utf8, too_long};

/// A table with a header: of commas as RFC 4180 has it, of tabs without any quoting: there a quote is a character as every other, as corpora have them.
pub(crate) struct TableRows {
    path: PathBuf,
    reader: csv::Reader<Tally>,
    row: csv::ByteRecord,
    n_columns: usize,
    text: usize,
    pair: Option<usize>,
    id: Option<usize>,
    delimiter: u8,
    count: Rc<Count>,
    length: Option<u64>,
}

/// What went through the reader.
#[derive(Debug, Default)]
struct Count {
    read: Cell<u64>,
    since_row: Cell<usize>,
    last: Cell<u8>,
}

/// Counts bytes, and stops a row that never ends before it fills the memory.
struct Tally {
    inner: Box<dyn BufRead>,
    count: Rc<Count>,
}

impl Read for Tally {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.read.set(self.count.read.get() + n as u64);
        self.count.since_row.set(self.count.since_row.get() + n);
        if let Some(last) = buffer[..n].iter().rfind(|byte| !matches!(byte, b'\r' | b'\n')) {
            self.count.last.set(*last);
        }
        if self.count.since_row.get() > LONGEST + (1 << 16) {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(n)
    }
}

impl TableRows {
    pub(crate) fn new(source: Source, delimiter: u8, columns: &Columns) -> Result<Self> {
        let count = Rc::new(Count::default());
        let tally = Tally { inner: source.reader, count: count.clone() };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quoting(delimiter != b'\t').flexible(true).from_reader(tally);
        let path = source.path;
        let header = reader.byte_headers().map_err(|error| refused(&path, 1, &error))?;
        let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        if names.is_empty() || names == [""] {
            return Err(Error::data(&path, None, "the file is empty; expected a header with the names of the columns"));
        }
        let text = find(&path, &names, columns.text.as_deref())?;
        let pair = columns.pair.as_deref().map(|name| find(&path, &names, Some(name))).transpose()?;
        let id = columns.id.find(&path, &names)?;
        Ok(Self { path, reader, row: csv::ByteRecord::new(), n_columns: names.len(), text, pair, id, delimiter, count, length: source.length })
    }
}

impl Records for TableRows {
    fn next(&mut self) -> Result<Option<Record>> {
        self.count.since_row.set(0);
        let before = line_number(self.reader.position());
        if !self.reader.read_byte_record(&mut self.row).map_err(|error| refused(&self.path, before, &error))? {
            return Ok(None);
        }
        let line = self.row.position().map_or(before, line_number);
        // The library takes a quote that is never closed as closed by the end of the file: rows would be lost in silence.
        // Such a row ends with the file, a cell of several lines that is closed ends with its quote.
        let runs_on = self.delimiter != b'\t' && self.row.iter().next_back().is_some_and(|cell| cell.contains(&b'\n'));
        if runs_on && self.reader.position().byte() == self.count.read.get() && self.count.last.get() != b'"' {
            return Err(Error::data(&self.path, line, "a quote opens in this row and is never closed"));
        }
        if self.row.len() != self.n_columns {
            let mend = if self.delimiter == b'\t' { "cells hold no tabs" } else { "quote a cell that holds the separator" };
            let message = format!("{} cells, expected {} as in the header; {mend}", self.row.len(), self.n_columns);
            return Err(Error::data(&self.path, line, message));
        }
        let cell = |column: usize| {
            let bytes = &self.row[column];
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| not_utf8(&self.path, line, bytes[error.valid_up_to()]))
        };
        let id = self.id.map(cell).transpose()?.map(Into::into);
        Ok(Some(Record { line, offset: None, id, text: cell(self.text)?, pair: self.pair.map(cell).transpose()? }))
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn progress(&self) -> (&'static str, u64, Option<u64>) {
        ("KiB read", self.count.read.get() / 1024, self.length.map(|length| length / 1024))
    }
}

fn line_number(position: &csv::Position) -> usize {
    usize::try_from(position.line()).unwrap_or(usize::MAX)
}

fn refused(path: &Path, line: usize, error: &csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => too_long(path, line),
        csv::ErrorKind::Io(error) => Error::io(path)(io::Error::new(error.kind(), error.to_string())),
        _ => Error::data(path, line, error.to_string()),
    }
}
