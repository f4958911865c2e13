//! The network with normalisation behind each sum, on packed batches: BERT (Devlin et al. 2019, arXiv:1810.04805), RoBERTa (Liu et al.
//! 2019, arXiv:1907.11692) and DistilBERT (Sanh et al. 2019, arXiv:1910.01108), as `transformers/models/{bert,roberta,distilbert}` have it.
//!
//! Read from top to bottom: configuration, names, block, network. The three differ in names, position rows, segments and heads only.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use lmprobe_core::{EncoderOutput, Error, Result, Seed, TokenBatch, Want};
use lmprobe_kernels::Precision;

use super::blueprint::{Parts, TensorSpec};
use super::inference_blocks::{BlockPairs, BlockShape, InferenceBlocks, NormPlace};
use super::ops::{self, Activation, Attention, Dropout};
use super::packed::{check_lengths, first_tokens, last_needed, positions, wanted_rows};
use super::pair::{Pair, Tensors};

/// Sizes and rates.
#[derive(Debug, Clone)]
pub struct PostNormConfig {
    /// Vocabulary entries.
    pub vocab: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Rows of the position embeddings.
    pub positions: usize,
    /// Row of the first token: 0, or the row behind the padding token's in RoBERTa.
    pub first_position: usize,
    /// Segments; 0 if the network knows none.
    pub token_types: usize,
    /// Row of the word embeddings that stands for padding.
    pub padding: Option<usize>,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Activation of the language-model head.
    pub head_activation: Activation,
    /// Epsilon of every layer normalisation.
    pub eps: f32,
    /// Dropout of embeddings and block outputs.
    pub hidden_dropout: f32,
    /// Dropout of attention probabilities.
    pub attention_dropout: f32,
    /// Whether the attention's output has dropout; DistilBERT's has none.
    pub drops_attention_output: bool,
    /// What the tensors are called.
    pub names: &'static PostNormNames,
}

/// What the tensors are called, without the family's prefix; those of a block follow `block.N.`.
#[derive(Debug)]
pub struct PostNormNames {
    /// List of the blocks.
    pub block: &'static str,
    /// Query projection.
    pub query: &'static str,
    /// Key projection.
    pub key: &'static str,
    /// Value projection.
    pub value: &'static str,
    /// Output projection of the attention.
    pub attention_output: &'static str,
    /// Normalisation behind the attention.
    pub attention_norm: &'static str,
    /// First linear map of the feed-forward layer.
    pub intermediate: &'static str,
    /// Second linear map of the feed-forward layer.
    pub output: &'static str,
    /// Normalisation behind the feed-forward layer.
    pub output_norm: &'static str,
    /// Linear map of the head.
    pub head_dense: &'static str,
    /// Normalisation of the head.
    pub head_norm: &'static str,
    /// Bias of the decoder.
    pub head_bias: &'static str,
    /// Weight of the decoder.
    pub decoder: &'static str,
}

impl PostNormConfig {
    /// Every tensor in the order of a forward pass.
    pub fn tensors(&self, parts: Parts, tied: bool) -> Vec<TensorSpec> {
        let (h, i, names) = (self.hidden, self.intermediate, self.names);
        let mut tensors = vec![
            TensorSpec::embedding("embeddings.word_embeddings.weight", &[self.vocab, h], self.padding),
            TensorSpec::embedding("embeddings.position_embeddings.weight", &[self.positions, h], self.first_position.checked_sub(1)),
        ];
        if self.token_types > 0 {
            tensors.push(TensorSpec::normal("embeddings.token_type_embeddings.weight", &[self.token_types, h]));
        }
        tensors.extend(TensorSpec::norm("embeddings.LayerNorm", h));
        for layer in 0..self.layers {
            let name = |part: &str| format!("{}.{layer}.{part}", names.block);
            for (part, rows, columns) in
                [(names.query, h, h), (names.key, h, h), (names.value, h, h), (names.attention_output, h, h), (names.intermediate, i, h), (names.output, h, i)]
            {
                tensors.extend(TensorSpec::linear(&name(part), rows, columns));
            }
            for part in [names.attention_norm, names.output_norm] {
                tensors.extend(TensorSpec::norm(&name(part), h));
            }
        }
        if parts.pooler {
            tensors.extend(TensorSpec::linear("pooler.dense", h, h));
        }
        if parts.head {
            tensors.extend(TensorSpec::linear(names.head_dense, h, h));
            tensors.extend(TensorSpec::norm(names.head_norm, h));
            tensors.push(TensorSpec::zeros(names.head_bias, self.vocab));
            if !tied {
                tensors.push(TensorSpec::normal(names.decoder, &[self.vocab, h]));
            }
        }
        tensors
    }
}

struct Block {
    query: Pair,
    key: Pair,
    value: Pair,
    attention_output: Pair,
    attention_norm: Pair,
    intermediate: Pair,
    output: Pair,
    output_norm: Pair,
}

/// The blocks: on a tape, or packed for inference.
enum Blocks {
    Taped(Vec<Block>),
    Packed(InferenceBlocks),
}

struct Head {
    dense: Pair,
    norm: Pair,
    decoder: Pair,
}

/// The network. Its tensors share their storage with the variables they were made from.
pub struct PostNorm {
    config: PostNormConfig,
    word: Tensor,
    position: Tensor,
    token_type: Option<Tensor>,
    norm: Pair,
    blocks: Blocks,
    pooler: Option<Pair>,
    head: Option<Head>,
}

impl PostNorm {
    /// Puts a network together from tensors named as [`PostNormConfig::tensors`] names them.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn new(config: &PostNormConfig, parts: Parts, tied: bool, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let names = config.names;
        let blocks = (0..config.layers)
            .map(|layer| {
                let pair = |part: &str| Tensors(tensors).pair(&format!("{}.{layer}.{part}", names.block));
                Ok(Block {
                    query: pair(names.query)?,
                    key: pair(names.key)?,
                    value: pair(names.value)?,
                    attention_output: pair(names.attention_output)?,
                    attention_norm: pair(names.attention_norm)?,
                    intermediate: pair(names.intermediate)?,
                    output: pair(names.output)?,
                    output_norm: pair(names.output_norm)?,
                })
            })
            .collect::<Result<_>>()?;
        Self::with_blocks(config, parts, tied, tensors, Blocks::Taped(blocks))
    }

    /// The same for inference only: of `tensors` those outside of the blocks are used, those of the blocks are what `read` gives.
    ///
    /// # Errors
    /// If a tensor is missing or cannot be read.
    pub fn packed(
        config: &PostNormConfig,
        parts: Parts,
        tied: bool,
        precision: Precision,
        tensors: &BTreeMap<String, Tensor>,
        read: &(dyn Fn(&str) -> Result<Tensor> + Sync),
    ) -> Result<Self> {
        let names = config.names;
        let shape = BlockShape {
            hidden: config.hidden,
            heads: config.heads,
            causal: false,
            activation: config.activation,
            eps: config.eps,
            norms: NormPlace::Behind,
            precision,
        };
        let blocks = InferenceBlocks::new(shape, config.layers, &|layer| {
            let pair = |part: &str| {
                let name = format!("{}.{layer}.{part}", names.block);
                Ok::<_, Error>(Pair { weight: read(&format!("{name}.weight"))?, bias: read(&format!("{name}.bias"))? })
            };
            Ok(BlockPairs {
                projections: vec![pair(names.query)?, pair(names.key)?, pair(names.value)?],
                attention_output: pair(names.attention_output)?,
                attention_norm: pair(names.attention_norm)?,
                wide: pair(names.intermediate)?,
                narrow: pair(names.output)?,
                feed_forward_norm: pair(names.output_norm)?,
            })
        })?;
        Self::with_blocks(config, parts, tied, tensors, Blocks::Packed(blocks))
    }

    fn with_blocks(config: &PostNormConfig, parts: Parts, tied: bool, tensors: &BTreeMap<String, Tensor>, blocks: Blocks) -> Result<Self> {
        let (tensors, names) = (Tensors(tensors), config.names);
        let word = tensors.get("embeddings.word_embeddings.weight")?;
        let head = if parts.head {
            let weight = if tied { word.clone() } else { tensors.get(names.decoder)? };
            let decoder = Pair { weight, bias: tensors.get(names.head_bias)? };
            Some(Head { dense: tensors.pair(names.head_dense)?, norm: tensors.pair(names.head_norm)?, decoder })
        } else {
            None
        };
        Ok(Self {
            word,
            position: tensors.get("embeddings.position_embeddings.weight")?,
            token_type: if config.token_types > 0 { Some(tensors.get("embeddings.token_type_embeddings.weight")?) } else { None },
            norm: tensors.pair("embeddings.LayerNorm")?,
            blocks,
            pooler: if parts.pooler { Some(tensors.pair("pooler.dense")?) } else { None },
            head,
            config: config.clone(),
        })
    }

    /// One pass over a packed batch. `dropout` seeds every dropout mask; without it there is none.
    ///
    /// # Errors
    /// If something is wanted that the network does not have, or an id or a length is out of its range.
    pub fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        let last = last_needed(want, self.config.layers)?;
        let dropped = dropout.map(|seed| Dropout { p: self.config.hidden_dropout, seed: seed.0, stream: 0 });
        let embedded = ops::dropout(&self.norm.norm(&self.embed(tokens)?, self.config.eps)?, dropped)?; // (tokens, hidden)
        let mut output = EncoderOutput::default();
        let x = match &self.blocks {
            Blocks::Taped(blocks) => self.taped(blocks, embedded, tokens, (want, last), dropout, &mut output)?,
            Blocks::Packed(blocks) => blocks.outputs(&embedded, tokens, (want, last), dropout, &mut output)?,
        };
        for (_, state) in &mut output.hidden {
            *state = wanted_rows(state, &want.hidden_rows, tokens)?;
        }
        if want.pooled {
            output.pooled = Some(self.pool(&x, tokens)?);
        }
        if let Some(rows) = &want.mlm_logits {
            output.mlm_logits = Some(self.mlm_logits(&wanted_rows(&x, rows, tokens)?)?);
        }
        if want.lm_logits.is_some() {
            return Err(Error::Unsupported("a masked language model has no causal-language-model logits".into()));
        }
        Ok(output)
    }

    /// Runs the blocks on candle's tape; the result is what the last one gave.
    fn taped(
        &self,
        blocks: &[Block],
        embedded: Tensor,
        tokens: &TokenBatch,
        (want, last): (&Want, usize),
        dropout: Option<Seed>,
        output: &mut EncoderOutput,
    ) -> Result<Tensor> {
        let offsets: Arc<[usize]> = tokens.offsets.as_slice().into();
        let site = |p: f32, layer: usize, site: u64| dropout.map(|seed| Dropout { p, seed: seed.0, stream: layer as u64 * 4 + site });
        let (hidden_dropout, attention_dropout, eps) = (self.config.hidden_dropout, self.config.attention_dropout, self.config.eps);
        let mut states: Vec<Option<Tensor>> = vec![None; blocks.len() + 1];
        let mut x = embedded; // (tokens, hidden)
        states[0] = Some(x.clone());
        for (index, block) in blocks.iter().take(last).enumerate() {
            let layer = index + 1;
            let (query, key, value) = (block.query.linear(&x)?, block.key.linear(&x)?, block.value.linear(&x)?); // (tokens, heads x head_dim)
            let attention = Attention { offsets: offsets.clone(), heads: self.config.heads, causal: false, dropout: site(attention_dropout, layer, 0) };
            if want.attentions {
                output.attentions.push(attention.probabilities(&query, &key)?); // (heads, query, key) a sequence
            }
            let context = attention.apply(&query, &key, &value)?; // (tokens, hidden)
            let mut attended = block.attention_output.linear(&context)?;
            if self.config.drops_attention_output {
                attended = ops::dropout(&attended, site(hidden_dropout, layer, 1))?;
            }
            x = block.attention_norm.norm(&(attended + &x)?, eps)?;
            let wide = ops::activation(&block.intermediate.linear(&x)?, self.config.activation)?; // (tokens, intermediate)
            let narrow = ops::dropout(&block.output.linear(&wide)?, site(hidden_dropout, layer, 2))?; // (tokens, hidden)
            x = block.output_norm.norm(&(narrow + &x)?, eps)?;
            states[layer] = Some(x.clone());
        }
        for &layer in &want.hidden {
            let state = states[layer].clone().expect("blocks up to the last wanted layer were run");
            output.hidden.push((layer, state));
        }
        Ok(x)
    }

    fn embed(&self, tokens: &TokenBatch) -> Result<Tensor> {
        check_lengths(tokens, self.config.positions - self.config.first_position)?;
        let word = ops::gather(&self.word, &tokens.ids)?; // (tokens, hidden)
        let position = ops::gather(&self.position, &positions(tokens, self.config.first_position))?;
        Ok(match &self.token_type {
            Some(token_type) => ((word + ops::gather(token_type, &tokens.type_ids)?)? + position)?,
            None => (word + position)?,
        })
    }

    /// The tanh of a linear map of each first token, `(batch, hidden)`.
    fn pool(&self, x: &Tensor, tokens: &TokenBatch) -> Result<Tensor> {
        let Some(pooler) = &self.pooler else {
            return Err(Error::Unsupported("the checkpoint has no pooler (`pooler.dense.*`)".into()));
        };
        let first = ops::gather(x, &first_tokens(tokens)?)?; // (batch, hidden)
        Ok(ops::activation(&pooler.linear(&first)?, Activation::Tanh)?)
    }

    /// Logits over the vocabulary, `(rows, vocab)`.
    fn mlm_logits(&self, rows: &Tensor) -> Result<Tensor> {
        let Some(head) = &self.head else {
            return Err(Error::Unsupported(format!("the checkpoint has no masked-language-model head (`{}.*`)", self.config.names.head_dense)));
        };
        let transformed = ops::activation(&head.dense.linear(rows)?, self.config.head_activation)?; // (rows, hidden)
        head.decoder.linear(&head.norm.norm(&transformed, self.config.eps)?) // (rows, vocab)
    }
}
