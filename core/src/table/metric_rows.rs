//! What a metric computed, row by row.

use polars::prelude::{DataFrame, NamedFrom, Series};

use super::columns::{frame_of, text_column};
use crate::Result;

/// Collects rows of [`METRIC_ROWS`](super::METRIC_ROWS).
#[derive(Debug, Default)]
pub struct MetricRows {
    rows: Vec<MetricRow>,
}

/// A row of [`METRIC_ROWS`](super::METRIC_ROWS).
#[derive(Debug, Clone)]
pub struct MetricRow {
    /// Name of the metric.
    pub metric: String,
    /// `micro`, `macro`, `relation` or `label`.
    pub aggregate: &'static str,
    /// The relation of a `relation` row, the label of a `label` row.
    pub relation: Option<String>,
    /// The number.
    pub value: f64,
    /// The 95 % interval and how it was made.
    pub interval: crate::statistics::Interval,
    /// What the value is a mean of.
    pub n: u64,
    /// Unit of the value.
    pub unit: &'static str,
    /// Direction.
    pub higher_is_better: bool,
}

impl MetricRows {
    /// Appends a row.
    pub fn push(&mut self, row: MetricRow) {
        self.rows.push(row);
    }

    /// The rows as a table.
    ///
    /// # Errors
    /// If the table library refuses the columns.
    pub fn into_frame(self) -> Result<DataFrame> {
        let rows = &self.rows;
        let columns = vec![
            text_column("metric", rows.iter().map(|row| Some(row.metric.as_str()))),
            text_column("aggregate", rows.iter().map(|row| Some(row.aggregate))),
            text_column("relation", rows.iter().map(|row| row.relation.as_deref())),
            Series::new("value".into(), rows.iter().map(|row| row.value).collect::<Vec<_>>()),
            Series::new("ci_low".into(), rows.iter().map(|row| row.interval.low).collect::<Vec<_>>()),
            Series::new("ci_high".into(), rows.iter().map(|row| row.interval.high).collect::<Vec<_>>()),
            text_column("ci_method", rows.iter().map(|row| Some(row.interval.method))),
            Series::new("n".into(), rows.iter().map(|row| row.n).collect::<Vec<_>>()),
            text_column("unit", rows.iter().map(|row| Some(row.unit))),
            Series::new("higher_is_better".into(), rows.iter().map(|row| row.higher_is_better).collect::<Vec<_>>()),
        ];
        frame_of(columns)
    }
}
