//! Predictions of a run in the files that the published programs write, for their scorers and for whoever compares.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lmprobe_core::polars::prelude::{DataFrame, ParquetReader, SerReader};
use lmprobe_core::{Error, table, write_atomically};
use lmprobe_scorers::bioasq_transform::{Program, factoid};
use lmprobe_scorers::squad_files::{Candidate, write_nbest, write_predictions};
use lmprobe_scorers::{detokenize, relation_eval};

/// Length of an id of `BioASQ` with the number of a snippet behind it.
const BIOASQ_ID: usize = 28;

/// Writes what every table of predictions of a run folder can be written as, into a folder each below `out`. Returns the files.
pub(crate) fn write(run: &Path, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = run.join("predictions");
    let entries = std::fs::read_dir(&folder).map_err(Error::io(&folder)).context("no predictions here; `lmprobe run FILE` writes them")?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry.map_err(Error::io(&folder))?.path())).collect::<Result<_, Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    paths.sort();
    let mut written = Vec::new();
    for path in paths {
        let file = File::open(&path).map_err(Error::io(&path))?;
        let frame = ParquetReader::new(file).finish().map_err(|error| Error::data(&path, None, error.to_string()))?;
        let target = out.join(path.file_stem().unwrap_or_default());
        for (name, text) in files(&frame).with_context(|| format!("{}", path.display()))? {
            std::fs::create_dir_all(&target).map_err(Error::io(&target))?;
            let path = target.join(name);
            write_atomically(&path, |file| std::io::Write::write_all(file, text.as_bytes()).map_err(Error::io(&path)))?;
            written.push(path);
        }
    }
    if written.is_empty() {
        let message = "no predictions here have a form of a published program: those of labelled tasks do, in parquet";
        return Err(Error::data(&folder, None, message).into());
    }
    Ok(written)
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

/// `BioBERT`'s files of a tagger. Tags without a type get the type `MISC`, as there.
fn entities(frame: &DataFrame) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (words, golds, tags) = (table::text_lists(frame, "words")?, table::text_lists(frame, "golds")?, table::text_lists(frame, "predictions")?);
    let untyped = golds.iter().chain(&tags).flatten().all(|tag| !tag.contains('-'));
    let typed = |tag: &str| if untyped { format!("{tag}-MISC") } else { tag.to_owned() };
    let mut conll = String::new();
    for ((words, golds), tags) in words.iter().zip(&golds).zip(&tags) {
        for ((word, gold), tag) in words.iter().zip(golds).zip(tags) {
            let _ = writeln!(conll, "{word} {} {}", typed(gold), typed(tag));
        }
        conll.push('\n');
    }
    let mut files = vec![("NER_result_conll.txt", conll)];
    if frame.column("pieces").is_ok() && frame.column("piece_predictions").is_ok() {
        files.push(("token_test.txt", detokenize::write_tokens(&table::text_lists(frame, "pieces")?)));
        files.push(("label_test.txt", detokenize::write_labels(&table::text_lists(frame, "piece_predictions")?)));
    }
    Ok(files)
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
    if ids.iter().all(|id| id.len() == BIOASQ_ID) {
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

    #[test]
    fn untyped_tags_get_the_type_of_the_original() {
        let list = |items: &[&str]| vec![items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>()];
        let frame = |gold: &[&str], tags: &[&str]| {
            let columns = [("words", &["BRCA1", "is"][..]), ("golds", gold), ("predictions", tags)];
            table::frame_of(columns.map(|(name, items)| table::texts_column(name, &list(items))).into()).unwrap()
        };
        let text = |frame: &DataFrame| files(frame).unwrap().remove(0);
        assert_eq!(text(&frame(&["B", "O"], &["O", "O"])), ("NER_result_conll.txt", "BRCA1 B-MISC O-MISC\nis O-MISC O-MISC\n\n".to_owned()));
        assert_eq!(text(&frame(&["B-Gene", "O"], &["O", "O"])).1, "BRCA1 B-Gene O\nis O O\n\n");
    }
}
