//! Metrics: numbers computed from predictions.

use polars::prelude::DataFrame;

use crate::{CallContext, Result};

/// A number about predictions. It knows nothing of where they came from.
pub trait Metric: Send + Sync {
    /// The name in the tables, `acc@10`.
    fn name(&self) -> String;

    /// Computes [`crate::table::METRIC_ROWS`] from [`crate::table::PREDICTIONS`].
    ///
    /// # Errors
    /// If the predictions lack a column.
    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame>;
}
