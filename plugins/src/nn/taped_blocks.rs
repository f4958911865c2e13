//! The blocks of a network on candle's tape, one operation a node: for devices that the [engine](super::training_blocks) does not run on, and what it is tested
//! against.

use std::sync::Arc;

use candle_core::Tensor;
use lmprobe_core::{EncoderOutput, Result, Seed, TokenBatch, Want};
use lmprobe_kernels::Dropout;

use super::inference_blocks::NormPlace;
use super::ops::{self, Attention};
use super::training_blocks::{Blocks, TrainedBlock};

impl Blocks {
    /// Runs as many blocks as are needed on `embedded (tokens, hidden)`, puts what is wanted of them into `output` and returns what the last one gave. All
    /// gradients come on candle's tape.
    pub(super) fn taped(
        &self,
        embedded: &Tensor,
        tokens: &TokenBatch,
        (want, last): (&Want, usize),
        dropout: Option<Seed>,
        output: &mut EncoderOutput,
    ) -> Result<Tensor> {
        let (shape, rates) = (self.shape, self.rates);
        let offsets: Arc<[usize]> = tokens.offsets.as_slice().into();
        let behind = shape.norms == NormPlace::Behind;
        let mut states = vec![embedded.clone()];
        let mut x = embedded.clone(); // (tokens, hidden)
        for (index, block) in self.trained.iter().take(last).enumerate() {
            let site = |p: f32, site: u64| dropout.map(|seed| Dropout { p, seed: seed.0, stream: (index as u64 + 1) * 4 + site });
            let (attention_norm, feed_forward_norm) = (&block.attention_norm.pair, &block.feed_forward_norm.pair);
            let normed = if behind { x.clone() } else { attention_norm.norm(&x, shape.eps)? };
            let [query, key, value] = projected(block, &normed, shape.hidden)?; // (tokens, heads x head_dim)
            let attention = Attention { offsets: offsets.clone(), heads: shape.heads, causal: shape.causal, dropout: site(rates.attention, 0) };
            if want.attentions {
                output.attentions.push(attention.probabilities(&query, &key)?); // (heads, query, key) a sequence
            }
            let context = attention.apply(&query, &key, &value)?; // (tokens, hidden)
            let attended = ops::dropout(&block.attention_output.pair.linear(&context)?, site(rates.attended, 1))?;
            x = (attended + &x)?;
            let normed = if behind { attention_norm.norm(&x, shape.eps)? } else { feed_forward_norm.norm(&x, shape.eps)? };
            let wide = ops::activation(&block.wide.pair.linear(&normed)?, shape.activation)?; // (tokens, intermediate)
            let wide = ops::dropout(&wide, site(rates.activation, 3))?;
            let narrow = ops::dropout(&block.narrow.pair.linear(&wide)?, site(rates.narrow, 2))?; // (tokens, hidden)
            x = if behind { feed_forward_norm.norm(&(narrow + normed)?, shape.eps)? } else { (narrow + &x)? };
            states.push(x.clone());
        }
        output.hidden.extend(want.hidden.iter().map(|&layer| (layer, states[layer].clone())));
        Ok(x)
    }
}

/// Queries, keys and values, `(tokens, hidden)` each.
fn projected(block: &TrainedBlock, x: &Tensor, hidden: usize) -> Result<[Tensor; 3]> {
    Ok(match block.projections.as_slice() {
        [query, key, value] => [query.pair.linear(x)?, key.pair.linear(x)?, value.pair.linear(x)?],
        parts => {
            let all = parts.iter().map(|part| part.pair.linear(x)).collect::<Result<Vec<_>>>()?;
            let all = Tensor::cat(&all, 1)?; // (tokens, 3 hidden)
            let third = |n: usize| all.narrow(1, n * hidden, hidden)?.contiguous();
            [third(0)?, third(1)?, third(2)?]
        }
    })
}
