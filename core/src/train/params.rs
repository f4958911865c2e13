//! The recipe of a training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ExistingFiles, Result};

/// How an encoder is trained. An objective may set other defaults; `describe objective NAME` shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingParams {
    /// Text files to train on, one sentence a line. A path, a glob or a list of them. An objective that learns from a task has none.
    #[serde(default)]
    pub corpus: ExistingFiles,
    /// Optimiser steps. Exactly one of `steps` and `epochs` is set.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Passes over the corpus. Exactly one of `steps` and `epochs` is set.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub epochs: Option<u64>,
    /// Examples a batch.
    #[schemars(range(min = 1))]
    pub batch_size: u64,
    /// Batches whose gradients are averaged into one optimiser step.
    #[schemars(range(min = 1))]
    pub gradient_accumulation: u64,
    /// What happens at the end of an epoch to examples that do not fill a batch.
    pub last_batch: LastBatch,
    /// Whether each epoch has its own order, drawn from the seed, instead of that of the files.
    pub shuffle: bool,
    /// Peak learning rate.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// How the learning rate moves after the warm-up.
    pub schedule: Schedule,
    /// Optimiser steps over which the learning rate rises linearly from 0.
    pub warmup_steps: u64,
    /// The same as a share of all steps, in the place of `warmup_steps`: rounded up, but down for the schedule `bert`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_share: Option<f64>,
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
    /// Whether `epsilon` is added to the root of the second moment before that is corrected, and weights decay after the step, as in the AdamW of transformers (the
    /// "epsilon hat" of Kingma and Ba 2015, section 2), instead of after the correction and before the step (torch). Without `bias_correction` there is nothing to
    /// correct and both are the same formula: then it changes nothing.
    pub epsilon_hat: bool,
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
    /// It falls linearly from the first step on, so that it drops by the share of the warm-up at its end: the original BERT.
    Bert,
}

/// What happens at the end of an epoch to examples that do not fill a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LastBatch {
    /// They are a smaller batch.
    Keep,
    /// They begin the first batch of the next epoch; at the end of the training they are left out: the original BERT.
    Carry,
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
            last_batch: LastBatch::Keep,
            shuffle: true,
            learning_rate: 5e-5,
            schedule: Schedule::Linear,
            warmup_steps: 0,
            warmup_share: None,
            weight_decay: 0.01,
            weight_decay_on: WeightDecayOn::Matrices,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            bias_correction: true,
            epsilon_hat: false,
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
            (None, Some(epochs)) => Ok(match self.last_batch {
                LastBatch::Keep => epochs.saturating_mul(self.steps_per_epoch(examples)),
                LastBatch::Carry => (epochs.saturating_mul(examples as u64) / self.batch_size / self.gradient_accumulation).max(1),
            }),
            (None, None) => Err(Error::Config("neither `steps` nor `epochs` is set: one of them says how long to train".into())),
            (Some(_), Some(_)) => Err(Error::Config("`steps` and `epochs` are both set: remove one".into())),
        }
    }

    /// The batches of an optimiser step, as places in the stream of epochs: the epoch, and which places of its order. With [`LastBatch::Carry`] a batch may begin in
    /// one epoch and end in the next.
    pub fn batches_of(&self, step: u64, examples: usize) -> Vec<Vec<(u64, usize)>> {
        let n = examples as u64;
        let place = |position: u64| (position / n, usize::try_from(position % n).expect("a place among the examples"));
        match self.last_batch {
            LastBatch::Carry => (0..self.gradient_accumulation)
                .map(|micro| (step * self.gradient_accumulation + micro) * self.batch_size)
                .map(|first| (first..first + self.batch_size).map(place).collect())
                .collect(),
            LastBatch::Keep => {
                let per_epoch = self.steps_per_epoch(examples);
                let (epoch, position) = (step / per_epoch, step % per_epoch);
                (0..self.gradient_accumulation)
                    .map(|micro| (position * self.gradient_accumulation + micro) * self.batch_size)
                    .filter(|&first| first < n)
                    .map(|first| (first..(first + self.batch_size).min(n)).map(|position| place(epoch * n + position)).collect())
                    .collect()
            }
        }
    }

    /// How many passes over the corpus are complete after so many steps, if one of them ended with the last of these.
    pub fn epoch_ended(&self, steps: u64, examples: usize) -> Option<u64> {
        let n = examples as u64;
        let passes = |steps: u64| match self.last_batch {
            LastBatch::Keep => steps / self.steps_per_epoch(examples),
            LastBatch::Carry => steps * self.gradient_accumulation * self.batch_size / n,
        };
        (steps > 0 && passes(steps) > passes(steps - 1)).then(|| passes(steps))
    }

    /// After which epoch the weights are scored that so many of `total` steps left: where an epoch ended, and at the very end, where the last epoch may be
    /// incomplete.
    pub fn evaluated_after(&self, steps: u64, total: u64, examples: usize) -> Option<u64> {
        let begun = |steps: u64| match self.last_batch {
            LastBatch::Keep => steps.div_ceil(self.steps_per_epoch(examples)),
            LastBatch::Carry => (steps * self.gradient_accumulation * self.batch_size).div_ceil(examples as u64),
        };
        self.epoch_ended(steps, examples).or_else(|| (steps > 0 && steps == total).then(|| begun(steps)))
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
    fn the_original_bert_counts_examples_and_not_batches() {
        // 6 347 sentences, 10 epochs, batches of 32: int(6347 / 32 * 10).
        let params = TrainingParams { batch_size: 32, epochs: Some(10), last_batch: LastBatch::Carry, ..TrainingParams::default() };
        assert_eq!(params.total_steps(6_347).unwrap(), 1_983);
        let params = TrainingParams { batch_size: 2, last_batch: LastBatch::Carry, ..params };
        assert_eq!(params.batches_of(0, 3), [[(0, 0), (0, 1)]]);
        assert_eq!(params.batches_of(1, 3), [[(0, 2), (1, 0)]], "the rest of an epoch begins the next batch");
        assert_eq!((params.epoch_ended(1, 3), params.epoch_ended(2, 3), params.epoch_ended(3, 3)), (None, Some(1), Some(2)));
    }

    #[test]
    fn a_smaller_last_batch_is_kept() {
        let params = TrainingParams { batch_size: 2, gradient_accumulation: 2, ..TrainingParams::default() };
        assert_eq!(params.batches_of(0, 5), [vec![(0, 0), (0, 1)], vec![(0, 2), (0, 3)]]);
        assert_eq!(params.batches_of(1, 5), [vec![(0, 4)]]);
        assert_eq!(params.batches_of(2, 5)[0], [(1, 0), (1, 1)]);
        assert_eq!((params.epoch_ended(1, 5), params.epoch_ended(2, 5), params.epoch_ended(4, 5)), (None, Some(1), Some(2)));
    }

    #[test]
    fn the_last_weights_are_scored_although_their_epoch_is_incomplete() {
        let params = TrainingParams { batch_size: 2, ..TrainingParams::default() };
        let scored = |params: &TrainingParams, total: u64| -> Vec<Option<u64>> { (1..=total).map(|step| params.evaluated_after(step, total, 4)).collect() };
        assert_eq!(scored(&params, 5), [None, Some(1), None, Some(2), Some(3)], "two steps an epoch, and half of a third");
        assert_eq!(scored(&params, 4), [None, Some(1), None, Some(2)]);
        // Two epochs of 4 examples in batches of 3 are int(8 / 3) steps, which see 6 examples.
        let carry = TrainingParams { batch_size: 3, last_batch: LastBatch::Carry, epochs: Some(2), ..params };
        assert_eq!((carry.total_steps(4).unwrap(), scored(&carry, 2)), (2, vec![None, Some(1)]));
        let carry = TrainingParams { epochs: Some(3), ..carry };
        assert_eq!((carry.total_steps(4).unwrap(), scored(&carry, 4)), (4, vec![None, Some(1), Some(2), Some(3)]));
        let carry = TrainingParams { batch_size: 2, epochs: Some(1), ..carry };
        assert_eq!((carry.total_steps(7).unwrap(), carry.evaluated_after(3, 3, 7)), (3, Some(1)), "6 of 7 examples: within the first epoch");
    }

    #[test]
    fn steps_and_epochs_exclude_each_other() {
        let both = TrainingParams { steps: Some(1), epochs: Some(1), ..TrainingParams::default() };
        assert!(both.total_steps(1).unwrap_err().to_string().contains("both set"));
        assert!(TrainingParams::default().total_steps(1).unwrap_err().to_string().contains("neither"));
    }
}
