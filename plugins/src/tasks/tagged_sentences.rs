//! Files of sentences whose words have a tag each: CoNLL columns and JSON Lines.

use std::collections::BTreeSet;
use std::path::Path;

use lmprobe_core::{Error, Examples, Problem, Result, table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::{DataFile, Row};
use super::splits::{self, Found, Notes, PerSplit, Place, SplitPaths};
use super::text_file;

/// The tag of a word outside of every entity.
pub(crate) const OUTSIDE: &str = "O";

/// A sentence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sentence {
    pub(crate) words: Vec<String>,
    pub(crate) tags: Vec<Tag>,
}

/// A tag of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) part: Part,
    /// The type of the entity; empty if the file has none.
    pub(crate) kind: String,
}

/// Where a word stands in an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// In none.
    Outside,
    /// At its beginning.
    Begin,
    /// Inside.
    Inside,
    /// At its end: `E`, or `L` of the scheme BILOU.
    End,
    /// It is the whole entity: `S`, or `U` of the scheme BILOU.
    Single,
}

impl Tag {
    /// Reads `O`, or a letter with or without `-TYPE` behind it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (letter, kind) = text.split_once('-').unwrap_or((text, ""));
        let part = match letter {
            "O" => Part::Outside,
            "B" => Part::Begin,
            "I" => Part::Inside,
            "E" | "L" => Part::End,
            "S" | "U" => Part::Single,
            _ => return Err(format!("`{text}` is no tag; expected `O`, or `B`, `I`, `E`, `S`, `L` or `U`, alone or with `-TYPE` behind it")),
        };
        if (part == Part::Outside && text != OUTSIDE) || text.ends_with('-') {
            return Err(format!("`{text}` is no tag; `O` has no type, and a hyphen has one behind it"));
        }
        Ok(Self { part, kind: kind.to_owned() })
    }

    /// A word outside of every entity.
    pub(crate) fn outside() -> Self {
        Self { part: Part::Outside, kind: String::new() }
    }

    /// The tag as it stands in tables.
    pub(crate) fn text(&self) -> String {
        let letter = match self.part {
            Part::Outside => OUTSIDE,
            Part::Begin => "B",
            Part::Inside => "I",
            Part::End => "E",
            Part::Single => "S",
        };
        if self.kind.is_empty() { letter.to_owned() } else { format!("{letter}-{}", self.kind) }
    }
}

/// Where the parts of a sentence stand in JSON Lines.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Columns {
    /// The list of words; by default `tokens` or `words`.
    #[serde(default)]
    words: Option<String>,
    /// The list of tags; by default `ner_tags` or `tags`.
    #[serde(default)]
    tags: Option<String>,
    /// The name of the sentence; by default `id`, if there is one.
    #[serde(default)]
    id: Option<String>,
    /// What the sentence belongs to; by default `document_id`, `document` or `doc_id`, if there is one.
    #[serde(default)]
    document: Option<String>,
}

impl Columns {
    /// Refuses names of keys if no file has keys.
    ///
    /// # Errors
    /// If a key is named and none of the files is JSON.
    pub(crate) fn fit(&self, paths: &SplitPaths) -> Result<()> {
        let named = [&self.words, &self.tags, &self.id, &self.document].iter().any(|name| name.is_some());
        if named && !paths.all().any(|path| text_file::is_json(path)) {
            let message = "`columns` names keys of JSON Lines, and no file is one; of other files `word_column` and `tag_column` say the columns";
            return Err(Error::Config(message.to_owned()));
        }
        Ok(())
    }
}

/// How files are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading<'a> {
    /// Which column holds the word, from 1; the first if none.
    pub(crate) word_column: Option<usize>,
    /// Which column holds the tag, from 1; the last if none.
    pub(crate) tag_column: Option<usize>,
    /// Which keys of JSON Lines hold what.
    pub(crate) columns: &'a Columns,
    /// Whether the sentences of a document belong together.
    pub(crate) documents: bool,
    /// The tags that may occur, in the order of their numbers; any if empty.
    pub(crate) labels: &'a [String],
}

impl Reading<'_> {
    /// The sentences of a file.
    ///
    /// # Errors
    /// If the file is malformed; the error names the line.
    pub(crate) fn sentences(&self, path: &Path, notes: &mut Notes) -> Result<Vec<Found<Sentence>>> {
        let sentences = if text_file::is_json(path) { self.json_lines(path)? } else { self.columns(path)? };
        if sentences.is_empty() {
            return Err(Error::data(path, None, "the file is empty"));
        }
        if self.documents && sentences.iter().all(|sentence| sentence.cluster.is_none()) {
            notes.say(format!("{}: nothing says where documents begin; intervals take every sentence as a document of its own", path.display()));
        }
        Ok(sentences)
    }

    fn columns(&self, path: &Path) -> Result<Vec<Found<Sentence>>> {
        let text = text_file::read(path)?;
        let mut found: Vec<Found<Sentence>> = Vec::new();
        let mut document: Option<String> = None;
        let mut documents = 0;
        // A sentence is open while its words come.
        let mut open = false;
        let mut expected: Option<(usize, usize)> = None;
        for (line, text) in text_file::lines(&text) {
            text_file::one_line(path, line, text)?;
            if text.trim().is_empty() {
                open = false;
                continue;
            }
            if let Some(rest) = text.strip_prefix("-DOCSTART-") {
                open = false;
                documents += 1;
                let own = rest.split_whitespace().find(|cell| *cell != OUTSIDE && !cell.starts_with('-'));
                document = Some(own.map_or_else(|| splits::nth_document(path, documents), str::to_owned));
                continue;
            }
            let place = Place::line(path, line);
            let cells: Vec<&str> = if text.contains('\t') { text.split('\t').map(str::trim).collect() } else { text.split_whitespace().collect() };
            let (n, first) = *expected.get_or_insert((cells.len(), line));
            if cells.len() != n {
                return Err(place.error(format!("{} columns, expected {n} as in line {first}", cells.len())));
            }
            let (word, tag) = self.word_and_tag(&cells).map_err(|message| place.error(message))?;
            let tag = self.tag(tag).map_err(|message| place.error(message))?;
            if !open {
                open = true;
                let cluster = document.clone().filter(|_| self.documents);
                found.push(Found { id: None, cluster, place, content: Sentence::default() });
            }
            let sentence = &mut found.last_mut().expect("one was opened").content;
            sentence.words.push(word.to_owned());
            sentence.tags.push(tag);
        }
        Ok(found)
    }

    fn word_and_tag<'a>(&self, cells: &[&'a str]) -> Result<(&'a str, &'a str), String> {
        if cells.len() < 2 {
            return Err("one column, expected a word and a tag".to_owned());
        }
        let cell = |column: usize, what: &str| {
            let cell = column.checked_sub(1).and_then(|index| cells.get(index));
            cell.copied().ok_or_else(|| format!("there is no column {column} for the {what}; the line has {}", cells.len()))
        };
        let word = cell(self.word_column.unwrap_or(1), "word")?;
        let tag = cell(self.tag_column.unwrap_or(cells.len()), "tag")?;
        if word.is_empty() { Err("the word is empty".to_owned()) } else { Ok((word, tag)) }
    }

    fn tag(&self, text: &str) -> Result<Tag, String> {
        if !self.labels.is_empty() && !self.labels.iter().any(|label| label == text) {
            return Err(format!("unknown tag `{text}`; the tags are {}", super::template::listed(self.labels)));
        }
        Tag::parse(text)
    }

    fn json_lines(&self, path: &Path) -> Result<Vec<Found<Sentence>>> {
        let file = DataFile::read(path)?;
        let columns = self.columns;
        let words = file.choose(columns.words.as_deref(), &["tokens", "words"], "words")?;
        let tags = file.choose(columns.tags.as_deref(), &["ner_tags", "tags"], "tags")?;
        let id = file.choose_if_there(columns.id.as_deref(), &["id"], "id")?;
        let document = file.choose_if_there(columns.document.as_deref(), &["document_id", "document", "doc_id"], "document")?;
        let document = document.filter(|_| self.documents);
        let mut found = Vec::with_capacity(file.rows.len());
        for row in &file.rows {
            let place = Place::line(path, row.line);
            let words = list(&file, row, words)?.iter().map(|word| match word {
                Value::String(word) if !word.trim().is_empty() => Ok(word.clone()),
                other => Err(place.error(format!("a word is {other}, expected a text that is not blank"))),
            });
            let words = words.collect::<Result<Vec<_>>>()?;
            let tags = list(&file, row, tags)?.iter().map(|tag| self.json_tag(tag).map_err(|message| place.error(message)));
            let tags = tags.collect::<Result<Vec<_>>>()?;
            if words.len() != tags.len() {
                return Err(place.error(format!("{} words and {} tags", words.len(), tags.len())));
            }
            if words.is_empty() {
                return Err(place.error("the sentence has no word"));
            }
            let id = row.optional(&file, id)?;
            let cluster = row.optional(&file, document)?;
            found.push(Found { id, cluster, place, content: Sentence { words, tags } });
        }
        Ok(found)
    }

    fn json_tag(&self, tag: &Value) -> Result<Tag, String> {
        match tag {
            Value::String(text) => self.tag(text),
            Value::Number(_) if self.labels.is_empty() => {
                Err(format!("the tag {tag} is a number; say what it means with `labels`, in the order of the numbers"))
            }
            Value::Number(number) => {
                let label = number.as_u64().and_then(|number| self.labels.get(usize::try_from(number).ok()?));
                Tag::parse(label.ok_or_else(|| format!("the tag {number} is none of the {} `labels`, which count from 0", self.labels.len()))?)
            }
            other => Err(format!("a tag is {other}, expected a text or a number")),
        }
    }
}

fn list<'a>(file: &DataFile, row: &'a Row, column: &str) -> Result<&'a Vec<Value>> {
    match row.cells.get(column) {
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(file.error(row, format!("`{column}` is {}, expected an array", text_file::json_kind(other)))),
        None => Err(file.error(row, format!("there is no `{column}`"))),
    }
}

/// The tables of tagged sentences. The labels are these, or those of all splits in byte order behind `O`.
///
/// # Errors
/// If the table library refuses the columns.
pub(crate) fn examples(splits: &PerSplit<Vec<Found<Sentence>>>, labels: Vec<String>, notes: Notes) -> Result<Examples> {
    let mut labels = labels;
    if labels.is_empty() {
        let seen: BTreeSet<String> = splits.all().flat_map(|sentence| sentence.content.tags.iter().map(Tag::text)).collect();
        labels.push(OUTSIDE.to_owned());
        labels.extend(seen.into_iter().filter(|label| label != OUTSIDE));
    }
    let mut examples = splits::examples(Problem::TokenClassification, splits, labels, notes, |rows| {
        let words: Vec<&Vec<String>> = rows.iter().map(|row| &row.words).collect();
        let tags: Vec<Vec<String>> = rows.iter().map(|row| row.tags.iter().map(Tag::text).collect()).collect();
        vec![table::texts_column("words", &words), table::texts_column("tags", &tags)]
    })?;
    examples.negative = Some(OUTSIDE.to_owned());
    Ok(examples)
}
