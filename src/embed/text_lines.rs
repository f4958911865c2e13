//! One text a line.

use std::path::Path;

use lmprobe_core::{Error, Result};

use super::records::{Columns, Lines, Record, Records, Source};

/// A text file whose lines are the records; an empty line is an empty text.
pub(crate) struct TextLines(Lines);

impl TextLines {
    pub(crate) fn new(source: Source, columns: &Columns) -> Result<Self> {
        for (option, asked) in [("--column", columns.text.as_deref()), ("--pair-column", columns.pair.as_deref()), ("--id-column", columns.id.asked())] {
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
        Ok(self.0.next()?.map(|line| Record { line: line.number, offset: Some(line.offset), id: None, text: line.text.to_owned(), pair: None }))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn is_plain_text(&self) -> bool {
        true
    }

    fn progress(&self) -> (&'static str, u64, Option<u64>) {
        self.0.progress()
    }
}
