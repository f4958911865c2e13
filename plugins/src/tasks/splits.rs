//! What all tasks with labelled data share: their splits, the names of their examples, and the record of what was left out.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use lmprobe_core::polars::prelude::Series;
use lmprobe_core::{CallContext, Error, Examples, ExistingFiles, Problem, Result, Splits, table};

/// Something of each split.
#[derive(Debug, Clone, Default)]
pub(crate) struct PerSplit<T> {
    pub(crate) train: T,
    pub(crate) dev: T,
    pub(crate) test: T,
}

impl<T> PerSplit<T> {
    /// All three with their names.
    pub(crate) fn each(&self) -> [(&'static str, &T); 3] {
        [("train", &self.train), ("dev", &self.dev), ("test", &self.test)]
    }

    /// Something else of each, made in the order train, dev, test.
    pub(crate) fn map<U>(self, mut change: impl FnMut(&'static str, T) -> Result<U>) -> Result<PerSplit<U>> {
        Ok(PerSplit { train: change("train", self.train)?, dev: change("dev", self.dev)?, test: change("test", self.test)? })
    }
}

impl<T> PerSplit<Vec<T>> {
    /// The items of all splits.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.train.iter().chain(&self.dev).chain(&self.test)
    }

    /// The items of all splits, to change.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.train.iter_mut().chain(&mut self.dev).chain(&mut self.test)
    }
}

/// The files of each split.
pub(crate) type SplitPaths = PerSplit<Vec<PathBuf>>;

impl SplitPaths {
    /// The files that the parameters `train`, `dev` and `test` name.
    pub(crate) fn new(train: ExistingFiles, dev: ExistingFiles, test: ExistingFiles) -> Self {
        Self { train: train.0, dev: dev.0, test: test.0 }
    }

    /// Refuses parameters that name no file to learn from and none to ask.
    ///
    /// # Errors
    /// If there is neither.
    pub(crate) fn not_empty(self) -> Result<Self> {
        if self.train.is_empty() && self.test.is_empty() {
            return Err(Error::Config("neither `train` nor `test` names a file; give at least one of them".to_owned()));
        }
        Ok(self)
    }

    /// What `read` finds in the files, in their order.
    ///
    /// # Errors
    /// If a file is missing or malformed, or the run was asked to stop.
    pub(crate) fn read<T>(&self, cx: &CallContext<'_>, mut read: impl FnMut(&Path) -> Result<Vec<T>>) -> Result<PerSplit<Vec<T>>> {
        self.clone().map(|_, paths| {
            let mut items = Vec::new();
            for path in paths {
                cx.check_cancelled()?;
                items.extend(read(&path)?);
            }
            Ok(items)
        })
    }

    /// Refuses files that together give no example, and says what was left out of them.
    ///
    /// # Errors
    /// If there is nothing to learn from and nothing to ask.
    pub(crate) fn refuse_none<T>(&self, splits: &PerSplit<Vec<T>>, notes: &Notes) -> Result<()> {
        if !splits.train.is_empty() || !splits.test.is_empty() {
            return Ok(());
        }
        let files: Vec<String> = self.all().map(|path| path.display().to_string()).collect();
        let mut parts = vec![format!("{}: there is no example, neither to learn from nor to ask", files.join(", "))];
        parts.extend(notes.sentences());
        Err(Error::Config(parts.join("; ")))
    }
}

/// Where something stands in a file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    spot: Spot,
}

#[derive(Debug, Clone)]
enum Spot {
    Line(usize),
    /// An item of a JSON document, in words.
    Item(String),
}

impl Place {
    pub(crate) fn line(path: &Path, line: usize) -> Self {
        Self { path: path.to_owned(), spot: Spot::Line(line) }
    }

    /// A part of a file that has no line of its own, such as ``question `7` ``.
    pub(crate) fn item(path: &Path, item: impl Into<String>) -> Self {
        Self { path: path.to_owned(), spot: Spot::Item(item.into()) }
    }

    /// An error about what stands there.
    pub(crate) fn error(&self, message: impl fmt::Display) -> Error {
        match &self.spot {
            Spot::Line(line) => Error::data(&self.path, *line, message.to_string()),
            Spot::Item(item) => Error::data(&self.path, None, format!("{item}: {message}")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spot {
            Spot::Line(line) => write!(formatter, "line {line}"),
            Spot::Item(item) => formatter.write_str(item),
        }
    }
}

/// What was left out or changed while reading.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    entries: Vec<Note>,
}

#[derive(Debug)]
struct Note {
    what: String,
    /// The file, how often, and the first places; none for a remark that counts nothing.
    counted: Option<(PathBuf, usize, Vec<String>)>,
}

/// How many places a note names.
const NAMED: usize = 3;

impl Notes {
    /// Says something once.
    pub(crate) fn say(&mut self, what: impl Into<String>) {
        self.entries.push(Note { what: what.into(), counted: None });
    }

    /// Counts one more of a kind at a place; `what` reads on from a number: `sentences without a label were left out`.
    pub(crate) fn count(&mut self, what: &str, place: &Place) {
        for note in &mut self.entries {
            if let Some((path, n, named)) = &mut note.counted
                && note.what == what
                && *path == place.path
            {
                *n += 1;
                if named.len() < NAMED {
                    named.push(place.to_string());
                }
                return;
            }
        }
        self.entries.push(Note { what: what.to_owned(), counted: Some((place.path.clone(), 1, vec![place.to_string()])) });
    }

    /// The notes as sentences, each counted one with its file and its first places.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let sentence = |note: &Note| match &note.counted {
            None => note.what.clone(),
            Some((path, n, named)) => {
                let rest = if *n > named.len() { format!(" and {} more", n - named.len()) } else { String::new() };
                format!("{}: {n} {} ({}{rest})", path.display(), note.what, named.join(", "))
            }
        };
        self.entries.iter().map(sentence).collect()
    }
}

/// An example as a file has it.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    /// The file's own name of it.
    pub(crate) id: Option<String>,
    /// What it belongs to; its own name if nothing is known.
    pub(crate) cluster: Option<String>,
    pub(crate) place: Place,
    pub(crate) content: T,
}

/// A name for the `n`-th document of a file that does not name its documents: the file with its folder, so that it is the same on every machine.
pub(crate) fn nth_document(path: &Path, n: usize) -> String {
    let name = |path: Option<&std::ffi::OsStr>| path.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}/{}:{n}", name(path.parent().and_then(Path::file_name)), name(path.file_name()))
}

/// Names the examples and makes their tables; `columns` makes the columns behind `example_id` and `cluster`.
///
/// An example is called what the file calls it, else `SPLIT-N`. A name that is taken gets its split in front and, if need be, a number behind;
/// names that come again in one split are noted.
/// The test split is named first, so that its names do not depend on what there is to learn from.
///
/// # Errors
/// If the table library refuses the columns.
pub(crate) fn examples<T>(
    problem: Problem,
    splits: &PerSplit<Vec<Found<T>>>,
    labels: Vec<String>,
    mut notes: Notes,
    columns: impl Fn(&[&T]) -> Vec<Series>,
) -> Result<Examples> {
    let mut taken = HashSet::new();
    let mut frame = |split: &str, rows: &[Found<T>]| {
        let mut own = HashSet::new();
        for example in rows {
            if example.id.as_ref().is_some_and(|id| !own.insert(id)) {
                notes.count("names of examples come again in their split and were told apart", &example.place);
            }
        }
        let ids: Vec<String> = rows.iter().enumerate().map(|(row, example)| name(split, row, example, &mut taken)).collect();
        let clusters = rows.iter().zip(&ids).map(|(example, id)| Some(example.cluster.as_deref().unwrap_or(id)));
        let mut all = vec![table::text_column("example_id", ids.iter().map(|id| Some(id.as_str()))), table::text_column("cluster", clusters)];
        all.extend(columns(&rows.iter().map(|example| &example.content).collect::<Vec<_>>()));
        table::frame_of(all)
    };
    let test = frame("test", &splits.test)?;
    let (dev, train) = (frame("dev", &splits.dev)?, frame("train", &splits.train)?);
    let mut examples = Examples::labelled(problem, Splits { train, dev, test }, labels)?;
    examples.notes = notes.sentences();
    Ok(examples)
}

fn name<T>(split: &str, row: usize, example: &Found<T>, taken: &mut HashSet<String>) -> String {
    let own = example.id.clone().unwrap_or_else(|| format!("{split}-{}", row + 1));
    if taken.insert(own.clone()) {
        return own;
    }
    let mut free = format!("{split}:{own}");
    let mut n = 1;
    while !taken.insert(free.clone()) {
        n += 1;
        free = format!("{split}:{own}:{n}");
    }
    free
}

#[cfg(test)]
pub(crate) mod tests {
    use lmprobe_core::{Build, BuildContext, Cancel, Quiet, Registration, Seed, check_examples};
    use serde_json::{Map, Value, json};

    use super::*;

    /// What a task says to files of the given names and contents. A parameter whose text is one of the names is that file; the paths in
    /// messages and notes are the names alone.
    pub(crate) fn call(task: &str, files: &[(&str, &[u8])], params: &Value) -> Result<Examples, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let path_of = |value: &Value| match value.as_str() {
            Some(text) if folder.path().join(text).exists() => json!(folder.path().join(text)),
            _ => value.clone(),
        };
        let resolved: Map<String, Value> = params.as_object().unwrap().iter().map(|(key, value)| (key.clone(), path_of(value))).collect();
        let prefix = format!("{}/", folder.path().display());
        let mut examples = read(task, Value::Object(resolved)).map_err(|message| message.replace(&prefix, ""))?;
        for note in &mut examples.notes {
            *note = note.replace(&prefix, "");
        }
        Ok(examples)
    }

    /// What a task reads; splits are single paths.
    pub(crate) fn read(task: &str, mut params: Value) -> Result<Examples, String> {
        for split in ["train", "dev", "test"] {
            if let Some(path) = params.get_mut(split).filter(|path| path.is_string()) {
                *path = json!([path.clone()]);
            }
        }
        let cx = CallContext::new(Seed(1), &Quiet, Cancel::default());
        let Build::Task(build) = inventory::iter::<Registration>().find(|registration| registration.id == task).unwrap().build else {
            panic!("`{task}` is no task");
        };
        let task_of = build(params, &BuildContext::default()).map_err(|error| error.to_string())?;
        let examples = task_of.examples(&cx).map_err(|error| error.to_string())?;
        assert_eq!(task_of.problem(), examples.problem);
        check_examples(&examples, task).map_err(|error| error.to_string())?;
        Ok(examples)
    }

    /// The released data, where it is.
    pub(crate) fn released(folder: &str) -> Option<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(folder);
        if path.exists() {
            return Some(path);
        }
        eprintln!("skipped: there is no {}", path.display());
        None
    }

    /// Examples to learn from, to choose by, and to ask.
    pub(crate) fn sizes(examples: &Examples) -> (usize, usize, usize) {
        (examples.train.height(), examples.dev.height(), examples.examples.height())
    }

    pub(crate) fn texts(frame: &lmprobe_core::polars::prelude::DataFrame, name: &str) -> Vec<String> {
        table::texts(frame, name).unwrap().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_note_counts_and_names_the_first_three_places() {
        let mut notes = Notes::default();
        for line in 1..=5 {
            notes.count("rows were left out", &Place::line(Path::new("a.tsv"), line));
        }
        notes.count("rows were left out", &Place::item(Path::new("b.json"), "question `7`"));
        notes.say("b.json is odd");
        assert_eq!(
            notes.sentences(),
            ["a.tsv: 5 rows were left out (line 1, line 2, line 3 and 2 more)", "b.json: 1 rows were left out (question `7`)", "b.json is odd"]
        );
    }

    #[test]
    fn names_are_unique_over_all_splits_and_those_of_the_test_split_stay() {
        let found = |id: Option<&str>| Found { id: id.map(str::to_owned), cluster: None, place: Place::line(Path::new("a.tsv"), 1), content: () };
        let splits = PerSplit { train: vec![found(Some("a")), found(Some("a"))], dev: vec![found(None)], test: vec![found(Some("a")), found(Some("dev-1"))] };
        let examples = examples(Problem::Regression, &splits, Vec::new(), Notes::default(), |_| Vec::new()).unwrap();
        assert_eq!(texts(&examples.examples, "example_id"), ["a", "dev-1"]);
        assert_eq!(texts(&examples.dev, "example_id"), ["dev:dev-1"]);
        assert_eq!(texts(&examples.train, "example_id"), ["train:a", "train:a:2"]);
        assert_eq!(texts(&examples.train, "cluster"), ["train:a", "train:a:2"]);
        assert_eq!(examples.notes, ["a.tsv: 1 names of examples come again in their split and were told apart (line 1)"]);
    }
}
