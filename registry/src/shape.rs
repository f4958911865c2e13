//! What a JSON Schema says, in the words of a person.

use lmprobe_core::PathKind;
use serde_json::Value as Json;

use crate::node::Value;
use crate::suggestion::quoted;

/// The schemas of `anyOf` and `oneOf`, nested ones unfolded.
pub(crate) fn alternatives(schema: &Json) -> Vec<&Json> {
    let listed = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
    listed
        .into_iter()
        .flatten()
        .flat_map(|schema| {
            let nested = alternatives(schema);
            if nested.is_empty() { vec![schema] } else { nested }
        })
        .collect()
}

/// The values a schema lists, if it lists them.
pub(crate) fn literals(schema: &Json) -> Option<Vec<&Json>> {
    static NULL: Json = Json::Null;
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.iter().collect());
    }
    (schema.get("type").and_then(Json::as_str) == Some("null")).then(|| vec![&NULL])
}

/// The types a schema allows; empty if it allows all.
pub(crate) fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What kind of path a value is, if it is one.
pub(crate) fn path_kind(schema: &Json) -> Option<PathKind> {
    schema["format"].as_str().and_then(PathKind::from_format)
}

/// Whether the schema is about values of this type.
pub(crate) fn accepts(schema: &Json, value: &Value) -> bool {
    let alternatives = alternatives(schema);
    if !alternatives.is_empty() {
        return alternatives.iter().any(|schema| accepts(schema, value));
    }
    if let Some(literals) = literals(schema) {
        return literals.iter().any(|literal| match value {
            Value::Null => literal.is_null(),
            Value::Bool(_) => literal.is_boolean(),
            Value::Int(_) | Value::Float(_) => literal.is_number(),
            Value::String(_) => literal.is_string(),
            Value::Seq(_) => literal.is_array(),
            Value::Map(_) => literal.is_object(),
        });
    }
    let types = types(schema);
    let allows = |name: &str| types.is_empty() || types.contains(&name);
    match value {
        Value::Null => allows("null"),
        Value::Bool(_) => allows("boolean"),
        Value::Int(_) => allows("integer") || allows("number"),
        Value::Float(value) => allows("number") || (allows("integer") && value.fract() == 0.0),
        Value::String(_) => allows("string"),
        Value::Seq(_) => allows("array"),
        Value::Map(_) => allows("object"),
    }
}

/// What a schema wants, for "expected ...".
pub(crate) fn expectation(schema: &Json) -> String {
    let alternatives = alternatives(schema);
    if !alternatives.is_empty() {
        let all: Option<Vec<Vec<&Json>>> = alternatives.iter().map(|schema| literals(schema)).collect();
        return all.map_or_else(|| any_of(alternatives.iter().map(|schema| expectation(schema))), |all| literal_expectation(&all.concat()));
    }
    if let Some(literals) = literals(schema) {
        return literal_expectation(&literals);
    }
    match path_kind(schema) {
        Some(PathKind::File) => return "the path of a file".to_owned(),
        Some(PathKind::Folder) => return "the path of a folder".to_owned(),
        Some(PathKind::Model) => return "a model folder or a hub id".to_owned(),
        Some(PathKind::Files) => return "the path of a file, a glob, or a list of them".to_owned(),
        None => {}
    }
    any_of(types(schema).into_iter().map(|name| {
        match name {
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "`true` or `false`",
            "string" => "text",
            "array" => "a list",
            "object" => "a mapping",
            "null" => "nothing",
            _ => "a value",
        }
        .to_owned()
    }))
}

/// What a list of values wants.
pub(crate) fn literal_expectation(literals: &[&Json]) -> String {
    let shown: Vec<String> =
        literals.iter().filter(|literal| !literal.is_null()).map(|literal| literal.as_str().map_or_else(|| literal.to_string(), str::to_owned)).collect();
    match shown.as_slice() {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        several => format!("one of {}", quoted(several.iter().map(String::as_str))),
    }
}

/// Expectations joined by "or". That a value may also be left empty helps nobody who gave one.
pub(crate) fn any_of(expectations: impl IntoIterator<Item = String>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in expectations {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if parts.len() > 1 {
        parts.retain(|part| part != "nothing");
    }
    if parts.is_empty() { "a value".to_owned() } else { parts.join(" or ") }
}

/// Beyond this a float no longer counts every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether a float is a whole number and certainly the one that was written.
pub(crate) fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() <= EXACT
}

/// The whole number that a float [`is_whole`] is.
#[expect(clippy::cast_possible_truncation, reason = "whole and far below the largest integer")]
pub(crate) fn whole(value: f64) -> i128 {
    value as i128
}

/// The range of a Rust integer type.
pub(crate) fn width(format: &str) -> (i128, i128) {
    match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint" | "uint64" => (0, u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int" | "int64" => (i64::MIN.into(), i64::MAX.into()),
        _ => (i64::MIN.into(), u64::MAX.into()),
    }
}

/// The first sentence of a description.
pub(crate) fn first_sentence(text: &str) -> String {
    let text = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    text.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}
