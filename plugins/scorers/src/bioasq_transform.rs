//! From answers to snippets to answers to questions, in the form that BioASQ takes.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::python_json::dump;
use crate::{Error, Result, read_json};

/// Characters of a key: a question's id of 24, `_` and three digits.
const KEY: usize = 28;

/// Characters that an answer may have.
const LONGEST: usize = 100;

/// Entries of the second file.
const WITH_PROBABILITY: usize = 20;

/// Which program's habits are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `transform_nbset2bioasqform.py` of BioBERT: answers as they are.
    BioBert,
    /// `transform_n2b_factoid.py` of biobert-pytorch: a trailing `,`, `.` or blank is dropped, or parentheses around the whole, or an answer with only one of
    /// the two kinds of parentheses; the ideal answer is a list.
    BioBertPyTorch,
}

/// The two files, without a line end at their end, as the originals write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transformed {
    /// `BioASQform_BioASQ-answer.json`: up to five answers a question.
    pub answers: String,
    /// `WithProb_BioASQform_BioASQ-answer.json`: up to twenty with their summed probabilities.
    pub with_probability: String,
    /// Answers that were left out: empty, too long, or with one parenthesis.
    pub n_left_out: u64,
}

/// Pools `nbest_predictions.json` over the snippets of each factoid question: answers that are equal but for case add their probabilities.
///
/// Answers of equal probability keep the order of the file, where the original depends on an unstable sort.
///
/// # Errors
///
/// If the file is not n-best predictions, or a key is not a question's id and a number.
pub fn factoid(nbest: &[u8], file: &str, program: Program) -> Result<Transformed> {
    let Value::Object(snippets) = read_json(nbest, file)? else {
        return Err(Error::file(file, "expected an object of n-best lists by question id"));
    };
    let mut n_left_out = 0;
    let (mut answers, mut with_probability) = (Vec::new(), Vec::new());
    for (id, mut candidates) in grouped(&snippets, file)? {
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut pooled: Vec<(&str, f64)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (text, probability) in candidates {
            let text = if program == Program::BioBertPyTorch { trimmed(text) } else { text };
            if text.is_empty() || text.chars().count() > LONGEST {
                n_left_out += 1;
                continue;
            }
            if let Some(place) = places.get(&text.to_lowercase()) {
                pooled[*place].1 += probability;
            } else {
                places.insert(text.to_lowercase(), pooled.len());
                pooled.push((text, probability));
            }
        }
        pooled.sort_by(|a, b| b.1.total_cmp(&a.1));
        let entry = |exact: Vec<Value>| {
            let ideal = if program == Program::BioBert { json!("Dummy") } else { json!(["Dummy"]) };
            json!({"type": "factoid", "id": id, "ideal_answer": ideal, "exact_answer": exact})
        };
        answers.push(entry(pooled.iter().take(crate::bioasq::FACTOID_ENTRIES).map(|(text, _)| json!([text])).collect()));
        with_probability.push(entry(pooled.iter().take(WITH_PROBABILITY).map(|(text, probability)| json!([text, probability])).collect()));
    }
    let file = |questions: Vec<Value>| dump(&json!({"questions": questions}), 2);
    Ok(Transformed { answers: file(answers), with_probability: file(with_probability), n_left_out })
}

/// Answers yes/no questions by the mean probability of yes over their snippets, each rounded to three decimals, as biobert-pytorch does: yes above one half.
///
/// # Errors
///
/// If a key is not a question's id and a number, or a probability is not in [0, 1].
pub fn yes_no<K: AsRef<str>>(snippets: &[(K, f64)]) -> Result<String> {
    let mut order: Vec<(&str, f64, u32)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (key, probability) in snippets {
        let id = question_id(key.as_ref()).map_err(Error::Value)?;
        if !(0.0..=1.0).contains(probability) {
            return Err(Error::Value(format!("key `{}`: probability {probability} is not in [0, 1]", key.as_ref())));
        }
        let rounded: f64 = format!("{probability:.3}").parse().expect("a number");
        let place = *places.entry(id).or_insert_with(|| {
            order.push((id, 0.0, 0));
            order.len() - 1
        });
        order[place].1 += rounded;
        order[place].2 += 1;
    }
    let question = |(id, sum, n): (&str, f64, u32)| {
        let answer = if sum / f64::from(n) > 0.5 { "yes" } else { "no" };
        json!({"type": "yesno", "id": id, "ideal_answer": ["Dummy"], "exact_answer": answer})
    };
    Ok(dump(&json!({"questions": order.into_iter().map(question).collect::<Vec<_>>()}), 2))
}

/// The question that a name of a snippet belongs to: 24 hexadecimal digits, behind which `_` and three digits number the snippets.
pub fn question_of_snippet(name: &str) -> Option<&str> {
    let (question, number) = name.split_once('_')?;
    let fits = question.len() == KEY - 4 && number.len() == 3;
    (fits && question.bytes().all(|byte| byte.is_ascii_hexdigit()) && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(question)
}

/// Answers with their probabilities.
type Candidates<'a> = Vec<(&'a str, f64)>;

/// The candidates of each question, in the order of the file.
fn grouped<'a>(snippets: &'a Map<String, Value>, file: &str) -> Result<Vec<(&'a str, Candidates<'a>)>> {
    let mut questions: Vec<(&str, Candidates)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (key, candidates) in snippets {
        let id = question_id(key).map_err(|message| Error::file(file, message))?;
        let place = *places.entry(id).or_insert_with(|| {
            questions.push((id, Vec::new()));
            questions.len() - 1
        });
        let wrong = || Error::file(file, format!("key `{key}`: expected a list of objects with `text` and `probability`"));
        for candidate in candidates.as_array().ok_or_else(wrong)? {
            let text = candidate.get("text").and_then(Value::as_str).ok_or_else(wrong)?;
            let probability = candidate.get("probability").and_then(Value::as_f64).ok_or_else(wrong)?;
            questions[place].1.push((text, probability));
        }
    }
    Ok(questions)
}

fn question_id(key: &str) -> Result<&str, String> {
    let n = key.chars().count();
    match key.char_indices().nth(KEY - 4) {
        Some((end, _)) if n == KEY => Ok(&key[..end]),
        _ => Err(format!("key `{key}` has {n} characters, expected {KEY}: the id of a question (24), `_` and three digits")),
    }
}

fn trimmed(text: &str) -> &str {
    if let Some(shorter) = text.strip_suffix([',', '.', ' ']) {
        return shorter;
    }
    let (opening, closing) = (text.matches('(').count(), text.matches(')').count());
    match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) if opening == 1 && closing == 1 && !inner.is_empty() => inner,
        _ if (opening == 0) != (closing == 0) => "",
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

    fn nbest(candidates: &[&[(&str, f64)]]) -> Vec<u8> {
        let snippets: Map<String, Value> = candidates
            .iter()
            .enumerate()
            .map(|(index, list)| {
                (format!("{A}_{index:03}"), list.iter().map(|(text, probability)| json!({"text": text, "probability": probability})).collect())
            })
            .collect();
        serde_json::to_vec(&snippets).unwrap()
    }

    fn with_probability(candidates: &[&[(&str, f64)]], program: Program) -> Value {
        let transformed = factoid(&nbest(candidates), "nbest.json", program).unwrap();
        let json: Value = serde_json::from_str(&transformed.with_probability).unwrap();
        json["questions"][0]["exact_answer"].clone()
    }

    #[test]
    fn equal_answers_of_snippets_add_their_probabilities() {
        let candidates: [&[(&str, f64)]; 2] = [&[("p53", 0.5), ("MDM2", 0.25), ("", 0.25)], &[("P53", 0.125), ("mdm2", 0.75)]];
        assert_eq!(with_probability(&candidates, Program::BioBert), json!([["mdm2", 1.0], ["p53", 0.625]]), "the most probable spelling is kept");
    }

    #[test]
    fn the_files_look_as_python_writes_them() {
        let transformed = factoid(&nbest(&[&[("β", 0.5)]]), "nbest.json", Program::BioBert).unwrap();
        let head = "{\n  \"questions\": [\n    {\n      \"type\": \"factoid\",\n      \"id\": \"aaaaaaaaaaaaaaaaaaaaaaaa\",\n      \"ideal_answer\": \"Dummy\",\n      \
                    \"exact_answer\": [\n        [\n          \"\\u03b2\"";
        assert_eq!(transformed.answers, format!("{head}\n        ]\n      ]\n    }}\n  ]\n}}"));
        assert_eq!(transformed.with_probability, format!("{head},\n          0.5\n        ]\n      ]\n    }}\n  ]\n}}"));
    }

    #[test]
    fn five_answers_are_given_and_twenty_with_probability() {
        let texts: Vec<String> = (0..30).map(|n| format!("answer {n}")).collect();
        let candidates: Vec<(&str, f64)> = texts.iter().map(|text| (text.as_str(), 0.01)).collect();
        let transformed = factoid(&nbest(&[&candidates]), "nbest.json", Program::BioBert).unwrap();
        for (text, n) in [(transformed.answers, 5), (transformed.with_probability, 20)] {
            let json: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["questions"][0]["exact_answer"].as_array().unwrap().len(), n);
            assert_eq!(json["questions"][0]["exact_answer"][1][0], "answer 1", "ties keep their order");
        }
    }

    #[test]
    fn what_is_no_answer_is_left_out_and_counted() {
        let long = "x".repeat(101);
        let candidates: [&[(&str, f64)]; 1] = [&[("", 0.5), (&long, 0.25), ("x", 0.25)]];
        let transformed = factoid(&nbest(&candidates), "nbest.json", Program::BioBert).unwrap();
        assert_eq!(transformed.n_left_out, 2);
        assert!(transformed.answers.contains("\"x\"") && !transformed.answers.contains("xx"));
    }

    #[test]
    fn biobert_pytorch_trims_once() {
        for (text, expected) in [
            ("p53.", "p53"),
            ("p53.,", "p53."),
            ("(p53)", "p53"),
            ("(p53).", "(p53)"),
            ("(a) (b)", "(a) (b)"),
            ("p53 (TP53", ""),
            ("p53)", ""),
            ("()", "()"),
            ("", ""),
            ("a (b)", "a (b)"),
        ] {
            assert_eq!(trimmed(text), expected, "{text}");
        }
        assert_eq!(with_probability(&[&[("p53.", 0.5), ("P53", 0.25), ("(x", 0.25)]], Program::BioBertPyTorch), json!([["p53", 0.75]]));
    }

    #[test]
    fn a_name_of_a_snippet_is_that_of_its_question_and_a_number() {
        assert_eq!(question_of_snippet("51406e6223fec90375000009_003"), Some("51406e6223fec90375000009"));
        for name in ["51406e6223fec90375000009", "51406e6223fec90375000009_03", "51406e6223fec9037500000x_003", "51406e6223fec90375000009_00a", "_003"] {
            assert_eq!(question_of_snippet(name), None, "{name}");
        }
    }

    #[test]
    fn yes_needs_more_than_half_on_average() {
        let key = |id: char, n: u32| format!("{}_{n:03}", id.to_string().repeat(24));
        let text = yes_no(&[(key('a', 0), 0.9), (key('b', 0), 0.5004), (key('a', 1), 0.2)]).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let answers: Vec<&str> = json["questions"].as_array().unwrap().iter().map(|question| question["exact_answer"].as_str().unwrap()).collect();
        assert_eq!(answers, ["yes", "no"], "0.55, and 0.5004 is rounded to 0.500");
        assert_eq!(yes_no(&[(key('a', 0), 1.5)]).unwrap_err().to_string(), "key `aaaaaaaaaaaaaaaaaaaaaaaa_000`: probability 1.5 is not in [0, 1]");
    }

    #[test]
    fn what_is_no_nbest_file_is_refused() {
        for (text, message) in [
            ("[]", "n.json: expected an object of n-best lists by question id"),
            ("{\n", "n.json:2: not JSON: EOF while parsing an object at line 2 column 0"),
            (r#"{"a": []}"#, "n.json: key `a` has 1 characters, expected 28: the id of a question (24), `_` and three digits"),
            (
                r#"{"aaaaaaaaaaaaaaaaaaaaaaaa_000": [{"text": "x"}]}"#,
                "n.json: key `aaaaaaaaaaaaaaaaaaaaaaaa_000`: expected a list of objects with `text` and `probability`",
            ),
        ] {
            assert_eq!(factoid(text.as_bytes(), "n.json", Program::BioBert).unwrap_err().to_string(), message);
        }
    }
}
