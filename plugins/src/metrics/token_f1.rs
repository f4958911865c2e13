//! Precision, recall and F1 of words by type.

use std::collections::BTreeMap;
use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::Counts;
use lmprobe_scorers::token_level::TypedTokens;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class_scores::{ClassCounts, Names};
use super::clusters::{Quantity, ScoredRows, filled, push_bootstrapped, sum};

inventory::submit! {
    Registration {
        id: "token-f1",
        version: 1,
        build: Build::Metric(&build),
        summary: "precision, recall and F1 of single words by type, as EBM-PICO is scored",
        manual: MANUAL,
        schema: &schema_of::<TokenF1Params>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Every word counts for itself: it is right if its type is. `B-PAR` and `I-PAR` are the same type, so the borders of entities do not
matter. `token-precision` is the share of the words given a type that have it, `token-recall` the share of the words of a type that
were given it, `token-f1` the harmonic mean of the two. Unit: a fraction in [0, 1]; higher is better. What is 0/0 is 0.

**It is no score of entities**: long entities weigh more than short ones. For named entities report `entity-f1`.

## How
`O` is no type. With `with_outside: true` it is a class like the others, which most words belong to: the micro average is then
the accuracy. These numbers are called `token-precision-with-outside`, `token-recall-with-outside` and `token-f1-with-outside`.

| row | value | n |
|---|---|---|
| `micro` | over all words with a type | words given a type (precision), words that have one (recall, F1) |
| `macro` | mean of the types' values, over types that are gold or were predicted | types |
| `label` | over the words of one type; tags without type are called `untyped` | as `micro`, of the type |

Tags of one type have the `micro` row alone, unless `O` is a class. Tags without types (`B`, `I`, `O`) have three rows more:
`bi-token-precision`, `bi-token-recall` and `bi-token-f1`, `macro`, are the means over the two classes `B` and `I`, as BioBERT logs
them, but over words: BioBERT counts word pieces and padding too, so its numbers are others.

Sentences without gold tags are left out, and a warning counts them. The 95 % interval resamples whole clusters (documents;
sentences where nothing is known of documents) 2 000 times from the run's seed; resamples in which a class does not occur are left
out of its interval. With one cluster it is [0, 1].

## Example
```yaml
metrics: [token-f1, {use: token-f1, with_outside: true}]
```

## Reference
The macro average is the score of EBM-PICO (Nye et al. 2018, <https://arxiv.org/abs/1806.04185>) in BLURB (Gu et al. 2021,
<https://arxiv.org/abs/2007.15779>). Interval: Field and Welsh 2007, *Bootstrapping clustered data*.
";

/// Parameters of `token-f1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenF1Params {
    /// Whether words outside all entities, `O`, are a class like the others.
    #[serde(default)]
    with_outside: bool,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let TokenF1Params { with_outside } = serde_json::from_value(params)?;
    Ok(Arc::new(TokenF1 { with_outside }))
}

/// F1 of words.
#[derive(Debug)]
struct TokenF1 {
    with_outside: bool,
}

impl Metric for TokenF1 {
    fn name(&self) -> String {
        if self.with_outside { "token-f1-with-outside" } else { "token-f1" }.to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::TokenClassification]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let name = self.name();
        let (golds, found) = (table::text_lists(predictions, "golds")?, table::text_lists(predictions, "predictions")?);
        let scored = ScoredRows::new(predictions, &name, &filled(&golds), cx)?;
        let clusters = scored.fold(|counts: &mut TypedTokens, row| {
            *counts += TypedTokens::of(&golds[row], &found[row])?;
            Ok(())
        })?;
        let by_name: Vec<BTreeMap<String, Counts>> = clusters.iter().map(|counts| self.classes(counts)).collect();
        let names = if self.with_outside {
            Names { precision: "token-precision-with-outside", recall: "token-recall-with-outside", f1: &name }
        } else {
            Names { precision: "token-precision", recall: "token-recall", f1: &name }
        };
        let mut rows = MetricRows::default();
        ClassCounts::by_name(&by_name).push_rows(&mut rows, names, cx.seed);
        if clusters.iter().all(|counts| counts.by_kind.keys().all(String::is_empty)) {
            let clusters = scored.fold(|counts: &mut Letters, row| {
                golds[row].iter().zip(&found[row]).for_each(|(gold, found)| counts.add(gold, found));
                Ok(())
            })?;
            push_letters(&mut rows, &clusters, cx);
        }
        rows.into_frame()
    }
}

impl TokenF1 {
    fn classes(&self, counts: &TypedTokens) -> BTreeMap<String, Counts> {
        let mut classes = counts.by_kind.clone();
        if self.with_outside {
            classes.insert("O".to_owned(), counts.outside);
        }
        classes
    }
}

/// The classes of tags without type that begin or continue an entity.
const LETTERS: [&str; 2] = ["B", "I"];

/// Counts of [`LETTERS`].
#[derive(Debug, Clone, Copy, Default)]
struct Letters([Counts; 2]);

impl Letters {
    fn add(&mut self, gold: &str, found: &str) {
        for (letter, counts) in LETTERS.iter().zip(&mut self.0) {
            let (gold, found) = (gold == *letter, found == *letter);
            *counts += Counts { correct: u64::from(gold && found), found: u64::from(found), gold: u64::from(gold) };
        }
    }
}

/// The means over `B` and `I`: both are classes even where one of them never occurs.
fn push_letters(rows: &mut MetricRows, clusters: &[Letters], cx: &CallContext<'_>) {
    let n = LETTERS.len() as u64;
    let quantities = ["bi-token-precision", "bi-token-recall", "bi-token-f1"].map(|metric| Quantity { aggregate: "macro", ..Quantity::fraction(metric, n) });
    let values = |drawn: &[&Letters]| {
        let scores = lmprobe_scorers::Scores::mean([0, 1].map(|letter| sum(drawn.iter().map(|letters| letters.0[letter]))));
        vec![Some(scores.precision), Some(scores.recall), Some(scores.f1)]
    };
    push_bootstrapped(rows, quantities.to_vec(), clusters, values, cx.seed);
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{refusal, row, rows, tagged};
    use super::*;

    const PROBLEM: Problem = Problem::TokenClassification;
    const TYPES: TokenF1 = TokenF1 { with_outside: false };
    const WITH_OUTSIDE: TokenF1 = TokenF1 { with_outside: true };

    #[test]
    fn words_count_by_type_whatever_their_letter() {
        let frame = tagged(&[("a", "I-PAR I-PAR I-INT O O", "B-PAR I-INT I-INT O I-OUT", 0.9), ("b", "O", "O", 0.9)]);
        // PAR 1 of 1 found, 1 of 2 gold; INT 1 of 2, 1 of 1; OUT 0 of 1, 0 of 0; O 2 of 2, 2 of 3.
        let types = rows(&TYPES, PROBLEM, &frame);
        assert_eq!((row(&types, "token-precision", "micro").value, row(&types, "token-precision", "micro").n), (0.5, 4));
        assert_eq!((row(&types, "token-recall", "micro").value, row(&types, "token-recall", "micro").n), (2.0 / 3.0, 3));
        assert!((row(&types, "token-f1", "macro").value - 4.0 / 9.0).abs() < 1e-15);
        assert_eq!((row(&types, "token-f1", "label:OUT").value, row(&types, "token-f1", "label:OUT").n), (0.0, 0));
        assert!(types.iter().all(|row| row.label.as_deref() != Some("O")));
        let all = rows(&WITH_OUTSIDE, PROBLEM, &frame);
        assert_eq!((row(&all, "token-f1-with-outside", "micro").value, row(&all, "token-f1-with-outside", "micro").n), (4.0 / 6.0, 6));
        assert!((row(&all, "token-f1-with-outside", "macro").value - (2.0 / 3.0 + 2.0 / 3.0 + 0.0 + 0.8) / 4.0).abs() < 1e-15);
        assert_eq!(row(&all, "token-recall-with-outside", "label:O").value, 2.0 / 3.0);
    }

    #[test]
    fn the_means_over_b_and_i_are_for_tags_without_type() {
        let rows = rows(&TYPES, PROBLEM, &tagged(&[("a", "B I O", "B B O", 0.9), ("b", "O B", "O B", 0.9)]));
        // B: 2 of 3 found, 2 of 2 gold, F 4/5. I: 0 of 0, 0 of 1. As words of entities all are right.
        assert_eq!(row(&rows, "token-f1", "micro").value, 1.0);
        let seen = ["bi-token-precision", "bi-token-recall", "bi-token-f1"].map(|metric| row(&rows, metric, "macro").value);
        assert_eq!(seen, [1.0 / 3.0, 0.5, 0.4]);
        assert_eq!(rows.len(), 6);
        let typed = super::super::labelled_fixture::rows(&TYPES, PROBLEM, &tagged(&[("a", "B-X", "B-X", 0.9)]));
        assert_eq!(typed.len(), 3);
    }

    #[test]
    fn tags_without_type_beside_outside_are_called_untyped() {
        let rows = rows(&WITH_OUTSIDE, PROBLEM, &tagged(&[("a", "B O", "O O", 0.9), ("b", "O B", "O B", 0.9)]));
        assert_eq!(row(&rows, "token-recall-with-outside", "label:untyped").value, 0.5);
    }

    #[test]
    fn nothing_to_score_is_an_error() {
        assert_eq!(refusal(&TYPES, &tagged(&[])), "`token-f1` has nothing to score: there is no example");
        assert!(refusal(&TYPES, &tagged(&[("a", "O O", "O", 0.9)])).starts_with("example `e0`: 2 gold tags against 1 predicted"));
        assert_eq!(build(serde_json::json!({"with_outside": true}), &BuildContext::default()).unwrap().name(), "token-f1-with-outside");
    }

    #[test]
    fn no_type_at_all_is_zero() {
        let rows = rows(&TYPES, PROBLEM, &tagged(&[("a", "O O", "O O", 0.9), ("b", "O", "O", 0.9)]));
        assert!(rows.iter().all(|row| row.value == 0.0), "{rows:?}");
    }
}
