//! `lmprobe score re`: BioBERT's relation extraction.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lmprobe_scorers::relation_eval::{RelationScores, Task, confusion, read_gold, read_predictions};
use serde_json::json;

use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::Exit;

/// Arguments of `lmprobe score re`.
#[derive(Debug, Args)]
pub(crate) struct ReArgs {
    /// Class probabilities, one test example a line: `test_results.tsv`
    #[arg(long, visible_alias = "output_path", value_name = "FILE")]
    output: PathBuf,
    /// The test set with a header and a column `label`: `test.tsv`
    #[arg(long, visible_alias = "answer_path", value_name = "FILE")]
    answer: PathBuf,
    /// What the labels are
    #[arg(long, default_value = "binary")]
    task: TaskName,
    /// Print a JSON object, fractions in [0, 1]
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TaskName {
    /// 0 and 1: GAD, EU-ADR.
    Binary,
    /// The five relations of ChemProt, and false.
    Chemprot,
}

/// Runs the command.
pub(super) fn execute(arguments: &ReArgs, console: Console) -> anyhow::Result<Exit> {
    let task = match arguments.task {
        TaskName::Binary => Task::Binary,
        TaskName::Chemprot => Task::ChemProt,
    };
    let (output, answer) = (Input::read(Some(&arguments.output))?, Input::read(Some(&arguments.answer))?);
    let predicted = read_predictions(&output.bytes, &output.name, task)?;
    let gold = read_gold(&answer.bytes, &answer.name, task)?;
    let counts = confusion(&gold, &predicted, task).map_err(|error| anyhow::Error::from(error).context(format!("{} and {}", answer.name, output.name)))?;
    let scores = RelationScores::of(&counts, task);
    if arguments.json {
        let macro_f1 = counts.macro_mean().f1;
        console.json(&json!({"n": counts.n(), "scores": scores, "accuracy": counts.accuracy(), "macro_f1": macro_f1, "confusion": counts}))?;
    } else {
        console.result(&scores.report())?;
    }
    Ok(Exit::Done)
}
