//! `lmprobe results`: the scores of finished runs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lmprobe_core::polars::prelude::{CsvWriter, DataFrame, SerWriter};

use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::report::originals;
use crate::report::score_table::{self, ScoreTable};
use crate::report::scores::{Aggregate, Score, declared, filter, load, read};

/// Arguments of `lmprobe results`.
#[derive(Debug, Args)]
pub(crate) struct ResultsArgs {
    /// Run folders
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// How to print them; csv and json hold one row a number, fractions in [0, 1]
    #[arg(long, default_value = "table")]
    format: Format,
    /// Only this metric; may be repeated
    #[arg(long, value_name = "METRIC")]
    metric: Vec<String>,
    /// Only this mean [default: micro in tables, all in csv and json]
    #[arg(long)]
    aggregate: Option<Aggregate>,
    /// Write predictions as the published programs do, instead of printing scores: `NER_result_conll.txt`, `test_results.tsv`, `predictions.json` and others
    #[arg(long, value_name = "OUT", conflicts_with_all = ["format", "metric", "aggregate"])]
    originals: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// Markdown tables.
    Markdown,
    /// Comma-separated values.
    Csv,
    /// A JSON array.
    Json,
}

/// Runs the command.
pub(crate) fn execute(arguments: &ResultsArgs, console: Console) -> anyhow::Result<Exit> {
    if let Some(out) = &arguments.originals {
        for folder in &arguments.folders {
            for path in originals::write(folder, out)? {
                console.result(&format!("{}\n", path.display()))?;
            }
        }
        return Ok(Exit::Done);
    }
    let frame = arguments.scores()?;
    match arguments.format {
        Format::Table => console.result(&tables(&frame, ScoreTable::plain)?)?,
        Format::Markdown => console.result(&tables(&frame, ScoreTable::markdown)?)?,
        Format::Csv => console.result(&csv(frame)?)?,
        Format::Json => console.json(&read(&frame)?)?,
    }
    Ok(Exit::Done)
}

impl ResultsArgs {
    /// The scores of all folders that were asked for.
    fn scores(&self) -> anyhow::Result<DataFrame> {
        let frames: Vec<DataFrame> = self.folders.iter().map(|folder| declared(&load(folder)?)).collect::<Result<_, _>>()?;
        let mut frames = frames.into_iter();
        let mut all = frames.next().unwrap_or_default();
        for frame in frames {
            all.vstack_mut(&frame)?;
        }
        self.check_metrics(&read(&all)?)?;
        filter(&all, |score| self.wants(score))
    }

    fn wants(&self, score: &Score) -> bool {
        let aggregate = match self.format {
            Format::Table | Format::Markdown => Some(self.aggregate.unwrap_or(Aggregate::Micro)),
            Format::Csv | Format::Json => self.aggregate,
        };
        aggregate.is_none_or(|wanted| wanted == score.aggregate) && (self.metric.is_empty() || self.metric.contains(&score.metric))
    }

    /// A metric that no run has computed is a mistake, not an empty table.
    fn check_metrics(&self, scores: &[Score]) -> Result<(), UsageError> {
        let mut known: Vec<&str> = scores.iter().map(|score| score.metric.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        match self.metric.iter().find(|metric| !known.contains(&metric.as_str())) {
            Some(unknown) => Err(UsageError(format!("no run here has the metric `{unknown}`; there are {}", known.join(", ")))),
            None => Ok(()),
        }
    }
}

fn tables(frame: &DataFrame, render: impl Fn(&ScoreTable) -> String) -> anyhow::Result<String> {
    let scores = read(frame)?;
    let tables = score_table::of(&scores.iter().collect::<Vec<_>>());
    Ok(tables.iter().map(render).collect::<Vec<_>>().join("\n"))
}

fn csv(mut frame: DataFrame) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
