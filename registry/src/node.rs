//! The tree of a run file: values that know where they stand.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::diagnostic::{Location, Report};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) location: Location,
}

/// What YAML 1.2 knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(String),
    Seq(Vec<Node>),
    /// In the order of the file; a key may come twice until [`Node::report_defects`] has run.
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) location: Location,
}

impl Node {
    /// The entry of a mapping.
    pub(crate) fn entry(&self, key: &str) -> Option<&(Key, Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.text == key),
            _ => None,
        }
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::Seq(items) => items,
            _ => &[],
        }
    }

    /// What stands there, for "found ...".
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the truth value `{value}`"),
            Value::Int(value) => format!("the number `{value}`"),
            Value::Float(value) => format!("the number `{value}`"),
            Value::String(text) => format!("the text `{}`", shorten(text)),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The value without places. Numbers that JSON does not have become empty.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => integer_to_json(*value),
            Value::Float(value) => Json::from(*value),
            Value::String(text) => Json::String(text.clone()),
            Value::Seq(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|(key, value)| (key.text.clone(), value.to_json())).collect(),
        }
    }

    /// Reports what no plugin can accept: keys that come twice and numbers that are none. Later ones of a key are dropped.
    pub(crate) fn report_defects(&mut self, key: &str, report: &mut Report) {
        match &mut self.value {
            Value::Float(value) if !value.is_finite() => {
                report.error(self.location, key, format!("`{value}` is not a number that a run can use")).label("expected a finite number".to_owned());
            }
            Value::Seq(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.report_defects(&format!("{key}[{index}]"), report);
                }
            }
            Value::Map(entries) => {
                let mut first: HashMap<String, Location> = HashMap::new();
                entries.retain_mut(|(name, value)| {
                    let path = join(key, &name.text);
                    if let Some(&first) = first.get(&name.text) {
                        let place = report.refer(first, name.location);
                        report
                            .error(name.location, &path, format!("`{}` is given twice, first in {place}", name.text))
                            .label("remove one of the two".to_owned());
                        return false;
                    }
                    first.insert(name.text.clone(), name.location);
                    value.report_defects(&path, report);
                    true
                });
            }
            _ => {}
        }
    }

    /// Changes the place of the node and of everything below it.
    pub(crate) fn relocate(&mut self, change: &impl Fn(Location) -> Location) {
        self.location = change(self.location);
        match &mut self.value {
            Value::Seq(items) => items.iter_mut().for_each(|item| item.relocate(change)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.location = change(key.location);
                    value.relocate(change);
                }
            }
            _ => {}
        }
    }
}

/// The key path of a key below another one.
pub(crate) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// JSON integers end at 64 bits; what is beyond keeps its size as a float, and the schema's bounds refuse it.
pub(crate) fn integer_to_json(value: i128) -> Json {
    u64::try_from(value).map(Json::from).or_else(|_| i64::try_from(value).map(Json::from)).unwrap_or_else(|_| Json::from(nearest_float(value)))
}

/// The float next to a whole number.
#[expect(clippy::cast_precision_loss, reason = "the parser gives 64 bits, and what is beyond 2^53 is rounded as every float is")]
pub(crate) fn nearest_float(value: i128) -> f64 {
    value as f64
}

/// The beginning of a text, short enough for a message.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > LONGEST || line.len() < text.trim_end().len() {
        format!("{}...", line.chars().take(LONGEST).collect::<String>())
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::parse;

    #[test]
    fn every_duplicate_key_is_reported_with_both_lines() {
        let (mut node, mut report) = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 2\na: 3\n");
        node.report_defects("", &mut report);
        assert_eq!(
            report.into_invalid().to_string(),
            "run.yaml:4:3: b.c: `c` is given twice, first in line 3; remove one of the two\n\
             run.yaml:5:1: a: `a` is given twice, first in line 1; remove one of the two\n\
             run.yaml:6:1: a: `a` is given twice, first in line 1; remove one of the two"
        );
        assert_eq!(node.to_json(), serde_json::json!({"a": 1, "b": {"c": 1}}));
    }

    #[test]
    fn not_a_number_is_reported_where_it_stands() {
        let (mut node, mut report) = parse("a: [1, .nan, .inf]\n");
        node.report_defects("", &mut report);
        let message = report.into_invalid().to_string();
        assert!(message.contains("run.yaml:1:8: a[1]: `NaN` is not a number that a run can use"), "{message}");
        assert!(message.contains("run.yaml:1:14: a[2]: `inf` is not"), "{message}");
    }

    #[test]
    fn long_texts_are_cut_in_messages() {
        let (node, _) = parse("|\n  one\n  two\n");
        assert_eq!(node.describe(), "the text `one...`");
    }
}
