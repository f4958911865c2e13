//! Factoid questions of `BioASQ`: answers pooled over snippets.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lmprobe_core::statistics::{Cluster, Mean, cluster_bootstrap, mean_of};
use lmprobe_core::table::{self, MetricRows};
use lmprobe_core::{Build, BuildContext, CallContext, Error, Metric, Origin, Problem, Registration, Result, schema_of};
use lmprobe_scorers::bioasq::{Exact, FACTOID_ENTRIES, FactoidSums, Kind, PhaseB, Question, Variant};
use lmprobe_scorers::bioasq_transform::question_of_snippet;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::{Hits, Quantity, ScoredRows, push_share};

inventory::submit! {
    Registration {
        id: "bioasq",
        version: 2,
        build: Build::Metric(&build),
        summary: "strict and lenient accuracy and MRR of factoid questions, answers pooled over the snippets of a question",
        manual: MANUAL,
        schema: &schema_of::<BioAsqParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
A factoid question of BioASQ is asked of several snippets; the metric pools the answers of all snippets of a question, which are one
cluster, into one list. `bioasq-strict` is the share of the questions whose first entry is right, `bioasq-lenient` the share of those
that have a right entry among five, `bioasq-mrr` the mean of one over the place of the first right entry, 0 without one. Unit: a
fraction in [0, 1]; higher is better.

## How
The variant is that of BioBERT's `transform_nbset2bioasqform.py`: all answers to the snippets of a question, ordered by probability;
empty answers and answers of more than 100 characters are left out; answers that are equal but for case are one, with the sum of their
probabilities; the five with the highest sums are the list. Among equals the earlier comes first, where the original's order is by
chance. Probabilities are those among the answers to one snippet, so a snippet with few answers weighs as much as one with many.

An entry is right if it equals, but for case, one of the right answers that the file names for any snippet of the question, whether or
not they stand in it: a question whose right answer stands in no snippet cannot be answered and counts as wrong, as it does for BioASQ.
Where the file leaves synonyms out, the numbers of BioASQ's evaluator, which knows them all, may be a little higher. Questions of which
no right answer is known are left out, and a warning counts them.

Only BioASQ's own questions have these numbers: every example must be called by 24 hexadecimal digits, `_` and three digits, and its
cluster by the first 24, as `extractive-qa` calls them; anything else is refused.

There is a row `micro` for each number; n is the questions. The 95 % interval is Wilson's for `bioasq-strict` and `bioasq-lenient`, and
resamples questions 2 000 times from the run's seed for `bioasq-mrr`; with one question that is [0, 1], and if all resamples are 0, or
all are 1, it is Wilson's too (`ci_method` says so).

## Example
```yaml
metrics: [bioasq, answer-f1]
```

## Reference
Tsatsaronis et al. 2015, <https://doi.org/10.1186/s12859-015-0564-6>; Lee et al. 2020 (BioBERT), <https://doi.org/10.1093/bioinformatics/btz682>.
";

/// The metric has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BioAsqParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let BioAsqParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(BioAsq))
}

/// Characters that an answer may have.
const LONGEST: usize = 100;

/// The scores of factoid questions.
#[derive(Debug)]
struct BioAsq;

impl Metric for BioAsq {
    fn name(&self) -> String {
        "bioasq".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        &[Problem::ExtractiveQa]
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let ids = table::texts(predictions, "example_id")?.into_iter().zip(table::texts(predictions, "cluster")?);
        for (id, cluster) in ids {
            if question_of_snippet(id) != Some(cluster) {
                return Err(Error::Config(format!(
                    "`{}` scores the snippets of BioASQ's questions, and example `{id}` of `{cluster}` is none: its name would be 24 hexadecimal digits, `_` and \
                     three digits, and its cluster the first 24; `answer-f1` scores answers to other questions",
                    self.name()
                )));
            }
        }
        let golds = table::text_lists(predictions, "golds")?;
        let (found, scores) = (table::text_lists(predictions, "predictions")?, table::real_lists(predictions, "scores")?);
        let rows = ScoredRows::new(predictions, &self.name(), &vec![true; golds.len()], cx)?;
        let mut questions = rows.fold(|question: &mut Pooled, row| {
            question.golds.extend(golds[row].iter().map(|gold| gold.to_lowercase()));
            question.answers.extend(found[row].iter().cloned().zip(scores[row].iter().copied()));
            Ok(())
        })?;
        let all = questions.len();
        questions.retain(|question| !question.golds.is_empty());
        if questions.is_empty() {
            return Err(Error::Config(format!("`{}` has nothing to score: none of the {all} questions has a gold", self.name())));
        }
        if questions.len() < all {
            cx.warn(format!("`{}` leaves out {} of {all} questions, which have no gold", self.name(), all - questions.len()));
        }
        let sums: Vec<FactoidSums> = questions.into_iter().map(Pooled::score).collect();
        let mut rows = MetricRows::default();
        let hits = |of: fn(&FactoidSums) -> u64| sums.iter().map(|sums| Hits { hits: of(sums), n: sums.n }).collect::<Vec<_>>();
        push_share(&mut rows, "bioasq-strict", &hits(|sums| sums.strict), cx.seed);
        push_share(&mut rows, "bioasq-lenient", &hits(|sums| sums.lenient), cx.seed);
        let ranks: Vec<Cluster> = sums.iter().map(|sums| Cluster { sum: sums.reciprocal_rank, n: 1.0 }).collect();
        let interval = cluster_bootstrap(&ranks, Mean::Micro, (0.0, 1.0), cx.seed);
        rows.push(Quantity::fraction("bioasq-mrr", sums.len() as u64).into_row(mean_of(ranks.into_iter(), Mean::Micro), interval));
        rows.into_frame()
    }
}

/// A question with what was answered to all its snippets.
#[derive(Debug, Clone, Default)]
struct Pooled {
    golds: BTreeSet<String>,
    /// Text and probability, in the order of the snippets.
    answers: Vec<(String, f64)>,
}

impl Pooled {
    fn score(self) -> FactoidSums {
        let entries = self.answers_by_probability().into_iter().map(|answer| vec![answer.to_lowercase()]).collect();
        let gold = Question { id: String::new(), kind: Some(Kind::Factoid), exact: Exact::Entries(self.golds.into_iter().map(|gold| vec![gold]).collect()) };
        PhaseB::of_question(&gold, Some(&Exact::Entries(entries)), Variant::Complete).factoid
    }

    /// The list of the question: up to [`FACTOID_ENTRIES`] answers, the most probable first.
    fn answers_by_probability(&self) -> Vec<String> {
        let mut answers: Vec<&(String, f64)> = self.answers.iter().filter(|(text, _)| !text.is_empty() && text.chars().count() <= LONGEST).collect();
        answers.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut pooled: Vec<(&str, f64)> = Vec::new();
        for (text, probability) in answers {
            let place = *places.entry(text.to_lowercase()).or_insert(pooled.len());
            if place == pooled.len() {
                pooled.push((text, 0.0));
            }
            pooled[place].1 += probability;
        }
        pooled.sort_by(|a, b| b.1.total_cmp(&a.1));
        pooled.into_iter().take(FACTOID_ENTRIES).map(|(text, _)| text.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::IntoColumn;

    use super::super::labelled_fixture::{answered, refusal, row, rows, warnings};
    use super::*;

    #[test]
    fn answers_that_are_equal_but_for_case_add_up_over_snippets() {
        let long = "x".repeat(101);
        let pool = |answers: &[(&str, f64)]| {
            let answers = answers.iter().map(|(text, probability)| ((*text).to_owned(), *probability)).collect();
            Pooled { golds: BTreeSet::new(), answers }.answers_by_probability()
        };
        // tp53 0.3 + 0.4 before MYC 0.6; the more probable spelling stays; what is empty or too long is out.
        assert_eq!(pool(&[("MYC", 0.6), ("tp53", 0.3), ("", 0.9), (&long, 0.9), ("TP53", 0.4)]), ["TP53", "MYC"]);
        assert_eq!(pool(&[("b", 0.1), ("a", 0.1), ("c", 0.1), ("d", 0.1), ("e", 0.1), ("f", 0.1)]), ["b", "a", "c", "d", "e"]);
    }

    /// A name of a question.
    fn question(number: usize) -> String {
        format!("{number:024x}")
    }

    /// The number of its question, its golds, its answers with their scores.
    type Snippet<'a> = (usize, &'a [&'a str], &'a [(&'a str, f64)]);

    /// Snippets: number of the question, right answers, answers.
    fn snippets(rows: &[Snippet<'_>]) -> DataFrame {
        let clusters: Vec<String> = rows.iter().map(|row| question(row.0)).collect();
        let mut frame = answered(&rows.iter().zip(&clusters).map(|(row, cluster)| (cluster.as_str(), row.1, row.2)).collect::<Vec<_>>());
        let ids: Vec<String> = clusters.iter().enumerate().map(|(row, cluster)| format!("{cluster}_{row:03}")).collect();
        frame.replace("example_id", table::text_column("example_id", ids.iter().map(|id| Some(id.as_str()))).into_column()).unwrap();
        frame
    }

    #[test]
    fn questions_are_scored_once_whatever_their_snippets() {
        let frame = snippets(&[
            (1, &["TP53"], &[("MYC", 0.6), ("tp53", 0.4)]), // with the next: tp53 0.7, MYC 0.6
            (1, &["TP53"], &[("tp53", 0.3), ("RAS", 0.2)]),
            (2, &["OB", "leptin"], &[("ghrelin", 0.8), ("Leptin", 0.2)]), // second: 1/2
            (3, &["insulin"], &[("x", 1.0)]),                             // stands in no snippet, and counts as wrong
            (4, &["a"], &[]),                                             // not answered
            (5, &[], &[("x", 1.0)]),                                      // nothing is known
        ]);
        let rows = rows(&BioAsq, Problem::ExtractiveQa, &frame);
        let seen = ["bioasq-strict", "bioasq-lenient", "bioasq-mrr"].map(|metric| row(&rows, metric, "micro")).map(|row| (row.value, row.n));
        assert_eq!(seen, [(0.25, 4), (0.5, 4), (0.375, 4)]);
        assert_eq!(row(&rows, "bioasq-strict", "micro").method, "wilson");
        assert_eq!(warnings(&BioAsq, &frame), ["`bioasq` leaves out 1 of 5 questions, which have no gold"]);
    }

    #[test]
    fn a_table_without_right_answers_has_nothing_to_score() {
        let message = refusal(&BioAsq, &snippets(&[(1, &[], &[("x", 1.0)])]));
        assert_eq!(message, "`bioasq` has nothing to score: none of the 1 questions has a gold");
        assert_eq!(refusal(&BioAsq, &answered(&[])), "`bioasq` has nothing to score: there is no example");
    }

    #[test]
    fn questions_of_other_data_are_refused() {
        let message = refusal(&BioAsq, &answered(&[("Flu", &["x"], &[("x", 1.0)])]));
        assert_eq!(
            message,
            "`bioasq` scores the snippets of BioASQ's questions, and example `e0` of `Flu` is none: its name would be 24 hexadecimal digits, `_` and three digits, \
             and its cluster the first 24; `answer-f1` scores answers to other questions"
        );
        // Names of BioASQ, but articles as clusters: different questions would be pooled.
        let mut frame = snippets(&[(1, &["x"], &[("x", 1.0)])]);
        frame.replace("cluster", table::text_column("cluster", std::iter::once(Some("Flu"))).into_column()).unwrap();
        assert!(refusal(&BioAsq, &frame).contains(&format!("example `{}_000` of `Flu` is none", question(1))));
    }
}
