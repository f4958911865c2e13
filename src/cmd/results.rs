//! `lmprobe results`: the scores of finished runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use lmprobe_core::polars::prelude::{CsvWriter, DataFrame, SerWriter};

use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::report::originals::{self, OriginalFile};
use crate::report::score_table::{self, ScoreTable};
use crate::report::scores::{Aggregate, Score, declared, filter, load, read};
use crate::run_file::shown;

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
    /// Replace files that are there
    #[arg(long, requires = "originals")]
    force: bool,
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
        for file in arguments.originals(out)? {
            file.write()?;
            console.result(&format!("{}\n", file.path.display()))?;
        }
        return Ok(Exit::Done);
    }
    let (frame, all) = arguments.scores()?;
    match arguments.format {
        Format::Table => console.result(&tables(&frame, &all, ScoreTable::plain)?)?,
        Format::Markdown => console.result(&tables(&frame, &all, ScoreTable::markdown)?)?,
        Format::Csv => console.result(&csv(frame)?)?,
        Format::Json => console.json(&read(&frame)?)?,
    }
    Ok(Exit::Done)
}

impl ResultsArgs {
    /// The files of all folders, none of which replaces another.
    fn originals(&self, out: &Path) -> anyhow::Result<Vec<OriginalFile>> {
        let mut files = Vec::new();
        for folder in &self.folders {
            files.extend(originals::of(folder, out)?);
        }
        let mut paths = BTreeSet::new();
        for OriginalFile { path, .. } in &files {
            if !paths.insert(path) {
                return Err(UsageError(format!("two of these runs would write {}; write them into folders of their own", shown(path))).into());
            }
            UsageError::unless_replaceable(path, self.force)?;
        }
        Ok(files)
    }

    /// The scores that were asked for, and all scores of all folders.
    fn scores(&self) -> anyhow::Result<(DataFrame, Vec<Score>)> {
        let frames: Vec<DataFrame> = self.folders.iter().map(|folder| declared(&load(folder)?)).collect::<Result<_, _>>()?;
        let mut frames = frames.into_iter();
        let mut all = frames.next().unwrap_or_default();
        for frame in frames {
            all.vstack_mut(&frame)?;
        }
        let scores = read(&all)?;
        self.check_metrics(&scores)?;
        self.check_aggregate(&scores)?;
        let wanted = self.aggregate();
        let kept = filter(&all, |score| self.wants_metric(score) && wanted.is_none_or(|wanted| wanted == score.aggregate))?;
        Ok((kept, scores))
    }

    /// The aggregate that is shown; none is all.
    fn aggregate(&self) -> Option<Aggregate> {
        match self.format {
            Format::Table | Format::Markdown => Some(self.aggregate.unwrap_or(Aggregate::Micro)),
            Format::Csv | Format::Json => self.aggregate,
        }
    }

    fn wants_metric(&self, score: &Score) -> bool {
        self.metric.is_empty() || self.metric.contains(&score.metric)
    }

    /// An aggregate that no score has is a mistake too. A run without any scores has an empty table.
    fn check_aggregate(&self, scores: &[Score]) -> Result<(), UsageError> {
        let known: BTreeSet<&str> = scores.iter().filter(|score| self.wants_metric(score)).map(|score| score.aggregate.word()).collect();
        match self.aggregate() {
            Some(wanted) if !known.is_empty() && !known.contains(wanted.word()) => {
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                Err(UsageError(format!("no score here has the aggregate `{}`; with --aggregate there are {known}", wanted.word())))
            }
            _ => Ok(()),
        }
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

fn tables(frame: &DataFrame, all: &[Score], render: impl Fn(&ScoreTable) -> String) -> anyhow::Result<String> {
    let scores = read(frame)?;
    let tables = score_table::of(&scores.iter().collect::<Vec<_>>(), all);
    Ok(tables.iter().map(render).collect::<Vec<_>>().join("\n"))
}

fn csv(mut frame: DataFrame) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
