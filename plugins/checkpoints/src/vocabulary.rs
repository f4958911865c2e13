//! Readers of vocabulary and merge files of tokenizers. They take bytes, so that anything can be thrown at them.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

/// What is wrong with a vocabulary or merge file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct VocabularyError {
    /// The line, from 1, where known.
    pub line: Option<usize>,
    /// What was found and what was expected.
    pub message: String,
}

impl VocabularyError {
    fn new(line: impl Into<Option<usize>>, message: impl Into<String>) -> Self {
        Self { line: line.into(), message: message.into() }
    }
}

type Result<T> = std::result::Result<T, VocabularyError>;

/// Pieces and their ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// Id of each piece.
    pub ids: HashMap<String, u32>,
    /// Things a person should know.
    pub warnings: Vec<String>,
}

/// One line of `merges.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The line, from 1.
    pub line: usize,
    /// The symbol at the left.
    pub first: String,
    /// The symbol at the right.
    pub second: String,
}

/// Reads `vocab.txt`: one piece a line, its id being the number of the line, from 0. Of a piece that is there twice, the last
/// line counts, as in `transformers`. `path` stands in warnings only.
///
/// # Errors
/// If the bytes are not UTF-8 or hold no piece.
pub fn read_vocab_txt(path: &Path, bytes: &[u8]) -> Result<Vocabulary> {
    let text = utf8(bytes)?;
    let mut vocabulary = Vocabulary::default();
    let mut twice = 0;
    for (id, line) in (0u32..).zip(text.lines()) {
        let piece = line.trim_end();
        if let Some(before) = vocabulary.ids.insert(piece.to_owned(), id)
            && !piece.is_empty()
        {
            twice += 1;
            if twice == 1 {
                let path = path.display();
                vocabulary.warnings.push(format!("{path}:{}: `{piece}` is already on line {}; the last one counts", id + 1, before + 1));
            }
        }
    }
    if twice > 1 {
        vocabulary.warnings.push(format!("{}: {} more pieces are there twice", path.display(), twice - 1));
    }
    if vocabulary.ids.keys().all(String::is_empty) {
        return Err(VocabularyError::new(None, "the vocabulary is empty"));
    }
    Ok(vocabulary)
}

/// Reads `vocab.json`: an object from piece to id.
///
/// # Errors
/// If the bytes are not such an object, or the ids are not 0, 1, 2, ... each once.
pub fn read_vocab_json(bytes: &[u8]) -> Result<Vocabulary> {
    let object: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| VocabularyError::new(error.line(), format!("not an object from pieces to ids: {error}")))?;
    if object.is_empty() {
        return Err(VocabularyError::new(None, "the vocabulary is empty"));
    }
    let mut pieces: Vec<Option<&str>> = vec![None; object.len()];
    for (piece, id) in &object {
        let wrong = |what: String| Err(VocabularyError::new(None, format!("piece `{piece}`: {what}")));
        let Some(number) = id.as_u64() else { return wrong(format!("its id is {id}, not a whole number")) };
        match usize::try_from(number).ok().and_then(|number| pieces.get_mut(number)) {
            None => return wrong(format!("its id is {number}, but {} pieces have the ids 0 to {}", object.len(), object.len() - 1)),
            Some(Some(other)) => return wrong(format!("its id {number} is also that of `{other}`")),
            Some(free) => *free = Some(piece),
        }
    }
    let ids = object.iter().filter_map(|(piece, id)| Some((piece.clone(), u32::try_from(id.as_u64()?).ok()?))).collect();
    Ok(Vocabulary { ids, warnings: Vec::new() })
}

/// How a `merges.txt` is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergesFormat {
    /// Two symbols a line, in the manner of GPT-2; lines that begin with `#version` are skipped.
    Gpt2,
    /// Two symbols and perhaps a count, in the manner of fairseq.
    Fairseq,
}

/// Reads `merges.txt`, the most important merge first.
///
/// # Errors
/// If the bytes are not UTF-8 or a line does not hold two symbols.
pub fn read_merges_txt(bytes: &[u8], format: MergesFormat) -> Result<Vec<Merge>> {
    let mut text = utf8(bytes)?;
    if format == MergesFormat::Fairseq {
        // transformers drops what stands behind the last line feed.
        text = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    }
    let mut merges = Vec::new();
    for (line, content) in (1..).zip(text.trim_end().lines()) {
        if content.starts_with("#version") {
            continue;
        }
        let parts: Vec<&str> = match format {
            MergesFormat::Gpt2 => content.split(' ').collect(),
            MergesFormat::Fairseq => content.split_whitespace().collect(),
        };
        match (parts.as_slice(), format) {
            ([first, second], _) | ([first, second, _], MergesFormat::Fairseq) if !first.is_empty() && !second.is_empty() => {
                merges.push(Merge { line, first: (*first).to_owned(), second: (*second).to_owned() });
            }
            _ => return Err(VocabularyError::new(line, format!("`{}` is not two symbols with a space between", shortened(content)))),
        }
    }
    Ok(merges)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
        VocabularyError::new(line, "not UTF-8")
    })
}

/// The beginning of a line, for messages.
fn shortened(line: &str) -> String {
    let mut characters = line.chars();
    let start: String = characters.by_ref().take(40).collect();
    if characters.next().is_some() { start + "..." } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn vocab_txt_numbers_its_lines_and_keeps_the_last_of_two() {
        let vocabulary = read_vocab_txt(Path::new("v"), b"a\r\nb \na\n##c\na").unwrap();
        assert_eq!([vocabulary.ids["a"], vocabulary.ids["b"], vocabulary.ids["##c"]], [4, 1, 3]);
        assert_eq!(vocabulary.warnings, ["v:3: `a` is already on line 1; the last one counts", "v: 1 more pieces are there twice"]);
    }

    #[test]
    fn vocab_txt_says_what_is_wrong() {
        let read = |bytes: &[u8]| message(read_vocab_txt(Path::new("v"), bytes));
        assert_eq!(read(b"a\nb\n\xff\n"), "line 3: not UTF-8");
        assert_eq!(read(b""), "the vocabulary is empty");
        assert_eq!(read(b"\n \n"), "the vocabulary is empty");
    }

    #[test]
    fn vocab_json_says_what_is_wrong() {
        let read = |text: &str| message(read_vocab_json(text.as_bytes()));
        assert!(read("[1]").starts_with("line 1: not an object from pieces to ids"), "{}", read("[1]"));
        assert!(read("{\n\"a\": 0,\n").starts_with("line 3: not an object"), "{}", read("{\n\"a\": 0,\n"));
        assert_eq!(read("{}"), "the vocabulary is empty");
        assert_eq!(read(r#"{"a": "x"}"#), "piece `a`: its id is \"x\", not a whole number");
        assert_eq!(read(r#"{"a": -1}"#), "piece `a`: its id is -1, not a whole number");
        assert_eq!(read(r#"{"a": 0, "b": 0}"#), "piece `b`: its id 0 is also that of `a`");
        assert_eq!(read(r#"{"a": 0, "b": 2}"#), "piece `b`: its id is 2, but 2 pieces have the ids 0 to 1");
        assert_eq!(read_vocab_json(br#"{"a": 1, "b": 0}"#).unwrap().ids["a"], 1);
    }

    #[test]
    fn merges_are_two_symbols_a_line() {
        let read = |text: &str, format| read_merges_txt(text.as_bytes(), format);
        let merges = read("#version: 0.2\na b\n# #\n", MergesFormat::Gpt2).unwrap();
        assert_eq!(merges[1], Merge { line: 3, first: "#".into(), second: "#".into() });
        assert_eq!(read("a b 17\n", MergesFormat::Fairseq).unwrap().len(), 1);
        assert_eq!(message(read("a b\nab\n", MergesFormat::Gpt2)), "line 2: `ab` is not two symbols with a space between");
        assert_eq!(message(read("a b c\n", MergesFormat::Gpt2)), "line 1: `a b c` is not two symbols with a space between");
        assert_eq!(message(read("a b\n\nc d\n", MergesFormat::Fairseq)), "line 2: `` is not two symbols with a space between");
        assert_eq!(read("a b\nab c", MergesFormat::Fairseq).unwrap().len(), 1); // the last line is not complete
    }
}
