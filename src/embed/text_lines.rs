//! One text a line.

use std::path::Path;

use lmprobe_core::{Error, Result};

use super::records::{Columns, Lines, Record, Records, Source};

/// A text file whose lines are the records; an empty line is an empty text.
pub(crate) struct TextLines(Lines);

impl TextLines {
    pub(crate) fn new(source: Source, columns: &Columns) -> Result<Self> {
        for (option, asked) in [("--column", &columns.text), ("--pair-column", &columns.pair)] {
            if asked.is_some() {
                return Err(Error::Config(format!(
                    "{option} names a column, but {} holds one text a line; columns are read from .csv, .tsv, .jsonl and .parquet",
                    source.path.display()
                )));
            }
        }
        Ok(Self(Lines::new(source)))
    }
}

impl Records for TextLines {
    fn next(&mut self) -> Result<Option<Record>> {
        Ok(self.0.next()?.map(|(line, text)| Record { line, text: text.to_owned(), pair: None }))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn progress(&self) -> (&'static str, u64, Option<u64>) {
        self.0.progress()
    }
}
