//! Text files, read strictly: UTF-8, with or without a byte order mark, lines that end as on any system.

use std::path::Path;

use lmprobe_core::{Error, Result};
use serde_json::Value;

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

/// The JSON value that a file holds.
///
/// # Errors
/// If the file cannot be read, is empty or is not JSON; the error names the line.
pub(crate) fn json(path: &Path) -> Result<Value> {
    let text = read(path)?;
    if text.trim().is_empty() {
        return Err(Error::data(path, None, "the file is empty"));
    }
    serde_json::from_str(&text).map_err(|error| Error::data(path, error.line(), format!("expected JSON: {error}")))
}

/// What a file's name ends in, in lower case.
pub(crate) fn ending(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Whether a file's name says that each of its lines is a JSON value.
pub(crate) fn is_json_lines(path: &Path) -> bool {
    matches!(ending(path).as_str(), "jsonl" | "ndjson")
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
