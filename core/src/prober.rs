//! Probers: ways of asking an encoder.

use polars::prelude::DataFrame;

use crate::{CallContext, Encoder, EncoderInfo, Error, Examples, Problem, Result};

/// A way of asking. It knows nothing of how answers are scored.
pub trait Prober: Send + Sync {
    /// What the prober asks of an encoder; checked before any weight is loaded.
    fn needs(&self) -> Needs;

    /// Asks, and returns predictions, [`Problem::predictions_schema`], one row an example in the order of the examples.
    ///
    /// `encoders` has as many entries as [`Needs::encoders`] says.
    ///
    /// # Errors
    /// If the encoder fails or the examples cannot be asked.
    fn probe(&self, encoders: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame>;
}

/// What a prober or an objective asks of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// What kinds of questions it can ask; tasks of other kinds are not given to it.
    pub problems: &'static [Problem],
    /// A head for the task, which fine-tuning leaves in a checkpoint.
    pub task_head: bool,
    /// How many encoders: 0 for a baseline, 1 for most.
    pub encoders: usize,
    /// A mask token.
    pub mask_token: bool,
    /// A masked-language-model head.
    pub mlm_head: bool,
    /// A pooler.
    pub pooler: bool,
    /// These hidden states, negative numbers counting from the end.
    pub layers: Vec<i64>,
    /// A model that can be trained: what every objective asks.
    pub trainable: bool,
    /// A seed: its answers are drawn, so they depend on the seed of the run.
    pub randomness: bool,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            problems: &[Problem::Cloze],
            task_head: false,
            encoders: 0,
            mask_token: false,
            mlm_head: false,
            pooler: false,
            layers: Vec::new(),
            trainable: false,
            randomness: false,
        }
    }
}

impl Needs {
    /// Nothing: a baseline that asks no model.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// One encoder.
    pub fn one_encoder() -> Self {
        Self { encoders: 1, ..Self::default() }
    }

    /// Everything here that the encoder cannot give, as sentences.
    pub fn unmet(&self, info: &EncoderInfo) -> Vec<String> {
        let mut unmet = Vec::new();
        if self.encoders == 0 {
            return unmet;
        }
        if self.mlm_head && !info.mlm_head {
            let why = if info.causal { "and this model is causal" } else { "which the checkpoint does not have" };
            unmet.push(format!("it needs a masked-language-model head, {why}"));
        }
        if self.mask_token && info.mask.is_none() {
            unmet.push("it needs a mask token, which the tokenizer does not have".to_owned());
        }
        if self.pooler && !info.pooler {
            unmet.push("it needs a pooler, which the checkpoint does not have".to_owned());
        }
        if self.trainable && !info.trainable {
            unmet.push("it is of a plugin, and encoders of plugins run models but cannot train them".to_owned());
        }
        for &layer in &self.layers {
            if let Err(Error::Config(message)) = info.layer(layer) {
                unmet.push(message);
            }
        }
        unmet
    }
}
