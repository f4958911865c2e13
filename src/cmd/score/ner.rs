//! `lmprobe score ner`: BioBERT's word pieces and labels against the gold.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use lmprobe_core::{Error, write_atomically};
use lmprobe_scorers::conlleval::{self, PhraseCounts};
use lmprobe_scorers::detokenize::{Detokenized, Files, detokenize};
use serde_json::json;

use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe score ner`.
#[derive(Debug, Args)]
pub(crate) struct NerArgs {
    /// Word pieces, one a line: `token_test.txt`
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Predicted labels, one a line: `label_test.txt`
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Words and tags: `test.tsv`
    #[arg(long, value_name = "FILE")]
    gold: PathBuf,
    /// Write `NER_result_conll.txt` into this folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long, requires = "output")]
    force: bool,
    /// Print a JSON object, fractions in [0, 1]
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn execute(arguments: &NerArgs, console: Console) -> anyhow::Result<Exit> {
    let target = arguments.output.as_ref().map(|folder| folder.join("NER_result_conll.txt"));
    if let Some(target) = &target {
        UsageError::unless_replaceable(target, arguments.force)?;
    }
    let (tokens, labels, gold) = (Input::read(Some(&arguments.tokens))?, Input::read(Some(&arguments.labels))?, Input::read(Some(&arguments.gold))?);
    let result = detokenize(Files { tokens: (&tokens.name, &tokens.bytes), labels: (&labels.name, &labels.bytes), gold: (&gold.name, &gold.bytes) })?;
    warn(&result, &gold.name, console);
    if let (Some(folder), Some(target)) = (&arguments.output, &target) {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        write_atomically(target, |file| file.write_all(result.conll.as_bytes()).map_err(Error::io(target)))?;
    }
    if arguments.json {
        let counts = phrases(&result.conll)?;
        let total = counts.total;
        console.json(&json!({
            "tokens": counts.tokens,
            "accuracy": counts.accuracy(),
            "precision": total.precision(),
            "recall": total.recall(),
            "f1": total.f1(),
            "correct": total.correct,
            "found": total.found,
            "gold": total.gold,
            "truncated_sentences": result.n_truncated,
            "filled_words": result.n_filled,
            "different_words": result.n_different,
        }))?;
    } else {
        console.result_bytes(&conlleval::run(&[], result.conll.as_bytes()).stdout)?;
    }
    Ok(Exit::Done)
}

fn warn(result: &Detokenized, gold: &str, console: Console) {
    if result.n_truncated > 0 {
        let (sentences, words) = (result.n_truncated, result.n_filled);
        console.warning(&format!("{sentences} sentences were cut off before their end; {words} words that the model did not see count as predicted `O`"));
    }
    if let Some((line, gold_word, word)) = &result.first_different {
        let n = result.n_different;
        console.warning(&format!("{n} words differ from the gold's; the first: {gold}:{line}: `{gold_word}` was predicted as `{word}`"));
    }
}

/// The counts behind the report.
fn phrases(conll: &str) -> anyhow::Result<PhraseCounts> {
    let mut counts = PhraseCounts::default();
    for sentence in conll.split_terminator("\n\n") {
        let tags = |column: usize| -> Vec<&str> { sentence.lines().filter_map(|line| line.split(' ').nth(column)).collect() };
        counts += PhraseCounts::of(&[(&tags(1)[..], &tags(2)[..])])?;
    }
    Ok(counts)
}
