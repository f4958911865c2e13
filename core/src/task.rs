//! Tasks: examples and their gold answers.

use polars::prelude::DataFrame;

use crate::{CallContext, Problem, Result, table};

/// What is asked. It knows nothing of models.
pub trait Task: Send + Sync {
    /// What kind of answer is asked for; known before any file is read.
    fn problem(&self) -> Problem {
        Problem::Cloze
    }

    /// Whether there are examples to learn from, as far as that is known before any file is read.
    fn has_training_split(&self) -> bool {
        true
    }

    /// The examples, their gold and the candidates.
    ///
    /// # Errors
    /// If a file is missing or malformed; the error names file and line.
    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples>;

    /// The metrics a run reports when it names none, as written in a run file.
    fn default_metrics(&self) -> Vec<String>;
}

/// What a task gives: what is asked, and what can be learned from.
#[derive(Debug, Clone)]
pub struct Examples {
    /// What kind of answer is asked for.
    pub problem: Problem,
    /// What is asked, one row an example: [`Problem::examples_schema`]. Of a task with splits this is the test split.
    pub examples: DataFrame,
    /// One row a candidate of a pool, [`crate::table::CANDIDATES`]; no row but for a cloze.
    pub candidates: DataFrame,
    /// What can be learned from, in the schema of the examples; no row if the task has no such split.
    pub train: DataFrame,
    /// What recipes are chosen by, in the schema of the examples; no row if the task has no such split.
    pub dev: DataFrame,
    /// The labels of a classification in the order of a model's outputs, a declared list or that of all splits; empty where labels make no sense.
    pub labels: Vec<String>,
    /// The label that says that nothing is there, such as `O` or `false`.
    pub negative: Option<String>,
    /// What was left out or changed while reading, for the record: nothing is dropped in silence.
    pub notes: Vec<String>,
}

impl Examples {
    /// Questions with candidates, and nothing to learn from.
    ///
    /// # Errors
    /// If the table library refuses the empty tables.
    pub fn cloze(examples: DataFrame, candidates: DataFrame) -> Result<Self> {
        let nothing = table::empty(&table::EXAMPLES)?;
        let (train, dev) = (nothing.clone(), nothing);
        Ok(Self { problem: Problem::Cloze, examples, candidates, train, dev, labels: Vec::new(), negative: None, notes: Vec::new() })
    }

    /// Labelled examples in three splits, any of which may have no row.
    ///
    /// # Errors
    /// If the table library refuses the empty table of candidates.
    pub fn labelled(problem: Problem, splits: Splits, labels: Vec<String>) -> Result<Self> {
        let Splits { train, dev, test } = splits;
        let candidates = table::empty(&table::CANDIDATES)?;
        Ok(Self { problem, examples: test, candidates, train, dev, labels, negative: None, notes: Vec::new() })
    }
}

/// The splits of a task.
#[derive(Debug, Clone)]
pub struct Splits {
    /// What can be learned from.
    pub train: DataFrame,
    /// What recipes are chosen by.
    pub dev: DataFrame,
    /// What is asked.
    pub test: DataFrame,
}
