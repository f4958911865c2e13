//! Heads: what fine-tuning puts on top of an encoder, as a checkpoint holds it.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Problem;

/// A head for one task, with everything that is needed to use it again.
#[derive(Debug, Clone)]
pub struct TaskHead {
    /// What it answers.
    pub info: TaskHeadInfo,
    /// How inputs are made and what of the encoder is read, in the words of the objective that trained it. A checkpoint of another program has none: `null`.
    pub settings: Value,
    /// Its tensors by their names in the checkpoint, `classifier.weight (labels, hidden)`, on the CPU.
    pub tensors: Vec<(String, Tensor)>,
}

/// What a head answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHeadInfo {
    /// What kind of answers.
    pub problem: Problem,
    /// The labels in the order of its outputs; empty where labels make no sense.
    pub labels: Vec<String>,
}
