//! One pass through an encoder: what is wanted of it, and what it gave.

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// For which tokens something is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenRows {
    /// Every token.
    #[default]
    All,
    /// These packed positions only, in this order: the rest need not be computed. The head is by far the widest product of a small model, and of the last block most
    /// of the work is for its own token alone.
    At(Vec<usize>),
}

/// What is wanted from one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Hidden states of these layers, `0..=layers`.
    pub hidden: Vec<usize>,
    /// For which tokens they are wanted.
    pub hidden_rows: TokenRows,
    /// Attention probabilities of every block.
    pub attentions: bool,
    /// The pooler's output.
    pub pooled: bool,
    /// Masked-language-model logits: each row scores the token at its own position.
    pub mlm_logits: Option<TokenRows>,
    /// Causal-language-model logits: each row scores the token behind its position.
    pub lm_logits: Option<TokenRows>,
}

impl Want {
    /// One hidden state.
    pub fn layer(layer: usize) -> Self {
        Self { hidden: vec![layer], ..Self::default() }
    }

    /// One hidden state at the given packed positions.
    pub fn layer_at(layer: usize, positions: Vec<usize>) -> Self {
        Self { hidden: vec![layer], hidden_rows: TokenRows::At(positions), ..Self::default() }
    }

    /// Logits of the masked-language-model head at the given packed positions.
    pub fn mlm_at(positions: Vec<usize>) -> Self {
        Self { mlm_logits: Some(TokenRows::At(positions)), ..Self::default() }
    }
}

/// What one pass gave. Tensors are `f32`: on the CPU what [`Encoder::encode`](crate::Encoder::encode) gives, on the encoder's device what
/// [`Trainable::forward`](crate::Trainable::forward) gives.
#[derive(Debug, Clone, Default)]
pub struct EncoderOutput {
    /// The wanted hidden states as pairs of layer and `(rows, hidden)`, in the order wanted; rows are tokens, or those of [`Want::hidden_rows`].
    pub hidden: Vec<(usize, Tensor)>,
    /// Attention probabilities: for each block, for each sequence, `(heads, query, key)`.
    pub attentions: Vec<Vec<Tensor>>,
    /// Pooler output `(batch, hidden)`.
    pub pooled: Option<Tensor>,
    /// Masked-language-model logits `(rows, vocab)`, rows in the order wanted.
    pub mlm_logits: Option<Tensor>,
    /// Causal-language-model logits `(rows, vocab)`, rows in the order wanted.
    pub lm_logits: Option<Tensor>,
}

impl EncoderOutput {
    /// Keeps the wanted rows of hidden states that were computed for every token.
    ///
    /// # Errors
    /// If a position is not in the batch.
    pub fn keep_rows(&mut self, rows: &TokenRows) -> Result<()> {
        let TokenRows::At(positions) = rows else { return Ok(()) };
        for (_, state) in &mut self.hidden {
            let n = state.dim(0)?;
            if let Some(position) = positions.iter().find(|&&position| position >= n) {
                return Err(Error::Unsupported(format!("a hidden state was asked at position {position} of a batch of {n} tokens")));
            }
            let index: Vec<u32> = positions.iter().map(|&position| u32::try_from(position).unwrap_or(u32::MAX)).collect();
            *state = state.index_select(&Tensor::from_vec(index, positions.len(), state.device())?, 0)?;
        }
        Ok(())
    }

    /// The hidden state of a layer that was wanted.
    ///
    /// # Errors
    /// If that layer was not wanted.
    pub fn layer(&self, layer: usize) -> Result<&Tensor> {
        self.hidden
            .iter()
            .find(|(index, _)| *index == layer)
            .map(|(_, tensor)| tensor)
            .ok_or_else(|| Error::Unsupported(format!("hidden state {layer} was not returned by the encoder")))
    }

    /// The same on a device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_device(self, device: &Device) -> Result<Self> {
        let moved = |tensor: Tensor| tensor.to_device(device);
        let all = |tensors: Vec<Tensor>| tensors.into_iter().map(moved).collect::<candle_core::Result<Vec<_>>>();
        Ok(Self {
            hidden: self.hidden.into_iter().map(|(layer, tensor)| Ok((layer, moved(tensor)?))).collect::<Result<_>>()?,
            attentions: self.attentions.into_iter().map(all).collect::<candle_core::Result<_>>()?,
            pooled: self.pooled.map(moved).transpose()?,
            mlm_logits: self.mlm_logits.map(moved).transpose()?,
            lm_logits: self.lm_logits.map(moved).transpose()?,
        })
    }

    /// The logits, if they were wanted.
    ///
    /// # Errors
    /// If the encoder did not return them.
    pub fn mlm_logits(&self) -> Result<&Tensor> {
        self.mlm_logits.as_ref().ok_or_else(|| Error::Unsupported("masked-language-model logits were not returned by the encoder".into()))
    }
}
