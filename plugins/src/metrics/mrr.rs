//! Mean reciprocal rank.

use std::sync::Arc;

use lmprobe_core::statistics::{Cluster, Interval, Mean, cluster_bootstrap};
use lmprobe_core::table::MetricRows;
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Registration, Result, Seed, schema_of};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grouped::{Average, Grouped, relation_seed};

inventory::submit! {
    Registration {
        id: "mrr",
        version: 2,
        build: Build::Metric(&build),
        summary: "mean of one over the rank of the best right answer",
        manual: MANUAL,
        schema: &schema_of::<MrrParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`mrr` is the mean reciprocal rank: 1 for a question whose first candidate is right, 1/2 if the second is the first right one,
and so on; 0 if no right answer is in the pool. Unit: a fraction in [0, 1]; higher is better.

## How
The rank counts all candidates, not only the first ten, and is that of the *best* right answer: the other ones are not
removed from the order before it. Candidates of equal score are ranked in ascending byte order of their names.

| row | value | n | 95 % interval |
|---|---|---|---|
| `micro` | mean over questions | questions | bootstrap that resamples whole relations |
| `macro` | mean of the relations' values | relations | bootstrap that resamples whole relations |
| `relation` | mean over the relation's questions | its questions | bootstrap that resamples questions |

With one relation alone all three rows have the interval of that relation. With one question alone nothing is known of the
spread: the interval is [0, 1]. Bootstraps draw 2 000 times from the run's seed and take the 2.5 % and 97.5 % quantiles. If all
resamples are 0, or all are 1, they say nothing either: the interval is Wilson's, over what was resampled (`ci_method` says so).

## Example
```yaml
metrics: [mrr]
```

## Reference
Voorhees 1999, *The TREC-8 question answering track report*. Interval: Efron 1979, *Bootstrap methods*; Field and Welsh 2007,
*Bootstrapping clustered data*.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MrrParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let MrrParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(Mrr))
}

/// The mean of one over the rank.
#[derive(Debug)]
struct Mrr;

impl Metric for Mrr {
    fn name(&self) -> String {
        "mrr".to_owned()
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let name = self.name();
        #[expect(clippy::cast_precision_loss, reason = "ranks are far below 2^53")]
        let grouped = Grouped::new(predictions, |rank| rank.map_or(0.0, |rank| 1.0 / rank as f64))?;
        let mut relation_rows = Vec::with_capacity(grouped.relations().len());
        for (relation, values) in grouped.relations() {
            cx.check_cancelled()?;
            relation_rows.push((Average::of_relation(relation, values), over_questions(values, relation_seed(cx.seed, relation))));
        }
        let clusters = grouped.clusters();
        let over_relations = |mean, seed| match relation_rows.as_slice() {
            [(_, interval)] => *interval,
            _ => cluster_bootstrap(&clusters, mean, (0.0, 1.0), seed),
        };
        let mut rows = MetricRows::default();
        rows.push(grouped.micro_average().into_row(&name, over_relations(Mean::Micro, cx.seed.child("micro"))));
        rows.push(grouped.macro_average().into_row(&name, over_relations(Mean::Macro, cx.seed.child("macro"))));
        for (average, interval) in relation_rows {
            rows.push(average.into_row(&name, interval));
        }
        rows.into_frame()
    }
}

/// The bootstrap that resamples single questions.
fn over_questions(values: &[f64], seed: Seed) -> Interval {
    let questions: Vec<Cluster> = values.iter().map(|&sum| Cluster { sum, n: 1.0 }).collect();
    cluster_bootstrap(&questions, Mean::Micro, (0.0, 1.0), seed)
}

#[cfg(test)]
mod tests {
    use super::super::grouped::fixture;
    use super::*;

    #[test]
    fn the_reciprocals_of_the_ranks_are_averaged() {
        let predictions = fixture::predictions(&[
            ("cures", Some(1)),  // 1
            ("cures", Some(4)),  // 0.25
            ("cures", None),     // 0
            ("causes", Some(2)), // 0.5
        ]);
        let rows = fixture::rows(&Mrr, &predictions);
        let seen: Vec<(&str, Option<&str>, u64)> = rows.iter().map(|row| (row.0.as_str(), row.1.as_deref(), row.3)).collect();
        assert_eq!(seen, [("micro", None, 4), ("macro", None, 2), ("relation", Some("causes"), 1), ("relation", Some("cures"), 3)]);
        let values: Vec<f64> = rows.iter().map(|row| row.2).collect();
        assert_eq!(values[0], 1.75 / 4.0);
        assert!((values[1] - f64::midpoint(0.5, 1.25 / 3.0)).abs() < 1e-15);
        assert_eq!(values[2], 0.5);
        assert!((values[3] - 1.25 / 3.0).abs() < 1e-15);
        assert!(rows.iter().all(|row| row.6 == "cluster-bootstrap"));
        assert_eq!((rows[2].4, rows[2].5), (0.0, 1.0)); // one question says nothing of the spread
    }

    #[test]
    fn the_interval_of_a_relation_covers_its_mean_and_narrows_with_questions() {
        let of = |n: u64| -> Vec<(&str, Option<u64>)> { (0..n).map(|i| ("r", Some(i % 2 + 1))).collect() }; // 1 and 1/2 in turn
        let (few, many) = (fixture::rows(&Mrr, &fixture::predictions(&of(10))), fixture::rows(&Mrr, &fixture::predictions(&of(1000))));
        for rows in [&few, &many] {
            assert_eq!(rows[2].2, 0.75);
            assert!(rows[2].4 < 0.75 && 0.75 < rows[2].5);
            assert!(rows.iter().all(|row| (row.4, row.5) == (rows[2].4, rows[2].5))); // one relation: the same in all rows
        }
        // Standard error: 0.25 / sqrt(1000) = 0.0079, so the width is near 4 x 0.0079 = 0.031.
        assert!((many[2].5 - many[2].4 - 0.031).abs() < 0.006, "{many:?}");
        assert!(few[2].5 - few[2].4 > 5.0 * (many[2].5 - many[2].4));
    }

    #[test]
    fn questions_that_are_all_right_have_wilsons_interval() {
        let rows = fixture::rows(&Mrr, &fixture::predictions(&[("r", Some(1)); 10]));
        assert!(rows.iter().all(|row| (row.2, row.5, row.6.as_str()) == (1.0, 1.0, "wilson")), "{rows:?}");
        assert!((rows[0].4 - 0.722_467_2).abs() < 1e-6, "{rows:?}"); // 10 of 10
    }

    #[test]
    fn each_interval_is_that_of_its_own_mean() {
        // Ten relations with one question answered first, ten with a hundred not answered: macro 0.5, micro 10/1010.
        let labels: Vec<String> = (0..20).map(|i| format!("r{i:02}")).collect();
        let (easy, hard) = labels.split_at(10);
        let mut ranks: Vec<(&str, Option<u64>)> = easy.iter().map(|label| (label.as_str(), Some(1))).collect();
        ranks.extend(hard.iter().flat_map(|label| [(label.as_str(), None); 100]));
        let rows = fixture::rows(&Mrr, &fixture::predictions(&ranks));
        assert!(rows[0].4 < 10.0 / 1010.0 && 10.0 / 1010.0 < rows[0].5 && rows[0].5 < 0.1, "{rows:?}");
        assert!(0.2 < rows[1].4 && rows[1].4 < 0.5 && 0.5 < rows[1].5 && rows[1].5 < 0.8, "{rows:?}"); // 0.5 +- 2 sqrt(0.25 / 20)
    }

    #[test]
    fn a_row_does_not_depend_on_other_relations() {
        let ranks = [("a", Some(1)), ("a", Some(3)), ("a", None), ("b", Some(2)), ("b", Some(7))];
        let both = fixture::rows(&Mrr, &fixture::predictions(&ranks));
        let alone = fixture::rows(&Mrr, &fixture::predictions(&ranks[3..]));
        assert_eq!(both[3], alone[2]);
    }
}
