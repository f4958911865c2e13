//! JSON in which no object has a key twice: a reader that keeps the last of two would lose the other in silence.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

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
    serde_json::from_str(text).map(|Strict(value)| value).map_err(|error| {
        let message = error.to_string();
        // The place stands in the message of every defect already; of a key it would only be said again.
        let message = match error.classify() {
            Category::Data => message.rsplit_once(" at line ").map_or(message.as_str(), |(defect, _)| defect).to_owned(),
            Category::Io | Category::Syntax | Category::Eof => format!("expected {expected}: {message}"),
        };
        Defect { line: error.line(), message }
    })
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` comes twice")));
            }
            let Strict(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
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
        assert_eq!(defect("{\"a\": 1,\n\"b\": 2,\n\"a\": 3}"), (3, "the key `a` comes twice".to_owned()));
        assert_eq!(defect("[{\"x\": {\n\"c at line 9\": 1, \"c at line 9\": 1}}]"), (2, "the key `c at line 9` comes twice".to_owned()));
        assert_eq!(defect("{\"a\":\n"), (2, "expected JSON: EOF while parsing a value at line 2 column 0".to_owned()));
    }
}
