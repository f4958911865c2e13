//! Text files, read strictly: UTF-8, with or without a byte order mark, lines that end as on any system.

use std::path::Path;

use lmprobe_core::{Error, Result};
use serde_json::Value;

use super::strict_json;

/// The text of a file, without its byte order mark.
///
/// # Errors
/// If the file cannot be read or is not UTF-8; the error names the line.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let (good, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..good].split(|&byte| byte == b'\n').count();
        Error::data(path, line, format!("byte 0x{:02x} is not UTF-8; save the file as UTF-8", bytes[good]))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The lines of a text with their numbers, from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// Whether a line of a table is empty; one with a tab has cells, which may be.
pub(crate) fn is_blank(line: &str) -> bool {
    line.trim().is_empty() && !line.contains('\t')
}

/// Refuses a line with a carriage return inside: lines that end as on old systems would be read as one.
///
/// # Errors
/// If there is one.
pub(crate) fn one_line(path: &Path, line: usize, text: &str) -> Result<()> {
    if text.trim_end_matches('\r').contains('\r') {
        return Err(Error::data(path, line, "a carriage return stands inside the line; save the file with lines that end in LF or CRLF"));
    }
    Ok(())
}

/// The JSON value that a file holds.
///
/// # Errors
/// If the file cannot be read, is empty, is not JSON or has a key twice in an object; the error names the line.
pub(crate) fn json(path: &Path) -> Result<Value> {
    let text = read(path)?;
    if text.trim().is_empty() {
        return Err(Error::data(path, None, "the file is empty"));
    }
    strict_json::parse(&text, "JSON").map_err(|defect| Error::data(path, defect.line, defect.message))
}

/// Whether a text holds JSON objects, one a line, and is not one document: its first line is an object, and others follow.
pub(crate) fn has_object_a_line(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().is_some_and(|line| matches!(serde_json::from_str(line), Ok(Value::Object(_))));
    first && lines.next().is_some()
}

/// What a file's name ends in, in lower case.
pub(crate) fn ending(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Whether a file's name says that it holds JSON: one document, or an object a line.
pub(crate) fn is_json(path: &Path) -> bool {
    matches!(ending(path).as_str(), "json" | "jsonl" | "ndjson")
}

/// What kind of JSON value it is, for messages.
pub(crate) fn json_kind(value: &Value) -> &'static str {
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

    #[test]
    fn the_content_tells_a_document_from_an_object_a_line() {
        assert!(has_object_a_line("{\"a\": 1}\n\n{\"a\": 2}\n"));
        for document in ["{\"a\": 1}\n", "{\n\"a\": 1\n}\n", "[{}]\n", "[\n{}\n]\n", ""] {
            assert!(!has_object_a_line(document), "{document:?}");
        }
    }

    #[test]
    fn a_carriage_return_inside_a_line_is_refused() {
        let message = |text: &str| one_line(Path::new("a.tsv"), 3, text).map_err(|error| error.to_string());
        assert_eq!(message("a\tO\r"), Ok(()));
        assert_eq!(message("a\rb").unwrap_err(), "a.tsv:3: a carriage return stands inside the line; save the file with lines that end in LF or CRLF");
    }
}
