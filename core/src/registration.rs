//! How a plugin makes itself known.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EncoderSource, Metric, Objective, Prober, Result, Task};

/// The five kinds of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A language model.
    Encoder,
    /// A training signal.
    Objective,
    /// A set of questions.
    Task,
    /// A way of asking.
    Prober,
    /// A number about answers.
    Metric,
}

impl Kind {
    /// All kinds, in the order of a run.
    pub const ALL: [Self; 5] = [Self::Encoder, Self::Objective, Self::Task, Self::Prober, Self::Metric];

    /// The word in messages, `prober`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Objective => "objective",
            Self::Task => "task",
            Self::Prober => "prober",
            Self::Metric => "metric",
        }
    }

    /// The word in lists and in the run file, `probers`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Encoder => "encoders",
            Self::Objective => "objectives",
            Self::Task => "tasks",
            Self::Prober => "probers",
            Self::Metric => "metrics",
        }
    }
}

/// What a plugin may use while it is built.
#[derive(Debug, Clone, Default)]
pub struct BuildContext {
    /// The folder that relative paths are relative to. Paths among the parameters are already absolute.
    pub base: PathBuf,
}

/// The constructor of a plugin, by kind. Parameters are complete: the host filled in the defaults and checked the schema.
#[derive(Clone, Copy)]
pub enum Build {
    /// Builds an encoder's source: configuration and header are read, weights are not.
    Encoder(fn(Value, &BuildContext) -> Result<Arc<dyn EncoderSource>>),
    /// Builds an objective.
    Objective(fn(Value, &BuildContext) -> Result<Arc<dyn Objective>>),
    /// Builds a task; its files are read later.
    Task(fn(Value, &BuildContext) -> Result<Arc<dyn Task>>),
    /// Builds a prober.
    Prober(fn(Value, &BuildContext) -> Result<Arc<dyn Prober>>),
    /// Builds a metric.
    Metric(fn(Value, &BuildContext) -> Result<Arc<dyn Metric>>),
}

impl Build {
    /// The kind of what is built.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Encoder(_) => Kind::Encoder,
            Self::Objective(_) => Kind::Objective,
            Self::Task(_) => Kind::Task,
            Self::Prober(_) => Kind::Prober,
            Self::Metric(_) => Kind::Metric,
        }
    }
}

/// What a plugin says of itself. Submitted with [`inventory::submit!`] in the plugin's own file.
pub struct Registration {
    /// The name in the run file; the file name in kebab-case.
    pub id: &'static str,
    /// Raised when the same parameters give other numbers; part of every job's identity.
    pub version: u32,
    /// The constructor.
    pub build: Build,
    /// One line, for lists.
    pub summary: &'static str,
    /// The manual: *What it does / How / Example / Reference*, in Markdown.
    pub manual: &'static str,
    /// JSON Schema of the parameters.
    pub schema: fn() -> Value,
    /// `model_type` values of `config.json` that this encoder reads; empty for other kinds.
    pub families: &'static [&'static str],
    /// For an objective: where its recipe departs from [`crate::train::TrainingParams`]'s defaults, as a JSON object.
    pub recipe: Option<fn() -> Value>,
    /// The source file, `file!()`.
    pub file: &'static str,
    /// The line in it, `line!()`.
    pub line: u32,
}

impl Registration {
    /// The kind of the plugin.
    pub fn kind(&self) -> Kind {
        self.build.kind()
    }
}

inventory::collect!(Registration);
