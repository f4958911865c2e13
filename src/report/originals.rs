//! Predictions of a run in the files that the published programs write, for their scorers and for whoever compares.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lmprobe_core::polars::prelude::{DataFrame, ParquetReader, SerReader};
use lmprobe_core::{Error, table, write_atomically};
use lmprobe_scorers::bioasq_transform::{Program, factoid, question_of_snippet};
use lmprobe_scorers::squad_files::{Candidate, write_nbest, write_predictions};
use lmprobe_scorers::{detokenize, relation_eval};

/// A file that is to be written.
#[derive(Debug)]
pub(crate) struct OriginalFile {
    pub(crate) path: PathBuf,
    text: String,
}

impl OriginalFile {
    /// Writes it, and the folder that it is in.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let Self { path, text } = self;
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()).map_err(Error::io(path)))
    }
}

/// What every table of predictions of a run folder can be written as: files in a folder each below `out`.
pub(crate) fn of(run: &Path, out: &Path) -> anyhow::Result<Vec<OriginalFile>> {
    let folder = run.join("predictions");
    let entries = std::fs::read_dir(&folder).map_err(Error::io(&folder)).context("no predictions here; `lmprobe run FILE` writes them")?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry.map_err(Error::io(&folder))?.path())).collect::<Result<_, Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let file = File::open(&path).map_err(Error::io(&path))?;
        let frame = ParquetReader::new(file).finish().map_err(|error| Error::data(&path, None, error.to_string()))?;
        let target = out.join(path.file_stem().unwrap_or_default());
        for (name, text) in files(&frame).with_context(|| format!("{}", path.display()))? {
            found.push(OriginalFile { path: target.join(name), text });
        }
    }
    if found.is_empty() {
        let message = "no predictions here have a form of a published program: those of labelled tasks do, in parquet";
        return Err(Error::data(&folder, None, message).into());
    }
    Ok(found)
}

/// The files of one table, by its columns; none for a cloze, whose originals are tables too.
fn files(frame: &DataFrame) -> anyhow::Result<Vec<(&'static str, String)>> {
    let has = |name: &str| frame.column(name).is_ok();
    if has("words") {
        entities(frame)
    } else if has("labels") {
        let rows: Vec<Vec<f32>> = table::real_lists(frame, "scores")?.into_iter().map(narrow).collect();
        Ok(vec![("test_results.tsv", relation_eval::write_probabilities(&rows))])
    } else if has("start_logits") {
        answers(frame)
    } else {
        Ok(Vec::new())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the originals' probabilities are f32")]
fn narrow(scores: Vec<f64>) -> Vec<f32> {
    scores.into_iter().map(|score| score as f32).collect()
}

/// `BioBERT`'s files of a tagger. Tags without a type get the type `MISC`, as there. White space in words and types becomes `_`, for it separates columns.
fn entities(frame: &DataFrame) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (words, golds, tags) = (table::text_lists(frame, "words")?, table::text_lists(frame, "golds")?, table::text_lists(frame, "predictions")?);
    let untyped = golds.iter().chain(&tags).flatten().all(|tag| !tag.contains('-'));
    let typed = |tag: &str| if untyped { format!("{tag}-MISC") } else { column(tag) };
    let mut conll = String::new();
    for ((words, golds), tags) in words.iter().zip(&golds).zip(&tags) {
        for ((word, gold), tag) in words.iter().zip(golds).zip(tags) {
            let _ = writeln!(conll, "{} {} {}", column(word), typed(gold), typed(tag));
        }
        conll.push('\n');
    }
    let mut files = vec![("NER_result_conll.txt", conll)];
    if frame.column("pieces").is_ok() && frame.column("piece_predictions").is_ok() {
        let (pieces, labels) = (table::text_lists(frame, "pieces")?, table::text_lists(frame, "piece_predictions")?);
        let scores = table::real_lists(frame, "scores")?;
        let sentences: Vec<Vec<(&str, &str)>> =
            pieces.iter().zip(&labels).zip(&scores).map(|((pieces, labels), scores)| every_word(pieces, labels, scores)).collect();
        let tokens: Vec<Vec<&str>> = sentences.iter().map(|sentence| sentence.iter().map(|(piece, _)| *piece).collect()).collect();
        let labels: Vec<Vec<String>> = sentences.iter().map(|sentence| sentence.iter().map(|(_, label)| column(label)).collect()).collect();
        files.push(("token_test.txt", detokenize::write_tokens(&tokens)));
        files.push(("label_test.txt", detokenize::write_labels(&labels)));
    }
    Ok(files)
}

/// A text as a column between blanks.
fn column(text: &str) -> String {
    if text.is_empty() { "_".to_owned() } else { text.replace(char::is_whitespace, "_") }
}

/// The pieces of a sentence with their labels, and `[UNK]` with `O` for a word that has none: words are matched with the gold by their number. Such a word has
/// the probability 0, as those at the end that were cut off, which stay out as in the original.
fn every_word<'a>(pieces: &'a [String], labels: &'a [String], scores: &[f64]) -> Vec<(&'a str, &'a str)> {
    const UNKNOWN: (&str, &str) = ("[UNK]", "O");
    let all: Vec<(&str, &str)> = pieces.iter().zip(labels).map(|(piece, label)| (piece.as_str(), label.as_str())).collect();
    let [first, inner @ .., last] = &all[..] else {
        let words = scores.iter().map(|_| UNKNOWN);
        return if scores.is_empty() { Vec::new() } else { [("[CLS]", "O")].into_iter().chain(words).chain([("[SEP]", "O")]).collect() };
    };
    let begins = |piece: &str| !piece.starts_with("##");
    // Where a word was split by more than `##`, its pieces do not tell where it begins.
    if inner.iter().filter(|(piece, _)| begins(piece)).count() != scores.iter().filter(|score| **score > 0.0).count() {
        return all;
    }
    let (mut found, mut words) = (vec![*first], scores.iter());
    for token in inner {
        if begins(token.0) {
            found.extend(words.by_ref().take_while(|score| **score == 0.0).map(|_| UNKNOWN));
        }
        found.push(*token);
    }
    found.push(*last);
    found
}

/// The files of a span extractor; with ids of `BioASQ`, its answers pooled over snippets too.
fn answers(frame: &DataFrame) -> anyhow::Result<Vec<(&'static str, String)>> {
    let ids = table::texts(frame, "example_id")?;
    let (texts, scores) = (table::text_lists(frame, "predictions")?, table::real_lists(frame, "scores")?);
    let (starts, ends) = (table::real_lists(frame, "start_logits")?, table::real_lists(frame, "end_logits")?);
    let candidates = |row: usize| -> Vec<Candidate> {
        let parts = texts[row].iter().zip(&scores[row]).zip(&starts[row]).zip(&ends[row]);
        parts.map(|(((text, &probability), &start_logit), &end_logit)| Candidate { text: text.clone(), probability, start_logit, end_logit }).collect()
    };
    let best: Vec<(&str, &str)> = ids.iter().zip(&texts).map(|(id, texts)| (*id, texts.first().map_or("", String::as_str))).collect();
    let nbest = write_nbest(&ids.iter().enumerate().map(|(row, id)| (*id, candidates(row))).collect::<Vec<_>>());
    let mut files = vec![("predictions.json", write_predictions(&best))];
    if ids.iter().all(|id| question_of_snippet(id).is_some()) {
        let pooled = factoid(nbest.as_bytes(), "nbest_predictions.json", Program::BioBert)?;
        files.push(("BioASQform_BioASQ-answer.json", pooled.answers));
        files.push(("WithProb_BioASQform_BioASQ-answer.json", pooled.with_probability));
    }
    files.push(("nbest_predictions.json", nbest));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(items: &[&str]) -> Vec<Vec<String>> {
        vec![items.iter().map(|item| (*item).to_owned()).collect()]
    }

    /// The files of one sentence of these words, each with its score, and pieces.
    fn tagged(words: &[(&str, f64)], pieces: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let (names, scores): (Vec<&str>, Vec<f64>) = words.iter().copied().unzip();
        let (pieces, labels): (Vec<&str>, Vec<&str>) = pieces.iter().copied().unzip();
        let tags = vec!["O"; names.len()];
        let columns = [("words", &names), ("golds", &tags), ("predictions", &tags), ("pieces", &pieces), ("piece_predictions", &labels)];
        let mut columns: Vec<_> = columns.into_iter().map(|(name, items)| table::texts_column(name, &lists(items))).collect();
        columns.push(table::reals_column("scores", &[scores]));
        files(&table::frame_of(columns).unwrap()).unwrap()
    }

    #[test]
    fn a_word_without_a_piece_is_an_unknown_one() {
        let pieces = [("[CLS]", "O"), ("I", "B"), ("##L", "X"), ("x", "I-Cell line"), ("[SEP]", "O")];
        let found = tagged(&[("\u{ad}", 0.0), ("IL", 0.9), ("\u{ad}", 0.0), ("x", 0.5), ("cut", 0.0), ("off", 0.0)], &pieces);
        assert_eq!(found[1], ("token_test.txt", "[CLS]\n[UNK]\nI\n##L\n[UNK]\nx\n[SEP]\n".to_owned()));
        assert_eq!(found[2], ("label_test.txt", "O\nO\nB\nX\nO\nI-Cell_line\nO\n".to_owned()));
        assert_eq!(tagged(&[("\u{ad}", 0.0)], &[])[1].1, "[CLS]\n[UNK]\n[SEP]\n");
        let split = tagged(&[("\u{ad}", 0.0), ("a-b", 0.9)], &[("[CLS]", "O"), ("a", "O"), ("-", "O"), ("b", "O"), ("[SEP]", "O")]);
        assert_eq!(split[1].1, "[CLS]\na\n-\nb\n[SEP]\n", "which word is missing cannot be told");
    }

    #[test]
    fn white_space_does_not_break_columns() {
        let columns = [("words", &["New York", "a\tb\u{a0}c", ""][..]), ("golds", &["B-Cell line", "O", "O"]), ("predictions", &["O", "B-X", "O"])];
        let frame = table::frame_of(columns.map(|(name, items)| table::texts_column(name, &lists(items))).into()).unwrap();
        assert_eq!(files(&frame).unwrap()[0].1, "New_York B-Cell_line O\na_b_c O B-X\n_ O O\n\n");
    }

    #[test]
    fn untyped_tags_get_the_type_of_the_original() {
        let frame = |gold: &[&str], tags: &[&str]| {
            let columns = [("words", &["BRCA1", "is"][..]), ("golds", gold), ("predictions", tags)];
            table::frame_of(columns.map(|(name, items)| table::texts_column(name, &lists(items))).into()).unwrap()
        };
        let text = |frame: &DataFrame| files(frame).unwrap().remove(0);
        assert_eq!(text(&frame(&["B", "O"], &["O", "O"])), ("NER_result_conll.txt", "BRCA1 B-MISC O-MISC\nis O-MISC O-MISC\n\n".to_owned()));
        assert_eq!(text(&frame(&["B-Gene", "O"], &["O", "O"])).1, "BRCA1 B-Gene O\nis O O\n\n");
    }
}
