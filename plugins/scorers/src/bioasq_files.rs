//! Questions and answers in BioASQ's JSON.

use std::collections::HashSet;

use serde_json::Value;

use crate::squad_files::question_id;
use crate::{Error, Result, read_json};

/// What kind of answer a question wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    YesNo,
    /// One entity, number or short expression, given as a ranked list.
    Factoid,
    /// A set of such.
    List,
    /// A text; phase B does not score its exact answer.
    Summary,
}

/// The exact answer of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exact {
    /// Of a yes/no question; `None` if the text holds neither word.
    YesNo(Option<bool>),
    /// Of a factoid or list question: entries with their synonyms, in lower case, empty entries left out.
    Entries(Vec<Vec<String>>),
    /// There is none.
    None,
}

/// A question, of the gold or of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its id.
    pub id: String,
    /// What kind of answer it wants; systems may leave it out.
    pub kind: Option<Kind>,
    /// Its exact answer.
    pub exact: Exact,
}

/// Reads the gold questions. Each must have a type and, except for summaries, an exact answer of its form.
///
/// # Errors
///
/// If the file is not BioASQ's JSON; the message names the question.
pub fn read_gold(bytes: &[u8], file: &str) -> Result<Vec<Question>> {
    let questions = read_system(bytes, file)?;
    for question in &questions {
        let wrong = |message: &str| Err(Error::file(file, format!("question `{}`: {message}", question.id)));
        match (question.kind, &question.exact) {
            (None, _) => return wrong("no `type`"),
            (Some(Kind::Summary), _) => {}
            (_, Exact::None) => return wrong("no `exact_answer`; this is no gold file of phase B"),
            (Some(Kind::YesNo), Exact::YesNo(None)) => return wrong("the `exact_answer` is neither yes nor no"),
            (Some(Kind::YesNo), Exact::Entries(_)) => return wrong("the `exact_answer` of a yes/no question is a list, expected `yes` or `no`"),
            (Some(_), Exact::YesNo(_)) if question.kind != Some(Kind::YesNo) => {
                return wrong("the `exact_answer` is one text, expected a list of lists of synonyms");
            }
            _ => {}
        }
    }
    Ok(questions)
}

/// Reads what a system answered; type and answer may be missing.
///
/// # Errors
///
/// If the file is not BioASQ's JSON; the message names the question.
pub fn read_system(bytes: &[u8], file: &str) -> Result<Vec<Question>> {
    let json = read_json(bytes, file)?;
    let Some(questions) = json.get("questions").and_then(Value::as_array) else {
        return Err(Error::file(file, "expected an object with a list `questions`, as BioASQ writes it"));
    };
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(questions.len());
    for (index, question) in questions.iter().enumerate() {
        let id = question_id(question).map_err(|message| Error::file(file, format!("question {}: {message}", index + 1)))?;
        if !seen.insert(id.clone()) {
            return Err(Error::file(file, format!("question `{id}` is there twice")));
        }
        let wrong = |message: String| Error::file(file, format!("question `{id}`: {message}"));
        let kind = kind(question.get("type")).map_err(wrong)?;
        let exact = exact(question.get("exact_answer")).map_err(wrong)?;
        read.push(Question { id, kind, exact });
    }
    Ok(read)
}

fn kind(value: Option<&Value>) -> Result<Option<Kind>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => match name.as_str() {
            "yesno" => Ok(Some(Kind::YesNo)),
            "factoid" => Ok(Some(Kind::Factoid)),
            "list" => Ok(Some(Kind::List)),
            "summary" => Ok(Some(Kind::Summary)),
            other => Err(format!("unknown `type` `{other}`; there are yesno, factoid, list, summary")),
        },
        Some(other) => Err(format!("the `type` is {other}, expected a text")),
    }
}

fn exact(value: Option<&Value>) -> Result<Exact, String> {
    match value {
        None | Some(Value::Null) => Ok(Exact::None),
        Some(Value::String(answer)) => {
            let answer = answer.to_lowercase();
            Ok(Exact::YesNo(if answer.contains("yes") { Some(true) } else { answer.contains("no").then_some(false) }))
        }
        Some(Value::Array(entries)) => {
            let entries = entries.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
            Ok(Exact::Entries(entries.into_iter().filter(|synonyms| !synonyms.is_empty()).collect()))
        }
        Some(other) => Err(format!("the `exact_answer` is {other}, expected a text or a list")),
    }
}

/// An entry is a list of synonyms; the first years of BioASQ wrote entries without synonyms as texts.
fn entry(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.to_lowercase()),
        // The evaluator reads numbers as the texts they are.
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("the `exact_answer` holds {other}, expected texts")),
    };
    match value {
        Value::Array(synonyms) => synonyms.iter().map(text).collect(),
        other => Ok(vec![text(other)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(read: fn(&[u8], &str) -> Result<Vec<Question>>, text: &str) -> String {
        read(text.as_bytes(), "g.json").unwrap_err().to_string()
    }

    #[test]
    fn answers_are_read_in_lower_case() {
        let text = br#"{"questions": [
            {"id": "a", "type": "yesno", "exact_answer": "Yes."}, {"id": "b", "type": "list", "exact_answer": [["A", "Aa"], [], "B", [7]]},
            {"id": "c", "type": "summary", "ideal_answer": "text"}]}"#;
        let questions = read_gold(text, "g.json").unwrap();
        assert_eq!(questions[0].exact, Exact::YesNo(Some(true)));
        let entries = vec![vec!["a".to_owned(), "aa".to_owned()], vec!["b".to_owned()], vec!["7".to_owned()]];
        assert_eq!((questions[1].kind, &questions[1].exact), (Some(Kind::List), &Exact::Entries(entries)));
        assert_eq!(questions[2].exact, Exact::None);
    }

    #[test]
    fn what_is_not_bioasq_is_refused_with_the_question() {
        for (text, message) in [
            ("{", "g.json:1: not JSON: EOF while parsing an object at line 1 column 1"),
            ("[]", "g.json: expected an object with a list `questions`, as BioASQ writes it"),
            (r#"{"questions": [{}]}"#, "g.json: question 1: no `id`"),
            (r#"{"questions": [{"id": []}]}"#, "g.json: question 1: the `id` is a list, expected a text or a number"),
            (r#"{"questions": [{"id": "a", "id": "b"}]}"#, "g.json:1: the key `id` comes twice; keep one"),
            (r#"{"questions": [{"id": "a"}, {"id": "a"}]}"#, "g.json: question `a` is there twice"),
            (r#"{"questions": [{"id": "a", "type": "yes"}]}"#, "g.json: question `a`: unknown `type` `yes`; there are yesno, factoid, list, summary"),
            (r#"{"questions": [{"id": "a", "type": 1}]}"#, "g.json: question `a`: the `type` is 1, expected a text"),
            (r#"{"questions": [{"id": "a", "exact_answer": 1}]}"#, "g.json: question `a`: the `exact_answer` is 1, expected a text or a list"),
            (r#"{"questions": [{"id": "a", "exact_answer": [[{}]]}]}"#, "g.json: question `a`: the `exact_answer` holds {}, expected texts"),
        ] {
            assert_eq!(refused(read_system, text), message);
        }
        for (question, message) in [
            (r#""exact_answer": "yes""#, "no `type`"),
            (r#""type": "list""#, "no `exact_answer`; this is no gold file of phase B"),
            (r#""type": "yesno", "exact_answer": "maybe""#, "the `exact_answer` is neither yes nor no"),
            (r#""type": "yesno", "exact_answer": []"#, "the `exact_answer` of a yes/no question is a list, expected `yes` or `no`"),
            (r#""type": "factoid", "exact_answer": "x""#, "the `exact_answer` is one text, expected a list of lists of synonyms"),
        ] {
            let text = format!(r#"{{"questions": [{{"id": "a", {question}}}]}}"#);
            assert_eq!(refused(read_gold, &text), format!("g.json: question `a`: {message}"));
        }
    }
}
