//! What metrics of numbers share: pairs of target and prediction by cluster.

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{CallContext, Error, Result};
use polars::prelude::DataFrame;

use super::clusters::{Quantity, ScoredRows, push_bootstrapped};

/// A target and what was predicted for it.
pub(crate) type Pair = (f64, f64);

/// The pairs of each cluster. Examples without a target are left out, and a warning counts them.
///
/// # Errors
/// If the predictions lack a column or no example has a target.
pub(crate) fn pairs_by_cluster(predictions: &DataFrame, metric: &str, cx: &CallContext<'_>) -> Result<Vec<Vec<Pair>>> {
    let (targets, found) = (table::optional_reals(predictions, "target")?, table::optional_reals(predictions, "prediction")?);
    let known: Vec<bool> = targets.iter().map(Option::is_some).collect();
    ScoredRows::new(predictions, metric, &known, cx)?.fold(|pairs: &mut Vec<Pair>, row| {
        if let (Some(target), Some(found)) = (targets[row], found[row]) {
            pairs.push((target, found));
        }
        Ok(())
    })
}

/// A table of one row, the correlation of targets and predictions.
///
/// # Errors
/// If the predictions lack a column or no example has a target; and if the correlation is undefined, with the reason.
pub(crate) fn correlation(metric: &str, predictions: &DataFrame, of: fn(&[Pair]) -> Option<f64>, cx: &CallContext<'_>) -> Result<DataFrame> {
    let clusters = pairs_by_cluster(predictions, metric, cx)?;
    let all: Vec<Pair> = clusters.iter().flatten().copied().collect();
    if of(&all).is_none() {
        let constant = |side: fn(&Pair) -> f64| all.iter().all(|pair| side(pair) == side(&all[0]));
        let why = match all.len() {
            1 => "one example has no correlation",
            _ if constant(|pair| pair.1) => "all predictions are the same number",
            _ if constant(|pair| pair.0) => "all targets are the same number",
            _ => "a number is not finite, or the numbers differ too little",
        };
        return Err(Error::Undefined(format!("`{metric}` is undefined: {why}")));
    }
    let quantity = Quantity { unit: "correlation", range: (-1.0, 1.0), ..Quantity::fraction(metric, all.len() as u64) };
    let values = |drawn: &[&Vec<Pair>]| vec![of(&drawn.iter().flat_map(|pairs| pairs.iter().copied()).collect::<Vec<_>>())];
    let mut rows = MetricRows::default();
    push_bootstrapped(&mut rows, vec![quantity], &clusters, values, cx.seed);
    rows.into_frame()
}
