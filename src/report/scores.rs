//! The rows of the score table.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use lmprobe_core::polars::prelude::{BooleanChunked, Column, DataFrame, NewChunkedArray, ParquetReader, SerReader};
use lmprobe_core::{Error, table};
use serde::Serialize;

/// What a score is a mean of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Aggregate {
    /// All questions.
    Micro,
    /// The means of the relations or labels.
    Macro,
    /// The questions of one relation.
    Relation,
    /// One label or entity type.
    Label,
}

impl Aggregate {
    /// The word in the tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Macro => "macro",
            Self::Relation => "relation",
            Self::Label => "label",
        }
    }
}

/// A row of [`table::SCORES`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Score {
    pub(crate) run: String,
    pub(crate) job_id: String,
    pub(crate) encoder: Option<String>,
    pub(crate) adapt: Option<String>,
    pub(crate) task: String,
    pub(crate) prober: String,
    pub(crate) baseline: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) training_size: Option<f64>,
    pub(crate) metric: String,
    pub(crate) aggregate: Aggregate,
    pub(crate) relation: Option<String>,
    pub(crate) value: f64,
    pub(crate) ci_low: f64,
    pub(crate) ci_high: f64,
    pub(crate) ci_method: String,
    pub(crate) n: u64,
    pub(crate) unit: String,
    pub(crate) higher_is_better: bool,
}

/// The score table of a run folder.
pub(crate) fn load(folder: &Path) -> anyhow::Result<DataFrame> {
    let path = folder.join("scores.parquet");
    let file = File::open(&path)
        .map_err(Error::io(&path))
        .context("no scores here; `lmprobe run FILE` writes them, with `parquet` among the `formats` of the run file's `output` (the default)")?;
    let malformed = |reason: String| Error::data(&path, None, format!("not a table of scores ({reason}); `lmprobe run FILE` writes it anew"));
    let frame = ParquetReader::new(file).finish().map_err(|error| malformed(error.to_string()))?;
    table::SCORES.check(&frame, "the file").map_err(|error| malformed(error.to_string()))?;
    Ok(frame)
}

/// The rows of a score table.
pub(crate) fn read(frame: &DataFrame) -> anyhow::Result<Vec<Score>> {
    let text = |name: &str| -> anyhow::Result<Vec<Option<String>>> { Ok(frame.column(name)?.str()?.iter().map(|cell| cell.map(str::to_owned)).collect()) };
    let whole = |name: &str| -> anyhow::Result<Vec<Option<u64>>> { Ok(frame.column(name)?.u64()?.iter().collect()) };
    let real = |name: &str| -> anyhow::Result<Vec<f64>> { Ok(frame.column(name)?.f64()?.iter().map(|cell| cell.unwrap_or(f64::NAN)).collect()) };
    let flag = |name: &str| -> anyhow::Result<Vec<bool>> { Ok(frame.column(name)?.bool()?.iter().map(|cell| cell.unwrap_or(false)).collect()) };
    let (run, job_id, encoder, adapt) = (text("run")?, text("job_id")?, text("encoder")?, text("adapt")?);
    let (task, prober, metric, aggregate) = (text("task")?, text("prober")?, text("metric")?, text("aggregate")?);
    let (relation, ci_method, unit) = (text("relation")?, text("ci_method")?, text("unit")?);
    let (seed, limit, n) = (whole("seed")?, whole("limit")?, whole("n")?);
    let (value, ci_low, ci_high) = (real("value")?, real("ci_low")?, real("ci_high")?);
    let training_size: Vec<Option<f64>> = frame.column("training_size")?.f64()?.iter().collect();
    let (baseline, higher_is_better) = (flag("baseline")?, flag("higher_is_better")?);
    (0..frame.height())
        .map(|row| {
            let cell = |column: &[Option<String>]| column[row].clone().unwrap_or_default();
            Ok(Score {
                run: cell(&run),
                job_id: cell(&job_id),
                encoder: encoder[row].clone(),
                adapt: adapt[row].clone(),
                task: cell(&task),
                prober: cell(&prober),
                baseline: baseline[row],
                seed: seed[row],
                limit: limit[row],
                training_size: training_size[row],
                metric: cell(&metric),
                aggregate: aggregate_named(&cell(&aggregate))?,
                relation: relation[row].clone(),
                value: value[row],
                ci_low: ci_low[row],
                ci_high: ci_high[row],
                ci_method: cell(&ci_method),
                n: n[row].unwrap_or(0),
                unit: cell(&unit),
                higher_is_better: higher_is_better[row],
            })
        })
        .collect()
}

/// The rows of a score table for which `keep` holds.
pub(crate) fn filter(frame: &DataFrame, keep: impl Fn(&Score) -> bool) -> anyhow::Result<DataFrame> {
    let kept: Vec<bool> = read(frame)?.iter().map(keep).collect();
    Ok(frame.filter(&BooleanChunked::from_slice("kept".into(), &kept))?)
}

/// The declared columns of a score table, without those another version may have added.
pub(crate) fn declared(frame: &DataFrame) -> anyhow::Result<DataFrame> {
    let columns: Vec<Column> = table::SCORES.columns.iter().map(|column| frame.column(column.name).cloned()).collect::<Result<_, _>>()?;
    Ok(DataFrame::new(frame.height(), columns)?)
}

fn aggregate_named(word: &str) -> anyhow::Result<Aggregate> {
    let known = [Aggregate::Micro, Aggregate::Macro, Aggregate::Relation, Aggregate::Label];
    known
        .into_iter()
        .find(|aggregate| aggregate.word() == word)
        .with_context(|| format!("a metric returned rows of the aggregate `{word}`; `micro`, `macro`, `relation` and `label` exist"))
}
