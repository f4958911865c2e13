//! `lmprobe score conll --strict`: entities of well-formed tags only.

use std::fmt::Write;

use lmprobe_scorers::entities::{EntityCounts, Scheme};
use lmprobe_scorers::{Counts, Error, Scores, text_lines};
use serde_json::{Map, Value, json};

use crate::cmd::score::conll::SchemeName;
use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// The first field of a line between sentences, as conlleval.pl has it.
const BOUNDARY: &str = "-X-";

/// A sentence of the file.
#[derive(Default)]
struct Sentence<'a> {
    /// Its first line, from 1.
    line: usize,
    gold: Vec<&'a str>,
    predicted: Vec<&'a str>,
}

/// Runs the command.
pub(super) fn execute(input: &Input, delimiter: Option<&str>, scheme: Option<SchemeName>, json: bool, console: Console) -> anyhow::Result<Exit> {
    let sentences = sentences(input, delimiter)?;
    let tags = || sentences.iter().flat_map(|sentence| sentence.gold.iter().chain(&sentence.predicted));
    let has_ends = || tags().any(|tag| tag.starts_with(['E', 'S']));
    let scheme = scheme.unwrap_or_else(|| if has_ends() { SchemeName::Iobes } else { SchemeName::Iob2 });
    let mut counts = EntityCounts::default();
    for sentence in &sentences {
        counts += counted(sentence, scheme, &input.name)?;
    }
    let n_tokens: usize = sentences.iter().map(|sentence| sentence.gold.len()).sum();
    if json {
        console.json(&as_json(&counts, scheme, sentences.len(), n_tokens))?;
    } else {
        console.result(&as_text(&counts, scheme, sentences.len(), n_tokens))?;
    }
    Ok(Exit::Done)
}

fn counted(sentence: &Sentence, scheme: SchemeName, file: &str) -> Result<EntityCounts, Error> {
    let scheme = match scheme {
        SchemeName::Iob2 => Scheme::Iob2Strict,
        SchemeName::Iobes => Scheme::IobesStrict,
    };
    EntityCounts::of(&sentence.gold, &sentence.predicted, scheme).map_err(|error| match error {
        Error::Tag { tag, position, message } => {
            Error::Malformed { file: file.to_owned(), line: Some(sentence.line + position), message: format!("tag `{tag}`: {message}") }
        }
        other => other,
    })
}

/// The last two columns of each line; empty lines and boundaries separate sentences, and empty fields at the end of a line are none.
fn sentences<'a>(input: &'a Input, delimiter: Option<&str>) -> anyhow::Result<Vec<Sentence<'a>>> {
    let separator = regex::Regex::new(delimiter.unwrap_or(r"[ \t]+")).map_err(|error| UsageError(format!("-d: {error}")))?;
    let malformed = |line, message: String| Error::Malformed { file: input.name.clone(), line: Some(line), message };
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut n_columns = None;
    let mut begins = true;
    for (index, line) in text_lines(&input.bytes, &input.name)?.into_iter().enumerate() {
        let mut columns: Vec<&str> = separator.split(line).collect();
        while columns.last().is_some_and(|last| last.is_empty()) {
            columns.pop();
        }
        if line.trim().is_empty() || columns.first().is_none_or(|first| *first == BOUNDARY) {
            begins = true;
            continue;
        }
        let n = *n_columns.get_or_insert(columns.len());
        if columns.len() != n {
            return Err(malformed(index + 1, format!("{} columns, expected {n} as in the first line", columns.len())).into());
        }
        let [.., gold, predicted] = columns[..] else {
            return Err(malformed(index + 1, "1 column, expected a gold and a predicted tag at the end; -d names what separates columns".into()).into());
        };
        if begins {
            sentences.push(Sentence { line: index + 1, ..Sentence::default() });
            begins = false;
        }
        if let Some(sentence) = sentences.last_mut() {
            sentence.gold.push(gold);
            sentence.predicted.push(predicted);
        }
    }
    Ok(sentences)
}

impl SchemeName {
    fn name(self) -> &'static str {
        match self {
            Self::Iob2 => "IOB2",
            Self::Iobes => "IOBES",
        }
    }
}

fn as_text(counts: &EntityCounts, scheme: SchemeName, n_sentences: usize, n_tokens: usize) -> String {
    let mut text = format!(
        "strict {}: an entity is right if its type, its first and its last token are; ill-formed tags are part of none\n\
         {n_sentences} sentences, {n_tokens} tokens; ill-formed tags: {} gold, {} predicted\n\n\
         {:<20} precision  recall      f1  correct    found     gold\n",
        scheme.name(),
        counts.ill_formed_gold,
        counts.ill_formed_found,
        ""
    );
    let mut row = |name: &str, Scores { precision, recall, f1 }: Scores, counts: Option<Counts>| {
        let _ = write!(text, "{name:<20}    {precision:.4}  {recall:.4}  {f1:.4}");
        if let Some(Counts { correct, found, gold }) = counts {
            let _ = write!(text, " {correct:>8} {found:>8} {gold:>8}");
        }
        text.push('\n');
    };
    for (kind, counts) in &counts.by_kind {
        row(if kind.is_empty() { "(untyped)" } else { kind }, counts.scores(), Some(*counts));
    }
    row("all, micro", counts.micro(), Some(counts.total()));
    row("all, macro", counts.macro_mean(), None);
    row("spans of any type", counts.spans.scores(), Some(counts.spans));
    text
}

fn as_json(counts: &EntityCounts, scheme: SchemeName, n_sentences: usize, n_tokens: usize) -> Value {
    let one = |counts: Counts| {
        let Counts { correct, found, gold } = counts;
        json!({"precision": counts.precision(), "recall": counts.recall(), "f1": counts.f1(), "correct": correct, "found": found, "gold": gold})
    };
    let by_type: Map<String, Value> = counts.by_kind.iter().map(|(kind, counts)| (kind.clone(), one(*counts))).collect();
    json!({
        "scheme": scheme.name(),
        "sentences": n_sentences,
        "tokens": n_tokens,
        "ill_formed": {"gold": counts.ill_formed_gold, "predicted": counts.ill_formed_found},
        "micro": one(counts.total()),
        "macro": counts.macro_mean(),
        "spans": one(counts.spans),
        "by_type": by_type,
    })
}
