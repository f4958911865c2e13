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

/// What a head of a family of models looks like, so that other programs read the checkpoint too.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadLayout {
    /// Class in `transformers`, `BertForTokenClassification`.
    pub class: String,
    /// Which vectors it reads.
    pub reads: HeadReads,
    /// A linear layer before the last: its name in the checkpoint and the function behind it.
    pub dense: Option<(String, HeadActivation)>,
    /// Dropout rate before the first layer.
    pub dropout: f32,
    /// Dropout rate behind the function of `dense`.
    pub dense_dropout: f32,
    /// Name of the last layer in the checkpoint, `classifier`.
    pub output: String,
    /// Whether the last layer has a bias.
    pub bias: bool,
    /// Standard deviation of drawn weights.
    pub initializer_range: f64,
}

/// Which vectors of an encoder a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadReads {
    /// The pooler's output of each sequence.
    Pooled,
    /// The last hidden state of each sequence's first token.
    FirstToken,
    /// The last hidden state of each sequence's last token, the only one of a decoder that has seen the whole text.
    LastToken,
    /// The last hidden state of every token.
    EveryToken,
}

/// The function between two layers of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadActivation {
    /// Hyperbolic tangent.
    Tanh,
    /// max(x, 0).
    Relu,
}
