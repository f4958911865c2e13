//! Objectives of plugins: value and gradient, spliced into this program's tape.

use std::borrow::Cow;
use std::sync::Arc;

use lmprobe_core::candle_core::{DType, Tensor};
use lmprobe_core::{
    Encoder, EncoderInfo, EncoderOutput, Error, Learner, Material, Needs, Objective, Result, Seed, Targets, TokenBatch, TokenRows, TrainingBatch, Want,
};
use serde::Deserialize;
use serde_json::Value;

use crate::host_services::Kept;
use crate::instance::Instance;
use crate::prober::DescribedNeeds;
use crate::request::{NamedTensor, Request, Response, TensorValues};
use crate::table_import::{numbers, one_column};

/// What `describe` of an objective gives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    needs: DescribedNeeds,
    inputs: usize,
    want: DescribedWant,
    /// For the check of gradients.
    #[serde(default)]
    sample: Vec<Vec<SampleTensor>>,
}

/// What is wanted of the encoder for each input.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedWant {
    #[serde(default)]
    hidden: Vec<i64>,
    #[serde(default)]
    pooled: bool,
    mlm_logits: Option<WantedLogits>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WantedLogits {
    All,
    Some,
}

/// A tensor of a sample.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleTensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f64>,
    dtype: Option<SampleType>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SampleType {
    #[default]
    F32,
    I64,
    U32,
    U8,
}

impl SampleTensor {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sample holds small whole numbers where it declares a whole type")]
    fn tensor(&self) -> Result<NamedTensor, String> {
        if self.shape.iter().product::<usize>() != self.values.len() {
            return Err(format!("`{}` has shape {:?} and {} values", self.name, self.shape, self.values.len()));
        }
        let values = match self.dtype.unwrap_or_default() {
            SampleType::F32 => TensorValues::F32(self.values.iter().map(|&value| value as f32).collect()),
            SampleType::I64 => TensorValues::I64(self.values.iter().map(|&value| value as i64).collect()),
            SampleType::U32 => TensorValues::U32(self.values.iter().map(|&value| value as u32).collect()),
            SampleType::U8 => TensorValues::U8(self.values.iter().map(|&value| value as u8).collect()),
        };
        Ok(NamedTensor { name: self.name.clone(), shape: self.shape.clone(), values })
    }
}

/// An objective of a plugin.
pub(crate) struct PluginObjective {
    shared: Arc<Shared>,
}

/// What prepared examples need of it too.
struct Shared {
    instance: Box<dyn Instance>,
    needs: Needs,
    inputs: usize,
    want: DescribedWant,
    sample: Vec<Vec<NamedTensor>>,
    kept: Kept,
    origin: String,
}

impl PluginObjective {
    pub(crate) fn new(id: &str, instance: Box<dyn Instance>, kept: Kept, description: Value) -> Result<Self> {
        let origin = format!("objective `{id}`");
        let fail = |message: String| Error::plugin(format!("`describe` of {origin}"), message);
        let Description { needs, inputs, want, sample } = serde_json::from_value(description).map_err(|error| fail(error.to_string()))?;
        if !(1..=8).contains(&inputs) {
            return Err(fail(format!("`inputs` is {inputs}; 1 to 8 forward passes make a batch")));
        }
        if want.hidden.is_empty() && !want.pooled && want.mlm_logits.is_none() {
            return Err(fail("`want` is empty: a loss needs something of the encoder".into()));
        }
        let mut needs: Needs = needs.into();
        // What it wants, it needs; it may have forgotten to say so.
        needs.layers.extend(want.hidden.iter().filter(|layer| !needs.layers.contains(layer)).copied().collect::<Vec<_>>());
        needs.pooler |= want.pooled;
        needs.mlm_head |= want.mlm_logits.is_some();
        let sample = sample.iter().map(|tensors| tensors.iter().map(SampleTensor::tensor).collect()).collect::<Result<_, _>>().map_err(fail)?;
        Ok(Self { shared: Arc::new(Shared { instance, needs, inputs, want, sample, kept, origin }) })
    }

    /// The examples of `value_and_grad` that the plugin gives for the check of its gradients.
    pub(crate) fn sample(&self) -> &[Vec<NamedTensor>] {
        &self.shared.sample
    }

    /// The loss and its gradients.
    pub(crate) fn value_and_grad(&self, inputs: Vec<NamedTensor>, need_grad: u64) -> Result<(f64, Vec<NamedTensor>)> {
        self.shared.value_and_grad(inputs, need_grad)
    }
}

impl Shared {
    fn call(&self, seed: Seed, encoders: &[&dyn Encoder], request: Request) -> Result<Response> {
        self.kept.outside(seed, encoders, |services| self.instance.call(request, services))
    }

    fn unexpected(&self) -> Error {
        Error::plugin(&*self.origin, "it answered something else than was asked")
    }

    fn value_and_grad(&self, inputs: Vec<NamedTensor>, need_grad: u64) -> Result<(f64, Vec<NamedTensor>)> {
        let fail = |message: String| Error::plugin(format!("`value_and_grad` of {}", self.origin), message);
        let asked: Vec<(String, Vec<usize>)> = inputs.iter().map(|input| (input.name.clone(), input.shape.clone())).collect();
        let Response::Gradient { value, gradients } = self.call(Seed(0), &[], Request::ValueAndGrad { inputs, need_grad })? else {
            return Err(self.unexpected());
        };
        for (index, (name, shape)) in asked.iter().enumerate().filter(|(index, _)| need_grad >> index & 1 == 1) {
            let gradient =
                gradients.iter().find(|gradient| gradient.name == *name).ok_or_else(|| fail(format!("the gradient of input {index}, `{name}`, is missing")))?;
            if gradient.shape != *shape {
                return Err(fail(format!("the gradient of `{name}` has shape {:?}, expected {shape:?}", gradient.shape)));
            }
            let values = gradient.floats().ok_or_else(|| fail(format!("the gradient of `{name}` is not of 32-bit floats")))?;
            if let Some(at) = values.iter().position(|value| value.is_nan()) {
                return Err(fail(format!("the gradient of `{name}` is NaN at position {at}")));
            }
        }
        Ok((value, gradients))
    }
}

impl Objective for PluginObjective {
    fn needs(&self) -> Needs {
        self.shared.needs.clone()
    }

    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, seed: Seed) -> Result<Box<dyn Learner>> {
        let request = Request::Prepare { texts: one_column("text", material.texts()?)? };
        let Response::Prepared { examples, report } = self.shared.call(seed, &[encoder], request)? else { return Err(self.shared.unexpected()) };
        let mut prepared = Prepared { shared: self.shared.clone(), examples, report: Report::default(), vocab: encoder.info().vocab };
        prepared.report = serde_json::from_value(report)
            .map_err(|error| Error::plugin(format!("`prepare` of {}", self.shared.origin), format!("its report is malformed: {error}")))?;
        Ok(Box::new(prepared))
    }
}

/// What `prepare` reports.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    examples: usize,
    #[serde(default)]
    notes: Vec<String>,
}

/// Training examples that a plugin keeps.
struct Prepared {
    shared: Arc<Shared>,
    examples: u64,
    report: Report,
    vocab: usize,
}

impl Learner for Prepared {
    fn len(&self) -> usize {
        self.report.examples
    }

    fn batch(&self, examples: &[usize], seed: Seed) -> Result<TrainingBatch> {
        let request = Request::Batch { examples: self.examples, chosen: examples.iter().map(|&example| example as u64).collect() };
        let Response::Batch { inputs, targets } = self.shared.call(seed, &[], request)? else { return Err(self.shared.unexpected()) };
        let origin = format!("`batch` of {}", self.shared.origin);
        let fail = |message: String| Error::Frame { origin: origin.clone(), schema: "training inputs", message };
        let mut batches: Vec<TokenBatch> = vec![TokenBatch::default(); self.shared.inputs];
        let (which, sequences, ids) = (numbers(&inputs, "input", &origin)?, numbers(&inputs, "sequence", &origin)?, numbers(&inputs, "id", &origin)?);
        let types = if inputs.column("type_id").is_ok() { numbers(&inputs, "type_id", &origin)? } else { vec![0; ids.len()] };
        for (row, (((&input, &sequence), &id), &type_id)) in which.iter().zip(&sequences).zip(&ids).zip(&types).enumerate() {
            let batch = usize::try_from(input).ok().and_then(|input| batches.get_mut(input));
            let batch = batch.ok_or_else(|| fail(format!("row {row} belongs to input {input} of {}", self.shared.inputs)))?;
            // Sequences come in order, so that the next one follows the newest.
            let next = i64::try_from(batch.len()).unwrap_or(i64::MAX);
            if sequence == next {
                batch.offsets.push(batch.ids.len());
                batch.truncated.push(false);
            } else if sequence != next - 1 {
                return Err(fail(format!("row {row} belongs to sequence {sequence} of input {input}, expected {next}; sequences come in order, none empty")));
            }
            let id = u32::try_from(id).ok().filter(|&id| (id as usize) < self.vocab);
            batch.ids.push(id.ok_or_else(|| fail(format!("row {row} has the id {}, and the vocabulary {} entries", ids[row], self.vocab)))?);
            batch.type_ids.push(u32::try_from(type_id).map_err(|_| fail(format!("row {row} has the type id {type_id}")))?);
            batch.special.push(false);
            batch.word_ids.push(None);
            batch.char_offsets.push((0, 0));
            let end = batch.ids.len();
            *batch.offsets.last_mut().expect("offsets begin with 0") = end;
        }
        if let Some(empty) = batches.iter().position(TokenBatch::is_empty) {
            return Err(fail(format!("input {empty} has no token")));
        }
        let targets = targets.iter().map(|target| Ok((Cow::Owned(target.name.clone()), target.to_tensor()?))).collect::<Result<Targets>>()?;
        Ok(TrainingBatch { inputs: batches, targets })
    }

    fn want(&self, batch: &TrainingBatch, index: usize, info: &EncoderInfo) -> Result<Want> {
        let want = &self.shared.want;
        let hidden = want.hidden.iter().map(|&layer| info.layer(layer)).collect::<Result<Vec<_>>>()?;
        let mlm_logits = match want.mlm_logits {
            None => None,
            Some(WantedLogits::All) => Some(TokenRows::All),
            Some(WantedLogits::Some) => {
                let name = format!("mlm_rows.{index}");
                let rows = batch.targets.get(name.as_str()).ok_or_else(|| Error::plugin(&*self.shared.origin, format!("the batch has no target `{name}`")))?;
                let rows = rows.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
                let n = batch.inputs[index].ids.len();
                let inside = |row: &i64| usize::try_from(*row).ok().filter(|&row| row < n);
                let found: Option<Vec<usize>> = rows.iter().map(inside).collect();
                Some(TokenRows::At(found.ok_or_else(|| Error::plugin(&*self.shared.origin, format!("`{name}` names a position outside of the {n} tokens")))?))
            }
        };
        Ok(Want { hidden, pooled: want.pooled, mlm_logits, ..Want::default() })
    }

    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo, _: Option<Seed>) -> Result<Tensor> {
        let want = &self.shared.want;
        // What the graph reaches, in the order of the bits of `need_grad`, and behind it what is only read.
        let mut live: Vec<(String, Tensor)> = Vec::new();
        let mut inputs = Vec::new();
        for (index, (output, tokens)) in outputs.iter().zip(&batch.inputs).enumerate() {
            if !want.hidden.is_empty() {
                let states = want.hidden.iter().map(|&layer| output.layer(info.layer(layer)?)).collect::<Result<Vec<_>>>()?;
                live.push((format!("hidden_states.{index}"), Tensor::stack(&states, 0)?)); // (layers, tokens, hidden)
            }
            if want.pooled {
                let pooled = output.pooled.clone().ok_or_else(|| Error::Unsupported("the pooled vector was not returned by the encoder".into()))?;
                live.push((format!("pooled.{index}"), pooled)); // (batch, hidden)
            }
            if want.mlm_logits.is_some() {
                live.push((format!("mlm_logits.{index}"), output.mlm_logits()?.clone())); // (rows, vocab)
            }
            let offsets: Vec<i64> = tokens.offsets.iter().map(|&offset| i64::try_from(offset).unwrap_or(i64::MAX)).collect();
            inputs.push(NamedTensor { name: format!("offsets.{index}"), shape: vec![offsets.len()], values: TensorValues::I64(offsets) });
        }
        for (name, target) in &batch.targets {
            inputs.push(NamedTensor::of(name.to_string(), target)?);
        }
        let lent = live.iter().map(|(name, tensor)| NamedTensor::of(name.clone(), &tensor.detach())).collect::<Result<Vec<_>>>()?;
        let need_grad = (1u64 << lent.len()) - 1;
        let (value, gradients) = self.shared.value_and_grad(lent.into_iter().chain(inputs).collect(), need_grad)?;
        let mut surrogate: Option<Tensor> = None;
        for (name, tensor) in &live {
            let gradient = gradients.iter().find(|gradient| gradient.name == *name).expect("checked to be there").to_tensor()?.to_device(tensor.device())?;
            let term = (tensor * gradient)?.sum_all()?;
            surrogate = Some(match surrogate {
                None => term,
                Some(sum) => (sum + term)?,
            });
        }
        let surrogate = surrogate.ok_or_else(|| self.shared.unexpected())?;
        // Its value is the plugin's to the last bit, its gradient that of the surrogate: 0 is what is added.
        #[expect(clippy::cast_possible_truncation, reason = "losses are 32-bit floats")]
        let value = Tensor::new(value as f32, surrogate.device())?;
        Ok(((&surrogate - surrogate.detach())? + value)?)
    }

    fn notes(&self) -> Vec<String> {
        self.report.notes.clone()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Err(error) = self.shared.call(Seed(0), &[], Request::Forget { examples: self.examples }) {
            tracing::debug!("{error}");
        }
    }
}
