//! Objectives: scalar losses the host can differentiate.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Encoder, EncoderInfo, EncoderOutput, Needs, Result, Seed, TokenBatch, Want};

/// Named targets of a loss.
pub type Targets = BTreeMap<Cow<'static, str>, Tensor>;

/// A training signal: how texts become inputs and targets, and how outputs and targets become a loss.
///
/// It knows nothing of optimisers and files.
pub trait Objective: Send + Sync {
    /// What the objective asks of an encoder.
    fn needs(&self) -> Needs;

    /// Turns a corpus, one text an item, into a source of batches.
    ///
    /// # Errors
    /// If the corpus leaves nothing to train on.
    fn prepare(&self, texts: &[String], encoder: &dyn Encoder, seed: Seed) -> Result<Box<dyn BatchSource>>;

    /// What is wanted of the encoder for input `index` of a batch.
    ///
    /// # Errors
    /// If the encoder does not have the layer or head.
    fn want(&self, batch: &TrainingBatch, index: usize, info: &EncoderInfo) -> Result<Want>;

    /// The loss, a scalar whose graph reaches every output it uses. `outputs` stand in the order of [`TrainingBatch::inputs`].
    ///
    /// # Errors
    /// If an output is missing.
    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo) -> Result<Tensor>;
}

/// Examples an objective prepared.
pub trait BatchSource: Send + Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch of the given examples. `seed` drives whatever is drawn anew at each visit.
    ///
    /// # Errors
    /// If an example cannot be encoded.
    fn batch(&self, examples: &[usize], seed: Seed) -> Result<TrainingBatch>;

    /// What was left out or cut, for the record: nothing is dropped in silence.
    fn notes(&self) -> Vec<String>;
}

/// One batch: several inputs for one loss (two views of a pair, say).
#[derive(Debug, Clone, Default)]
pub struct TrainingBatch {
    /// The inputs, each of which is one forward pass.
    pub inputs: Vec<TokenBatch>,
    /// The targets.
    pub targets: Targets,
}
