//! `lmprobe score squad`: exact match and F1 of answers.

use std::path::PathBuf;

use clap::Args;
use lmprobe_scorers::squad_files::{read_gold, read_predictions, score};

use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::Exit;

/// Arguments of `lmprobe score squad`.
#[derive(Debug, Args)]
pub(crate) struct SquadArgs {
    /// The questions with their answers, in the form of SQuAD
    gold: PathBuf,
    /// An object of answers by question id: `predictions.json`
    predictions: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn execute(arguments: &SquadArgs, console: Console) -> anyhow::Result<Exit> {
    let (gold, predictions) = (Input::read(Some(&arguments.gold))?, Input::read(Some(&arguments.predictions))?);
    let questions = read_gold(&gold.bytes, &gold.name)?;
    let scores = score(&questions, &read_predictions(&predictions.bytes, &predictions.name)?);
    if let Some(first) = scores.missing.first() {
        let n = scores.missing.len();
        console.warning(&format!("{n} of {} questions have no prediction and count as wrong; the first is `{first}`", scores.n));
    }
    if scores.n_unknown > 0 {
        console.warning(&format!("{} predictions are for questions that {} does not have; they do not count", scores.n_unknown, gold.name));
    }
    if arguments.json {
        console.json(&scores)?;
    } else {
        let (exact, f1, n, missing) = (scores.exact_match, scores.f1, scores.n, scores.missing.len());
        console.result(&format!("exact_match  {exact:.4}\nf1           {f1:.4}\nquestions    {n}\nmissing      {missing}\n"))?;
    }
    Ok(Exit::Done)
}
