//! Precision, recall and F1 of words by type.

use std::collections::BTreeMap;
use std::sync::Arc;

use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::token_level::{BIOBERT_LABELS, BioBertTokens, TypedTokens};
use lmprobe_scorers::{Counts, Scores};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class_scores::{ClassCounts, Names, Parts};
use super::clusters::{Quantity, ScoredRows, filled, push_bootstrapped, sum};

inventory::submit! {
    Registration {
        id: "token-f1",
        version: 2,
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
them, but over words.

BioBERT's own token-level score, `eval_precision`, `eval_recall` and `eval_f` of its `run_ner.py`, is over pieces: a word's first piece
has the tag, each further one `X`, special tokens `[CLS]` and `[SEP]`. Where the predictions have the right label of every piece, as those
of a head of `label_scheme: biobert` on tags `B`, `I` and `O` do, there are `biobert-token-precision`, `biobert-token-recall` and
`biobert-token-f1`, `macro`: again means over `B` and `I`, but a piece `X` that is called `B` is one found too many. The original counts
padding behind every sentence too, which is not there here; that can only lower its precision. Pieces that were cut off count in
neither.

Sentences without gold tags are left out, and a warning counts them. The 95 % interval resamples whole clusters (documents;
sentences where nothing is known of documents) 2 000 times from the run's seed; resamples in which a class does not occur are left
out of its interval, and means over classes are over those that occur in a resample. Where fewer than two clusters have a part in a number
(something predicted in precision, something gold in recall, either in F1) it is [0, 1]. If all resamples are 0, or all are 1, it is
Wilson's, over the clusters that have a part (`ci_method` says so).

## Example
```yaml
metrics: [token-f1, {use: token-f1, with_outside: true}]
```

## Reference
The macro average is the score of EBM-PICO (Nye et al. 2018, <https://arxiv.org/abs/1806.04185>) in BLURB (Gu et al. 2021,
<https://arxiv.org/abs/2007.15779>). BioBERT: Lee et al. 2020, <https://doi.org/10.1093/bioinformatics/btz682>. Interval: Field and Welsh 2007, *Bootstrapping clustered data*.
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
            push_letters(&mut rows, ["bi-token-precision", "bi-token-recall", "bi-token-f1"], &clusters, cx);
        }
        if let Some((golds, found)) = pieces(predictions)? {
            let clusters = scored.fold(|counts: &mut BioBertTokens, row| counts.add_names(&golds[row], &found[row]))?;
            let clusters: Vec<Letters> = clusters.iter().map(|counts| Letters(counts.begin_and_inside())).collect();
            push_letters(&mut rows, ["biobert-token-precision", "biobert-token-recall", "biobert-token-f1"], &clusters, cx);
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

/// Right and predicted labels of the pieces of each sentence.
type Pieces = (Vec<Vec<String>>, Vec<Vec<String>>);

/// The labels of all pieces, if the predictions have them and they are BioBERT's seven.
fn pieces(predictions: &DataFrame) -> Result<Option<Pieces>> {
    if predictions.column("piece_golds").is_err() || predictions.column("piece_predictions").is_err() {
        return Ok(None);
    }
    let (golds, found) = (table::text_lists(predictions, "piece_golds")?, table::text_lists(predictions, "piece_predictions")?);
    let own = golds.iter().chain(&found).flatten().all(|label| BIOBERT_LABELS.contains(&label.as_str()));
    Ok(own.then_some((golds, found)))
}

/// The means over `B` and `I`: both are classes even where one of them occurs nowhere, which is 0 then. In a resample one that was not drawn is left out.
fn push_letters(rows: &mut MetricRows, names: [&str; 3], clusters: &[Letters], cx: &CallContext<'_>) {
    let occurs = |counts: Counts| counts.found + counts.gold > 0;
    let total = |drawn: &[&Letters]| [0, 1].map(|letter| sum(drawn.iter().map(|letters| letters.0[letter])));
    let absent = total(&clusters.iter().collect::<Vec<_>>()).map(|counts| !occurs(counts));
    let parts = Parts::of(clusters.iter().map(|letters| sum(letters.0.into_iter()))).each();
    let quantities = names.iter().zip(parts).map(|(metric, part)| Quantity {
        aggregate: "macro",
        n_clusters: Some(part),
        ..Quantity::fraction(metric, LETTERS.len() as u64)
    });
    let values = |drawn: &[&Letters]| {
        let averaged: Vec<Counts> =
            total(drawn).into_iter().zip(absent).filter(|(counts, absent)| *absent || occurs(*counts)).map(|(counts, _)| counts).collect();
        let scores = averaged.iter().any(|counts| occurs(*counts)).then(|| Scores::mean(averaged));
        vec![scores.map(|scores| scores.precision), scores.map(|scores| scores.recall), scores.map(|scores| scores.f1)]
    };
    push_bootstrapped(rows, quantities.collect(), clusters, values, cx.seed);
}

#[cfg(test)]
mod tests {
    use polars::prelude::IntoColumn;

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

    /// Predictions with the labels of pieces beside.
    fn with_pieces(frame: &DataFrame, golds: &[&str], found: &[&str]) -> DataFrame {
        let lists = |labels: &[&str]| labels.iter().map(|labels| labels.split_whitespace().map(str::to_owned).collect()).collect::<Vec<Vec<String>>>();
        let columns = [table::texts_column("piece_golds", &lists(golds)), table::texts_column("piece_predictions", &lists(found))];
        frame.hstack(&columns.map(IntoColumn::into_column)).unwrap()
    }

    #[test]
    fn the_score_of_biobert_is_over_pieces() {
        let frame = tagged(&[("a", "B I O", "B I O", 0.9), ("b", "O B", "O O", 0.9), ("c", "", "B", 0.9)]);
        let golds = ["[CLS] B X I O [SEP]", "[CLS] O X B [SEP]", ""];
        let found = ["[CLS] B B I O [SEP]", "[CLS] O X O [SEP]", "[CLS] B [SEP]"];
        let rows = rows(&TYPES, PROBLEM, &with_pieces(&frame, &golds, &found));
        // B: 1 of 2 found, 1 of 2 gold, F 1/2. I: 1 of 1, 1 of 1. The third sentence has no gold.
        let seen = ["biobert-token-precision", "biobert-token-recall", "biobert-token-f1"].map(|metric| row(&rows, metric, "macro"));
        assert_eq!(seen.map(|row| (row.value, row.n)), [(0.75, 2); 3]);
        // As words B is 1 of 1 found, 1 of 2 gold.
        assert_eq!(row(&rows, "bi-token-precision", "macro").value, 1.0);
        let mut tokens = BioBertTokens::default();
        golds[..2].iter().zip(found).for_each(|(golds, found)| {
            let (golds, found): (Vec<&str>, Vec<&str>) = (golds.split(' ').collect(), found.split(' ').collect());
            tokens.add_names(&golds, &found).unwrap();
        });
        assert_eq!(tokens.macro_mean(), Scores { precision: 0.75, recall: 0.75, f1: 0.75 });
        // Found in one sentence alone: nothing is known of the spread of precision. Gold in both.
        assert_eq!((seen[0].low, seen[0].high, seen[0].method.as_str()), (0.0, 1.0, "cluster-bootstrap"));
        assert!(seen[1].low == 0.0 && seen[1].high == 1.0, "{:?}", seen[1]);
    }

    #[test]
    fn without_labels_of_biobert_for_pieces_its_score_is_not_there() {
        let frame = tagged(&[("a", "B-X O", "B-X O", 0.9)]);
        for frame in [frame.clone(), with_pieces(&frame, &["[CLS] B-X O [SEP]"], &["[CLS] B-X O [SEP]"])] {
            assert!(rows(&TYPES, PROBLEM, &frame).iter().all(|row| !row.metric.starts_with("biobert")));
        }
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
