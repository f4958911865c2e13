//! What metrics of labelled tasks share: which rows have a gold, what belongs together, and rows with intervals by resampling clusters.

use std::collections::HashMap;
use std::ops::AddAssign;

use lmprobe_core::statistics::{Bounds, Interval, bootstrap_of, wilson};
use lmprobe_core::table::{MetricRow, MetricRows};
use lmprobe_core::{CallContext, Error, Result, Seed, table};
use polars::prelude::DataFrame;

/// The rows of a table of predictions that are scored, and the cluster of each.
///
/// **Invariant:** there is at least one row. Clusters are numbered in the order of their first row.
#[derive(Debug)]
pub(crate) struct ScoredRows {
    ids: Vec<String>,
    /// Row of the table and number of its cluster.
    rows: Vec<(usize, usize)>,
    n_clusters: usize,
}

impl ScoredRows {
    /// The rows with a gold: `known` says of each row whether it has one. Those without are counted in a warning.
    ///
    /// # Errors
    /// If the predictions lack a column, or no row has a gold.
    pub(crate) fn new(predictions: &DataFrame, metric: &str, known: &[bool], cx: &CallContext<'_>) -> Result<Self> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut rows = Vec::new();
        for (row, cluster) in table::texts(predictions, "cluster")?.into_iter().enumerate().filter(|(row, _)| known[*row]) {
            let next = numbers.len();
            rows.push((row, *numbers.entry(cluster).or_insert(next)));
        }
        let (n, all) = (rows.len(), known.len());
        if n == 0 {
            let what = if all == 0 { "there is no example".to_owned() } else { format!("none of the {all} examples has a gold") };
            return Err(Error::Config(format!("`{metric}` has nothing to score: {what}")));
        }
        if n < all {
            cx.warn(format!("`{metric}` leaves out {} of {all} examples, which have no gold", all - n));
        }
        let ids = table::texts(predictions, "example_id")?.into_iter().map(str::to_owned).collect();
        let n_clusters = numbers.len();
        Ok(Self { ids, rows, n_clusters })
    }

    /// Counts by cluster: `add` adds a row, given by its number in the table, to what its cluster has so far.
    ///
    /// # Errors
    /// What `add` reports, with the example it is about.
    pub(crate) fn fold<T: Clone + Default>(&self, mut add: impl FnMut(&mut T, usize) -> lmprobe_scorers::Result<()>) -> Result<Vec<T>> {
        let mut clusters = vec![T::default(); self.n_clusters];
        for &(row, cluster) in &self.rows {
            add(&mut clusters[cluster], row).map_err(|error| Error::Config(format!("example `{}`: {error}", self.ids[row])))?;
        }
        Ok(clusters)
    }
}

/// A number of a metric before it is computed.
#[derive(Debug, Clone)]
pub(crate) struct Quantity {
    /// Name in the table.
    pub(crate) metric: String,
    /// `micro`, `macro` or `label`.
    pub(crate) aggregate: &'static str,
    /// The label of a `label` row.
    pub(crate) label: Option<String>,
    /// What it is computed from.
    pub(crate) n: u64,
    /// Unit.
    pub(crate) unit: &'static str,
    /// Lowest and highest possible value.
    pub(crate) range: (f64, f64),
    /// How many clusters have a part in it; all if empty.
    pub(crate) n_clusters: Option<usize>,
    /// Direction.
    pub(crate) higher_is_better: bool,
}

impl Quantity {
    /// A fraction over everything; more is better.
    pub(crate) fn fraction(metric: &str, n: u64) -> Self {
        Self { metric: metric.to_owned(), aggregate: "micro", label: None, n, unit: "fraction", range: (0.0, 1.0), n_clusters: None, higher_is_better: true }
    }

    /// The row with its value and interval.
    pub(crate) fn into_row(self, value: f64, interval: Interval) -> MetricRow {
        let Self { metric, aggregate, label, n, unit, higher_is_better, .. } = self;
        MetricRow { metric, aggregate, relation: label, value, interval, n, unit, higher_is_better }
    }
}

/// Appends a row for each quantity: its value over all clusters, 0 where that is undefined, and its interval by [`bootstrap_of`].
///
/// `values` returns one value a quantity in their order.
pub(crate) fn push_bootstrapped<T>(rows: &mut MetricRows, quantities: Vec<Quantity>, clusters: &[T], values: impl Fn(&[&T]) -> Vec<Option<f64>>, seed: Seed) {
    let bounds = |quantity: &Quantity| Bounds { range: quantity.range, n_clusters: quantity.n_clusters.unwrap_or(clusters.len()) };
    let bounds: Vec<Bounds> = quantities.iter().map(bounds).collect();
    let found = values(&clusters.iter().collect::<Vec<_>>());
    let intervals = bootstrap_of(clusters, values, &bounds, seed);
    for ((quantity, value), interval) in quantities.into_iter().zip(found).zip(intervals) {
        rows.push(quantity.into_row(value.unwrap_or(0.0), interval));
    }
}

/// Hits of tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// How many were right.
    pub(crate) hits: u64,
    /// Of how many.
    pub(crate) n: u64,
}

impl AddAssign for Hits {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.n += other.n;
    }
}

impl Hits {
    fn share(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
        (self.n > 0).then(|| self.hits as f64 / self.n as f64)
    }
}

/// Appends the row of a share: Wilson's interval if every cluster is one try, so that tries are independent draws, and resampled clusters otherwise. A cluster
/// without a try has no part in it.
pub(crate) fn push_share(rows: &mut MetricRows, metric: &str, clusters: &[Hits], seed: Seed) {
    let clusters: Vec<Hits> = clusters.iter().copied().filter(|cluster| cluster.n > 0).collect();
    let total = sum(clusters.iter().copied());
    let quantity = Quantity::fraction(metric, total.n);
    if clusters.iter().all(|cluster| cluster.n == 1) {
        rows.push(quantity.into_row(total.share().unwrap_or(0.0), wilson(total.hits, total.n)));
    } else {
        push_bootstrapped(rows, vec![quantity], &clusters, |drawn| vec![sum(drawn.iter().map(|hits| **hits)).share()], seed);
    }
}

/// The sum of things that start from nothing.
pub(crate) fn sum<T: Default + AddAssign>(items: impl Iterator<Item = T>) -> T {
    let mut total = T::default();
    items.for_each(|item| total += item);
    total
}

/// Which lists are not empty: which examples have a gold.
pub(crate) fn filled(lists: &[Vec<String>]) -> Vec<bool> {
    lists.iter().map(|list| !list.is_empty()).collect()
}
