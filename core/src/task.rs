//! Tasks: examples and their gold answers.

use polars::prelude::DataFrame;

use crate::{CallContext, Result};

/// What is asked. It knows nothing of models.
pub trait Task: Send + Sync {
    /// The examples, their gold and the candidates.
    ///
    /// # Errors
    /// If a file is missing or malformed; the error names file and line.
    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples>;

    /// The metrics a run reports when it names none, as written in a run file.
    fn default_metrics(&self) -> Vec<String>;
}

/// What a task gives to a prober.
#[derive(Debug, Clone)]
pub struct Examples {
    /// One row an example, [`crate::table::EXAMPLES`].
    pub examples: DataFrame,
    /// One row a candidate of a pool, [`crate::table::CANDIDATES`].
    pub candidates: DataFrame,
}
