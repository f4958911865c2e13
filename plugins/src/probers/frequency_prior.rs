//! Baseline: always the most frequent gold answers of the relation.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Encoder, Examples, Needs, Origin, Prober, Registration, Result, schema_of, table};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ranking::{KEPT, Pool, Pools, PredictionsBuilder};

inventory::submit! {
    Registration {
        id: "frequency-prior",
        version: 1,
        build: Build::Prober(&build),
        summary: "baseline: always the relation's most frequent gold answers (an oracle, asks no model)",
        manual: MANUAL,
        schema: &schema_of::<FrequencyPriorParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Gives every question of a relation the same answers: the names that are right most often in that relation. It never looks
at the subject and asks no model, so what a model scores above it is knowledge of single facts, and what it scores below it
is less than knowing what answers to the relation look like.

**It is an oracle.** The frequencies are counted over the gold answers of the very questions that are scored. It is a bar to
compare with, not a method.

## How
The pool is ordered by the number of questions of the relation that have the name among their golds (a question counts a
name once), descending; names of equal count in ascending byte order. `rank` is the best rank of a gold in that order, empty
if no gold is in the pool. The score of a name is the share of the relation's questions it answers. With `--limit` the
counts are over the questions that are left.

## Example
```yaml
baselines: [frequency-prior]
```

## Reference
The baseline `Freq` of LAMA (Petroni et al. 2019, <https://arxiv.org/abs/1909.01066>), which counts over the test data too: the
upper bound of a model that always gives the same answers to a relation.
";

/// The baseline has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FrequencyPriorParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let FrequencyPriorParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(FrequencyPrior))
}

/// Ranks a relation's pool by how often each name is right.
#[derive(Debug)]
struct FrequencyPrior;

impl Prober for FrequencyPrior {
    fn needs(&self) -> Needs {
        Needs::nothing()
    }

    fn probe(&self, _: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let pools = Pools::new(examples)?;
        let relations = table::texts(&examples.examples, "relation")?;
        let mut counts: HashMap<&str, RelationCounts<'_>> = HashMap::new();
        for (row, &relation) in relations.iter().enumerate() {
            let counts = counts.entry(relation).or_default();
            counts.questions += 1;
            for &gold in pools.golds(row) {
                *counts.names.entry(&pools.pool(row).names[gold]).or_default() += 1;
            }
        }
        let mut priors: HashMap<(&str, usize), Prior> = HashMap::new();
        let mut builder = PredictionsBuilder::new(examples);
        for (row, &relation) in relations.iter().enumerate() {
            cx.check_cancelled()?;
            let pool = pools.pool(row);
            let prior = priors.entry((relation, pools.pool_idx(row))).or_insert_with(|| Prior::new(pool, &counts[relation]));
            let rank = pools.golds(row).iter().map(|&gold| prior.ranks[gold]).min();
            builder.push(rank, pool.names.len() as u64, prior.first.clone(), prior.shares.clone());
        }
        builder.finish()
    }
}

/// How many questions a relation has, and how many of them each name answers.
#[derive(Debug, Default)]
struct RelationCounts<'a> {
    questions: u64,
    names: HashMap<&'a str, u64>,
}

/// The one answer to all questions of a relation that share a pool.
#[derive(Debug)]
struct Prior {
    /// The rank of each candidate, from 1.
    ranks: Vec<u64>,
    first: Vec<String>,
    shares: Vec<f64>,
}

impl Prior {
    fn new(pool: &Pool, counts: &RelationCounts<'_>) -> Self {
        let count = |candidate: usize| counts.names.get(pool.names[candidate].as_str()).copied().unwrap_or(0);
        let mut order: Vec<usize> = (0..pool.names.len()).collect();
        order.sort_by_key(|&candidate| (Reverse(count(candidate)), candidate));
        let mut ranks = vec![0; order.len()];
        for (rank, &candidate) in (1..).zip(&order) {
            ranks[candidate] = rank;
        }
        order.truncate(KEPT);
        #[expect(clippy::cast_precision_loss, reason = "counts of questions are far below 2^53")]
        let shares = order.iter().map(|&candidate| count(candidate) as f64 / counts.questions as f64).collect();
        Self { ranks, first: order.iter().map(|&candidate| pool.names[candidate].clone()).collect(), shares }
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Cancel, Quiet, Seed};

    use super::super::ranking::fixture;
    use super::*;

    fn probe(examples: &Examples) -> DataFrame {
        let predictions = FrequencyPrior.probe(&[], examples, &CallContext::new(Seed(1), &Quiet, Cancel::default())).unwrap();
        table::PREDICTIONS.check(&predictions, "prober `frequency-prior`").unwrap();
        predictions
    }

    #[test]
    fn names_rank_by_how_many_questions_they_answer_then_by_bytes() {
        let pool = [("p", "angina"), ("p", "fever"), ("p", "gout"), ("p", "pain"), ("p", "zoster")];
        let examples = fixture::examples(
            &[
                ("treats", "a", &["pain", "pain", "gout"], "p"), // pain counts once
                ("treats", "b", &["pain"], "p"),
                ("treats", "c", &["fever"], "p"),
                ("treats", "d", &["thirst"], "p"), // not in the pool
                ("causes", "e", &["zoster"], "p"), // another relation: does not count for `treats`
            ],
            &pool,
        );
        let predictions = probe(&examples);
        // treats: pain 2, fever 1, gout 1, angina 0, zoster 0. causes: zoster 1, then the rest by bytes.
        assert_eq!(fixture::ranks(&predictions), [Some(1), Some(1), Some(2), None, Some(1)]);
        let lists = table::text_lists(&predictions, "predictions").unwrap();
        assert_eq!(lists[0], ["pain", "fever", "gout", "angina", "zoster"]);
        assert_eq!(lists[4], ["zoster", "angina", "fever", "gout", "pain"]);
        let scores = predictions.column("scores").unwrap().list().unwrap().get_as_series(0).unwrap();
        assert_eq!(scores.f64().unwrap().iter().flatten().collect::<Vec<_>>(), [0.5, 0.25, 0.25, 0.0, 0.0]); // of 4 questions
    }

    #[test]
    fn a_rank_may_lie_behind_the_names_that_are_kept() {
        let names: Vec<String> = (0..12).map(|i| format!("n{i:02}")).collect();
        let candidates: Vec<(&str, &str)> = names.iter().map(|name| ("p", name.as_str())).collect();
        let golds: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
        let questions: Vec<fixture::Question<'_>> = names.iter().zip(&golds).map(|(name, gold)| ("r", name.as_str(), gold.as_slice(), "p")).collect();
        let predictions = probe(&fixture::examples(&questions, &candidates));
        assert_eq!(fixture::ranks(&predictions), (1..=12).map(Some).collect::<Vec<_>>()); // all counts are 1: byte order
        assert_eq!(table::text_lists(&predictions, "predictions").unwrap()[11].len(), KEPT);
    }
}
