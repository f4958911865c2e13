//! The objective `masked-lm`: predicting masked pieces.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value, json};
use lmprobe_core::{
    Build, BuildContext, Encoder, EncoderInfo, EncoderOutput, Error, Learner, Material, Needs, Objective, Origin, RecipeDefaults, Registration, Result, Seed,
    Targets, TokenBatch, Tokenization, TrainingBatch, Want, inventory, schema_of,
};

use crate::nn::ops;

inventory::submit! {
    Registration {
        id: "masked-lm",
        version: 1,
        build: Build::Objective(&build),
        summary: "masked language modelling, as BERT was trained",
        manual: MANUAL,
        schema: &schema_of::<MaskedLmParams>,
        families: &[],
        recipe: Some(RecipeDefaults::Corpus(&recipe)),
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Trains an encoder to predict pieces that were hidden from it: from scratch, or further on a corpus of a domain.

## How

At each visit of a sentence each of its pieces is chosen with `mask_probability`. A chosen piece is replaced by the mask (`mask_share`), by a piece
drawn from the whole vocabulary (`random_share`), or stays. The loss is the mean cross-entropy over the chosen pieces of the batch, in nats. A
batch in which nothing was chosen has one piece chosen at random. Only chosen pieces go through the head.

## Example

```yaml
adapt:
  - {use: masked-lm, corpus: abstracts.txt, epochs: 3, learning_rate: 1e-4}
```

## Reference

Devlin et al. 2019, arXiv:1810.04805, with masks drawn anew at each visit (Liu et al. 2019, arXiv:1907.11692).
";

/// Parameters of the objective `masked-lm`, beside the recipe of the training.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct MaskedLmParams {
    /// Probability that a piece is chosen.
    #[serde(default = "fifteen_percent")]
    #[schemars(range(min = 0.001, max = 1.0))]
    pub mask_probability: f64,
    /// Share of the chosen pieces that become the mask token.
    #[serde(default = "eighty_percent")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mask_share: f64,
    /// Share of the chosen pieces that become a random piece.
    #[serde(default = "ten_percent")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub random_share: f64,
    /// Longest sentence in tokens, special tokens included.
    #[serde(default = "one_twenty_eight")]
    #[schemars(range(min = 3))]
    pub max_length: usize,
}

fn fifteen_percent() -> f64 {
    0.15
}
fn eighty_percent() -> f64 {
    0.8
}
fn ten_percent() -> f64 {
    0.1
}
fn one_twenty_eight() -> usize {
    128
}

fn recipe() -> Value {
    json!({"epochs": 3, "batch_size": 32, "learning_rate": 5e-5, "schedule": "linear"})
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Objective>> {
    let params: MaskedLmParams = serde_json::from_value(params)?;
    if params.mask_share + params.random_share > 1.0 {
        return Err(Error::Config(format!("`mask_share` {} and `random_share` {} are more than 1 together", params.mask_share, params.random_share)));
    }
    Ok(Arc::new(MaskedLm { params }))
}

struct MaskedLm {
    params: MaskedLmParams,
}

impl Objective for MaskedLm {
    fn needs(&self) -> Needs {
        Needs { mask_token: true, mlm_head: true, ..Needs::one_encoder() }
    }

    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, _: Seed) -> Result<Box<dyn Learner>> {
        let texts = material.texts()?;
        let info = encoder.info();
        let mask = info.mask.as_ref().ok_or_else(|| Error::Unsupported("the encoder's tokenizer has no mask token".into()))?.id;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = encoder.tokenize(&texts, Tokenization::at_most(self.params.max_length))?;
        let kept: Vec<usize> = (0..all.len()).filter(|&index| all.range(index).any(|position| !all.special[position])).collect();
        let mut notes = Vec::new();
        if kept.len() < all.len() {
            notes.push(format!("{} of {} lines are empty and were left out", all.len() - kept.len(), all.len()));
        }
        let cut = all.truncated.iter().filter(|&&cut| cut).count();
        if cut > 0 {
            notes.push(format!("{cut} of {} lines were longer than {} tokens and were cut", all.len(), self.params.max_length));
        }
        Ok(Box::new(Sentences { tokens: all.select(&kept), params: self.params.clone(), mask, vocab: info.vocab, notes }))
    }
}

/// The tokenized sentences of a corpus.
struct Sentences {
    tokens: TokenBatch,
    params: MaskedLmParams,
    mask: u32,
    vocab: usize,
    notes: Vec<String>,
}

impl Learner for Sentences {
    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn batch(&self, examples: &[usize], seed: Seed) -> Result<TrainingBatch> {
        let mut tokens = self.tokens.select(examples);
        let mut random = seed.random();
        let eligible: Vec<usize> = (0..tokens.ids.len()).filter(|&position| !tokens.special[position]).collect();
        let mut chosen: Vec<usize> = eligible.iter().copied().filter(|_| random.unit() < self.params.mask_probability).collect();
        if chosen.is_empty() {
            chosen.push(eligible[random.below(eligible.len())]);
        }
        let pieces: Vec<u32> = chosen.iter().map(|&position| tokens.ids[position]).collect();
        for &position in &chosen {
            let draw = random.unit();
            if draw < self.params.mask_share {
                tokens.ids[position] = self.mask;
            } else if draw < self.params.mask_share + self.params.random_share {
                tokens.ids[position] = u32::try_from(random.below(self.vocab)).expect("a vocabulary has fewer than 2^32 entries");
            }
        }
        let n = chosen.len();
        let positions = chosen.into_iter().map(|position| u32::try_from(position).expect("a batch has fewer than 2^32 tokens")).collect::<Vec<_>>();
        let targets =
            Targets::from([("positions".into(), Tensor::from_vec(positions, n, &Device::Cpu)?), ("pieces".into(), Tensor::from_vec(pieces, n, &Device::Cpu)?)]);
        Ok(TrainingBatch { inputs: vec![tokens], targets })
    }

    fn want(&self, batch: &TrainingBatch, _: usize, _: &EncoderInfo) -> Result<Want> {
        let positions = batch.targets["positions"].to_vec1::<u32>()?;
        Ok(Want::mlm_at(positions.into_iter().map(|position| position as usize).collect()))
    }

    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, _: &EncoderInfo, _: Option<Seed>) -> Result<Tensor> {
        let log_probabilities = ops::log_softmax(outputs[0].mlm_logits()?)?; // (chosen, vocab)
        Ok(ops::negative_log_likelihood(&log_probabilities, &batch.targets["pieces"])?)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(n: usize, length: usize) -> Sentences {
        let mut tokens = TokenBatch::default();
        for _ in 0..n {
            for position in 0..length {
                let special = position == 0 || position + 1 == length;
                tokens.ids.push(if special { 1 } else { 50 });
                tokens.type_ids.push(0);
                tokens.special.push(special);
                tokens.word_ids.push(None);
                tokens.char_offsets.push((0, 0));
            }
            tokens.offsets.push(tokens.ids.len());
            tokens.truncated.push(false);
        }
        Sentences { tokens, params: serde_json::from_str("{}").unwrap(), mask: 4, vocab: 1_000, notes: vec![] }
    }

    #[test]
    fn shares_are_those_of_bert() {
        let sentences = sentences(1_000, 22);
        let batch = sentences.batch(&(0..1_000).collect::<Vec<_>>(), Seed(3)).unwrap();
        let positions = batch.targets["positions"].to_vec1::<u32>().unwrap();
        assert!((2_850..3_150).contains(&positions.len()), "{}", positions.len()); // 15 % of 20 000, three standard deviations are 150
        let ids: Vec<u32> = positions.iter().map(|&position| batch.inputs[0].ids[position as usize]).collect();
        let share = |wanted: &dyn Fn(u32) -> bool| {
            f64::from(u32::try_from(ids.iter().filter(|&&id| wanted(id)).count()).unwrap()) / f64::from(u32::try_from(ids.len()).unwrap())
        };
        assert!((share(&|id| id == 4) - 0.8).abs() < 0.03);
        assert!((share(&|id| id == 50) - 0.1).abs() < 0.02);
        assert!(batch.targets["pieces"].to_vec1::<u32>().unwrap().iter().all(|&piece| piece == 50), "targets are the pieces before masking");
        assert!(positions.iter().all(|&position| !batch.inputs[0].special[position as usize]), "special tokens are never chosen");
    }

    #[test]
    fn something_is_always_chosen_and_draws_hang_from_the_seed() {
        let sentences = sentences(1, 3);
        for seed in 0..20 {
            let batch = sentences.batch(&[0], Seed(seed)).unwrap();
            assert_eq!(batch.targets["positions"].to_vec1::<u32>().unwrap(), [1]);
            assert_eq!(batch.inputs, sentences.batch(&[0], Seed(seed)).unwrap().inputs);
        }
    }
}
