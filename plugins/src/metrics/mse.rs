//! Mean squared error.

use std::sync::Arc;

use lmprobe_core::statistics::{Cluster, Mean, cluster_bootstrap, mean_of};
use lmprobe_core::table::MetricRows;
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::Quantity;
use super::number_pairs::{Pair, pairs_by_cluster};

inventory::submit! {
    Registration {
        id: "mse",
        version: 1,
        build: Build::Metric(&build),
        summary: "mean squared error of predicted numbers",
        manual: MANUAL,
        schema: &schema_of::<MseParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`mse` is the mean of the squared differences of the predicted and the right numbers. Unit: that of the target, squared; lower is better,
0 is right everywhere. It depends on the scale of the target, so it compares models on one task and never tasks.

## How
There is one row, `micro`; n is the examples. Examples without a target are left out, and a warning counts them. The 95 % interval
resamples whole clusters (examples where nothing is known of clusters) 2 000 times from the run's seed; with one cluster its upper end
is infinite.

## Example
```yaml
metrics: [pearson, mse]
```

## Reference
What LinkBERT reports of a task with numbers that names no metric. Interval: Field and Welsh 2007, *Bootstrapping clustered data*.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MseParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let MseParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(Mse))
}

/// The mean squared error.
#[derive(Debug)]
struct Mse;

impl Metric for Mse {
    fn name(&self) -> String {
        "mse".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::Regression]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let pairs = pairs_by_cluster(predictions, &self.name(), cx)?;
        let clusters: Vec<Cluster> = pairs.iter().map(|pairs| squares(pairs)).collect();
        let n = pairs.iter().map(|pairs| pairs.len() as u64).sum();
        let quantity = Quantity { unit: "squared target", higher_is_better: false, ..Quantity::fraction(&self.name(), n) };
        let interval = cluster_bootstrap(&clusters, Mean::Micro, (0.0, f64::INFINITY), cx.seed);
        let mut rows = MetricRows::default();
        rows.push(quantity.into_row(mean_of(clusters.into_iter(), Mean::Micro), interval));
        rows.into_frame()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
fn squares(pairs: &[Pair]) -> Cluster {
    Cluster { sum: pairs.iter().map(|(target, found)| (target - found).powi(2)).sum(), n: pairs.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{refusal, rows, scored};
    use super::*;

    #[test]
    fn squares_are_averaged() {
        let rows = rows(&Mse, Problem::Regression, &scored(&[("a", Some(1.0), 1.5), ("b", Some(2.0), 2.0), ("b", Some(3.0), 2.0), ("c", None, 9.0)]));
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.value, row.n, row.unit.as_str(), row.higher_is_better), (1.25 / 3.0, 3, "squared target", false));
        assert_eq!((row.low, row.high), (0.25, 0.5)); // `a` alone, `b` alone
    }

    #[test]
    fn one_cluster_has_no_upper_bound() {
        let rows = rows(&Mse, Problem::Regression, &scored(&[("a", Some(1.0), 1.0), ("a", Some(2.0), 4.0)]));
        assert_eq!((rows[0].value, rows[0].low, rows[0].high), (2.0, 0.0, f64::INFINITY));
        assert_eq!(refusal(&Mse, &scored(&[])), "`mse` has nothing to score: there is no example");
    }
}
