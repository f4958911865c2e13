//! Executes a plan: jobs to frames, frames to scores.

mod results;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use polars::prelude::DataFrame;

use crate::manifest::{self, JobRecord, Manifest, ManifestJob};
use crate::train::{Outcome, Signal, TrainingJob, remove_states, share_of, train};
use crate::{
    CallContext, Cancel, Encoder, EncoderSource, Error, Examples, Job, JobId, JobKind, Plan, ProberItem, Problem, Progress, Resolved, Result, RunOptions,
    RunSummary, Seed, Store, TaskItem, check, table,
};

/// Conventions that every number of this program follows.
const CONVENTIONS: &[&str] = &[
    "layers: 0 is the embedding output, the last number is the last block",
    "ranks: candidates of equal score are ranked in ascending byte order of their names",
    "probabilities, accuracies and reciprocal ranks are fractions in [0, 1]",
    "log-probabilities are in nats",
];

/// Runs every job of the plan that is not finished, then scores all predictions and writes the tables and the manifest.
///
/// A job that fails does not stop the others. When a stop is requested the state is kept and [`Error::Cancelled`] returned.
///
/// # Errors
/// If the store cannot be written or the run was cancelled.
pub fn run(run: &Resolved, plan: &Plan, store: &Store, options: &RunOptions, progress: &dyn Progress, cancel: &Cancel) -> Result<RunSummary> {
    let clock = Instant::now();
    let started_unix_s = manifest::now_unix_s();
    let mut executor = Executor { run, plan, store, progress, cancel, loaded: None, examples: HashMap::new(), failed: HashMap::new(), jobs: Vec::new() };
    let mut stopped = None;
    for (index, job) in plan.jobs.iter().enumerate() {
        if let Err(error) = executor.job(index, job) {
            stopped = Some(error);
            break;
        }
    }
    let mut jobs = std::mem::take(&mut executor.jobs);
    let record = |jobs: &[ManifestJob]| {
        store.write_json(
            "manifest.json",
            &Manifest {
                name: run.name.clone(),
                version: options.version.clone(),
                command: options.command.clone(),
                started_unix_s,
                wall_s: clock.elapsed().as_secs_f64(),
                cpu_s: manifest::cpu_s(),
                peak_memory_bytes: manifest::peak_memory_bytes(),
                platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
                cpu_features: manifest::cpu_features(),
                threads: options.threads,
                seeds: run.seeds.clone(),
                limit: plan.limit,
                inputs: plan.inputs.clone(),
                run_file: run.document.clone(),
                resolved: resolved_json(run),
                conventions: CONVENTIONS.iter().map(|line| (*line).to_owned()).collect(),
                jobs: jobs.to_vec(),
            },
        )
    };
    if let Some(error) = stopped {
        record(&jobs)?;
        return Err(error);
    }
    let scores = executor.collect(&mut jobs)?;
    record(&jobs)?;
    Ok(RunSummary {
        scores,
        done: jobs.iter().filter(|job| job.status == "done").count(),
        reused: jobs.iter().filter(|job| job.status == "reused").count(),
        failed: jobs.iter().filter_map(|job| job.error.clone().map(|error| (job.cell.to_string(), error))).collect(),
    })
}

/// Every component of a run with its complete parameters.
fn resolved_json(run: &Resolved) -> serde_json::Value {
    serde_json::json!({
        "name": run.name,
        "seeds": run.seeds,
        "plugins": run.libraries,
        "encoders": run.encoders.iter().map(|item| serde_json::json!({"component": item.component, "info": item.source.info()})).collect::<Vec<_>>(),
        "adapt": run.adapt.iter().map(|adapt| adapt.recipe.as_ref().map(|recipe| &recipe.component)).collect::<Vec<_>>(),
        "tasks": run.tasks.iter().map(|item| &item.component).collect::<Vec<_>>(),
        "probers": run.probers.iter().map(|item| &item.component).collect::<Vec<_>>(),
        "baselines": run.baselines.iter().map(|item| &item.component).collect::<Vec<_>>(),
        "metrics": run.metrics.iter().map(|item| &item.component).collect::<Vec<_>>(),
    })
}

struct Executor<'a> {
    run: &'a Resolved,
    plan: &'a Plan,
    store: &'a Store,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// The encoder used last: neighbouring jobs share it.
    loaded: Option<(PathBuf, u64, Box<dyn Encoder>)>,
    examples: HashMap<usize, Arc<Examples>>,
    failed: HashMap<JobId, String>,
    jobs: Vec<ManifestJob>,
}

impl Executor<'_> {
    /// Runs one job. Only a stop and a store that cannot be written end the run.
    fn job(&mut self, index: usize, job: &Job) -> Result<()> {
        let label = job.cell.to_string();
        self.progress.job_started(index, self.plan.jobs.len(), &label);
        let folder = self.store.job(&job.id);
        if let Some(record) = folder.record::<JobRecord>()? {
            // A process that was killed behind the record has left them.
            remove_states(folder.checkpoints())?;
            self.progress.job_finished(index, &label, None, true);
            self.note(job, "reused", Some(record.wall_s), None, record.warnings);
            return Ok(());
        }
        if self.cancel.is_requested() {
            return Err(Error::Cancelled);
        }
        let clock = Instant::now();
        let seed = Seed(job.seed.unwrap_or(0));
        let cx = CallContext::new(seed, self.progress, self.cancel.clone());
        let result = match job.after.as_ref().and_then(|after| self.failed.get(after)) {
            Some(error) => Err(Error::Unsupported(format!("the training it builds on failed: {error}"))),
            None => self.execute(job, &cx),
        };
        match result {
            Ok(()) => {
                let wall_s = clock.elapsed().as_secs_f64();
                folder.finish(&JobRecord {
                    id: job.id.clone(),
                    cell: job.cell.clone(),
                    identity: job.identity.clone(),
                    wall_s,
                    warnings: cx.warnings(),
                    inputs: cx.inputs(),
                })?;
                remove_states(folder.checkpoints())?;
                self.progress.job_finished(index, &label, None, false);
                self.note(job, "done", Some(wall_s), None, cx.warnings());
                Ok(())
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => {
                let message = error.to_string();
                self.progress.job_finished(index, &label, Some(&message), false);
                self.failed.insert(job.id.clone(), message.clone());
                self.note(job, "failed", None, Some(message), cx.warnings());
                Ok(())
            }
        }
    }

    fn note(&mut self, job: &Job, status: &str, wall_s: Option<f64>, error: Option<String>, warnings: Vec<String>) {
        self.jobs.push(ManifestJob { id: job.id.clone(), cell: job.cell.clone(), status: status.to_owned(), wall_s, error, warnings });
    }

    fn execute(&mut self, job: &Job, cx: &CallContext<'_>) -> Result<()> {
        match job.kind {
            JobKind::Baseline { task, baseline } => {
                let item = self.run.baselines[baseline].clone();
                self.probe(job, task, &item, &[], cx)
            }
            JobKind::Train { encoder, adapt } => {
                self.loaded = None;
                self.train(job, encoder, adapt, cx)
            }
            JobKind::Probe { encoder, task, prober, .. } => {
                let run = self.run;
                let item = run.probers[prober].clone();
                let (key, source) = match &job.after {
                    None => (PathBuf::from(format!("encoder-{encoder}")), None),
                    Some(trained) => {
                        let folder = self.store.job(trained).checkpoints().join("final");
                        let source = run.encoders[encoder].source.at(&folder)?;
                        (folder, Some(source))
                    }
                };
                let source: &dyn EncoderSource = source.as_deref().unwrap_or(run.encoders[encoder].source.as_ref());
                let loaded = match self.loaded.take() {
                    Some((path, seed, loaded)) if path == key && seed == cx.seed.0 => loaded,
                    _ => check::contained(&format!("encoder `{}`", job.cell), || source.load_for_inference(cx.seed.child("init")))?,
                };
                for warning in &loaded.info().warnings {
                    cx.warn(warning);
                }
                let result = self.probe(job, task, &item, &[loaded.as_ref()], cx);
                self.loaded = Some((key, cx.seed.0, loaded));
                result
            }
        }
    }

    fn train(&mut self, job: &Job, encoder: usize, adapt: usize, cx: &CallContext<'_>) -> Result<()> {
        let run = self.run;
        let recipe = run.adapt[adapt].recipe.as_ref().expect("a training job has a recipe");
        let folder = self.store.job(&job.id);
        let share = match &recipe.learned {
            None => None,
            Some(learned) => {
                let examples = self.examples(learned.task, cx)?;
                // The seed of the run alone decides the order of a task's examples, so that smaller shares lie within larger ones.
                let seed = cx.seed.child("subset");
                Some(share_of(&examples, &learned.share, recipe.objective.needs_dev(), seed)?)
            }
        };
        if let Some(share) = &share {
            for note in &share.notes {
                cx.warn(note);
            }
            folder.write_table("subset", &share.table)?;
        }
        let signal = share.as_ref().map_or(Signal::Corpus, |share| Signal::Task(&share.examples));
        let Outcome { training, evaluations } = check::contained(&format!("training `{}`", job.cell), || {
            let encoder = run.encoders[encoder].source.load(cx.seed.child("init"))?;
            let job =
                TrainingJob { encoder: encoder.as_ref(), objective: recipe.objective.as_ref(), signal, params: &recipe.params, folder: folder.checkpoints() };
            train(&job, cx)
        })?;
        table::TRAINING.check(&training, "the training loop")?;
        table::EVALUATIONS.check(&evaluations, "the training loop")?;
        folder.write_table("evaluations", &evaluations)?;
        folder.write_table("training", &training)
    }

    fn probe(&mut self, job: &Job, task: usize, item: &ProberItem, encoders: &[&dyn Encoder], cx: &CallContext<'_>) -> Result<()> {
        let examples = self.asked(task, cx)?;
        let origin = format!("prober `{}`", item.component.id);
        let predictions = check::contained(&origin, || item.prober.probe(encoders, &examples, cx))?;
        check::predictions(&predictions, &examples, &origin)?;
        self.store.job(&job.id).write_table("predictions", &predictions)
    }

    /// What is asked under the limit of the plan. A training sees all that will ever be asked: its identity knows no limit.
    fn asked(&mut self, task: usize, cx: &CallContext<'_>) -> Result<Arc<Examples>> {
        let examples = self.examples(task, cx)?;
        let Some(limit) = self.plan.limit else { return Ok(examples) };
        let asked = match examples.problem {
            Problem::Cloze => first_of_each_relation(&examples.examples, limit)?,
            _ => examples.examples.head(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
        };
        Ok(Arc::new(Examples { examples: asked, ..examples.as_ref().clone() }))
    }

    fn examples(&mut self, task: usize, cx: &CallContext<'_>) -> Result<Arc<Examples>> {
        if let Some(examples) = self.examples.get(&task) {
            return Ok(examples.clone());
        }
        let TaskItem { component, task: plugin } = &self.run.tasks[task];
        let origin = format!("task `{}`", component.id);
        let examples = check::contained(&origin, || plugin.examples(cx))?;
        check::examples(&examples, &origin)?;
        for note in &examples.notes {
            cx.warn(note);
        }
        let examples = Arc::new(examples);
        self.examples.insert(task, examples.clone());
        Ok(examples)
    }
}

fn first_of_each_relation(examples: &DataFrame, limit: u64) -> Result<DataFrame> {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let mut rows = Vec::new();
    for (row, relation) in table::texts(examples, "relation")?.into_iter().enumerate() {
        let count = seen.entry(relation).or_default();
        *count += 1;
        if *count <= limit {
            rows.push(row);
        }
    }
    table::rows(examples, &rows)
}
