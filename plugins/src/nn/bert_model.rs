//! The BERT network on packed batches (Devlin et al. 2019, arXiv:1810.04805; `transformers/models/bert/modeling_bert.py`).
//!
//! Read from top to bottom: configuration, block, network. Names follow the checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use lmprobe_core::serde::Deserialize;
use lmprobe_core::{EncoderOutput, Error, LogitRows, Result, Seed, TokenBatch, Want, serde_json};

use super::ops::{self, Activation, Attention, Dropout};

/// What `config.json` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(crate = "lmprobe_core::serde")]
pub struct BertConfig {
    /// Vocabulary entries.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads a block.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Activation of the feed-forward layer.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Dropout of embeddings and block outputs.
    #[serde(default = "tenth")]
    pub hidden_dropout_prob: f32,
    /// Dropout of attention probabilities.
    #[serde(default = "tenth")]
    pub attention_probs_dropout_prob: f32,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Segments.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Epsilon of every layer normalisation.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f32,
    /// Standard deviation of drawn weights.
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
    /// Row of the word embeddings that stands for padding.
    #[serde(default)]
    pub pad_token_id: Option<usize>,
    /// `absolute` is the only kind BERT checkpoints use.
    #[serde(default)]
    pub position_embedding_type: Option<String>,
    /// Whether the decoder of the head is the word embeddings.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Class names in `transformers`.
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
}

fn gelu() -> String {
    "gelu".into()
}
fn tenth() -> f32 {
    0.1
}
fn two() -> usize {
    2
}
fn epsilon() -> f32 {
    1e-12
}
fn initializer_range() -> f64 {
    0.02
}
fn yes() -> bool {
    true
}

impl BertConfig {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// If a size is missing or no network has it.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::model(path, "the model folder has no `config.json`"),
            _ => Error::io(path)(error),
        })?;
        let config: Self = serde_json::from_slice(&bytes).map_err(|error| Error::data(path, error.line(), format!("not a BERT configuration: {error}")))?;
        config.check().map_err(|message| Error::data(path, None, message))?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("`{name}` is 0"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!("`hidden_size` {} is not a multiple of `num_attention_heads` {}", self.hidden_size, self.num_attention_heads));
        }
        for (name, rate) in [("hidden_dropout_prob", self.hidden_dropout_prob), ("attention_probs_dropout_prob", self.attention_probs_dropout_prob)] {
            if !(0.0..1.0).contains(&rate) {
                return Err(format!("`{name}` {rate} is not in [0, 1)"));
            }
        }
        if self.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(format!("`position_embedding_type` {:?} is not supported; `absolute` is", self.position_embedding_type.as_deref().unwrap_or_default()));
        }
        self.activation().map(|_| ())
    }

    fn activation(&self) -> std::result::Result<Activation, String> {
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "tanh" => Ok(Activation::Tanh),
            other => Err(format!("`hidden_act` {other:?} is not supported; gelu, gelu_new, relu and tanh are")),
        }
    }

    /// Every tensor of the network by its name without the `bert.` prefix, in the order of a forward pass.
    pub fn shapes(&self, pooler: bool, mlm_head: bool) -> Vec<(String, Vec<usize>)> {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let mut shapes = Vec::new();
        let mut add = |name: &str, shape: &[usize]| shapes.push((name.to_owned(), shape.to_vec()));
        add("embeddings.word_embeddings.weight", &[self.vocab_size, h]);
        add("embeddings.position_embeddings.weight", &[self.max_position_embeddings, h]);
        add("embeddings.token_type_embeddings.weight", &[self.type_vocab_size, h]);
        add("embeddings.LayerNorm.weight", &[h]);
        add("embeddings.LayerNorm.bias", &[h]);
        for layer in 0..self.num_hidden_layers {
            for (name, rows, columns) in [
                ("attention.self.query", h, h),
                ("attention.self.key", h, h),
                ("attention.self.value", h, h),
                ("attention.output.dense", h, h),
                ("intermediate.dense", i, h),
                ("output.dense", h, i),
            ] {
                add(&format!("encoder.layer.{layer}.{name}.weight"), &[rows, columns]);
                add(&format!("encoder.layer.{layer}.{name}.bias"), &[rows]);
            }
            for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
                add(&format!("encoder.layer.{layer}.{name}.weight"), &[h]);
                add(&format!("encoder.layer.{layer}.{name}.bias"), &[h]);
            }
        }
        if pooler {
            add("pooler.dense.weight", &[h, h]);
            add("pooler.dense.bias", &[h]);
        }
        if mlm_head {
            add("cls.predictions.transform.dense.weight", &[h, h]);
            add("cls.predictions.transform.dense.bias", &[h]);
            add("cls.predictions.transform.LayerNorm.weight", &[h]);
            add("cls.predictions.transform.LayerNorm.bias", &[h]);
            add("cls.predictions.bias", &[self.vocab_size]);
            if !self.tie_word_embeddings {
                add("cls.predictions.decoder.weight", &[self.vocab_size, h]);
            }
        }
        shapes
    }
}

/// Weight and bias of a linear map or a layer normalisation.
struct Pair {
    weight: Tensor,
    bias: Tensor,
}

impl Pair {
    fn linear(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::linear(x, &self.weight, &self.bias)?)
    }

    fn norm(&self, x: &Tensor, eps: f32) -> Result<Tensor> {
        Ok(ops::layer_norm(x, &self.weight, &self.bias, eps)?)
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

struct MlmHead {
    dense: Pair,
    norm: Pair,
    decoder: Pair,
}

/// The network. Its tensors share their storage with the variables they were made from.
pub struct BertModel {
    config: BertConfig,
    activation: Activation,
    word: Tensor,
    position: Tensor,
    token_type: Tensor,
    norm: Pair,
    blocks: Vec<Block>,
    pooler: Option<Pair>,
    mlm: Option<MlmHead>,
}

impl BertModel {
    /// Puts a network together from tensors named as [`BertConfig::shapes`] names them.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn new(config: &BertConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let get = |name: &str| tensors.get(name).cloned().ok_or_else(|| Error::Unsupported(format!("tensor `{name}` is missing")));
        let pair = |name: &str| Ok::<_, Error>(Pair { weight: get(&format!("{name}.weight"))?, bias: get(&format!("{name}.bias"))? });
        let optional = |name: &str| if tensors.contains_key(&format!("{name}.weight")) { pair(name).map(Some) } else { Ok(None) };
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| {
                let pair = |name: &str| pair(&format!("encoder.layer.{layer}.{name}"));
                Ok(Block {
                    query: pair("attention.self.query")?,
                    key: pair("attention.self.key")?,
                    value: pair("attention.self.value")?,
                    attention_output: pair("attention.output.dense")?,
                    attention_norm: pair("attention.output.LayerNorm")?,
                    intermediate: pair("intermediate.dense")?,
                    output: pair("output.dense")?,
                    output_norm: pair("output.LayerNorm")?,
                })
            })
            .collect::<Result<_>>()?;
        let word = get("embeddings.word_embeddings.weight")?;
        let mlm = match optional("cls.predictions.transform.dense")? {
            None => None,
            Some(dense) => {
                let decoder = if config.tie_word_embeddings { word.clone() } else { get("cls.predictions.decoder.weight")? };
                let decoder = Pair { weight: decoder, bias: get("cls.predictions.bias")? };
                Some(MlmHead { dense, norm: pair("cls.predictions.transform.LayerNorm")?, decoder })
            }
        };
        Ok(Self {
            activation: config.activation().map_err(Error::Config)?,
            config: config.clone(),
            word,
            position: get("embeddings.position_embeddings.weight")?,
            token_type: get("embeddings.token_type_embeddings.weight")?,
            norm: pair("embeddings.LayerNorm")?,
            blocks,
            pooler: optional("pooler.dense")?,
            mlm,
        })
    }

    /// One pass over a packed batch. `dropout` seeds every dropout mask; without it there is none.
    ///
    /// # Errors
    /// If something is wanted that the network does not have, or an id or a length is out of its range.
    pub fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        let last = self.last_layer(want)?;
        let offsets: Arc<[usize]> = tokens.offsets.as_slice().into();
        let site = |layer: usize, site: u64| dropout.map(|seed| (seed, layer as u64 * 4 + site));
        let hidden_dropout = |at: Option<(Seed, u64)>| at.map(|(seed, stream)| Dropout { p: self.config.hidden_dropout_prob, seed: seed.0, stream });
        let attention_dropout =
            |at: Option<(Seed, u64)>| at.map(|(seed, stream)| Dropout { p: self.config.attention_probs_dropout_prob, seed: seed.0, stream });
        let eps = self.config.layer_norm_eps;

        let mut output = EncoderOutput::default();
        let mut states: Vec<Option<Tensor>> = vec![None; self.blocks.len() + 1];
        let mut x = ops::dropout(&self.norm.norm(&self.embed(tokens)?, eps)?, hidden_dropout(site(0, 0)))?; // (tokens, hidden)
        states[0] = Some(x.clone());
        for (index, block) in self.blocks.iter().take(last).enumerate() {
            let layer = index + 1;
            let (query, key, value) = (block.query.linear(&x)?, block.key.linear(&x)?, block.value.linear(&x)?); // (tokens, heads x head_dim)
            let attention = Attention { offsets: offsets.clone(), heads: self.config.num_attention_heads, dropout: attention_dropout(site(layer, 0)) };
            if want.attentions {
                output.attentions.push(attention.probabilities(&query, &key)?); // (heads, query, key) a sequence
            }
            let context = attention.apply(&query, &key, &value)?; // (tokens, hidden)
            let attended = ops::dropout(&block.attention_output.linear(&context)?, hidden_dropout(site(layer, 1)))?;
            x = block.attention_norm.norm(&(attended + &x)?, eps)?;
            let wide = ops::activation(&block.intermediate.linear(&x)?, self.activation)?; // (tokens, intermediate)
            let narrow = ops::dropout(&block.output.linear(&wide)?, hidden_dropout(site(layer, 2)))?; // (tokens, hidden)
            x = block.output_norm.norm(&(narrow + &x)?, eps)?;
            states[layer] = Some(x.clone());
        }
        for &layer in &want.hidden {
            let state = states[layer].clone().expect("blocks up to the last wanted layer were run");
            output.hidden.push((layer, state));
        }
        if want.pooled {
            output.pooled = Some(self.pool(&x, tokens)?);
        }
        if let Some(rows) = &want.mlm_logits {
            output.mlm_logits = Some(self.mlm_logits(&x, rows, tokens)?);
        }
        Ok(output)
    }

    /// How many blocks have to run.
    fn last_layer(&self, want: &Want) -> Result<usize> {
        let layers = self.blocks.len();
        if let Some(layer) = want.hidden.iter().find(|&&layer| layer > layers) {
            return Err(Error::Unsupported(format!("hidden state {layer} was asked of a model with hidden states 0 to {layers}")));
        }
        let all = want.attentions || want.pooled || want.mlm_logits.is_some();
        Ok(if all { layers } else { want.hidden.iter().copied().max().unwrap_or(0) })
    }

    fn embed(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let longest = (0..tokens.len()).map(|index| tokens.sequence_len(index)).max().unwrap_or(0);
        if longest > self.config.max_position_embeddings {
            return Err(Error::Unsupported(format!("a sequence of {longest} tokens was given to a model of at most {}", self.config.max_position_embeddings)));
        }
        let positions: Vec<u32> = tokens.offsets.windows(2).flat_map(|ends| 0..u32::try_from(ends[1] - ends[0]).unwrap_or(u32::MAX)).collect();
        let word = ops::gather(&self.word, &tokens.ids)?; // (tokens, hidden)
        let position = ops::gather(&self.position, &positions)?;
        let token_type = ops::gather(&self.token_type, &tokens.type_ids)?;
        Ok(((word + token_type)? + position)?)
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
    fn mlm_logits(&self, x: &Tensor, rows: &LogitRows, tokens: &TokenBatch) -> Result<Tensor> {
        let Some(head) = &self.mlm else {
            return Err(Error::Unsupported("the checkpoint has no masked-language-model head (`cls.predictions.*`)".into()));
        };
        let rows = match rows {
            LogitRows::All => x.clone(),
            LogitRows::At(positions) => {
                let positions: Vec<u32> = positions.iter().map(|&position| u32::try_from(position).unwrap_or(u32::MAX)).collect();
                debug_assert!(positions.iter().all(|&position| (position as usize) < tokens.ids.len()));
                ops::gather(x, &positions)?
            }
        };
        let transformed = ops::activation(&head.dense.linear(&rows)?, self.activation)?; // (rows, hidden)
        head.decoder.linear(&head.norm.norm(&transformed, self.config.layer_norm_eps)?) // (rows, vocab)
    }
}

/// Packed position of the first token of each sequence.
///
/// # Errors
/// If a sequence is empty.
pub fn first_tokens(tokens: &TokenBatch) -> Result<Vec<u32>> {
    tokens
        .offsets
        .windows(2)
        .map(|ends| {
            if ends[0] == ends[1] {
                return Err(Error::Unsupported("a sequence without tokens has no first token".into()));
            }
            u32::try_from(ends[0]).map_err(|_| Error::Unsupported("a batch of more than 2^32 tokens".into()))
        })
        .collect()
}
