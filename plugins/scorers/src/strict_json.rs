//! JSON in which no key comes twice: the usual readers keep the last value of such a key and say nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::lines::text;
use crate::{Error, Result};

/// The value that a file holds.
///
/// # Errors
///
/// If it is not UTF-8 without a byte order mark or not JSON, or if a key of an object comes twice; the message names file and line.
pub fn read_json(bytes: &[u8], file: &str) -> Result<Value> {
    let UniqueKeys(value) = serde_json::from_str(text(bytes, file)?).map_err(|error| {
        if error.is_data() {
            let message = error.to_string();
            return Error::at(file, error.line(), message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message));
        }
        Error::at(file, error.line(), format!("not JSON: {error}"))
    })?;
    Ok(value)
}

/// A JSON value in which no object has a key twice. Of an object that has one, reading it is a data error that names the key.
pub struct UniqueKeys(pub Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// Takes any value.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(UniqueKeys(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` comes twice; keep one")));
            }
            let UniqueKeys(value) = access.next_value()?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_ever() {
        let text = r#"{"b": [1, -2, 0.5, 1e300, 18446744073709551615], "a": {"x": null, "y": true, "z": "β\n\u00e9"}, "": []}"#;
        let (read, usual) = (read_json(text.as_bytes(), "f").unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read.to_string(), usual.to_string(), "values and order");
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_wherever_it_stands() {
        let said = |text: &str| read_json(text.as_bytes(), "f.json").unwrap_err().to_string();
        assert_eq!(said("{\"GAD\": 0.5,\n\"GAD\": 0.9}"), "f.json:2: the key `GAD` comes twice; keep one");
        assert_eq!(said(r#"[{"a": {"x at line 7": 1, "x at line 7": 1}}]"#), "f.json:1: the key `x at line 7` comes twice; keep one");
        assert!(read_json(br#"[{"a": 1}, {"a": 1}]"#, "f.json").is_ok(), "objects beside each other may have the same keys");
    }

    #[test]
    fn what_is_no_json_says_where_it_ends() {
        assert_eq!(read_json(b"{\n", "f").unwrap_err().to_string(), "f:2: not JSON: EOF while parsing an object at line 2 column 0");
        assert_eq!(read_json(b"\xef\xbb\xbf1", "f").unwrap_err().to_string(), "f:1: the file begins with a byte order mark; save it as UTF-8 without one");
    }
}
