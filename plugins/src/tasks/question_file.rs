//! Files of questions about contexts: SQuAD's JSON, MRQA's JSON Lines, LinkBERT's, and one's own.

use std::path::Path;

use lmprobe_core::{Error, Result};
use lmprobe_scorers::bioasq_transform::question_of_snippet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer_places::{Context, Placed, Written};
use super::data_file::DataFile;
use super::splits::{self, Found, Notes, Place};
use super::text_file::{self, json_kind};

/// A question about a context.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) context: String,
    /// The right answers, those that stand in the context first and as it has them; one empty text if it does not answer the question; none if nothing is known.
    pub(crate) golds: Vec<String>,
    /// Where those that stand in the context begin, in characters, in the order of `golds`.
    pub(crate) starts: Vec<u64>,
}

/// Keys of rows with other names than the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Columns {
    /// The question; by default `question`.
    #[serde(default)]
    question: Option<String>,
    /// The context; by default `context`.
    #[serde(default)]
    context: Option<String>,
    /// The right answers; by default `answers`.
    #[serde(default)]
    answers: Option<String>,
    /// The name of the question; by default `id` or `qid`.
    #[serde(default)]
    id: Option<String>,
    /// What a context belongs to; by default it stands for itself.
    #[serde(default)]
    document: Option<String>,
}

impl Columns {
    /// Refuses names that no row has. Questions that stand in a list of their context may have any keys.
    fn check(&self, file: &DataFile) -> Result<()> {
        let has = |key: &str| file.rows.iter().any(|row| row.cells.contains_key(key));
        let named = [("question", &self.question), ("context", &self.context), ("answers", &self.answers), ("id", &self.id), ("document", &self.document)];
        for (what, name) in named {
            if let Some(name) = name.as_deref().filter(|name| !has(name) && !has("qas")) {
                file.column(&[name], what)?;
            }
        }
        Ok(())
    }
}

/// How files are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    pub(crate) columns: Columns,
    /// Whether a question whose answers do not stand in the context is kept, with them and without a place.
    pub(crate) keep_strangers: bool,
}

impl Form {
    /// The questions of a file.
    ///
    /// # Errors
    /// If the file cannot be read or does not hold what its form says.
    pub(crate) fn read(&self, path: &Path, notes: &mut Notes) -> Result<Vec<Found<Question>>> {
        match text_file::ending(path).as_str() {
            "json" if !self.has_lines(&text_file::read(path)?) => {
                if self.columns != Columns::default() {
                    return Err(Error::data(
                        path,
                        None,
                        "`columns` names keys of objects that stand one a line, and the first line of this file is none that has them",
                    ));
                }
                self.squad(path, notes)
            }
            "json" | "jsonl" | "ndjson" => self.json_lines(path, notes),
            _ => Err(Error::data(path, None, "cannot tell the format from the file's ending; expected `json` or `jsonl`")),
        }
    }

    /// Whether a `json` file holds an object a line: its first line is one, with a key that only these have.
    fn has_lines(&self, text: &str) -> bool {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let Ok(Value::Object(first)) = serde_json::from_str(first) else { return false };
        let named = [&self.columns.question, &self.columns.context].into_iter().flatten().map(String::as_str);
        ["header", "context", "question"].into_iter().chain(named).any(|key| first.contains_key(key))
    }

    fn squad(&self, path: &Path, notes: &mut Notes) -> Result<Vec<Found<Question>>> {
        let document = text_file::json(path)?;
        let mut found = Vec::new();
        for (number, article) in (1..).zip(array(path, &document, "data")?) {
            let name = article["title"].as_str().filter(|title| !title.trim().is_empty()).map(str::to_owned);
            for paragraph in array(path, article, "paragraphs")? {
                let document = text_of(&paragraph["document_id"]).or_else(|| name.clone()).unwrap_or_else(|| splits::nth_document(path, number));
                let context = Context::new(
                    paragraph["context"].as_str().ok_or_else(|| Error::data(path, None, format!("article {number}: a paragraph has no `context`")))?,
                );
                for asked in array(path, paragraph, "qas")? {
                    let id = text_of(&asked["id"]).ok_or_else(|| Error::data(path, None, format!("article {number}: a question has no `id`")))?;
                    let place = Place::item(path, format!("question `{id}`"));
                    let answers = answers(&asked["answers"], "answers").map_err(|message| place.error(message))?;
                    let impossible = impossible(&asked["is_impossible"]).map_err(|message| place.error(message))?;
                    let Some((golds, starts)) = self.golds(&context, &answers, impossible, &place, notes) else { continue };
                    let question = text_of(&asked["question"]).ok_or_else(|| place.error("`question` is no text"))?;
                    let cluster = question_of_snippet(&id).map_or_else(|| document.clone(), str::to_owned);
                    let asked = Question { text: question.trim().to_owned(), context: context.text.to_owned(), golds, starts };
                    found.push(Found { id: Some(id), cluster: Some(cluster), place, content: asked });
                }
            }
        }
        Ok(found)
    }

    fn json_lines(&self, path: &Path, notes: &mut Notes) -> Result<Vec<Found<Question>>> {
        let file = DataFile::read(path)?;
        let columns = &self.columns;
        columns.check(&file)?;
        let question = columns.question.as_deref().unwrap_or("question");
        let answers_key = columns.answers.as_deref().unwrap_or("answers");
        let ids: Vec<&str> = columns.id.as_deref().map_or_else(|| vec!["id", "qid"], |id| vec![id]);
        let mut found = Vec::new();
        for row in file.rows.iter().filter(|row| !row.cells.contains_key("header")) {
            let text = row.filled(&file, columns.context.as_deref().unwrap_or("context"))?;
            let context = Context::new(&text);
            let document = columns.document.as_deref().map(|document| row.filled(&file, document)).transpose()?.unwrap_or_else(|| text.clone());
            let place = Place::line(path, row.line);
            let asked: Vec<&Map<String, Value>> = match row.cells.get("qas") {
                None => vec![&row.cells],
                Some(Value::Array(asked)) => {
                    let objects = asked.iter().map(|asked| asked.as_object().ok_or_else(|| place.error("`qas` holds something else than objects")));
                    objects.collect::<Result<_>>()?
                }
                Some(_) => return Err(place.error("`qas` is no array")),
            };
            for asked in asked {
                let cell = |key: &str| asked.get(key).unwrap_or(&Value::Null);
                let id = ids.iter().find_map(|key| text_of(cell(key)));
                let error = |message: String| place.error(id.as_ref().map_or_else(|| message.clone(), |id| format!("question `{id}`: {message}")));
                let answers = if row.cells.contains_key("qas") { detected(cell("detected_answers")) } else { answers(cell(answers_key), answers_key) };
                let impossible = impossible(cell("is_impossible")).map_err(error)?;
                let Some((golds, starts)) = self.golds(&context, &answers.map_err(error)?, impossible, &place, notes) else { continue };
                let question = cell(question).as_str().ok_or_else(|| error(format!("`{question}` is no text")))?;
                let asked = Question { text: question.trim().to_owned(), context: text.clone(), golds, starts };
                // As in SQuAD's form, a name of BioASQ says which question a snippet belongs to.
                let cluster = id.as_deref().and_then(question_of_snippet).map_or_else(|| document.clone(), str::to_owned);
                found.push(Found { id, cluster: Some(cluster), place: place.clone(), content: asked });
            }
        }
        Ok(found)
    }

    /// Right answers and their places; none at all for a question that is left out: it has answers, and its context has none of them.
    fn golds(&self, context: &Context<'_>, written: &[Written], impossible: bool, place: &Place, notes: &mut Notes) -> Option<(Vec<String>, Vec<u64>)> {
        if impossible {
            if !written.is_empty() {
                notes.count("questions are marked `is_impossible` and have answers, which were left out", place);
            }
            return Some((vec![String::new()], Vec::new()));
        }
        if written.is_empty() {
            notes.count("questions have no answer and are not marked `is_impossible`: nothing is known of their gold", place);
            return Some((Vec::new(), Vec::new()));
        }
        let Placed { texts: mut golds, starts, strangers } = context.place(written, place, notes);
        if self.keep_strangers {
            // A context may write an answer with other blanks: the file's own writing is right too.
            for text in written.iter().map(|answer| &answer.text) {
                if !golds.contains(text) {
                    golds.push(text.clone());
                }
            }
            return Some((golds, starts));
        }
        if golds.is_empty() {
            notes.count("questions were left out: none of their answers is in the context", place);
            return None;
        }
        for _ in 0..strangers {
            notes.count("answers are not in their context and were left out", place);
        }
        Some((golds, starts))
    }
}

fn array<'a>(path: &Path, value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().ok_or_else(|| Error::data(path, None, format!("there is no array `{key}`; expected SQuAD's `data`, `paragraphs` and `qas`")))
}

/// A text, or a number as it is written.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether a question says that its context does not answer it.
fn impossible(value: &Value) -> Result<bool, String> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(impossible) => Ok(*impossible),
        other => Err(format!("`is_impossible` is {}, expected true or false", json_kind(other))),
    }
}

/// Right answers in any form that files have: SQuAD's objects of a text and a place, LinkBERT's lists of texts and of places, texts without places. Without any
/// nothing is known.
fn answers(value: &Value, key: &str) -> Result<Vec<Written>, String> {
    let wrong = |what: &str| format!("`{key}` {what}; expected objects with `text` and `answer_start`, or an object with these two as lists, or texts");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Written::new(text, None).map(|answer| vec![answer]).ok_or_else(|| wrong("is an empty text")),
        Value::Array(answers) => answers
            .iter()
            .map(|answer| match answer {
                Value::String(text) => Written::new(text, None).ok_or_else(|| wrong("holds an empty text")),
                Value::Object(_) => written(&answer["text"], &answer["answer_start"]),
                other => Err(wrong(&format!("holds {}", json_kind(other)))),
            })
            .collect(),
        Value::Object(lists) => match (&lists.get("text"), &lists.get("answer_start")) {
            (Some(Value::Array(texts)), Some(Value::Array(starts))) if texts.len() == starts.len() => {
                texts.iter().zip(starts).map(|(text, start)| written(text, start)).collect()
            }
            (Some(Value::Array(texts)), Some(Value::Array(starts))) => Err(format!("`{key}` holds {} texts and {} places", texts.len(), starts.len())),
            (Some(text @ Value::String(_)), Some(start)) => Ok(vec![written(text, start)?]),
            _ => Err(wrong("is an object without both")),
        },
        other => Err(wrong(&format!("is {}", json_kind(other)))),
    }
}

/// An answer with its place.
fn written(text: &Value, start: &Value) -> Result<Written, String> {
    let answer = text.as_str().zip(start.as_u64()).and_then(|(text, start)| Written::new(text, Some(start)));
    answer.ok_or_else(|| "an answer needs a `text` and an `answer_start`, a whole number".to_owned())
}

/// The answers of MRQA, each at its first place.
fn detected(value: &Value) -> Result<Vec<Written>, String> {
    let answers = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(answers) => answers,
        other => return Err(format!("`detected_answers` is {}, expected an array of objects with `text` and `char_spans`", json_kind(other))),
    };
    let one = |answer: &Value| {
        let answer = answer["text"].as_str().zip(answer["char_spans"][0][0].as_u64()).and_then(|(text, start)| Written::new(text, Some(start)));
        answer.ok_or_else(|| "a detected answer needs a `text` and `char_spans`".to_owned())
    };
    answers.iter().map(one).collect()
}
