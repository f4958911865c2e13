//! The training loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use candle_core::DType;
use polars::prelude::{DataFrame, NamedFrom, Series};

use super::adamw::AdamW;
use super::checkpoint::{self, Part, Record};
use super::gradients::Gradients;
use super::params::TrainingParams;
use crate::{CallContext, Encoder, Error, Examples, Learner, Material, Objective, Result, Trainable, Variable, table};

/// What the loop is given.
pub struct TrainingJob<'a> {
    /// The encoder, which ends trained.
    pub encoder: &'a dyn Encoder,
    /// The signal.
    pub objective: &'a dyn Objective,
    /// What is learned from.
    pub signal: Signal<'a>,
    /// The recipe.
    pub params: &'a TrainingParams,
    /// Where checkpoints go: `step-000050/`, ..., `final/`, each a model folder in Hugging Face layout.
    pub folder: &'a Path,
}

/// What is learned from.
#[derive(Clone, Copy)]
pub enum Signal<'a> {
    /// The files of [`TrainingParams::corpus`].
    Corpus,
    /// A share of a task. With no training example in it nothing is trained: the encoder is stored as it is, with a fresh head.
    Task(&'a Examples),
}

/// What a training leaves beside its checkpoints.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// [`table::TRAINING`].
    pub training: DataFrame,
    /// [`table::EVALUATIONS`].
    pub evaluations: DataFrame,
}

/// Trains. Goes on from the newest state in the folder, to the same bits as a run that was never stopped. States and the best weights so far stay beside `final`:
/// when the results of the training are safe, [`remove_states`](super::remove_states) takes them away.
///
/// # Errors
/// If there is nothing to learn from, the loss stops being finite, a checkpoint cannot be written or a stop was requested (the
/// state is written first).
pub fn train(job: &TrainingJob<'_>, cx: &CallContext<'_>) -> Result<Outcome> {
    let Some(model) = job.encoder.trainable() else {
        return Err(Error::Unsupported("this encoder cannot be trained".into()));
    };
    let seed = cx.seed.child("examples");
    let learner = match job.signal {
        Signal::Corpus => {
            let texts = read_corpus(job.params)?;
            job.objective.prepare(&Material::Texts(&texts), job.encoder, seed)?
        }
        Signal::Task(examples) => job.objective.prepare(&Material::Task(examples), job.encoder, seed)?,
    };
    for note in learner.notes() {
        cx.warn(note);
    }
    let total = match job.signal {
        Signal::Task(examples) if examples.train.height() == 0 => 0,
        Signal::Corpus if learner.is_empty() => return Err(Error::Config("the corpus leaves no example to train on".into())),
        Signal::Task(_) if learner.is_empty() => return Err(Error::Config("the task leaves no example to train on".into())),
        _ => job.params.total_steps(learner.len())?,
    };
    let (variables, head) = (model.variables(), learner.variables());
    let head_gradients = Mutex::new(Gradients::new(&head));
    let mut state = State { encoder: AdamW::new(&variables), head: AdamW::new(&head), record: Record::default() };
    if let Some(step) = checkpoint::newest(job.folder)? {
        checkpoint::restore(job.folder, step, [Part(&variables, &mut state.encoder), Part(&head, &mut state.head)], &mut state.record)?;
    }
    let mut looped =
        Loop { job, model, learner: learner.as_ref(), variables: &variables, head: &head, head_gradients: &head_gradients, total, orders: BTreeMap::new() };
    let mut saved_at = Instant::now();
    let asked = |step: u64| job.params.checkpoint_every.is_some_and(|every| step > 0 && step.is_multiple_of(every));
    let save = |state: &mut State| {
        let published = if asked(state.encoder.step) { Some(learner.head()?) } else { None };
        checkpoint::save(job.folder, model, &[Part(&variables, &mut state.encoder), Part(&head, &mut state.head)], &state.record, published.as_ref())
    };
    // A training that was stopped while it was scored has the state of that step without the score.
    let mut ended = state.encoder.step > 0 && looped.evaluate(&mut state, cx)?;
    while state.encoder.step < total && !ended {
        looped.step(&mut state, cx)?;
        let done = state.encoder.step;
        ended = match looped.evaluate(&mut state, cx) {
            Err(Error::Cancelled) => {
                save(&mut state)?;
                return Err(Error::Cancelled);
            }
            evaluated => evaluated?,
        };
        cx.progress.advanced("steps", usize::try_from(done).unwrap_or(usize::MAX), usize::try_from(total).unwrap_or(usize::MAX));
        let stop = cx.cancel.is_requested();
        if done == total || ended {
            break;
        }
        if asked(done) || stop || saved_at.elapsed().as_secs() >= checkpoint::RESCUE_INTERVAL_S {
            save(&mut state)?;
            saved_at = Instant::now();
        }
        if stop {
            return Err(Error::Cancelled);
        }
    }
    let done = state.encoder.step;
    let best = state.record.evaluations.iter().rev().find(|evaluation| evaluation.kept).map(|evaluation| evaluation.step).filter(|&step| step != done);
    checkpoint::finish(job.folder, model, learner.head()?.as_ref(), asked(done).then_some(done), best.filter(|_| learner.selection().best))?;
    Ok(Outcome { evaluations: state.record.evaluations_frame()?, training: state.record.into_frame()? })
}

struct State {
    encoder: AdamW,
    head: AdamW,
    record: Record,
}

struct Loop<'a> {
    job: &'a TrainingJob<'a>,
    model: &'a dyn Trainable,
    learner: &'a dyn Learner,
    variables: &'a [Variable],
    head: &'a [Variable],
    head_gradients: &'a Mutex<Gradients>,
    total: u64,
    /// The order of the examples in the epochs at hand.
    orders: BTreeMap<u64, Vec<usize>>,
}

impl Loop<'_> {
    /// One optimiser step. Everything random in it hangs from the step's number, so a resumed run draws the same.
    fn step(&mut self, state: &mut State, cx: &CallContext<'_>) -> Result<()> {
        let params = self.job.params;
        let step = state.encoder.step;
        let batches = self.batches_of(step, cx);
        self.model.gradients().lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.head_gradients.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
        let head_gradients = self.head_gradients.lock().unwrap_or_else(PoisonError::into_inner);
        let norm = if self.head.is_empty() { gradients.norm() } else { gradients.norm().hypot(head_gradients.norm()) } / count;
        // torch.nn.utils.clip_grad_norm_: the factor is never above 1, and its denominator never 0.
        let clip = params.max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
        let learning_rate = params.learning_rate_at(step, self.total);
        state.encoder.update(self.variables, &gradients, params, learning_rate, clip / count)?;
        state.head.update(self.head, &head_gradients, params, learning_rate, clip / count)?;
        state.record.push(step + 1, loss_sum / count, learning_rate, norm);
        Ok(())
    }

    /// Adds the gradients of one batch to those of the model and the head, and returns its loss.
    fn add_gradients(&self, examples: &[usize], seed: crate::Seed) -> Result<f64> {
        let batch = self.learner.batch(examples, seed.child("batch"))?;
        let info = self.job.encoder.info();
        let dropout = self.job.params.dropout;
        let mut outputs = Vec::with_capacity(batch.inputs.len());
        for (index, input) in batch.inputs.iter().enumerate() {
            let want = self.learner.want(&batch, index, info)?;
            outputs.push(self.model.forward(input, &want, dropout.then(|| seed.child("dropout").at(index as u64)))?);
        }
        let loss = self.learner.loss(&outputs, &batch, info, dropout.then(|| seed.child("head dropout")))?;
        if loss.rank() != 0 {
            return Err(Error::Unsupported(format!("the objective returned a loss of shape {:?}, expected a scalar", loss.dims())));
        }
        let value = f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        let store = self.model.backward(&loss)?;
        self.head_gradients.lock().unwrap_or_else(PoisonError::into_inner).add_store(self.head, &store)?;
        Ok(value)
    }

    /// Scores the weights at the end of an epoch and of the training, unless the record has this score, and keeps them if they are the best so far. Whether the
    /// training ends because too many epochs brought nothing better.
    fn evaluate(&self, state: &mut State, cx: &CallContext<'_>) -> Result<bool> {
        let step = state.encoder.step;
        let Some(epoch) = self.job.params.evaluated_after(step, self.total, self.learner.len()) else { return Ok(false) };
        if state.record.evaluations.iter().any(|evaluation| evaluation.step == step) {
            return Ok(false);
        }
        let Some(score) = self.learner.evaluate(self.job.encoder, cx)? else { return Ok(false) };
        if !score.value.is_finite() {
            return Err(Error::Unsupported(format!("the development score `{}` after epoch {epoch} is {}", score.metric, score.value)));
        }
        let better = |than: f64| if score.higher_is_better { score.value > than } else { score.value < than };
        let kept = state.record.evaluations.iter().filter(|evaluation| evaluation.kept).all(|evaluation| better(evaluation.value));
        let standing = if kept { ", the best so far" } else { "" };
        cx.progress.found(&format!("after epoch {epoch} the development score `{}` is {:.4}{standing}", score.metric, score.value));
        state.record.evaluations.push(checkpoint::Evaluation { step, epoch, metric: score.metric, value: score.value, kept });
        if kept && self.learner.selection().best && step < self.total {
            checkpoint::keep_best(self.job.folder, self.model, self.learner.head()?.as_ref())?;
        }
        Ok(self.has_ended(&state.record, score.higher_is_better))
    }

    /// Whether too many epochs brought nothing better. As long as the best score is the worst there is nothing has been learned yet, and no epoch counts.
    fn has_ended(&self, record: &Record, higher_is_better: bool) -> bool {
        let Some(patience) = self.learner.selection().patience else { return false };
        let since = record.evaluations.iter().rev().take_while(|evaluation| !evaluation.kept).count();
        let nothing_learned = higher_is_better && record.evaluations.iter().rev().find(|evaluation| evaluation.kept).is_none_or(|best| best.value == 0.0);
        !nothing_learned && since as u64 >= patience.max(1)
    }

    /// The examples of each batch of a step.
    fn batches_of(&mut self, step: u64, cx: &CallContext<'_>) -> Vec<Vec<usize>> {
        let (params, n) = (self.job.params, self.learner.len());
        let places = params.batches_of(step, n);
        let epochs = places.iter().flatten().map(|(epoch, _)| *epoch);
        let oldest = epochs.clone().min().unwrap_or(0);
        self.orders.retain(|&epoch, _| epoch >= oldest);
        for epoch in epochs {
            self.orders.entry(epoch).or_insert_with(|| {
                let mut examples: Vec<usize> = (0..n).collect();
                if params.shuffle {
                    cx.seed.child("epoch").at(epoch).random().shuffle(&mut examples);
                }
                examples
            });
        }
        places.into_iter().map(|batch| batch.into_iter().map(|(epoch, place)| self.orders[&epoch][place]).collect()).collect()
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

    pub(super) fn evaluations_frame(&self) -> Result<DataFrame> {
        let all = &self.evaluations;
        table::frame_of(vec![
            Series::new("step".into(), all.iter().map(|one| one.step).collect::<Vec<_>>()),
            Series::new("epoch".into(), all.iter().map(|one| one.epoch).collect::<Vec<_>>()),
            table::text_column("metric", all.iter().map(|one| Some(one.metric.as_str()))),
            Series::new("value".into(), all.iter().map(|one| one.value).collect::<Vec<_>>()),
            Series::new("kept".into(), all.iter().map(|one| one.kept).collect::<Vec<_>>()),
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
            evaluations: Vec::new(),
        })
    }

    pub(super) fn evaluations_of(frame: &DataFrame) -> Result<Vec<checkpoint::Evaluation>> {
        table::EVALUATIONS.check(frame, "the saved state of a training")?;
        let (steps, epochs) = (frame.column("step")?.u64()?, frame.column("epoch")?.u64()?);
        let (values, kept) = (frame.column("value")?.f64()?, frame.column("kept")?.bool()?);
        let rows = table::texts(frame, "metric")?.into_iter().zip(steps.iter()).zip(epochs.iter()).zip(values.iter()).zip(kept.iter());
        let evaluation = |((((metric, step), epoch), value), kept): ((((&str, _), _), _), _)| {
            Some(checkpoint::Evaluation { step: step?, epoch: epoch?, metric: metric.to_owned(), value: value?, kept: kept? })
        };
        Ok(rows.filter_map(evaluation).collect())
    }
}
