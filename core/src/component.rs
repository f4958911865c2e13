//! A run file, resolved: plugins built, defaults filled in.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::train::{TaskShare, TrainingParams};
use crate::{CellFilter, EncoderInfo, EncoderSource, Kind, LibraryOrigin, Metric, Needs, Objective, OutputFormat, Prober, Problem, Result, Task};

/// A plugin as one item of a run file uses it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Component {
    /// The kind of plugin.
    pub kind: Kind,
    /// The registered name.
    #[serde(rename = "use")]
    pub id: String,
    /// The plugin's code version; of a shared library the major version of the component.
    pub version: u32,
    /// The shared library it was loaded from; empty for a built-in plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<LibraryOrigin>,
    /// The version of the component in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_version: Option<String>,
    /// The name in the tables.
    pub label: String,
    /// All parameters, defaults included, paths absolute.
    pub params: Value,
    /// JSON pointers into `params` of the values that are paths.
    pub paths: Vec<(String, PathBuf)>,
}

impl Component {
    /// Everything about the component that can change a number: paths are replaced by the hash of what they hold.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn identity(&self, hashes: &mut dyn FnMut(&std::path::Path) -> Result<String>) -> Result<Value> {
        let mut params = self.params.clone();
        for (pointer, path) in &self.paths {
            if let Some(value) = params.pointer_mut(pointer) {
                *value = Value::String(format!("sha256:{}", hashes(path)?));
            }
        }
        let mut identity = json!({"kind": self.kind, "use": self.id, "version": self.version, "params": params});
        // Where the library lies and in which process it runs changes no number; its bytes do.
        if let Some(library) = &self.library {
            identity["library"] = Value::String(format!("sha256:{}", library.sha256));
        }
        Ok(identity)
    }
}

/// An encoder of a run.
#[derive(Clone)]
pub struct EncoderItem {
    /// How the run file names it.
    pub component: Component,
    /// The model, not loaded.
    pub source: Arc<dyn EncoderSource>,
}

impl EncoderItem {
    /// An encoder of a run. Parameters that the machine decides get the value they have here: runs that the same file describes on two machines share results only
    /// if both decide alike.
    pub fn new(mut component: Component, source: Arc<dyn EncoderSource>) -> Self {
        for (name, value) in source.decided() {
            component.params[name] = value;
        }
        Self { component, source }
    }
}

/// A training before probing.
#[derive(Clone)]
pub struct Adaptation {
    /// The label in the tables; `none` for the encoder as it is.
    pub label: String,
    /// The objective and its recipe; empty for `none`.
    pub recipe: Option<Recipe>,
}

impl Adaptation {
    /// The task that is learned from, if it is one.
    pub fn learned(&self) -> Option<&LearnedTask> {
        self.recipe.as_ref()?.learned.as_ref()
    }
}

/// How an encoder is trained.
#[derive(Clone)]
pub struct Recipe {
    /// How the run file names the objective.
    pub component: Component,
    /// The objective.
    pub objective: Arc<dyn Objective>,
    /// The training loop's parameters.
    pub params: TrainingParams,
    /// The share of a task that is learned from; empty for a corpus.
    pub learned: Option<LearnedTask>,
}

/// A share of a task of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedTask {
    /// Which of [`Resolved::tasks`].
    pub task: usize,
    /// How much of it.
    pub share: TaskShare,
}

/// A task of a run.
#[derive(Clone)]
pub struct TaskItem {
    /// How the run file names it.
    pub component: Component,
    /// The task.
    pub task: Arc<dyn Task>,
}

/// A prober of a run.
#[derive(Clone)]
pub struct ProberItem {
    /// How the run file names it.
    pub component: Component,
    /// The prober.
    pub prober: Arc<dyn Prober>,
}

/// A metric of a run.
#[derive(Clone)]
pub struct MetricItem {
    /// How the run file names it.
    pub component: Component,
    /// The metric.
    pub metric: Arc<dyn Metric>,
}

/// A run file with every plugin built and every default filled in.
#[derive(Clone)]
pub struct Resolved {
    /// The run's name.
    pub name: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The encoders.
    pub encoders: Vec<EncoderItem>,
    /// The adaptations.
    pub adapt: Vec<Adaptation>,
    /// The tasks.
    pub tasks: Vec<TaskItem>,
    /// The probers.
    pub probers: Vec<ProberItem>,
    /// Probers that ask no model, reported beside.
    pub baselines: Vec<ProberItem>,
    /// The metrics.
    pub metrics: Vec<MetricItem>,
    /// Cells to keep; all if empty.
    pub include: Vec<CellFilter>,
    /// Cells to leave out.
    pub exclude: Vec<CellFilter>,
    /// The shared libraries that were loaded, used or not.
    pub libraries: Vec<LibraryOrigin>,
    /// The run folder.
    pub folder: PathBuf,
    /// The formats of the result tables.
    pub formats: Vec<OutputFormat>,
    /// The run file as it was read, after overrides.
    pub document: Value,
}

/// Whether a prober can be asked about a task by an encoder that was adapted so. What it asks of the encoder itself is another matter: [`Needs::unmet`].
///
/// A prober that reads a task head wants one that was trained on this very task; a checkpoint that was not adapted may bring its own.
pub fn fits(needs: &Needs, task: (usize, Problem), adaptation: Option<&Adaptation>, encoder: Option<&EncoderInfo>) -> bool {
    let (index, problem) = task;
    if !needs.problems.contains(&problem) {
        return false;
    }
    if !needs.task_head {
        return true;
    }
    match adaptation.map(|adaptation| (&adaptation.recipe, adaptation.learned())) {
        Some((Some(_), learned)) => learned.is_some_and(|learned| learned.task == index),
        Some((None, _)) => encoder.and_then(|info| info.task_head.as_ref()).is_some_and(|head| head.problem == problem),
        None => false,
    }
}
