//! Files of rows: CSV, TSV and JSON Lines, read strictly, every error with its line.

use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};
use serde_json::{Map, Value};

use super::template::listed;
use super::text_file::{self, json_kind};

/// A file of rows with named cells, at least one.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// The header of a table, or the keys of the first JSON object.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Whether a cell can hold a list itself, as JSON does.
    pub(crate) has_lists: bool,
}

/// A row of a file.
#[derive(Debug)]
pub(crate) struct Row {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    pub(crate) cells: Map<String, Value>,
}

impl DataFile {
    /// Reads a file by its ending: `csv` (RFC 4180), `tsv` (the same with tabs), or `jsonl`, `ndjson`, `json` (one object a line).
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8, has no row, or a row does not fit its format; the error names the line.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::filled(path, |text| match text_file::ending(path).as_str() {
            "csv" => delimited(path, text, b',', None),
            "tsv" => delimited(path, text, b'\t', None),
            "jsonl" | "ndjson" | "json" => json_lines(path, text),
            _ => Err(Error::data(path, None, "cannot tell the format from the file's ending; expected `csv`, `tsv` or `jsonl`")),
        })
    }

    /// Reads a file like [`Self::read`], but a quote in a `tsv` is text like any other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_verbatim(path: &Path) -> Result<Self> {
        if text_file::ending(path) == "tsv" { Self::filled(path, |text| tabbed(path, text, None)) } else { Self::read(path) }
    }

    /// Reads a `csv` or a verbatim `tsv` that has no header.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_bare(path: &Path, columns: &[&str]) -> Result<Self> {
        Self::filled(path, |text| match text_file::ending(path).as_str() {
            "csv" => delimited(path, text, b',', Some(columns)),
            "tsv" => tabbed(path, text, Some(columns)),
            _ => Err(Error::data(path, None, "cannot tell the format from the file's ending; expected `csv` or `tsv`")),
        })
    }

    /// A file with at least one row.
    fn filled(path: &Path, rows: impl FnOnce(&str) -> Result<(Vec<String>, Vec<Row>)>) -> Result<Self> {
        let (columns, rows) = rows(&text_file::read(path)?)?;
        if rows.is_empty() {
            return Err(Error::data(path, None, if columns.is_empty() { "the file is empty" } else { "the file has a header but no row" }));
        }
        Ok(Self { path: path.to_owned(), columns, rows, has_lists: !matches!(text_file::ending(path).as_str(), "csv" | "tsv") })
    }

    /// The column that was named, or the first of its usual names that is there.
    ///
    /// # Errors
    /// If none is; `what` says what it would hold, and is its key in the parameter `columns`.
    pub(crate) fn choose<'a>(&self, named: Option<&'a str>, usual: &[&'a str], what: &str) -> Result<&'a str> {
        if let Some(name) = named {
            return self.column(&[name], what);
        }
        self.column(usual, what).map_err(|error| match error {
            Error::Data { path, line, message } => Error::Data { path, line, message: format!("{message}; name yours with `columns: {{{what}: ...}}`") },
            other => other,
        })
    }

    /// The column that was named, or the first of its usual names that is there, if any is.
    ///
    /// # Errors
    /// If a column was named and is not there.
    pub(crate) fn choose_if_there<'a>(&self, named: Option<&'a str>, usual: &[&'a str], what: &str) -> Result<Option<&'a str>> {
        match named {
            Some(name) => self.column(&[name], what).map(Some),
            None => Ok(self.column(usual, what).ok()),
        }
    }

    /// The first of these names that is a column.
    ///
    /// # Errors
    /// If none is; `what` says what it would hold.
    pub(crate) fn column<'a>(&self, names: &[&'a str], what: &str) -> Result<&'a str> {
        names.iter().copied().find(|&name| self.columns.iter().any(|column| column == name)).ok_or_else(|| {
            let kind = if self.has_lists { "keys" } else { "columns" };
            let message = format!("no column for the {what}: looked for {}; the {kind} are {}", listed(names), listed(&self.columns));
            Error::data(&self.path, 1, message)
        })
    }

    /// An error about a row.
    pub(crate) fn error(&self, row: &Row, message: impl Into<String>) -> Error {
        Error::data(&self.path, row.line, message)
    }
}

impl Row {
    /// The text of a cell; numbers and booleans as they are written.
    ///
    /// # Errors
    /// If the cell is missing or holds something else.
    pub(crate) fn text(&self, file: &DataFile, column: &str) -> Result<String> {
        match self.cells.get(column) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(value) => Err(file.error(self, format!("`{column}` is {value}, expected a text"))),
            None => Err(file.error(self, format!("there is no `{column}`; the row has {}", listed(&self.cells.keys().collect::<Vec<_>>())))),
        }
    }

    /// The text of a cell that must not be blank.
    ///
    /// # Errors
    /// If it is missing, blank or no text.
    pub(crate) fn filled(&self, file: &DataFile, column: &str) -> Result<String> {
        let text = self.text(file, column)?;
        if text.trim().is_empty() {
            return Err(file.error(self, format!("`{column}` is empty")));
        }
        Ok(text)
    }
}

fn delimited(path: &Path, text: &str, delimiter: u8, header: Option<&[&str]>) -> Result<(Vec<String>, Vec<Row>)> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let bare = header.is_some();
    let mut columns = owned(header);
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        let (start, line) = place(reader.position());
        if !reader.read_record(&mut record).map_err(|error| Error::data(path, line, error.to_string()))? {
            // Without a row, names that stand nowhere in the file are no header of it.
            return Ok((if bare && rows.is_empty() { Vec::new() } else { columns }, rows));
        }
        let (end, _) = place(reader.position());
        let raw = &text[start..end];
        // The reader skips blank lines only after it has said where the record begins.
        let line = line + raw.bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|&byte| byte == b'\n').count();
        // The reader takes a quote that is never closed as closed by the end of the file: rows would be lost in silence.
        if end == text.len() && raw.matches('"').count() % 2 == 1 && record.iter().next_back().is_some_and(|cell| cell.contains('\n')) {
            return Err(Error::data(path, line, "a quote opens in this row and is never closed"));
        }
        if columns.is_empty() {
            columns = header_of(path, line, record.iter())?;
            continue;
        }
        if record.len() != columns.len() {
            return Err(misfit(path, line, record.len(), &columns, bare, "; quote a cell that holds the separator"));
        }
        let cells = columns.iter().cloned().zip(record.iter().map(|cell| Value::String(cell.to_owned()))).collect();
        rows.push(Row { line, cells });
    }
}

/// Rows of a table whose cells stand between tabs and are text as they are.
fn tabbed(path: &Path, text: &str, header: Option<&[&str]>) -> Result<(Vec<String>, Vec<Row>)> {
    let bare = header.is_some();
    let mut columns = owned(header);
    let mut rows = Vec::new();
    for (line, text) in text_file::lines(text).filter(|(_, text)| !text.trim().is_empty()) {
        if columns.is_empty() {
            columns = header_of(path, line, text.split('\t'))?;
            continue;
        }
        let n = text.split('\t').count();
        if n != columns.len() {
            return Err(misfit(path, line, n, &columns, bare, ""));
        }
        let cells = columns.iter().cloned().zip(text.split('\t').map(|cell| Value::String(cell.to_owned()))).collect();
        rows.push(Row { line, cells });
    }
    Ok((if bare && rows.is_empty() { Vec::new() } else { columns }, rows))
}

fn owned(header: Option<&[&str]>) -> Vec<String> {
    header.unwrap_or_default().iter().map(|&name| name.to_owned()).collect()
}

/// The names of a header.
fn header_of<'a>(path: &Path, line: usize, cells: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let columns: Vec<String> = cells.map(|name| name.trim().to_owned()).collect();
    match columns.iter().enumerate().find_map(|(i, name)| columns[..i].contains(name).then_some(name)) {
        Some(twice) => Err(Error::data(path, line, format!("the column `{twice}` comes twice in the header"))),
        None => Ok(columns),
    }
}

/// An error about a row with another number of cells than there are columns.
fn misfit(path: &Path, line: usize, n: usize, columns: &[String], bare: bool, remedy: &str) -> Error {
    let from = if bare { "" } else { " as in the header" };
    Error::data(path, line, format!("{n} cells, expected {}{from} ({}){remedy}", columns.len(), listed(columns)))
}

/// Byte and line of a position.
fn place(position: &csv::Position) -> (usize, usize) {
    let number = |number: u64| usize::try_from(number).expect("the file is in memory, so its places are");
    (number(position.byte()), number(position.line()))
}

fn json_lines(path: &Path, text: &str) -> Result<(Vec<String>, Vec<Row>)> {
    let mut rows: Vec<Row> = Vec::new();
    for (line, text) in text_file::lines(text).filter(|(_, text)| !text.trim().is_empty()) {
        let cells = match serde_json::from_str(text) {
            Ok(Value::Object(cells)) => cells,
            Ok(other) => return Err(Error::data(path, line, format!("expected one JSON object a line, found {}", json_kind(&other)))),
            Err(error) => return Err(Error::data(path, line, format!("expected one JSON object a line: {error}"))),
        };
        rows.push(Row { line, cells });
    }
    Ok((rows.first().map(|row| row.cells.keys().cloned().collect()).unwrap_or_default(), rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<DataFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        DataFile::read(&path)
    }

    fn message(name: &str, content: impl AsRef<[u8]>) -> String {
        let message = read(name, content).unwrap_err().to_string();
        message[message.find(name).unwrap()..].to_owned() // without the temporary folder
    }

    fn cells(file: &DataFile) -> Vec<(usize, Vec<String>)> {
        file.rows.iter().map(|row| (row.line, file.columns.iter().map(|column| row.text(file, column).unwrap()).collect())).collect()
    }

    #[test]
    fn quotes_commas_and_line_breaks_stand_in_quoted_cells() {
        let file = read("x.csv", "name,note\n\"a, \"\"b\"\"\",1.50\n\"two\nlines\",\n\"Pelger-Huët\",NA\n").unwrap();
        let of = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(cells(&file), [(2, of("a, \"b\"", "1.50")), (3, of("two\nlines", "")), (5, of("Pelger-Huët", "NA"))]);
    }

    #[test]
    fn marks_of_other_systems_do_not_change_what_is_read() {
        let plain = read("x.tsv", "a\tb\n1\t2\n\n3\t4\n").unwrap();
        let other = read("x.tsv", "\u{feff}a\tb\r\n1\t2\r\n\r\n3\t4").unwrap();
        assert_eq!(plain.columns, ["a", "b"]);
        assert_eq!(cells(&plain), cells(&other));
        assert_eq!(plain.rows[1].line, 4); // the blank line counts
    }

    #[test]
    fn every_malformed_file_names_its_line() {
        assert_eq!(message("x.csv", ""), "x.csv: the file is empty");
        assert_eq!(message("x.csv", "a,b\n"), "x.csv: the file has a header but no row");
        assert_eq!(message("x.csv", "a,b\n1,2\n1,2,3\n"), "x.csv:3: 3 cells, expected 2 as in the header (`a`, `b`); quote a cell that holds the separator");
        assert_eq!(message("x.csv", "a,b\n1,\"2\n3,4\n"), "x.csv:2: a quote opens in this row and is never closed");
        assert_eq!(message("x.csv", "a,a\n1,2\n"), "x.csv:1: the column `a` comes twice in the header");
        assert_eq!(message("x.csv", b"a,b\n1,2\nHu\xebt,2\n"), "x.csv:3: byte 0xeb is not UTF-8; save the file as UTF-8");
        assert_eq!(message("x.jsonl", "{\"a\": 1}\n[1]\n"), "x.jsonl:2: expected one JSON object a line, found an array");
        assert!(message("x.jsonl", "{\"a\": 1}\n\n{\"a\": \n").starts_with("x.jsonl:3: expected one JSON object a line: EOF"));
        assert_eq!(message("x.jsonl", "\n\n"), "x.jsonl: the file is empty");
        assert!(message("x.txt", "a\n1\n").contains("expected `csv`, `tsv` or `jsonl`"));
    }

    #[test]
    fn a_missing_cell_or_column_lists_what_is_there() {
        let file = read("x.jsonl", "{\"a\": 1, \"b\": true}\n{\"a\": [1], \"b\": \" \"}\n{\"b\": \"t\"}\n").unwrap();
        assert_eq!(file.rows[0].text(&file, "b").unwrap(), "true");
        let error = |row: usize, column: &str| file.rows[row].filled(&file, column).unwrap_err().to_string();
        assert!(error(1, "a").ends_with("x.jsonl:2: `a` is [1], expected a text"));
        assert!(error(1, "b").ends_with("x.jsonl:2: `b` is empty"));
        assert!(error(2, "a").ends_with("x.jsonl:3: there is no `a`; the row has `b`"));
        let message = file.column(&["c", "d"], "subject").unwrap_err().to_string();
        assert!(message.ends_with("x.jsonl:1: no column for the subject: looked for `c`, `d`; the keys are `a`, `b`"), "{message}");
    }
}
