//! Precision, recall and F1 of a classification.

use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Error, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::classes::Confusion;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class_scores::{ClassCounts, Names};
use super::clusters::{Hits, ScoredRows, filled, push_share};

inventory::submit! {
    Registration {
        id: "f1",
        version: 2,
        build: Build::Metric(&build),
        summary: "precision, recall and F1 of a classification: micro without the negative class, macro, each label",
        manual: MANUAL,
        schema: &schema_of::<F1Params>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
`precision` is the share of the examples given a label that have it, `recall` the share of the examples of a label that were given
it, `f1` the harmonic mean of the two. Unit: a fraction in [0, 1]; higher is better. What is 0/0 is 0.

## How

| row | value | n |
|---|---|---|
| `micro` | summed over all labels but the negative one | examples given such a label (precision), examples that have one (recall, F1) |
| `macro` | mean of the labels' values, over labels that are gold or were predicted | labels |
| `label` | of one label | as `micro`, of the label |

The negative label is the one that says that nothing is there, if the task declares one (`0` or `false` in relation extraction):
finding no relation where there is none earns nothing in `micro`. Without a negative label all three `micro` rows are the accuracy.
`macro` counts the negative label too; a label of the task that is neither gold nor predicted has no part in it.

With two labels of which one is declared negative there is a row `specificity`, `micro`: the share of the negative examples that
were called negative; its n is the negative examples.

Examples without gold are left out, and a warning counts them. The 95 % interval resamples whole clusters (documents, premises;
examples where nothing is known) 2 000 times from the run's seed; resamples in which a label does not occur are left out of its
interval, and `macro` is over the labels that occur in a resample. Where fewer than two clusters have a part in a number (something
found in precision, something gold in recall, either in F1) it is [0, 1]. If all resamples are 0, or all are 1, it is Wilson's, over the
clusters that have a part (`ci_method` says so). That of `specificity` is Wilson's where every negative example is a cluster of its own.

## Example
```yaml
metrics: [f1, accuracy]
```

## Reference
`micro` without the negative class is the score of ChemProt, DDI and GAD in BLURB (Gu et al. 2021, <https://arxiv.org/abs/2007.15779>)
and `PRF1` of LinkBERT; with `specificity` it is the report of BioBERT's relation extraction. Interval: Field and Welsh 2007,
*Bootstrapping clustered data*.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct F1Params {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let F1Params {} = serde_json::from_value(params)?;
    Ok(Arc::new(F1))
}

/// F1 of a classification.
#[derive(Debug)]
struct F1;

impl Metric for F1 {
    fn name(&self) -> String {
        "f1".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::SequenceClassification, Problem::MultipleChoice]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let name = self.name();
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        let scored = ScoredRows::new(predictions, &name, &filled(&golds), cx)?;
        let labels = labels(predictions)?;
        let negative = match negative(predictions)? {
            Some(label) => Some(
                labels
                    .iter()
                    .position(|known| *known == label)
                    .ok_or_else(|| Error::Config(format!("`{name}`: the negative label `{label}` is not among the labels `{}`", labels.join("`, `"))))?,
            ),
            None => None,
        };
        let empty = Confusion::new(&labels);
        let clusters = scored.fold(|counts: &mut Confusion, row| {
            *counts += &empty;
            let [gold] = golds[row].as_slice() else { return Err(several("gold", golds[row].len())) };
            let [found] = found[row].as_slice() else { return Err(several("predicted", found[row].len())) };
            counts.add(gold, found)
        })?;
        let counts = ClassCounts {
            micro: (0..labels.len()).map(|label| negative != Some(label)).collect(),
            clusters: clusters.iter().map(|counts| counts.classes().map(|(_, counts)| counts).collect()).collect(),
            classes: labels,
        };
        let mut rows = MetricRows::default();
        counts.push_rows(&mut rows, Names { precision: "precision", recall: "recall", f1: &name }, cx.seed);
        if let (Some(negative), 2) = (negative, counts.classes.len()) {
            let called = counts.clusters.iter().map(|cluster| Hits { hits: cluster[negative].correct, n: cluster[negative].gold });
            push_share(&mut rows, "specificity", &called.collect::<Vec<_>>(), cx.seed);
        }
        rows.into_frame()
    }
}

/// All labels: those of the first row, and behind them what other rows have beside.
fn labels(predictions: &DataFrame) -> Result<Vec<String>> {
    let mut labels: Vec<String> = Vec::new();
    let mut last: Vec<String> = Vec::new();
    for row in table::text_lists(predictions, "labels")? {
        if row == last {
            continue;
        }
        for label in &row {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        last = row;
    }
    Ok(labels)
}

/// The negative label, which is the same in all rows.
fn negative(predictions: &DataFrame) -> Result<Option<String>> {
    let all = table::optional_texts(predictions, "negative")?;
    let first = all.first().copied().flatten();
    match all.iter().find(|label| **label != first) {
        Some(other) => {
            let shown = |label: Option<&str>| label.map_or("none".to_owned(), |label| format!("`{label}`"));
            Err(Error::Config(format!("`f1`: the negative label is {} of some examples and {} of others; a task has one", shown(first), shown(*other))))
        }
        None => Ok(first.map(str::to_owned)),
    }
}

fn several(which: &str, n: usize) -> lmprobe_scorers::Error {
    lmprobe_scorers::Error::Value(format!("{n} {which} labels, expected one"))
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{labelled, refusal, row, rows, warnings};
    use super::*;

    const PROBLEM: Problem = Problem::SequenceClassification;

    #[test]
    fn relations_are_scored_without_the_negative_class() {
        let texts = [("a", "0", "0"), ("b", "0", "int"), ("c", "int", "int"), ("d", "int", "0"), ("e", "effect", "int")];
        let frame = labelled(&["0", "effect", "int"], Some("0"), &texts);
        let rows = rows(&F1, PROBLEM, &frame);
        // 1 of 3 called a relation is right, 1 of 3 relations is found.
        let micro = ["precision", "recall", "f1"].map(|metric| (row(&rows, metric, "micro").value, row(&rows, metric, "micro").n));
        assert_eq!(micro, [(1.0 / 3.0, 3); 3]);
        // F1: `0` 1/2, effect 0, int 2/5.
        assert!((row(&rows, "f1", "macro").value - 0.3).abs() < 1e-15);
        assert_eq!((row(&rows, "f1", "macro").n, row(&rows, "f1", "label:int").value, row(&rows, "f1", "label:int").n), (3, 0.4, 2));
        assert!(rows.iter().all(|row| row.metric != "specificity"));
    }

    #[test]
    fn without_a_negative_label_micro_is_the_accuracy() {
        let frame = labelled(&["no", "yes", "maybe"], None, &[("a", "no", "no"), ("b", "yes", "no"), ("c", "yes", "yes"), ("d", "yes", "yes")]);
        let rows = rows(&F1, PROBLEM, &frame);
        assert_eq!(["precision", "recall", "f1"].map(|metric| row(&rows, metric, "micro").value), [0.75; 3]);
        // `maybe` occurs nowhere and has no part in the mean: (2/3 + 4/5) / 2.
        assert!((row(&rows, "f1", "macro").value - f64::midpoint(2.0 / 3.0, 0.8)).abs() < 1e-15);
        assert_eq!((row(&rows, "f1", "macro").n, row(&rows, "f1", "label:maybe").value), (2, 0.0));
        assert_eq!((row(&rows, "recall", "label:yes").value, row(&rows, "recall", "label:yes").n), (2.0 / 3.0, 3));
    }

    #[test]
    fn the_mean_over_labels_lies_within_its_interval_where_a_label_is_rare() {
        // Of 40 texts one has `rare`; it and three in four of the others are right. A resample without it is not 0 in `rare`.
        let ids: Vec<String> = (0..40).map(|row| row.to_string()).collect();
        let texts: Vec<(&str, &str, &str)> = ids
            .iter()
            .enumerate()
            .map(|(row, id)| {
                let gold = if row == 0 { "rare" } else { ["no", "yes"][row % 2] };
                (id.as_str(), gold, if row % 4 == 3 { "no" } else { gold })
            })
            .collect();
        let rows = rows(&F1, PROBLEM, &labelled(&["no", "rare", "yes"], None, &texts));
        let (mean, rare) = (row(&rows, "f1", "macro"), row(&rows, "f1", "label:rare"));
        // `no` 19 right of 29 found and 19 gold: 38/48. `yes` 10 right of 10 found and 20 gold: 20/30. `rare` 1.
        assert!((mean.value - (38.0 / 48.0 + 20.0 / 30.0 + 1.0) / 3.0).abs() < 1e-15, "{mean:?}");
        assert!(mean.low > 0.55 && mean.value < mean.high, "as 0 in a resample without it, `rare` would pull the end below 0.5: {mean:?}");
        assert_eq!((rare.value, rare.low, rare.high), (1.0, 0.0, 1.0), "one text says nothing of the spread");
    }

    #[test]
    fn two_classes_have_a_specificity() {
        // The fold that BioBERT's README prints: 255 of 281 found, 180 of 253 rightly not.
        let mut texts = vec![("1", "1"); 255];
        texts.extend([("0", "1"); 73]);
        texts.extend([("0", "0"); 180]);
        texts.extend([("1", "0"); 26]);
        let ids: Vec<String> = (0..texts.len()).map(|row| row.to_string()).collect();
        let texts: Vec<(&str, &str, &str)> = ids.iter().zip(texts).map(|(id, (gold, found))| (id.as_str(), gold, found)).collect();
        let rows = rows(&F1, PROBLEM, &labelled(&["0", "1"], Some("0"), &texts));
        let percent = |metric: &str| (row(&rows, metric, "micro").value * 1e4).round() / 1e2;
        assert_eq!(["recall", "precision", "f1", "specificity"].map(percent), [90.75, 77.74, 83.74, 71.15]);
        let specificity = row(&rows, "specificity", "micro");
        assert_eq!((specificity.n, specificity.method.as_str()), (253, "wilson"));
        let f1 = row(&rows, "f1", "micro");
        assert!(f1.low < f1.value && f1.value < f1.high && f1.high - f1.low < 0.08, "{f1:?}");
    }

    #[test]
    fn questions_may_differ_in_their_choices() {
        let few = labelled(&["A", "B"], None, &[("a", "B", "A")]);
        let many = labelled(&["A", "B", "C"], None, &[("b", "C", "C")]);
        let frame = few.vstack(&many).unwrap();
        let rows = rows(&F1, Problem::MultipleChoice, &frame);
        assert_eq!((row(&rows, "f1", "micro").value, row(&rows, "f1", "macro").n, row(&rows, "f1", "label:C").value), (0.5, 3, 1.0));
    }

    #[test]
    fn what_cannot_be_scored_is_said() {
        assert_eq!(refusal(&F1, &labelled(&["a", "b"], None, &[("x", "", "a")])), "`f1` has nothing to score: none of the 1 examples has a gold");
        assert_eq!(warnings(&F1, &labelled(&["a", "b"], None, &[("x", "", "a"), ("y", "a", "a")])), ["`f1` leaves out 1 of 2 examples, which have no gold"]);
        let unknown = refusal(&F1, &labelled(&["a", "b"], None, &[("x", "c", "a")]));
        assert_eq!(unknown, "example `e0`: unknown label `c`; the labels are `a`, `b`");
        assert_eq!(refusal(&F1, &labelled(&["a", "b"], None, &[("x", "a", "")])), "example `e0`: 0 predicted labels, expected one");
        let negative = refusal(&F1, &labelled(&["a", "b"], Some("0"), &[("x", "a", "a")]));
        assert_eq!(negative, "`f1`: the negative label `0` is not among the labels `a`, `b`");
        let mixed = labelled(&["a", "b"], Some("a"), &[("x", "a", "a")]).vstack(&labelled(&["a", "b"], None, &[("y", "a", "a")])).unwrap();
        assert_eq!(refusal(&F1, &mixed), "`f1`: the negative label is `a` of some examples and none of others; a task has one");
    }
}
