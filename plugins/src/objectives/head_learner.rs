//! A head and what it learns from.

use candle_core::Tensor;
use lmprobe_core::{
    CallContext, DevScore, Encoder, EncoderInfo, EncoderOutput, Error, Examples, Learner, Result, Seed, Selection, TaskHead, TrainingBatch, Variable, Want,
};

use super::development_score::development_score;
use super::lessons::Lessons;
use crate::nn::head::Head;
use crate::nn::inputs::model_inputs::ModelInputs;
use crate::nn::inputs::settings::InputSettings;
use crate::nn::losses::Reduction;
use crate::probers::head_answers::{Asked, predictions};

/// A head on top of an encoder, with the examples of a task.
pub(super) struct HeadLearner {
    /// The head, which training changes.
    pub(super) head: Head,
    /// What it learns from.
    pub(super) lessons: Lessons,
    /// How inputs are made.
    pub(super) settings: InputSettings,
    /// What becomes of the losses of a batch.
    pub(super) reduction: Reduction,
    /// What recipes are chosen by, if there is something.
    pub(super) development: Option<Development>,
    /// Which weights are kept.
    pub(super) selection: Selection,
    /// What was left out or cut.
    pub(super) notes: Vec<String>,
}

/// The examples held out for development.
pub(super) struct Development {
    /// The task, with them as what is asked.
    pub(super) examples: Examples,
    /// The same as inputs.
    pub(super) inputs: ModelInputs,
}

impl Learner for HeadLearner {
    fn len(&self) -> usize {
        self.lessons.len()
    }

    fn batch(&self, examples: &[usize], _: Seed) -> Result<TrainingBatch> {
        self.lessons.batch(examples)
    }

    fn want(&self, batch: &TrainingBatch, index: usize, info: &EncoderInfo) -> Result<Want> {
        Ok(self.head.want(&batch.inputs[index], self.lessons.rows(batch)?, info))
    }

    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo, dropout: Option<Seed>) -> Result<Tensor> {
        let output = outputs.first().ok_or_else(|| Error::Unsupported("the encoder returned nothing for the batch".into()))?;
        self.lessons.loss(&self.head.logits(output, info, dropout)?, batch, self.reduction)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn variables(&self) -> Vec<Variable> {
        self.head.variables()
    }

    fn head(&self) -> Result<Option<TaskHead>> {
        Ok(Some(self.head.to_task_head(lmprobe_core::serde_json::to_value(&self.settings)?)?))
    }

    fn selection(&self) -> Selection {
        self.selection
    }

    fn evaluate(&self, encoder: &dyn Encoder, cx: &CallContext<'_>) -> Result<Option<DevScore>> {
        let Some(Development { examples, inputs }) = &self.development else { return Ok(None) };
        let asked = Asked { examples, inputs, settings: &self.settings };
        let (predictions, _) = predictions(encoder, &self.head, &asked, "development inputs", cx)?;
        development_score(&predictions, self.head.info().problem)
    }
}
