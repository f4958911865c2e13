//! Encoders: language models that turn tokens into vectors.

use serde::{Deserialize, Serialize};

use crate::{Call, Component, Error, Result, Tensor, TokenBatch, Tokenization};

/// A language model. It runs models; training through a plugin is not offered.
pub trait Encoder: Component {
    /// The `model_type` values of `config.json` it reads.
    const FAMILIES: &'static [&'static str] = &[];

    /// What the model is and can give, without reading its weights.
    fn info(&self) -> EncoderInfo;

    /// Turns texts, or pairs of texts, into one packed batch, special tokens included unless [`Tokenization::pieces`] is set.
    ///
    /// # Errors
    /// If the length limit leaves no room.
    fn tokenize(&self, texts: &[(&str, Option<&str>)], how: Tokenization, call: &Call<'_>) -> Result<TokenBatch>;

    /// Runs the model and returns what is wanted. Of `tokens` only ids, segment ids and offsets are known.
    ///
    /// # Errors
    /// If something is wanted that [`EncoderInfo`] does not offer.
    fn encode(&self, tokens: &TokenBatch, want: &Want, call: &Call<'_>) -> Result<EncoderOutput>;

    /// Reads the weights, before the first [`Self::encode`]. A `OnceLock` is a good place for them.
    ///
    /// # Errors
    /// If they are missing or malformed.
    fn load(&self, call: &Call<'_>) -> Result<()> {
        let _ = call;
        Ok(())
    }

    /// The text of a vocabulary entry.
    fn token(&self, id: u32) -> Option<String> {
        let _ = id;
        None
    }
}

/// What an encoder is and can give.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EncoderInfo {
    /// Number of blocks; hidden states are numbered `0..=layers`.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Vocabulary entries.
    pub vocab: usize,
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// The mask token, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<MaskToken>,
    /// Whether the tokenizer lower-cases.
    #[serde(default)]
    pub lowercase: bool,
    /// Whether there is a pooler.
    #[serde(default)]
    pub pooler: bool,
    /// Whether there is a masked-language-model head.
    #[serde(default)]
    pub mlm_head: bool,
    /// Whether there is a causal-language-model head.
    #[serde(default)]
    pub lm_head: bool,
    /// Whether a token sees only itself and what stands before it.
    #[serde(default)]
    pub causal: bool,
    /// Things a person should know about this model.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A mask token and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskToken {
    /// Its text, `[MASK]` in BERT.
    pub text: String,
    /// Its vocabulary id.
    pub id: u32,
}

impl EncoderInfo {
    /// Turns a layer number, where negative numbers count from the end, into `0..=layers`.
    ///
    /// # Errors
    /// If the model has no such layer.
    pub fn layer(&self, layer: i64) -> Result<u32> {
        let count = i64::try_from(self.layers).unwrap_or(i64::MAX - 1) + 1;
        let index = if layer < 0 { layer + count } else { layer };
        if (0..count).contains(&index)
            && let Ok(index) = u32::try_from(index)
        {
            return Ok(index);
        }
        Err(Error::config(format!("layer {layer} does not exist: the model has hidden states 0 to {} (or -{count} to -1)", self.layers)))
    }
}

/// What is wanted of one pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Want {
    /// Hidden states of these layers, `0..=layers`.
    pub layers: Vec<u32>,
    /// Attention probabilities of every block.
    pub attentions: bool,
    /// The pooler's output.
    pub pooled: bool,
    /// Masked-language-model logits: each row scores the token at its own position.
    pub mlm_logits: bool,
    /// Causal-language-model logits: each row scores the token behind its position.
    pub lm_logits: bool,
    /// Packed positions for which logits are wanted; `None`: every token.
    pub rows: Option<Vec<usize>>,
}

impl Want {
    /// One hidden state.
    pub fn layer(layer: u32) -> Self {
        Self { layers: vec![layer], ..Self::default() }
    }

    /// Masked-language-model logits at these packed positions.
    pub fn mlm_at(rows: Vec<usize>) -> Self {
        Self { mlm_logits: true, rows: Some(rows), ..Self::default() }
    }
}

/// What one pass gave. Tensors are `f32`.
#[derive(Debug, Clone, Default)]
pub struct EncoderOutput {
    /// `(wanted layers, tokens, hidden)`.
    pub hidden_states: Option<Tensor>,
    /// `(blocks, cells)`; the cells of a block are those of each sequence as `(heads, query, key)`.
    pub attentions: Option<Tensor>,
    /// `(batch, hidden)`.
    pub pooled: Option<Tensor>,
    /// `(rows, vocab)`.
    pub mlm_logits: Option<Tensor>,
    /// `(rows, vocab)`.
    pub lm_logits: Option<Tensor>,
}

impl EncoderOutput {
    pub(crate) fn into_list(self) -> Vec<(String, Tensor)> {
        let named = [
            ("hidden_states", self.hidden_states),
            ("attentions", self.attentions),
            ("pooled", self.pooled),
            ("mlm_logits", self.mlm_logits),
            ("lm_logits", self.lm_logits),
        ];
        named.into_iter().filter_map(|(name, tensor)| tensor.map(|tensor| (name.to_owned(), tensor))).collect()
    }

    pub(crate) fn from_list(tensors: Vec<(String, Tensor)>) -> Self {
        let mut output = Self::default();
        for (name, tensor) in tensors {
            match name.as_str() {
                "hidden_states" => output.hidden_states = Some(tensor),
                "attentions" => output.attentions = Some(tensor),
                "pooled" => output.pooled = Some(tensor),
                "mlm_logits" => output.mlm_logits = Some(tensor),
                "lm_logits" => output.lm_logits = Some(tensor),
                // `offsets` is known from the batch, and a later host may send more.
                _ => {}
            }
        }
        output
    }

    /// The hidden states that were wanted, `(wanted layers, tokens, hidden)`.
    ///
    /// # Errors
    /// If there are none.
    pub fn hidden_states(&self) -> Result<&Tensor> {
        self.hidden_states.as_ref().ok_or_else(|| Error::unsupported("the encoder returned no hidden states"))
    }

    /// The logits of the masked-language-model head, `(rows, vocab)`.
    ///
    /// # Errors
    /// If there are none.
    pub fn mlm_logits(&self) -> Result<&Tensor> {
        self.mlm_logits.as_ref().ok_or_else(|| Error::unsupported("the encoder returned no masked-language-model logits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_layers_count_from_the_end() {
        let info = EncoderInfo { layers: 6, ..EncoderInfo::default() };
        assert_eq!((info.layer(-1).unwrap(), info.layer(-7).unwrap(), info.layer(0).unwrap()), (6, 0, 0));
        assert!(info.layer(7).unwrap_err().message().contains("hidden states 0 to 6"));
    }
}
