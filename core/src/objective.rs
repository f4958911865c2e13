//! Objectives: scalar losses the host can differentiate.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{CallContext, Encoder, EncoderInfo, EncoderOutput, Examples, Needs, Result, Seed, TaskHead, TokenBatch, Variable, Want};

/// Named targets of a loss.
pub type Targets = BTreeMap<Cow<'static, str>, Tensor>;

/// A training signal: how texts or labelled examples become inputs and targets, and how outputs and targets become a loss.
///
/// It knows nothing of optimisers and files.
pub trait Objective: Send + Sync {
    /// What the objective asks of an encoder. [`Needs::problems`] says which tasks it can learn from; it is not looked at where a corpus is learned from.
    fn needs(&self) -> Needs;

    /// Whether its recipe asks for development examples: some are held out where a task has none.
    fn needs_dev(&self) -> bool {
        false
    }

    /// Turns what is to be learned from into batches and their loss.
    ///
    /// # Errors
    /// If the material is of another kind than the objective learns from, or leaves nothing to train on.
    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, seed: Seed) -> Result<Box<dyn Learner>>;
}

/// What is learned from.
#[derive(Debug, Clone, Copy)]
pub enum Material<'a> {
    /// A corpus, one text an item.
    Texts(&'a [String]),
    /// The training and development splits of a task: [`Examples::train`] is the share that is to be learned from. What is asked later is not in it.
    Task(&'a Examples),
}

impl<'a> Material<'a> {
    /// The texts of a corpus.
    ///
    /// # Errors
    /// If it is a task.
    pub fn texts(&self) -> Result<&'a [String]> {
        match self {
            Self::Texts(texts) => Ok(texts),
            Self::Task(_) => Err(crate::Error::Unsupported("this objective learns from a corpus, not from a task".into())),
        }
    }

    /// The examples of a task.
    ///
    /// # Errors
    /// If it is a corpus.
    pub fn task(&self) -> Result<&'a Examples> {
        match self {
            Self::Task(examples) => Ok(examples),
            Self::Texts(_) => Err(crate::Error::Unsupported("this objective learns from a task, not from a corpus".into())),
        }
    }
}

/// Prepared examples: what a training loop goes through, and what it learns beside the encoder.
pub trait Learner: Send + Sync {
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

    /// What is wanted of the encoder for input `index` of a batch.
    ///
    /// # Errors
    /// If the encoder does not have the layer or head.
    fn want(&self, batch: &TrainingBatch, index: usize, info: &EncoderInfo) -> Result<Want>;

    /// The loss, a scalar whose graph reaches every output it uses. `outputs` stand in the order of [`TrainingBatch::inputs`]; `dropout` seeds the masks of what
    /// stands between them and the loss, `None` switches dropout off.
    ///
    /// # Errors
    /// If an output is missing.
    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo, dropout: Option<Seed>) -> Result<Tensor>;

    /// What was left out or cut, for the record: nothing is dropped in silence.
    fn notes(&self) -> Vec<String>;

    /// What is learned beside the encoder's own variables, in a fixed order.
    fn variables(&self) -> Vec<Variable> {
        Vec::new()
    }

    /// The head as it is now, to be stored with the encoder.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn head(&self) -> Result<Option<TaskHead>> {
        Ok(None)
    }

    /// Which weights are kept, and when training ends early.
    fn selection(&self) -> Selection {
        Selection::default()
    }

    /// The score on the examples held out for development with the weights as they are now; `None` if there are none.
    ///
    /// # Errors
    /// If the encoder fails.
    fn evaluate(&self, encoder: &dyn Encoder, cx: &CallContext<'_>) -> Result<Option<DevScore>> {
        let _ = (encoder, cx);
        Ok(None)
    }
}

/// Which weights are kept, and when training ends early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selection {
    /// Whether the weights with the best development score are kept instead of the last.
    pub best: bool,
    /// Epochs without a better development score after which training ends; empty for never.
    pub patience: Option<u64>,
}

/// A score on the examples held out for development.
#[derive(Debug, Clone, PartialEq)]
pub struct DevScore {
    /// Name of the metric.
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Direction.
    pub higher_is_better: bool,
}

/// One batch: several inputs for one loss (two views of a pair, say).
#[derive(Debug, Clone, Default)]
pub struct TrainingBatch {
    /// The inputs, each of which is one forward pass.
    pub inputs: Vec<TokenBatch>,
    /// The targets.
    pub targets: Targets,
}
