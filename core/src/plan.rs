//! The plan: which jobs a run consists of, and what each one's identity is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Component, EncoderItem, Error, Recipe, Resolved, Result, fits, hash_files, hash_json, hash_path};

/// Identity of a job: a hash of everything that can change its numbers. Same id, same numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub String);

impl std::fmt::Display for JobId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a job does. Numbers index the lists of the resolved run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Asks a baseline, which needs no model.
    Baseline {
        /// The task.
        task: usize,
        /// The baseline.
        baseline: usize,
    },
    /// Trains an encoder and leaves a checkpoint.
    Train {
        /// The encoder.
        encoder: usize,
        /// The adaptation.
        adapt: usize,
    },
    /// Asks an encoder, adapted or not.
    Probe {
        /// The encoder.
        encoder: usize,
        /// The adaptation.
        adapt: usize,
        /// The task.
        task: usize,
        /// The prober.
        prober: usize,
    },
}

/// A unit of work that is done once, whole, or not at all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// What it does.
    #[serde(flatten)]
    pub kind: JobKind,
    /// The seed, if its numbers depend on one.
    pub seed: Option<u64>,
    /// The labels of the tables.
    pub cell: Cell,
    /// The training job whose checkpoint it uses.
    pub after: Option<JobId>,
    /// Everything the identity was made of.
    pub identity: Value,
}

/// The labels of a cell of the matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The encoder; empty for a baseline.
    pub encoder: Option<String>,
    /// The adaptation; empty for a baseline.
    pub adapt: Option<String>,
    /// The task; empty for a training job.
    pub task: Option<String>,
    /// The prober or baseline; empty for a training job.
    pub prober: Option<String>,
    /// The seed; empty if the numbers do not depend on one.
    pub seed: Option<u64>,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let adapt = self.adapt.as_deref().filter(|adapt| *adapt != "none").map(|adapt| format!("+{adapt}"));
        let encoder = self.encoder.as_ref().map(|encoder| format!("{encoder}{}", adapt.unwrap_or_default()));
        let seed = self.seed.map(|seed| format!("seed {seed}"));
        let parts = [encoder, self.task.clone(), self.prober.clone(), seed];
        formatter.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" / "))
    }
}

/// Labels that choose cells of the matrix; what is not named matches everything.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellFilter {
    /// Label of an encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Label of an adaptation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<String>,
    /// Label of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Label of a prober.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prober: Option<String>,
    /// A seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl CellFilter {
    fn matches(&self, encoder: &str, adapt: &str, task: &str, prober: &str, seed: u64) -> bool {
        let is = |wanted: &Option<String>, label: &str| wanted.as_deref().is_none_or(|wanted| wanted == label);
        is(&self.encoder, encoder)
            && is(&self.adapt, adapt)
            && is(&self.task, task)
            && is(&self.prober, prober)
            && self.seed.is_none_or(|wanted| wanted == seed)
    }
}

/// The format of a result table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    /// Apache Parquet.
    Parquet,
    /// CSV; lists are joined by ` || `.
    Csv,
    /// Arrow IPC (Feather).
    Ipc,
}

/// What changes a plan besides the run file.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanRequest {
    /// At most this many questions a relation, or examples of a task without relations: for testing, marked in every table.
    pub limit: Option<u64>,
}

/// All jobs of a run, each after those it needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The run's name.
    pub name: String,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Questions a relation at most.
    pub limit: Option<u64>,
    /// Content hash of every file and folder the run reads.
    pub inputs: BTreeMap<PathBuf, String>,
}

impl Plan {
    /// Expands the matrix of a resolved run.
    ///
    /// Cells whose numbers do not depend on the seed appear once, whatever the number of seeds.
    ///
    /// # Errors
    /// If an input cannot be read, or if the filters leave no cell.
    pub fn new(run: &Resolved, request: PlanRequest) -> Result<Self> {
        let mut builder = Builder { run, limit: request.limit, inputs: BTreeMap::new(), jobs: Vec::new() };
        for task in 0..run.tasks.len() {
            let problem = run.tasks[task].task.problem();
            for (baseline, item) in run.baselines.iter().enumerate().filter(|(_, item)| item.prober.needs().problems.contains(&problem)) {
                if item.prober.needs().randomness {
                    for &seed in &run.seeds {
                        builder.baseline(task, baseline, Some(seed))?;
                    }
                } else {
                    builder.baseline(task, baseline, None)?;
                }
            }
        }
        for encoder in 0..run.encoders.len() {
            for adapt in 0..run.adapt.len() {
                for &seed in &run.seeds {
                    builder.cells(encoder, adapt, seed)?;
                }
            }
        }
        if !builder.jobs.iter().any(|job| matches!(job.kind, JobKind::Probe { .. })) && !run.probers.is_empty() {
            return Err(Error::Config("no cell is left to probe: `include` and `exclude` leave none, or no prober can ask about any task".into()));
        }
        Ok(Self { name: run.name.clone(), jobs: builder.jobs, limit: request.limit, inputs: builder.inputs })
    }
}

struct Builder<'a> {
    run: &'a Resolved,
    limit: Option<u64>,
    inputs: BTreeMap<PathBuf, String>,
    jobs: Vec<Job>,
}

impl Builder<'_> {
    fn identity(&mut self, component: &Component) -> Result<Value> {
        let inputs = &mut self.inputs;
        component.identity(&mut |path: &Path| {
            if let Some(hash) = inputs.get(path) {
                return Ok(hash.clone());
            }
            let hash = hash_path(path)?;
            inputs.insert(path.to_owned(), hash.clone());
            Ok(hash)
        })
    }

    /// As [`Self::identity`], but of the model only the files that are read count: a README beside them changes no number.
    fn encoder_identity(&mut self, item: &EncoderItem) -> Result<Value> {
        let report = item.source.report();
        if !report.files.is_empty() && !self.inputs.contains_key(&report.folder) {
            self.inputs.insert(report.folder.clone(), hash_files(&report.files)?);
        }
        self.identity(&item.component)
    }

    fn push(&mut self, kind: JobKind, cell: Cell, after: Option<JobId>, identity: Value) -> JobId {
        let id = JobId(hash_json(&identity)[..16].to_owned());
        if !self.jobs.iter().any(|job| job.id == id && job.cell == cell) {
            self.jobs.push(Job { id: id.clone(), kind, seed: cell.seed, cell, after, identity });
        }
        id
    }

    fn baseline(&mut self, task: usize, baseline: usize, seed: Option<u64>) -> Result<()> {
        let (task_item, item) = (&self.run.tasks[task], &self.run.baselines[baseline]);
        let cell = Cell { task: Some(task_item.component.label.clone()), prober: Some(item.component.label.clone()), seed, ..Cell::default() };
        let identity = json!({
            "job": "probe", "task": self.identity(&task_item.component)?, "prober": self.identity(&item.component)?,
            "seed": seed, "limit": self.limit,
        });
        self.push(JobKind::Baseline { task, baseline }, cell, None, identity);
        Ok(())
    }

    fn cells(&mut self, encoder: usize, adapt: usize, seed: u64) -> Result<()> {
        let run = self.run;
        let (encoder_item, adaptation) = (&run.encoders[encoder], &run.adapt[adapt]);
        let mut chosen = Vec::new();
        for (task, task_item) in run.tasks.iter().enumerate() {
            for (prober, prober_item) in run.probers.iter().enumerate() {
                let matches = |filter: &CellFilter| {
                    filter.matches(&encoder_item.component.label, &adaptation.label, &task_item.component.label, &prober_item.component.label, seed)
                };
                let asked = (task, task_item.task.problem());
                if !fits(&prober_item.prober.needs(), asked, Some(adaptation), Some(encoder_item.source.info())) {
                    continue;
                }
                if (run.include.is_empty() || run.include.iter().any(matches)) && !run.exclude.iter().any(matches) {
                    chosen.push((task, prober));
                }
            }
        }
        // A run without tasks or probers trains: its product is the checkpoint.
        let training_only = run.tasks.is_empty() || run.probers.is_empty();
        if chosen.is_empty() && !training_only {
            return Ok(());
        }
        let encoder_identity = self.encoder_identity(encoder_item)?;
        let label = Some(encoder_item.component.label.clone());
        let random_init = encoder_item.source.info().random_init;
        let trained = match &adaptation.recipe {
            None => None,
            Some(recipe) => Some(self.training(encoder, adapt, recipe, &encoder_identity, seed)?),
        };
        for (task, prober) in chosen {
            let (task_item, prober_item) = (&run.tasks[task], &run.probers[prober]);
            let seeded = trained.is_some() || random_init || prober_item.prober.needs().randomness;
            let cell = Cell {
                encoder: label.clone(),
                adapt: Some(adaptation.label.clone()),
                task: Some(task_item.component.label.clone()),
                prober: Some(prober_item.component.label.clone()),
                seed: seeded.then_some(seed),
            };
            let identity = json!({
                "job": "probe", "encoder": encoder_identity, "training": trained, "task": self.identity(&task_item.component)?,
                "prober": self.identity(&prober_item.component)?, "seed": cell.seed, "limit": self.limit,
            });
            self.push(JobKind::Probe { encoder, adapt, task, prober }, cell, trained.clone(), identity);
        }
        Ok(())
    }

    fn training(&mut self, encoder: usize, adapt: usize, recipe: &Recipe, encoder_identity: &Value, seed: u64) -> Result<JobId> {
        let mut objective = self.identity(&recipe.component)?;
        if let Some(params) = objective.pointer_mut("/params").and_then(Value::as_object_mut) {
            // How often a checkpoint is written changes no number, and a task counts by what it holds.
            params.remove("checkpoint_every");
            params.remove("task");
        }
        let mut identity = json!({"job": "train", "encoder": encoder_identity, "objective": objective, "seed": seed});
        if let Some(learned) = &recipe.learned {
            identity["task"] = self.identity(&self.run.tasks[learned.task].component)?;
        }
        let cell = Cell {
            encoder: Some(self.run.encoders[encoder].component.label.clone()),
            adapt: Some(self.run.adapt[adapt].label.clone()),
            seed: Some(seed),
            ..Cell::default()
        };
        Ok(self.push(JobKind::Train { encoder, adapt }, cell, None, identity))
    }
}
