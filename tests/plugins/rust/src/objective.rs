//! The objective `example/info-nce`: both halves of a line are drawn together.

use lmprobe_sdk::schemars::JsonSchema;
use lmprobe_sdk::serde::Deserialize;
use lmprobe_sdk::serde_json::{Value, json};
use lmprobe_sdk::{
    Batch, Call, Component, Error, Loss, LossInputs, Needs, Objective, ObjectiveWant, Prepared, Result, Tensor, TensorView, TokenBatch, Tokenization,
};

use crate::info_nce::info_nce;

/// Fewest words of a line that has two halves.
const FEWEST_WORDS: usize = 4;

/// Parameters of `example/info-nce`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub struct InfoNceParams {
    /// Temperature of the softmax over similarities.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0001))]
    temperature: f64,
}

fn tenth() -> f64 {
    0.1
}

/// Draws the vectors of both halves of a line together.
#[derive(Debug)]
pub struct InfoNce {
    temperature: f64,
}

/// The halves of every line, tokenized.
#[derive(Debug)]
pub struct Halves {
    first: TokenBatch,
    second: TokenBatch,
}

impl Component for InfoNce {
    type Params = InfoNceParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "draws the first token's vectors of both halves of a line together (symmetric InfoNCE)";

    fn build(params: InfoNceParams, _: &Call<'_>) -> Result<Self> {
        if !params.temperature.is_finite() || params.temperature <= 0.0 {
            return Err(Error::config(format!("`temperature` is {}, expected a positive number", params.temperature)).at("/temperature"));
        }
        Ok(Self { temperature: params.temperature })
    }
}

impl Objective for InfoNce {
    type Examples = Halves;

    fn needs(&self) -> Needs {
        Needs { layers: vec![-1], ..Needs::one_encoder() }
    }

    fn inputs(&self) -> usize {
        2
    }

    fn want(&self) -> ObjectiveWant {
        ObjectiveWant { hidden: vec![-1], ..ObjectiveWant::default() }
    }

    fn prepare(&self, texts: Vec<String>, call: &Call<'_>) -> Result<Prepared<Halves>> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for text in &texts {
            let words: Vec<&str> = text.split_whitespace().collect();
            if words.len() >= FEWEST_WORDS {
                let (start, end) = words.split_at(words.len() / 2);
                first.push(start.join(" "));
                second.push(end.join(" "));
            }
        }
        let count = first.len();
        if count == 0 {
            return Err(Error::input(format!("none of {} lines has {FEWEST_WORDS} words", texts.len())).at("text"));
        }
        let mut notes = Vec::new();
        if count < texts.len() {
            notes.push(format!("{} of {} lines have fewer than {FEWEST_WORDS} words and were left out", texts.len() - count, texts.len()));
        }
        let encoder = call.encoder(0);
        let first = encoder.tokenize(&first, Tokenization::default())?;
        let second = encoder.tokenize(&second, Tokenization::default())?;
        let cut = first.truncated.iter().chain(&second.truncated).filter(|&&cut| cut).count();
        if cut > 0 {
            notes.push(format!("{cut} of {} halves were longer than the encoder allows and were cut", 2 * count));
        }
        Ok(Prepared { examples: Halves { first, second }, count, notes })
    }

    fn batch(examples: &Halves, chosen: &[usize], _: &Call<'_>) -> Result<Batch> {
        if let Some(index) = chosen.iter().find(|&&index| index >= examples.first.len()) {
            return Err(Error::input(format!("there is no example {index}: there are {}", examples.first.len())));
        }
        let inputs = vec![examples.first.select(chosen.iter().copied()), examples.second.select(chosen.iter().copied())];
        Ok(Batch { inputs, targets: Vec::new() })
    }

    fn value_and_grad(&self, inputs: &LossInputs<'_>, _: &Call<'_>) -> Result<Loss> {
        let (first, second) = (FirstTokens::new(inputs, 0)?, FirstTokens::new(inputs, 1)?);
        let (n, hidden) = (first.positions.len(), first.hidden);
        if (second.positions.len(), second.hidden) != (n, hidden) || n == 0 {
            return Err(Error::input(format!("{n} first halves do not pair with {} second halves", second.positions.len())));
        }
        let (value, grad_first, grad_second) = info_nce(&first.vectors, &second.vectors, n, hidden, self.temperature);
        Ok(Loss {
            value,
            gradients: vec![("hidden_states.0".to_owned(), first.spread(&grad_first)?), ("hidden_states.1".to_owned(), second.spread(&grad_second)?)],
        })
    }

    fn samples(&self) -> Vec<Vec<(String, Tensor)>> {
        // Two pairs: sequences of 2 and 1 tokens, and of 1 and 2, each token a vector of three numbers.
        let tensor = |values: [f32; 9]| Tensor::f32s([1, 3, 3], values);
        let made = || -> Result<Vec<(String, Tensor)>> {
            Ok(vec![
                ("hidden_states.0".to_owned(), tensor([0.3, -0.2, 0.1, 0.9, 0.9, 0.9, -0.1, 0.4, 0.2])?),
                ("offsets.0".to_owned(), Tensor::i64s([3], [0, 2, 3])?),
                ("hidden_states.1".to_owned(), tensor([0.2, -0.1, 0.3, 0.1, 0.5, -0.2, 0.7, 0.7, 0.7])?),
                ("offsets.1".to_owned(), Tensor::i64s([3], [0, 1, 3])?),
            ])
        };
        vec![made().expect("the shapes fit the values")]
    }

    fn recipe() -> Option<Value> {
        Some(json!({"steps": 20, "batch_size": 8}))
    }
}

/// The vectors of the first tokens of a pass.
struct FirstTokens<'a> {
    states: TensorView<'a>,
    positions: Vec<usize>,
    hidden: usize,
    vectors: Vec<f32>,
}

impl<'a> FirstTokens<'a> {
    fn new(inputs: &'a LossInputs<'_>, input: usize) -> Result<Self> {
        let states = inputs.hidden_states(input)?; // (1, tokens, hidden)
        let [_, tokens, hidden] = states.sizes()?;
        let offsets = inputs.offsets(input)?;
        let positions: Vec<usize> = offsets[..offsets.len().saturating_sub(1)].iter().filter_map(|&offset| usize::try_from(offset).ok()).collect();
        if positions.iter().any(|&position| position >= tokens) {
            return Err(Error::input(format!("`offsets.{input}` leaves the {tokens} tokens of the pass")));
        }
        let values = states.f32s()?;
        let vectors = positions.iter().flat_map(|&position| &values[position * hidden..(position + 1) * hidden]).copied().collect();
        Ok(Self { states, positions, hidden, vectors })
    }

    /// The gradient of all states: that of the first tokens, zero elsewhere.
    fn spread(&self, gradient: &[f32]) -> Result<Tensor> {
        let mut values = vec![0.0; self.states.shape().iter().product()];
        for (&position, gradient) in self.positions.iter().zip(gradient.chunks(self.hidden)) {
            values[position * self.hidden..(position + 1) * self.hidden].copy_from_slice(gradient);
        }
        Tensor::f32s(self.states.shape(), values)
    }
}
