//! Pearson's correlation of predicted and right numbers.

use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::correlation::pearson;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::number_pairs::correlation;

inventory::submit! {
    Registration {
        id: "pearson",
        version: 1,
        build: Build::Metric(&build),
        summary: "Pearson's correlation of predicted and right numbers",
        manual: MANUAL,
        schema: &schema_of::<PearsonParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`pearson` is Pearson's correlation coefficient of the predicted and the right numbers: 1 if they lie on a rising line, 0 if they are
linearly unrelated, -1 on a falling line. It does not see a shift or a scale: `mse` does. Unit: a correlation in [-1, 1]; higher is
better.

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
The score of BIOSSES in BLURB (Gu et al. 2021, <https://arxiv.org/abs/2007.15779>). Interval: Field and Welsh 2007, *Bootstrapping
clustered data*.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PearsonParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let PearsonParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(Pearson))
}

/// Pearson's correlation of predicted and right numbers.
#[derive(Debug)]
struct Pearson;

impl Metric for Pearson {
    fn name(&self) -> String {
        "pearson".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::Regression]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        correlation(&self.name(), predictions, pearson, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{refusal, rows, scored, warnings};
    use super::*;

    #[test]
    fn deviations_are_compared() {
        // Deviations (-1, 0, 1) and (-1, 1, 0): 1 / (sqrt 2 * sqrt 2).
        let frame = scored(&[("a", Some(1.0), 10.0), ("b", Some(2.0), 30.0), ("c", Some(3.0), 20.0), ("d", None, 99.0)]);
        let rows = rows(&Pearson, Problem::Regression, &frame);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert!((row.value - 0.5).abs() < 1e-15);
        assert_eq!((row.n, row.unit.as_str(), row.aggregate.as_str()), (3, "correlation", "micro"));
        assert!(-1.0 <= row.low && row.high <= 1.0);
        assert_eq!(warnings(&Pearson, &frame), ["`pearson` leaves out 1 of 4 examples, which have no gold"]);
    }

    #[test]
    fn the_interval_narrows_with_examples() {
        let of = |n: i32| -> f64 {
            let ids: Vec<String> = (0..n).map(|row| row.to_string()).collect();
            // The prediction is the target or its opposite in one of five.
            let numbers = ids.iter().zip(0..n).map(|(id, row)| {
                let target = f64::from(row % 7 - 3);
                (id.as_str(), Some(target), if row % 5 == 0 { -target } else { target })
            });
            let rows = rows(&Pearson, Problem::Regression, &scored(&numbers.collect::<Vec<_>>()));
            assert!(rows[0].low < rows[0].value && rows[0].value < rows[0].high, "{rows:?}");
            rows[0].high - rows[0].low
        };
        assert!(of(35) > 2.0 * of(700));
    }

    #[test]
    fn a_constant_has_no_correlation() {
        let said = |numbers: &[(&str, Option<f64>, f64)]| refusal(&Pearson, &scored(numbers));
        assert_eq!(said(&[("a", Some(1.0), 2.0), ("b", Some(2.0), 2.0)]), "`pearson` is undefined: all predictions are the same number");
        assert_eq!(said(&[("a", Some(1.0), 2.0), ("b", Some(1.0), 3.0)]), "`pearson` is undefined: all targets are the same number");
        assert_eq!(said(&[("a", Some(1.0), 2.0)]), "`pearson` is undefined: one example has no correlation");
        assert_eq!(said(&[("a", None, 2.0)]), "`pearson` has nothing to score: none of the 1 examples has a gold");
    }
}
