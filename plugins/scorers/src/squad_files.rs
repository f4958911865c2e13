//! Questions and predictions in the form of SQuAD.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::answers::{AnswerCounts, Match};
use crate::python_json::dump;
use crate::{Error, Result, read_json};

/// A gold question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldQuestion {
    /// Its id.
    pub id: String,
    /// Every answer that counts as right; one empty text if it is impossible to answer.
    pub answers: Vec<String>,
}

/// One of the answers that a model thinks likely.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The text, empty for no answer.
    pub text: String,
    /// Its share among the candidates, a fraction in [0, 1].
    pub probability: f64,
    /// The logit of its first piece.
    pub start_logit: f64,
    /// The logit of its last piece.
    pub end_logit: f64,
}

/// Scores of predictions, and what did not fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SquadScores {
    /// All gold questions; one without a prediction counts as wrong.
    #[serde(skip)]
    pub counts: AnswerCounts,
    /// Gold questions.
    pub n: u64,
    /// Exact matches, a fraction in [0, 1].
    pub exact_match: f64,
    /// Mean F1 of words, a fraction in [0, 1].
    pub f1: f64,
    /// Ids of gold questions without a prediction.
    pub missing: Vec<String>,
    /// Predictions for questions that the gold does not have; they do not count.
    pub n_unknown: usize,
}

/// Reads the questions of `{"data": [{"paragraphs": [{"qas": [...]}]}]}`.
///
/// # Errors
///
/// If the file is not of this form, a question is there twice, or one has no answer and is not marked `is_impossible`.
pub fn read_gold(bytes: &[u8], file: &str) -> Result<Vec<GoldQuestion>> {
    let json = read_json(bytes, file)?;
    let missing = |place: &str, key: &str| Error::file(file, format!("{place}: no list `{key}`, as SQuAD has it"));
    let list = |value: &'_ Value, place: &str, key: &str| value.get(key).and_then(Value::as_array).cloned().ok_or_else(|| missing(place, key));
    let mut questions = Vec::new();
    let mut seen = HashSet::new();
    for (a, article) in list(&json, "the file", "data")?.iter().enumerate() {
        let place = format!("data[{a}]");
        for (p, paragraph) in list(article, &place, "paragraphs")?.iter().enumerate() {
            let place = format!("{place}.paragraphs[{p}]");
            for (q, question) in list(paragraph, &place, "qas")?.iter().enumerate() {
                let place = format!("{place}.qas[{q}]");
                let question = gold_question(question).map_err(|message| Error::file(file, format!("{place}: {message}")))?;
                if !seen.insert(question.id.clone()) {
                    return Err(Error::file(file, format!("{place}: question `{}` is there twice", question.id)));
                }
                questions.push(question);
            }
        }
    }
    if questions.is_empty() { Err(Error::file(file, "there is no question")) } else { Ok(questions) }
}

/// Reads `predictions.json`: an object of answers by question.
///
/// # Errors
///
/// If the file is not of this form, or a question is there twice.
pub fn read_predictions(bytes: &[u8], file: &str) -> Result<BTreeMap<String, String>> {
    let Value::Object(answers) = read_json(bytes, file)? else {
        return Err(Error::file(file, "expected an object of answers by question id"));
    };
    let answer = |(id, answer): (String, Value)| match answer {
        Value::String(answer) => Ok((id, answer)),
        other => Err(Error::file(file, format!("the answer to `{id}` is {}, expected a text", kind_of(&other)))),
    };
    answers.into_iter().map(answer).collect()
}

/// Scores predictions; gold questions without one count as wrong.
pub fn score(gold: &[GoldQuestion], predictions: &BTreeMap<String, String>) -> SquadScores {
    let mut counts = AnswerCounts::default();
    let mut missing = Vec::new();
    for question in gold {
        let answer = predictions.get(&question.id);
        counts.add(answer.map_or(Match::default(), |answer| Match::of(answer, &question.answers)));
        if answer.is_none() {
            missing.push(question.id.clone());
        }
    }
    let n_unknown = predictions.len() + missing.len() - gold.len();
    SquadScores { counts, n: counts.n, exact_match: counts.exact_match(), f1: counts.f1(), missing, n_unknown }
}

/// `predictions.json`: the best answer to each question, in order.
pub fn write_predictions<K: AsRef<str>, T: AsRef<str>>(answers: &[(K, T)]) -> String {
    file(answers.iter().map(|(id, answer)| (id.as_ref(), json!(answer.as_ref()))))
}

/// `nbest_predictions.json`: the candidates of each question, best first.
pub fn write_nbest<K: AsRef<str>>(answers: &[(K, Vec<Candidate>)]) -> String {
    let candidate = |Candidate { text, probability, start_logit, end_logit }: &Candidate| json!({"text": text, "probability": probability, "start_logit": start_logit, "end_logit": end_logit});
    file(answers.iter().map(|(id, candidates)| (id.as_ref(), candidates.iter().map(candidate).collect())))
}

/// `null_odds.json`: by how much each question's score of no answer is above that of its best answer.
pub fn write_null_odds<K: AsRef<str>>(odds: &[(K, f64)]) -> String {
    file(odds.iter().map(|(id, odds)| (id.as_ref(), json!(odds))))
}

fn file<'a>(entries: impl Iterator<Item = (&'a str, Value)>) -> String {
    let object: Map<String, Value> = entries.map(|(id, value)| (id.to_owned(), value)).collect();
    format!("{}\n", dump(&Value::Object(object), 4))
}

fn gold_question(question: &Value) -> Result<GoldQuestion, String> {
    let id = question_id(question)?;
    let impossible = question.get("is_impossible").and_then(Value::as_bool).unwrap_or(false);
    let listed = question.get("answers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let answers = listed.iter().map(|answer| answer.get("text").and_then(Value::as_str).map(str::to_owned));
    let answers: Vec<String> = answers.collect::<Option<_>>().ok_or_else(|| format!("question `{id}`: an answer has no `text`"))?;
    if answers.is_empty() && !impossible {
        return Err(format!("question `{id}` has no answers and is not marked `is_impossible`; this is no gold file"));
    }
    Ok(GoldQuestion { id, answers: if impossible { vec![String::new()] } else { answers } })
}

/// The id of a question; a number, as in COVID-QA, is its digits.
pub(crate) fn question_id(question: &Value) -> Result<String, String> {
    match question.get("id") {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        Some(other) => Err(format!("the `id` is {}, expected a text or a number", kind_of(other))),
        None => Err("no `id`".into()),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLD: &str = r#"{"version": "1", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [
        {"id": "a", "question": "?", "answers": [{"text": "the IL-2 gene", "answer_start": 0}, {"text": "IL2", "answer_start": 4}]},
        {"id": "b", "question": "?", "answers": [{"text": "liver", "answer_start": 0}]},
        {"id": "c", "question": "?", "answers": [], "is_impossible": true}]}]}]}"#;

    fn predictions(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(id, answer)| ((*id).to_owned(), (*answer).to_owned())).collect()
    }

    #[test]
    fn a_missing_prediction_is_wrong_and_said_so() {
        let gold = read_gold(GOLD.as_bytes(), "g").unwrap();
        let scores = score(&gold, &predictions(&[("a", "IL2 gene"), ("c", ""), ("z", "x")]));
        assert_eq!((scores.n, scores.exact_match, scores.f1), (3, 2.0 / 3.0, 2.0 / 3.0));
        assert_eq!((scores.missing, scores.n_unknown), (vec!["b".to_owned()], 1));
        // An empty answer to `b` is wrong too, but not missing.
        let scores = score(&gold, &predictions(&[("a", "gene"), ("b", ""), ("c", "x")]));
        assert_eq!((scores.exact_match, scores.missing.len()), (0.0, 0));
        // 1 of 1 predicted word and 1 of 2 gold words.
        assert_eq!(scores.f1, 2.0 / 3.0 / 3.0);
    }

    #[test]
    fn an_id_may_be_a_number() {
        let numbered = GOLD.replace("\"a\"", "262");
        assert_eq!(read_gold(numbered.as_bytes(), "g").unwrap()[0].id, "262");
    }

    #[test]
    fn files_look_as_python_writes_them() {
        assert_eq!(write_predictions(&[("b", "β"), ("a", "")]), "{\n    \"b\": \"\\u03b2\",\n    \"a\": \"\"\n}\n");
        let candidate = Candidate { text: "x".into(), probability: 1.0, start_logit: -0.5, end_logit: 1e-7 };
        let expected = "{\n    \"a\": [\n        {\n            \"text\": \"x\",\n            \"probability\": 1.0,\n            \"start_logit\": -0.5,\n            \
                        \"end_logit\": 1e-07\n        }\n    ]\n}\n";
        assert_eq!(write_nbest(&[("a", vec![candidate])]), expected);
        assert_eq!(write_null_odds(&[("a", -2.25)]), "{\n    \"a\": -2.25\n}\n");
        assert_eq!(read_predictions(write_predictions(&[("a", "β")]).as_bytes(), "p").unwrap(), predictions(&[("a", "β")]));
    }

    #[test]
    fn what_is_not_squad_is_refused_with_the_place() {
        for (text, message) in [
            ("{\n\"data\": \n", "g:3: not JSON: EOF while parsing a value at line 3 column 0"),
            ("{}", "g: the file: no list `data`, as SQuAD has it"),
            (r#"{"data": [{}]}"#, "g: data[0]: no list `paragraphs`, as SQuAD has it"),
            (r#"{"data": [{"paragraphs": [{}]}]}"#, "g: data[0].paragraphs[0]: no list `qas`, as SQuAD has it"),
            (r#"{"data": []}"#, "g: there is no question"),
            (r#"{"data": [{"paragraphs": [{"qas": [{}]}]}]}"#, "g: data[0].paragraphs[0].qas[0]: no `id`"),
            (r#"{"data": [{"paragraphs": [{"qas": [{"id": null}]}]}]}"#, "g: data[0].paragraphs[0].qas[0]: the `id` is null, expected a text or a number"),
            (
                r#"{"data": [{"paragraphs": [{"qas": [{"id": "a"}]}]}]}"#,
                "g: data[0].paragraphs[0].qas[0]: question `a` has no answers and is not marked `is_impossible`; this is no gold file",
            ),
            (
                r#"{"data": [{"paragraphs": [{"qas": [{"id": "a", "answers": [{}]}]}]}]}"#,
                "g: data[0].paragraphs[0].qas[0]: question `a`: an answer has no `text`",
            ),
        ] {
            assert_eq!(read_gold(text.as_bytes(), "g").unwrap_err().to_string(), message);
        }
        let twice = GOLD.replace("\"b\"", "\"a\"");
        assert_eq!(read_gold(twice.as_bytes(), "g").unwrap_err().to_string(), "g: data[0].paragraphs[0].qas[1]: question `a` is there twice");
        assert_eq!(read_predictions(br#"{"a": "x", "a": "y"}"#, "p").unwrap_err().to_string(), "p:1: the key `a` comes twice; keep one");
        assert_eq!(read_predictions(b"[]", "p").unwrap_err().to_string(), "p: expected an object of answers by question id");
        assert_eq!(read_predictions(br#"{"a": []}"#, "p").unwrap_err().to_string(), "p: the answer to `a` is a list, expected a text");
    }
}
