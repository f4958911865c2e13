//! Expected calibration error: how far confidence is from success.

use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::Error;
use lmprobe_scorers::calibration::Calibration;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::{Quantity, ScoredRows, filled, push_bootstrapped, sum};

inventory::submit! {
    Registration {
        id: "calibration-error",
        version: 2,
        build: Build::Metric(&build),
        summary: "expected calibration error: how far the probability of a predicted label is from how often it is right",
        manual: MANUAL,
        schema: &schema_of::<CalibrationErrorParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
A model that gives its predictions the probability 0.8 should be right in 80 % of them. `calibration-error` is how far it is off, on
average: 0 is as often right as it says, 1 is always sure and always wrong. Unit: a fraction in [0, 1]; lower is better.

## How
Predictions are sorted into 15 equal intervals of the probability of their label: (0, 1/15], (1/15, 2/15], ... In each interval the
distance of the share of right predictions from the mean probability is taken, and the distances are averaged, each interval
weighing as many predictions as it has. Where words have tags, every word is a prediction, and its whole tag must be right.

There is one row, `micro`; n is the examples or words. Examples without gold are left out, and a warning counts them. The 95 % interval
resamples whole clusters (documents, premises; sentences or examples where nothing is known) 2 000 times from the run's seed; with one
cluster it is [0, 1], and if all resamples are 0, or all are 1, it is Wilson's, over the clusters (`ci_method` says so). Distances never cancel, so the number is too high with few predictions, more so in resamples: the interval may
lie above the value.

## Example
```yaml
metrics: [accuracy, calibration-error]
```

## Reference
Guo et al. 2017, *On calibration of modern neural networks*, <https://arxiv.org/abs/1706.04599>.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CalibrationErrorParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let CalibrationErrorParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(CalibrationError))
}

/// How far a probability may exceed 1 by rounding of 32-bit floats.
const ROUNDING: f64 = 1e-6;

/// The expected calibration error.
#[derive(Debug)]
struct CalibrationError;

impl Metric for CalibrationError {
    fn name(&self) -> String {
        "calibration-error".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::SequenceClassification, Problem::MultipleChoice, Problem::TokenClassification]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        let scores = table::real_lists(predictions, "scores")?;
        // Tags have the probability of each prediction; labels have that of all labels, named beside.
        let labels = if predictions.column("labels").is_ok() { Some(table::text_lists(predictions, "labels")?) } else { None };
        let rows = ScoredRows::new(predictions, &self.name(), &filled(&golds), cx)?;
        let clusters = rows.fold(|counts: &mut Calibration, row| {
            let (golds, found, scores) = (&golds[row], &found[row], &scores[row]);
            if golds.len() != found.len() {
                return Err(Error::Lengths { what: "labels", gold: golds.len(), predicted: found.len() });
            }
            for (place, (gold, found)) in golds.iter().zip(found).enumerate() {
                let score = match &labels {
                    None => scores.get(place),
                    Some(labels) => labels[row].iter().position(|label| label == found).and_then(|place| scores.get(place)),
                };
                let confidence = score.copied().ok_or_else(|| Error::Value(format!("the prediction `{found}` has no score")))?;
                let confidence = if confidence > 1.0 && confidence <= 1.0 + ROUNDING { 1.0 } else { confidence };
                counts.add(confidence, gold == found)?;
            }
            Ok(())
        })?;
        let n = clusters.iter().flat_map(|counts| counts.bins.iter().map(|bin| bin.n)).sum();
        let quantity = Quantity { higher_is_better: false, ..Quantity::fraction(&self.name(), n) };
        let mut rows = MetricRows::default();
        push_bootstrapped(&mut rows, vec![quantity], &clusters, |drawn| vec![sum(drawn.iter().map(|counts| **counts)).expected_error()], cx.seed);
        rows.into_frame()
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::IntoColumn;

    use super::super::labelled_fixture::{labelled, refusal, rows, tagged};
    use super::*;

    #[test]
    fn confidence_is_compared_with_success() {
        // All predictions have the probability 0.9; 3 of 4 are right.
        let texts = [("a", "no", "no"), ("b", "yes", "yes"), ("c", "yes", "yes"), ("d", "yes", "no")];
        let rows = rows(&CalibrationError, Problem::SequenceClassification, &labelled(&["no", "yes"], None, &texts));
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert!((row.value - 0.15).abs() < 1e-12, "{row:?}");
        assert_eq!((row.n, row.aggregate.as_str(), row.higher_is_better), (4, "micro", false));
    }

    #[test]
    fn every_word_is_a_prediction() {
        // 0.5 is right in 1 of 2, off by 0; 1 is wrong in both, off by 1: (2 * 0 + 2 * 1) / 4.
        let rows = rows(&CalibrationError, Problem::TokenClassification, &tagged(&[("a", "O B", "O O", 0.5), ("b", "B B", "O O", 1.0)]));
        assert_eq!((rows[0].value, rows[0].n), (0.5, 4));
    }

    #[test]
    fn a_sum_that_rounding_lifts_above_one_is_one_and_no_more() {
        let rows = rows(&CalibrationError, Problem::TokenClassification, &tagged(&[("a", "O", "O", 1.000_000_1)]));
        assert_eq!(rows[0].value, 0.0);
        assert_eq!(refusal(&CalibrationError, &tagged(&[("a", "O", "O", 1.1)])), "example `e0`: confidence 1.1 is not in [0, 1]");
    }

    #[test]
    fn a_prediction_without_a_score_is_refused() {
        let mut frame = labelled(&["a", "b"], None, &[("x", "a", "a")]);
        frame.replace("predictions", table::texts_column("predictions", &[vec!["c".to_owned()]]).into_column()).unwrap();
        assert_eq!(refusal(&CalibrationError, &frame), "example `e0`: the prediction `c` has no score");
    }
}
