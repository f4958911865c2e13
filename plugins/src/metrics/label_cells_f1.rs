//! Precision, recall and F1 of several labels a text.

use std::ops::AddAssign;
use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::label_cells::LabelCells;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class_scores::{ClassCounts, Names};
use super::clusters::{Quantity, ScoredRows, push_bootstrapped, sum};

inventory::submit! {
    Registration {
        id: "label-cells-f1",
        version: 2,
        build: Build::Metric(&build),
        summary: "precision, recall and F1 of any number of labels a text, over cells (text, label) and over texts",
        manual: MANUAL,
        schema: &schema_of::<LabelCellsF1Params>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Whether a text has a label is one decision, a cell. `label-cells-precision` is the share of the predicted cells that are right,
`label-cells-recall` the share of the gold cells that were predicted, `label-cells-f1` the harmonic mean of the two. Unit: a
fraction in [0, 1]; higher is better. What is 0/0 is 0.

Papers mean different things by F1 of such tasks, and the numbers differ by several points: name the row that you compare.

## How

| row | value | n |
|---|---|---|
| `micro` of `label-cells-*` | over all cells: what LinkBERT and BLURB report of HoC | predicted cells (precision), gold cells (recall, F1) |
| `macro` of `label-cells-*` | mean of the labels' values, over labels that are gold or were predicted | labels |
| `label` of `label-cells-*` | over the cells of one label | as `micro`, of the label |
| `micro` of `example-precision`, `example-recall` | mean of the texts' own values | texts |
| `micro` of `example-f1` | harmonic mean of these two means, as BLUE reports it | texts |

A text without gold label is an example like the others: it has no right cell, and its own precision and recall are 0. If no text
has a label there is nothing to score, and that is an error. The 95 % interval resamples whole clusters (documents; texts where
nothing is known) 2 000 times from the run's seed; resamples in which a label does not occur are left out of its interval, and `macro`
is over the labels that occur in a resample. Where fewer than two clusters have a part in a number (something predicted in precision,
something gold in recall, either in F1) it is [0, 1]. If all resamples are 0, or all are 1, it is Wilson's, over the clusters that have a
part (`ci_method` says so).

## Example
```yaml
metrics: [label-cells-f1]
```

## Reference
HoC: Baker et al. 2016, *Automatic semantic classification of scientific literature according to the hallmarks of cancer*. Example-based
F1: Zhang and Zhou 2014, <https://doi.org/10.1109/TKDE.2013.39>, and BLUE (Peng et al. 2019, <https://arxiv.org/abs/1906.05474>).
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LabelCellsF1Params {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let LabelCellsF1Params {} = serde_json::from_value(params)?;
    Ok(Arc::new(LabelCellsF1))
}

/// F1 of several labels a text.
#[derive(Debug)]
struct LabelCellsF1;

impl Metric for LabelCellsF1 {
    fn name(&self) -> String {
        "label-cells-f1".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::MultiLabel]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let name = self.name();
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        // No label is an answer, but a table without any gold label is one whose golds are not known.
        let known = vec![golds.iter().any(|golds| !golds.is_empty()); golds.len()];
        let scored = ScoredRows::new(predictions, &name, &known, cx)?;
        let labels = table::text_lists(predictions, "labels")?.into_iter().next().unwrap_or_default();
        let empty = LabelCells::new(&labels);
        let clusters = scored.fold(|cells: &mut LabelCells, row| {
            *cells += &empty;
            cells.add_names(&golds[row], &found[row])
        })?;
        let counts = ClassCounts {
            micro: vec![true; labels.len()],
            clusters: clusters.iter().map(|cells| cells.classes().map(|(_, counts)| counts).collect()).collect(),
            classes: labels,
        };
        let mut rows = MetricRows::default();
        counts.push_rows(&mut rows, Names { precision: "label-cells-precision", recall: "label-cells-recall", f1: &name }, cx.seed);
        let n = clusters.iter().map(|cells| cells.n).sum();
        let quantities = ["example-precision", "example-recall", "example-f1"].map(|metric| Quantity::fraction(metric, n)).to_vec();
        // The sums over texts are all that the means need; labels are not counted again for each resample.
        let means: Vec<Means> = clusters.iter().map(Means::of).collect();
        push_bootstrapped(&mut rows, quantities, &means, |drawn| sum(drawn.iter().map(|means| **means)).values(), cx.seed);
        rows.into_frame()
    }
}

/// Sums of the texts' own precision and recall.
#[derive(Debug, Clone, Copy, Default)]
struct Means {
    precision: f64,
    recall: f64,
    n: f64,
}

impl Means {
    #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^53")]
    fn of(cells: &LabelCells) -> Self {
        let (mean, n) = (cells.example_mean(), cells.n as f64);
        Self { precision: mean.precision * n, recall: mean.recall * n, n }
    }

    fn values(self) -> Vec<Option<f64>> {
        let (precision, recall) = (self.precision / self.n, self.recall / self.n);
        let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        vec![Some(precision), Some(recall), Some(f1)]
    }
}

impl AddAssign for Means {
    fn add_assign(&mut self, other: Self) {
        self.precision += other.precision;
        self.recall += other.recall;
        self.n += other.n;
    }
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{labelled, refusal, row, rows};
    use super::*;

    #[test]
    fn cells_and_texts_are_averaged_apart() {
        let texts = [
            ("1", "a b", "a"), // P 1, R 1/2
            ("2", "c", "b c"), // P 1/2, R 1
            ("3", "a", "b"),   // 0
            ("4", "", ""),     // 0/0
        ];
        let rows = rows(&LabelCellsF1, Problem::MultiLabel, &labelled(&["a", "b", "c"], None, &texts));
        let micro =
            ["label-cells-precision", "label-cells-recall", "label-cells-f1"].map(|metric| (row(&rows, metric, "micro").value, row(&rows, metric, "micro").n));
        assert_eq!(micro, [(0.5, 4); 3]);
        // a: 1 of 1, 1 of 2; b: 0 of 2, 0 of 1; c: 1 of 1, 1 of 1.
        assert!((row(&rows, "label-cells-f1", "macro").value - (2.0 / 3.0 + 0.0 + 1.0) / 3.0).abs() < 1e-15);
        assert_eq!(row(&rows, "label-cells-recall", "label:a").value, 0.5);
        let examples = ["example-precision", "example-recall", "example-f1"].map(|metric| (row(&rows, metric, "micro").value, row(&rows, metric, "micro").n));
        assert_eq!(examples, [(0.375, 4); 3]);
        assert_eq!(rows.len(), 3 * (1 + 1 + 3) + 3);
    }

    #[test]
    fn a_table_without_any_gold_label_has_nothing_to_score() {
        let message = refusal(&LabelCellsF1, &labelled(&["a", "b"], None, &[("1", "", "a"), ("2", "", "")]));
        assert_eq!(message, "`label-cells-f1` has nothing to score: none of the 2 examples has a gold");
        let message = refusal(&LabelCellsF1, &labelled(&["a", "b"], None, &[("1", "d", "a")]));
        assert_eq!(message, "example `e0`: unknown label `d`; the labels are `a`, `b`");
    }

    #[test]
    fn a_label_that_occurs_nowhere_has_no_part_in_the_mean_over_labels() {
        let rows = rows(&LabelCellsF1, Problem::MultiLabel, &labelled(&["a", "b", "never"], None, &[("1", "a b", "a"), ("2", "b", "b")]));
        // F1: a 1, b 2/3.
        let mean = row(&rows, "label-cells-f1", "macro");
        assert!((mean.value - f64::midpoint(1.0, 2.0 / 3.0)).abs() < 1e-15);
        assert_eq!((mean.n, row(&rows, "label-cells-f1", "label:never").high), (2, 1.0));
    }

    #[test]
    fn one_cluster_says_nothing_of_the_spread() {
        let rows = rows(&LabelCellsF1, Problem::MultiLabel, &labelled(&["a", "b"], None, &[("1", "a", "a"), ("1", "b", "a")]));
        assert!(rows.iter().all(|row| (row.low, row.high) == (0.0, 1.0)), "{rows:?}");
    }
}
