//! Results of the data sets of BLURB in the folder of a finished run, by the labels of its tasks.

use std::collections::BTreeMap;
use std::path::Path;

use lmprobe_core::Error;
use lmprobe_scorers::blurb::{Group, Results, SETS, set};

use crate::report::scores::{Aggregate, Score, load, read};

/// The number that BLURB takes of a kind of task.
fn number(group: Group) -> (&'static str, Aggregate) {
    match group {
        Group::NamedEntities => ("entity-f1", Aggregate::Micro),
        Group::Pico => ("token-f1", Aggregate::Macro),
        Group::Relations => ("f1", Aggregate::Micro),
        Group::Similarity => ("pearson", Aggregate::Micro),
        Group::Documents => ("label-cells-f1", Aggregate::Micro),
        Group::Questions => ("accuracy", Aggregate::Micro),
    }
}

/// Takes the mean over seeds of each task that is called as a data set of BLURB; baselines are left out.
///
/// # Errors
/// If the folder has no scores, none is of such a task, a task was asked in several ways or with `--limit`, or a data set has a result already.
pub(super) fn insert(results: &mut Results, folder: &Path) -> anyhow::Result<()> {
    let mut of_sets: BTreeMap<&'static str, Vec<Score>> = BTreeMap::new();
    for score in read(&load(folder)?)? {
        let Some((name, group)) = set(&score.task).ok().and_then(|name| SETS.iter().find(|(set, _)| *set == name)) else { continue };
        if !score.baseline && (score.metric.as_str(), score.aggregate) == number(*group) {
            of_sets.entry(name).or_default().push(score);
        }
    }
    let fail = |message: String| anyhow::Error::from(Error::data(folder, None, message));
    if of_sets.is_empty() {
        let names: Vec<&str> = SETS.iter().map(|(name, _)| *name).collect();
        return Err(fail(format!("no task here is called as a data set of BLURB and has its number; they are {}", names.join(", "))));
    }
    for (name, scores) in of_sets {
        let way = |score: &Score| format!("{:?}", (&score.task, &score.encoder, &score.adapt, score.training_size.map(f64::to_bits), &score.prober));
        if scores.iter().any(|score| way(score) != way(&scores[0])) {
            return Err(fail(format!("{name} was asked in several ways here; a BLURB score is of one encoder, one adaptation and one prober")));
        }
        if scores.iter().any(|score| score.limit.is_some()) {
            return Err(fail(format!("{name} was run with `--limit`; a BLURB score is of whole test sets")));
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of seeds")]
        let mean = scores.iter().map(|score| score.value).sum::<f64>() / scores.len() as f64;
        results.insert(name, mean).map_err(|error| fail(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lmprobe_core::polars::prelude::{NamedFrom, ParquetWriter, Series};
    use lmprobe_core::table::{self, SCORES, text_column};

    use super::*;

    /// A row: task, prober, whether it is a baseline, metric, aggregate, seed, value.
    type Row<'a> = (&'a str, &'a str, bool, &'a str, &'a str, u64, f64);

    /// What is said of a run with these rows, or the partial score.
    fn score(rows: &[Row<'_>], limit: Option<u64>) -> Result<f64, String> {
        let folder = tempfile::tempdir().unwrap();
        let texts = |name: &str, of: fn(&Row<'_>) -> String| Series::new(name.into(), rows.iter().map(of).collect::<Vec<_>>());
        let columns = SCORES.columns.iter().map(|column| match column.name {
            "task" => texts("task", |row| row.0.to_owned()),
            "prober" => texts("prober", |row| row.1.to_owned()),
            "baseline" => Series::new("baseline".into(), rows.iter().map(|row| row.2).collect::<Vec<_>>()),
            "metric" => texts("metric", |row| row.3.to_owned()),
            "aggregate" => texts("aggregate", |row| row.4.to_owned()),
            "seed" => Series::new("seed".into(), rows.iter().map(|row| Some(row.5)).collect::<Vec<_>>()),
            "limit" => Series::new("limit".into(), vec![limit; rows.len()]),
            "n" => Series::new("n".into(), vec![1u64; rows.len()]),
            "higher_is_better" => Series::new("higher_is_better".into(), vec![true; rows.len()]),
            "value" | "ci_low" | "ci_high" => Series::new(column.name.into(), rows.iter().map(|row| row.6).collect::<Vec<_>>()),
            "training_size" => Series::new("training_size".into(), vec![Some(100.0); rows.len()]),
            name => text_column(name, rows.iter().map(|_| Some("x"))),
        });
        let mut frame = table::frame_of(columns.collect()).unwrap();
        ParquetWriter::new(std::fs::File::create(folder.path().join("scores.parquet")).unwrap()).finish(&mut frame).unwrap();
        let mut results = Results::default();
        let said = |error: &dyn std::fmt::Display| error.to_string().replace(&format!("{}: ", folder.path().display()), "");
        insert(&mut results, folder.path()).map_err(|error| said(&error))?;
        results.partial(None).map(|score| score.score).map_err(|error| said(&error))
    }

    #[test]
    fn tasks_called_as_data_sets_have_the_mean_over_their_seeds() {
        let rows: [Row<'_>; 7] = [
            ("gad", "task-head", false, "f1", "micro", 1, 0.5),
            ("gad", "task-head", false, "f1", "micro", 2, 0.75),
            ("gad", "task-head", false, "f1", "macro", 1, 0.1),
            ("gad", "task-head", false, "accuracy", "micro", 1, 0.1),
            ("gad", "majority", true, "f1", "micro", 1, 0.1),
            ("ebm-pico", "task-head", false, "token-f1", "macro", 1, 0.375),
            ("s800", "task-head", false, "entity-f1", "micro", 1, 0.1),
        ];
        // GAD 0.625, EBM PICO 0.375.
        assert_eq!(score(&rows, None), Ok(0.5));
        assert_eq!(score(&rows[..1], Some(10)).unwrap_err(), "GAD was run with `--limit`; a BLURB score is of whole test sets");
        let other: Row<'_> = ("GAD", "task-head", false, "f1", "micro", 1, 0.5);
        let several = score(&[rows[0], other], None).unwrap_err();
        assert_eq!(several, "GAD was asked in several ways here; a BLURB score is of one encoder, one adaptation and one prober");
        let none = score(&rows[6..], None).unwrap_err();
        assert!(none.starts_with("no task here is called as a data set of BLURB and has its number; they are BC5-chem, "), "{none}");
    }
}
