//! What is asked of a component, and what it answers: owned values, the same for a library in this process and in one of its own.

use lmprobe_core::polars::prelude::DataFrame;
use serde_json::Value;

/// What is asked of a component.
#[derive(Debug, Clone)]
pub enum Request {
    /// What the instance is or needs. Answered by [`Response::Json`].
    Describe,
    /// Encoder: read the weights. Answered by [`Response::Nothing`].
    Load,
    /// Encoder: texts to tokens. Answered by [`Response::Table`].
    Tokenize(Texts),
    /// Encoder: tokens to tensors. Answered by [`Response::Tensors`].
    Encode(Sequences),
    /// Encoder: the text of a vocabulary entry. Answered by [`Response::Text`].
    Token(u32),
    /// Prober: answers. Answered by [`Response::Table`].
    Probe {
        /// The table `examples`.
        examples: DataFrame,
        /// The table `candidates`.
        candidates: DataFrame,
    },
    /// Objective: training examples of a corpus. Answered by [`Response::Prepared`].
    Prepare {
        /// One column, `text`.
        texts: DataFrame,
    },
    /// Objective: a batch. Answered by [`Response::Batch`].
    Batch {
        /// Of [`Response::Prepared`].
        examples: u64,
        /// Numbers of examples.
        chosen: Vec<u64>,
    },
    /// Objective: prepared examples are no longer needed. Answered by [`Response::Nothing`].
    Forget {
        /// Of [`Response::Prepared`].
        examples: u64,
    },
    /// Objective: the loss. Answered by [`Response::Gradient`].
    ValueAndGrad {
        /// Outputs and targets by name.
        inputs: Vec<NamedTensor>,
        /// Bit `i` asks for the gradient of input `i`.
        need_grad: u64,
    },
    /// Task: the examples. Answered by [`Response::Tables`].
    Examples,
    /// Metric: the numbers. Answered by [`Response::Table`].
    Compute {
        /// The table `predictions`.
        predictions: DataFrame,
    },
}

impl Request {
    /// The function that is called, for messages.
    pub fn function(&self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Load => "load",
            Self::Tokenize(_) => "tokenize",
            Self::Encode(_) => "encode",
            Self::Token(_) => "token",
            Self::Probe { .. } => "run",
            Self::Prepare { .. } => "prepare",
            Self::Batch { .. } => "batch",
            Self::Forget { .. } => "destroy_examples",
            Self::ValueAndGrad { .. } => "value_and_grad",
            Self::Examples => "examples",
            Self::Compute { .. } => "compute",
        }
    }
}

/// What a component answers.
#[derive(Debug, Clone)]
pub enum Response {
    /// Done.
    Nothing,
    /// A description.
    Json(Value),
    /// A text.
    Text(String),
    /// A table.
    Table(DataFrame),
    /// The tables `examples` and `candidates`.
    Tables(DataFrame, DataFrame),
    /// Tensors.
    Tensors(Vec<NamedTensor>),
    /// Training examples that the component keeps.
    Prepared {
        /// Names them in later requests.
        examples: u64,
        /// `examples`, their number, and `notes`.
        report: Value,
    },
    /// A training batch.
    Batch {
        /// One row a token: `input`, `sequence`, `id`, perhaps `type_id`.
        inputs: DataFrame,
        /// The targets.
        targets: Vec<NamedTensor>,
    },
    /// A loss and its gradients.
    Gradient {
        /// The loss.
        value: f64,
        /// Gradients by the name of their input.
        gradients: Vec<NamedTensor>,
    },
}

/// Texts to tokenize.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// The texts.
    pub texts: Vec<String>,
    /// The second text of each pair; empty if there are no pairs. A text without a second one has an empty one.
    pub pairs: Vec<String>,
    /// Longest sequence in tokens; 0 is the encoder's own limit.
    pub max_length: u32,
    /// `LMPROBE_ENCODE_*`.
    pub flags: u32,
}

/// Packed sequences to encode, and what is wanted of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Boundaries, `(batch + 1)`.
    pub offsets: Vec<u64>,
    /// Vocabulary ids, `(tokens)`.
    pub ids: Vec<u32>,
    /// Segment ids, `(tokens)`.
    pub type_ids: Vec<u32>,
    /// `LMPROBE_WANT_*`.
    pub want: u64,
    /// Layers whose hidden states are wanted.
    pub layers: Vec<u32>,
    /// Packed positions whose logits are wanted; `None` is all.
    pub rows: Option<Vec<u64>>,
}

/// A tensor with its name, compact and row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: TensorValues,
}

/// The values of a tensor, by type.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorValues {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit whole numbers.
    I64(Vec<i64>),
    /// 32-bit unsigned whole numbers.
    U32(Vec<u32>),
    /// Bytes.
    U8(Vec<u8>),
}

impl TensorValues {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
