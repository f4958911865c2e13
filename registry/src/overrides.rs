//! `--set KEY=VALUE`: changes the tree before it is checked.

use std::path::Path;

use crate::diagnostic::{Location, Report};
use crate::node::{Key, Node, Value};
use crate::yaml;

/// Applies each override in turn. `base` is the folder of the run file: a path means the same as if it stood in the file.
pub(crate) fn apply(root: &mut Node, overrides: &[String], base: &Path, report: &mut Report) {
    for text in overrides {
        let source = report.add_source("--set", text.clone(), base);
        if let Err(problem) = apply_one(root, text, source) {
            report.error(problem.location, &problem.key, problem.message).help(problem.help);
        }
    }
}

struct Problem {
    location: Location,
    key: String,
    message: String,
    help: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn apply_one(root: &mut Node, text: &str, source: usize) -> Result<(), Problem> {
    let location = Location { length: text.chars().count(), ..Location::start(source) };
    let problem = |key: &str, message: String| Problem { location, key: key.to_owned(), message, help: None };
    let Some((path, value)) = text.split_once('=') else {
        return Err(Problem { help: Some("write KEY=VALUE, such as `seeds=[1, 2]`".to_owned()), ..problem("", format!("`{text}` has no `=`")) });
    };
    let location = Location { length: path.chars().count(), ..location };
    let problem = |key: &str, message: String| Problem { location, key: key.to_owned(), message, help: None };
    let path = path.trim();
    let steps = parse_path(path).ok_or_else(|| Problem {
        help: Some("write keys with dots and numbers in brackets, such as `encoders[0].model`".to_owned()),
        ..problem("", format!("`{path}` is not a key path"))
    })?;
    let before = text.chars().count() - value.chars().count();
    let value = yaml::parse_value(value, source, before).map_err(|(location, message)| Problem { location, key: path.to_owned(), message, help: None })?;
    let mut node = root;
    let mut walked = String::new();
    for (position, step) in steps.iter().enumerate() {
        node = match step {
            Step::Key(key) => {
                // An empty value is a mapping without keys yet.
                if node.value == Value::Null {
                    node.value = Value::Map(Vec::new());
                }
                let found = node.describe();
                let Value::Map(entries) = &mut node.value else {
                    return Err(problem(&walked, format!("`{key}` cannot be set: {} is {found}, not a mapping", named(&walked))));
                };
                walked = crate::node::join(&walked, key);
                let index = entries.iter().position(|(name, _)| name.text == *key).unwrap_or_else(|| {
                    entries.push((Key { text: key.clone(), location }, Node { value: Value::Null, location }));
                    entries.len() - 1
                });
                &mut entries[index].1
            }
            Step::Index(index) => {
                let found = node.describe();
                let Value::Seq(items) = &mut node.value else {
                    return Err(problem(&walked, format!("`[{index}]` cannot be set: {} is {found}, not a list", named(&walked))));
                };
                let len = items.len();
                let Some(item) = items.get_mut(*index) else {
                    let plural = if len == 1 { "" } else { "s" };
                    return Err(problem(&walked, format!("`[{index}]` is out of range: {} has {len} item{plural}, counted from 0", named(&walked))));
                };
                walked = format!("{walked}[{index}]");
                item
            }
        };
        if position + 1 == steps.len() {
            *node = value;
            return Ok(());
        }
    }
    Ok(())
}

fn named(path: &str) -> String {
    if path.is_empty() { "the run file".to_owned() } else { format!("`{path}`") }
}

/// `tasks[1].where.split` as steps.
fn parse_path(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if key.is_empty() {
            return None;
        }
        steps.push(Step::Key(key.to_owned()));
        while !rest.is_empty() {
            let (index, behind) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Index(index.trim().parse().ok()?));
            rest = behind;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::parse;

    const FILE: &str = "name: x\nencoders:\n  - {use: bert, model: old}\n  - folder\n";

    fn set(overrides: &[&str]) -> (serde_json::Value, String) {
        let (mut node, mut report) = parse(FILE);
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        apply(&mut node, &overrides, Path::new("/"), &mut report);
        (node.to_json(), report.into_invalid().to_string())
    }

    #[test]
    fn values_are_replaced_and_added() {
        let (json, mistakes) = set(&["encoders[0].model=new", "seeds=[1, 2]", "output.dir=runs", "encoders[1]={use: bert}", "name="]);
        assert_eq!(mistakes, "");
        assert_eq!(json, json!({"name": null, "encoders": [{"use": "bert", "model": "new"}, {"use": "bert"}], "seeds": [1, 2], "output": {"dir": "runs"}}));
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(set(&["name=a=b"]).0["name"], "a=b");
    }

    #[test]
    fn an_override_that_cannot_be_applied_says_why() {
        let mistake = |text| set(&[text]).1;
        assert_eq!(mistake("encoders[2].model=x"), "--set:1:1: encoders: `[2]` is out of range: `encoders` has 2 items, counted from 0");
        assert_eq!(mistake("encoders[1].model=x"), "--set:1:1: encoders[1]: `model` cannot be set: `encoders[1]` is the text `folder`, not a mapping");
        assert_eq!(mistake("name[0]=x"), "--set:1:1: name: `[0]` cannot be set: `name` is the text `x`, not a list");
        assert!(mistake("name").starts_with("--set:1:1: `name` has no `=`"));
        assert!(mistake("a..b=1").starts_with("--set:1:1: `a..b` is not a key path"));
        assert!(mistake("seeds=[1, 2").starts_with("--set:1:"));
    }

    #[test]
    fn an_overridden_value_stands_behind_the_equals_sign() {
        let (mut node, mut report) = parse(FILE);
        apply(&mut node, &["name=[é, y]".to_owned()], Path::new("/"), &mut report);
        let location = node.get("name").unwrap().items()[1].location;
        assert_eq!((location.source, location.line, location.column, location.offset), (1, 1, 10, 9));
    }
}
