//! The recipe of a training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ExistingFiles, Result};

/// How an encoder is trained. An objective may set other defaults; `describe objective NAME` shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingParams {
    /// Text files to train on, one sentence a line. A path, a glob or a list of them.
    pub corpus: ExistingFiles,
    /// Optimiser steps. Exactly one of `steps` and `epochs` is set.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Passes over the corpus. Exactly one of `steps` and `epochs` is set.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub epochs: Option<u64>,
    /// Examples a batch. The last batch of an epoch may be smaller; it is kept.
    #[schemars(range(min = 1))]
    pub batch_size: u64,
    /// Batches whose gradients are averaged into one optimiser step.
    #[schemars(range(min = 1))]
    pub gradient_accumulation: u64,
    /// Peak learning rate.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// How the learning rate moves after the warm-up.
    pub schedule: Schedule,
    /// Optimiser steps over which the learning rate rises linearly from 0.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Which variables decay.
    pub weight_decay_on: WeightDecayOn,
    /// Decay of the first moment.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// Decay of the second moment.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta2: f64,
    /// Added to the root of the second moment.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// Whether moments are corrected for their start at 0 (torch); without it the update is that of the original BERT.
    pub bias_correction: bool,
    /// Gradients whose Euclidean norm exceeds this are scaled down to it; empty switches clipping off.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: Option<f64>,
    /// Whether dropout is on, with the rates of the encoder's configuration.
    pub dropout: bool,
    /// Optimiser steps between checkpoints; empty keeps only the final one. Changes no number.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub checkpoint_every: Option<u64>,
}

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls linearly to 0 at the last step.
    Linear,
    /// It falls along half a cosine to 0 at the last step.
    Cosine,
}

/// Which variables weight decay acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightDecayOn {
    /// All of them.
    All,
    /// All but biases and normalisation gains.
    Matrices,
}

impl Default for TrainingParams {
    fn default() -> Self {
        Self {
            corpus: ExistingFiles::default(),
            steps: None,
            epochs: None,
            batch_size: 32,
            gradient_accumulation: 1,
            learning_rate: 5e-5,
            schedule: Schedule::Linear,
            warmup_steps: 0,
            weight_decay: 0.01,
            weight_decay_on: WeightDecayOn::Matrices,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            bias_correction: true,
            max_grad_norm: Some(1.0),
            dropout: true,
            checkpoint_every: None,
        }
    }
}

impl TrainingParams {
    /// Optimiser steps over a corpus of so many examples.
    ///
    /// # Errors
    /// If neither or both of `steps` and `epochs` are set.
    pub fn total_steps(&self, examples: usize) -> Result<u64> {
        match (self.steps, self.epochs) {
            (Some(steps), None) => Ok(steps),
            (None, Some(epochs)) => Ok(epochs.saturating_mul(self.steps_per_epoch(examples))),
            (None, None) => Err(Error::Config("neither `steps` nor `epochs` is set: one of them says how long to train".into())),
            (Some(_), Some(_)) => Err(Error::Config("`steps` and `epochs` are both set: remove one".into())),
        }
    }

    /// Optimiser steps a pass over the corpus takes; the last may see fewer examples.
    pub fn steps_per_epoch(&self, examples: usize) -> u64 {
        (examples as u64).div_ceil(self.batch_size).div_ceil(self.gradient_accumulation).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_pairs_in_batches_of_192_are_53_steps() {
        let params = TrainingParams { batch_size: 192, epochs: Some(10), ..TrainingParams::default() };
        assert_eq!(params.steps_per_epoch(10_000), 53);
        assert_eq!(params.total_steps(10_000).unwrap(), 530);
    }

    #[test]
    fn steps_and_epochs_exclude_each_other() {
        let both = TrainingParams { steps: Some(1), epochs: Some(1), ..TrainingParams::default() };
        assert!(both.total_steps(1).unwrap_err().to_string().contains("both set"));
        assert!(TrainingParams::default().total_steps(1).unwrap_err().to_string().contains("neither"));
    }
}
