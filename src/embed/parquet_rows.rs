//! Rows of a Parquet file.

use std::fs::File;
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};
use polars::prelude::{AnyValue, DataFrame, DataType, ParquetReader, PolarsError, SerReader};
use serde_json::Value;

use super::records::{Columns, LONGEST, Record, Records, find, too_long};

/// Rows decoded at once: texts of a few hundred bytes fill some MiB.
const ROWS: usize = 16_384;

/// A Parquet file of which one or two columns of text, and one of ids, are read, slice by slice.
pub(crate) struct ParquetRows {
    path: PathBuf,
    text: String,
    pair: Option<String>,
    id: Option<String>,
    n_rows: usize,
    /// First row of the slice in memory.
    start: usize,
    slice: DataFrame,
    /// Next row of the file.
    row: usize,
}

impl ParquetRows {
    pub(crate) fn open(path: &Path, columns: &Columns) -> Result<Self> {
        let malformed = |error: PolarsError| Error::data(path, None, format!("not a Parquet file ({error})"));
        let mut reader = ParquetReader::new(File::open(path).map_err(Error::io(path))?);
        let schema = reader.schema().map_err(malformed)?;
        let names: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
        let n_rows = reader.num_rows().map_err(malformed)?;
        let column = |asked: Option<&str>| -> Result<String> {
            let name = &names[find(path, &names, asked)?];
            let kind = schema.get(name).map(DataType::from_arrow_field);
            match kind {
                Some(DataType::String) => Ok(name.clone()),
                other => {
                    let kind = other.map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
                    Err(Error::data(path, None, format!("the column `{name}` is of type {kind}, expected text")))
                }
            }
        };
        let text = column(columns.text.as_deref())?;
        let pair = columns.pair.as_deref().map(|name| column(Some(name))).transpose()?;
        let id = columns.id.find(path, &names)?.map(|column| names[column].clone());
        if let Some(name) = &id
            && let Some(kind) = schema.get(name).map(DataType::from_arrow_field)
            && !(kind == DataType::String || kind.is_integer())
        {
            let message = format!("the column `{name}` of the ids is of type {kind}, expected text or whole numbers; --id-column names another");
            return Err(Error::data(path, None, message));
        }
        Ok(Self { path: path.to_owned(), text, pair, id, n_rows, start: 0, slice: DataFrame::empty(), row: 0 })
    }

    fn cell(&self, column: &str) -> Result<String> {
        let cells = self.slice.column(column)?.str()?;
        let text = cells.get(self.row - self.start).ok_or_else(|| {
            Error::data(&self.path, self.row + 1, format!("the column `{column}` has no value in this row; drop such rows or fill them with an empty text"))
        })?;
        if text.len() > LONGEST { Err(too_long(&self.path, self.row + 1)) } else { Ok(text.to_owned()) }
    }
}

impl ParquetRows {
    /// The id of the row, if it has one.
    fn id(&self) -> Result<Option<Value>> {
        let Some(column) = &self.id else { return Ok(None) };
        let cell = self.slice.column(column)?.get(self.row - self.start)?;
        Ok(match cell {
            AnyValue::Null => None,
            AnyValue::String(text) => Some(text.into()),
            number => number.extract::<i64>().map(Value::from).or_else(|| number.extract::<u64>().map(Value::from)),
        })
    }
}

impl Records for ParquetRows {
    fn next(&mut self) -> Result<Option<Record>> {
        if self.row >= self.n_rows {
            return Ok(None);
        }
        if self.row >= self.start + self.slice.height() {
            let file = File::open(&self.path).map_err(Error::io(&self.path))?;
            let mut columns: Vec<String> = std::iter::once(&self.text).chain(&self.pair).chain(&self.id).cloned().collect();
            columns.sort_unstable();
            columns.dedup();
            let reader = ParquetReader::new(file).with_columns(Some(columns)).with_slice(Some((self.row, ROWS)));
            self.slice = reader.finish().map_err(|error| Error::data(&self.path, self.row + 1, format!("cannot be decoded ({error}); the file is damaged")))?;
            self.start = self.row;
            if self.slice.height() == 0 {
                return Err(Error::data(&self.path, self.row + 1, format!("the file ends here, but says that it has {} rows", self.n_rows)));
            }
        }
        let pair = self.pair.as_deref().map(|column| self.cell(column)).transpose()?;
        let record = Record { line: self.row + 1, offset: None, id: self.id()?, text: self.cell(&self.text)?, pair };
        self.row += 1;
        Ok(Some(record))
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn progress(&self) -> (&'static str, u64, Option<u64>) {
        ("rows", self.row as u64, Some(self.n_rows as u64))
    }
}
