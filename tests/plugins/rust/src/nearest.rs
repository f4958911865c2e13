//! The prober `example/nearest`: the candidate whose vector lies nearest to that of the question.

use std::collections::HashMap;

use lmprobe_sdk::schemars::JsonSchema;
use lmprobe_sdk::serde::Deserialize;
use lmprobe_sdk::{Call, Candidates, Component, Examples, HostEncoder, Needs, PredictionRows, Prober, Result, Table, Tokenization, Want};

use crate::pools::{KEPT, Pools};

/// Texts of one pass through the encoder.
const TEXTS_A_PASS: usize = 64;

/// Parameters of `example/nearest`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub struct NearestParams {
    /// Hidden state that represents a text; 0 is the embedding output, negative numbers count from the end.
    #[serde(default = "last")]
    layer: i64,
}

fn last() -> i64 {
    -1
}

/// Ranks candidates by the inner product of their first token with that of the question.
#[derive(Debug)]
pub struct Nearest {
    layer: i64,
}

impl Component for Nearest {
    type Params = NearestParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "ranks candidates by the inner product of their vector with that of the question";

    fn build(params: NearestParams, _: &Call<'_>) -> Result<Self> {
        Ok(Self { layer: params.layer })
    }
}

impl Prober for Nearest {
    fn needs(&self) -> Needs {
        Needs { layers: vec![self.layer], ..Needs::one_encoder() }
    }

    fn run(&self, examples: &Examples, candidates: &Candidates, call: &Call<'_>) -> Result<Table> {
        let encoder = call.encoder(0);
        let info = encoder.info()?;
        let layer = info.layer(self.layer)?;
        let pools = Pools::new(examples, candidates)?;
        // Where the encoder has no mask token the place of the object is left out.
        let mask = info.mask.map_or_else(String::new, |mask| mask.text);
        let questions: Vec<String> = examples.prompt().iter().map(|prompt| prompt.replacen("[Y]", &mask, 1)).collect();
        let questions = first_tokens(encoder, &questions, layer, "questions", call)?;
        let mut names: Vec<&str> = pools.names.iter().flatten().copied().collect();
        names.sort_unstable();
        names.dedup();
        let vectors = first_tokens(encoder, &names, layer, "candidates", call)?;
        let vectors: HashMap<&str, &[f32]> = names.iter().copied().zip(vectors.iter().map(Vec::as_slice)).collect();
        let mut rows = PredictionRows::new(examples);
        for (row, question) in questions.iter().enumerate() {
            call.check_cancelled()?;
            let pool = &pools.names[pools.pool(row)];
            let scores: Vec<f64> = pool.iter().map(|name| dot(question, vectors[name])).collect();
            let mut order: Vec<usize> = (0..pool.len()).collect();
            // The sort is stable and names are in byte order, so equal scores are ranked by name.
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let rank = order.iter().position(|candidate| pools.golds(row).contains(candidate)).map(|position| position + 1);
            rows.push(rank, pool.len(), order.iter().take(KEPT).map(|&candidate| (pool[candidate], scores[candidate])))?;
        }
        rows.into_table()
    }
}

/// The vector of the first token of each text.
fn first_tokens<T: AsRef<str>>(encoder: HostEncoder<'_>, texts: &[T], layer: u32, phase: &str, call: &Call<'_>) -> Result<Vec<Vec<f32>>> {
    let mut vectors = Vec::with_capacity(texts.len());
    for pass in texts.chunks(TEXTS_A_PASS) {
        call.check_cancelled()?;
        let tokens = encoder.tokenize(pass, Tokenization::default())?;
        let output = encoder.encode(&tokens, &Want::layer(layer))?;
        let states = output.hidden_states()?.view(); // (1, tokens, hidden)
        let [_, _, hidden] = states.sizes()?;
        let values = states.f32s()?;
        vectors.extend(tokens.offsets[..tokens.len()].iter().map(|&first| values[first * hidden..(first + 1) * hidden].to_vec()));
        call.progress(phase, vectors.len(), texts.len());
    }
    Ok(vectors)
}

/// The inner product, summed in 64 bits in the order of the values: the same on every machine.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
