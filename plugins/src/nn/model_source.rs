//! A model folder whose configuration, tokenizer and tensor headers were read: what every family's [`EncoderSource`] is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use lmprobe_checkpoints::{Checkpoint, Format};
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Encoder, EncoderInfo, EncoderSource, Error, ModelReport, Problem, Result, Seed, TaskHead, TaskHeadInfo, Variable};
use rayon::prelude::*;

use super::blueprint::{Blueprint, Draw, Family, NetworkConfig, Parts, TensorSpec};
use super::compute::{Compute, Processor};
use super::gradient_sink::GradientSink;
use super::head_layout::{head_layout, stored_head};
use super::language_model::{LanguageModel, Network, Training};
use super::pre_norm::FinalNorm;
use super::tensorflow_names;
use super::tokenizer::{Casing, TextTokenizer};

/// Where weights come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Init {
    /// From the checkpoint in the folder.
    #[default]
    Pretrained,
    /// Drawn from the seed of the run as `config.json` says; the folder needs no weights.
    Random,
}

/// How a model folder is opened.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    /// The model folder.
    pub folder: PathBuf,
    /// Where the weights come from.
    pub init: Init,
    /// Whether texts are lower-cased.
    pub casing: Casing,
    /// Dropout rate in training; empty takes the rates of `config.json`.
    pub dropout: Option<f32>,
    /// Whether the last hidden state of a decoder is normalised.
    pub final_norm: FinalNorm,
    /// Where the network computes, and in what.
    pub compute: Compute,
}

impl ModelOptions {
    /// The weights and settings of the folder.
    pub fn of(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), init: Init::Pretrained, casing: Casing::Auto, dropout: None, final_norm: FinalNorm::Always, compute: Compute::default() }
    }
}

/// A tensor in the checkpoint.
struct Stored {
    /// Its name in the file.
    name: String,
    /// Its name in Hugging Face files, with the family's prefix if it has one here.
    modern: String,
    /// Whether the file holds it transposed because of its format.
    transposed: bool,
    /// Its shape as a Hugging Face file would have it.
    shape: Vec<usize>,
}

/// A model folder, not loaded.
pub struct ModelSource {
    family: &'static Family,
    options: ModelOptions,
    config_path: PathBuf,
    blueprint: Blueprint,
    parts: Parts,
    checkpoint: Option<Checkpoint>,
    /// What the checkpoint holds, by the network's own names.
    stored: BTreeMap<String, Stored>,
    info: EncoderInfo,
    report: ModelReport,
    /// The head for a task that the checkpoint holds, and the settings it was trained with.
    head: Option<StoredHead>,
}

/// A head for a task in a checkpoint, not loaded.
struct StoredHead {
    info: TaskHeadInfo,
    settings: Value,
    /// Its tensors by the network's own names, each with the name in a Hugging Face file.
    tensors: Vec<(String, String)>,
}

impl ModelSource {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// If a file is missing or malformed. That a checkpoint does not fit is not found here but by [`EncoderSource::check`].
    pub fn new(family: &'static Family, options: ModelOptions) -> Result<Self> {
        let folder = options.folder.clone();
        let config_path = config_path(&folder)?;
        let mut blueprint = (family.read)(&config_path, &std::fs::read(&config_path).map_err(Error::io(&config_path))?)?;
        if let Some(rate) = options.dropout {
            blueprint.network.set_dropout(rate);
        }
        if let NetworkConfig::PreNorm(config) = &mut blueprint.network {
            config.normalises_last = match options.final_norm {
                FinalNorm::Always => true,
                FinalNorm::Never => false,
                FinalNorm::AsHf4 => config.normalises_last,
            };
        }
        let tokenizer = TextTokenizer::of_folder(&folder, family.tokenizer, options.casing)?;
        let sizes = blueprint.network.sizes();
        if tokenizer.vocab > sizes.vocab {
            return Err(Error::model(
                &folder,
                format!("the tokenizer has {} entries and the model {}: they do not belong together", tokenizer.vocab, sizes.vocab),
            ));
        }
        let checkpoint = match options.init {
            Init::Random => None,
            Init::Pretrained => Some(Checkpoint::of_folder(&folder).map_err(|error| malformed(&error))?),
        };
        let stored = checkpoint.as_ref().map(|checkpoint| stored(&blueprint, checkpoint)).transpose()?.unwrap_or_default();
        let parts = match checkpoint {
            None => blueprint.drawn_parts(),
            Some(_) => blueprint.parts(&|name| stored.contains_key(name)),
        };
        let causal = matches!(blueprint.network, NetworkConfig::PreNorm(_));
        let mut warnings = tokenizer.warnings.clone();
        let head = if checkpoint.is_some() { find_head(&blueprint, parts, &read_config(&config_path)?, &stored, &mut warnings) } else { None };
        warnings.extend((family.review)(&blueprint, &tokenizer));
        let info = EncoderInfo {
            family: family.id.into(),
            layers: sizes.layers,
            hidden: sizes.hidden,
            heads: sizes.heads,
            vocab: sizes.vocab,
            max_length: blueprint.max_length,
            mask: tokenizer.mask.clone(),
            lowercase: tokenizer.lowercase,
            casing_source: tokenizer.casing_source.clone(),
            trainable: true,
            pooler: parts.pooler,
            mlm_head: parts.head && !causal,
            lm_head: parts.head && causal,
            task_head: head.as_ref().map(|head| head.info.clone()),
            causal,
            random_init: checkpoint.is_none(),
            dtype: options.compute.dtype,
            warnings,
        };
        let mut source = Self { family, options, config_path, blueprint, parts, checkpoint, stored, info, report: ModelReport::default(), head };
        source.report = source.fit(&tokenizer);
        Ok(source)
    }

    /// How what is stored fits what the network needs, judged by headers.
    fn fit(&self, tokenizer: &TextTokenizer) -> ModelReport {
        let specs = self.blueprint.tensors(self.parts);
        let mut report = ModelReport { folder: self.options.folder.clone(), ..ModelReport::default() };
        report.parameters = specs.iter().map(|spec| spec.shape.iter().product::<usize>() as u64).sum();
        report.files.push(self.config_path.clone());
        report.files.extend(tokenizer.files().iter().cloned());
        let Some(checkpoint) = &self.checkpoint else { return report };
        report.format = checkpoint.format().to_string();
        report.files.extend(checkpoint.files().iter().cloned());
        let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
        for entry in checkpoint.entries().values() {
            *dtypes.entry(entry.dtype.to_string()).or_default() += 1;
        }
        report.dtypes = dtypes.into_iter().collect();
        let needed: BTreeMap<&str, &TensorSpec> = specs.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let of_head = |own: &str| self.head.as_ref().is_some_and(|head| head.tensors.iter().any(|(name, _)| name == own));
        let used = |own: &str| needed.contains_key(own) || of_head(own) || (self.blueprint.tied && self.parts.head && own == self.blueprint.files.decoder);
        let unused: Vec<(&String, &Stored)> = self.stored.iter().filter(|(own, _)| !used(own) && !self.blueprint.is_buffer(own)).collect();
        report.unused = unused.iter().map(|(_, stored)| stored.name.clone()).collect();
        for spec in &specs {
            match self.stored.get(&spec.name) {
                None => report.missing.push((spec.name.clone(), self.near(&spec.name, &unused))),
                Some(stored) if stored.shape != spec.stored_shape() => {
                    report.misshapen.push((stored.name.clone(), stored.shape.clone(), spec.stored_shape()));
                }
                Some(_) => {}
            }
        }
        report
    }

    /// The stored name most similar to one that is missing: one that nothing uses, if any is similar at all.
    fn near(&self, missing: &str, unused: &[(&String, &Stored)]) -> Option<String> {
        let own =
            lmprobe_checkpoints::nearest(missing, unused.iter().map(|(own, _)| *own)).or_else(|| lmprobe_checkpoints::nearest(missing, self.stored.keys()))?;
        self.stored.get(&own).map(|stored| stored.name.clone())
    }

    /// The values of a tensor as a Hugging Face file would hold them.
    fn values(&self, stored: &Stored) -> Result<Vec<f32>> {
        let checkpoint = self.checkpoint.as_ref().expect("a name is only known from a checkpoint");
        let values = checkpoint.read_f32(&stored.name).map_err(|error| malformed(&error))?;
        Ok(if stored.transposed { transpose(&values, stored.shape[1], stored.shape[0]) } else { values })
    }

    fn read_weight(&self, spec: &TensorSpec, device: &Device) -> Result<Var> {
        let stored = self.stored.get(&spec.name).expect("every tensor was checked to be there");
        let mut values = self.values(stored)?;
        if spec.transposed {
            values = transpose(&values, stored.shape[0], stored.shape[1]);
        }
        Ok(Var::from_vec(values, spec.shape.as_slice(), device)?)
    }

    /// A weight of the checkpoint, or drawn where there is none.
    fn weight(&self, spec: &TensorSpec, seed: Seed, device: &Device) -> Result<Var> {
        if self.checkpoint.is_some() { self.read_weight(spec, device) } else { self.draw_weight(spec, seed, device) }
    }

    /// Draws a weight as `transformers` initialises the family.
    fn draw_weight(&self, spec: &TensorSpec, seed: Seed, device: &Device) -> Result<Var> {
        let n: usize = spec.shape.iter().product();
        let mut values = match spec.draw {
            Draw::Zeros => vec![0.0; n],
            Draw::Ones => vec![1.0; n],
            Draw::Normal(share) => {
                let mut random = seed.child(&spec.name).random();
                #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
                let draw = || (random.normal() * self.blueprint.initializer_range * share) as f32;
                std::iter::repeat_with(draw).take(n).collect()
            }
        };
        if let Some(row) = spec.zero_row {
            let width = spec.shape[1];
            values[row * width..(row + 1) * width].fill(0.0);
        }
        Ok(Var::from_vec(values, spec.shape.as_slice(), device)?)
    }

    /// The head for a task that the checkpoint holds.
    fn read_head(&self) -> Result<Option<TaskHead>> {
        let Some(head) = &self.head else { return Ok(None) };
        let read = |(own, name): &(String, String)| -> Result<(String, Tensor)> {
            let stored = self.stored.get(own).expect("a head is only known from its tensors");
            Ok((name.clone(), Tensor::from_vec(self.values(stored)?, stored.shape.as_slice(), &Device::Cpu)?))
        };
        let tensors = head.tensors.iter().map(read).collect::<Result<_>>()?;
        Ok(Some(TaskHead { info: head.info.clone(), settings: head.settings.clone(), tensors }))
    }

    /// A warning if the checkpoint has a decoder of its own that tying it to the word embeddings leaves unused.
    fn ignored_decoder(&self, word: &Tensor) -> Result<Option<String>> {
        let files = self.blueprint.files;
        let Some(stored) = self.stored.get(files.decoder).filter(|_| self.blueprint.tied && self.parts.head) else {
            return Ok(None);
        };
        let decoder = self.values(stored)?;
        let same = super::values::with(&word.to_device(&Device::Cpu)?, |word| Ok(word == decoder.as_slice()))?;
        Ok((!same).then(|| {
            format!(
                "{}: the checkpoint's `{}` differs from its word embeddings, but `config.json` ties the two: the word embeddings are used, as transformers does \
                 (set `tie_word_embeddings: false` there to use the decoder)",
                self.options.folder.display(),
                files.decoder
            )
        }))
    }
}

impl EncoderSource for ModelSource {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn report(&self) -> &ModelReport {
        &self.report
    }

    fn decided(&self) -> Vec<(&'static str, Value)> {
        let Compute { dtype, device } = self.options.compute;
        vec![("dtype", serde_json::json!(dtype)), ("device", device.to_string().into())]
    }

    fn load(&self, seed: Seed) -> Result<Box<dyn Encoder>> {
        self.check()?;
        let precision = self.options.compute.precision();
        let device = self.options.compute.device.open()?;
        let specs = self.blueprint.tensors(self.parts);
        let weights: Vec<Var> = specs.par_iter().map(|spec| self.weight(spec, seed, &device)).collect::<Result<_>>()?;
        let (mut tracked, mut detached) = (BTreeMap::new(), BTreeMap::new());
        let mut variables = Vec::with_capacity(specs.len());
        for (spec, var) in specs.iter().zip(weights) {
            tracked.insert(spec.name.clone(), var.as_tensor().clone());
            detached.insert(spec.name.clone(), var.as_detached_tensor());
            variables.push(Variable { name: spec.name.clone(), is_bias_or_norm: spec.is_bias_or_norm(), var });
        }
        let sink = GradientSink::new(&variables);
        let mut info = self.info.clone();
        info.warnings.extend(self.ignored_decoder(&detached[self.blueprint.files.word])?);
        Ok(Box::new(LanguageModel {
            info,
            config_path: self.config_path.clone(),
            tokenizer: TextTokenizer::of_folder(&self.options.folder, self.family.tokenizer, self.options.casing)?,
            network: Network::new(&self.blueprint, self.parts, precision, &detached, None)?,
            training: Some(Training {
                tracked: Network::new(&self.blueprint, self.parts, precision, &tracked, Some(&sink))?,
                gradients: sink.gradients().clone(),
                variables,
            }),
            blueprint: self.blueprint.clone(),
            parts: self.parts,
            specs,
            task_head: self.read_head()?,
            dropout: self.options.dropout,
        }))
    }

    fn check_head(&self, problem: Problem) -> Result<()> {
        // The configuration has rates of dropout only, which decide nothing here.
        head_layout(&self.blueprint, self.parts, &Value::Null, self.options.dropout, problem).map(drop)
    }

    /// On the CPU the weights of blocks are packed one block after another and not kept in any other form.
    fn load_for_inference(&self, seed: Seed) -> Result<Box<dyn Encoder>> {
        self.check()?;
        let specs = self.blueprint.tensors(self.parts);
        let device = self.options.compute.device;
        let packs = device == Processor::Cpu;
        let device = device.open()?;
        let block = format!("{}.", self.blueprint.network.block_name());
        let outside: Vec<&TensorSpec> = specs.iter().filter(|spec| !packs || !spec.name.starts_with(&block)).collect();
        let tensors: Vec<(String, Tensor)> =
            outside.par_iter().map(|spec| Ok((spec.name.clone(), self.weight(spec, seed, &device)?.as_detached_tensor()))).collect::<Result<_>>()?;
        let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
        let mut info = self.info.clone();
        info.warnings.extend(self.ignored_decoder(&tensors[self.blueprint.files.word])?);
        let by_name: BTreeMap<&str, &TensorSpec> = specs.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let read = |name: &str| {
            let spec = by_name.get(name).ok_or_else(|| Error::Unsupported(format!("tensor `{name}` is missing")))?;
            Ok(self.weight(spec, seed, &device)?.as_detached_tensor())
        };
        let network = if packs {
            Network::packed(&self.blueprint, self.parts, self.options.compute.precision(), &tensors, &read)?
        } else {
            Network::new(&self.blueprint, self.parts, self.options.compute.precision(), &tensors, None)?
        };
        let tokenizer = TextTokenizer::of_folder(&self.options.folder, self.family.tokenizer, self.options.casing)?;
        let (config_path, blueprint) = (self.config_path.clone(), self.blueprint.clone());
        let (task_head, dropout) = (self.read_head()?, self.options.dropout);
        Ok(Box::new(LanguageModel { info, config_path, tokenizer, network, training: None, blueprint, parts: self.parts, specs, task_head, dropout }))
    }

    fn at(&self, folder: &Path) -> Result<Box<dyn EncoderSource>> {
        // A saved tokenizer says whether it lower-cases.
        let options = ModelOptions { folder: folder.to_owned(), init: Init::Pretrained, casing: Casing::Auto, ..self.options.clone() };
        let source = Self::new(self.family, options)?;
        source.check()?;
        Ok(Box::new(source))
    }

    fn export(&self, folder: &Path) -> Result<()> {
        if self.checkpoint.is_none() {
            return Err(Error::Config("weights that are drawn from a seed cannot be exported: there is no checkpoint".into()));
        }
        let mut tensors: Vec<(String, &Stored)> = Vec::new();
        for (own, stored) in self.stored.iter().filter(|(own, _)| !self.blueprint.is_buffer(own)) {
            // What is tied to the word embeddings is stored once.
            let repeats = self.blueprint.tied && own == self.blueprint.files.decoder;
            if !repeats {
                tensors.push((own.clone(), stored));
            }
        }
        let network: BTreeSet<String> = self.blueprint.tensors(self.parts).into_iter().map(|spec| spec.name).collect();
        let is_own = |own: &str, stored: &Stored| stored.modern.starts_with(self.blueprint.files.prefix) || network.contains(own);
        let has_more = tensors.iter().any(|(own, stored)| own.starts_with(self.blueprint.files.head) || !is_own(own, stored)) || self.parts.head;
        let named: Vec<(String, &Stored)> =
            tensors.into_iter().map(|(own, stored)| (if is_own(&own, stored) { self.blueprint.stored_name(&own, has_more) } else { own }, stored)).collect();
        write_tensors(&folder.join("model.safetensors"), named.iter().map(|(name, stored)| (name.clone(), stored.shape.clone())).collect(), &|index| {
            self.values(named[index].1)
        })?;
        write_config(&self.config_path, &folder.join("config.json"), |config| {
            let class = if self.parts.head { self.blueprint.files.classes.1 } else { self.blueprint.files.classes.0 };
            if config.get("architectures").is_none_or(Value::is_null) {
                config["architectures"] = serde_json::json!([class]);
            }
            if config.get("model_type").is_none() {
                config["model_type"] = Value::String("bert".into());
            }
        })?;
        TextTokenizer::of_folder(&self.options.folder, self.family.tokenizer, self.options.casing)?.save(folder)
    }
}

/// The configuration of a model folder: `config.json`, or `bert_config.json` as the first releases of BERT have it.
fn config_path(folder: &Path) -> Result<PathBuf> {
    let names = ["config.json", "bert_config.json"];
    names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::model(folder.join(names[0]), "the model folder has no `config.json`"))
}

/// The head for a task that a checkpoint holds. A class name that promises one which is not there is a warning.
fn find_head(blueprint: &Blueprint, parts: Parts, config: &Value, stored: &BTreeMap<String, Stored>, warnings: &mut Vec<String>) -> Option<StoredHead> {
    let info = stored_head(&blueprint.architectures, config)?;
    let layout = head_layout(blueprint, parts, config, None, info.problem).ok()?;
    let mut names: Vec<String> = layout.dense.iter().flat_map(|(name, _)| [format!("{name}.weight"), format!("{name}.bias")]).collect();
    names.push(format!("{}.weight", layout.output));
    names.extend(layout.bias.then(|| format!("{}.bias", layout.output)));
    let tensors: Vec<(String, String)> = names.into_iter().map(|name| (blueprint.own_name(&name), name)).collect();
    if let Some((_, name)) = tensors.iter().find(|(own, _)| !stored.contains_key(own)) {
        warnings.push(format!("`config.json` calls the checkpoint a {}, but it holds no `{name}`: it has no head for a task", blueprint.architectures[0]));
        return None;
    }
    Some(StoredHead { info, settings: config["lmprobe"]["settings"].clone(), tensors })
}

/// What the checkpoint holds by the network's own names. Where one tensor is stored under two names, the one that is the network's own counts.
fn stored(blueprint: &Blueprint, checkpoint: &Checkpoint) -> Result<BTreeMap<String, Stored>> {
    let mut found: BTreeMap<String, Stored> = BTreeMap::new();
    let mut aliased = Vec::new();
    for (name, entry) in checkpoint.entries() {
        let (modern, transposed) = if checkpoint.format() == Format::TensorFlow { tensorflow_names::translate(name) } else { (name.clone(), false) };
        if transposed && entry.shape.len() != 2 {
            return Err(Error::model(
                checkpoint.file_of(name).unwrap_or(Path::new("")),
                format!("kernel `{name}` has shape {:?}, not two dimensions", entry.shape),
            ));
        }
        let shape = if transposed { entry.shape.iter().rev().copied().collect() } else { entry.shape.clone() };
        let own = blueprint.own_name(&modern);
        let stored = Stored { name: name.clone(), modern, transposed, shape };
        if let Some((_, canonical)) = blueprint.files.aliases.iter().find(|(alias, _)| *alias == own) {
            aliased.push(((*canonical).to_owned(), stored));
            continue;
        }
        if let Some(other) = found.get(&own) {
            let path = checkpoint.file_of(name).unwrap_or(Path::new(""));
            return Err(Error::model(path, format!("tensors `{}` and `{name}` both stand for `{own}`", other.name)));
        }
        found.insert(own, stored);
    }
    for (canonical, stored) in aliased {
        found.entry(canonical).or_insert(stored);
    }
    Ok(found)
}

/// The transpose of a row-major matrix.
pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut transposed = vec![0.0; values.len()];
    // Square tiles: both sides stay in the cache.
    for row_tile in (0..rows).step_by(32) {
        for column_tile in (0..columns).step_by(32) {
            for row in row_tile..(row_tile + 32).min(rows) {
                for column in column_tile..(column_tile + 32).min(columns) {
                    transposed[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    transposed
}

fn malformed(error: &lmprobe_checkpoints::Error) -> Error {
    Error::model(error.path(), error.message())
}

/// Streams tensors into a safetensors file, one at a time.
pub(super) fn write_tensors(path: &Path, tensors: Vec<(String, Vec<usize>)>, values: &dyn Fn(usize) -> Result<Vec<f32>>) -> Result<()> {
    let read = |index: usize| move || values(index).map_err(|error| lmprobe_checkpoints::Error::new(path, error.to_string()));
    let readers: Vec<_> = (0..tensors.len()).map(read).collect();
    let tensors: Vec<_> = tensors.into_iter().zip(&readers).map(|((name, shape), read)| (name, shape, read as lmprobe_checkpoints::ReadValues<'_>)).collect();
    lmprobe_checkpoints::write_safetensors(path, &tensors).map_err(|error| malformed(&error))
}

/// A configuration as it stands in the file.
pub(super) fn read_config(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Copies a configuration with changes.
pub(super) fn write_config(from: &Path, to: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut config = read_config(from)?;
    change(&mut config);
    std::fs::write(to, format!("{config:#}\n")).map_err(Error::io(to))
}
