//! JSON in which no object has a key twice: a reader that keeps the last of two would lose the other in silence.

use lmprobe_scorers::UniqueKeys;
use serde_json::Value;
use serde_json::error::Category;

/// Why a text is not what was expected, and in which of its lines, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// The JSON value that a text holds; `expected` says in a message what it should have been.
///
/// # Errors
/// If the text is not JSON, or an object in it has a key twice.
pub(crate) fn parse(text: &str, expected: &str) -> Result<Value, Defect> {
    serde_json::from_str(text).map(|UniqueKeys(value)| value).map_err(|error| {
        let message = error.to_string();
        // The place stands in the message of every defect already; of a key it would only be said again.
        let message = match error.classify() {
            Category::Data => message.rsplit_once(" at line ").map_or(message.as_str(), |(defect, _)| defect).to_owned(),
            Category::Io | Category::Syntax | Category::Eof => format!("expected {expected}: {message}"),
        };
        Defect { line: error.line(), message }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_key_twice_is_read_as_by_any_reader() {
        let text = "{\"b\": [null, true, -1, 18446744073709551615, 0.1, \"\\u00e9\"], \"a\": {\"b\": {}}}";
        assert_eq!(parse(text, "JSON").unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(parse("[]", "JSON").unwrap(), json!([]));
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_at_any_depth_with_its_line() {
        let defect = |text: &str| parse(text, "JSON").map_err(|defect| (defect.line, defect.message)).unwrap_err();
        assert_eq!(defect("{\"a\": 1,\n\"b\": 2,\n\"a\": 3}"), (3, "the key `a` comes twice; keep one".to_owned()));
        assert_eq!(defect("[{\"x\": {\n\"c at line 9\": 1, \"c at line 9\": 1}}]"), (2, "the key `c at line 9` comes twice; keep one".to_owned()));
        assert_eq!(defect("{\"a\":\n"), (2, "expected JSON: EOF while parsing a value at line 2 column 0".to_owned()));
    }
}
