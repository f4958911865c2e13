//! Objectives: losses as a value and its gradient.

use serde_json::{Value, json};

use crate::boundary::tensor_list::LentTensor;
use crate::tensor::ViewValues;
use crate::{Call, Component, Error, Needs, Result, Tensor, TensorView, TokenBatch};

/// A training signal: how texts become inputs and targets, and how outputs and targets become a loss and its gradient.
pub trait Objective: Component {
    /// Examples made of a corpus.
    type Examples: Send + Sync + 'static;

    /// What the objective asks of the encoder.
    fn needs(&self) -> Needs;

    /// Forward passes a batch, 1 or 2.
    fn inputs(&self) -> usize;

    /// What is wanted of each pass.
    fn want(&self) -> ObjectiveWant;

    /// Makes examples of a corpus, one text an item. The encoder is in slot 0.
    ///
    /// # Errors
    /// If the corpus leaves nothing to train on.
    fn prepare(&self, texts: Vec<String>, call: &Call<'_>) -> Result<Prepared<Self::Examples>>;

    /// Makes a batch of the examples with these numbers.
    ///
    /// # Errors
    /// If there is no such example.
    fn batch(examples: &Self::Examples, chosen: &[usize], call: &Call<'_>) -> Result<Batch>;

    /// The loss, and its gradient where [`LossInputs::needs_gradient`].
    ///
    /// # Errors
    /// If an input is missing.
    fn value_and_grad(&self, inputs: &LossInputs<'_>, call: &Call<'_>) -> Result<Loss>;

    /// Inputs of the loss with which the host compares the gradient with differences of values.
    fn samples(&self) -> Vec<Vec<(String, Tensor)>>;

    /// Defaults it sets for its training, a JSON object.
    fn recipe() -> Option<Value> {
        None
    }
}

/// What an objective wants of each pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectiveWant {
    /// Hidden states; negative numbers count from the end.
    pub hidden: Vec<i64>,
    /// The pooler's output.
    pub pooled: bool,
    /// Masked-language-model logits.
    pub mlm_logits: Option<WantedRows>,
}

/// Which rows of logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedRows {
    /// Every token.
    All,
    /// Of input `i` the packed positions in the target `mlm_rows.i`.
    Some,
}

impl ObjectiveWant {
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!({"hidden": self.hidden, "pooled": self.pooled});
        match self.mlm_logits {
            Some(WantedRows::All) => json["mlm_logits"] = "all".into(),
            Some(WantedRows::Some) => json["mlm_logits"] = "some".into(),
            None => {}
        }
        json
    }
}

/// Examples of a corpus, and what is to be told about them.
#[derive(Debug)]
pub struct Prepared<E> {
    /// The examples.
    pub examples: E,
    /// Their number.
    pub count: usize,
    /// Sentences about what was left out or cut: nothing is dropped in silence.
    pub notes: Vec<String>,
}

/// One batch.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The inputs, each of which is one forward pass.
    pub inputs: Vec<TokenBatch>,
    /// Whatever the loss needs beside the outputs, by name.
    pub targets: Vec<(String, Tensor)>,
}

/// A loss and its gradient.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The loss.
    pub value: f64,
    /// The gradient by the names of the inputs, in their shapes. More than is needed may be given.
    pub gradients: Vec<(String, Tensor)>,
}

/// Inputs of a loss: outputs of the passes and targets, lent for the call.
#[derive(Debug)]
pub struct LossInputs<'a> {
    tensors: Vec<Input<'a>>,
}

#[derive(Debug)]
struct Input<'a> {
    name: &'a str,
    shape: Vec<usize>,
    values: ViewValues<'a>,
    needs_gradient: bool,
}

impl<'a> LossInputs<'a> {
    pub(crate) fn new(tensors: Vec<LentTensor<'a>>, need_grad: u64) -> Self {
        let tensors = tensors.into_iter().enumerate();
        let input = |(index, LentTensor { name, shape, values }): (usize, LentTensor<'a>)| Input {
            name,
            shape,
            values,
            needs_gradient: index < 64 && need_grad >> index & 1 == 1,
        };
        Self { tensors: tensors.map(input).collect() }
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>> {
        let input = self.tensors.iter().find(|input| input.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::input(format!("there is no input `{name}`; there are {}", names.join(", "))).at(name)
        })?;
        Ok(TensorView { shape: &input.shape, values: input.values })
    }

    /// The names, in the order of the host.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|input| input.name)
    }

    /// Whether the gradient of this tensor is asked for.
    pub fn needs_gradient(&self, name: &str) -> bool {
        self.tensors.iter().any(|input| input.name == name && input.needs_gradient)
    }

    /// Hidden states of a pass, `(layers, tokens, hidden)`.
    ///
    /// # Errors
    /// If there are none.
    pub fn hidden_states(&self, input: usize) -> Result<TensorView<'_>> {
        self.get(&format!("hidden_states.{input}"))
    }

    /// Pooler output of a pass, `(batch, hidden)`.
    ///
    /// # Errors
    /// If there is none.
    pub fn pooled(&self, input: usize) -> Result<TensorView<'_>> {
        self.get(&format!("pooled.{input}"))
    }

    /// Logits of a pass, `(rows, vocab)`.
    ///
    /// # Errors
    /// If there are none.
    pub fn mlm_logits(&self, input: usize) -> Result<TensorView<'_>> {
        self.get(&format!("mlm_logits.{input}"))
    }

    /// Sequence boundaries of a pass, `(batch + 1)`.
    ///
    /// # Errors
    /// If there are none.
    pub fn offsets(&self, input: usize) -> Result<&[i64]> {
        self.get(&format!("offsets.{input}"))?.i64s()
    }

    /// Keeps of the gradients what is asked for, in the order of the inputs.
    pub(crate) fn asked(&self, mut gradients: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
        let asked = self.tensors.iter().filter(|input| input.needs_gradient);
        asked
            .map(|input| {
                let found = gradients.iter().position(|(name, _)| name == input.name);
                let (name, gradient) = gradients.swap_remove(found.ok_or_else(|| Error::internal(format!("the gradient of `{}` is missing", input.name)))?);
                if gradient.shape() != input.shape || gradient.dtype() != "f32" {
                    let found = format!("{:?} of {}", gradient.shape(), gradient.dtype());
                    return Err(Error::internal(format!("the gradient of `{name}` has the shape {found}, expected {:?} of f32", input.shape)));
                }
                Ok((name, gradient))
            })
            .collect()
    }
}

/// A sample as `describe` gives it.
pub(crate) fn sample_to_json(sample: &[(String, Tensor)]) -> Value {
    let tensor = |(name, tensor): &(String, Tensor)| {
        let values = match tensor.view().values {
            ViewValues::F32(values) => json!(values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()),
            ViewValues::I64(values) => json!(values),
            ViewValues::U32(values) => json!(values),
            ViewValues::U8(values) => json!(values),
        };
        let mut json = json!({"name": name, "shape": tensor.shape(), "values": values});
        if tensor.dtype() != "f32" {
            json["dtype"] = tensor.dtype().into();
        }
        json
    };
    Value::Array(sample.iter().map(tensor).collect())
}
