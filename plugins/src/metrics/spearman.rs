//! Spearman's correlation of predicted and right numbers.

use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::correlation::spearman;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::number_pairs::correlation;

inventory::submit! {
    Registration {
        id: "spearman",
        version: 1,
        build: Build::Metric(&build),
        summary: "Spearman's rank correlation of predicted and right numbers",
        manual: MANUAL,
        schema: &schema_of::<SpearmanParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`spearman` is the correlation of the ranks of the predicted and the right numbers: 1 if both put the examples in the same order, -1
if in the opposite one. Equal numbers share the mean of their ranks. Unit: a correlation in [-1, 1]; higher is better.

## How
There is one row, `micro`; n is the examples. Examples without a target are left out, and a warning counts them. A correlation of a
constant is undefined: if all predictions, or all targets, are the same number, as those of the baseline `majority` are, there is no
number but a warning that says so.

The 95 % interval resamples whole clusters (examples where nothing is known of clusters) 2 000 times from the run's seed; resamples
without a correlation are left out of it. With one cluster it is [-1, 1]. With twenty examples, as BIOSSES has, it is wide.

## Example
```yaml
metrics: [pearson, spearman, mse]
```

## Reference
Spearman 1904, *The proof and measurement of association between two things*. Interval: Field and Welsh 2007, *Bootstrapping
clustered data*.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SpearmanParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let SpearmanParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(Spearman))
}

/// Spearman's correlation of predicted and right numbers.
#[derive(Debug)]
struct Spearman;

impl Metric for Spearman {
    fn name(&self) -> String {
        "spearman".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::Regression]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        correlation(&self.name(), predictions, spearman, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{refusal, rows, scored};
    use super::*;

    #[test]
    fn order_alone_counts() {
        let rows = rows(&Spearman, Problem::Regression, &scored(&[("a", Some(1.0), 1.0), ("b", Some(2.0), 10.0), ("c", Some(3.0), 1e9)]));
        assert!((rows[0].value - 1.0).abs() < 1e-15);
        assert_eq!((rows[0].n, rows[0].higher_is_better), (3, true));
    }

    #[test]
    fn ties_share_a_rank() {
        // Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5).
        let frame = scored(&[("a", Some(1.0), 1.0), ("b", Some(2.0), 2.0), ("c", Some(2.0), 3.0), ("d", Some(4.0), 4.0)]);
        assert!((rows(&Spearman, Problem::Regression, &frame)[0].value - 4.5 / 22.5f64.sqrt()).abs() < 1e-15);
        assert_eq!(
            refusal(&Spearman, &scored(&[("a", Some(1.0), 2.0), ("b", Some(2.0), 2.0)])),
            "`spearman` is undefined: all predictions are the same number"
        );
    }
}
