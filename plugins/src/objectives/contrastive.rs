//! The objective `contrastive`: rewiring an encoder with sentences it completes itself.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value, json};
use lmprobe_core::{
    Build, BuildContext, Encoder, EncoderInfo, EncoderOutput, Error, Learner, Material, Needs, Objective, Origin, Random, RecipeDefaults, Registration, Result,
    Seed, Side, Targets, TokenBatch, Tokenization, TrainingBatch, Want, inventory, schema_of,
};

use crate::nn::ops;
use crate::probers::contrastive::Pooling;

inventory::submit! {
    Registration {
        id: "contrastive",
        version: 1,
        build: Build::Objective(&build),
        summary: "rewires an encoder: a sentence's masked beginning is drawn to its removed end",
        manual: MANUAL,
        schema: &schema_of::<ContrastiveParams>,
        families: &[],
        recipe: Some(RecipeDefaults::Corpus(&recipe)),
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Makes the vector of a question lie near the vector of its answer, without any facts: from each sentence of a corpus the last words are
taken away and replaced by one mask; beginning and end are a pair, and every other text of the batch is a negative (InfoNCE).

## How

From a sentence of `n` words the last `m` are taken, `m` uniform in 1 to 1 + floor(`max_mask_fraction` x `n`). Spans are drawn once.
Both views go through the same encoder with their own dropout. The loss is symmetric, and negatives are all other texts of the batch, those
of the same view included.

`faithful: true` reproduces the original program: words are split at single blanks, the span ends one item before the last (so a line without
a trailing blank keeps its last word), lines too short for a pair are kept, long beginnings lose their mask, and the loss is capped by the
epsilon of 16-bit floats. Without it lines are trimmed, the span ends the line, shorter lines are left out and counted, and long
beginnings are cut at the left.

## Example

```yaml
adapt:
  - none
  - {use: contrastive, name: rewired, corpus: pubmed.txt, steps: 150}
```

## Reference

Meng et al. 2022, arXiv:2110.08173; the loss is NTXentLoss (Sohn 2016, Chen et al. 2020). Defaults are those of the published run.
";

/// Parameters of the objective `contrastive`, beside the recipe of the training.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct ContrastiveParams {
    /// Temperature of the softmax over similarities.
    #[serde(default = "temperature")]
    #[schemars(range(min = 0.0001))]
    pub temperature: f64,
    /// Largest share of a sentence's words that is taken away.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_mask_fraction: f64,
    /// Longest view in tokens, special tokens included.
    #[serde(default = "forty_eight")]
    #[schemars(range(min = 4))]
    pub max_length: usize,
    /// Hidden state that represents a text; negative numbers count from the end.
    #[serde(default = "last")]
    pub layer: i64,
    /// How a text becomes one vector.
    #[serde(default)]
    pub pooling: Pooling,
    /// Whether the quirks of the original program are reproduced.
    #[serde(default)]
    pub faithful: bool,
}

fn temperature() -> f64 {
    0.04
}
fn half() -> f64 {
    0.5
}
fn forty_eight() -> usize {
    48
}
fn last() -> i64 {
    -1
}

/// The published run: 150 steps of 192 pairs at a constant rate, every variable decaying, gradients not clipped.
fn recipe() -> Value {
    json!({"steps": 150, "batch_size": 192, "learning_rate": 2e-5, "schedule": "constant", "weight_decay_on": "all", "max_grad_norm": null})
}

/// Epsilon inside the logarithm where the original computes similarities in 16 bits: the smallest normal number, 2^-14.
const HALF_PRECISION_EPSILON: f64 = 1.0 / 16_384.0;

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Objective>> {
    let params: ContrastiveParams = serde_json::from_value(params)?;
    if params.faithful && params.pooling == Pooling::Mean {
        return Err(Error::Config(
            "`faithful: true` with `pooling: mean` is not offered: the original averages over padding, which packed batches do not have".into(),
        ));
    }
    Ok(Arc::new(Contrastive { params }))
}

struct Contrastive {
    params: ContrastiveParams,
}

impl Objective for Contrastive {
    fn needs(&self) -> Needs {
        Needs { mask_token: true, layers: vec![self.params.layer], ..Needs::one_encoder() }
    }

    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, seed: Seed) -> Result<Box<dyn Learner>> {
        let texts = material.texts()?;
        let mask = encoder.info().mask.as_ref().ok_or_else(|| Error::Unsupported("the encoder's tokenizer has no mask token".into()))?;
        let mut random = seed.random();
        let mut pairs = Vec::with_capacity(texts.len());
        let mut short = 0;
        for text in texts {
            match split(text, &mask.text, &self.params, &mut random) {
                Some(pair) => pairs.push(pair),
                None => short += 1,
            }
        }
        let beginnings: Vec<&str> = pairs.iter().map(|pair| pair.0.as_str()).collect();
        let ends: Vec<&str> = pairs.iter().map(|pair| pair.1.as_str()).collect();
        let limit = Tokenization::at_most(self.params.max_length);
        let cut = if self.params.faithful { Side::Right } else { Side::Left };
        let beginnings = encoder.tokenize(&beginnings, Tokenization { cut, ..limit })?;
        let ends = encoder.tokenize(&ends, limit)?;
        let mut notes = Vec::new();
        if short > 0 {
            notes.push(format!("{short} of {} lines have fewer than 3 words and were left out", texts.len()));
        }
        let lost = (0..beginnings.len()).filter(|&index| beginnings.position_of(index, mask.id).is_none()).count();
        if lost > 0 {
            notes.push(format!("{lost} of {} beginnings lost their mask to the length limit", beginnings.len()));
        }
        let cut = beginnings.truncated.iter().chain(&ends.truncated).filter(|&&cut| cut).count();
        if cut > 0 {
            notes.push(format!("{cut} of {} views were longer than {} tokens and were cut", 2 * beginnings.len(), self.params.max_length));
        }
        Ok(Box::new(Pairs { beginnings, ends, notes, params: self.params.clone() }))
    }
}

/// The symmetric InfoNCE of paired rows, a scalar (NTXentLoss of pytorch-metric-learning 0.9.98).
///
/// `a` and `b` are `(pairs, hidden)`. Every row's positive is its partner; its negatives are all other rows of both. `epsilon` stands
/// inside the logarithm.
///
/// # Errors
/// If the shapes differ.
pub fn info_nce(a: &Tensor, b: &Tensor, temperature: f64, epsilon: f64) -> Result<Tensor> {
    let n = a.dim(0)?;
    let rows = Tensor::cat(&[a, b], 0)?; // (2 pairs, hidden)
    let lengths = rows.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    let unit = rows.broadcast_div(&lengths)?;
    let similarity = (unit.matmul(&unit.t()?)? / temperature)?; // (2 pairs, hidden) x (hidden, 2 pairs)
    let diagonal = (Tensor::eye(2 * n, DType::F32, a.device())? * -1e9)?; // a row is no negative of its own
    let log_probabilities = ops::log_softmax(&(similarity + diagonal)?)?;
    let count = u32::try_from(2 * n).map_err(|_| Error::Config("a batch of more than 2^31 pairs".into()))?;
    let partner: Vec<u32> = (0..count).map(|row| (row + count / 2) % count).collect();
    let partner = Tensor::from_vec(partner, 2 * n, a.device())?;
    if epsilon > 0.0 {
        let positive = log_probabilities.gather(&partner.unsqueeze(1)?, 1)?;
        return Ok((positive.exp()? + epsilon)?.log()?.mean_all()?.neg()?);
    }
    Ok(ops::negative_log_likelihood(&log_probabilities, &partner)?)
}

/// Beginning with mask, and the end that was taken away.
fn split(text: &str, mask: &str, params: &ContrastiveParams, random: &mut Random) -> Option<(String, String)> {
    let words: Vec<&str> = if params.faithful { text.split(' ').collect() } else { text.split_whitespace().collect() };
    let n = words.len();
    if !params.faithful && n < 3 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a sentence's words")]
    let most = 1 + (params.max_mask_fraction * n as f64).floor() as usize;
    let m = 1 + random.below(most);
    Some(if params.faithful { faithful_span(&words, mask, m) } else { tail_span(&words, mask, m.min(n - 1)) })
}

/// The last `m` words.
fn tail_span(words: &[&str], mask: &str, m: usize) -> (String, String) {
    let (beginning, end) = words.split_at(words.len() - m);
    let mut beginning = beginning.to_vec();
    beginning.push(mask);
    (beginning.join(" "), end.join(" "))
}

/// `m` items that end one before the last, with Python's reading of a start of -1: nothing is taken, and the mask is put before the
/// last item.
fn faithful_span(items: &[&str], mask: &str, m: usize) -> (String, String) {
    let n = items.len();
    let (start, end) = if m < n { (n - m - 1, n - 1) } else { (n - 1, n - 1) };
    let masked = items[start..end].join(" ");
    let mut rest = items[..start].to_vec();
    rest.push(mask);
    rest.extend_from_slice(&items[end..]);
    (rest.join(" "), masked)
}

/// The tokenized pairs of a corpus.
struct Pairs {
    beginnings: TokenBatch,
    ends: TokenBatch,
    notes: Vec<String>,
    params: ContrastiveParams,
}

impl Learner for Pairs {
    fn len(&self) -> usize {
        self.beginnings.len()
    }

    fn batch(&self, examples: &[usize], _: Seed) -> Result<TrainingBatch> {
        Ok(TrainingBatch { inputs: vec![self.beginnings.select(examples), self.ends.select(examples)], targets: Targets::new() })
    }

    fn want(&self, batch: &TrainingBatch, index: usize, info: &EncoderInfo) -> Result<Want> {
        self.params.pooling.want(info.layer(self.params.layer)?, &batch.inputs[index])
    }

    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo, _: Option<Seed>) -> Result<Tensor> {
        let layer = info.layer(self.params.layer)?;
        let pool = |index: usize| self.params.pooling.apply(outputs[index].layer(layer)?, &batch.inputs[index]); // (batch, hidden)
        let epsilon = if self.params.faithful { HALF_PRECISION_EPSILON } else { 0.0 };
        info_nce(&pool(0)?, &pool(1)?, self.params.temperature, epsilon)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn spans_are_those_of_the_original() {
        let span = |text: &str, m: usize| faithful_span(&text.split(' ').collect::<Vec<_>>(), "[MASK]", m);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(span("aspirin inhibits platelet aggregation ", 2), pair("aspirin inhibits [MASK] ", "platelet aggregation"));
        assert_eq!(span("aspirin inhibits platelet aggregation", 2), pair("aspirin [MASK] aggregation", "inhibits platelet"));
        assert_eq!(span("foo", 1), pair("[MASK] foo", ""));
        assert_eq!(span("foo ", 2), pair("foo [MASK] ", ""));
    }

    #[test]
    fn the_fixed_span_ends_the_sentence() {
        let words: Vec<&str> = "aspirin inhibits platelet aggregation".split(' ').collect();
        assert_eq!(tail_span(&words, "[MASK]", 2), ("aspirin inhibits [MASK]".into(), "platelet aggregation".into()));
    }

    #[test]
    fn span_lengths_are_uniform_up_to_one_more_than_half() {
        let params: ContrastiveParams = serde_json::from_str("{}").unwrap();
        let mut random = Seed(1).random();
        let mut counts = [0; 5];
        for _ in 0..3_000 {
            let (_, end) = split("a b c d", "[MASK]", &params, &mut random).unwrap();
            counts[end.split(' ').count()] += 1;
        }
        assert_eq!((counts[0], counts[4]), (0, 0));
        assert!(counts[1..4].iter().all(|count| (900..1_100).contains(count)), "{counts:?}"); // 1, 2 and 3 of 4 words
        assert!(split("too short", "[MASK]", &params, &mut random).is_none());
    }

    fn rows(values: [[f32; 3]; 3]) -> Tensor {
        Tensor::new(&values, &Device::Cpu).unwrap()
    }

    #[test]
    fn info_nce_equals_the_published_vectors() {
        let a = rows([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5], [0.3, 0.3, 1.0]]);
        let b = rows([[0.9, 0.1, 0.4], [0.2, 0.8, -0.6], [0.1, 0.5, 0.9]]);
        let swapped = rows([[0.2, 0.8, -0.6], [0.9, 0.1, 0.4], [0.1, 0.5, 0.9]]);
        let half = HALF_PRECISION_EPSILON;
        let cases = [
            (&b, 0.04, 0.0, 0.000_231),
            (&b, 0.2, 0.0, 0.177_316),
            (&b, 1.0, 0.0, 1.023_351),
            (&b, 0.04, half, 0.000_170),
            (&b, 0.2, half, 0.177_243),
            (&b, 1.0, half, 1.023_180),
            (&swapped, 0.04, 0.0, 17.805_890),
            (&swapped, 0.04, half, 6.469_513),
            (&swapped, 0.2, 0.0, 3.738_448),
            (&swapped, 0.2, half, 3.728_654),
        ];
        for (b, temperature, epsilon, expected) in cases {
            let loss = f64::from(info_nce(&a, b, temperature, epsilon).unwrap().to_scalar::<f32>().unwrap());
            assert!((loss - expected).abs() < 2e-6 * (1.0 + expected), "temperature {temperature}, epsilon {epsilon}: {loss} is not {expected}");
        }
    }
}
