//! The training loop.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Instant;

use candle_core::DType;
use polars::prelude::{DataFrame, NamedFrom, Series};

use super::adamw::AdamW;
use super::checkpoint::{self, Record};
use super::params::TrainingParams;
use crate::{BatchSource, CallContext, Encoder, Error, Objective, Result, Trainable, Variable, table};

/// What the loop is given.
pub struct TrainingJob<'a> {
    /// The encoder, which ends trained.
    pub encoder: &'a dyn Encoder,
    /// The signal.
    pub objective: &'a dyn Objective,
    /// The recipe.
    pub params: &'a TrainingParams,
    /// Where checkpoints go: `step-000050/`, ..., `final/`, each a model folder in Hugging Face layout.
    pub folder: &'a Path,
}

/// Trains and returns [`table::TRAINING`]. Goes on from the newest checkpoint in the folder, to the same bits as a run that was
/// never stopped.
///
/// # Errors
/// If the corpus is unusable, the loss stops being finite, a checkpoint cannot be written or a stop was requested (a
/// checkpoint is written first).
pub fn train(job: &TrainingJob<'_>, cx: &CallContext<'_>) -> Result<DataFrame> {
    let Some(model) = job.encoder.trainable() else {
        return Err(Error::Unsupported("this encoder cannot be trained".into()));
    };
    let texts = read_corpus(job.params)?;
    let source = job.objective.prepare(&texts, job.encoder, cx.seed.child("examples"))?;
    for note in source.notes() {
        cx.warn(note);
    }
    if source.is_empty() {
        return Err(Error::Config("the corpus leaves no example to train on".into()));
    }
    let total = job.params.total_steps(source.len())?;
    let variables = model.variables();
    let mut state = State { optimiser: AdamW::new(&variables), record: Record::default() };
    if let Some(step) = checkpoint::newest(job.folder)? {
        checkpoint::restore(job.folder, step, &variables, &mut state.optimiser, &mut state.record)?;
    }
    let mut looped = Loop { job, model, source: source.as_ref(), variables: &variables, total, order: Order::default() };
    let mut saved_at = Instant::now();
    while state.optimiser.step < total {
        looped.step(&mut state, cx)?;
        let done = state.optimiser.step;
        cx.progress.advanced("steps", usize::try_from(done).unwrap_or(usize::MAX), usize::try_from(total).unwrap_or(usize::MAX));
        let asked = job.params.checkpoint_every.is_some_and(|every| done.is_multiple_of(every));
        let stop = cx.cancel.is_requested();
        if done < total && (asked || stop || saved_at.elapsed().as_secs() >= checkpoint::RESCUE_INTERVAL_S) {
            checkpoint::save(job.folder, model, &variables, &state.optimiser, &state.record, asked)?;
            saved_at = Instant::now();
        }
        if stop && done < total {
            return Err(Error::Cancelled);
        }
    }
    checkpoint::finish(job.folder, model, job.params.checkpoint_every.is_some_and(|every| total.is_multiple_of(every)).then_some(total))?;
    state.record.into_frame()
}

struct State {
    optimiser: AdamW,
    record: Record,
}

struct Loop<'a> {
    job: &'a TrainingJob<'a>,
    model: &'a dyn Trainable,
    source: &'a dyn BatchSource,
    variables: &'a [Variable],
    total: u64,
    order: Order,
}

/// The order of the examples in the epoch at hand.
#[derive(Default)]
struct Order {
    epoch: Option<u64>,
    examples: Vec<usize>,
}

impl Loop<'_> {
    /// One optimiser step. Everything random in it hangs from the step's number, so a resumed run draws the same.
    fn step(&mut self, state: &mut State, cx: &CallContext<'_>) -> Result<()> {
        let params = self.job.params;
        let step = state.optimiser.step;
        let batches = self.batches_of(step, cx);
        self.model.gradients().lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut loss_sum = 0.0;
        let count = batches.len();
        for (micro, examples) in batches.into_iter().enumerate() {
            let seed = cx.seed.child("step").at(step).at(micro as u64);
            let loss = self.add_gradients(&examples, seed)?;
            if !loss.is_finite() {
                return Err(Error::Unsupported(format!(
                    "the loss of step {} is {loss}: lower the learning rate or add warm-up steps; no checkpoint holds these weights",
                    step + 1
                )));
            }
            loss_sum += loss;
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of batches")]
        let count = count as f64;
        let gradients = self.model.gradients().lock().unwrap_or_else(PoisonError::into_inner);
        let norm = gradients.norm() / count;
        // torch.nn.utils.clip_grad_norm_: the factor is never above 1, and its denominator never 0.
        let clip = params.max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
        let learning_rate = params.learning_rate_at(step, self.total);
        state.optimiser.update(self.variables, &gradients, params, learning_rate, clip / count)?;
        state.record.push(step + 1, loss_sum / count, learning_rate, norm);
        Ok(())
    }

    /// Adds the gradients of one batch to those of the model and returns its loss.
    fn add_gradients(&self, examples: &[usize], seed: crate::Seed) -> Result<f64> {
        let batch = self.source.batch(examples, seed.child("batch"))?;
        let info = self.job.encoder.info();
        let mut outputs = Vec::with_capacity(batch.inputs.len());
        for (index, input) in batch.inputs.iter().enumerate() {
            let want = self.job.objective.want(&batch, index, info)?;
            let dropout = self.job.params.dropout.then(|| seed.child("dropout").at(index as u64));
            outputs.push(self.model.forward(input, &want, dropout)?);
        }
        let loss = self.job.objective.loss(&outputs, &batch, info)?;
        if loss.rank() != 0 {
            return Err(Error::Unsupported(format!("the objective returned a loss of shape {:?}, expected a scalar", loss.dims())));
        }
        let value = f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        self.model.backward(&loss)?;
        Ok(value)
    }

    /// The examples of each batch of a step: epochs are seeded shuffles, and the smaller last batch of an epoch is kept.
    fn batches_of(&mut self, step: u64, cx: &CallContext<'_>) -> Vec<Vec<usize>> {
        let params = self.job.params;
        let per_epoch = params.steps_per_epoch(self.source.len());
        let (epoch, position) = (step / per_epoch, step % per_epoch);
        if self.order.epoch != Some(epoch) {
            let mut examples: Vec<usize> = (0..self.source.len()).collect();
            cx.seed.child("epoch").at(epoch).random().shuffle(&mut examples);
            self.order = Order { epoch: Some(epoch), examples };
        }
        let size = usize::try_from(params.batch_size).unwrap_or(usize::MAX);
        let accumulated = usize::try_from(params.gradient_accumulation).unwrap_or(usize::MAX);
        let first = usize::try_from(position).unwrap_or(usize::MAX).saturating_mul(accumulated);
        self.order.examples.chunks(size).skip(first).take(accumulated).map(<[usize]>::to_vec).collect()
    }
}

/// The lines of the corpus files, in the order of the files. Only the line feed is taken off: a trailing blank can matter.
fn read_corpus(params: &TrainingParams) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in &params.corpus.0 {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|&byte| byte == b'\n').count();
            Error::data(path, line, "the corpus is not UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        lines.extend(text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()));
    }
    Ok(lines)
}

impl Record {
    pub(super) fn into_frame(self) -> Result<DataFrame> {
        table::frame_of(vec![
            Series::new("step".into(), self.steps),
            Series::new("loss".into(), self.losses),
            Series::new("learning_rate".into(), self.learning_rates),
            Series::new("grad_norm".into(), self.grad_norms),
        ])
    }

    pub(super) fn of_frame(frame: &DataFrame) -> Result<Self> {
        table::TRAINING.check(frame, "the saved state of a training")?;
        let reals = |name: &str| Ok::<_, Error>(frame.column(name)?.f64()?.iter().flatten().collect());
        Ok(Self {
            steps: frame.column("step")?.u64()?.iter().flatten().collect(),
            losses: reals("loss")?,
            learning_rates: reals("learning_rate")?,
            grad_norms: reals("grad_norm")?,
        })
    }
}
