//! The example plugin's components once more, as built-in plugins: whatever differs between the two is the boundary's doing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lmprobe_core::candle_core::{Device, Tensor};
use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, Series};
use lmprobe_core::statistics::wilson;
use lmprobe_core::table::{self, MetricRow, MetricRows};
use lmprobe_core::{
    Build, CallContext, Dtype, Encoder, EncoderInfo, EncoderOutput, EncoderSource, Error, Examples, Learner, MaskToken, Material, Metric, ModelReport, Needs,
    Objective, Origin, Prober, Registration, Result, Seed, Targets, TokenBatch, TokenRows, Tokenization, TrainingBatch, Want,
};
use serde_json::{Value, json};

#[path = "../../plugins/rust/src/hashed_model.rs"]
#[expect(clippy::pedantic, unreachable_pub, reason = "the file of another crate")]
mod hashed_model;
#[path = "../../plugins/rust/src/info_nce.rs"]
#[expect(clippy::pedantic, unreachable_pub, reason = "the file of another crate")]
mod info_nce;

use hashed_model::{CLS, HEADS, HashedModel, MASK, SEP};

macro_rules! twin {
    ($name:ident, $id:literal, $build:expr, $schema:expr, $recipe:expr) => {
        /// A twin.
        pub(super) static $name: Registration = Registration {
            id: $id,
            version: 1,
            build: $build,
            summary: "twin of a plugin",
            manual: "",
            schema: $schema,
            families: &[],
            recipe: $recipe,
            origin: Origin::Builtin { file: file!(), line: line!() },
        };
    };
}

twin!(HASHED, "twin-hashed", Build::Encoder(&|_, _| Ok(Arc::new(HashedSource::new()) as Arc<dyn EncoderSource>)), &|| json!({}), None);
twin!(NEAREST, "twin-nearest", Build::Prober(&|_, _| Ok(Arc::new(Nearest) as Arc<dyn Prober>)), &|| json!({}), None);
twin!(SHARE_RIGHT, "twin-share-right", Build::Metric(&|params, _| Ok(Arc::new(ShareRight { k: whole(&params, "k") }) as Arc<dyn Metric>)), &share_schema, None);
twin!(
    INFO_NCE,
    "twin-info-nce",
    Build::Objective(&|_, _| Ok(Arc::new(InfoNce) as Arc<dyn Objective>)),
    &|| json!({}),
    Some(lmprobe_core::RecipeDefaults::Corpus(&|| json!({"steps": 20, "batch_size": 8})))
);

fn share_schema() -> Value {
    json!({"properties": {"k": {"type": "integer", "minimum": 1, "default": 1}}})
}

fn whole(params: &Value, name: &str) -> u64 {
    params[name].as_u64().expect("checked by the schema")
}

/// The twin of `example/hashed` with its defaults.
pub(super) struct HashedSource {
    info: EncoderInfo,
    report: ModelReport,
}

impl HashedSource {
    /// The model of 2 blocks and 16 dimensions.
    pub(super) fn new() -> Self {
        let info = EncoderInfo {
            family: "twin-hashed".into(),
            layers: 2,
            hidden: 16,
            heads: HEADS,
            vocab: 512,
            max_length: 512,
            mask: Some(MaskToken { text: "[MASK]".into(), id: MASK }),
            lowercase: true,
            casing_source: String::new(),
            trainable: false,
            pooler: true,
            mlm_head: true,
            task_head: None,
            lm_head: false,
            causal: false,
            random_init: false,
            dtype: Dtype::F32,
            warnings: Vec::new(),
        };
        Self { info, report: ModelReport::default() }
    }
}

impl EncoderSource for HashedSource {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn report(&self) -> &ModelReport {
        &self.report
    }

    fn load(&self, _: Seed) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(Hashed { info: self.info.clone(), model: HashedModel { hidden: 16, layers: 2, vocab: 512 } }))
    }

    fn at(&self, _: &Path) -> Result<Box<dyn EncoderSource>> {
        Err(Error::Unsupported("not trained".into()))
    }
}

struct Hashed {
    info: EncoderInfo,
    model: HashedModel,
}

impl Encoder for Hashed {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn tokenize_pairs(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch> {
        let limit = how.max_length.unwrap_or(512).min(512);
        let mut batch = TokenBatch::default();
        for (text, second) in texts {
            assert!(second.is_none(), "the twin knows no pairs");
            let words: Vec<&str> = text.split_whitespace().collect();
            let kept = words.len().min(limit - 2);
            let mut place = 0;
            let mut push = |id: u32, special: bool, word: Option<u32>, chars: (u32, u32)| {
                batch.ids.push(id);
                batch.type_ids.push(0);
                batch.special.push(special);
                batch.word_ids.push(word);
                batch.char_offsets.push(chars);
            };
            push(CLS, true, None, (0, 0));
            for (index, word) in words[..kept].iter().enumerate() {
                let start = place + text[byte(text, place)..].find(word).map_or(0, |at| text[byte(text, place)..][..at].chars().count());
                place = start + word.chars().count();
                let id = if *word == "[MASK]" { MASK } else { self.model.word_id(&word.to_lowercase()) };
                let narrow = |n: usize| u32::try_from(n).expect("a short text");
                push(id, false, Some(narrow(index)), (narrow(start), narrow(place)));
            }
            push(SEP, true, None, (0, 0));
            batch.offsets.push(batch.ids.len());
            batch.truncated.push(kept < words.len());
        }
        Ok(batch)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.model.token(id)
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        Ok(text.split_whitespace().map(|word| self.model.word_id(&word.to_lowercase())).collect())
    }

    fn encode(&self, tokens: &TokenBatch, want: &Want, _: &CallContext<'_>) -> Result<EncoderOutput> {
        let n = tokens.ids.len();
        let sequences: Vec<Vec<Vec<f32>>> = (0..tokens.len()).map(|at| self.model.hidden_states(tokens.sequence(at))).collect();
        let layer = |layer: usize| -> Vec<f32> { sequences.iter().flat_map(|states| states[layer].iter().copied()).collect() };
        let mut output = EncoderOutput::default();
        for &wanted in &want.hidden {
            output.hidden.push((wanted, Tensor::from_vec(layer(wanted), (n, 16), &Device::Cpu)?));
        }
        if want.attentions {
            for _ in 0..2 {
                let block = (0..tokens.len()).map(|at| {
                    let length = tokens.sequence_len(at);
                    Ok(Tensor::from_vec(self.model.attentions(length), (HEADS, length, length), &Device::Cpu)?)
                });
                output.attentions.push(block.collect::<Result<_>>()?);
            }
        }
        if want.pooled {
            let first: Vec<f32> = sequences.iter().flat_map(|states| states[2][..16].iter().copied()).collect();
            output.pooled = Some(Tensor::from_vec(first, (tokens.len(), 16), &Device::Cpu)?);
        }
        if let Some(rows) = &want.mlm_logits {
            let rows: Vec<usize> = if let TokenRows::At(rows) = rows { rows.clone() } else { (0..n).collect() };
            let (last, embeddings) = (layer(2), self.model.embeddings());
            let logits: Vec<f32> = rows.iter().flat_map(|&row| self.model.mlm_logits(&last[row * 16..(row + 1) * 16], &embeddings)).collect();
            output.mlm_logits = Some(Tensor::from_vec(logits, (rows.len(), 512), &Device::Cpu)?);
        }
        output.keep_rows(&want.hidden_rows)?;
        Ok(output)
    }
}

/// Where character `place` begins.
fn byte(text: &str, place: usize) -> usize {
    text.char_indices().nth(place).map_or(text.len(), |(at, _)| at)
}

/// The twin of `example/nearest`.
struct Nearest;

impl Nearest {
    fn vectors(encoder: &dyn Encoder, texts: &[&str], cx: &CallContext<'_>) -> Result<Vec<Vec<f32>>> {
        let layer = encoder.info().layers;
        let mut vectors = Vec::new();
        for pass in texts.chunks(64) {
            let tokens = encoder.tokenize(pass, Tokenization::default())?;
            let states = encoder.encode(&tokens, &Want::layer(layer), cx)?.layer(layer)?.to_vec2::<f32>()?;
            vectors.extend((0..tokens.len()).map(|at| states[tokens.offsets[at]].clone()));
        }
        Ok(vectors)
    }
}

impl Prober for Nearest {
    fn needs(&self) -> Needs {
        Needs { layers: vec![-1], ..Needs::one_encoder() }
    }

    fn probe(&self, encoders: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let encoder = encoders[0];
        let mask = encoder.info().mask.as_ref().map_or("", |mask| mask.text.as_str());
        let questions: Vec<String> = table::texts(&examples.examples, "prompt")?.into_iter().map(|prompt| prompt.replacen("[Y]", mask, 1)).collect();
        let questions = Self::vectors(encoder, &questions.iter().map(String::as_str).collect::<Vec<_>>(), cx)?;
        let mut pools: HashMap<&str, Vec<&str>> = HashMap::new();
        for (pool, name) in table::texts(&examples.candidates, "pool")?.into_iter().zip(table::texts(&examples.candidates, "name")?) {
            pools.entry(pool).or_default().push(name);
        }
        let mut names: Vec<&str> = pools.values().flatten().copied().collect();
        names.sort_unstable();
        names.dedup();
        let vectors: HashMap<&str, Vec<f32>> = names.iter().copied().zip(Self::vectors(encoder, &names, cx)?).collect();
        let golds = table::text_lists(&examples.examples, "golds")?;
        let (mut ranks, mut sizes, mut best, mut scored) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, pool) in table::texts(&examples.examples, "pool")?.into_iter().enumerate() {
            let mut pool = pools[pool].clone();
            pool.sort_unstable();
            let dot = |name: &str| questions[row].iter().zip(&vectors[name]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let mut ranked: Vec<(&str, f64)> = pool.iter().map(|name| (*name, dot(name))).collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            ranks.push(ranked.iter().position(|(name, _)| golds[row].iter().any(|gold| gold == name)).map(|at| at as u64 + 1));
            sizes.push(ranked.len() as u64);
            best.push(ranked.iter().take(10).map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
            scored.push(ranked.iter().take(10).map(|(_, score)| *score).collect::<Vec<_>>());
        }
        let mut columns = Vec::new();
        for name in ["example_id", "relation", "subject", "golds"] {
            columns.push(examples.examples.column(name)?.as_materialized_series().clone());
        }
        columns.push(Series::new("rank".into(), ranks));
        columns.push(Series::new("n_candidates".into(), sizes));
        columns.push(table::texts_column("predictions", &best));
        columns.push(table::reals_column("scores", &scored));
        table::frame_of(columns)
    }
}

/// The twin of `example/share-right`.
struct ShareRight {
    k: u64,
}

impl Metric for ShareRight {
    fn name(&self) -> String {
        format!("twin-share-right@{}", self.k)
    }

    fn compute(&self, predictions: &DataFrame, _: &CallContext<'_>) -> Result<DataFrame> {
        let mut shares: std::collections::BTreeMap<Option<&str>, (u64, u64)> = std::collections::BTreeMap::new();
        for (relation, rank) in table::texts(predictions, "relation")?.into_iter().zip(predictions.column("rank")?.u64()?.iter()) {
            for share in [None, Some(relation)] {
                let (right, n) = shares.entry(share).or_default();
                *right += u64::from(rank.is_some_and(|rank| rank <= self.k));
                *n += 1;
            }
        }
        let mut rows = MetricRows::default();
        for (relation, (right, n)) in shares {
            rows.push(MetricRow {
                metric: self.name(),
                aggregate: if relation.is_some() { "relation" } else { "micro" },
                relation: relation.map(str::to_owned),
                #[expect(clippy::cast_precision_loss, reason = "small counts")]
                value: right as f64 / n as f64,
                interval: wilson(right, n),
                n,
                unit: "fraction",
                higher_is_better: true,
            });
        }
        rows.into_frame()
    }
}

/// The twin of `example/info-nce`.
struct InfoNce;

impl Objective for InfoNce {
    fn needs(&self) -> Needs {
        Needs { layers: vec![-1], ..Needs::one_encoder() }
    }

    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, _: Seed) -> Result<Box<dyn Learner>> {
        let texts = material.texts()?;
        let lines: Vec<Vec<&str>> = texts.iter().map(|text| text.split_whitespace().collect::<Vec<_>>()).filter(|words| words.len() >= 4).collect();
        let half = |second: bool| -> Vec<String> {
            lines.iter().map(|words| if second { words[words.len() / 2..].join(" ") } else { words[..words.len() / 2].join(" ") }).collect()
        };
        let tokens = |texts: &[String]| encoder.tokenize(&texts.iter().map(String::as_str).collect::<Vec<_>>(), Tokenization::default());
        Ok(Box::new(Halves { first: tokens(&half(false))?, second: tokens(&half(true))? }))
    }
}

struct Halves {
    first: TokenBatch,
    second: TokenBatch,
}

impl Learner for Halves {
    fn len(&self) -> usize {
        self.first.len()
    }

    fn batch(&self, examples: &[usize], _: Seed) -> Result<TrainingBatch> {
        Ok(TrainingBatch { inputs: vec![self.first.select(examples), self.second.select(examples)], targets: Targets::new() })
    }

    fn want(&self, _: &TrainingBatch, _: usize, info: &EncoderInfo) -> Result<Want> {
        Ok(Want::layer(info.layers))
    }

    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo, _: Option<Seed>) -> Result<Tensor> {
        let first = |index: usize| -> Result<Tensor> {
            let tokens = &batch.inputs[index];
            let rows: Vec<u32> = tokens.offsets[..tokens.len()].iter().map(|&row| u32::try_from(row).expect("a small batch")).collect();
            let n = rows.len();
            Ok(outputs[index].layer(info.layers)?.index_select(&Tensor::from_vec(rows, n, &Device::Cpu)?, 0)?)
        };
        let (a, b) = (first(0)?, first(1)?);
        let (n, hidden) = a.dims2()?;
        let values = |tensor: &Tensor| tensor.detach().flatten_all()?.to_vec1::<f32>();
        let (value, grad_a, grad_b) = info_nce::info_nce(&values(&a)?, &values(&b)?, n, hidden, 0.1);
        let term = |x: &Tensor, gradient: Vec<f32>| (x * Tensor::from_vec(gradient, (n, hidden), &Device::Cpu)?)?.sum_all();
        let surrogate = (term(&a, grad_a)? + term(&b, grad_b)?)?;
        #[expect(clippy::cast_possible_truncation, reason = "losses are 32-bit floats")]
        let value = Tensor::new(value as f32, &Device::Cpu)?;
        Ok(((&surrogate - surrogate.detach())? + value)?)
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}
