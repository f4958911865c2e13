//! Metrics: numbers computed from predictions.

use polars::prelude::DataFrame;

use crate::{CallContext, Problem, Result};

/// A number about predictions. It knows nothing of where they came from.
pub trait Metric: Send + Sync {
    /// The name in the tables, `acc@10`.
    fn name(&self) -> String;

    /// What kinds of answers it can score; predictions of other tasks are not given to it.
    fn problems(&self) -> &'static [Problem] {
        &[Problem::Cloze]
    }

    /// Computes [`crate::table::METRIC_ROWS`] from predictions, [`Problem::predictions_schema`].
    ///
    /// # Errors
    /// If the predictions lack a column.
    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame>;
}
