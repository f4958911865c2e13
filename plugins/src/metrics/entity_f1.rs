//! Precision, recall and F1 of entities.

use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::entities::{EntityCounts, Scheme};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class_scores::{ClassCounts, Names};
use super::clusters::{ScoredRows, filled};

inventory::submit! {
    Registration {
        id: "entity-f1",
        version: 2,
        build: Build::Metric(&build),
        summary: "precision, recall and F1 of named entities: type, first and last word must be right",
        manual: MANUAL,
        schema: &schema_of::<EntityF1Params>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
An entity counts as found only if its type, its first and its last word are right. `entity-precision` is the share of the
found entities that are right, `entity-recall` the share of the gold entities that were found, `entity-f1` the harmonic mean of
the two. Unit: a fraction in [0, 1]; higher is better. What is 0/0 is 0.

## How
Entities are read from the tags of words. With `scheme: conlleval` any tag that cannot continue what stands before it begins an
entity, so an `I-X` after `O` does. With `scheme: strict` only `B` begins one (IOB2): an `I` that continues nothing belongs to no
entity, and a warning counts such tags; its numbers are called `strict-entity-precision`, `strict-entity-recall` and `strict-entity-f1`.

| row | value | n |
|---|---|---|
| `micro` | over all entities | found entities (precision), gold entities (recall, F1) |
| `macro` | mean of the types' values, over types that are gold or were found | types |
| `label` | over the entities of one type | as `micro`, of the type |

Tags without types, or of one type, have the `micro` row alone. Sentences without gold tags are left out, and a warning counts them.
The 95 % interval resamples whole clusters (documents; sentences where nothing is known of documents) 2 000 times from the run's
seed; resamples in which neither a gold nor a found entity is drawn are left out of it, and `macro` is over the types that occur in a
resample. Where fewer than two clusters have a part in a number (something found in precision, something gold in recall, either in F1)
it is [0, 1]. If all resamples are 0, or all are 1, it is Wilson's, over the clusters that have a part (`ci_method` says so).

## Example
```yaml
metrics: [entity-f1, {use: entity-f1, scheme: strict}]
```

## Reference
Tjong Kim Sang and De Meulder 2003, *Introduction to the CoNLL-2003 shared task*; the scheme `conlleval` counts as its `conlleval.pl`
and the default mode of seqeval do. Interval: Field and Welsh 2007, *Bootstrapping clustered data*.
";

/// How tags are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum TagScheme {
    /// Any tag that cannot continue what stands before it begins an entity.
    #[default]
    Conlleval,
    /// IOB2: only `B` begins an entity.
    Strict,
}

/// Parameters of `entity-f1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EntityF1Params {
    /// How tags are read: `conlleval` or `strict` (IOB2).
    #[serde(default)]
    scheme: TagScheme,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let EntityF1Params { scheme } = serde_json::from_value(params)?;
    Ok(Arc::new(EntityF1 { scheme }))
}

/// F1 of entities.
#[derive(Debug)]
struct EntityF1 {
    scheme: TagScheme,
}

impl Metric for EntityF1 {
    fn name(&self) -> String {
        match self.scheme {
            TagScheme::Conlleval => "entity-f1".to_owned(),
            TagScheme::Strict => "strict-entity-f1".to_owned(),
        }
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::TokenClassification]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let name = self.name();
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        let scored = ScoredRows::new(predictions, &name, &filled(&golds), cx)?;
        let (scheme, names) = match self.scheme {
            TagScheme::Conlleval => (Scheme::Conlleval, Names { precision: "entity-precision", recall: "entity-recall", f1: &name }),
            TagScheme::Strict => (Scheme::Iob2Strict, Names { precision: "strict-entity-precision", recall: "strict-entity-recall", f1: &name }),
        };
        let clusters = scored.fold(|counts: &mut EntityCounts, row| {
            *counts += EntityCounts::of(&golds[row], &found[row], scheme)?;
            Ok(())
        })?;
        let ill_formed = |of: fn(&EntityCounts) -> u64| clusters.iter().map(of).sum::<u64>();
        let (in_gold, in_found) = (ill_formed(|counts| counts.ill_formed_gold), ill_formed(|counts| counts.ill_formed_found));
        if in_gold + in_found > 0 {
            cx.warn(format!("`{name}`: {in_gold} gold tags and {in_found} predicted tags continue nothing and belong to no entity"));
        }
        let by_kind: Vec<_> = clusters.into_iter().map(|counts| counts.by_kind).collect();
        let mut rows = MetricRows::default();
        ClassCounts::by_name(&by_kind).push_rows(&mut rows, names, cx.seed);
        rows.into_frame()
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_scorers::conlleval::PhraseCounts;

    use super::super::labelled_fixture::{refusal, row, rows, tagged, warnings};
    use super::*;

    const PROBLEM: Problem = Problem::TokenClassification;
    const LENIENT: EntityF1 = EntityF1 { scheme: TagScheme::Conlleval };
    const STRICT: EntityF1 = EntityF1 { scheme: TagScheme::Strict };

    #[test]
    fn an_entity_is_right_only_as_a_whole() {
        let rows = rows(
            &LENIENT,
            PROBLEM,
            &tagged(&[
                ("d1", "B-X I-X O B-Y", "B-X O O B-Y", 0.9), // Y right, X cut
                ("d1", "B-X O", "B-X B-X", 0.9),             // X right, and one too many
                ("d2", "O B-Y", "O O", 0.9),                 // Y missed
            ]),
        );
        // X: 1 of 3 found, 1 of 2 gold. Y: 1 of 1 found, 1 of 2 gold.
        let seen: Vec<(&str, f64, u64)> = [("entity-precision", "micro"), ("entity-recall", "micro"), ("entity-f1", "micro")]
            .map(|(metric, aggregate)| row(&rows, metric, aggregate))
            .map(|row| (row.metric.as_str(), row.value, row.n))
            .to_vec();
        assert_eq!(seen, [("entity-precision", 0.5, 4), ("entity-recall", 0.5, 4), ("entity-f1", 0.5, 4)]);
        let macro_f1 = row(&rows, "entity-f1", "macro");
        assert!((macro_f1.value - f64::midpoint(0.4, 2.0 / 3.0)).abs() < 1e-15);
        assert_eq!(macro_f1.n, 2);
        let x = row(&rows, "entity-precision", "label:X");
        assert_eq!((x.value, x.n, x.method.as_str(), x.unit.as_str(), x.higher_is_better), (1.0 / 3.0, 3, "cluster-bootstrap", "fraction", true));
        assert_eq!(rows.len(), 12);
    }

    #[test]
    fn the_counts_are_those_of_conlleval() {
        let tags = ["O", "B-X", "I-X", "B-Y", "I-Y"];
        let mut random = lmprobe_core::Seed(7).random();
        let draw = |random: &mut lmprobe_core::Random| -> Vec<&str> { (0..15).map(|_| tags[random.below(tags.len())]).collect() };
        let sentences: Vec<(Vec<&str>, Vec<&str>)> = (0..40).map(|_| (draw(&mut random), draw(&mut random))).collect();
        let slices: Vec<(&[&str], &[&str])> = sentences.iter().map(|(gold, found)| (gold.as_slice(), found.as_slice())).collect();
        let total = PhraseCounts::of(&slices).unwrap().total;
        let joined: Vec<(String, String)> = sentences.iter().map(|(gold, found)| (gold.join(" "), found.join(" "))).collect();
        let frame = tagged(&joined.iter().map(|(gold, found)| ("d", gold.as_str(), found.as_str(), 0.5)).collect::<Vec<_>>());
        let rows = rows(&LENIENT, PROBLEM, &frame);
        let (precision, recall) = (row(&rows, "entity-precision", "micro"), row(&rows, "entity-recall", "micro"));
        assert!(total.correct > 0);
        assert_eq!((precision.n, recall.n), (total.found, total.gold));
        assert_eq!((precision.value, recall.value, row(&rows, "entity-f1", "micro").value), (total.precision(), total.recall(), total.f1()));
    }

    #[test]
    fn strict_tags_that_continue_nothing_are_no_entity_and_are_counted() {
        let frame = tagged(&[("a", "O I-X", "O I-X", 0.9), ("b", "B-X O", "B-X I-Y", 0.9)]);
        assert_eq!(row(&rows(&LENIENT, PROBLEM, &frame), "entity-f1", "micro").n, 2);
        let strict = rows(&STRICT, PROBLEM, &frame);
        assert_eq!((row(&strict, "strict-entity-f1", "micro").value, row(&strict, "strict-entity-f1", "micro").n), (1.0, 1));
        assert_eq!(warnings(&STRICT, &frame), ["`strict-entity-f1`: 1 gold tags and 2 predicted tags continue nothing and belong to no entity"]);
    }

    #[test]
    fn nothing_to_find_or_nothing_found_is_zero() {
        let none_found = rows(&LENIENT, PROBLEM, &tagged(&[("a", "B", "O", 0.9), ("b", "B", "O", 0.9)]));
        assert_eq!(none_found.iter().map(|row| (row.value, row.n)).collect::<Vec<_>>(), [(0.0, 0), (0.0, 2), (0.0, 2)]);
        let none_gold = rows(&LENIENT, PROBLEM, &tagged(&[("a", "O", "B", 0.9), ("b", "O", "O", 0.9)]));
        assert_eq!(none_gold.iter().map(|row| (row.value, row.n)).collect::<Vec<_>>(), [(0.0, 1), (0.0, 0), (0.0, 0)]);
        let neither = rows(&LENIENT, PROBLEM, &tagged(&[("a", "O", "O", 0.9), ("b", "O", "O", 0.9)]));
        assert!(neither.iter().all(|row| (row.value, row.n, row.low, row.high) == (0.0, 0, 0.0, 1.0)), "{neither:?}");
    }

    #[test]
    fn the_only_entity_of_two_sentences_says_nothing_of_the_spread() {
        let one = rows(&LENIENT, PROBLEM, &tagged(&[("a", "B", "B", 0.9), ("b", "O", "O", 0.9)]));
        assert!(one.iter().all(|row| (row.value, row.low, row.high) == (1.0, 0.0, 1.0)), "{one:?}");
        // Four documents with an entity each, all found: Wilson of 4 of 4 is [0.5101, 1], whatever other documents there are.
        let sentence = |document| (document, "B", "B", 0.9);
        let all = rows(&LENIENT, PROBLEM, &tagged(&[sentence("a"), sentence("b"), sentence("c"), sentence("d"), ("e", "O", "O", 0.9)]));
        for row in &all {
            assert_eq!((row.value, row.high, row.method.as_str()), (1.0, 1.0, "wilson"));
            assert!((row.low - 0.510_109_2).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn documents_are_resampled_and_not_sentences() {
        // Ten documents of ten sentences, half of them all right and half all wrong.
        let sentences: Vec<(String, &str)> = (0..100).map(|i| (format!("d{}", i / 10), if i / 10 % 2 == 0 { "B" } else { "O" })).collect();
        let by = |cluster: fn(&(usize, &(String, &str))) -> String| {
            let clusters: Vec<String> = sentences.iter().enumerate().map(|one| cluster(&one)).collect();
            let frame = tagged(&sentences.iter().zip(&clusters).map(|(one, cluster)| (cluster.as_str(), "B", one.1, 0.9)).collect::<Vec<_>>());
            let rows = rows(&LENIENT, PROBLEM, &frame);
            let recall = row(&rows, "entity-recall", "micro");
            (recall.value, recall.high - recall.low)
        };
        let (documents, alone) = (by(|(_, one)| one.0.clone()), by(|(i, _)| i.to_string()));
        assert_eq!((documents.0, alone.0), (0.5, 0.5));
        // 4 sqrt(0.25 / 10) = 0.63 and 4 sqrt(0.25 / 100) = 0.2.
        assert!((documents.1 - 0.63).abs() < 0.1 && (alone.1 - 0.2).abs() < 0.03, "{documents:?} {alone:?}");
    }

    #[test]
    fn sentences_without_gold_are_left_out_and_counted() {
        let frame = tagged(&[("a", "B", "B", 0.9), ("b", "", "B", 0.9)]);
        assert_eq!(row(&rows(&LENIENT, PROBLEM, &frame), "entity-precision", "micro").n, 1);
        assert_eq!(warnings(&LENIENT, &frame), ["`entity-f1` leaves out 1 of 2 examples, which have no gold"]);
        let unknown = refusal(&LENIENT, &tagged(&[("b", "", "B", 0.9)]));
        assert_eq!(unknown, "`entity-f1` has nothing to score: none of the 1 examples has a gold");
    }

    #[test]
    fn tags_that_do_not_fit_are_refused_with_their_example() {
        let message = refusal(&LENIENT, &tagged(&[("a", "O O", "O", 0.9)]));
        assert_eq!(message, "example `e0`: 2 gold tags against 1 predicted; each needs its counterpart");
        assert!(refusal(&STRICT, &tagged(&[("a", "S-X", "O", 0.9)])).contains("example `e0`: tag `S-X`"));
        assert!(build(serde_json::json!({"scheme": "iobes"}), &BuildContext::default()).is_err());
        assert_eq!(build(serde_json::json!({}), &BuildContext::default()).unwrap().name(), "entity-f1");
    }
}
