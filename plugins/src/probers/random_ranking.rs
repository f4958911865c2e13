//! Baseline: a random order of the candidates.

use std::collections::HashMap;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Encoder, Examples, Needs, Origin, Prober, Random, Registration, Result, schema_of, table};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ranking::{KEPT, Pools, PredictionsBuilder};

inventory::submit! {
    Registration {
        id: "random-ranking",
        version: 1,
        build: Build::Prober(&build),
        summary: "baseline: the candidates in random order (asks no model)",
        manual: MANUAL,
        schema: &schema_of::<RandomRankingParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Ranks the candidates of every question at random: the score of knowing nothing, not even what answers look like.

## How
Each question has its own seeded random permutation of its pool, drawn from the run's seed and the `example_id`, so neither
the order of the questions nor `--limit` changes it. `rank` is the best rank of a gold in it, empty if no gold is in the
pool. Only the positions of the golds and the first ten names are drawn: the same law as a full shuffle, without its cost.
The score of a name is the reciprocal of its drawn rank and means nothing else.

With one gold among `n` candidates acc@k is `k/n` on average; with `g` golds acc@1 is `g/n`.

## Example
```yaml
baselines: [random-ranking]
```

## Reference
The shuffle is that of Fisher and Yates (Knuth, *The Art of Computer Programming* 2, algorithm 3.4.2 P).
";

/// The baseline has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RandomRankingParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let RandomRankingParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(RandomRanking))
}

/// Ranks a pool at random.
#[derive(Debug)]
struct RandomRanking;

impl Prober for RandomRanking {
    fn needs(&self) -> Needs {
        Needs { randomness: true, ..Needs::nothing() }
    }

    fn probe(&self, _: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let pools = Pools::new(examples)?;
        let seed = cx.seed.child("random-ranking");
        let mut builder = PredictionsBuilder::new(examples);
        for (row, id) in table::texts(&examples.examples, "example_id")?.into_iter().enumerate() {
            cx.check_cancelled()?;
            let names = &pools.pool(row).names;
            let drawn = Ranking::draw(names.len(), pools.golds(row), &mut seed.child(id).random());
            let first: Vec<String> = drawn.first.iter().map(|&candidate| names[candidate].clone()).collect();
            let scores = (1..).take(first.len()).map(|rank: u32| 1.0 / f64::from(rank)).collect();
            builder.push(drawn.rank, names.len() as u64, first, scores);
        }
        builder.finish()
    }
}

/// What is seen of a random permutation.
#[derive(Debug)]
struct Ranking {
    /// The best rank of a gold, from 1.
    rank: Option<u64>,
    /// The candidates in front.
    first: Vec<usize>,
}

impl Ranking {
    /// Draws a permutation of `n` candidates as far as it is seen; `golds` ascend.
    ///
    /// The golds' positions are a random injection into `0..n`; given these, the other names fill the front as a random
    /// injection of their own. Together that is a uniform permutation restricted to what is looked at.
    fn draw(n: usize, golds: &[usize], random: &mut Random) -> Self {
        let positions = distinct(golds.len(), n, random);
        let mut first = vec![None; KEPT.min(n)];
        for (&gold, &position) in golds.iter().zip(&positions) {
            if let Some(place) = first.get_mut(position) {
                *place = Some(gold);
            }
        }
        let gaps = first.iter().filter(|place| place.is_none()).count();
        let mut others = distinct(gaps, n - golds.len(), random).into_iter().map(|other| nth_other(other, golds));
        Self {
            rank: positions.iter().min().map(|&position| position as u64 + 1),
            first: first.into_iter().filter_map(|place| place.or_else(|| others.next())).collect(),
        }
    }
}

/// `count` distinct numbers below `n` in random order: the first steps of a Fisher-Yates shuffle of `0..n` that stores only
/// the cells it has moved.
fn distinct(count: usize, n: usize, random: &mut Random) -> Vec<usize> {
    let mut moved = HashMap::new();
    (0..count)
        .map(|i| {
            let j = i + random.below(n - i);
            let at_i = moved.get(&i).copied().unwrap_or(i);
            moved.insert(j, at_i).unwrap_or(j)
        })
        .collect()
}

/// The `n`-th candidate, from 0, that is no gold.
fn nth_other(n: usize, golds: &[usize]) -> usize {
    // `gold - i` others stand before the i-th gold; it is skipped if these do not reach as far as the n-th.
    let mut skipped = 0;
    while golds.get(skipped).is_some_and(|gold| gold - skipped <= n) {
        skipped += 1;
    }
    n + skipped
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Cancel, Quiet, Seed};

    use super::super::ranking::fixture;
    use super::*;

    fn probe(examples: &Examples, seed: u64) -> DataFrame {
        let predictions = RandomRanking.probe(&[], examples, &CallContext::new(Seed(seed), &Quiet, Cancel::default())).unwrap();
        table::PREDICTIONS.check(&predictions, "prober `random-ranking`").unwrap();
        predictions
    }

    #[test]
    fn others_are_counted_around_the_golds() {
        // Candidates 0..6, golds 0, 1 and 4: the others are 2, 3, 5.
        assert_eq!([0, 1, 2].map(|n| nth_other(n, &[0, 1, 4])), [2, 3, 5]);
        assert_eq!(nth_other(7, &[]), 7);
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut counts: HashMap<Vec<usize>, u32> = HashMap::new();
        for i in 0..24_000 {
            *counts.entry(Ranking::draw(4, &[1, 2], &mut Seed(5).at(i).random()).first).or_default() += 1;
        }
        assert_eq!(counts.len(), 24); // 4! orders
        for count in counts.values() {
            assert!((850..1150).contains(count), "{counts:?}"); // 1 000 expected, four standard deviations are 124
        }
    }

    #[test]
    fn the_rank_is_where_the_first_gold_is_seen() {
        for i in 0..200 {
            let drawn = Ranking::draw(30, &[3, 17, 29], &mut Seed(7).at(i).random());
            let seen = drawn.first.iter().position(|candidate| [3, 17, 29].contains(candidate)).map(|place| place as u64 + 1);
            assert_eq!(drawn.first.len(), KEPT);
            assert_eq!(seen, drawn.rank.filter(|&rank| rank <= KEPT as u64));
            let mut distinct = drawn.first.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), KEPT);
        }
    }

    #[test]
    fn the_mean_rank_of_the_best_gold_is_that_of_a_shuffle() {
        // The minimum of g of n positions has the mean (n + 1) / (g + 1): 101 / 4 = 25.25, standard deviation 19.0.
        let sum: u64 = (0..10_000).filter_map(|i| Ranking::draw(100, &[10, 50, 90], &mut Seed(9).at(i).random()).rank).sum();
        let mean = f64::from(u32::try_from(sum).unwrap()) / 10_000.0;
        assert!((mean - 25.25).abs() < 0.76, "{mean}"); // four standard errors
    }

    #[test]
    fn a_question_keeps_its_draw_when_others_come_or_go() {
        let pool: Vec<(&str, &str)> = ["a", "b", "c", "d", "e", "f"].map(|name| ("p", name)).to_vec();
        let both = probe(&fixture::examples(&[("r", "s", &["b"], "p"), ("r", "t", &["c"], "p")], &pool), 33);
        let one = probe(&fixture::examples(&[("r", "t", &["c"], "p")], &pool), 33);
        assert_eq!(table::text_lists(&both, "predictions").unwrap()[1], table::text_lists(&one, "predictions").unwrap()[0]);
        let other_seeds: std::collections::HashSet<_> =
            (0..20).map(|seed| fixture::ranks(&probe(&fixture::examples(&[("r", "t", &["c"], "p")], &pool), seed))).collect();
        assert!(other_seeds.len() > 1);
    }

    #[test]
    fn no_gold_in_the_pool_gives_no_rank() {
        let predictions = probe(&fixture::examples(&[("r", "s", &["z"], "p")], &[("p", "a"), ("p", "b")]), 1);
        assert_eq!(fixture::ranks(&predictions), [None]);
        assert_eq!(table::text_lists(&predictions, "predictions").unwrap()[0].len(), 2);
    }
}
