//! Metrics: numbers computed from predictions.

use crate::{Call, Column, Component, Predictions, Result, Table};

/// A number about predictions. It knows nothing of where they came from.
pub trait Metric: Component {
    /// The name in the tables, `acc@10`.
    fn name(&self) -> String;

    /// Computes the rows, which [`MetricRows`] collects.
    ///
    /// # Errors
    /// If the predictions cannot be scored.
    fn compute(&self, predictions: &Predictions, call: &Call<'_>) -> Result<Table>;
}

/// Collects the rows of a metric.
#[derive(Debug, Clone, Default)]
pub struct MetricRows {
    rows: Vec<MetricRow>,
}

/// A number about predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRow {
    /// Name of the metric.
    pub metric: String,
    /// What the number is about.
    pub aggregate: Aggregate,
    /// The number; proportions are fractions in [0, 1]. It must not be NaN.
    pub value: f64,
    /// The 95 % interval, its ends and how it was made, `wilson`.
    pub interval: Interval,
    /// Questions (micro, relation) or relations (macro) the value is a mean of.
    pub n: usize,
    /// Unit of the value, `fraction`.
    pub unit: &'static str,
    /// Direction.
    pub higher_is_better: bool,
}

/// What a number of a metric is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aggregate {
    /// All questions.
    Micro,
    /// The mean over relations.
    Macro,
    /// One relation.
    Relation(String),
}

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How it was made.
    pub method: &'static str,
}

impl MetricRows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a row.
    pub fn push(&mut self, row: MetricRow) {
        self.rows.push(row);
    }

    /// The rows as a table.
    ///
    /// # Errors
    /// If a number of questions does not fit the table.
    pub fn into_table(self) -> Result<Table> {
        let rows = &self.rows;
        let aggregate = |row: &MetricRow| match row.aggregate {
            Aggregate::Micro => "micro",
            Aggregate::Macro => "macro",
            Aggregate::Relation(_) => "relation",
        };
        let relation = |row: &MetricRow| match &row.aggregate {
            Aggregate::Relation(relation) => Some(relation.clone()),
            Aggregate::Micro | Aggregate::Macro => None,
        };
        let counts = rows.iter().map(|row| crate::rows::count(row.n)).collect::<Result<Vec<i64>>>()?;
        Table::new()
            .with("metric", Column::texts(rows.iter().map(|row| &row.metric)))?
            .with("aggregate", Column::texts(rows.iter().map(aggregate)))?
            .with("relation", Column::optional_texts(rows.iter().map(relation)))?
            .with("value", Column::f64s(rows.iter().map(|row| row.value).collect::<Vec<_>>()))?
            .with("ci_low", Column::f64s(rows.iter().map(|row| row.interval.low).collect::<Vec<_>>()))?
            .with("ci_high", Column::f64s(rows.iter().map(|row| row.interval.high).collect::<Vec<_>>()))?
            .with("ci_method", Column::texts(rows.iter().map(|row| row.interval.method)))?
            .with("n", Column::i64s(counts))?
            .with("unit", Column::texts(rows.iter().map(|row| row.unit)))?
            .with("higher_is_better", Column::flags(rows.iter().map(|row| row.higher_is_better)))
    }
}
