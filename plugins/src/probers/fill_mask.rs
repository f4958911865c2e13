//! The prober `fill-mask`: scores candidates of any length by a masked language model's prediction at one mask.

use std::sync::Arc;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{
    Build, BuildContext, CallContext, Encoder, Examples, Needs, Origin, Prober, Registration, Result, TokenBatch, Tokenization, Want, inventory, schema_of,
};
use polars::prelude::DataFrame;
use rayon::prelude::*;

use super::candidate_groups::{CandidateGroups, Distinct, Ties};
use super::query::Queries;
use super::ranking::{KEPT, Pools, PredictionsBuilder};
use crate::nn::ops;
use crate::nn::passes::encode_in_passes;
use crate::nn::values::with as with_values;

inventory::submit! {
    Registration {
        id: "fill-mask",
        version: 1,
        build: Build::Prober(&build),
        summary: "scores candidates by a masked language model's prediction at one mask",
        manual: MANUAL,
        schema: &schema_of::<FillMaskParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Asks a masked language model to fill the gap of a sentence, and ranks the candidates of the question's pool by what it predicts there.

## How

The prompt has one mask token, whatever the length of the answer. A candidate of several pieces is scored by the mean over its pieces of
the log-probability at the mask (`mean-log-probability`, nats), which favours neither short nor long names; `sum-logits` is the
score of the original scripts, the sum of raw logits, which favours long names. Equal scores are ranked in byte order of the names.

The encoder needs a masked-language-model head. A question whose mask was cut off by the length limit counts as missed and is reported.

## Example

```yaml
probers:
  - fill-mask
  - {use: fill-mask, name: original-score, score: sum-logits}
```

## Reference

Petroni et al. 2019, arXiv:1909.01066 (one piece); the mask average of Meng et al. 2022, arXiv:2110.08173 (several pieces).
";

/// Parameters of the prober `fill-mask`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct FillMaskParams {
    /// How a candidate is scored.
    #[serde(default)]
    pub score: Score,
    /// Longest question in tokens, special tokens included; empty is the encoder's own limit.
    #[serde(default)]
    #[schemars(range(min = 3))]
    pub max_length: Option<usize>,
    /// What happens to candidates whose pieces are the same.
    #[serde(default)]
    pub ties: Ties,
}

/// How a candidate is scored from the logits at the mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Score {
    /// The mean of its pieces' log-probabilities.
    #[default]
    MeanLogProbability,
    /// The sum of its pieces' raw logits, as the original scripts have it.
    SumLogits,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    Ok(Arc::new(FillMask { params: serde_json::from_value(params)? }))
}

struct FillMask {
    params: FillMaskParams,
}

impl Prober for FillMask {
    fn needs(&self) -> Needs {
        Needs { mask_token: true, mlm_head: true, ..Needs::one_encoder() }
    }

    fn probe(&self, encoders: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let encoder = encoders[0];
        let pools = Pools::new(examples)?;
        let queries = Queries::new(encoder, examples, Tokenization { max_length: self.params.max_length, ..Tokenization::default() })?;
        queries.report(cx);
        let vocabulary = Pieces::new(encoder, &pools, self.params.ties, cx)?;

        let answerable: Vec<usize> = (0..queries.masks.len()).filter(|&row| queries.masks[row].is_some()).collect();
        let tokens = queries.tokens.select(&answerable);
        // The mask's place within its sequence does not change with the batch.
        let place: Vec<usize> = answerable.iter().map(|&row| queries.masks[row].expect("chosen by having a mask") - queries.tokens.offsets[row]).collect();
        let want =
            |pass: &TokenBatch, group: &[usize]| Ok(Want::mlm_at(group.iter().enumerate().map(|(at, &index)| pass.offsets[at] + place[index]).collect()));
        let mut answers: Vec<Option<Answer>> = (0..queries.masks.len()).map(|_| None).collect();
        encode_in_passes(encoder, &tokens, "questions", cx, &want, &mut |group, _, output| {
            let logits = output.mlm_logits()?; // (masks, vocab)
            let values = if self.params.score == Score::SumLogits { logits.clone() } else { ops::log_softmax(logits)? };
            let width = values.dim(1)?;
            with_values(&values, |values| {
                let rows: Vec<(usize, &[f32])> = group.iter().map(|&index| answerable[index]).zip(values.chunks_exact(width)).collect();
                let found: Vec<(usize, Answer)> = rows.into_par_iter().map(|(row, values)| (row, self.answer(row, values, &pools, &vocabulary))).collect();
                for (row, answer) in found {
                    answers[row] = Some(answer);
                }
                Ok(())
            })?;
            Ok(())
        })?;
        let mut builder = PredictionsBuilder::new(examples);
        for (row, answer) in answers.into_iter().enumerate() {
            let (pool, groups) = (pools.pool(row), &vocabulary.pools[pools.pool_idx(row)]);
            let Answer { rank, best } = answer.unwrap_or_default();
            let names = best.iter().map(|&(group, _)| pool.names[groups.first[group]].clone()).collect();
            builder.push(rank, groups.len() as u64, names, best.iter().map(|&(_, score)| score).collect());
        }
        builder.finish()
    }
}

#[derive(Default)]
struct Answer {
    rank: Option<u64>,
    best: Vec<(usize, f64)>,
}

impl FillMask {
    fn answer(&self, row: usize, values: &[f32], pools: &Pools, vocabulary: &Pieces) -> Answer {
        let groups = &vocabulary.pools[pools.pool_idx(row)];
        let scores: Vec<f64> = groups.row.iter().map(|&candidate| self.score(values, &vocabulary.pieces[candidate])).collect();
        let before = |a: usize, b: usize| scores[a] > scores[b] || (scores[a] >= scores[b] && a < b);
        let gold = groups.holding(pools.golds(row)).into_iter().reduce(|best, gold| if before(gold, best) { gold } else { best });
        let rank = gold.map(|gold| (0..scores.len()).filter(|&candidate| before(candidate, gold)).count() as u64 + 1);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let kept = KEPT.min(order.len());
        let compare = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        if kept > 0 && kept < order.len() {
            order.select_nth_unstable_by(kept - 1, compare);
        }
        order.truncate(kept);
        order.sort_by(compare);
        Answer { rank, best: order.into_iter().map(|candidate| (candidate, scores[candidate])).collect() }
    }

    fn score(&self, values: &[f32], pieces: &[u32]) -> f64 {
        let sum: f64 = pieces.iter().map(|&piece| f64::from(values[piece as usize])).sum();
        match self.params.score {
            Score::SumLogits => sum,
            #[expect(clippy::cast_precision_loss, reason = "a name has a few dozen pieces")]
            Score::MeanLogProbability => sum / pieces.len() as f64,
        }
    }
}

/// The pieces of every distinct candidate of all pools.
struct Pieces {
    pieces: Vec<Vec<u32>>,
    pools: Vec<CandidateGroups>,
}

impl Pieces {
    fn new(encoder: &dyn Encoder, pools: &Pools, ties: Ties, cx: &CallContext<'_>) -> Result<Self> {
        let mut distinct = Distinct::new();
        let mut pieces = Vec::new();
        let (mut names, mut several) = (0, 0);
        let mut groups = Vec::new();
        for pool in pools.pools() {
            let mut rows = Vec::with_capacity(pool.names.len());
            for name in &pool.names {
                let ids = encoder.pieces(name)?;
                if ids.is_empty() {
                    return Err(lmprobe_core::Error::Unsupported(format!(
                        "the candidate {name:?} has no pieces in the encoder's vocabulary; remove it from the data"
                    )));
                }
                names += 1;
                several += usize::from(ids.len() > 1);
                let (row, new) = distinct.row(ids.clone());
                if new {
                    pieces.push(ids);
                }
                rows.push(row);
            }
            groups.push(CandidateGroups::new(&rows, ties));
        }
        if several > 0 {
            cx.warn(format!("{several} of {names} candidates have more than one piece and are scored at one mask"));
        }
        Ok(Self { pieces, pools: groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probers::ranking::fixture;

    fn answer(score: Score, values: &[f32]) -> Answer {
        let examples = fixture::examples(&[("r", "s", &["b"], "p")], &[("p", "a"), ("p", "b"), ("p", "c")]);
        let pools = Pools::new(&examples).unwrap();
        let vocabulary = Pieces { pieces: vec![vec![0], vec![1, 2], vec![3]], pools: vec![CandidateGroups::new(&[0, 1, 2], Ties::Merge)] };
        FillMask { params: FillMaskParams { score, max_length: None, ties: Ties::Merge } }.answer(0, values, &pools, &vocabulary)
    }

    #[test]
    fn the_mean_does_not_favour_long_names_and_the_sum_does() {
        let values = [3.0, 2.0, 2.0, 1.0]; // a: 3; b: mean 2, sum 4; c: 1
        let mean = answer(Score::MeanLogProbability, &values);
        assert_eq!((mean.rank, mean.best), (Some(2), vec![(0, 3.0), (1, 2.0), (2, 1.0)]));
        assert_eq!(answer(Score::SumLogits, &values).rank, Some(1));
    }

    #[test]
    fn equal_scores_are_ranked_by_name() {
        let equal = answer(Score::MeanLogProbability, &[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(equal.rank, Some(2));
        assert_eq!(equal.best.iter().map(|best| best.0).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
