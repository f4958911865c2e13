//! Files of rows: CSV, TSV and JSON Lines, read strictly, every error with its line.

use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};
use serde_json::{Map, Value};

use super::template::listed;
use super::text_file::{self, json_kind};
use super::{csv_quotes, strict_json};

/// A file of rows with named cells, at least one.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// The header of a table, or the keys of all JSON objects in the order in which they come.
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

/// What the names of a table's columns are, by its first line and its cells: these names, or, without any, the line's own.
type Layout<'a> = &'a dyn Fn(usize, &[&str]) -> Result<Option<&'a [&'a str]>>;

impl DataFile {
    /// Reads a file by its ending: `csv` (RFC 4180), `tsv` (the same with tabs), or `jsonl`, `ndjson`, `json` (one object a line).
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8, has no row, or a row does not fit its format; the error names the line.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::filled(path, |text| match text_file::ending(path).as_str() {
            "csv" => delimited(path, text, b',', &|_, _| Ok(None)),
            "tsv" => delimited(path, text, b'\t', &|_, _| Ok(None)),
            "jsonl" | "ndjson" | "json" => json_lines(path, text),
            _ => Err(Error::data(path, None, "cannot tell the format from the file's ending; expected `csv`, `tsv` or `jsonl`")),
        })
    }

    /// Reads a file like [`Self::read`], but a quote in a `tsv` is text like any other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_verbatim(path: &Path) -> Result<Self> {
        if text_file::ending(path) == "tsv" { Self::filled(path, |text| tabbed(path, text, &|_, _| Ok(None))) } else { Self::read(path) }
    }

    /// Reads a `csv` or a verbatim `tsv` that has no header.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_bare(path: &Path, columns: &[&str]) -> Result<Self> {
        Self::read_table(path, &|_, _| Ok(Some(columns)))
    }

    /// Reads a `csv` or a verbatim `tsv` whose first line may be a header, as `layout` says.
    ///
    /// # Errors
    /// As [`Self::read`], and those of `layout`.
    pub(crate) fn read_table(path: &Path, layout: Layout<'_>) -> Result<Self> {
        Self::filled(path, |text| match text_file::ending(path).as_str() {
            "csv" => delimited(path, text, b',', layout),
            "tsv" => tabbed(path, text, layout),
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

    /// The first of these names that is a column of every row; else the first that is one of some rows, so that the others are errors.
    ///
    /// # Errors
    /// If none is; `what` says what it would hold.
    pub(crate) fn column<'a>(&self, names: &[&'a str], what: &str) -> Result<&'a str> {
        let everywhere = |&name: &&str| self.columns.iter().any(|column| column == name) && self.rows.iter().all(|row| row.cells.contains_key(name));
        let somewhere = |&name: &&str| self.columns.iter().any(|column| column == name);
        names.iter().copied().find(everywhere).or_else(|| names.iter().copied().find(somewhere)).ok_or_else(|| {
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

    /// The text of a cell of a column that a file need not have; none without the column.
    ///
    /// # Errors
    /// If the cell is missing, while other rows have it, or is blank or no text.
    pub(crate) fn optional(&self, file: &DataFile, column: Option<&str>) -> Result<Option<String>> {
        let Some(column) = column else { return Ok(None) };
        if !self.cells.contains_key(column) {
            let own = listed(&self.cells.keys().collect::<Vec<_>>());
            return Err(file.error(self, format!("there is no `{column}`, which other rows have; the row has {own}")));
        }
        self.filled(file, column).map(Some)
    }
}

fn delimited(path: &Path, text: &str, delimiter: u8, layout: Layout<'_>) -> Result<(Vec<String>, Vec<Row>)> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut table = Table::new(path, layout, "; quote a cell that holds the separator");
    let mut record = csv::StringRecord::new();
    loop {
        let (start, line) = place(reader.position());
        if !reader.read_record(&mut record).map_err(|error| Error::data(path, line, error.to_string()))? {
            return Ok((table.columns, table.rows));
        }
        let (end, _) = place(reader.position());
        let raw = &text[start..end];
        csv_quotes::check(raw, delimiter).map_err(|(below, message)| Error::data(path, line + below, message))?;
        // The reader skips blank lines only after it has said where the record begins.
        let line = line + raw.bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|&byte| byte == b'\n').count();
        table.add(line, &record.iter().collect::<Vec<_>>())?;
    }
}

/// Rows of a table whose cells stand between tabs and are text as they are.
fn tabbed(path: &Path, text: &str, layout: Layout<'_>) -> Result<(Vec<String>, Vec<Row>)> {
    let mut table = Table::new(path, layout, "");
    for (line, text) in text_file::lines(text).filter(|(_, text)| !text_file::is_blank(text)) {
        text_file::one_line(path, line, text)?;
        table.add(line, &text.split('\t').collect::<Vec<_>>())?;
    }
    Ok((table.columns, table.rows))
}

/// A table that is being read.
struct Table<'p, 'l> {
    path: &'p Path,
    layout: Layout<'l>,
    /// What else to do about a row with the wrong number of cells.
    remedy: &'static str,
    /// Whether the names of the columns do not stand in the file.
    bare: bool,
    columns: Vec<String>,
    rows: Vec<Row>,
}

impl<'p, 'l> Table<'p, 'l> {
    fn new(path: &'p Path, layout: Layout<'l>, remedy: &'static str) -> Self {
        Self { path, layout, remedy, bare: false, columns: Vec::new(), rows: Vec::new() }
    }

    fn add(&mut self, line: usize, cells: &[&str]) -> Result<()> {
        if self.columns.is_empty() {
            let Some(names) = (self.layout)(line, cells)? else {
                self.columns = header_of(self.path, line, cells)?;
                return Ok(());
            };
            self.bare = true;
            self.columns = names.iter().map(|&name| name.to_owned()).collect();
        }
        if cells.len() != self.columns.len() {
            let from = if self.bare { "" } else { " as in the header" };
            let message = format!("{} cells, expected {}{from} ({}){}", cells.len(), self.columns.len(), listed(&self.columns), self.remedy);
            return Err(Error::data(self.path, line, message));
        }
        let cells = self.columns.iter().cloned().zip(cells.iter().map(|&cell| Value::from(cell))).collect();
        self.rows.push(Row { line, cells });
        Ok(())
    }
}

/// The names of a header.
fn header_of(path: &Path, line: usize, cells: &[&str]) -> Result<Vec<String>> {
    let columns: Vec<String> = cells.iter().map(|name| name.trim().to_owned()).collect();
    match columns.iter().enumerate().find_map(|(i, name)| columns[..i].contains(name).then_some(name)) {
        Some(twice) => Err(Error::data(path, line, format!("the column `{twice}` comes twice in the header"))),
        None => Ok(columns),
    }
}

/// Byte and line of a position.
fn place(position: &csv::Position) -> (usize, usize) {
    let number = |number: u64| usize::try_from(number).expect("the file is in memory, so its places are");
    (number(position.byte()), number(position.line()))
}

fn json_lines(path: &Path, text: &str) -> Result<(Vec<String>, Vec<Row>)> {
    let mut columns: Vec<String> = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for (line, text) in text_file::lines(text).filter(|(_, text)| !text.trim().is_empty()) {
        let cells = match strict_json::parse(text, "one JSON object a line") {
            Ok(Value::Object(cells)) => cells,
            Ok(other) => return Err(Error::data(path, line, format!("expected one JSON object a line, found {}", json_kind(&other)))),
            Err(defect) => return Err(Error::data(path, line, defect.message)),
        };
        for key in cells.keys() {
            if !columns.contains(key) {
                columns.push(key.clone());
            }
        }
        rows.push(Row { line, cells });
    }
    Ok((columns, rows))
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
    fn a_quote_inside_a_cell_opens_nothing() {
        let file = read("x.csv", "text,label\n5\" cut,a\n6\" burn,b\n").unwrap();
        let of = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(cells(&file), [(2, of("5\" cut", "a")), (3, of("6\" burn", "b"))]);
    }

    #[test]
    fn a_row_of_blank_cells_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tsv");
        std::fs::write(&path, "a\tb\n1\t2\n \t\n  \n").unwrap();
        let file = DataFile::read_verbatim(&path).unwrap();
        assert_eq!(file.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 3]); // the fourth line has no cell
        assert!(file.rows[1].filled(&file, "a").unwrap_err().to_string().ends_with("x.tsv:3: `a` is empty"));
        std::fs::write(&path, "a\tb\n1\t2\r3\t4\r").unwrap();
        let message = DataFile::read_verbatim(&path).unwrap_err().to_string();
        assert!(message.ends_with("x.tsv:2: a carriage return stands inside the line; save the file with lines that end in LF or CRLF"), "{message}");
    }

    #[test]
    fn a_column_of_later_rows_is_a_column_and_rows_without_it_are_errors() {
        let file = read("x.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\", \"id\": \"7\"}\n{\"sentence\": \"c\", \"text\": \"d\"}\n").unwrap();
        assert_eq!(file.columns, ["text", "id", "sentence"]);
        assert_eq!(file.column(&["sentence", "text"], "text").unwrap(), "text"); // every row has it
        let id = file.choose_if_there(None, &["id", "index"], "id").unwrap();
        assert_eq!(file.rows[1].optional(&file, id).unwrap().as_deref(), Some("7"));
        let message = file.rows[0].optional(&file, id).unwrap_err().to_string();
        assert!(message.ends_with("x.jsonl:1: there is no `id`, which other rows have; the row has `text`"), "{message}");
        assert_eq!(file.rows[0].optional(&file, None).unwrap(), None);
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
        assert_eq!(message("x.csv", "a,b\n5\" cut,\"x\nb,y\nc,z\nd,x\n"), "x.csv:2: a quote opens in this row and is never closed");
        assert_eq!(message("x.csv", "a,b\n1,2\n\n\"3\n4\",\"5\n6,7\n"), "x.csv:5: a quote opens in this row and is never closed");
        assert_eq!(
            message("x.csv", "a,b\n5\" cut,\"x\nb,\"y\"\nc,z\n"),
            "x.csv:2: a quoted cell goes on behind its closing quote; a quote inside a quoted cell is written twice"
        );
        assert_eq!(message("x.jsonl", "{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n"), "x.jsonl:2: the key `a` comes twice; keep one");
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
