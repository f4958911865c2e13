//! The network with normalisation behind each sum, on packed batches: BERT (Devlin et al. 2019, arXiv:1810.04805), RoBERTa (Liu et al.
//! 2019, arXiv:1907.11692) and DistilBERT (Sanh et al. 2019, arXiv:1910.01108), as `transformers/models/{bert,roberta,distilbert}` have it.
//!
//! Read from top to bottom: configuration, names, block, network. The three differ in names, position rows, segments and heads only.

use std::collections::BTreeMap;

use candle_core::Tensor;
use lmprobe_core::{EncoderOutput, Error, Result, Seed, TokenBatch, TokenRows, Want};
use lmprobe_kernels::Precision;

use super::blueprint::{Parts, TensorSpec};
use super::gradient_sink::GradientSink;
use super::inference_blocks::{BlockPairs, BlockShape, InferenceBlocks, NormPlace};
use super::ops::{self, Activation, Dropout};
use super::packed::{LastState, check_lengths, first_tokens, last_needed, last_rows, positions, wanted_rows};
use super::pair::{Pair, Table, Tensors};
use super::training_blocks::{BlockDropout, Trained, TrainedBlock, TrainingBlocks};

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

/// The blocks: reading their weights where the variables hold them, or packed for inference.
enum Blocks {
    Training(TrainingBlocks),
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
    word: Table,
    position: Table,
    token_type: Option<Table>,
    norm: Pair,
    blocks: Blocks,
    pooler: Option<Pair>,
    head: Option<Head>,
}

impl PostNorm {
    /// Puts a network together from tensors named as [`PostNormConfig::tensors`] names them. Gradients go to `sink` as far as they do not come on candle's
    /// tape; without it the tensors are no variables.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn new(
        config: &PostNormConfig,
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
                    projections: vec![trained(names.query)?, trained(names.key)?, trained(names.value)?],
                    attention_output: trained(names.attention_output)?,
                    attention_norm: trained(names.attention_norm)?,
                    wide: trained(names.intermediate)?,
                    narrow: trained(names.output)?,
                    feed_forward_norm: trained(names.output_norm)?,
                })
            })
            .collect::<Result<_>>()?;
        let rates = BlockDropout {
            attention: config.attention_dropout,
            attended: if config.drops_attention_output { config.hidden_dropout } else { 0.0 },
            activation: 0.0,
            narrow: config.hidden_dropout,
        };
        let blocks = TrainingBlocks::new(Self::block_shape(config, precision), rates, blocks)?;
        Self::with_blocks(config, parts, tied, tensors, sink, Blocks::Training(blocks))
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
        let blocks = InferenceBlocks::new(Self::block_shape(config, precision), config.layers, &|layer| {
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
        Self::with_blocks(config, parts, tied, tensors, None, Blocks::Packed(blocks))
    }

    fn block_shape(config: &PostNormConfig, precision: Precision) -> BlockShape {
        BlockShape {
            hidden: config.hidden,
            heads: config.heads,
            causal: false,
            activation: config.activation,
            eps: config.eps,
            norms: NormPlace::Behind,
            precision,
        }
    }

    fn with_blocks(
        config: &PostNormConfig,
        parts: Parts,
        tied: bool,
        tensors: &BTreeMap<String, Tensor>,
        sink: Option<&GradientSink>,
        blocks: Blocks,
    ) -> Result<Self> {
        let (tensors, names) = (Tensors(tensors), config.names);
        let word = Table::of(tensors, "embeddings.word_embeddings.weight", sink)?;
        let head = if parts.head {
            let weight = if tied { word.rows.clone() } else { tensors.get(names.decoder)? };
            let decoder = Pair { weight, bias: tensors.get(names.head_bias)? };
            Some(Head { dense: tensors.pair(names.head_dense)?, norm: tensors.pair(names.head_norm)?, decoder })
        } else {
            None
        };
        Ok(Self {
            word,
            position: Table::of(tensors, "embeddings.position_embeddings.weight", sink)?,
            token_type: if config.token_types > 0 { Some(Table::of(tensors, "embeddings.token_type_embeddings.weight", sink)?) } else { None },
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
            Blocks::Training(blocks) => LastState { x: blocks.outputs(&embedded, tokens, (want, last), dropout, &mut output)?, rows: None },
            Blocks::Packed(blocks) => {
                let rows = last_rows(want, last, tokens)?;
                LastState { x: blocks.outputs(&embedded, tokens, (want, last, rows.as_deref()), dropout, &mut output)?, rows }
            }
        };
        for (layer, state) in &mut output.hidden {
            *state = if *layer == last { x.at(&want.hidden_rows, tokens)? } else { wanted_rows(state, &want.hidden_rows, tokens)? };
        }
        if want.pooled {
            output.pooled = Some(self.pool(&x, tokens)?);
        }
        if let Some(rows) = &want.mlm_logits {
            output.mlm_logits = Some(self.mlm_logits(&x.at(rows, tokens)?)?);
        }
        if want.lm_logits.is_some() {
            return Err(Error::Unsupported("a masked language model has no causal-language-model logits".into()));
        }
        Ok(output)
    }

    fn embed(&self, tokens: &TokenBatch) -> Result<Tensor> {
        check_lengths(tokens, self.config.positions - self.config.first_position)?;
        let word = self.word.gather(&tokens.ids)?; // (tokens, hidden)
        let position = self.position.gather(&positions(tokens, self.config.first_position))?;
        Ok(match &self.token_type {
            Some(token_type) => ((word + token_type.gather(&tokens.type_ids)?)? + position)?,
            None => (word + position)?,
        })
    }

    /// The tanh of a linear map of each first token, `(batch, hidden)`.
    fn pool(&self, x: &LastState, tokens: &TokenBatch) -> Result<Tensor> {
        let Some(pooler) = &self.pooler else {
            return Err(Error::Unsupported("the checkpoint has no pooler (`pooler.dense.*`)".into()));
        };
        let positions = first_tokens(tokens)?.into_iter().map(|position| position as usize).collect();
        let first = x.at(&TokenRows::At(positions), tokens)?; // (batch, hidden)
        let mapped = match self.blocks {
            Blocks::Training(_) => pooler.linear(&first)?,
            Blocks::Packed(_) => ops::linear_of_rows(&first, &pooler.weight, &pooler.bias)?,
        };
        Ok(ops::activation(&mapped, Activation::Tanh)?)
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
