//! JSON as Python's `json.dump` writes it.

use std::fmt::Write;

use serde_json::Value;

use crate::float64_text;

/// The value with `indent` blanks a level, everything beyond ASCII escaped, numbers as Python prints them; no line end behind it.
pub(crate) fn dump(value: &Value, indent: usize) -> String {
    let mut text = String::new();
    write(&mut text, value, indent, 1);
    text
}

fn write(text: &mut String, value: &Value, indent: usize, level: usize) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                begin(text, index, indent * level);
                write(text, item, indent, level + 1);
            }
            end(text, ']', indent * (level - 1));
        }
        Value::Object(fields) if !fields.is_empty() => {
            text.push('{');
            for (index, (key, field)) in fields.iter().enumerate() {
                begin(text, index, indent * level);
                string(text, key);
                text.push_str(": ");
                write(text, field, indent, level + 1);
            }
            end(text, '}', indent * (level - 1));
        }
        Value::String(content) => string(text, content),
        Value::Number(number) if number.is_f64() => text.push_str(&float64_text(number.as_f64().expect("it is one"))),
        other => text.push_str(&other.to_string()),
    }
}

fn begin(text: &mut String, index: usize, blanks: usize) {
    text.push_str(if index > 0 { ",\n" } else { "\n" });
    text.extend(std::iter::repeat_n(' ', blanks));
}

fn end(text: &mut String, bracket: char, blanks: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', blanks));
    text.push(bracket);
}

fn string(text: &mut String, content: &str) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_looks_as_in_python() {
        // json.dumps({"a": [["β\n\x7f"], [], {}], "b": 1e-05, "c": "😀\"", "d": [1, None, True]}, indent=2)
        let value = json!({"a": [["β\n\u{7f}"], [], {}], "b": 1e-5, "c": "😀\"", "d": [1, null, true]});
        let expected = "{\n  \"a\": [\n    [\n      \"\\u03b2\\n\\u007f\"\n    ],\n    [],\n    {}\n  ],\n  \"b\": 1e-05,\n  \
                        \"c\": \"\\ud83d\\ude00\\\"\",\n  \"d\": [\n    1,\n    null,\n    true\n  ]\n}";
        assert_eq!(dump(&value, 2), expected);
    }
}
