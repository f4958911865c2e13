//! New examples for a fine-tuned head, read a few at a time from the formats people have.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Examples, Problem, Result, Splits, TaskHeadInfo, table};
use polars::prelude::{DataFrame, NamedFrom, Series};
use serde_json::{Map, Value};

use super::conll::WordLines;
use super::words::{Word, words};
use crate::embed::{Columns, IdColumn, Record, Records, open};

/// Examples that are answered at once: enough to fill the machine, few enough to stay small.
const CHUNK: usize = 1024;

/// Where new examples come from.
pub(crate) enum Inputs {
    /// Texts, one an example.
    Texts { records: Box<dyn Records>, problem: Problem },
    /// Words, one a line.
    Words(WordLines),
    /// Objects, one a line.
    Objects { reader: Box<dyn BufRead>, path: PathBuf, line: usize, id: IdColumn, problem: Problem },
}

/// What was asked in one example, for the answer.
pub(crate) struct Asked {
    /// The line or row it came from, from 1; its own id where it has one.
    pub(crate) id: Value,
    /// Where the text begins in its file, in characters, if the file is plain text.
    pub(crate) offset: Option<usize>,
    pub(crate) text: String,
    /// Words of a text to tag, with their places in it.
    pub(crate) words: Vec<Word>,
}

/// Some examples.
pub(crate) struct Chunk {
    pub(crate) examples: Examples,
    pub(crate) asked: Vec<Asked>,
}

impl Inputs {
    /// Opens an input for a head: words from files that end in `.tsv`, `.conll`, `.iob` or `.bio`, objects from `.jsonl`, texts from everything else.
    pub(crate) fn open(input: &str, columns: &Columns, problem: Problem) -> Result<Self> {
        let path = Path::new(input);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let reader = || -> Result<Box<dyn BufRead>> { Ok(Box::new(BufReader::new(std::fs::File::open(path).map_err(Error::io(path))?))) };
        let objects = || -> Result<Self> { Ok(Self::Objects { reader: reader()?, path: path.to_owned(), line: 0, id: columns.id.clone(), problem }) };
        let words = || -> Result<Self> {
            if columns.id.asked().is_some() {
                return Err(Error::Config(format!(
                    "--id-column names a column, but {} holds a word a line; --column says that it holds texts",
                    path.display()
                )));
            }
            Ok(Self::Words(WordLines::new(path, reader()?)))
        };
        let has_column = columns.text.is_some();
        match (problem, ending.as_str()) {
            (Problem::TokenClassification, "tsv" | "conll" | "iob" | "iob2" | "bio") if !has_column => words(),
            (Problem::TokenClassification, "jsonl" | "ndjson") if !has_column => objects(),
            (Problem::MultipleChoice | Problem::ExtractiveQa, "jsonl" | "ndjson") => objects(),
            (Problem::MultipleChoice, _) => {
                Err(Error::data(path, None, "questions with choices are read from .jsonl: an object a line with `question` and `options`"))
            }
            (Problem::ExtractiveQa, _) => Err(Error::data(path, None, "questions are read from .jsonl: an object a line with `question` and `context`")),
            _ => Ok(Self::Texts { records: open(input, columns)?, problem }),
        }
    }

    /// Whether the input is a document of lines, in which the texts have places.
    pub(crate) fn is_plain_text(&self) -> bool {
        matches!(self, Self::Texts { records, .. } if records.is_plain_text())
    }

    /// The next examples, at most so many; nothing at the end.
    pub(crate) fn next(&mut self, head: &TaskHeadInfo, most: usize) -> Result<Option<Chunk>> {
        let mut rows = Rows::default();
        let most = most.min(CHUNK);
        match self {
            Self::Texts { records, problem } => {
                while rows.asked.len() < most
                    && let Some(record) = records.next()?
                {
                    rows.text(*problem, record);
                }
            }
            Self::Words(lines) => {
                while rows.asked.len() < most
                    && let Some(sentence) = lines.next()?
                {
                    rows.words(sentence.line.into(), sentence.words);
                }
            }
            Self::Objects { reader, path, line, id, problem } => {
                let mut text = String::new();
                while rows.asked.len() < most {
                    text.clear();
                    let read = reader.read_line(&mut text).map_err(|error| match error.kind() {
                        std::io::ErrorKind::InvalidData => Error::data(&*path, *line + 1, "the line is not UTF-8; save the file as UTF-8"),
                        _ => Error::io(&*path)(error),
                    })?;
                    if read == 0 {
                        break;
                    }
                    *line += 1;
                    let text = if *line == 1 { text.trim_start_matches('\u{feff}') } else { &text };
                    if text.trim().is_empty() {
                        continue;
                    }
                    let object = Object { path, line: *line, cells: object(path, *line, text)? };
                    rows.object(*problem, id, &object)?;
                }
            }
        }
        if rows.asked.is_empty() {
            return Ok(None);
        }
        Ok(Some(Chunk { examples: rows.examples(head)?, asked: rows.asked }))
    }
}

/// Examples in the making: one entry an example in each list that its problem has.
#[derive(Default)]
struct Rows {
    asked: Vec<Asked>,
    words: Vec<Vec<String>>,
    pairs: Vec<Option<String>>,
    choices: Vec<Vec<String>>,
    contexts: Vec<String>,
}

impl Rows {
    fn text(&mut self, problem: Problem, record: Record) {
        let Record { line, offset, id, text, pair } = record;
        let found = if problem == Problem::TokenClassification { words(&text) } else { Vec::new() };
        self.words.push(found.iter().map(|word| word.text.clone()).collect());
        self.pairs.push(pair);
        self.asked.push(Asked { id: id.unwrap_or_else(|| line.into()), offset, text, words: found });
    }

    /// Words that are given: their text is they, with a blank between.
    fn words(&mut self, id: Value, given: Vec<String>) {
        let mut at = 0;
        let mut placed = Vec::with_capacity(given.len());
        for word in &given {
            let end = at + word.chars().count();
            placed.push(Word { text: word.clone(), start: at, end });
            at = end + 1;
        }
        self.asked.push(Asked { id, offset: None, text: given.join(" "), words: placed });
        self.words.push(given);
        self.pairs.push(None);
    }

    fn object(&mut self, problem: Problem, id: &IdColumn, object: &Object<'_>) -> Result<()> {
        let own = id.of_object(object.path, object.line, &object.cells)?;
        let id = own.clone().unwrap_or_else(|| object.line.into());
        match problem {
            Problem::TokenClassification => match object.words()? {
                Some(given) => self.words(id, given),
                None => self.text(problem, Record { line: object.line, offset: None, id: own, text: object.text(&["text", "sentence"])?, pair: None }),
            },
            Problem::MultipleChoice => {
                let choices = match object.list(&["choices", "options"])? {
                    Some(choices) => choices,
                    None => object.lettered("options")?,
                };
                if choices.len() < 2 {
                    return Err(object.error("fewer than two choices"));
                }
                self.choices.push(choices);
                self.asked.push(Asked { id, offset: None, text: object.text(&["question", "sent1"])?, words: Vec::new() });
            }
            _ => {
                self.contexts.push(object.text(&["context"])?);
                self.asked.push(Asked { id, offset: None, text: object.text(&["question"])?, words: Vec::new() });
            }
        }
        Ok(())
    }

    fn examples(&self, head: &TaskHeadInfo) -> Result<Examples> {
        let n = self.asked.len();
        let ids: Vec<String> = (0..n).map(|row| row.to_string()).collect();
        let ids = |name: &str| table::text_column(name, ids.iter().map(|id| Some(id.as_str())));
        let texts = |name: &str| table::text_column(name, self.asked.iter().map(|asked| Some(asked.text.as_str())));
        let nothing = |name: &str| table::texts_column(name, &vec![Vec::<String>::new(); n]);
        let mut columns = vec![ids("example_id"), ids("cluster")];
        columns.extend(match head.problem {
            Problem::TokenClassification => vec![table::texts_column("words", &self.words), nothing("tags")],
            Problem::MultipleChoice => vec![texts("text"), table::texts_column("choices", &self.choices), nothing("golds")],
            Problem::ExtractiveQa => vec![
                texts("question"),
                table::text_column("context", self.contexts.iter().map(|context| Some(context.as_str()))),
                nothing("golds"),
                table::counts_column("starts", &vec![Vec::new(); n]),
            ],
            problem => {
                let pairs = table::text_column("text_pair", self.pairs.iter().map(Option::as_deref));
                let gold = if problem == Problem::Regression { Series::new("target".into(), vec![None::<f64>; n]) } else { nothing("golds") };
                vec![texts("text"), pairs, gold]
            }
        });
        let test: DataFrame = table::frame_of(columns)?;
        let nothing = test.head(Some(0));
        Examples::labelled(head.problem, Splits { train: nothing.clone(), dev: nothing, test }, head.labels.clone())
    }
}

/// A line of a file of objects.
struct Object<'a> {
    path: &'a Path,
    line: usize,
    cells: Map<String, Value>,
}

fn object(path: &Path, line: usize, text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(cells)) => Ok(cells),
        Ok(_) => Err(Error::data(path, line, "expected one JSON object a line")),
        Err(error) => Err(Error::data(path, line, format!("expected one JSON object a line: {error}"))),
    }
}

impl Object<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::data(self.path, self.line, message.into())
    }

    /// The text under the first of these keys.
    fn text(&self, keys: &[&str]) -> Result<String> {
        let missing = || self.error(format!("there is no text under {}", keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ")));
        let text = keys.iter().find_map(|key| self.cells.get(*key)).and_then(Value::as_str).ok_or_else(missing)?;
        Ok(text.to_owned())
    }

    /// The words of a text that is given in words; nothing if it is not.
    fn words(&self) -> Result<Option<Vec<String>>> {
        let Some(words) = self.list(&["words", "tokens"])? else { return Ok(None) };
        let given = |keys: [&'static str; 2]| keys.into_iter().find(|key| self.cells.contains_key(*key));
        if let (Some(words), Some(text)) = (given(["words", "tokens"]), given(["text", "sentence"])) {
            return Err(self.error(format!("there are both `{words}` and `{text}`, and places are counted in one of them: --column {text} reads the texts")));
        }
        if words.iter().any(String::is_empty) {
            return Err(self.error("a word is empty"));
        }
        if let Some(word) = words.iter().find(|word| word.contains(char::is_whitespace)) {
            return Err(self.error(format!("the word {word:?} holds white space; it is more than one word")));
        }
        Ok(Some(words))
    }

    /// The list of texts under the first of these keys that holds a list.
    fn list(&self, keys: &[&str]) -> Result<Option<Vec<String>>> {
        let Some((key, list)) = keys.iter().find_map(|key| Some((key, self.cells.get(*key)?.as_array()?))) else { return Ok(None) };
        let texts: Option<Vec<String>> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        texts.map(Some).ok_or_else(|| self.error(format!("`{key}` holds something that is no text")))
    }

    /// Texts under `A`, `B`, ... of a mapping.
    fn lettered(&self, key: &str) -> Result<Vec<String>> {
        let missing = || self.error(format!("there are no choices under `choices` or `{key}`"));
        let of = self.cells.get(key).and_then(Value::as_object).ok_or_else(missing)?;
        let texts: Vec<String> = ('A'..='Z').map_while(|letter| of.get(&letter.to_string())?.as_str().map(str::to_owned)).collect();
        if texts.len() == of.len() { Ok(texts) } else { Err(self.error(format!("`{key}` names its choices otherwise than `A`, `B`, ..."))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &str, content: &str, problem: Problem) -> Result<Chunk> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let head = TaskHeadInfo { problem, labels: vec!["O".into(), "B".into()] };
        let columns = Columns { id: IdColumn::IfThere, ..Columns::default() };
        Inputs::open(path.to_str().unwrap(), &columns, problem)?.next(&head, 100).map(|chunk| chunk.expect("there is an example"))
    }

    fn message(name: &str, content: &str, problem: Problem) -> String {
        chunk(name, content, problem).err().unwrap().to_string()
    }

    #[test]
    fn words_keep_their_places() {
        for (name, content) in [("x.txt", "IL-2 binds\n"), ("x.jsonl", "{\"text\": \"IL-2 binds\"}\n")] {
            let chunk = chunk(name, content, Problem::TokenClassification).unwrap();
            assert_eq!(table::text_lists(&chunk.examples.examples, "words").unwrap(), [["IL", "-", "2", "binds"]]);
            assert_eq!(chunk.asked[0].words[3].start, 5);
        }
        let chunk = chunk("x.tsv", "IL-2\tB\nbinds\tO\n", Problem::TokenClassification).unwrap();
        assert_eq!(chunk.asked[0].text, "IL-2 binds");
        assert_eq!((chunk.asked[0].words[1].start, chunk.asked[0].id.clone()), (5, Value::from(1)));
    }

    #[test]
    fn examples_keep_the_ids_that_they_have() {
        let ids =
            |name: &str, content: &str, problem| -> Vec<Value> { chunk(name, content, problem).unwrap().asked.into_iter().map(|asked| asked.id).collect() };
        assert_eq!(ids("x.csv", "id,text\n007,fever\na,pain\n", Problem::SequenceClassification), [Value::from("007"), "a".into()]);
        assert_eq!(ids("x.tsv", "text\tid\nfever\t\"x\n", Problem::Regression), [Value::from("\"x")]);
        let objects = "{\"id\": 7, \"text\": \"fever\"}\n\n{\"text\": \"pain\"}\n{\"id\": null, \"text\": \"x\"}\n";
        for problem in [Problem::SequenceClassification, Problem::TokenClassification] {
            assert_eq!(ids("x.jsonl", objects, problem), [Value::from(7), 3.into(), 4.into()], "{problem}");
        }
        for problem in [Problem::SequenceClassification, Problem::TokenClassification] {
            let message = message("x.jsonl", "{\"id\": [1], \"text\": \"fever\"}\n", problem);
            assert!(message.ends_with("x.jsonl:1: the field `id` is a list, expected a text or a number"), "{message}");
        }
        assert_eq!(ids("x.txt", "fever\npain\n", Problem::SequenceClassification), [Value::from(1), 2.into()]);
    }

    #[test]
    fn texts_of_plain_files_know_where_they_stand() {
        let offsets = |name: &str, content: &str| -> Vec<Option<usize>> {
            chunk(name, content, Problem::TokenClassification).unwrap().asked.into_iter().map(|asked| asked.offset).collect()
        };
        assert_eq!(offsets("x.txt", "\u{feff}ab\r\nc\n"), [Some(1), Some(5)]);
        assert_eq!(offsets("x.jsonl", "{\"text\": \"ab\"}\n"), [None]);
        assert_eq!(offsets("x.conll", "ab O\n"), [None]);
    }

    #[test]
    fn questions_are_objects() {
        let content = "{\"id\": \"q\", \"question\": \"Why?\", \"options\": {\"A\": \"x\", \"B\": \"y\"}}\n\n{\"question\": \"Who?\", \"choices\": [\"a\", \"b\", \"c\"]}\n";
        let choices = chunk("x.jsonl", content, Problem::MultipleChoice).unwrap();
        assert_eq!(table::text_lists(&choices.examples.examples, "choices").unwrap(), [vec!["x", "y"], vec!["a", "b", "c"]]);
        assert_eq!(choices.asked.iter().map(|asked| asked.id.clone()).collect::<Vec<_>>(), [Value::from("q"), Value::from(3)]);
        let spans = chunk("x.jsonl", "{\"question\": \"Who?\", \"context\": \"He.\"}\n", Problem::ExtractiveQa).unwrap();
        assert_eq!(table::texts(&spans.examples.examples, "context").unwrap(), ["He."]);
    }

    #[test]
    fn every_malformed_line_is_named() {
        let ends = |message: String, end: &str| assert!(message.ends_with(end), "{message}");
        ends(message("x.jsonl", "[1]\n", Problem::MultipleChoice), "x.jsonl:1: expected one JSON object a line");
        ends(message("x.jsonl", "{\"question\": \"?\", \"choices\": [\"a\"]}\n", Problem::MultipleChoice), "x.jsonl:1: fewer than two choices");
        ends(message("x.jsonl", "\n{\"question\": \"?\"}\n", Problem::MultipleChoice), "x.jsonl:2: there are no choices under `choices` or `options`");
        ends(
            message("x.jsonl", "{\"question\": \"?\", \"options\": {\"a\": \"x\"}}\n", Problem::MultipleChoice),
            "`options` names its choices otherwise than `A`, `B`, ...",
        );
        ends(message("x.jsonl", "{\"question\": \"?\"}\n", Problem::ExtractiveQa), "x.jsonl:1: there is no text under `context`");
        ends(message("x.jsonl", "{\"words\": [1]}\n", Problem::TokenClassification), "x.jsonl:1: `words` holds something that is no text");
        let tagged = |content: &str| message("x.jsonl", content, Problem::TokenClassification);
        ends(
            tagged("{\"words\": [\"a\"], \"text\": \"a\"}\n"),
            "x.jsonl:1: there are both `words` and `text`, and places are counted in one of them: --column text reads the texts",
        );
        ends(tagged("{\"words\": [\"a\"]}\n{\"tokens\": [\"a\", \"\"]}\n"), "x.jsonl:2: a word is empty");
        ends(tagged("{\"words\": [\"a\\nb\"]}\n"), "x.jsonl:1: the word \"a\\nb\" holds white space; it is more than one word");
        ends(message("x.csv", "question\n?\n", Problem::ExtractiveQa), "questions are read from .jsonl: an object a line with `question` and `context`");
    }
}
