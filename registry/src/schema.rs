//! Values against a JSON Schema: every mistake at once, defaults filled in, paths resolved.
//!
//! Understood is what `lmprobe_core::schema_of` writes, without references: `type`, `properties`, `required`,
//! `additionalProperties`, `items`, `minItems`, `uniqueItems`, `minLength`, `enum`, `const`, bounds, `anyOf`, `oneOf`,
//! `default`, and the path `format`s of `lmprobe_core::PathKind`.

use std::path::PathBuf;

use lmprobe_core::PathKind;
use serde_json::{Map, Value as Json};

use crate::Models;
use crate::diagnostic::Report;
use crate::node::{Key, Node, Value, integer_to_json, join, nearest_float};
use crate::paths;
use crate::shape::{accepts, alternatives, any_of, expectation, first_sentence, is_whole, literal_expectation, literals, path_kind, types, whole, width};
use crate::suggestion::hint;

/// Where a value stands in the run file and among the parameters.
#[derive(Debug, Clone, Default)]
pub(crate) struct At {
    /// `probers[0].layer`.
    pub(crate) key: String,
    /// JSON pointer into the parameters.
    pub(crate) pointer: String,
}

impl At {
    /// A place whose parameters begin here.
    pub(crate) fn root(key: &str) -> Self {
        Self { key: key.to_owned(), pointer: String::new() }
    }

    fn key(&self, key: &str) -> Self {
        Self { key: join(&self.key, key), pointer: format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1")) }
    }

    fn index(&self, index: usize) -> Self {
        Self { key: format!("{}[{index}]", self.key), pointer: format!("{}/{index}", self.pointer) }
    }
}

/// Checks values and collects mistakes and paths.
#[derive(Debug)]
pub(crate) struct Checker<'a> {
    /// Where mistakes go.
    pub(crate) report: &'a mut Report,
    /// Said beside an unknown key.
    pub(crate) manual: Option<String>,
    /// Finds models; without it they are local folders.
    pub(crate) models: Option<&'a Models>,
    /// JSON pointers of all paths, and the paths.
    pub(crate) paths: Vec<(String, PathBuf)>,
}

impl<'a> Checker<'a> {
    /// A checker without particular help.
    pub(crate) fn new(report: &'a mut Report) -> Self {
        Self { report, manual: None, models: None, paths: Vec::new() }
    }

    /// The complete value, or nothing if there is a mistake in it.
    pub(crate) fn check(&mut self, node: &Node, schema: &Json, at: &At) -> Option<Json> {
        let alternatives = alternatives(schema);
        if !alternatives.is_empty() {
            return self.choose(node, &alternatives, at);
        }
        if let Some(literals) = literals(schema) {
            return self.literal(node, &literals, at);
        }
        let types = types(schema);
        let allows = |name: &str| types.contains(&name);
        if types.is_empty() || (node.value == Value::Null && allows("null")) {
            return Some(node.to_json());
        }
        if let Some(kind) = path_kind(schema) {
            return self.path(node, kind, schema, at);
        }
        match &node.value {
            Value::Bool(value) if allows("boolean") => Some(Json::Bool(*value)),
            Value::Int(value) if allows("integer") => self.integer(node, *value, schema, at),
            Value::Float(value) if allows("integer") && is_whole(*value) => self.integer(node, whole(*value), schema, at),
            // One number is written in one way, so that `2` and `2.0` give the same job.
            Value::Int(value) if allows("number") => self.number(node, nearest_float(*value), schema, at),
            Value::Float(value) if allows("number") => self.number(node, *value, schema, at),
            Value::String(text) if allows("string") => self.text(node, text, schema, at),
            Value::Seq(items) if allows("array") => self.list(node, items, schema, at),
            Value::Map(entries) if allows("object") => {
                let (object, complete) = self.object(node, entries, schema, at);
                complete.then_some(Json::Object(object))
            }
            _ => self.wrong_type(node, schema, at),
        }
    }

    /// The parameters that are right, and whether that is all of them.
    pub(crate) fn object(&mut self, node: &Node, entries: &[(Key, Node)], schema: &Json, at: &At) -> (Map<String, Json>, bool) {
        let before = self.report.len();
        let no_properties = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&no_properties);
        let others = schema.get("additionalProperties");
        let mut object = Map::new();
        for (name, property) in properties {
            match entries.iter().find(|(key, _)| key.text == *name) {
                Some((_, value)) => {
                    if let Some(value) = self.check(value, property, &at.key(name)) {
                        object.insert(name.clone(), value);
                    }
                }
                None => {
                    if let Some(value) = self.absent(node, name, schema, at) {
                        object.insert(name.clone(), value);
                    }
                }
            }
        }
        for (key, value) in entries.iter().filter(|(key, _)| !properties.contains_key(&key.text)) {
            let at = at.key(&key.text);
            match others {
                Some(Json::Bool(false)) => self.unknown_key(key, properties, &at),
                Some(other) => {
                    if let Some(value) = self.check(value, other, &at) {
                        object.insert(key.text.clone(), value);
                    }
                }
                None => {
                    object.insert(key.text.clone(), value.to_json());
                }
            }
        }
        (object, self.report.len() == before)
    }

    /// What stands for a key that is not given.
    fn absent(&mut self, node: &Node, name: &str, schema: &Json, at: &At) -> Option<Json> {
        let property = &schema["properties"][name];
        if let Some(default) = property.get("default") {
            return Some(default.clone());
        }
        if schema["required"].as_array().is_some_and(|required| required.iter().any(|key| key == name)) {
            let help = property["description"].as_str().map(|description| format!("`{name}`: {}", first_sentence(description)));
            let expected = format!("expected {}", expectation(property));
            self.report.error(node.location, &at.key(name).key, format!("`{name}` is missing")).label(expected).help(help);
            return None;
        }
        accepts(property, &Value::Null).then_some(Json::Null)
    }

    fn unknown_key(&mut self, key: &Key, properties: &Map<String, Json>, at: &At) {
        let hint = hint(&key.text, properties.keys().map(String::as_str), "known keys").unwrap_or_else(|| "there are no keys to set here".to_owned());
        self.report.error(key.location, &at.key, format!("unknown key `{}`", key.text)).label(hint).help(self.manual.clone());
    }

    fn wrong_type(&mut self, node: &Node, schema: &Json, at: &At) -> Option<Json> {
        let expected = expectation(schema);
        let quotes = expected == "text" && matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
        self.report
            .error(node.location, &at.key, format!("expected {expected}, found {}", node.describe()))
            .help(quotes.then(|| "put it in quotes".to_owned()));
        None
    }

    fn integer(&mut self, node: &Node, value: i128, schema: &Json, at: &At) -> Option<Json> {
        let (least, most) = schema["format"].as_str().map_or((i64::MIN.into(), u64::MAX.into()), width);
        if value < least || value > most {
            let message = if value < least { format!("{value} is below the minimum {least}") } else { format!("{value} is above the maximum {most}") };
            self.report.error(node.location, &at.key, message);
            return None;
        }
        self.bounds(node, nearest_float(value), &value.to_string(), schema, at).then(|| integer_to_json(value))
    }

    fn number(&mut self, node: &Node, value: f64, schema: &Json, at: &At) -> Option<Json> {
        if !value.is_finite() {
            // Reported with the other defects of the tree.
            return None;
        }
        self.bounds(node, value, &value.to_string(), schema, at).then(|| Json::from(value))
    }

    fn bounds(&mut self, node: &Node, value: f64, shown: &str, schema: &Json, at: &At) -> bool {
        let bound = |name: &str| schema[name].as_f64();
        let message = match (bound("minimum"), bound("maximum"), bound("exclusiveMinimum"), bound("exclusiveMaximum")) {
            (Some(minimum), ..) if value < minimum => format!("{shown} is below the minimum {minimum}"),
            (_, Some(maximum), ..) if value > maximum => format!("{shown} is above the maximum {maximum}"),
            (_, _, Some(minimum), _) if value <= minimum => format!("{shown} is not above {minimum}"),
            (_, _, _, Some(maximum)) if value >= maximum => format!("{shown} is not below {maximum}"),
            _ => return true,
        };
        self.report.error(node.location, &at.key, message);
        false
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Json, at: &At) -> Option<Json> {
        if schema["minLength"].as_u64().is_some_and(|least| (text.chars().count() as u64) < least) {
            let message = if text.is_empty() { "the text is empty".to_owned() } else { format!("`{text}` is too short") };
            self.report.error(node.location, &at.key, message);
            return None;
        }
        Some(Json::String(text.to_owned()))
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &Json, at: &At) -> Option<Json> {
        let before = self.report.len();
        let (least, most) = (schema["minItems"].as_u64().unwrap_or(0), schema["maxItems"].as_u64().unwrap_or(u64::MAX));
        let n_items = items.len() as u64;
        if n_items < least || n_items > most {
            let (word, bound) = if n_items < least { ("least", least) } else { ("most", most) };
            let plural = if bound == 1 { "" } else { "s" };
            let found = if items.is_empty() { "the list is empty".to_owned() } else { format!("the list has {n_items}") };
            self.report.error(node.location, &at.key, format!("expected at {word} {bound} item{plural}: {found}"));
        }
        let mut values: Vec<Json> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = at.index(index);
            let Some(value) = schema.get("items").map_or_else(|| Some(item.to_json()), |schema| self.check(item, schema, &at)) else { continue };
            if schema["uniqueItems"] == true
                && let Some(first) = items[..index].iter().find(|first| first.value == item.value)
            {
                let place = self.report.refer(first.location, item.location);
                let shown = item.to_json();
                let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
                self.report.error(item.location, &at.key, format!("`{shown}` is given twice, first in {place}"));
            }
            values.push(value);
        }
        (self.report.len() == before).then_some(Json::Array(values))
    }

    /// The one of several schemas that was meant: by type first, then the one with the fewest mistakes.
    fn choose(&mut self, node: &Node, alternatives: &[&Json], at: &At) -> Option<Json> {
        let all: Option<Vec<Vec<&Json>>> = alternatives.iter().map(|schema| literals(schema)).collect();
        if let Some(all) = all {
            return self.literal(node, &all.concat(), at);
        }
        let fitting: Vec<&Json> = alternatives.iter().copied().filter(|schema| accepts(schema, &node.value)).collect();
        // A text that is none of the words is a misspelt word, even beside other types.
        let words: Option<Vec<Vec<&Json>>> = fitting.iter().map(|schema| literals(schema)).collect();
        match (fitting.as_slice(), words) {
            ([], _) => {
                let expected = any_of(alternatives.iter().map(|schema| expectation(schema)));
                self.report.error(node.location, &at.key, format!("expected {expected}, found {}", node.describe()));
                None
            }
            (_, Some(words)) => self.literal(node, &words.concat(), at),
            ([schema], None) => self.check(node, schema, at),
            (schemas, None) => {
                let mut best: Option<(usize, &Json)> = None;
                let (mark, n_paths) = (self.report.len(), self.paths.len());
                for schema in schemas {
                    if let Some(value) = self.check(node, schema, at) {
                        return Some(value);
                    }
                    let mistakes = self.report.len() - mark;
                    self.report.truncate(mark);
                    self.paths.truncate(n_paths);
                    if best.is_none_or(|(fewest, _)| mistakes < fewest) {
                        best = Some((mistakes, schema));
                    }
                }
                best.and_then(|(_, schema)| self.check(node, schema, at))
            }
        }
    }

    fn literal(&mut self, node: &Node, literals: &[&Json], at: &At) -> Option<Json> {
        let value = node.to_json();
        if literals.contains(&&value) {
            return Some(value);
        }
        let words: Vec<&str> = literals.iter().filter_map(|literal| literal.as_str()).collect();
        match &node.value {
            Value::String(text) if !words.is_empty() => {
                let hint = hint(text, words.iter().copied(), "expected one of");
                self.report.error(node.location, &at.key, format!("unknown value `{text}`")).label(hint);
            }
            _ => {
                let expected = literal_expectation(literals);
                self.report.error(node.location, &at.key, format!("expected {expected}, found {}", node.describe()));
            }
        }
        None
    }

    fn path(&mut self, node: &Node, kind: PathKind, schema: &Json, at: &At) -> Option<Json> {
        match (&node.value, kind) {
            (Value::String(text), PathKind::Files) => self.files(node, text, at, 0).map(Json::Array),
            (Value::Seq(items), PathKind::Files) => {
                let before = self.report.len();
                if items.is_empty() {
                    self.report.error(node.location, &at.key, "expected at least 1 file: the list is empty");
                }
                let mut files = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let place = At { key: format!("{}[{index}]", at.key), pointer: at.pointer.clone() };
                    match item.as_str() {
                        Some(text) => files.extend(self.files(item, text, &place, files.len()).unwrap_or_default()),
                        None => {
                            self.report.error(item.location, &place.key, format!("expected the path of a file, found {}", item.describe()));
                        }
                    }
                }
                (self.report.len() == before).then_some(Json::Array(files))
            }
            (Value::String(text), _) => {
                let models = self.models.filter(|_| kind == PathKind::Model);
                let locate = |folder: &std::path::Path| match models {
                    Some(models) => models.locate(text, folder),
                    None => paths::resolve(kind, text, folder),
                };
                let path = self.resolved(node, at, |folder| locate(folder).map(|path| vec![path]))?.pop()?;
                let value = self.utf8(node, &path, at)?;
                self.paths.push((at.pointer.clone(), path));
                Some(value)
            }
            _ => self.wrong_type(node, schema, at),
        }
    }

    /// The files of one pattern; the first of them is number `first` of the list.
    fn files(&mut self, node: &Node, text: &str, at: &At, first: usize) -> Option<Vec<Json>> {
        let files = self.resolved(node, at, |folder| paths::resolve_files(text, folder))?;
        let mut values = Vec::with_capacity(files.len());
        for (index, path) in files.into_iter().enumerate() {
            values.push(self.utf8(node, &path, at)?);
            self.paths.push((at.index(first + index).pointer, path));
        }
        Some(values)
    }

    fn resolved(&mut self, node: &Node, at: &At, resolve: impl FnOnce(&std::path::Path) -> Result<Vec<PathBuf>, paths::Problem>) -> Option<Vec<PathBuf>> {
        let problem = match resolve(self.report.folder(node.location)) {
            Ok(paths) => return Some(paths),
            Err(problem) => problem,
        };
        self.report.error(node.location, &at.key, problem.message.clone()).label(problem.label()).help(problem.help);
        None
    }

    fn utf8(&mut self, node: &Node, path: &std::path::Path, at: &At) -> Option<Json> {
        let Some(text) = path.to_str() else {
            self.report.error(node.location, &at.key, format!("the path {} is not UTF-8", path.display()));
            return None;
        };
        Some(Json::String(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{FILL_MASK, parse};

    fn check(yaml: &str, schema: &Json) -> (Option<Json>, String) {
        let (node, mut report) = parse(yaml);
        let value = Checker::new(&mut report).check(&node, schema, &At::root("probers[0]"));
        (value, report.into_invalid().to_string())
    }

    fn mistakes(yaml: &str) -> String {
        let (value, mistakes) = check(yaml, &crate::plugin_schema(&FILL_MASK));
        assert_eq!(value, None);
        mistakes
    }

    #[test]
    fn defaults_are_filled_in_and_numbers_have_one_spelling() {
        let schema = crate::plugin_schema(&FILL_MASK);
        assert_eq!(check("{}", &schema).0, Some(json!({"steps": 1, "length_weight": 0.5, "pooling": "mean"})));
        let (value, _) = check("{length_weight: 1, steps: 3.0, pooling: cls}", &schema);
        assert_eq!(value.unwrap().to_string(), r#"{"steps":3,"length_weight":1.0,"pooling":"cls"}"#);
        assert_eq!(check("{steps: 2e5}", &schema).0.unwrap()["steps"], 200_000);
    }

    #[test]
    fn all_mistakes_are_found_at_once() {
        assert_eq!(
            mistakes("steps: eight\nlength_weigth: 1\npooling: men\n"),
            "run.yaml:1:8: probers[0].steps: expected a whole number, found the text `eight`\n\
             run.yaml:2:1: probers[0].length_weigth: unknown key `length_weigth`; did you mean `length_weight`?\n\
             run.yaml:3:10: probers[0].pooling: unknown value `men`; did you mean `mean`?"
        );
    }

    #[test]
    fn unknown_words_without_a_likeness_list_all() {
        assert!(mistakes("zzz: 1").contains("unknown key `zzz`; known keys: `steps`, `length_weight`, `pooling`"));
        assert!(mistakes("pooling: zzz").contains("unknown value `zzz`; expected one of: `cls`, `mean`"));
        assert!(mistakes("pooling: 3").contains("expected one of `cls`, `mean`, found the number `3`"));
    }

    #[test]
    fn numbers_are_held_to_their_range_and_type() {
        assert!(mistakes("steps: 0").contains("run.yaml:1:8: probers[0].steps: 0 is below the minimum 1"));
        assert!(mistakes("steps: 5000000000").contains("5000000000 is above the maximum 4294967295"));
        assert!(mistakes("steps: 1.5").contains("expected a whole number, found the number `1.5`"));
        assert!(mistakes("length_weight: 1.5").contains("1.5 is above the maximum 1"));
        assert!(mistakes("length_weight: ~").contains("expected a number, found nothing"));
        assert!(check("99999999999999999999999", &json!({"type": "integer", "format": "uint64"})).1.contains("expected a whole number"));
        let above = json!({"type": "number", "exclusiveMinimum": 0.0});
        assert!(check("0", &above).1.contains("0 is not above 0"));
        assert_eq!(check("1", &above).0, Some(json!(1.0)));
    }

    #[test]
    fn a_missing_key_is_explained_by_its_description() {
        let schema = json!({"type": "object", "properties": {"facts": {"type": "string", "format": "existing-file", "description": "The table. One row a fact."}}, "required": ["facts"]});
        assert_eq!(check("{}", &schema).1, "run.yaml:1:1: probers[0].facts: `facts` is missing; expected the path of a file; `facts`: The table");
    }

    #[test]
    fn a_number_where_text_belongs_needs_quotes() {
        assert_eq!(check("2021", &json!({"type": "string"})).1, "run.yaml:1:1: probers[0]: expected text, found the number `2021`; put it in quotes");
        assert_eq!(check("''", &json!({"type": "string", "minLength": 1})).1, "run.yaml:1:1: probers[0]: the text is empty");
    }

    #[test]
    fn lists_have_lengths_and_items() {
        let schema = json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": true});
        assert_eq!(check("[1, 2]", &schema).0, Some(json!([1, 2])));
        assert!(check("[]", &schema).1.contains("expected at least 1 item: the list is empty"));
        assert!(check("[1, 2, x]", &schema).1.contains("run.yaml:1:8: probers[0][2]: expected a whole number, found the text `x`"));
        assert!(check("- 1\n- 2\n- 1\n", &schema).1.contains("run.yaml:3:3: probers[0][2]: `1` is given twice, first in line 1"));
        assert!(check("3", &schema).1.contains("expected a list, found the number `3`"));
    }

    #[test]
    fn a_union_is_chosen_by_type() {
        let layers = json!({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}, {"const": "all"}, {"type": "null"}]});
        for (yaml, value) in [("3", json!(3)), ("[1, 2]", json!([1, 2])), ("all", json!("all")), ("~", Json::Null)] {
            assert_eq!(check(yaml, &layers), (Some(value), String::new()));
        }
        assert!(check("al", &layers).1.contains("unknown value `al`; did you mean `all`?"));
        assert!(check("true", &layers).1.contains("expected a whole number or a list or `all`, found the truth value `true`"));
        assert!(check("[x]", &layers).1.contains("probers[0][0]: expected a whole number"));
    }

    #[test]
    fn of_several_mappings_the_nearest_is_meant() {
        let variant = |tag: &str, key: &str| json!({"type": "object", "additionalProperties": false, "properties": {"by": {"const": tag}, key: {"type": "integer"}}, "required": ["by", key]});
        let schema = json!({"oneOf": [variant("rows", "n"), variant("share", "part")]});
        assert_eq!(check("{by: share, part: 3}", &schema).0, Some(json!({"by": "share", "part": 3})));
        assert_eq!(check("{by: share, part: x}", &schema).1, "run.yaml:1:19: probers[0].part: expected a whole number, found the text `x`");
    }

    #[test]
    fn paths_are_absolute_and_collected() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let (node, _) = parse("{one: a.txt, many: ['?.txt', b.txt], none: ~}");
        let mut report = Report::default();
        report.add_source("run.yaml", "", folder.path());
        let schema = json!({"type": "object", "properties": {
            "one": {"type": "string", "format": "existing-file"},
            "many": {"type": ["string", "array"], "items": {"type": "string"}, "format": "existing-files"},
            "none": {"type": ["string", "null"], "format": "existing-folder"}
        }});
        let mut checker = Checker::new(&mut report);
        let value = checker.check(&node, &schema, &At::default()).unwrap();
        let (a, b) = (folder.path().join("a.txt"), folder.path().join("b.txt"));
        assert_eq!(value, json!({"one": a, "many": [a, b, b], "none": null}));
        let expected = [("/one", &a), ("/many/0", &a), ("/many/1", &b), ("/many/2", &b)];
        assert_eq!(checker.paths, expected.map(|(pointer, path)| (pointer.to_owned(), path.clone())));
    }
}
