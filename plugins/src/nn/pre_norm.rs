//! The network with normalisation before each layer and causal attention, on packed batches: GPT-2 (Radford et al. 2019) and BioGPT (Luo
//! et al. 2022, arXiv:2210.10341), as `transformers/models/{gpt2,biogpt}` have it.
//!
//! Read from top to bottom: configuration, names, block, network. The two differ in names, in the layout of the attention's projections,
//! in the first position row, in the scale of the embeddings and in the activation.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::{EncoderOutput, Error, Result, Seed, TokenBatch, Want};
use lmprobe_kernels::Precision;

use super::blueprint::{Draw, Parts, TensorSpec};
use super::gradient_sink::GradientSink;
use super::inference_blocks::{BlockPairs, BlockShape, InferenceBlocks, NormPlace};
use super::ops::{self, Activation, Dropout};
use super::packed::{LastState, check_lengths, last_needed, last_rows, positions, wanted_rows};
use super::pair::{Pair, Table, Tensors};
use super::training_blocks::{BlockDropout, Trained, TrainedBlock, TrainingBlocks};

/// Whether the last hidden state has been through the final normalisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum FinalNorm {
    /// Yes, as `transformers` 5 numbers its hidden states.
    #[default]
    Always,
    /// No: the last hidden state is the sum that the last block leaves, like those before it.
    Never,
    /// As `transformers` 4 numbered its hidden states: yes for GPT-2, no for BioGPT.
    AsHf4,
}

/// Sizes and rates.
#[derive(Debug, Clone)]
pub struct PreNormConfig {
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
    /// Row of the first token.
    pub first_position: usize,
    /// Row of the word embeddings that stands for padding.
    pub padding: Option<usize>,
    /// Factor of the word embeddings.
    pub embedding_scale: f64,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Epsilon of every layer normalisation.
    pub eps: f32,
    /// Dropout of the embeddings.
    pub embedding_dropout: f32,
    /// Dropout of what is added to the residual stream.
    pub residual_dropout: f32,
    /// Dropout of attention probabilities.
    pub attention_dropout: f32,
    /// Dropout behind the activation.
    pub activation_dropout: f32,
    /// Whether the last hidden state is normalised.
    pub normalises_last: bool,
    /// What the tensors are called.
    pub names: &'static PreNormNames,
}

/// What the tensors are called, without the family's prefix; those of a block follow `block.N.`.
#[derive(Debug)]
pub struct PreNormNames {
    /// Word embeddings.
    pub word: &'static str,
    /// Position embeddings.
    pub position: &'static str,
    /// List of the blocks.
    pub block: &'static str,
    /// Normalisation before the attention.
    pub attention_norm: &'static str,
    /// Query, key and value projections.
    pub projections: Projections,
    /// Output projection of the attention.
    pub attention_output: &'static str,
    /// Normalisation before the feed-forward layer.
    pub feed_forward_norm: &'static str,
    /// First linear map of the feed-forward layer.
    pub wide: &'static str,
    /// Second linear map of the feed-forward layer.
    pub narrow: &'static str,
    /// Normalisation behind the last block.
    pub final_norm: &'static str,
    /// Weight of the decoder.
    pub decoder: &'static str,
    /// Whether files hold linear maps as `(inputs, outputs)`.
    pub conv1d: bool,
}

/// Query, key and value projections.
#[derive(Debug, Clone, Copy)]
pub enum Projections {
    /// One linear map of three times the width: query, key, value.
    Fused(&'static str),
    /// Three linear maps: query, key, value.
    Separate([&'static str; 3]),
}

impl PreNormConfig {
    /// Every tensor in the order of a forward pass.
    pub fn tensors(&self, parts: Parts, tied: bool) -> Vec<TensorSpec> {
        let (h, i, names) = (self.hidden, self.intermediate, self.names);
        let mut tensors = vec![TensorSpec::embedding(names.word, &[self.vocab, h], self.padding), TensorSpec::normal(names.position, &[self.positions, h])];
        // GPT-2 draws what enters the residual stream smaller, so that its sum over the blocks keeps its size.
        #[expect(clippy::cast_precision_loss, reason = "a network has a few dozen blocks")]
        let residual = if names.conv1d { Draw::Normal(1.0 / (2.0 * self.layers as f64).sqrt()) } else { Draw::Normal(1.0) };
        for layer in 0..self.layers {
            let name = |part: &str| format!("{}.{layer}.{part}", names.block);
            let linear = |part: &str, rows: usize, columns: usize, draw: Draw| {
                let [weight, bias] = TensorSpec::linear(&name(part), rows, columns);
                [TensorSpec { transposed: names.conv1d, draw, ..weight }, bias]
            };
            tensors.extend(TensorSpec::norm(&name(names.attention_norm), h));
            match names.projections {
                Projections::Fused(part) => tensors.extend(linear(part, 3 * h, h, Draw::Normal(1.0))),
                Projections::Separate(parts) => tensors.extend(parts.iter().flat_map(|part| linear(part, h, h, Draw::Normal(1.0)))),
            }
            tensors.extend(linear(names.attention_output, h, h, residual));
            tensors.extend(TensorSpec::norm(&name(names.feed_forward_norm), h));
            tensors.extend(linear(names.wide, i, h, Draw::Normal(1.0)));
            tensors.extend(linear(names.narrow, h, i, residual));
        }
        tensors.extend(TensorSpec::norm(names.final_norm, h));
        if parts.head && !tied {
            tensors.push(TensorSpec::normal(names.decoder, &[self.vocab, h]));
        }
        tensors
    }
}

/// The network. Its tensors share their storage with the variables they were made from.
pub struct PreNorm {
    config: PreNormConfig,
    word: Table,
    position: Table,
    blocks: Blocks,
    final_norm: Pair,
    /// The decoder has no bias: its bias here is a constant 0.
    head: Option<Pair>,
}

/// The blocks: reading their weights where the variables hold them, or packed for inference.
enum Blocks {
    Training(TrainingBlocks),
    Packed(InferenceBlocks),
}

impl PreNorm {
    /// Puts a network together from tensors named as [`PreNormConfig::tensors`] names them. Gradients go to `sink` as far as they do not come on candle's
    /// tape; without it the tensors are no variables.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn new(
        config: &PreNormConfig,
        parts: Parts,
        tied: bool,
        precision: Precision,
        tensors: &BTreeMap<String, Tensor>,
        sink: Option<&GradientSink>,
    ) -> Result<Self> {
        let names = config.names;
        let blocks = (0..config.layers)
            .map(|layer| {
                let trained = |part: &str| Trained::of(Tensors(tensors), &format!("{}.{layer}.{part}", names.block), sink);
                Ok(TrainedBlock {
                    projections: match names.projections {
                        Projections::Fused(part) => vec![trained(part)?],
                        Projections::Separate(parts) => parts.into_iter().map(trained).collect::<Result<_>>()?,
                    },
                    attention_output: trained(names.attention_output)?,
                    attention_norm: trained(names.attention_norm)?,
                    wide: trained(names.wide)?,
                    narrow: trained(names.narrow)?,
                    feed_forward_norm: trained(names.feed_forward_norm)?,
                })
            })
            .collect::<Result<_>>()?;
        let rates = BlockDropout {
            attention: config.attention_dropout,
            attended: config.residual_dropout,
            activation: config.activation_dropout,
            narrow: config.residual_dropout,
        };
        let blocks = TrainingBlocks::new(Self::block_shape(config, precision), rates, blocks)?;
        Self::with_blocks(config, parts, tied, tensors, sink, Blocks::Training(blocks))
    }

    /// The same for inference only: of `tensors` those outside of the blocks are used, those of the blocks are what `read` gives.
    ///
    /// # Errors
    /// If a tensor is missing or cannot be read.
    pub fn packed(
        config: &PreNormConfig,
        parts: Parts,
        tied: bool,
        precision: Precision,
        tensors: &BTreeMap<String, Tensor>,
        read: &(dyn Fn(&str) -> Result<Tensor> + Sync),
    ) -> Result<Self> {
        let names = config.names;
        let blocks = InferenceBlocks::new(Self::block_shape(config, precision), config.layers, &|layer| {
            let pair = |part: &str| {
                let name = format!("{}.{layer}.{part}", names.block);
                Ok::<_, Error>(Pair { weight: read(&format!("{name}.weight"))?, bias: read(&format!("{name}.bias"))? })
            };
            let projections = match names.projections {
                Projections::Fused(part) => vec![pair(part)?],
                Projections::Separate(parts) => parts.into_iter().map(pair).collect::<Result<_>>()?,
            };
            Ok(BlockPairs {
                projections,
                attention_output: pair(names.attention_output)?,
                attention_norm: pair(names.attention_norm)?,
                wide: pair(names.wide)?,
                narrow: pair(names.narrow)?,
                feed_forward_norm: pair(names.feed_forward_norm)?,
            })
        })?;
        Self::with_blocks(config, parts, tied, tensors, None, Blocks::Packed(blocks))
    }

    fn block_shape(config: &PreNormConfig, precision: Precision) -> BlockShape {
        BlockShape {
            hidden: config.hidden,
            heads: config.heads,
            causal: true,
            activation: config.activation,
            eps: config.eps,
            norms: NormPlace::Before,
            precision,
        }
    }

    fn with_blocks(
        config: &PreNormConfig,
        parts: Parts,
        tied: bool,
        tensors: &BTreeMap<String, Tensor>,
        sink: Option<&GradientSink>,
        blocks: Blocks,
    ) -> Result<Self> {
        let (tensors, names) = (Tensors(tensors), config.names);
        let word = Table::of(tensors, names.word, sink)?;
        let head = if parts.head {
            let weight = if tied { word.rows.clone() } else { tensors.get(names.decoder)? };
            Some(Pair { bias: Tensor::zeros(config.vocab, DType::F32, weight.device())?, weight })
        } else {
            None
        };
        Ok(Self {
            word,
            position: Table::of(tensors, names.position, sink)?,
            blocks,
            final_norm: tensors.pair(names.final_norm)?,
            head,
            config: config.clone(),
        })
    }

    /// One pass over a packed batch. `dropout` seeds every dropout mask; without it there is none.
    ///
    /// # Errors
    /// If something is wanted that the network does not have, or an id or a length is out of its range.
    pub fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        let config = &self.config;
        let last = last_needed(want, config.layers)?;
        let dropped = dropout.map(|seed| Dropout { p: config.embedding_dropout, seed: seed.0, stream: 0 });
        let embedded = ops::dropout(&self.embed(tokens)?, dropped)?; // (tokens, hidden)
        let mut output = EncoderOutput::default();
        let x = match &self.blocks {
            Blocks::Training(blocks) => LastState { x: blocks.outputs(&embedded, tokens, (want, last), dropout, &mut output)?, rows: None },
            Blocks::Packed(blocks) => {
                let rows = last_rows(want, last, tokens)?;
                LastState { x: blocks.outputs(&embedded, tokens, (want, last, rows.as_deref()), dropout, &mut output)?, rows }
            }
        };
        for (layer, state) in &mut output.hidden {
            *state = if *layer == last { x.at(&want.hidden_rows, tokens)? } else { wanted_rows(state, &want.hidden_rows, tokens)? };
        }
        if config.normalises_last {
            for (_, state) in output.hidden.iter_mut().filter(|(layer, _)| *layer == config.layers) {
                *state = self.final_norm.norm(state, config.eps)?;
            }
        }
        if let Some(rows) = &want.lm_logits {
            let Some(head) = &self.head else {
                return Err(Error::Unsupported(format!("the checkpoint has no causal-language-model head (`{}`)", config.names.decoder)));
            };
            let rows = self.final_norm.norm(&x.at(rows, tokens)?, config.eps)?;
            output.lm_logits = Some(head.linear(&rows)?); // (rows, vocab)
        }
        if want.mlm_logits.is_some() {
            return Err(Error::Unsupported("a causal language model has no masked-language-model logits".into()));
        }
        if want.pooled {
            return Err(Error::Unsupported("a causal language model has no pooler".into()));
        }
        Ok(output)
    }

    fn embed(&self, tokens: &TokenBatch) -> Result<Tensor> {
        check_lengths(tokens, self.config.positions - self.config.first_position)?;
        let mut word = self.word.gather(&tokens.ids)?; // (tokens, hidden)
        if self.config.embedding_scale != 1.0 {
            word = (word * self.config.embedding_scale)?;
        }
        let position = self.position.gather(&positions(tokens, self.config.first_position))?;
        Ok((word + position)?)
    }
}
