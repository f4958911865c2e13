//! The encoder `bert`: BERT and every checkpoint with its architecture.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, Error, ModelFolder, Origin, Registration, Result, inventory, schema_of};

use crate::nn::blueprint::{Blueprint, Family, FileNames, NetworkConfig, activation, check_config, parse_config};
use crate::nn::compute::{Compute, DtypeChoice, cpu};
use crate::nn::head_layout::HeadFamily;
use crate::nn::model_source::{Init, ModelOptions, ModelSource};
use crate::nn::post_norm::{PostNormConfig, PostNormNames};
use crate::nn::pre_norm::FinalNorm;
use crate::nn::tokenizer::{Casing, TokenizerKind};

inventory::submit! {
    Registration {
        id: "bert",
        version: 2,
        build: Build::Encoder(&build),
        summary: "BERT and every checkpoint with its architecture",
        manual: MANUAL,
        schema: &schema_of::<BertParams>,
        families: &["bert"],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs BERT: hidden states of every layer, attention probabilities, pooler output and masked-language-model logits. It can be trained.

## How

The folder holds `config.json` (or the `bert_config.json` of a TensorFlow release), weights and a tokenizer (`tokenizer.json`, or
`vocab.txt` with or without `tokenizer_config.json`). Weights are taken from the first of these that is there: `model.safetensors`, its shards,
`pytorch_model.bin` (read as data, nothing in it is executed), its shards, a TensorFlow checkpoint (`*.ckpt*.index` with its data). Names may carry the
prefix `bert.` or not, and layer normalisations may be called `gamma` and `beta`. A head tied to the word embeddings is filled in. A
tensor that is needed and missing is an error that names it; `lmprobe describe model` lists what is missing and what is not used.

Hidden state 0 is the output of the embeddings, the last one that of the last block. Batches are packed: no padding takes part, so no number
depends on it.

`dtype: bf16` rounds inputs and weights of the linear layers inside the blocks to bfloat16, which has 8 significant bits; sums and everything else stay `f32`. It
saves time where the processor multiplies bfloat16 itself (`lmprobe doctor` says so); `auto` takes it there and `f32` elsewhere. Report numbers
in `f32`, the default. What `auto` came to is in the manifest and part of every job's identity, so results are never shared between the two. Training
rounds the same inputs, the weights and the gradients that are multiplied; the weights that are updated stay `f32`.

`device: cuda` or `metal` runs the network on a graphics processor, in `f32`, in a program built with that feature (`cargo install --path . --features cuda`). Numbers
differ from those of the CPU in their last bits, may depend on the batch there, and a training there need not repeat to the last bit.

## Example

```yaml
encoders:
  - models/BiomedNLP-PubMedBERT
  - {use: bert, name: PubMedBERT-bf16, model: models/BiomedNLP-PubMedBERT, dtype: auto}
  - {use: bert, name: SciBERT, model: models/scibert_scivocab_cased, casing: cased}
```

## Reference

Devlin et al. 2019, arXiv:1810.04805. `transformers/models/bert/modeling_bert.py`.
";

/// Parameters of the encoder `bert`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct BertParams {
    /// The model: a folder, or a hub id such as `org/name@revision`.
    pub model: ModelFolder,
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
    /// What the linear layers of the blocks compute in: `f32` for numbers that are reported; `bf16` rounds their inputs and weights to bfloat16, sums and
    /// everything else stay `f32`; `auto` is `bf16` where the processor multiplies bfloat16 itself, else `f32`.
    #[serde(default)]
    pub dtype: DtypeChoice,
    /// Where it computes: `cpu`, `cuda` (the first NVIDIA graphics card), `cuda:N`, or `metal`. All but `cpu` take a program built with the feature of that
    /// name, and compute in `f32`.
    #[serde(default = "cpu")]
    #[schemars(regex(pattern = "^(cpu|cuda(:[0-9]+)?|metal)$"))]
    pub device: String,
}

impl BertParams {
    /// How the folder is opened.
    ///
    /// # Errors
    /// As [`Compute::decide`].
    pub fn options(self) -> Result<ModelOptions> {
        let Self { model, init, casing, dropout, dtype, device } = self;
        let compute = Compute::decide(dtype, &device)?;
        Ok(ModelOptions { folder: model.0, init, casing, dropout, final_norm: FinalNorm::Always, compute })
    }
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let params: BertParams = serde_json::from_value(params)?;
    Ok(Arc::new(ModelSource::new(&BERT, params.options()?)?))
}

/// BERT.
pub static BERT: Family = Family { id: "bert", tokenizer: TokenizerKind::WordPiece, read, review: |_, _| Vec::new() };

static FILES: FileNames = FileNames {
    prefix: "bert.",
    head: "cls.",
    head_marker: Some("cls.predictions.transform.dense.weight"),
    decoder: "cls.predictions.decoder.weight",
    word: "embeddings.word_embeddings.weight",
    aliases: &[("cls.predictions.decoder.bias", "cls.predictions.bias")],
    buffers: &["position_ids", "embeddings.token_type_ids"],
    classes: ("BertModel", "BertForMaskedLM"),
    heads: HeadFamily::Bert,
};

/// Names that BERT and RoBERTa share.
pub(super) const BLOCK_NAMES: PostNormNames = PostNormNames {
    block: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
    head_dense: "cls.predictions.transform.dense",
    head_norm: "cls.predictions.transform.LayerNorm",
    head_bias: "cls.predictions.bias",
    decoder: "cls.predictions.decoder.weight",
};

/// `config.json` of BERT and RoBERTa.
#[derive(Debug, Clone, Deserialize)]
#[serde(crate = "lmprobe_core::serde")]
pub(super) struct BertConfig {
    pub(super) vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "tenth")]
    hidden_dropout_prob: f32,
    #[serde(default = "tenth")]
    attention_probs_dropout_prob: f32,
    pub(super) max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: Option<usize>,
    #[serde(default)]
    layer_norm_eps: Option<f32>,
    #[serde(default = "initializer_range")]
    initializer_range: f64,
    #[serde(default)]
    pub(super) pad_token_id: Option<usize>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    architectures: Option<Vec<String>>,
}

pub(super) fn gelu() -> String {
    "gelu".into()
}
pub(super) fn tenth() -> f32 {
    0.1
}
pub(super) fn initializer_range() -> f64 {
    0.02
}
pub(super) fn yes() -> bool {
    true
}

impl BertConfig {
    /// The network and its files. `first_position` is the position row of a first token.
    pub(super) fn blueprint(
        self,
        path: &Path,
        files: &'static FileNames,
        names: &'static PostNormNames,
        first_position: usize,
        head_activation: Option<&str>,
    ) -> Result<Blueprint> {
        // TensorFlow releases that do not say mean 16 segments, transformers means 2.
        let token_types = self.type_vocab_size.unwrap_or(if path.ends_with("bert_config.json") { 16 } else { 2 });
        check_config(
            path,
            &[
                ("vocab_size", self.vocab_size),
                ("num_hidden_layers", self.num_hidden_layers),
                ("intermediate_size", self.intermediate_size),
                ("max_position_embeddings", self.max_position_embeddings),
                ("type_vocab_size", token_types),
            ],
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            &[("hidden_dropout_prob", self.hidden_dropout_prob), ("attention_probs_dropout_prob", self.attention_probs_dropout_prob)],
        )?;
        if let Some(kind) = self.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return Err(Error::data(path, None, format!("`position_embedding_type` {kind:?} is not supported; `absolute` is")));
        }
        if self.is_decoder {
            return Err(Error::data(path, None, "`is_decoder` is true: BERT as a decoder is not supported"));
        }
        if first_position >= self.max_position_embeddings {
            return Err(Error::data(path, None, format!("`max_position_embeddings` {} leaves no room behind `pad_token_id`", self.max_position_embeddings)));
        }
        let activation_of = |name: &str| activation(path, "hidden_act", name);
        let network = PostNormConfig {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            intermediate: self.intermediate_size,
            positions: self.max_position_embeddings,
            first_position,
            token_types,
            padding: self.pad_token_id,
            activation: activation_of(&self.hidden_act)?,
            head_activation: activation_of(head_activation.unwrap_or(&self.hidden_act))?,
            eps: self.layer_norm_eps.unwrap_or(1e-12),
            hidden_dropout: self.hidden_dropout_prob,
            attention_dropout: self.attention_probs_dropout_prob,
            drops_attention_output: true,
            names,
        };
        Ok(Blueprint {
            network: NetworkConfig::PostNorm(network),
            files,
            max_length: self.max_position_embeddings - first_position,
            tied: self.tie_word_embeddings,
            initializer_range: self.initializer_range,
            architectures: self.architectures.unwrap_or_default(),
        })
    }
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Blueprint> {
    let config: BertConfig = parse_config(path, bytes, "BERT")?;
    config.blueprint(path, &FILES, &BLOCK_NAMES, 0, None)
}
