//! The tables of a run, from what its jobs left.

use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom, Series};

use super::Executor;
use crate::manifest::ManifestJob;
use crate::store::TABLE_FOLDERS;
use crate::{CallContext, Error, Job, JobKind, MetricItem, Problem, Result, Seed, check, table};

impl Executor<'_> {
    /// Scores every finished job and writes the tables of the run. A metric that fails makes the job failed; its predictions and other scores stay.
    pub(super) fn collect(&self, jobs: &mut [ManifestJob]) -> Result<DataFrame> {
        let mut scores: Option<DataFrame> = None;
        let mut kept = Vec::new();
        for (job, outcome) in self.plan.jobs.iter().zip(jobs) {
            if outcome.status == "failed" {
                continue;
            }
            let folder = self.store.job(&job.id);
            if let JobKind::Train { .. } = job.kind {
                for (name, folder_name) in [("training", "training"), ("evaluations", "evaluations"), ("subset", "subsets")] {
                    // What learned from a corpus has no subset, and trainings of earlier builds have no evaluations.
                    if name != "training" && !folder.has_table(name) {
                        continue;
                    }
                    let frame = folder.read_table(name)?;
                    if name == "evaluations" && frame.height() == 0 {
                        continue;
                    }
                    let frame = self.with_labels(&frame, job)?;
                    kept.extend(self.store.write_table(&format!("{folder_name}/{}", file_name(job)), &frame, &self.run.formats)?);
                }
                continue;
            }
            let predictions = folder.read_table("predictions")?;
            let problem = self.problem(job);
            problem.predictions_schema().check(&predictions, &format!("job {}", job.id))?;
            let frame = self.with_labels(&predictions, job)?;
            kept.extend(self.store.write_table(&format!("predictions/{}", file_name(job)), &frame, &self.run.formats)?);
            for item in self.run.metrics.iter().filter(|item| item.metric.problems().contains(&problem)) {
                let rows = match self.score(item, &predictions) {
                    Ok(rows) => self.with_labels(&rows, job)?,
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(Error::Undefined(message)) => {
                        self.progress.warning(&format!("{}: {message}", job.cell));
                        outcome.warnings.push(message);
                        continue;
                    }
                    Err(error) => {
                        let message = error.to_string();
                        self.progress.warning(&format!("{}: {message}", job.cell));
                        "failed".clone_into(&mut outcome.status);
                        outcome.error = Some(outcome.error.take().map_or(message.clone(), |first| format!("{first}; {message}")));
                        continue;
                    }
                };
                scores = Some(match scores {
                    None => rows,
                    Some(all) => all.vstack(&rows)?,
                });
            }
        }
        for folder in TABLE_FOLDERS {
            self.store.keep_only(folder, &kept)?;
        }
        let mut scores = match scores {
            Some(scores) => scores,
            None => table::empty(&table::SCORES)?,
        };
        scores.rechunk_mut();
        table::SCORES.check(&scores, "the run")?;
        self.store.write_table("scores", &scores, &self.run.formats)?;
        Ok(scores)
    }

    /// What kind of answers the job's predictions are.
    fn problem(&self, job: &Job) -> Problem {
        match job.kind {
            JobKind::Baseline { task, .. } | JobKind::Probe { task, .. } => self.run.tasks[task].task.problem(),
            JobKind::Train { .. } => unreachable!("a training job has no predictions"),
        }
    }

    /// Percent of a task's training examples that were learned from.
    fn training_size(&self, job: &Job) -> Option<f64> {
        match job.kind {
            JobKind::Probe { adapt, .. } | JobKind::Train { adapt, .. } => Some(self.run.adapt[adapt].learned()?.share.training_size),
            JobKind::Baseline { .. } => None,
        }
    }

    /// What one metric says of one job's predictions.
    fn score(&self, item: &MetricItem, predictions: &DataFrame) -> Result<DataFrame> {
        let name = item.metric.name();
        let seed = Seed(self.run.seeds[0]).child("metric").child(&name);
        let cx = CallContext::new(seed, self.progress, self.cancel.clone());
        let origin = format!("metric `{name}`");
        let rows = check::contained(&origin, || item.metric.compute(predictions, &cx))?;
        table::METRIC_ROWS.check(&rows, &origin)?;
        if rows.height() == 0 {
            return Err(Error::Frame { origin, schema: table::METRIC_ROWS.name, message: "there is no row".into() });
        }
        labelled(rows, &name, &item.component.label)
    }

    /// The table with the columns that say which cell its rows belong to in front.
    fn with_labels(&self, frame: &DataFrame, job: &Job) -> Result<DataFrame> {
        let n = frame.height();
        let text = |name: &str, value: Option<&str>| Series::new(name.into(), vec![value; n]).into_column();
        let number = |name: &str, value: Option<u64>| Series::new(name.into(), vec![value; n]).into_column();
        let baseline = matches!(job.kind, JobKind::Baseline { .. });
        let mut columns: Vec<Column> = vec![
            text("run", Some(&self.run.name)),
            text("job_id", Some(&job.id.0)),
            text("encoder", job.cell.encoder.as_deref()),
            text("adapt", job.cell.adapt.as_deref()),
        ];
        columns.push(Series::new("training_size".into(), vec![self.training_size(job); n]).into_column());
        if !matches!(job.kind, JobKind::Train { .. }) {
            columns.push(text("task", job.cell.task.as_deref()));
            columns.push(text("prober", job.cell.prober.as_deref()));
            columns.push(Series::new("baseline".into(), vec![baseline; n]).into_column());
        }
        columns.push(number("seed", job.cell.seed));
        if !matches!(job.kind, JobKind::Train { .. }) {
            columns.push(number("limit", self.plan.limit));
        }
        columns.extend(frame.columns().iter().cloned());
        Ok(DataFrame::new(n, columns)?)
    }
}

/// Rows of a metric under the label that the run file gives it; what it calls otherwise than itself keeps its name.
fn labelled(mut rows: DataFrame, name: &str, label: &str) -> Result<DataFrame> {
    if label != name {
        let names = table::texts(&rows, "metric")?.into_iter().map(|found| Some(if found == name { label } else { found }));
        let names = table::text_column("metric", names);
        rows.replace("metric", names.into_column())?;
    }
    Ok(rows)
}

/// A readable file name that two jobs of a run never share.
fn file_name(job: &Job) -> String {
    let text = job.cell.to_string();
    let mut name = String::with_capacity(text.len());
    for character in text.chars() {
        let kept = if character.is_alphanumeric() || matches!(character, '-' | '_' | '+' | '.') { character } else { '-' };
        if kept != '-' || !name.ends_with('-') {
            name.push(kept);
        }
    }
    format!("{name}.{}", &job.id.0[..8])
}
