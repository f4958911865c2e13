//! Files of questions about a passage: PubMedQA, BioASQ, and rows of tables and of JSON Lines.

use std::collections::HashSet;
use std::path::Path;

use lmprobe_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_file::{DataFile, Row};
use super::labelled_text::LabelledText;
use super::splits::{Found, Notes, PerSplit, Place};
use super::text_file::{self, json_kind};

/// Where the parts of a question stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Columns {
    /// The question; by default `question` or `sentence1`.
    #[serde(default)]
    question: Option<String>,
    /// What it is asked about; by default `passage` or `sentence2`.
    #[serde(default)]
    passage: Option<String>,
    /// The answer; by default `label`.
    #[serde(default)]
    label: Option<String>,
    /// The name of the question; by default `id` or `index`, if there is one.
    #[serde(default)]
    id: Option<String>,
}

/// The usual names of columns.
const QUESTION: [&str; 2] = ["question", "sentence1"];
const LABEL: &str = "label";

impl Columns {
    /// Whether any is named.
    pub(crate) fn any(&self) -> bool {
        [&self.question, &self.passage, &self.label, &self.id].iter().any(|name| name.is_some())
    }

    /// Whether these cells are a header: some column is named, or a question and a label are.
    fn are_header(&self, cells: &[&str]) -> bool {
        let says = |names: &[&str]| cells.iter().any(|cell| names.contains(&cell.trim().to_lowercase().as_str()));
        self.any() || (says(&QUESTION) && says(&[LABEL]))
    }

    /// Whether a JSON object is a row, and not a document of questions by their identifier.
    fn are_keys_of(&self, object: &Map<String, Value>) -> bool {
        let is_text = |key: &str| object.get(key).is_some_and(Value::is_string);
        self.question.as_deref().map_or_else(|| QUESTION.into_iter().any(is_text), is_text)
    }
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) found: Vec<Found<LabelledText>>,
    /// Whether `maybe` is one of the answers.
    pub(crate) maybe: bool,
}

/// The questions of a file.
///
/// # Errors
/// If the file cannot be read or does not hold what its form says; the error names the line or the question.
pub(crate) fn read(path: &Path, columns: &Columns, notes: &mut Notes) -> Result<Questions> {
    let without_maybe = |found| Questions { found, maybe: false };
    match text_file::ending(path).as_str() {
        "json" if !text_file::has_object_a_line(&text_file::read(path)?) => {}
        "json" | "jsonl" | "ndjson" => return json_rows(path, columns, notes),
        _ => return table(path, columns, notes).map(without_maybe),
    }
    let document = match text_file::json(path)? {
        Value::Object(row) if columns.are_keys_of(&row) => return json_rows(path, columns, notes),
        Value::Object(document) => document,
        other => return Err(Error::data(path, None, format!("the file holds {}, expected questions by their identifier, or `questions`", json_kind(&other)))),
    };
    if columns.any() {
        let message = "`columns` names columns of tables and keys of JSON Lines; the file is one document, whose keys are fixed";
        return Err(Error::data(path, None, message));
    }
    if let Some(Value::Array(questions)) = document.get("questions") {
        return bioasq(path, questions, notes).map(without_maybe);
    }
    let found = document.iter().map(|(pmid, question)| pubmedqa(path, pmid, question, notes)).collect::<Result<_>>()?;
    Ok(Questions { found, maybe: true })
}

/// The questions of PubMedQA in the splits that a list gives.
///
/// # Errors
/// If a file cannot be read or does not hold what its form says, or the list does not fit the questions.
pub(crate) fn listed(path: &Path, ids: &Path, fold: Option<usize>, notes: &mut Notes) -> Result<PerSplit<Vec<Found<LabelledText>>>> {
    let Value::Object(questions) = text_file::json(path)? else {
        return Err(Error::data(path, None, "expected an object of questions by their identifier"));
    };
    let mut used = HashSet::new();
    let splits = identifiers(ids, fold)?.map(|_, names| {
        let found = names.into_iter().map(|pmid| {
            let question = questions.get(&pmid).ok_or_else(|| Error::data(ids, None, format!("there is no question `{pmid}` in {}", path.display())))?;
            if !used.insert(pmid.clone()) {
                return Err(Error::data(ids, None, format!("`{pmid}` is listed twice")));
            }
            pubmedqa(path, &pmid, question, notes)
        });
        found.collect::<Result<Vec<_>>>()
    })?;
    for pmid in questions.keys().filter(|pmid| !used.contains(*pmid)) {
        notes.count("questions are in no split and were left out", &Place::item(path, format!("question `{pmid}`")));
    }
    Ok(splits)
}

/// The identifiers of each split.
fn identifiers(path: &Path, fold: Option<usize>) -> Result<PerSplit<Vec<String>>> {
    let document = text_file::json(path)?;
    let list = |key: &str, value: &Value| -> Result<Vec<String>> {
        let items = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
        items.flatten().ok_or_else(|| Error::data(path, None, format!("there is no list of identifiers `{key}`")))
    };
    let test = list("test", &document["test"])?;
    let Some(folds) = document.get("folds") else {
        if fold.is_some() {
            return Err(Error::Config(format!("`fold` is given, but {} has no `folds`", path.display())));
        }
        return Ok(PerSplit { train: list("train", &document["train"])?, dev: list("dev", &document["dev"])?, test });
    };
    let folds = folds.as_array().into_iter().flatten().map(|fold| list("folds", fold)).collect::<Result<Vec<_>>>()?;
    let Some(fold) = fold.filter(|&fold| fold < folds.len()) else {
        return Err(Error::Config(format!("{} has {} folds; choose the development split with `fold`, from 0", path.display(), folds.len())));
    };
    let train = folds.iter().enumerate().filter(|&(index, _)| index != fold).flat_map(|(_, names)| names.clone()).collect();
    Ok(PerSplit { train, dev: folds[fold].clone(), test })
}

/// A question of PubMedQA.
fn pubmedqa(path: &Path, pmid: &str, question: &Value, notes: &mut Notes) -> Result<Found<LabelledText>> {
    let place = Place::item(path, format!("question `{pmid}`"));
    let text = |key: &str| question[key].as_str().map(str::trim).filter(|text| !text.is_empty()).ok_or_else(|| place.error(format!("`{key}` is no text")));
    let asked = text("QUESTION")?.to_owned();
    let Value::Array(contexts) = &question["CONTEXTS"] else { return Err(place.error("`CONTEXTS` is no array")) };
    let passages = texts_of("CONTEXTS", contexts, &place)?;
    let content = LabelledText { text: asked, text_pair: joined(&passages, &place, notes), golds: vec![text("final_decision")?.to_owned()] };
    Ok(Found { id: Some(pmid.to_owned()), cluster: Some(pmid.to_owned()), place, content })
}

/// The questions of BioASQ's own form that are answered with yes or no.
fn bioasq(path: &Path, questions: &[Value], notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
    let mut found = Vec::new();
    for (number, question) in (1..).zip(questions) {
        let empty = Map::new();
        let question = question.as_object().unwrap_or(&empty);
        let text = |key: &str| question.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let place = Place::item(path, text("id").map_or_else(|| format!("question {number}"), |id| format!("question `{id}`")));
        let (Some(id), Some(body)) = (text("id"), text("body")) else {
            return Err(place.error("there is no `id` or no `body`"));
        };
        if one_text("type", question.get("type"), &place)? != Some("yesno") {
            notes.count("questions of other types than `yesno` were left out", &place);
            continue;
        }
        let answer = match question.get("exact_answer") {
            Some(Value::Array(answers)) => one_text("exact_answer", answers.first(), &place)?,
            answer => one_text("exact_answer", answer, &place)?,
        };
        if answer.is_none() {
            notes.count("questions have no `exact_answer`", &place);
        }
        let passages = snippets(question.get("snippets"), &place)?;
        let content = LabelledText {
            text: body.to_owned(),
            text_pair: joined(&passages, &place, notes),
            golds: answer.map(|answer| answer.trim().to_lowercase()).into_iter().collect(),
        };
        found.push(Found { id: Some(id.to_owned()), cluster: Some(id.to_owned()), place, content });
    }
    Ok(found)
}

/// The texts of BioASQ's snippets; none where there are none.
fn snippets<'a>(snippets: Option<&'a Value>, place: &Place) -> Result<Vec<&'a str>> {
    let snippets = match snippets {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(snippets)) => snippets,
        Some(other) => return Err(place.error(format!("`snippets` is {}, expected an array", json_kind(other)))),
    };
    let text = |(number, snippet): (usize, &'a Value)| match snippet {
        Value::Object(snippet) => match snippet.get("text") {
            Some(Value::String(text)) => Ok(text.as_str()),
            None | Some(Value::Null) => Err(place.error(format!("item {number} of `snippets` has no `text`"))),
            Some(other) => Err(place.error(format!("`text` of item {number} of `snippets` is {}, expected a text", json_kind(other)))),
        },
        other => Err(place.error(format!("item {number} of `snippets` is {}, expected an object", json_kind(other)))),
    };
    (1..).zip(snippets).map(text).collect()
}

/// The texts of a list.
fn texts_of<'a>(key: &str, items: &'a [Value], place: &Place) -> Result<Vec<&'a str>> {
    let text = |(number, item): (usize, &'a Value)| {
        item.as_str().ok_or_else(|| place.error(format!("item {number} of `{key}` is {}, expected a text", json_kind(item))))
    };
    (1..).zip(items).map(text).collect()
}

/// A text that may be missing.
fn one_text<'a>(key: &str, value: Option<&'a Value>, place: &Place) -> Result<Option<&'a str>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(place.error(format!("`{key}` is {}, expected a text", json_kind(other)))),
    }
}

/// Passages joined by blanks, those that are blank left out; a question for which nothing is left is counted.
fn joined(passages: &[&str], place: &Place, notes: &mut Notes) -> Option<String> {
    let passages: Vec<&str> = passages.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    if passages.is_empty() {
        notes.count("questions have no passage", place);
        return None;
    }
    Some(passages.join(" "))
}

/// A table: BioASQ's has no header.
fn table(path: &Path, columns: &Columns, notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
    let bare: &[&str] = &["id", "question", "passage", "label"];
    let with_header = std::cell::Cell::new(false);
    let file = DataFile::read_table(path, &|_, cells| {
        with_header.set(columns.are_header(cells));
        Ok((!with_header.get()).then_some(bare))
    })?;
    if with_header.get() {
        return rows(&file, columns, notes);
    }
    let found = file.rows.iter().map(|row| {
        let id = row.filled(&file, "id")?;
        let content = LabelledText {
            text: row.filled(&file, "question")?,
            text_pair: Some(row.filled(&file, "passage")?),
            golds: vec![row.filled(&file, "label")?.trim().to_owned()],
        };
        Ok(Found { id: Some(id.clone()), cluster: Some(id), place: Place::line(path, row.line), content })
    });
    found.collect()
}

fn json_rows(path: &Path, columns: &Columns, notes: &mut Notes) -> Result<Questions> {
    let found = rows(&DataFile::read(path)?, columns, notes)?;
    let maybe = found.iter().any(|question| question.content.golds.iter().any(|answer| answer == "maybe"));
    Ok(Questions { found, maybe })
}

/// The questions of rows with named columns.
fn rows(file: &DataFile, columns: &Columns, notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
    let question = file.choose(columns.question.as_deref(), &QUESTION, "question")?;
    let passage = file.choose(columns.passage.as_deref(), &["passage", "sentence2"], "passage")?;
    let label = file.choose(columns.label.as_deref(), &[LABEL], "label")?;
    let id = file.choose_if_there(columns.id.as_deref(), &["id", "index"], "id")?;
    let mut found = Vec::with_capacity(file.rows.len());
    for row in &file.rows {
        let place = Place::line(&file.path, row.line);
        let text = row.filled(file, question)?;
        found.push(Found {
            id: row.optional(file, id)?,
            cluster: Some(text.clone()),
            content: LabelledText { text, text_pair: passage_of(file, row, passage, &place, notes)?, golds: vec![row.filled(file, label)?.trim().to_owned()] },
            place,
        });
    }
    Ok(found)
}

/// A passage, or several in a list.
fn passage_of(file: &DataFile, row: &Row, column: &str, place: &Place, notes: &mut Notes) -> Result<Option<String>> {
    match row.cells.get(column) {
        Some(Value::Array(passages)) => Ok(joined(&texts_of(column, passages, place)?, place, notes)),
        _ => row.filled(file, column).map(Some),
    }
}
