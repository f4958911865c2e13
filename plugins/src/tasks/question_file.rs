//! Files of questions about contexts: SQuAD's JSON, MRQA's JSON Lines, and LinkBERT's.

use std::path::Path;

use lmprobe_core::{Error, Result};
use serde_json::Value;

use super::data_file::DataFile;
use super::splits::{self, Found, Notes, Place};
use super::text_file;

/// A question about a context.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) context: String,
    /// The right answers as the context has them, and where they begin, in characters; none if the context does not answer, or nothing is known.
    pub(crate) golds: Vec<String>,
    pub(crate) starts: Vec<u64>,
}

/// An answer as a file has it.
struct Written {
    text: String,
    /// Where the file says that it begins, in characters.
    start: u64,
}

/// The questions of a file.
///
/// # Errors
/// If the file cannot be read or does not hold what its form says.
pub(crate) fn read(path: &Path, notes: &mut Notes) -> Result<Vec<Found<Question>>> {
    match text_file::ending(path).as_str() {
        "json" => squad(path, notes),
        "jsonl" | "ndjson" => json_lines(path, notes),
        _ => Err(Error::data(path, None, "cannot tell the format from the file's ending; expected `json` or `jsonl`")),
    }
}

/// The question of BioASQ that an identifier `24 hexadecimal digits_3 digits` belongs to.
pub(crate) fn bioasq_question(id: &str) -> Option<&str> {
    let (question, number) = id.split_once('_')?;
    let fits =
        question.len() == 24 && question.bytes().all(|byte| byte.is_ascii_hexdigit()) && number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(question)
}

fn squad(path: &Path, notes: &mut Notes) -> Result<Vec<Found<Question>>> {
    let document = text_file::json(path)?;
    let mut found = Vec::new();
    for (number, article) in (1..).zip(array(path, &document, "data")?) {
        let name = article["title"].as_str().filter(|title| !title.trim().is_empty()).map(str::to_owned);
        for paragraph in array(path, article, "paragraphs")? {
            let document = text_of(&paragraph["document_id"]).or_else(|| name.clone()).unwrap_or_else(|| splits::nth_document(path, number));
            let context =
                Context::new(paragraph["context"].as_str().ok_or_else(|| Error::data(path, None, format!("article {number}: a paragraph has no `context`")))?);
            for asked in array(path, paragraph, "qas")? {
                let id = text_of(&asked["id"]).ok_or_else(|| Error::data(path, None, format!("article {number}: a question has no `id`")))?;
                let place = Place::item(path, format!("question `{id}`"));
                let answers = match &asked["answers"] {
                    Value::Array(answers) => answers.iter().map(|answer| written(answer, &place)).collect::<Result<Vec<_>>>()?,
                    answer @ Value::Object(_) => vec![written(answer, &place)?],
                    _ => Vec::new(),
                };
                let impossible = asked["is_impossible"].as_bool();
                if answers.is_empty() && impossible != Some(true) {
                    notes.count("questions have no answer", &place);
                }
                let answers = if impossible == Some(true) { Vec::new() } else { answers };
                if let Some((golds, starts)) = context.answers(&answers, &place, notes) {
                    let question = text_of(&asked["question"]).ok_or_else(|| place.error("`question` is no text"))?.trim().to_owned();
                    let cluster = bioasq_question(&id).map_or_else(|| document.clone(), str::to_owned);
                    found.push(Found {
                        id: Some(id),
                        cluster: Some(cluster),
                        place,
                        content: Question { text: question, context: context.text.to_owned(), golds, starts },
                    });
                }
            }
        }
    }
    Ok(found)
}

fn json_lines(path: &Path, notes: &mut Notes) -> Result<Vec<Found<Question>>> {
    let file = DataFile::read(path)?;
    let mut found = Vec::new();
    for row in file.rows.iter().filter(|row| !row.cells.contains_key("header")) {
        let text = row.filled(&file, "context")?;
        let context = Context::new(&text);
        let here = |place: &Place, id: Option<String>, question: &Value, answers: &[Written], notes: &mut Notes| -> Result<Option<Found<Question>>> {
            if answers.is_empty() {
                notes.count("questions have no answer", place);
            }
            let question = question.as_str().ok_or_else(|| place.error("`question` is no text"))?.trim().to_owned();
            let Some((golds, starts)) = context.answers(answers, place, notes) else { return Ok(None) };
            let asked = Question { text: question, context: text.clone(), golds, starts };
            Ok(Some(Found { id, cluster: Some(text.clone()), place: place.clone(), content: asked }))
        };
        let place = Place::line(path, row.line);
        let Some(asked) = row.cells.get("qas") else {
            let cells = Value::Object(row.cells.clone());
            found.extend(here(&place, text_of(&cells["id"]), &cells["question"], &parallel(&cells["answers"], &place)?, notes)?);
            continue;
        };
        for asked in asked.as_array().ok_or_else(|| place.error("`qas` is no array"))? {
            let detected = asked["detected_answers"].as_array().into_iter().flatten().map(|answer| detected(answer, &place)).collect::<Result<Vec<_>>>()?;
            let id = text_of(&asked["id"]).or_else(|| text_of(&asked["qid"]));
            found.extend(here(&place, id, &asked["question"], &detected, notes)?);
        }
    }
    Ok(found)
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

/// An answer of SQuAD.
fn written(answer: &Value, place: &Place) -> Result<Written> {
    match (answer["text"].as_str(), answer["answer_start"].as_u64()) {
        (Some(text), Some(start)) if !text.is_empty() => Ok(Written { text: text.to_owned(), start }),
        _ => Err(place.error("an answer needs a `text` and an `answer_start`, a whole number")),
    }
}

/// An answer of MRQA, at its first place.
fn detected(answer: &Value, place: &Place) -> Result<Written> {
    match (answer["text"].as_str(), answer["char_spans"][0][0].as_u64()) {
        (Some(text), Some(start)) if !text.is_empty() => Ok(Written { text: text.to_owned(), start }),
        _ => Err(place.error("a detected answer needs a `text` and `char_spans`")),
    }
}

/// The answers of LinkBERT's files: a list of texts and one of places.
fn parallel(answers: &Value, place: &Place) -> Result<Vec<Written>> {
    let list = |key: &str| answers[key].as_array().ok_or_else(|| place.error("`answers` needs the arrays `text` and `answer_start`"));
    let (texts, starts) = (list("text")?, list("answer_start")?);
    if texts.len() != starts.len() {
        return Err(place.error(format!("`answers` holds {} texts and {} places", texts.len(), starts.len())));
    }
    let one = |(text, start): (&Value, &Value)| written(&serde_json::json!({"text": text, "answer_start": start}), place);
    texts.iter().zip(starts).map(one).collect()
}

/// A context whose characters can be counted.
struct Context<'a> {
    text: &'a str,
    /// Where each character begins, in bytes.
    bytes: Vec<usize>,
}

impl<'a> Context<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, bytes: text.char_indices().map(|(byte, _)| byte).collect() }
    }

    /// The answers where they truly stand, each place once; none at all if no answer of a question that has some is in the context.
    fn answers(&self, written: &[Written], place: &Place, notes: &mut Notes) -> Option<(Vec<String>, Vec<u64>)> {
        let (mut golds, mut starts) = (Vec::new(), Vec::new());
        for answer in written {
            let Some(start) = self.nearest(answer) else {
                if written.len() > 1 {
                    notes.count("answers are not in their context and were left out", place);
                }
                continue;
            };
            if start != answer.start {
                notes.count(&format!("answers were moved by {} to where the context has them", distance(answer.start, start)), place);
            }
            if !golds.iter().zip(&starts).any(|(gold, place)| *gold == answer.text && *place == start) {
                golds.push(answer.text.clone());
                starts.push(start);
            }
        }
        if golds.is_empty() && !written.is_empty() {
            notes.count("questions were left out: none of their answers is in the context", place);
            return None;
        }
        Some((golds, starts))
    }

    /// Where the context has the answer, nearest to where it was said to be; the earlier of two.
    fn nearest(&self, answer: &Written) -> Option<u64> {
        let there = usize::try_from(answer.start).ok().and_then(|start| self.bytes.get(start)).is_some_and(|&byte| self.text[byte..].starts_with(&answer.text));
        if there {
            return Some(answer.start);
        }
        let mut best: Option<u64> = None;
        let mut from = 0;
        while let Some(at) = self.text[from..].find(&answer.text).map(|at| from + at) {
            let index = self.bytes.binary_search(&at).expect("a match begins at a character");
            let start = index as u64;
            if best.is_none_or(|best| start.abs_diff(answer.start) < best.abs_diff(answer.start)) {
                best = Some(start);
            }
            let Some(&next) = self.bytes.get(index + 1) else { break };
            from = next;
        }
        best
    }
}

fn distance(from: u64, to: u64) -> String {
    let n = from.abs_diff(to);
    format!("{}{n}", if to < from { "-" } else { "+" })
}
