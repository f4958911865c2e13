//! The prober `contrastive`: retrieval of the answer among candidate names by their vectors.

use std::sync::Arc;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{
    Build, BuildContext, CallContext, Encoder, Examples, Needs, Origin, Prober, Registration, Result, TokenBatch, Tokenization, Want, inventory, schema_of,
};
use lmprobe_kernels::matmul_transposed;
use polars::prelude::DataFrame;
use rayon::prelude::*;

use super::candidate_groups::{CandidateGroups, Distinct, Ties};
use super::query::{Queries, encode_in_passes};
use super::ranking::{KEPT, Pools, PredictionsBuilder};
use crate::nn::ops;
use crate::nn::packed::first_tokens;
use crate::nn::values::with as with_values;

inventory::submit! {
    Registration {
        id: "contrastive",
        version: 1,
        build: Build::Prober(&build),
        summary: "retrieves the answer among all candidate names by the vectors of the encoder",
        manual: MANUAL,
        schema: &schema_of::<ContrastiveParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Asks whether the vector of a question lies near the vector of its answer. Names of any length can be answers, and no
masked-language-model head is needed. Rewiring the encoder first (`adapt: {use: contrastive, ...}`) makes it far stronger.

## How

The question is the prompt with one mask token. Question and candidates go through the same encoder; each is represented by its first
token or by the mean of its tokens, at one layer. Candidates are ranked by distance, exactly: 32-bit products find who can matter,
64-bit differences decide. Equal distances are ranked in byte order of the names. Each distinct candidate is encoded once.

Questions and candidates longer than their limits are cut at the right and counted.

## Example

```yaml
probers:
  - contrastive
  - {use: contrastive, name: mean-cosine, pooling: mean, metric: cosine, layer: 9}
```

## Reference

Meng et al. 2022, \"Rewire-then-Probe\", arXiv:2110.08173. Defaults are those of the published run.
";

/// Parameters of the prober `contrastive`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct ContrastiveParams {
    /// Hidden state that represents a text; 0 is the embedding output, negative numbers count from the end.
    #[serde(default = "last")]
    pub layer: i64,
    /// How a text becomes one vector.
    #[serde(default)]
    pub pooling: Pooling,
    /// How near two vectors are.
    #[serde(default)]
    pub metric: Nearness,
    /// Longest question in tokens, special tokens included.
    #[serde(default = "fifty")]
    #[schemars(range(min = 3))]
    pub query_max_length: usize,
    /// Longest candidate in tokens, special tokens included.
    #[serde(default = "twenty_five")]
    #[schemars(range(min = 3))]
    pub candidate_max_length: usize,
    /// What happens to candidates whose tokens are the same.
    #[serde(default)]
    pub ties: Ties,
}

fn last() -> i64 {
    -1
}
fn fifty() -> usize {
    50
}
fn twenty_five() -> usize {
    25
}

/// How the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Pooling {
    /// The first token, `[CLS]` in BERT.
    #[default]
    Cls,
    /// The mean of all tokens, special tokens included.
    Mean,
}

/// How near two vectors are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Nearness {
    /// Squared Euclidean distance, negated in the table of scores.
    #[default]
    L2,
    /// Cosine of the angle.
    Cosine,
    /// Inner product.
    Dot,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    Ok(Arc::new(Contrastive { params: serde_json::from_value(params)? }))
}

struct Contrastive {
    params: ContrastiveParams,
}

impl Prober for Contrastive {
    fn needs(&self) -> Needs {
        Needs { mask_token: true, layers: vec![self.params.layer], ..Needs::one_encoder() }
    }

    fn probe(&self, encoders: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let encoder = encoders[0];
        let pools = Pools::new(examples)?;
        let queries = Queries::new(encoder, examples, Tokenization::at_most(self.params.query_max_length))?;
        queries.report(cx);
        let candidates = Candidates::new(encoder, &pools, &self.params, cx)?;
        let query_vectors = self.embed(encoder, &queries.tokens, "questions", cx)?;
        let candidate_vectors = self.embed(encoder, &candidates.tokens, "candidates", cx)?;

        let mut answers: Vec<Option<Answer>> = (0..queries.tokens.len()).map(|_| None).collect();
        for (pool_idx, groups) in candidates.pools.iter().enumerate() {
            let rows: Vec<usize> = (0..answers.len()).filter(|&row| pools.pool_idx(row) == pool_idx).collect();
            let index = Index::new(&candidate_vectors, groups, self.params.metric);
            for block in rows.chunks(QUERIES_A_BLOCK) {
                cx.check_cancelled()?;
                let golds: Vec<Vec<usize>> = block.iter().map(|&row| groups.holding(pools.golds(row))).collect();
                for (&row, answer) in block.iter().zip(index.search(&query_vectors, block, &golds)) {
                    answers[row] = Some(answer);
                }
            }
        }
        let mut builder = PredictionsBuilder::new(examples);
        for (row, answer) in answers.into_iter().enumerate() {
            let answer = answer.expect("every question belongs to one pool");
            let (pool, groups) = (pools.pool(row), &candidates.pools[pools.pool_idx(row)]);
            let names = answer.best.iter().map(|&(group, _)| pool.names[groups.first[group]].clone()).collect();
            builder.push(answer.rank, groups.len() as u64, names, answer.best.iter().map(|&(_, score)| score).collect());
        }
        builder.finish()
    }
}

impl Contrastive {
    /// One vector a sequence, `(batch, hidden)`.
    fn embed(&self, encoder: &dyn Encoder, tokens: &TokenBatch, phase: &str, cx: &CallContext<'_>) -> Result<Vectors> {
        let layer = encoder.info().layer(self.params.layer)?;
        let mut vectors = Vectors { width: encoder.info().hidden, values: vec![0.0; tokens.len() * encoder.info().hidden] };
        encode_in_passes(encoder, tokens, phase, cx, &|_, _| Want::layer(layer), &mut |group, pass, output| {
            let state = output.layer(layer)?; // (tokens, hidden)
            let pooled = match self.params.pooling {
                Pooling::Cls => ops::gather(state, &first_tokens(pass)?)?,
                Pooling::Mean => ops::sequence_mean(state, &pass.offsets)?,
            }; // (batch, hidden)
            with_values(&pooled, |values| {
                for (&row, vector) in group.iter().zip(values.chunks_exact(vectors.width)) {
                    vectors.values[row * vectors.width..][..vectors.width].copy_from_slice(vector);
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(vectors)
    }
}

/// Every distinct candidate of all pools, tokenized once.
struct Candidates {
    tokens: TokenBatch,
    pools: Vec<CandidateGroups>,
}

impl Candidates {
    fn new(encoder: &dyn Encoder, pools: &Pools, params: &ContrastiveParams, cx: &CallContext<'_>) -> Result<Self> {
        let mut distinct_names = Distinct::new();
        let mut names: Vec<&str> = Vec::new();
        for pool in pools.pools() {
            for name in &pool.names {
                if distinct_names.row(name.as_str()).1 {
                    names.push(name);
                }
            }
        }
        let all = encoder.tokenize(&names, Tokenization::at_most(params.candidate_max_length))?;
        let cut = all.truncated.iter().filter(|&&cut| cut).count();
        if cut > 0 {
            cx.warn(format!("{cut} of {} candidates were longer than {} tokens and were cut", names.len(), params.candidate_max_length));
        }
        // Names with the same tokens share a row, so that equal tokens give equal bits.
        let mut distinct_tokens = Distinct::new();
        let mut kept = Vec::new();
        let row_of_name: Vec<usize> = (0..names.len())
            .map(|name| {
                let (row, new) = distinct_tokens.row(all.sequence(name).to_vec());
                if new {
                    kept.push(name);
                }
                row
            })
            .collect();
        let groups = pools
            .pools()
            .iter()
            .map(|pool| {
                let rows: Vec<usize> = pool.names.iter().map(|name| row_of_name[distinct_names.row(name.as_str()).0]).collect();
                CandidateGroups::new(&rows, params.ties)
            })
            .collect();
        Ok(Self { tokens: all.select(&kept), pools: groups })
    }
}

/// Row vectors.
struct Vectors {
    width: usize,
    values: Vec<f32>,
}

impl Vectors {
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }
}

/// Questions whose products with all candidates are held at once.
const QUERIES_A_BLOCK: usize = 256;

/// Products of 32 bits are trusted up to this share of the largest one; whatever is nearer is decided in 64 bits.
const MARGIN: f64 = 1e-4;

/// What a question got.
struct Answer {
    rank: Option<u64>,
    best: Vec<(usize, f64)>,
}

/// The candidates of one pool, ready for search.
struct Index<'a> {
    vectors: &'a Vectors,
    groups: &'a CandidateGroups,
    metric: Nearness,
    /// Subtracted from both sides: distances stay, and 32-bit products of vectors around their mean lose far less.
    centre: Vec<f32>,
    /// The candidates around the centre, `(candidates, hidden)`.
    shifted: Vec<f32>,
    /// Their squared lengths.
    squares: Vec<f64>,
}

impl<'a> Index<'a> {
    fn new(vectors: &'a Vectors, groups: &'a CandidateGroups, metric: Nearness) -> Self {
        let width = vectors.width;
        let mut centre = vec![0.0f64; width];
        if metric == Nearness::L2 {
            for &row in &groups.row {
                centre.iter_mut().zip(vectors.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
            }
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean of f32 vectors, used on both sides alike")]
        let centre: Vec<f32> = centre.iter().map(|sum| (sum / groups.len().max(1) as f64) as f32).collect();
        let shifted: Vec<f32> = groups.row.iter().flat_map(|&row| shift(vectors.row(row), &centre, metric)).collect();
        let squares = shifted.chunks_exact(width).map(|vector| vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum()).collect();
        Self { vectors, groups, metric, centre, shifted, squares }
    }

    /// The answers to a block of questions; `golds` are the right candidates of each.
    fn search(&self, queries: &Vectors, rows: &[usize], golds: &[Vec<usize>]) -> Vec<Answer> {
        let (width, n) = (queries.width, self.groups.len());
        let shifted: Vec<f32> = rows.iter().flat_map(|&row| shift(queries.row(row), &self.centre, self.metric)).collect();
        let mut products = vec![0.0; rows.len() * n];
        matmul_transposed(&shifted, &self.shifted, rows.len(), n, width, &mut products); // (queries, hidden) x (hidden, candidates)
        rows.par_iter()
            .zip(products.par_chunks(n.max(1)))
            .zip(shifted.par_chunks(width))
            .zip(golds)
            .map(|(((&row, products), shifted), golds)| {
                let square: f64 = shifted.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
                let (scores, scale): (Vec<f64>, f64) = match self.metric {
                    Nearness::L2 => {
                        let scores = products.iter().zip(&self.squares).map(|(&product, &candidate)| 2.0 * f64::from(product) - square - candidate).collect();
                        (scores, square + self.squares.iter().copied().fold(0.0, f64::max))
                    }
                    Nearness::Cosine | Nearness::Dot => {
                        let scores: Vec<f64> = products.iter().map(|&product| f64::from(product)).collect();
                        let scale = scores.iter().fold(0.0f64, |largest, score| largest.max(score.abs()));
                        (scores, scale)
                    }
                };
                self.answer(queries.row(row), &scores, MARGIN * scale, golds)
            })
            .collect()
    }

    /// Ranks exactly: approximate scores that differ by more than the margin are in order, nearer ones are computed again.
    fn answer(&self, query: &[f32], scores: &[f64], margin: f64, golds: &[usize]) -> Answer {
        let exact = |candidate: usize| self.exact(query, self.vectors.row(self.groups.row[candidate]));
        let before = |a: (usize, f64), b: (usize, f64)| a.1 > b.1 || (a.1 >= b.1 && a.0 < b.0);
        let gold = golds.iter().map(|&gold| (gold, exact(gold))).reduce(|best, gold| if before(gold, best) { gold } else { best });
        let rank = gold.map(|gold| {
            let ahead = scores.iter().enumerate().filter(|&(candidate, &score)| {
                score > gold.1 + margin || (score >= gold.1 - margin && candidate != gold.0 && before((candidate, exact(candidate)), gold))
            });
            ahead.count() as u64 + 1
        });
        let mut sorted: Vec<f64> = scores.to_vec();
        let kept = KEPT.min(sorted.len());
        if kept == 0 {
            return Answer { rank, best: Vec::new() };
        }
        let (_, &mut threshold, _) = sorted.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a));
        let near = scores.iter().enumerate().filter(|&(_, &score)| score >= threshold - margin);
        let mut best: Vec<(usize, f64)> = near.map(|(candidate, _)| (candidate, exact(candidate))).collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        best.truncate(kept);
        Answer { rank, best }
    }

    /// The score in 64 bits from the vectors as the encoder gave them.
    fn exact(&self, query: &[f32], candidate: &[f32]) -> f64 {
        let pairs = query.iter().zip(candidate).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        match self.metric {
            Nearness::L2 => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
            Nearness::Dot => pairs.map(|(a, b)| a * b).sum(),
            Nearness::Cosine => {
                let (mut product, mut query, mut candidate) = (0.0, 0.0, 0.0);
                for (a, b) in pairs {
                    product += a * b;
                    query += a * a;
                    candidate += b * b;
                }
                // A vector of length 0 points nowhere.
                if query * candidate > 0.0 { product / (query.sqrt() * candidate.sqrt()) } else { 0.0 }
            }
        }
    }
}

/// A vector as the 32-bit products take it: around the centre, or of length 1 for the cosine.
fn shift(vector: &[f32], centre: &[f32], metric: Nearness) -> Vec<f32> {
    match metric {
        Nearness::L2 => vector.iter().zip(centre).map(|(value, centre)| value - centre).collect(),
        Nearness::Dot => vector.to_vec(),
        Nearness::Cosine => {
            let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "unit vectors are f32")]
            let unit = |value: &f32| if length > 0.0 { (f64::from(*value) / length) as f32 } else { 0.0 };
            vector.iter().map(unit).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four candidates on a line and one query, all of width 2.
    fn search(metric: Nearness, query: [f32; 2], golds: &[usize]) -> (Option<u64>, Vec<usize>) {
        let vectors = Vectors { width: 2, values: vec![1.0, 0.0, 2.0, 0.0, 3.0, 3.0, 2.0, 0.0] };
        let groups = CandidateGroups::new(&[0, 1, 2, 3], Ties::Index);
        let queries = Vectors { width: 2, values: query.to_vec() };
        let answer = Index::new(&vectors, &groups, metric).search(&queries, &[0], &[golds.to_vec()]).remove(0);
        (answer.rank, answer.best.iter().map(|best| best.0).collect())
    }

    #[test]
    fn nearest_first_and_ties_by_index() {
        let (rank, order) = search(Nearness::L2, [1.9, 0.0], &[3]);
        assert_eq!(order, [1, 3, 0, 2]); // squared distances 0.01, 0.01, 0.81, 10.21
        assert_eq!(rank, Some(2)); // the equal candidate 1 comes first
        assert_eq!(search(Nearness::Dot, [1.0, 0.0], &[0]), (Some(4), vec![2, 1, 3, 0])); // products 3, 2, 2, 1
        assert_eq!(search(Nearness::Cosine, [1.0, 1.0], &[2, 0]), (Some(1), vec![2, 0, 1, 3])); // cosines 1, 0.71, 0.71, 0.71
    }

    #[test]
    fn a_question_without_a_right_candidate_has_no_rank() {
        assert_eq!(search(Nearness::L2, [0.0, 0.0], &[]).0, None);
    }

    #[test]
    fn ranks_agree_with_a_full_sort_in_64_bits() {
        let mut random = lmprobe_core::Seed(5).random();
        #[expect(clippy::cast_possible_truncation, reason = "test vectors")]
        let mut draw = |n: usize| (0..n).map(|_| (random.normal() + 30.0) as f32).collect::<Vec<_>>();
        let (vectors, queries) = (Vectors { width: 8, values: draw(8 * 500) }, Vectors { width: 8, values: draw(8 * 20) });
        let groups = CandidateGroups::new(&(0..500).collect::<Vec<_>>(), Ties::Index);
        for metric in [Nearness::L2, Nearness::Cosine, Nearness::Dot] {
            let index = Index::new(&vectors, &groups, metric);
            let rows: Vec<usize> = (0..20).collect();
            let golds: Vec<Vec<usize>> = rows.iter().map(|&row| vec![row * 7, 499 - row]).collect();
            for (row, answer) in index.search(&queries, &rows, &golds).into_iter().enumerate() {
                let mut order: Vec<(usize, f64)> = (0..500).map(|candidate| (candidate, index.exact(queries.row(row), vectors.row(candidate)))).collect();
                order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                let rank = order.iter().position(|(candidate, _)| golds[row].contains(candidate)).unwrap() as u64 + 1;
                assert_eq!(answer.rank, Some(rank));
                assert_eq!(answer.best, order[..KEPT]);
            }
        }
    }
}
