//! Files of rows: CSV, TSV and JSON Lines, read strictly, every error with its line.

use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};
use serde_json::{Map, Value};

use super::template::listed;

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
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let good = &bytes[..error.valid_up_to()];
            let line = good.split(|&byte| byte == b'\n').count();
            Error::data(path, line, format!("byte 0x{:02x} is not UTF-8; save the file as UTF-8", bytes[good.len()]))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (columns, rows) = match ending.as_str() {
            "csv" => delimited(path, text, b',')?,
            "tsv" => delimited(path, text, b'\t')?,
            "jsonl" | "ndjson" | "json" => json_lines(path, text)?,
            _ => return Err(Error::data(path, None, "cannot tell the format from the file's ending; expected `csv`, `tsv` or `jsonl`")),
        };
        if rows.is_empty() {
            return Err(Error::data(path, None, if columns.is_empty() { "the file is empty" } else { "the file has a header but no row" }));
        }
        Ok(Self { path: path.to_owned(), columns, rows, has_lists: !matches!(ending.as_str(), "csv" | "tsv") })
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

fn delimited(path: &Path, text: &str, delimiter: u8) -> Result<(Vec<String>, Vec<Row>)> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut columns: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        let (start, line) = place(reader.position());
        if !reader.read_record(&mut record).map_err(|error| Error::data(path, line, error.to_string()))? {
            return Ok((columns, rows));
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
            columns = record.iter().map(|name| name.trim().to_owned()).collect();
            if let Some(twice) = columns.iter().enumerate().find_map(|(i, name)| columns[..i].contains(name).then_some(name)) {
                return Err(Error::data(path, line, format!("the column `{twice}` comes twice in the header")));
            }
            continue;
        }
        if record.len() != columns.len() {
            let message =
                format!("{} cells, expected {} as in the header ({}); quote a cell that holds the separator", record.len(), columns.len(), listed(&columns));
            return Err(Error::data(path, line, message));
        }
        let cells = columns.iter().cloned().zip(record.iter().map(|cell| Value::String(cell.to_owned()))).collect();
        rows.push(Row { line, cells });
    }
}

/// Byte and line of a position.
fn place(position: &csv::Position) -> (usize, usize) {
    let number = |number: u64| usize::try_from(number).expect("the file is in memory, so its places are");
    (number(position.byte()), number(position.line()))
}

fn json_lines(path: &Path, text: &str) -> Result<(Vec<String>, Vec<Row>)> {
    let mut rows: Vec<Row> = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let cells = match serde_json::from_str(text) {
            Ok(Value::Object(cells)) => cells,
            Ok(other) => return Err(Error::data(path, line, format!("expected one JSON object a line, found {}", json_kind(&other)))),
            Err(error) => return Err(Error::data(path, line, format!("expected one JSON object a line: {error}"))),
        };
        rows.push(Row { line, cells });
    }
    Ok((rows.first().map(|row| row.cells.keys().cloned().collect()).unwrap_or_default(), rows))
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
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
