//! `tokenizer.json`, the tokenizer of the `tokenizers` crate in one file.

use std::path::Path;

use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Error, Result};
use tokenizers::Tokenizer;

use super::casing::{Casing, Decision};
use super::pipeline::{Pipeline, contained};

/// Reads a `tokenizer.json`; `lowercase` is what `tokenizer_config.json` says about casing.
pub(super) fn read(path: &Path, bytes: &[u8], lowercase: Option<bool>, casing: Casing) -> Result<(Pipeline, Decision)> {
    let mut json: Value = serde_json::from_slice(bytes).map_err(|error| Error::data(path, error.line(), format!("not a tokenizer: {error}")))?;
    let does = match lowercase_switch(&mut json) {
        Some(switch) => switch.as_bool() == Some(true),
        None => normalizers(&mut json).iter().any(|step| step.get("type").and_then(Value::as_str) == Some("Lowercase")),
    };
    let has_switch = lowercase_switch(&mut json).is_some();
    let decision = Decision::of_normalizer(casing, lowercase, does, has_switch, path)?;
    if let Some(switch) = lowercase_switch(&mut json) {
        *switch = Value::Bool(decision.lowercase);
    }
    if let Some(processor) = json.get_mut("post_processor") {
        keep_offsets(processor);
    }
    let tokenizer = contained(|| Tokenizer::from_bytes(json.to_string())).map_err(|error| {
        let text = error.to_string();
        Error::model(path, format!("not a tokenizer: {}", text.strip_prefix("tokenizer: ").unwrap_or(&text)))
    })?;
    Ok((Pipeline::new(tokenizer, path)?, decision))
}

/// The steps of the normalizer.
fn normalizers(json: &mut Value) -> Vec<&mut Value> {
    match json.get_mut("normalizer") {
        Some(normalizer) if normalizer.get("normalizers").is_some_and(Value::is_array) => {
            normalizer["normalizers"].as_array_mut().map(|steps| steps.iter_mut().collect()).unwrap_or_default()
        }
        Some(normalizer) => vec![normalizer],
        None => Vec::new(),
    }
}

/// The entry that switches lower-casing on.
fn lowercase_switch(json: &mut Value) -> Option<&mut Value> {
    normalizers(json).into_iter().find_map(|step| step.get_mut("lowercase").filter(|switch| switch.is_boolean()))
}

/// Keeps post-processors from moving offsets: they do so by the length of the piece, which is wrong for a first piece without a
/// space. [`Pipeline`] moves them by looking at the text.
fn keep_offsets(processor: &mut Value) {
    if let Some(trim) = processor.get_mut("trim_offsets") {
        *trim = Value::Bool(false);
    }
    for inner in processor.get_mut("processors").and_then(Value::as_array_mut).into_iter().flatten() {
        keep_offsets(inner);
    }
}
