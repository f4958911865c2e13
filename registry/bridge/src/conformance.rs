//! Whether a plugin keeps the rules: every component created, described and called on small inputs.

use std::collections::BTreeMap;

use lmprobe_core::candle_core::{Device, Tensor};
use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, Series};
use lmprobe_core::{
    CallContext, Cancel, Dtype, Encoder, EncoderInfo, EncoderOutput, EncoderSource, Error, Examples, Kind, MaskToken, Material, Metric, Objective, Prober,
    Quiet, Result, Seed, Task, TokenBatch, TokenRows, Tokenization, Want, check_examples, check_predictions, table,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::gradient_check;
use crate::offered_library::{ComponentFacts, OfferedLibrary};

/// What became of one check of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The component.
    pub component: String,
    /// What was checked.
    pub check: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not checked, and why.
    Skipped(String),
    /// Not as it should be.
    Failed(String),
}

/// Checks every component of a library. `params` gives parameters by component id; where a component needs some that are not there, that is said.
pub fn check(library: &OfferedLibrary, params: &BTreeMap<String, Value>) -> Vec<Finding> {
    let mut checker = Checker { library, findings: Vec::new() };
    for (index, component) in library.facts().components.iter().enumerate() {
        checker.component(index, component, params.get(&component.id));
    }
    checker.findings
}

struct Checker<'a> {
    library: &'a OfferedLibrary,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn note(&mut self, component: &ComponentFacts, check: &str, outcome: Outcome) {
        self.findings.push(Finding { component: format!("{} `{}`", component.kind.word(), component.id), check: check.to_owned(), outcome });
    }

    /// Records what a check gave, and hands on its value.
    fn noted<T>(&mut self, component: &ComponentFacts, check: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.note(component, check, Outcome::Passed);
                Some(value)
            }
            Err(error) => {
                self.note(component, check, Outcome::Failed(error.to_string()));
                None
            }
        }
    }

    fn component(&mut self, index: usize, component: &ComponentFacts, given: Option<&Value>) {
        let params = match complete(&component.schema, given) {
            Ok(params) => params,
            Err(missing) => {
                self.note(component, "create and describe", Outcome::Skipped(format!("it needs the parameter `{missing}`")));
                return;
            }
        };
        match component.kind {
            Kind::Metric => {
                let created = self.library.metric(index, &params);
                if let Some(metric) = self.noted(component, "create and describe", created) {
                    for (check, n) in [("compute, 1 question", 1), ("compute, 40 questions", 40)] {
                        self.noted(component, check, compute(&metric, n));
                    }
                    self.noted(component, "same input, same rows", twice(|| compute(&metric, 40)));
                }
            }
            Kind::Prober => {
                let created = self.library.prober(index, &params);
                if let Some(prober) = self.noted(component, "create and describe", created) {
                    self.noted(component, "run", probe(&prober));
                    self.noted(component, "same input, same answers", twice(|| probe(&prober)));
                }
            }
            Kind::Task => {
                let created = self.library.task(index, &params);
                if let Some(task) = self.noted(component, "create and describe", created) {
                    self.noted(component, "examples", examples_of(&task));
                }
            }
            Kind::Objective => {
                let created = self.library.objective(index, &params);
                if let Some(objective) = self.noted(component, "create and describe", created) {
                    self.noted(component, "prepare, batch and loss", train_once(&objective));
                    let reports = gradient_check::of_objective(&objective, &component.id);
                    if let Some(reports) = self.noted(component, "samples of gradients", reports) {
                        for report in reports {
                            let (position, found, expected) = report.worst;
                            let message = format!("position {position}: {found:e}, by differences {expected:e}");
                            let outcome = if report.passed { Outcome::Passed } else { Outcome::Failed(message) };
                            self.note(component, &format!("gradient of `{}`, sample {}", report.tensor, report.sample), outcome);
                        }
                    }
                }
            }
            Kind::Encoder => {
                let created = self.library.encoder(index, &params).and_then(|source| source.load(Seed(0)));
                if let Some(encoder) = self.noted(component, "create, describe and load", created) {
                    self.noted(component, "tokenize", tokenize(encoder.as_ref()));
                    self.noted(component, "encode, alone and together", alone_and_together(encoder.as_ref()));
                }
            }
        }
    }
}

/// The parameters that were given and the defaults of the others; else the name of one that is missing.
pub(crate) fn complete(schema: &Value, given: Option<&Value>) -> std::result::Result<Value, String> {
    let mut params = given.and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if params.contains_key(name) {
            continue;
        }
        match property.get("default") {
            Some(default) => {
                params.insert(name.clone(), default.clone());
            }
            None if required.contains(&name.as_str()) => return Err(name.clone()),
            None => {}
        }
    }
    Ok(Value::Object(params))
}

fn cx() -> CallContext<'static> {
    CallContext::new(Seed(7), &Quiet, Cancel::default())
}

/// Whether two calls give the same table.
fn twice(call: impl Fn() -> Result<DataFrame>) -> Result<()> {
    if call()?.equals_missing(&call()?) { Ok(()) } else { Err(Error::Unsupported("two calls with one input and seed gave different tables".into())) }
}

/// Questions of two relations about small pools, with a letter that is not ASCII.
fn examples() -> Result<Examples> {
    let subjects = ["aspirin", "ibuprofen", "naïve T cell", "p53"];
    let column = |name: &str, values: Vec<String>| Series::new(name.into(), values);
    let (mut ids, mut relations, mut asked, mut prompts, mut golds, mut pools) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    for relation in ["treats", "part of"] {
        for (number, subject) in subjects.iter().enumerate() {
            ids.push(format!("{relation}/{subject}"));
            relations.push(relation.to_owned());
            asked.push((*subject).to_owned());
            prompts.push(format!("{subject} {relation} [Y] ."));
            golds.push(vec![format!("{relation} {}", number % 3)]);
            pools.push(relation.to_owned());
        }
    }
    let candidates = ["part of", "treats"].iter().flat_map(|pool| (0..5).map(move |number| ((*pool).to_owned(), format!("{pool} {number}"))));
    let (pool, name) = candidates.unzip();
    Examples::cloze(
        table::frame_of(vec![
            column("example_id", ids),
            column("relation", relations),
            column("subject", asked),
            column("prompt", prompts),
            table::texts_column("golds", &golds),
            column("pool", pools),
        ])?,
        table::frame_of(vec![column("pool", pool), column("name", name)])?,
    )
}

/// Answers as a prober gives them, some without a rank.
fn predictions(n: u64) -> Result<DataFrame> {
    let column = |name: &str, value: &dyn Fn(u64) -> String| Series::new(name.into(), (0..n).map(value).collect::<Vec<_>>());
    let lists = |value: &dyn Fn(u64) -> Vec<String>| (0..n).map(value).collect::<Vec<_>>();
    table::frame_of(vec![
        column("example_id", &|row| format!("q{row}")),
        column("relation", &|row| if row % 3 == 0 { "treats" } else { "part of" }.to_owned()),
        column("subject", &|row| format!("subject {row}")),
        table::texts_column("golds", &lists(&|row| vec![format!("gold {row}")])),
        Series::new("rank".into(), (0..n).map(|row| (row % 5 != 4).then_some(row % 7 + 1)).collect::<Vec<_>>()),
        Series::new("n_candidates".into(), vec![10u64; usize::try_from(n).unwrap_or(0)]),
        table::texts_column("predictions", &lists(&|row| (0..10).map(|place| format!("candidate {row} {place}")).collect())),
        table::reals_column("scores", &(0..n).map(|_| (0..10).map(|place| f64::from(-place)).collect()).collect::<Vec<_>>()),
    ])
}

fn compute(metric: &dyn Metric, n: u64) -> Result<DataFrame> {
    let rows = metric.compute(&predictions(n)?, &cx())?;
    table::METRIC_ROWS.check(&rows, &metric.name())?;
    Ok(rows)
}

fn probe(prober: &dyn Prober) -> Result<DataFrame> {
    let examples = examples()?;
    let stub = Stub::new();
    let encoders: Vec<&dyn Encoder> = (0..prober.needs().encoders).map(|_| &stub as &dyn Encoder).collect();
    let answers = prober.probe(&encoders, &examples, &cx())?;
    check_predictions(&answers, &examples, "the prober")?;
    Ok(answers)
}

fn examples_of(task: &dyn Task) -> Result<()> {
    check_examples(&task.examples(&cx())?, "the task")
}

/// One step of training on a small encoder: what `prepare` gives, a batch of it, and its loss.
fn train_once(objective: &dyn Objective) -> Result<()> {
    let stub = Stub::new();
    let texts: Vec<String> = (0..12).map(|number| format!("sentence number {number} of a small corpus says that aspirin {number} treats fever")).collect();
    let source = objective.prepare(&Material::Texts(&texts), &stub, Seed(3))?;
    if source.is_empty() {
        return Err(Error::Unsupported("twelve sentences of twelve words left no example".into()));
    }
    let chosen: Vec<usize> = (0..source.len().min(4)).collect();
    let batch = source.batch(&chosen, Seed(4))?;
    let mut outputs = Vec::new();
    for (index, input) in batch.inputs.iter().enumerate() {
        outputs.push(stub.encode(input, &source.want(&batch, index, &stub.info)?, &cx())?);
    }
    let loss = source.loss(&outputs, &batch, &stub.info, None)?.to_scalar::<f32>()?;
    if loss.is_finite() { Ok(()) } else { Err(Error::Unsupported(format!("the loss is {loss}"))) }
}

const TEXTS: [&str; 5] = ["aspirin treats fever", "", "naïve  T cells — 37 °C", "a", "one two three four five six seven eight nine ten eleven twelve"];

fn tokenize(encoder: &dyn Encoder) -> Result<()> {
    let fail = |message: String| Err(Error::Unsupported(message));
    for limit in [None, Some(6)] {
        let tokens = encoder.tokenize(&TEXTS, Tokenization { max_length: limit, ..Tokenization::default() })?;
        if tokens.len() != TEXTS.len() {
            return fail(format!("{} sequences for {} texts", tokens.len(), TEXTS.len()));
        }
        if let Some(id) = tokens.ids.iter().find(|&&id| id as usize >= encoder.info().vocab) {
            return fail(format!("a token has the id {id}, and the vocabulary {} entries", encoder.info().vocab));
        }
        if limit.is_some() && !tokens.truncated[4] {
            return fail("a text of twelve words cut to 6 tokens is not marked as truncated".into());
        }
    }
    Ok(())
}

fn alone_and_together(encoder: &dyn Encoder) -> Result<()> {
    let info = encoder.info();
    let tokens = encoder.tokenize(&TEXTS, Tokenization::default())?;
    let filled: Vec<usize> = (0..tokens.len()).filter(|&at| tokens.sequence_len(at) > 0).collect();
    let together = tokens.select(&filled);
    let want = Want {
        hidden: (0..=info.layers).collect(),
        hidden_rows: TokenRows::All,
        attentions: info.heads > 0,
        pooled: info.pooler,
        mlm_logits: info.mlm_head.then_some(TokenRows::All),
        lm_logits: info.lm_head.then_some(TokenRows::All),
    };
    let all = encoder.encode(&together, &want, &cx())?;
    for at in 0..together.len() {
        let alone = encoder.encode(&together.select(&[at]), &want, &cx())?;
        let range = together.range(at);
        for ((layer, one), (_, many)) in alone.hidden.iter().zip(&all.hidden) {
            let many = many.narrow(0, range.start, range.len())?.to_vec2::<f32>()?;
            let differs = one.to_vec2::<f32>()?.iter().flatten().zip(many.iter().flatten()).any(|(a, b)| (a - b).abs() > 1e-4 * (1.0 + a.abs()));
            if differs {
                return Err(Error::Unsupported(format!("hidden state {layer} of a text depends on the texts beside it")));
            }
        }
    }
    Ok(())
}

/// A small encoder for the checks: words by their hash, every number from a hash of its place.
struct Stub {
    info: EncoderInfo,
}

impl Stub {
    const VOCAB: usize = 64;
    const HIDDEN: usize = 8;

    fn new() -> Self {
        let info = EncoderInfo {
            family: "check".into(),
            layers: 2,
            hidden: Self::HIDDEN,
            heads: 1,
            vocab: Self::VOCAB,
            max_length: 64,
            mask: Some(MaskToken { text: "[MASK]".into(), id: 2 }),
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
        Self { info }
    }

    fn values(ids: &[u32], layer: usize, width: usize) -> Vec<f32> {
        let value = |id: u32, at: usize| Seed(u64::from(id)).at((layer * 1000 + at) as u64).random().unit() * 2.0 - 1.0;
        #[expect(clippy::cast_possible_truncation, reason = "any number does")]
        ids.iter().flat_map(|&id| (0..width).map(move |at| value(id, at) as f32)).collect()
    }
}

impl Encoder for Stub {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn tokenize_pairs(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch> {
        let mut batch = TokenBatch::default();
        let limit = how.max_length.unwrap_or(64).clamp(2, 64);
        for (first, second) in texts {
            let words = first.split_whitespace().chain(second.unwrap_or_default().split_whitespace());
            let mut ids = vec![0];
            for word in words {
                ids.extend(self.pieces(word)?);
            }
            batch.truncated.push(ids.len() + 1 > limit);
            ids.truncate(limit - 1);
            ids.push(1);
            let n = ids.len();
            batch.special.extend((0..n).map(|at| at == 0 || at + 1 == n));
            batch.type_ids.extend(vec![0; n]);
            batch.word_ids.extend(vec![None; n]);
            batch.char_offsets.extend(vec![(0, 0); n]);
            batch.ids.extend(ids);
            batch.offsets.push(batch.ids.len());
        }
        Ok(batch)
    }

    fn token(&self, id: u32) -> Option<String> {
        ((id as usize) < Self::VOCAB).then(|| if id == 2 { "[MASK]".to_owned() } else { format!("w{id}") })
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let id = |word: &str| if word == "[MASK]" { 2 } else { 3 + word.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 61 };
        Ok(text.split_whitespace().map(id).collect())
    }

    fn encode(&self, tokens: &TokenBatch, want: &Want, _: &CallContext<'_>) -> Result<EncoderOutput> {
        let n = tokens.ids.len();
        let mut output = EncoderOutput::default();
        for &layer in &want.hidden {
            output.hidden.push((layer, Tensor::from_vec(Self::values(&tokens.ids, layer, Self::HIDDEN), (n, Self::HIDDEN), &Device::Cpu)?));
        }
        output.keep_rows(&want.hidden_rows)?;
        if want.pooled {
            let first: Vec<u32> = (0..tokens.len()).map(|at| tokens.ids[tokens.offsets[at]]).collect();
            output.pooled = Some(Tensor::from_vec(Self::values(&first, 9, Self::HIDDEN), (first.len(), Self::HIDDEN), &Device::Cpu)?);
        }
        if let Some(rows) = &want.mlm_logits {
            let ids: Vec<u32> = match rows {
                TokenRows::All => tokens.ids.clone(),
                TokenRows::At(rows) => rows.iter().map(|&row| tokens.ids[row]).collect(),
            };
            output.mlm_logits = Some(Tensor::from_vec(Self::values(&ids, 8, Self::VOCAB), (ids.len(), Self::VOCAB), &Device::Cpu)?);
        }
        if want.attentions {
            for _ in 0..self.info.layers {
                let block = (0..tokens.len()).map(|at| {
                    let length = tokens.sequence_len(at);
                    #[expect(clippy::cast_precision_loss, reason = "a short sequence")]
                    Tensor::full(1.0 / length as f32, (1, length, length), &Device::Cpu)
                });
                output.attentions.push(block.collect::<std::result::Result<_, _>>()?);
            }
        }
        Ok(output)
    }
}
