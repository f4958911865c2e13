//! The head that fine-tuning puts on top of an encoder: one or two linear layers.

use candle_core::{Device, Tensor, Var};
use lmprobe_core::{
    EncoderInfo, EncoderOutput, Error, HeadActivation, HeadLayout, HeadReads, Result, Seed, TaskHead, TaskHeadInfo, TokenBatch, TokenRows, Variable, Want,
    serde_json::Value,
};

use super::ops::{self, Activation, Dropout};

/// A head, drawn or read from a checkpoint. Its tensors are variables: what trains them changes them here.
#[derive(Debug)]
pub struct Head {
    info: TaskHeadInfo,
    layout: HeadLayout,
    dense: Option<Layer>,
    output: Layer,
}

/// How a linear layer is computed: input, weight and bias.
type Linear = fn(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>;

#[derive(Debug)]
struct Layer {
    name: String,
    /// `(outputs, inputs)`.
    weight: Var,
    /// `(outputs)`.
    bias: Option<Var>,
}

impl Head {
    /// A fresh head: weights normal with the model's own deviation, biases 0, as `transformers` draws them.
    ///
    /// # Errors
    /// If the memory for it is not there.
    pub fn draw(info: TaskHeadInfo, layout: HeadLayout, hidden: usize, seed: Seed) -> Result<Self> {
        let outputs = outputs(&info);
        let dense = layout.dense.as_ref().map(|(name, _)| Layer::draw(name, (hidden, hidden), true, layout.initializer_range, seed)).transpose()?;
        let output = Layer::draw(&layout.output, (outputs, hidden), layout.bias, layout.initializer_range, seed)?;
        Ok(Self { info, layout, dense, output })
    }

    /// The head of a checkpoint.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than the layout says.
    pub fn of(head: &TaskHead, layout: HeadLayout, hidden: usize) -> Result<Self> {
        let outputs = outputs(&head.info);
        let dense = layout.dense.as_ref().map(|(name, _)| Layer::of(head, name, (hidden, hidden), true)).transpose()?;
        let output = Layer::of(head, &layout.output, (outputs, hidden), layout.bias)?;
        Ok(Self { info: head.info.clone(), layout, dense, output })
    }

    /// What it answers.
    pub fn info(&self) -> &TaskHeadInfo {
        &self.info
    }

    /// How many numbers it gives a vector.
    pub fn outputs(&self) -> usize {
        outputs(&self.info)
    }

    /// Which vectors it reads.
    pub fn reads(&self) -> HeadReads {
        self.layout.reads
    }

    /// What is wanted of the encoder. `rows` are the tokens whose logits are wanted of a head that reads every token; other heads do not look at them.
    pub fn want(&self, tokens: &TokenBatch, rows: TokenRows, encoder: &EncoderInfo) -> Want {
        let ends = &tokens.offsets;
        match self.layout.reads {
            HeadReads::Pooled => Want { pooled: true, ..Want::default() },
            HeadReads::FirstToken => Want::layer_at(encoder.layers, ends[..ends.len() - 1].to_vec()),
            HeadReads::LastToken => Want::layer_at(encoder.layers, ends[1..].iter().map(|end| end - 1).collect()),
            HeadReads::EveryToken => Want { hidden: vec![encoder.layers], hidden_rows: rows, ..Want::default() },
        }
    }

    /// The logits, `(sequences, labels)`, or `(rows, labels)` of a head that reads every token. `dropout` seeds the masks; `None` switches dropout off.
    ///
    /// # Errors
    /// If the encoder did not give what was wanted.
    pub fn logits(&self, output: &EncoderOutput, encoder: &EncoderInfo, dropout: Option<Seed>) -> Result<Tensor> {
        self.forward(&self.read(output, encoder)?, dropout, ops::linear)
    }

    /// The same for inference, without a graph: the bits of a row do not depend on what stands beside it in the batch.
    ///
    /// # Errors
    /// If the encoder did not give what was wanted.
    pub fn answers(&self, output: &EncoderOutput, encoder: &EncoderInfo) -> Result<Tensor> {
        self.forward(&self.read(output, encoder)?, None, ops::linear_of_rows)
    }

    /// The vectors it reads.
    fn read(&self, output: &EncoderOutput, encoder: &EncoderInfo) -> Result<Tensor> {
        Ok(match self.layout.reads {
            HeadReads::Pooled => output.pooled.clone().ok_or_else(|| Error::Unsupported("the pooled vector was not returned by the encoder".into()))?,
            _ => output.layer(encoder.layers)?.clone(),
        })
    }

    fn forward(&self, x: &Tensor, dropout: Option<Seed>, linear: Linear) -> Result<Tensor> {
        let mask = |label: &str, rate: f32| dropout.filter(|_| rate > 0.0).map(|seed| Dropout { p: rate, seed: seed.0, stream: seed.child(label).0 });
        let mut x = ops::dropout(x, mask("input", self.layout.dropout))?;
        if let (Some(dense), Some((_, activation))) = (&self.dense, &self.layout.dense) {
            x = dense.forward(&x, linear)?;
            let activation = match activation {
                HeadActivation::Tanh => Activation::Tanh,
                HeadActivation::Relu => Activation::Relu,
            };
            x = ops::activation(&x, activation)?;
            x = ops::dropout(&x, mask("dense", self.layout.dense_dropout))?;
        }
        self.output.forward(&x, linear)
    }

    /// Its variables, in a fixed order.
    pub fn variables(&self) -> Vec<Variable> {
        let mut variables = Vec::new();
        for layer in self.dense.iter().chain([&self.output]) {
            variables.push(Variable { name: format!("{}.weight", layer.name), var: layer.weight.clone(), is_bias_or_norm: false });
            if let Some(bias) = &layer.bias {
                variables.push(Variable { name: format!("{}.bias", layer.name), var: bias.clone(), is_bias_or_norm: true });
            }
        }
        variables
    }

    /// The head as a checkpoint holds it, with the settings of whoever made its inputs.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn to_task_head(&self, settings: Value) -> Result<TaskHead> {
        let tensors = self.variables().into_iter().map(|variable| Ok((variable.name, variable.var.as_tensor().to_device(&Device::Cpu)?.copy()?)));
        Ok(TaskHead { info: self.info.clone(), settings, tensors: tensors.collect::<Result<_>>()? })
    }
}

/// How many numbers a head gives a vector.
fn outputs(info: &TaskHeadInfo) -> usize {
    use lmprobe_core::Problem;
    match info.problem {
        Problem::TokenClassification | Problem::SequenceClassification | Problem::MultiLabel => info.labels.len(),
        Problem::ExtractiveQa => 2,
        Problem::Regression | Problem::MultipleChoice | Problem::Cloze => 1,
    }
}

impl Layer {
    fn draw(name: &str, (outputs, inputs): (usize, usize), bias: bool, deviation: f64, seed: Seed) -> Result<Self> {
        let mut random = seed.child(name).random();
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        let values: Vec<f32> = (0..outputs * inputs).map(|_| (random.normal() * deviation) as f32).collect();
        let bias = if bias { Some(Var::from_vec(vec![0f32; outputs], outputs, &Device::Cpu)?) } else { None };
        Ok(Self { name: name.to_owned(), weight: Var::from_vec(values, (outputs, inputs), &Device::Cpu)?, bias })
    }

    fn of(head: &TaskHead, name: &str, (outputs, inputs): (usize, usize), bias: bool) -> Result<Self> {
        let take = |part: &str, shape: &[usize]| -> Result<Var> {
            let name = format!("{name}.{part}");
            let tensor = head.tensors.iter().find(|(found, _)| *found == name).map(|(_, tensor)| tensor);
            let tensor = tensor.ok_or_else(|| Error::Unsupported(format!("the head of the checkpoint lacks the tensor `{name}`")))?;
            if tensor.dims() != shape {
                return Err(Error::Unsupported(format!("tensor `{name}` of the head has shape {:?}, its labels say {shape:?}", tensor.dims())));
            }
            Ok(Var::from_tensor(&tensor.contiguous()?)?)
        };
        Ok(Self { name: name.to_owned(), weight: take("weight", &[outputs, inputs])?, bias: if bias { Some(take("bias", &[outputs])?) } else { None } })
    }

    /// `(rows, inputs) x (inputs, outputs) -> (rows, outputs)`.
    fn forward(&self, x: &Tensor, linear: Linear) -> Result<Tensor> {
        let weight = self.weight.as_tensor().to_device(x.device())?;
        let bias = match &self.bias {
            Some(bias) => bias.as_tensor().to_device(x.device())?,
            None => Tensor::zeros(weight.dim(0)?, weight.dtype(), x.device())?,
        };
        Ok(linear(&x.contiguous()?, &weight, &bias)?)
    }
}
