//! What metrics share that average a value of each question: the values by relation.

use std::collections::BTreeMap;

use lmprobe_core::statistics::{Cluster, Interval, Mean, mean_of};
use lmprobe_core::table::MetricRow;
use lmprobe_core::{Error, Result, Seed, table};
use polars::prelude::DataFrame;

/// The values of the questions of each relation.
///
/// **Invariant:** there is at least one relation, relations are in byte order, and none is without a question.
#[derive(Debug)]
pub(crate) struct Grouped {
    relations: Vec<(String, Vec<f64>)>,
}

/// A mean over questions or relations.
#[derive(Debug, Clone)]
pub(crate) struct Average {
    /// `micro`, `macro` or `relation`.
    pub(crate) aggregate: &'static str,
    /// The relation of a `relation` row.
    pub(crate) relation: Option<String>,
    /// The mean.
    pub(crate) value: f64,
    /// What it is a mean of.
    pub(crate) n: u64,
}

impl Grouped {
    /// Gives every question the value of its rank.
    ///
    /// # Errors
    /// If the predictions lack a column or have no row.
    pub(crate) fn new(predictions: &DataFrame, value: impl Fn(Option<u64>) -> f64) -> Result<Self> {
        let relations = table::texts(predictions, "relation")?;
        let ranks = predictions.column("rank")?.u64()?;
        let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (relation, rank) in relations.into_iter().zip(ranks.iter()) {
            groups.entry(relation).or_default().push(value(rank));
        }
        if groups.is_empty() {
            return Err(Error::Config("the predictions have no row, so there is nothing to average".to_owned()));
        }
        Ok(Self { relations: groups.into_iter().map(|(relation, values)| (relation.to_owned(), values)).collect() })
    }

    /// The values of each relation.
    pub(crate) fn relations(&self) -> &[(String, Vec<f64>)] {
        &self.relations
    }

    /// Each relation as one cluster.
    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        self.relations.iter().map(|(_, values)| Cluster { sum: values.iter().sum(), n: count(values) }).collect()
    }

    /// The mean over all questions.
    pub(crate) fn micro_average(&self) -> Average {
        let n = self.relations.iter().map(|(_, values)| values.len() as u64).sum();
        Average { aggregate: "micro", relation: None, value: mean_of(self.clusters().into_iter(), Mean::Micro), n }
    }

    /// The mean over relations of their means.
    pub(crate) fn macro_average(&self) -> Average {
        let n = self.relations.len() as u64;
        Average { aggregate: "macro", relation: None, value: mean_of(self.clusters().into_iter(), Mean::Macro), n }
    }
}

impl Average {
    /// The mean over one relation's questions.
    pub(crate) fn of_relation(relation: &str, values: &[f64]) -> Self {
        let value = values.iter().sum::<f64>() / count(values);
        Self { aggregate: "relation", relation: Some(relation.to_owned()), value, n: values.len() as u64 }
    }

    /// The average as a row of a metric whose values are fractions and better when higher.
    pub(crate) fn into_row(self, metric: &str, interval: Interval) -> MetricRow {
        MetricRow {
            metric: metric.to_owned(),
            aggregate: self.aggregate,
            relation: self.relation,
            value: self.value,
            interval,
            n: self.n,
            unit: "fraction",
            higher_is_better: true,
        }
    }
}

/// Named seeds, so that no row's interval depends on which other rows there are.
pub(crate) fn relation_seed(root: Seed, relation: &str) -> Seed {
    root.child("relation").child(relation)
}

#[expect(clippy::cast_precision_loss, reason = "counts of questions are far below 2^53")]
fn count(values: &[f64]) -> f64 {
    values.len() as f64
}

/// Predictions written out by hand, and a way to read rows, for the tests of metrics.
#[cfg(test)]
pub(crate) mod fixture {
    use lmprobe_core::{CallContext, Cancel, Metric, Quiet, table};
    use polars::prelude::{NamedFrom, Series};

    use super::*;

    /// A table with the columns that metrics read: relation and rank of each question.
    pub(crate) fn predictions(rows: &[(&str, Option<u64>)]) -> DataFrame {
        let ranks: Vec<Option<u64>> = rows.iter().map(|row| row.1).collect();
        table::frame_of(vec![table::text_column("relation", rows.iter().map(|row| Some(row.0))), Series::new("rank".into(), ranks)]).unwrap()
    }

    /// A row that a metric computed: aggregate, relation, value, n, low, high, method.
    pub(crate) type Row = (String, Option<String>, f64, u64, f64, f64, String);

    /// The rows of a metric, checked against the schema.
    pub(crate) fn rows(metric: &dyn Metric, predictions: &DataFrame) -> Vec<Row> {
        let frame = metric.compute(predictions, &CallContext::new(Seed(33), &Quiet, Cancel::default())).unwrap();
        table::METRIC_ROWS.check(&frame, "metric").unwrap();
        let text = |name: &str, row: usize| frame.column(name).unwrap().str().unwrap().get(row).map(str::to_owned);
        let real = |name: &str, row: usize| frame.column(name).unwrap().f64().unwrap().get(row).unwrap();
        (0..frame.height())
            .map(|row| {
                assert_eq!(text("metric", row).unwrap(), metric.name());
                assert_eq!(text("unit", row).unwrap(), "fraction");
                assert!(frame.column("higher_is_better").unwrap().bool().unwrap().get(row).unwrap());
                let n = frame.column("n").unwrap().u64().unwrap().get(row).unwrap();
                let (low, high) = (real("ci_low", row), real("ci_high", row));
                (text("aggregate", row).unwrap(), text("relation", row), real("value", row), n, low, high, text("ci_method", row).unwrap())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_come_in_byte_order_and_weigh_by_their_questions_only_in_the_micro_mean() {
        let predictions = fixture::predictions(&[("b", Some(1)), ("a", Some(1)), ("b", None), ("b", Some(2)), ("B", None)]);
        let grouped = Grouped::new(&predictions, |rank| f64::from(u8::from(rank == Some(1)))).unwrap();
        let labels: Vec<&str> = grouped.relations().iter().map(|(relation, _)| relation.as_str()).collect();
        assert_eq!(labels, ["B", "a", "b"]);
        let (micro, macro_) = (grouped.micro_average(), grouped.macro_average());
        assert_eq!((micro.value, micro.n), (2.0 / 5.0, 5));
        assert!((macro_.value - 4.0 / 9.0).abs() < 1e-15); // (0 + 1 + 1/3) / 3
        assert_eq!(macro_.n, 3);
    }

    #[test]
    fn nothing_to_average_is_an_error_and_no_nan() {
        let message = Grouped::new(&fixture::predictions(&[]), |_| 0.0).unwrap_err().to_string();
        assert!(message.contains("no row"), "{message}");
    }
}
