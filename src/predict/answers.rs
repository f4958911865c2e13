//! Answers in the formats people use: JSON lines, words with tags, BRAT, tables.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use lmprobe_core::{Error, Problem, Result, table};
use polars::prelude::DataFrame;
use serde_json::{Map, Value, json};

use super::annotations::Annotations;
use super::answer_table::AnswerTable;
use super::entities::mentions;
use super::inputs::Asked;
use crate::embed::StagedFile;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One object an example; entities with their places in characters.
    Jsonl,
    /// One word and its tag a line, blank lines between sentences (`CoNLL`).
    Conll,
    /// Stand-off annotations (`.ann`) of one document: the input, or a `.txt` that is written beside them where the input is no plain text.
    Brat,
    /// One row an example: the label or number, then the probabilities.
    Tsv,
}

impl Format {
    /// The format that the ending of a file asks for.
    pub(crate) fn of(path: &Path, problem: Problem) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "conll" | "iob" | "iob2" | "bio" => Some(Self::Conll),
            "tsv" if problem == Problem::TokenClassification => Some(Self::Conll),
            "tsv" => Some(Self::Tsv),
            "ann" => Some(Self::Brat),
            _ => None,
        }
    }

    /// Whether answers to such a problem can be written so.
    pub(crate) fn fits(self, problem: Problem) -> bool {
        match self {
            Self::Jsonl => true,
            Self::Conll | Self::Brat => problem == Problem::TokenClassification,
            Self::Tsv => !matches!(problem, Problem::TokenClassification | Problem::ExtractiveQa),
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Conll => "conll",
            Self::Brat => "brat",
            Self::Tsv => "tsv",
        }
    }
}

/// Writes answers as they come.
pub(crate) struct Writer {
    output: Output,
    /// The document of the annotations, if they need one.
    document: Option<Output>,
    format: Format,
    problem: Problem,
    annotations: Annotations,
    table: AnswerTable,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets<'a> {
    /// The file; none is standard output.
    pub(crate) out: Option<&'a Path>,
    /// The file of the texts that stand-off annotations are of, where the input is no plain text.
    pub(crate) document: Option<&'a Path>,
}

/// A file that appears when it is whole, or standard output.
struct Output {
    out: Box<dyn Write>,
    path: PathBuf,
    staged: Option<StagedFile>,
}

impl Output {
    fn create(path: Option<&Path>) -> Result<Self> {
        let staged = path.map(StagedFile::create).transpose()?;
        let out: Box<dyn Write> = match &staged {
            Some(staged) => Box::new(staged.writer()?),
            None => Box::new(std::io::BufWriter::new(lmprobe_registry::bridge::standard_output())),
        };
        Ok(Self { out, path: path.map_or_else(|| "standard output".into(), Path::to_owned), staged })
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).map_err(Error::io(&self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(Error::io(&self.path))?;
        drop(self.out);
        self.staged.map_or(Ok(()), StagedFile::persist)
    }
}

impl Writer {
    /// Writes answers to a problem, of a head with these labels.
    pub(crate) fn create(targets: Targets<'_>, format: Format, problem: Problem, labels: &[String]) -> Result<Self> {
        let document = targets.document.map(|path| Output::create(Some(path))).transpose()?;
        let output = Output::create(targets.out)?;
        Ok(Self { output, document, format, problem, annotations: Annotations::default(), table: AnswerTable::new(problem, labels) })
    }

    /// Writes the answers to some examples.
    pub(crate) fn write(&mut self, asked: &[Asked], predictions: &DataFrame) -> Result<()> {
        let text = match (self.format, self.problem) {
            (Format::Jsonl, Problem::TokenClassification) => Self::entity_lines(asked, predictions)?,
            (Format::Jsonl, Problem::ExtractiveQa) => Self::answer_lines(asked, predictions)?,
            (Format::Jsonl, Problem::Regression) => {
                let values = table::optional_reals(predictions, "prediction")?;
                lines(asked.iter().zip(values).map(|(asked, value)| json!({"id": asked.id, "prediction": value})))
            }
            (Format::Jsonl, _) => Self::label_lines(asked, predictions, self.problem)?,
            (Format::Conll, _) => Self::word_lines(asked, predictions)?,
            (Format::Brat, _) => {
                let written = self.annotations.of(asked, predictions)?;
                if let Some(document) = &mut self.document {
                    document.write(&written.document)?;
                }
                written.annotations
            }
            (Format::Tsv, _) => self.table.push(asked, predictions)?,
        };
        self.output.write(&text)
    }

    /// Puts the files in place.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.output.write(&self.table.finish())?;
        self.document.map_or(Ok(()), Output::finish)?;
        self.output.finish()
    }

    fn entity_lines(asked: &[Asked], predictions: &DataFrame) -> Result<String> {
        let (tags, scores) = (table::text_lists(predictions, "predictions")?, table::real_lists(predictions, "scores")?);
        let mut found = Vec::with_capacity(asked.len());
        for ((asked, tags), scores) in asked.iter().zip(&tags).zip(&scores) {
            let entities: Vec<Value> = mentions(&asked.text, &asked.words, tags, scores)?.iter().map(super::entities::Mention::json).collect();
            found.push(json!({"id": asked.id, "text": asked.text, "entities": entities}));
        }
        Ok(lines(found.into_iter()))
    }

    fn label_lines(asked: &[Asked], predictions: &DataFrame, problem: Problem) -> Result<String> {
        let (labels, chosen) = (table::text_lists(predictions, "labels")?, table::text_lists(predictions, "predictions")?);
        let scores = table::real_lists(predictions, "scores")?;
        let line = |row: usize| {
            let scores: Map<String, Value> = labels[row].iter().cloned().zip(scores[row].iter().map(|score| json!(score))).collect();
            let (key, answer) = match problem {
                Problem::MultiLabel => ("labels", json!(chosen[row])),
                Problem::MultipleChoice => ("answer", json!(chosen[row].first())),
                _ => ("label", json!(chosen[row].first())),
            };
            let mut object = Map::from_iter([("id".to_owned(), asked[row].id.clone())]);
            object.insert(key.to_owned(), answer);
            object.insert("scores".to_owned(), Value::Object(scores));
            Value::Object(object)
        };
        Ok(lines((0..asked.len()).map(line)))
    }

    fn answer_lines(asked: &[Asked], predictions: &DataFrame) -> Result<String> {
        let (texts, scores) = (table::text_lists(predictions, "predictions")?, table::real_lists(predictions, "scores")?);
        let starts = table::count_lists(predictions, "starts")?;
        let line = |row: usize| {
            let answers: Vec<Value> = texts[row]
                .iter()
                .zip(&scores[row])
                .zip(&starts[row])
                .map(|((text, score), start)| json!({"text": text, "start": start, "score": score}))
                .collect();
            json!({"id": asked[row].id, "question": asked[row].text, "answer": texts[row].first(), "answers": answers})
        };
        Ok(lines((0..asked.len()).map(line)))
    }

    fn word_lines(asked: &[Asked], predictions: &DataFrame) -> Result<String> {
        let tags = table::text_lists(predictions, "predictions")?;
        let mut text = String::new();
        for (asked, tags) in asked.iter().zip(&tags) {
            for (word, tag) in asked.words.iter().zip(tags) {
                let _ = writeln!(text, "{}\t{tag}", word.text);
            }
            text.push('\n');
        }
        Ok(text)
    }
}

fn lines(objects: impl Iterator<Item = Value>) -> String {
    let mut text = String::new();
    for object in objects {
        let _ = writeln!(text, "{object}");
    }
    text
}
