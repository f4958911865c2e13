//! How a plugin makes itself known.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{EncoderSource, Metric, Objective, Prober, Problem, Result, Task};

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

/// Builds a plugin from its parameters, which are complete: the host filled in the defaults and checked the schema.
pub type Constructor<T> = &'static (dyn Fn(Value, &BuildContext) -> Result<Arc<T>> + Send + Sync);

/// Makes a JSON value that describes a plugin.
pub type Describe = &'static (dyn Fn() -> Value + Send + Sync);

/// The defaults of a task's recipe, given what the user wrote and the problem of the task, if they are known: a preset may depend on both.
pub type Preset = &'static (dyn Fn(&Map<String, Value>, Option<Problem>) -> Result<Map<String, Value>> + Send + Sync);

/// What an objective learns from, and the defaults of its recipe.
#[derive(Clone, Copy)]
pub enum RecipeDefaults {
    /// Text files; the values, a JSON object, replace those of [`crate::train::TrainingParams`].
    Corpus(Describe),
    /// A task; the values replace those of [`crate::train::TrainingParams`], of [`crate::train::TaskShare`] and of the objective's own parameters.
    Task(Preset),
}

/// The constructor of a plugin, by kind.
#[derive(Clone, Copy)]
pub enum Build {
    /// Builds an encoder's source: configuration and header are read, weights are not.
    Encoder(Constructor<dyn EncoderSource>),
    /// Builds an objective.
    Objective(Constructor<dyn Objective>),
    /// Builds a task; its files are read later.
    Task(Constructor<dyn Task>),
    /// Builds a prober.
    Prober(Constructor<dyn Prober>),
    /// Builds a metric.
    Metric(Constructor<dyn Metric>),
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

/// Where a plugin comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// It is linked into the program.
    Builtin {
        /// The source file, `file!()`.
        file: &'static str,
        /// The line in it, `line!()`.
        line: u32,
    },
    /// It was loaded from a shared library.
    Library {
        /// The library.
        library: LibraryOrigin,
        /// The component's version.
        component_version: String,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin { file, line } => write!(formatter, "{file}:{line}"),
            Self::Library { library, .. } => write!(formatter, "{}", library.path.display()),
        }
    }
}

/// The shared library a plugin was loaded from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryOrigin {
    /// The vendor of the library's components.
    pub name: String,
    /// The library's own version.
    pub version: String,
    /// Version of the plugin interface it was built against, `1.0`.
    pub abi: String,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether the run file or the command line named that SHA-256.
    pub pinned: bool,
    /// Whether it runs in this process or in one of its own.
    pub isolation: Isolation,
}

/// Where the code of a shared library runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In this process: fast, and a crash of the plugin is one of the program.
    #[default]
    InProcess,
    /// In a process of its own: a crash or an endless loop fails a job and nothing else.
    Process,
}

/// What a plugin says of itself. Submitted with [`inventory::submit!`] in the plugin's own file, or made by whoever loads a shared library.
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
    pub schema: Describe,
    /// `model_type` values of `config.json` that this encoder reads; empty for other kinds.
    pub families: &'static [&'static str],
    /// For an objective: what it learns from, and where its recipe departs from the general defaults. Empty for a corpus and no departure.
    pub recipe: Option<RecipeDefaults>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Registration {
    /// The kind of the plugin.
    pub fn kind(&self) -> Kind {
        self.build.kind()
    }
}

inventory::collect!(Registration);
