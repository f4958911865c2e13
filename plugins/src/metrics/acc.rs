//! Accuracy at k.

use std::sync::Arc;

use lmprobe_core::statistics::{Mean, cluster_bootstrap, wilson};
use lmprobe_core::table::MetricRows;
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Registration, Result, schema_of};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grouped::{Average, Grouped};

inventory::submit! {
    Registration {
        id: "acc",
        version: 2,
        build: Build::Metric(&build),
        summary: "share of questions with a right answer among the first k candidates",
        manual: MANUAL,
        schema: &schema_of::<AccParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`acc@k` is the share of questions whose best right answer has rank k or better: a question is a hit or a miss, however many
right answers it has. Unit: a fraction in [0, 1]; higher is better.

## How
A question is a hit if `rank <= k`. A question none of whose right answers is in the pool has no rank and is a miss.
Candidates of equal score are ranked in ascending byte order of their names, so `rank` is never a matter of luck.

| row | value | n | 95 % interval |
|---|---|---|---|
| `micro` | hits / questions | questions | Wilson |
| `macro` | mean of the relations' values | relations | bootstrap that resamples whole relations; Wilson if there is only one |
| `relation` | hits / questions of the relation | its questions | Wilson |

The Wilson interval takes questions as independent draws; where relations differ much, `macro` shows the wider truth. If all relations
have 0, or all have 1, resampling them says nothing: then the interval of `macro` is Wilson's, over relations.

## Example
```yaml
metrics: [acc@1, acc@10, {use: acc, k: 5}]
```

## Reference
acc@k of MedLAMA (Meng et al. 2022, <https://arxiv.org/abs/2110.08173>) and P@k of LAMA (Petroni et al. 2019,
<https://arxiv.org/abs/1909.01066>). Interval: Wilson 1927, *Probable inference*; Field and Welsh 2007, *Bootstrapping
clustered data*.
";

/// Parameters of `acc`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccParams {
    /// How many of the first candidates may hold a right answer. `acc@10` is short for `{use: acc, k: 10}`.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    k: u64,
}

fn first() -> u64 {
    1
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let AccParams { k } = serde_json::from_value(params)?;
    Ok(Arc::new(Acc { k }))
}

/// The share of questions with a right answer among the first `k` candidates.
#[derive(Debug)]
struct Acc {
    k: u64,
}

impl Metric for Acc {
    fn name(&self) -> String {
        format!("acc@{}", self.k)
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let name = self.name();
        let grouped = Grouped::new(predictions, |rank| if rank.is_some_and(|rank| rank <= self.k) { 1.0 } else { 0.0 })?;
        let clusters = grouped.clusters();
        let micro_average = grouped.micro_average();
        let over_questions = wilson(clusters.iter().map(|cluster| whole(cluster.sum)).sum(), micro_average.n);
        let over_relations = match clusters.len() {
            1 => over_questions,
            _ => cluster_bootstrap(&clusters, Mean::Macro, (0.0, 1.0), cx.seed.child("macro")),
        };
        let mut rows = MetricRows::default();
        rows.push(micro_average.into_row(&name, over_questions));
        rows.push(grouped.macro_average().into_row(&name, over_relations));
        for ((relation, values), cluster) in grouped.relations().iter().zip(&clusters) {
            let interval = wilson(whole(cluster.sum), values.len() as u64);
            rows.push(Average::of_relation(relation, values).into_row(&name, interval));
        }
        rows.into_frame()
    }
}

/// A sum of zeros and ones as a count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of zeros and ones is a whole number below 2^53")]
fn whole(sum: f64) -> u64 {
    sum as u64
}

#[cfg(test)]
mod tests {
    use super::super::grouped::fixture;
    use super::*;

    #[test]
    fn a_hit_is_a_rank_of_k_or_better() {
        let predictions = fixture::predictions(&[
            ("cures", Some(1)),  // hit at 1
            ("cures", Some(10)), // hit at 10
            ("cures", Some(11)), // miss
            ("cures", None),     // miss
        ]);
        let micro = |k| fixture::rows(&Acc { k }, &predictions)[0].2;
        assert_eq!([1, 9, 10, 11].map(micro), [0.25, 0.25, 0.5, 0.75]);
    }

    #[test]
    fn micro_macro_and_each_relation_have_a_row() {
        // cures 7 of 10, causes 0 of 10, part_of 1 of 1.
        let mut ranks = vec![("cures", Some(1)); 7];
        ranks.extend([("cures", None); 3]);
        ranks.extend([("causes", Some(2)); 10]);
        ranks.push(("part_of", Some(1)));
        let rows = fixture::rows(&Acc { k: 1 }, &fixture::predictions(&ranks));
        let seen: Vec<(&str, Option<&str>, u64, &str)> = rows.iter().map(|row| (row.0.as_str(), row.1.as_deref(), row.3, row.6.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("micro", None, 21, "wilson"),
                ("macro", None, 3, "cluster-bootstrap"),
                ("relation", Some("causes"), 10, "wilson"),
                ("relation", Some("cures"), 10, "wilson"),
                ("relation", Some("part_of"), 1, "wilson"),
            ]
        );
        let values: Vec<f64> = rows.iter().map(|row| row.2).collect();
        assert!((values[0] - 8.0 / 21.0).abs() < 1e-15);
        assert!((values[1] - 1.7 / 3.0).abs() < 1e-15);
        assert_eq!(values[2..], [0.0, 0.7, 1.0]);
        assert!((rows[3].4 - 0.396_778_1).abs() < 1e-6 && (rows[3].5 - 0.892_208_7).abs() < 1e-6); // Wilson of 7 of 10
        assert!(rows[2].4 == 0.0 && rows[2].5 > 0.27); // 0 of 10 does not mean impossible
        assert_eq!((rows[1].4, rows[1].5), (0.0, 1.0)); // three such different relations say little of a fourth
    }

    #[test]
    fn relations_that_are_all_wrong_have_wilsons_interval_over_relations() {
        let rows = fixture::rows(&Acc { k: 1 }, &fixture::predictions(&[("a", None), ("a", None), ("b", None), ("b", Some(2))]));
        assert_eq!((rows[1].0.as_str(), rows[1].2, rows[1].4, rows[1].6.as_str()), ("macro", 0.0, 0.0, "wilson"));
        assert!((rows[1].5 - 0.657_619_8).abs() < 1e-6, "{rows:?}"); // 0 of 2
    }

    #[test]
    fn one_relation_has_its_wilson_interval_in_every_row() {
        let rows = fixture::rows(&Acc { k: 1 }, &fixture::predictions(&[("r", Some(1)), ("r", None)]));
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| (row.2, row.4, row.5, row.6.as_str()) == (0.5, rows[0].4, rows[0].5, "wilson")));
        assert_eq!(rows[1].3, 1); // a macro mean over one relation
    }

    #[test]
    fn the_macro_interval_is_that_of_relations_however_large_they_are() {
        // Ten relations with one question that hits, ten with a hundred that miss: macro 0.5, micro 10/1010.
        let labels: Vec<String> = (0..20).map(|i| format!("r{i:02}")).collect();
        let (easy, hard) = labels.split_at(10);
        let mut ranks: Vec<(&str, Option<u64>)> = easy.iter().map(|label| (label.as_str(), Some(1))).collect();
        ranks.extend(hard.iter().flat_map(|label| [(label.as_str(), None); 100]));
        let rows = fixture::rows(&Acc { k: 1 }, &fixture::predictions(&ranks));
        assert!(rows[0].5 < 0.02, "{rows:?}");
        assert!(0.2 < rows[1].4 && rows[1].4 < 0.5 && 0.5 < rows[1].5 && rows[1].5 < 0.8, "{rows:?}"); // 0.5 +- 2 sqrt(0.25 / 20)
    }

    #[test]
    fn acc_grows_with_k() {
        let ranks: Vec<(&str, Option<u64>)> = (0..50).map(|i| (if i % 3 == 0 { "a" } else { "b" }, (i % 7 != 0).then_some(i * i % 23 + 1))).collect();
        let predictions = fixture::predictions(&ranks);
        let values: Vec<f64> = (1..=24).map(|k| fixture::rows(&Acc { k }, &predictions)[0].2).collect();
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{values:?}");
        assert_eq!(values[23], 42.0 / 50.0); // all but the eight without a rank
    }

    #[test]
    fn the_default_is_one_and_unknown_parameters_are_refused() {
        assert_eq!(build(serde_json::json!({}), &BuildContext::default()).unwrap().name(), "acc@1");
        assert!(build(serde_json::json!({"n": 1}), &BuildContext::default()).is_err());
        let schema = schema_of::<AccParams>();
        assert_eq!((&schema["properties"]["k"]["default"], &schema["properties"]["k"]["minimum"]), (&1.into(), &1.into()));
    }
}
