//! `${NAME}` in double quotes.
//!
//! The YAML library fills in plain scalars only, and inside `{...}` and `[...]` a plain scalar cannot hold a brace: there
//! the reference must be quoted. So, as in a shell, double quotes expand and single quotes do not. The result is a text.

use crate::diagnostic::Report;
use crate::node::{Node, Value, join};

/// Fills in the environment below a node and reports what is not set.
pub(crate) fn expand(node: &mut Node, key: &str, report: &mut Report, lookup: &dyn Fn(&str) -> Option<String>) {
    match &mut node.value {
        Value::String(text) if text.contains("${") && report.character(node.location) == Some('"') => match expanded(text, lookup) {
            Ok(value) => *text = value,
            Err(Problem { message, help }) => {
                report.error(node.location, key, message).help(help);
            }
        },
        Value::Seq(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, &format!("{key}[{index}]"), report, lookup);
            }
        }
        Value::Map(entries) => {
            for (name, value) in entries {
                expand(value, &join(key, &name.text), report, lookup);
            }
        }
        _ => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Problem {
    message: String,
    help: Option<String>,
}

/// The text with every reference replaced; `$${` stands for `${`. The values themselves are not looked into.
fn expanded(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = &reference[2..];
            continue;
        }
        result.push_str(before);
        let end = closing_brace(reference).ok_or_else(|| Problem {
            message: "a reference `${` is not closed".to_owned(),
            help: Some("write `$${` for the characters themselves".to_owned()),
        })?;
        result.push_str(&value_of(&reference[2..end], lookup)?);
        rest = &reference[end + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

/// The brace that closes the reference at the beginning of the text; a default may hold references of its own.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (position, character) in text.char_indices() {
        match character {
            '{' if text[..position].ends_with('$') => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
    None
}

/// The value of what stands between the braces: `NAME`, or `NAME` with `:-default`, `:?why` or `:+instead`.
///
/// With the colon an empty variable counts as one that is not set.
fn value_of(reference: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let name_end = reference.find(|character: char| !character.is_ascii_alphanumeric() && character != '_').unwrap_or(reference.len());
    let (name, operator) = reference.split_at(name_end);
    if name.is_empty() || name.starts_with(|character: char| character.is_ascii_digit()) {
        return Err(Problem { message: format!("`${{{reference}}}` names no environment variable"), help: None });
    }
    let value = lookup(name);
    let (operator, empty_counts) = operator.strip_prefix(':').map_or((operator, true), |operator| (operator, false));
    let value = value.filter(|value| empty_counts || !value.is_empty());
    let mut characters = operator.chars();
    match (characters.next(), value) {
        (None, Some(value)) if empty_counts => Ok(value),
        (None, None) if empty_counts => {
            Err(Problem { message: format!("the environment variable `{name}` is not set"), help: Some(format!("set it, or write `${{{name}:-default}}`")) })
        }
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => expanded(characters.as_str(), lookup),
        (Some('?'), None) => Err(Problem { message: format!("the environment variable `{name}` is not set: {}", characters.as_str()), help: None }),
        (Some('+'), None) => Ok(String::new()),
        _ => Err(Problem {
            message: format!("`${{{reference}}}` is not a reference to the environment"),
            help: Some(format!("write `${{{name}}}`, `${{{name}:-default}}` or `${{{name}:?why}}`")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::parse;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${SET}".to_owned()),
            _ => None,
        }
    }

    fn message(text: &str) -> String {
        expanded(text, &lookup).unwrap_err().message
    }

    #[test]
    fn references_are_replaced_as_in_a_shell() {
        for (text, value) in [
            ("a/${SET}/b", "a/value/b"),
            ("${UNSET:-x y}", "x y"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${UNSET:-${SET}}!", "value!"),
            ("${SET:+yes}${UNSET:+no}", "yes"),
            ("${SET:?why}", "value"),
            ("$${SET} $5 {}", "${SET} $5 {}"),
            ("${TRICKY}", "${SET}"),
        ] {
            assert_eq!(expanded(text, &lookup).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn a_reference_without_a_value_says_why() {
        assert_eq!(message("${UNSET}"), "the environment variable `UNSET` is not set");
        assert_eq!(message("${UNSET:?give the folder}"), "the environment variable `UNSET` is not set: give the folder");
        assert_eq!(message("${SET"), "a reference `${` is not closed");
        assert_eq!(message("${}"), "`${}` names no environment variable");
        assert_eq!(message("${A B}"), "`${A B}` is not a reference to the environment");
    }

    #[test]
    fn only_double_quotes_expand() {
        let (mut node, mut report) = parse("a: [\"${SET}\", '${SET}']\nb: {c: \"${UNSET}\"}\n");
        expand(&mut node, "", &mut report, &lookup);
        assert_eq!(node.get("a").unwrap().to_json(), json!(["value", "${SET}"]));
        assert!(report.into_invalid().to_string().starts_with("run.yaml:2:8: b.c: the environment variable `UNSET` is not set"));
    }
}
