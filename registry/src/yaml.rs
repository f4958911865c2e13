//! YAML to nodes. The only module that knows the YAML library.
//!
//! Scalars follow the YAML 1.2 core schema (`no` stays a text). `!include` reads files below the run file's folder,
//! `${NAME:-default}` and `${NAME:?why}` take the environment.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DuplicateKeyPolicy, Error, InputSource, Options, SafeFileReadMode, SafeFileResolver, Spanned, SymlinkPolicy};

use crate::diagnostic::{Location, Report};
use crate::environment;
use crate::node::{Key, Node, Value};

/// Deeper nesting is a mistake or an attack; the parser recurses, so it must be bounded well below the stack.
const DEEPEST: usize = 24;

/// Reads a run file and everything it includes. `None` if it cannot be read; the report then says why.
pub(crate) fn read_document(path: &Path, report: &mut Report) -> Option<Node> {
    let name = path.display().to_string();
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let source = report.add_source(name, "", &folder);
            report.error(Location::start(source), "", format!("cannot read the run file: {error}"));
            return None;
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let location = end_of(&valid);
            report.add_source(name, String::from_utf8_lossy(error.as_bytes()), &folder);
            report.error(location, "", "the run file is not a text in UTF-8").label("the first byte that is not UTF-8".to_owned());
            return None;
        }
    };
    let source = report.add_source(name, text.clone(), &folder);
    if let Some(place) = text.find('\0') {
        report.error(end_of(&text[..place]), "", "the run file is not a text: it holds a zero byte");
        return None;
    }
    let included = Rc::new(RefCell::new(Vec::new()));
    let parsed = options(&folder, &included).map_err(|error| format!("cannot read the folder of the run file: {error}"));
    let parsed = parsed.map(|options| serde_saphyr::from_str_with_options::<Node>(&text, options));
    let parent = path.parent().unwrap_or(Path::new(""));
    for Included { name, text } in included.take() {
        let folder = folder.join(&name).parent().map(Path::to_owned).unwrap_or_default();
        report.add_source(parent.join(&name).display().to_string(), text, &folder);
    }
    match parsed {
        Ok(Ok(node)) if node.value == Value::Null => {
            report.error(Location::start(source), "", "the run file is empty").help("it needs at least `encoders`, `tasks` and `probers`".to_owned());
            None
        }
        Ok(Ok(mut node)) => {
            environment::expand(&mut node, "", report, &|name| std::env::var(name).ok());
            Some(node)
        }
        Ok(Err(error)) => {
            let problem = explain(&error);
            report.error(problem.location, "", problem.message).help(problem.help);
            None
        }
        Err(message) => {
            report.error(Location::start(source), "", message);
            None
        }
    }
}

/// Parses the value of an override, which is a source of its own that begins `before` characters earlier.
pub(crate) fn parse_value(text: &str, source: usize, before: usize) -> Result<Node, (Location, String)> {
    let shift = |location: Location| Location {
        source,
        column: if location.line == 1 { location.column + before } else { location.column },
        offset: location.offset + before,
        ..location
    };
    let parsed = serde_saphyr::from_str_with_options::<Node>(text, base_options());
    let mut node = parsed.map_err(|error| {
        let problem = explain(&error);
        (shift(problem.location), problem.message)
    })?;
    node.relocate(&shift);
    Ok(node)
}

/// A file that was included, named relative to the run file's folder.
struct Included {
    name: String,
    text: String,
}

fn base_options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST, flow_nesting_limit: DEEPEST },
        // The tree keeps every duplicate, so that all of them are reported and not only the first.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn options(folder: &Path, included: &Rc<RefCell<Vec<Included>>>) -> std::io::Result<Options> {
    let files = SafeFileResolver::new(folder)?.with_read_mode(SafeFileReadMode::Text).with_symlink_policy(SymlinkPolicy::FollowWithinRoot);
    let included = Rc::clone(included);
    let environment: HashMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    // The parser numbers sources in the order in which they are resolved; recording them in that order maps its numbers to texts.
    Ok(base_options().with_properties(environment).with_include_resolver(move |request| {
        let resolved = files.resolve(request)?;
        let text = match &resolved.source {
            InputSource::Text(text) | InputSource::AnchoredText { text, .. } => text.clone(),
            _ => String::new(),
        };
        let name = resolved.name.split('#').next().unwrap_or_default().to_owned();
        included.borrow_mut().push(Included { name, text });
        Ok(resolved)
    }))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(deserializer)?;
        let mut location = place(defined);
        // The parser gives a block list or mapping no extent; its first key or dash is what a reader looks for.
        if location.length <= 1 {
            location.length = match &value {
                Value::Map(entries) => entries.first().map(|(key, _)| key.location).filter(|key| key.offset == location.offset).map_or(1, |key| key.length),
                Value::Seq(_) => 1,
                _ => location.length,
            };
        }
        Ok(Self { value, location })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Node>()? {
            let text = match &key.value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                Value::Bool(value) => value.to_string(),
                Value::Int(value) => value.to_string(),
                Value::Float(value) => value.to_string(),
                Value::Seq(_) | Value::Map(_) => return Err(A::Error::custom("a list or a mapping cannot be a key")),
            };
            entries.push((Key { text, location: key.location }, access.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}

fn place(location: serde_saphyr::Location) -> Location {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Location {
        // The run file is the parser's source 1; 0 stands for "unknown", which only happens to an empty file.
        source: usize::try_from(location.source_id().saturating_sub(1)).unwrap_or_default(),
        line: number(location.line()).max(1),
        column: number(location.column()).max(1),
        offset: number(location.span().offset()),
        length: number(location.span().len()),
    }
}

/// The place behind a text that is the beginning of the run file.
fn end_of(text: &str) -> Location {
    let line = text.rsplit('\n').next().unwrap_or_default();
    Location { source: 0, line: text.matches('\n').count() + 1, column: line.chars().count() + 1, offset: text.chars().count(), length: 1 }
}

struct Problem {
    location: Location,
    message: String,
    help: Option<String>,
}

/// The parser's error in our words where we have better ones.
fn explain(error: &Error) -> Problem {
    let error = error.without_snippet();
    let location = error.location().map_or(Location::start(0), place);
    let (message, help) = match error {
        Error::UnresolvedProperty { name, .. } => {
            (format!("the environment variable `{name}` is not set"), Some(format!("set it, or write `${{{name}:-default}}`")))
        }
        Error::PropertyRequiredButUnset { name, message, .. } => (format!("the environment variable `{name}` is not set: {message}"), None),
        Error::PropertyRequiredButEmpty { name, message, .. } => (format!("the environment variable `{name}` is empty: {message}"), None),
        Error::InvalidPropertyName { name, .. } => (format!("`{name}` is not the name of an environment variable"), None),
        Error::MultipleDocuments { .. } => {
            ("a second YAML document begins here, and a run file is one".to_owned(), Some("remove the line `---`, or split the file".to_owned()))
        }
        Error::CyclicInclude { id, .. } => (format!("`!include` goes in a circle: {id} is already being read"), None),
        Error::ResolverError { target, error, .. } => (
            format!("cannot include `{target}`: {}", include_problem(error)),
            Some("included files lie in or below the folder of the run file and end in .yaml or .yml".to_owned()),
        ),
        Error::UnknownAnchor { .. } => {
            ("the alias `*` refers to an anchor `&` that is not defined above".to_owned(), Some("quote a text that begins with `*`".to_owned()))
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => (format!("the file is nested more than {DEEPEST} levels deep"), None),
        Error::Budget { .. } => (format!("the file is too large: {}", stripped(error)), None),
        Error::UnsupportedTag { tag, .. } => (format!("unknown tag `{tag}`"), Some("the only tag of a run file is `!include FILE`".to_owned())),
        other if stripped(other).contains("recursion limit") => (format!("the file is nested more than {DEEPEST} levels deep"), None),
        other => {
            (format!("invalid YAML: {}", stripped(other)), Some("look at the indentation here, and for a quote or bracket above that is not closed".to_owned()))
        }
    };
    Problem { location, message, help }
}

fn include_problem(error: &serde_saphyr::IncludeResolveError) -> String {
    use serde_saphyr::{IncludeResolveError as E, ResolveProblem as P};
    match error {
        E::FileInclude(problem) => match &**problem {
            P::ResolveFailed { err, .. } if err.kind() == std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            P::ResolveFailed { err, .. } | P::ParentResolveFailed { err, .. } => err.to_string(),
            P::TargetNotRegularFile { .. } => "it is not a file".to_owned(),
            P::ResolvesOutsideRoot { root, .. } => format!("it lies outside {root}"),
            P::AbsolutePathNotAllowed { .. } => "the path is absolute".to_owned(),
            P::EmptyPath => "the path is empty".to_owned(),
            P::InvalidExtension { .. } => "it does not end in .yaml or .yml".to_owned(),
            P::HiddenFile { .. } => "it is a hidden file".to_owned(),
            other => format!("{other:?}"),
        },
        E::Io(error) => error.to_string(),
        E::Message(message) => message.clone(),
        E::SizeLimitExceeded(..) => "it is too large".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The library's message without its own place, which the diagnostic carries.
fn stripped(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split("\\nwhile ").next().unwrap_or_default();
    let text = text.split("\nwhile ").next().unwrap_or_default();
    text.rfind(" at line ").map_or(text, |end| &text[..end]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::parse;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in files {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            Self(folder)
        }

        fn read(&self) -> (Option<Node>, Report) {
            let mut report = Report::default();
            let node = read_document(&self.0.path().join("run.yaml"), &mut report);
            (node, report)
        }

        /// The only mistake as `file:line:column: message`.
        fn mistake(&self) -> String {
            let (node, report) = self.read();
            assert_eq!(node, None);
            let mut invalid = report.into_invalid();
            assert_eq!(invalid.diagnostics.len(), 1, "{invalid}");
            invalid.diagnostics[0].help = None;
            invalid.to_string().replace(&format!("{}/", self.0.path().display()), "")
        }
    }

    fn mistake(bytes: &[u8]) -> String {
        Folder::new(&[("run.yaml", bytes)]).mistake()
    }

    #[test]
    fn scalars_follow_yaml_1_2() {
        let (node, _) = parse("[no, on, true, 0x1F, 2e5, 1_000, ~, '1', -3]");
        assert_eq!(node.to_json(), serde_json::json!(["no", "on", true, 31, 200_000.0, "1_000", null, "1", -3]));
    }

    #[test]
    fn values_and_keys_know_their_places() {
        let (node, _) = parse("é: 1\nlist:\n  - {use: bert, n: two}\n");
        let (key, list) = node.entry("list").unwrap();
        assert_eq!((key.location.line, key.location.column, key.location.length), (2, 1, 4));
        let (key, value) = list.items()[0].entry("n").unwrap();
        assert_eq!((key.location.line, key.location.column), (3, 17));
        assert_eq!((value.location.line, value.location.column, value.location.length), (3, 20, 3));
    }

    #[test]
    fn a_byte_order_mark_is_tolerated() {
        let (node, _) = Folder::new(&[("run.yaml", b"\xef\xbb\xbfname: x\r\nseeds: [1]\r\n")]).read();
        assert_eq!(node.unwrap().to_json(), serde_json::json!({"name": "x", "seeds": [1]}));
    }

    #[test]
    fn files_that_are_no_yaml_are_one_mistake_with_a_place() {
        assert_eq!(mistake(b""), "run.yaml:1:1: the run file is empty");
        assert_eq!(mistake(b"# nothing but a comment\n"), "run.yaml:1:1: the run file is empty");
        assert_eq!(mistake(b"name: x\nfoo: \xff\n"), "run.yaml:2:6: the run file is not a text in UTF-8; the first byte that is not UTF-8");
        assert_eq!(mistake(b"\xff\xfen\0a\0"), "run.yaml:1:1: the run file is not a text in UTF-8; the first byte that is not UTF-8");
        assert_eq!(mistake(b"a: 1\nb: \0\x01\n"), "run.yaml:2:4: the run file is not a text: it holds a zero byte");
        assert_eq!(mistake(b"a: 1\n---\nb: 2\n"), "run.yaml:3:1: a second YAML document begins here, and a run file is one");
    }

    #[test]
    fn syntax_errors_have_line_and_column() {
        assert!(mistake(b"a: [1, 2\nb: 3\n").starts_with("run.yaml:2:2: invalid YAML: "));
        assert!(mistake(b"a: 1\nb 2\nc: 3\n").starts_with("run.yaml:2:1: invalid YAML: "));
        assert!(mistake(b"a:\n\tb: 1\n").starts_with("run.yaml:2:2: invalid YAML: tabs"));
        assert!(mistake(b"a: \"abc\n").starts_with("run.yaml:"));
        assert!(mistake(b"a: *x\n").starts_with("run.yaml:1:4: the alias"));
        assert!(mistake(b"a: !foo x\n").starts_with("run.yaml:1:"));
        assert!(mistake(b"? [a]\n: 1\n").contains("a list or a mapping cannot be a key"));
    }

    #[test]
    fn deep_nesting_is_a_mistake_and_not_a_crash() {
        assert!(mistake(format!("a: {}", "[".repeat(100_000)).as_bytes()).ends_with(": the file is nested more than 24 levels deep"));
        let block = (0..2000).map(|depth| format!("{}a:", " ".repeat(depth))).collect::<Vec<_>>().join("\n");
        assert_eq!(mistake(block.as_bytes()), "run.yaml:25:25: the file is nested more than 24 levels deep");
    }

    #[test]
    fn a_missing_run_file_is_named() {
        let folder = Folder::new(&[]);
        assert!(folder.mistake().starts_with("run.yaml:1:1: cannot read the run file: No such file"));
    }

    #[test]
    fn includes_and_merges_work() {
        let folder = Folder::new(&[
            ("run.yaml", b"<<: !include base.yaml\nname: mine\ntasks: !include sub/tasks.yaml\n"),
            ("base.yaml", b"name: base\nseeds: [7]\n"),
            ("sub/tasks.yaml", b"- facts\n"),
        ]);
        let (node, report) = folder.read();
        let node = node.unwrap();
        assert_eq!(node.get("name").unwrap().as_str(), Some("mine"));
        assert_eq!(node.get("seeds").unwrap().to_json(), serde_json::json!([7]));
        assert_eq!(report.folder(node.get("tasks").unwrap().items()[0].location), folder.0.path().join("sub"));
    }

    #[test]
    fn a_mistake_in_an_included_file_names_that_file() {
        let folder = Folder::new(&[("run.yaml", b"a: !include sub/bad.yaml\n"), ("sub/bad.yaml", b"x: [1\ny: 2\n")]);
        assert!(folder.mistake().starts_with("sub/bad.yaml:2:2: invalid YAML: "));
        let folder = Folder::new(&[("run.yaml", b"a:\n  b: !include nope.yaml\n")]);
        assert_eq!(folder.mistake(), "run.yaml:2:15: cannot include `nope.yaml`: there is no such file");
        let folder = Folder::new(&[("run.yaml", b"a: !include run.yaml\n")]);
        assert!(folder.mistake().contains("`!include` goes in a circle"));
        let folder = Folder::new(&[("run.yaml", b"a: !include ../x.yaml\n")]);
        assert!(folder.mistake().contains("cannot include `../x.yaml`"));
    }

    #[test]
    fn the_environment_is_taken_in_double_quotes_too() {
        let folder = Folder::new(&[
            ("run.yaml", b"x: !include sub.yaml\nb: {c: \"${LMPROBE_TEST_UNSET:-5}\"}\n"),
            ("sub.yaml", b"\xef\xbb\xbfy: \"${LMPROBE_TEST_UNSET:?why}\"\n"),
        ]);
        let (node, report) = folder.read();
        assert_eq!(node.unwrap().get("b").unwrap().to_json(), serde_json::json!({"c": "5"}));
        let invalid = report.into_invalid();
        assert!(invalid.to_string().ends_with("sub.yaml:1:4: x.y: the environment variable `LMPROBE_TEST_UNSET` is not set: why"), "{invalid}");
    }

    #[test]
    fn the_environment_is_taken() {
        let folder = Folder::new(&[("run.yaml", b"a: ${LMPROBE_TEST_UNSET:-5}\nb: '${LMPROBE_TEST_UNSET}'\n")]);
        assert_eq!(folder.read().0.unwrap().to_json(), serde_json::json!({"a": 5, "b": "${LMPROBE_TEST_UNSET}"}));
        assert_eq!(
            mistake(b"a: 1\nb: ${LMPROBE_TEST_UNSET:?give the folder}\n"),
            "run.yaml:2:4: the environment variable `LMPROBE_TEST_UNSET` is not set: give the folder"
        );
        assert_eq!(mistake(b"b: ${LMPROBE_TEST_UNSET}\n"), "run.yaml:1:4: the environment variable `LMPROBE_TEST_UNSET` is not set");
    }
}
