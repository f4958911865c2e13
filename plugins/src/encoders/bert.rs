//! The encoder `bert`: any BERT folder in Hugging Face layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{
    Build, BuildContext, CallContext, Encoder, EncoderInfo, EncoderOutput, EncoderSource, Error, ExistingFolder, Registration, Result, Seed, TokenBatch,
    Tokenization, Trainable, Variable, Want, inventory, schema_of,
};

use crate::nn::bert_model::{BertConfig, BertModel};
use crate::nn::tokenizer::{Casing, TextTokenizer};
use crate::nn::weights::{self, Header};

inventory::submit! {
    Registration {
        id: "bert",
        version: 1,
        build: Build::Encoder(build),
        summary: "BERT and every checkpoint with its architecture, read from a Hugging Face folder",
        manual: MANUAL,
        schema: schema_of::<BertParams>,
        families: &["bert"],
        recipe: None,
        file: file!(),
        line: line!(),
    }
}

const MANUAL: &str = "\
## What it does

Runs BERT: hidden states of every layer, attention probabilities, pooler output and masked-language-model logits. It can be trained.

## How

The folder holds `config.json`, `model.safetensors` and a tokenizer (`tokenizer.json`, or `vocab.txt` with or without
`tokenizer_config.json`). Names may carry the prefix `bert.` or not, and layer normalisations may be called `gamma` and `beta`. A
head tied to the word embeddings is filled in. A tensor that is needed and missing is an error that names it.

Batches are packed: no padding takes part, so no number depends on it.

## Example

```yaml
encoders:
  - models/BiomedNLP-PubMedBERT
  - {use: bert, name: BioBERT, model: models/biobert-v1.1, casing: cased}
```

## Reference

Devlin et al. 2019, arXiv:1810.04805. `transformers/models/bert/modeling_bert.py`.
";

/// Parameters of the encoder `bert`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct BertParams {
    /// The model folder.
    pub model: ExistingFolder,
    /// Where the weights come from.
    #[serde(default)]
    pub init: Init,
    /// Whether texts are lower-cased.
    #[serde(default)]
    pub casing: Casing,
    /// Dropout rate in training, for embeddings, blocks and attention alike; empty takes the rates of `config.json`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: Option<f32>,
}

/// Where weights come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Init {
    /// From `model.safetensors`.
    #[default]
    Pretrained,
    /// Drawn from the seed of the run as `config.json` says; the folder needs no weights.
    Random,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    Ok(Arc::new(BertSource::new(serde_json::from_value(params)?)?))
}

/// A BERT folder whose configuration, tokenizer and header were read.
pub struct BertSource {
    params: BertParams,
    config: BertConfig,
    info: EncoderInfo,
}

impl BertSource {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// If a file is missing or malformed.
    pub fn new(params: BertParams) -> Result<Self> {
        let folder = params.model.as_ref();
        let mut config = BertConfig::read(&folder.join("config.json"))?;
        if let Some(rate) = params.dropout {
            (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (rate, rate);
        }
        let tokenizer = TextTokenizer::of_folder(folder, params.casing)?;
        let (pooler, mlm_head) = match params.init {
            Init::Random => (false, config.architectures.iter().flatten().any(|name| name == "BertForMaskedLM")),
            Init::Pretrained => {
                let header = Header::of_folder(folder)?;
                let has = |wanted: &str| header.shapes.keys().any(|name| canonical(name) == wanted);
                (has("pooler.dense.weight"), has("cls.predictions.transform.dense.weight"))
            }
        };
        if tokenizer.vocab > config.vocab_size {
            return Err(Error::model(
                folder,
                format!("the tokenizer has {} entries and the model {}: they do not belong together", tokenizer.vocab, config.vocab_size),
            ));
        }
        let info = EncoderInfo {
            family: "bert".into(),
            layers: config.num_hidden_layers,
            hidden: config.hidden_size,
            heads: config.num_attention_heads,
            vocab: config.vocab_size,
            max_length: config.max_position_embeddings,
            mask: tokenizer.mask.clone(),
            lowercase: tokenizer.lowercase,
            casing_source: tokenizer.casing_source.clone(),
            pooler,
            mlm_head,
            random_init: params.init == Init::Random,
            warnings: tokenizer.warnings,
        };
        Ok(Self { params, config, info })
    }

    fn folder(&self) -> &Path {
        self.params.model.as_ref()
    }

    /// Reads the weights under their canonical names and checks that all are there in the right shape.
    fn read_weights(&self, shapes: &[(String, Vec<usize>)]) -> Result<BTreeMap<String, Tensor>> {
        let path = self.folder().join("model.safetensors");
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, tensor) in weights::read(&path)? {
            tensors.insert(canonical(&name), tensor);
        }
        // Either alias of the head's bias may be the one that was stored.
        if !tensors.contains_key("cls.predictions.bias")
            && let Some(bias) = tensors.get("cls.predictions.decoder.bias").cloned()
        {
            tensors.insert("cls.predictions.bias".into(), bias);
        }
        let missing: Vec<String> = shapes.iter().map(|(name, _)| name).filter(|name| !tensors.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            let near = weights::nearest(&missing[0], tensors.keys());
            return Err(Error::MissingTensors { path, names: missing, near });
        }
        for (name, shape) in shapes {
            if tensors[name].dims() != shape {
                return Err(Error::model(&path, format!("tensor `{name}` has shape {:?}, `config.json` says {shape:?}", tensors[name].dims())));
            }
        }
        Ok(tensors)
    }

    /// A warning if the checkpoint has a decoder of its own that tying it to the word embeddings leaves unused.
    fn ignored_decoder(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Option<String>> {
        let (Some(decoder), Some(word)) = (tensors.get("cls.predictions.decoder.weight"), tensors.get("embeddings.word_embeddings.weight")) else {
            return Ok(None);
        };
        let tied = self.config.tie_word_embeddings && self.info.mlm_head;
        let same = decoder.dims() == word.dims() && decoder.ne(word)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()? == 0;
        Ok((tied && !same).then(|| {
            format!(
                "{}: the checkpoint's `cls.predictions.decoder.weight` differs from its word embeddings, but `config.json` ties the two: the word embeddings are used, as \
                 transformers does (set `tie_word_embeddings: false` there to use the decoder)",
                self.folder().display()
            )
        }))
    }

    /// Draws weights as `transformers` initialises BERT: normal matrices, zero biases, unit gains, a zero row for padding.
    fn draw_weights(&self, shapes: &[(String, Vec<usize>)], seed: Seed) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes {
            let n = shape.iter().product();
            let mut values = if is_bias_or_norm(name) {
                vec![if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 }; n]
            } else {
                let mut random = seed.child(name).random();
                #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
                let draw = || (random.normal() * self.config.initializer_range) as f32;
                std::iter::repeat_with(draw).take(n).collect()
            };
            if let (true, Some(row)) = (name == "embeddings.word_embeddings.weight", self.config.pad_token_id) {
                let width = self.config.hidden_size;
                values[row * width..(row + 1) * width].fill(0.0);
            }
            tensors.insert(name.clone(), Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)?);
        }
        Ok(tensors)
    }
}

impl EncoderSource for BertSource {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn load(&self, seed: Seed) -> Result<Box<dyn Encoder>> {
        let shapes = self.config.shapes(self.info.pooler, self.info.mlm_head);
        let mut tensors = match self.params.init {
            Init::Pretrained => self.read_weights(&shapes)?,
            Init::Random => self.draw_weights(&shapes, seed)?,
        };
        let mut info = self.info.clone();
        info.warnings.extend(self.ignored_decoder(&tensors)?);
        let mut variables = Vec::with_capacity(shapes.len());
        let (mut tracked, mut detached) = (BTreeMap::new(), BTreeMap::new());
        for (name, _) in shapes {
            let tensor = tensors.remove(&name).expect("every tensor was checked to be there");
            let var = Var::from_tensor(&tensor)?;
            tracked.insert(name.clone(), var.as_tensor().clone());
            detached.insert(name.clone(), var.as_detached_tensor());
            variables.push(Variable { is_bias_or_norm: is_bias_or_norm(&name), name, var });
        }
        Ok(Box::new(Bert {
            info,
            config_path: self.folder().join("config.json"),
            tokenizer: TextTokenizer::of_folder(self.folder(), self.params.casing)?,
            tracked: BertModel::new(&self.config, &tracked)?,
            detached: BertModel::new(&self.config, &detached)?,
            variables,
        }))
    }

    fn at(&self, folder: &Path) -> Result<Box<dyn EncoderSource>> {
        let params = BertParams { model: ExistingFolder(folder.to_owned()), init: Init::Pretrained, casing: Casing::Auto, dropout: self.params.dropout };
        Ok(Box::new(Self::new(params)?))
    }
}

/// The name without the `bert.` prefix, with layer normalisations called as they are today.
fn canonical(name: &str) -> String {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    match name.rsplit_once('.') {
        Some((stem, "gamma")) => format!("{stem}.weight"),
        Some((stem, "beta")) => format!("{stem}.bias"),
        _ => name.to_owned(),
    }
}

fn is_bias_or_norm(name: &str) -> bool {
    name.rsplit('.').next() == Some("bias") || name.ends_with("LayerNorm.weight")
}

/// BERT, loaded.
struct Bert {
    info: EncoderInfo,
    config_path: PathBuf,
    tokenizer: TextTokenizer,
    /// The network on the variables: its outputs carry the graph.
    tracked: BertModel,
    /// The same storage without a graph, for inference.
    detached: BertModel,
    variables: Vec<Variable>,
}

impl Encoder for Bert {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn tokenize(&self, texts: &[&str], how: Tokenization) -> Result<TokenBatch> {
        let texts: Vec<(&str, Option<&str>)> = texts.iter().map(|text| (*text, None)).collect();
        self.tokenizer.encode(&texts, how, self.info.max_length)
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.pieces(text)
    }

    fn encode(&self, tokens: &TokenBatch, want: &Want, _: &CallContext<'_>) -> Result<EncoderOutput> {
        self.detached.forward(tokens, want, None)
    }

    fn trainable(&self) -> Option<&dyn Trainable> {
        Some(self)
    }
}

impl Trainable for Bert {
    fn variables(&self) -> Vec<Variable> {
        self.variables.clone()
    }

    fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        self.tracked.forward(tokens, want, dropout)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        // `transformers` prefixes the network's names where a head stands beside it.
        let prefix = if self.info.mlm_head { "bert." } else { "" };
        let named = |name: &str| if name.starts_with("cls.") { name.to_owned() } else { format!("{prefix}{name}") };
        let tensors = self.variables.iter().map(|variable| (named(&variable.name), variable.var.as_detached_tensor())).collect();
        weights::write(&folder.join("model.safetensors"), &tensors)?;
        let bytes = std::fs::read(&self.config_path).map_err(Error::io(&self.config_path))?;
        let mut config: Value = serde_json::from_slice(&bytes)?;
        config["architectures"] = serde_json::json!([if self.info.mlm_head { "BertForMaskedLM" } else { "BertModel" }]);
        let path = folder.join("config.json");
        std::fs::write(&path, format!("{config:#}\n")).map_err(Error::io(&path))?;
        self.tokenizer.save(folder)
    }
}
