//! One JSON object a line.

use std::path::Path;

use lmprobe_core::{Error, Result};
use serde_json::{Map, Value};

use super::records::{Columns, Line, Lines, Record, Records, Source, kind, missing_field};

/// A file of JSON objects; a field holds the text. Blank lines are no records.
pub(crate) struct JsonLines {
    lines: Lines,
    columns: Columns,
}

impl JsonLines {
    pub(crate) fn new(source: Source, columns: &Columns) -> Self {
        Self { lines: Lines::new(source), columns: columns.clone() }
    }
}

impl Records for JsonLines {
    fn next(&mut self) -> Result<Option<Record>> {
        let path = self.lines.path().to_owned();
        loop {
            let Some(Line { number: line, text, .. }) = self.lines.next()? else { return Ok(None) };
            if text.trim().is_empty() {
                continue;
            }
            let fields: Map<String, Value> =
                serde_json::from_str(text).map_err(|error| Error::data(&path, line, format!("not a JSON object on one line: {}", said(&error))))?;
            let field = |name: &str| match fields.get(name) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(other) => Err(Error::data(&path, line, format!("the field `{name}` is {}, expected text", kind(other)))),
                None => Err(missing_field(&path, line, name, &fields)),
            };
            let name = self.columns.text.as_deref().unwrap_or("text");
            let pair = self.columns.pair.as_deref().map(field).transpose()?;
            let id = self.columns.id.of_object(&path, line, &fields)?;
            return Ok(Some(Record { line, offset: None, id, text: field(name)?, pair }));
        }
    }

    fn path(&self) -> &Path {
        self.lines.path()
    }

    fn progress(&self) -> (&'static str, u64, Option<u64>) {
        self.lines.progress()
    }
}

/// The parser's message without its own line number, which is always 1.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
