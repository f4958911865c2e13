//! Accuracy: the share of right answers.

use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::Error;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::{Hits, ScoredRows, filled, push_share};

inventory::submit! {
    Registration {
        id: "accuracy",
        version: 2,
        build: Build::Metric(&build),
        summary: "share of texts, questions or words with the right label",
        manual: MANUAL,
        schema: &schema_of::<AccuracyParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`accuracy` is the share of the examples that were given their right label: texts or pairs of texts, questions with choices, or,
where words have tags, words, whose whole tag must be right. Unit: a fraction in [0, 1]; higher is better.

Where most examples have one label, as most words are `O`, it says little: compare it with the baseline `majority`.

## How
There is one row, `micro`: right / all, n is the examples or words. Examples without gold are left out, and a warning counts them.

The 95 % interval is Wilson's if every example is a cluster of its own. Where examples belong together (the hypotheses of a premise,
the words of a sentence, the sentences of a document) it resamples whole clusters 2 000 times from the run's seed; with one such
cluster it is [0, 1]. If all resamples are 0, or all are 1, it is Wilson's again, over the clusters (`ci_method` says so).

## Example
```yaml
metrics: [accuracy]
```

## Reference
Interval: Wilson 1927, *Probable inference*; Field and Welsh 2007, *Bootstrapping clustered data*.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccuracyParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let AccuracyParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(Accuracy))
}

/// The share of right answers.
#[derive(Debug)]
struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::SequenceClassification, Problem::MultipleChoice, Problem::TokenClassification]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        let scored = ScoredRows::new(predictions, &self.name(), &filled(&golds), cx)?;
        let clusters = scored.fold(|counts: &mut Hits, row| {
            let (golds, found) = (&golds[row], &found[row]);
            if golds.len() != found.len() {
                return Err(Error::Lengths { what: "labels", gold: golds.len(), predicted: found.len() });
            }
            let hits = golds.iter().zip(found).filter(|(gold, found)| gold == found).count();
            *counts += Hits { hits: hits as u64, n: golds.len() as u64 };
            Ok(())
        })?;
        let mut rows = MetricRows::default();
        push_share(&mut rows, &self.name(), &clusters, cx.seed);
        rows.into_frame()
    }
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{labelled, refusal, rows, tagged};
    use super::*;

    #[test]
    fn independent_examples_have_wilsons_interval() {
        let ids: Vec<String> = (0..10).map(|row| row.to_string()).collect();
        let texts: Vec<(&str, &str, &str)> = ids.iter().enumerate().map(|(row, id)| (id.as_str(), "yes", if row < 7 { "yes" } else { "no" })).collect();
        let rows = rows(&Accuracy, Problem::SequenceClassification, &labelled(&["no", "yes"], None, &texts));
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.value, row.n, row.aggregate.as_str(), row.method.as_str()), (0.7, 10, "micro", "wilson"));
        assert!((row.low - 0.396_778_1).abs() < 1e-6 && (row.high - 0.892_208_7).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn hypotheses_of_one_premise_are_drawn_together() {
        let ids: Vec<String> = (0..90).map(|row| (row / 3).to_string()).collect();
        let texts: Vec<(&str, &str, &str)> = ids.iter().enumerate().map(|(row, id)| (id.as_str(), "yes", if row < 45 { "yes" } else { "no" })).collect();
        let rows = rows(&Accuracy, Problem::SequenceClassification, &labelled(&["no", "yes"], None, &texts));
        assert_eq!((rows[0].value, rows[0].n, rows[0].method.as_str()), (0.5, 90, "cluster-bootstrap"));
        assert!((rows[0].high - rows[0].low - 4.0 * (0.25f64 / 30.0).sqrt()).abs() < 0.05, "{rows:?}");
    }

    #[test]
    fn words_count_where_words_have_tags() {
        let rows = rows(&Accuracy, Problem::TokenClassification, &tagged(&[("a", "B-X I-X O", "B-X I-Y O", 0.9), ("a", "O", "O", 0.9)]));
        assert_eq!((rows[0].value, rows[0].n, rows[0].low, rows[0].high), (0.75, 4, 0.0, 1.0));
    }

    #[test]
    fn answers_that_do_not_fit_are_refused() {
        let message = refusal(&Accuracy, &tagged(&[("a", "O O", "O", 0.9)]));
        assert_eq!(message, "example `e0`: 2 gold labels against 1 predicted; each needs its counterpart");
        assert!(refusal(&Accuracy, &tagged(&[("a", "", "O", 0.9)])).contains("none of the 1 examples has a gold"));
    }
}
