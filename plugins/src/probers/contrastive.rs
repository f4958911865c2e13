//! The prober `contrastive`: retrieval of the answer among candidate names by their vectors.

use std::sync::Arc;

use lmprobe_core::candle_core::Tensor;
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{
    Build, BuildContext, CallContext, Encoder, Error, Examples, Needs, Origin, Prober, Registration, Result, TokenBatch, Tokenization, Want, inventory,
    schema_of,
};
use polars::prelude::DataFrame;

use super::candidate_groups::{CandidateGroups, Distinct, Ties};
use super::nearest::{Answer, Index, Nearness, Vectors};
use super::query::Queries;
use super::ranking::{Pools, PredictionsBuilder};
use crate::nn::ops;
use crate::nn::packed::first_tokens;
use crate::nn::passes::encode_in_passes;
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

/// Questions searched for between two looks whether to stop.
const QUESTIONS_A_SEARCH: usize = 4_096;

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

impl Pooling {
    /// What it needs of a pass: where the first token stands for all, the others need no last state.
    ///
    /// # Errors
    /// If a sequence is empty.
    pub(crate) fn want(self, layer: usize, tokens: &TokenBatch) -> Result<Want> {
        Ok(match self {
            Self::Cls => Want::layer_at(layer, first_tokens(tokens)?.into_iter().map(|position| position as usize).collect()),
            Self::Mean => Want::layer(layer),
        })
    }

    /// One vector a sequence, `(batch, hidden)`, of the state that was wanted.
    ///
    /// # Errors
    /// If a sequence is empty.
    pub(crate) fn apply(self, state: &Tensor, tokens: &TokenBatch) -> Result<Tensor> {
        match self {
            Self::Cls => Ok(state.clone()),
            Self::Mean => Ok(ops::sequence_mean(state, &tokens.offsets)?),
        }
    }
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
            let index = Index::new(&candidate_vectors, &groups.row, self.params.metric);
            for block in rows.chunks(QUESTIONS_A_SEARCH) {
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
        encode_in_passes(encoder, tokens, phase, cx, &|pass, _| self.params.pooling.want(layer, pass), &mut |group, pass, output| {
            let pooled = self.params.pooling.apply(output.layer(layer)?, pass)?; // (batch, hidden)
            with_values(&pooled, |values| {
                for (&row, vector) in group.iter().zip(values.chunks_exact(vectors.width)) {
                    vectors.values[row * vectors.width..][..vectors.width].copy_from_slice(vector);
                }
                Ok(())
            })?;
            Ok(())
        })?;
        // A comparison with such a value is false either way: it would lose its rank without a word.
        if let Some(place) = vectors.values.iter().position(|value| !value.is_finite()) {
            let row = place / vectors.width;
            return Err(Error::Unsupported(format!("the encoder gave a vector that is not finite (item {row} of the {phase}): its weights are damaged")));
        }
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
