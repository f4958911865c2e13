//! Exact match and F1 of answers.

use std::sync::Arc;

use lmprobe_core::statistics::{Cluster, Mean, cluster_bootstrap, mean_of};
use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::answers::{AnswerCounts, Match};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::{Hits, Quantity, ScoredRows, filled, push_share};

inventory::submit! {
    Registration {
        id: "answer-f1",
        version: 2,
        build: Build::Metric(&build),
        summary: "exact match and F1 of words of extracted answers, as SQuAD scores them",
        manual: MANUAL,
        schema: &schema_of::<AnswerF1Params>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`exact-match` is the share of the questions whose first answer is one of the right ones; `answer-f1` is the mean over questions of
the F1 of words between the first answer and the right one that is most like it. Unit: a fraction in [0, 1]; higher is better.

## How
Both texts are put into lower case, ASCII punctuation and the articles `a`, `an` and `the` are dropped, and blanks are squeezed. F1 of
two texts counts the words they share, each as often as it stands in both.

The right answer of a question that its context does not answer is the empty text: an empty first answer has 1, any other 0. A question
without any answer in the predictions is taken to have an empty one. Questions of which no right answer is known are left out, and a
warning counts them.

There is a row `micro` for each number; n is the questions. The 95 % interval resamples whole clusters (contexts, questions asked of
several texts) 2 000 times from the run's seed, with one cluster it is [0, 1]; that of `exact-match` is Wilson's if every question is
a cluster of its own. If all resamples are 0, or all are 1, it is Wilson's too, over the clusters (`ci_method` says so).

## Example
```yaml
metrics: [answer-f1]
```

## Reference
Rajpurkar et al. 2016, <https://arxiv.org/abs/1606.05250>; questions without answer: Rajpurkar et al. 2018, <https://arxiv.org/abs/1806.03822>.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AnswerF1Params {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let AnswerF1Params {} = serde_json::from_value(params)?;
    Ok(Arc::new(AnswerF1))
}

/// Exact match and F1 of answers.
#[derive(Debug)]
struct AnswerF1;

impl Metric for AnswerF1 {
    fn name(&self) -> String {
        "answer-f1".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::ExtractiveQa]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        let scored = ScoredRows::new(predictions, &self.name(), &filled(&golds), cx)?;
        let clusters = scored.fold(|counts: &mut AnswerCounts, row| {
            counts.add(Match::of(found[row].first().map_or("", String::as_str), &golds[row]));
            Ok(())
        })?;
        let mut rows = MetricRows::default();
        let exact: Vec<Hits> = clusters.iter().map(|counts| Hits { hits: counts.exact, n: counts.n }).collect();
        push_share(&mut rows, "exact-match", &exact, cx.seed);
        #[expect(clippy::cast_precision_loss, reason = "counts of questions are far below 2^53")]
        let means: Vec<Cluster> = clusters.iter().map(|counts| Cluster { sum: counts.f1_sum, n: counts.n as f64 }).collect();
        let interval = cluster_bootstrap(&means, Mean::Micro, (0.0, 1.0), cx.seed);
        let quantity = Quantity::fraction(&self.name(), clusters.iter().map(|counts| counts.n).sum());
        rows.push(quantity.into_row(mean_of(means.into_iter(), Mean::Micro), interval));
        rows.into_frame()
    }
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{answered, refusal, row, rows, warnings};
    use super::*;

    #[test]
    fn the_first_answer_is_compared_with_the_best_gold() {
        let frame = answered(&[
            ("a", &["IL2 gene", "interleukin"], &[("the IL-2 gene", 0.9), ("x", 0.1)]), // 1
            ("b", &["acute liver disease"], &[("liver failure", 0.6)]),                 // 2 * 1/2 * 1/3 / (5/6) = 0.4
            ("c", &["x"], &[("y", 0.5), ("x", 0.4)]),                                   // 0: the second does not count
            ("d", &[""], &[("", 1.0)]),                                                 // 1: rightly none
        ]);
        let rows = rows(&AnswerF1, Problem::ExtractiveQa, &frame);
        let (exact, f1) = (row(&rows, "exact-match", "micro"), row(&rows, "answer-f1", "micro"));
        assert_eq!((exact.value, exact.n, exact.method.as_str()), (0.5, 4, "wilson"));
        assert_eq!((f1.value, f1.n, f1.method.as_str()), (0.6, 4, "cluster-bootstrap"));
        assert!(f1.low < 0.6 && 0.6 < f1.high);
    }

    #[test]
    fn no_answer_where_there_is_one_is_wrong_and_the_reverse() {
        let rows = rows(&AnswerF1, Problem::ExtractiveQa, &answered(&[("a", &["x"], &[]), ("a", &[""], &[("x", 1.0)]), ("b", &[""], &[])]));
        assert_eq!(row(&rows, "answer-f1", "micro").value, 1.0 / 3.0);
        assert_eq!(row(&rows, "exact-match", "micro").method, "cluster-bootstrap");
        assert_eq!(refusal(&AnswerF1, &answered(&[])), "`answer-f1` has nothing to score: there is no example");
    }

    #[test]
    fn questions_of_which_nothing_is_known_are_left_out_and_counted() {
        // Half of the words of the known one; the others would be 1 and 0 if no answer were their right answer.
        let frame = answered(&[("a", &["x y"], &[("x", 1.0)]), ("b", &[], &[("", 1.0)]), ("c", &[], &[("x", 1.0)])]);
        let rows = rows(&AnswerF1, Problem::ExtractiveQa, &frame);
        assert_eq!((row(&rows, "answer-f1", "micro").value, row(&rows, "answer-f1", "micro").n), (2.0 / 3.0, 1));
        assert_eq!(warnings(&AnswerF1, &frame), ["`answer-f1` leaves out 2 of 3 examples, which have no gold"]);
        let unknown = refusal(&AnswerF1, &answered(&[("b", &[], &[("", 1.0)])]));
        assert_eq!(unknown, "`answer-f1` has nothing to score: none of the 1 examples has a gold");
    }
}
