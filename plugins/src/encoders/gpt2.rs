//! The encoder `gpt2`: GPT-2 of every size.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, Error, ModelFolder, Origin, Registration, Result, inventory, schema_of};

use super::bert::{initializer_range, tenth, yes};
use crate::nn::blueprint::{Blueprint, Family, FileNames, NetworkConfig, activation, check_config, parse_config};
use crate::nn::compute::{Compute, DtypeChoice, cpu};
use crate::nn::head_layout::HeadFamily;
use crate::nn::model_source::{Init, ModelOptions, ModelSource};
use crate::nn::pre_norm::{FinalNorm, PreNormConfig, PreNormNames, Projections};
use crate::nn::tokenizer::{Casing, TokenizerKind};

inventory::submit! {
    Registration {
        id: "gpt2",
        version: 2,
        build: Build::Encoder(&build),
        summary: "GPT-2 of every size, and every checkpoint with its architecture",
        manual: MANUAL,
        schema: &schema_of::<DecoderParams>,
        families: &["gpt2"],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs GPT-2: hidden states of every layer, causal attention probabilities and next-token logits. It can be trained.

## How

Hidden state 0 is the sum of word and position embeddings, those behind it the residual stream behind each block; whether the last one has been
through the final normalisation is said by `final_norm`. Positions count from 0 in each text. The tokenizer adds no special token; it is
`tokenizer.json`, or byte-level BPE from `vocab.json` and `merges.txt`. Logits are there where the checkpoint has the head: stored, or tied to the word
embeddings of a model that calls itself `GPT2LMHeadModel`. Files as for `bert`; linear maps are stored as `(inputs, outputs)`, with the prefix
`transformer.` or without. `dtype` and `device` as for `bert`.

## Example

```yaml
encoders:
  - gpt2-medium
  - {use: gpt2, model: models/gpt2, final_norm: never}
```

## Reference

Radford et al. 2019, *Language Models are Unsupervised Multitask Learners*. `transformers/models/gpt2/modeling_gpt2.py`.
";

/// Parameters of the encoders `gpt2` and `biogpt`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct DecoderParams {
    /// The model: a folder, or a hub id such as `org/name@revision`.
    pub model: ModelFolder,
    /// Where the weights come from.
    #[serde(default)]
    pub init: Init,
    /// Whether the last hidden state has been through the final normalisation. It changes probing and similarity, never the logits.
    #[serde(default)]
    pub final_norm: FinalNorm,
    /// Dropout rate in training, for embeddings, residuals and attention alike; empty takes the rates of `config.json`.
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

impl DecoderParams {
    /// How the folder is opened.
    ///
    /// # Errors
    /// As [`Compute::decide`].
    pub fn options(self) -> Result<ModelOptions> {
        let Self { model, init, final_norm, dropout, dtype, device } = self;
        let compute = Compute::decide(dtype, &device)?;
        Ok(ModelOptions { folder: model.0, init, casing: Casing::Auto, dropout, final_norm, compute })
    }
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let params: DecoderParams = serde_json::from_value(params)?;
    Ok(Arc::new(ModelSource::new(&GPT2, params.options()?)?))
}

/// GPT-2.
pub static GPT2: Family = Family { id: "gpt2", tokenizer: TokenizerKind::Gpt2, read, review: |_, _| Vec::new() };

static FILES: FileNames = FileNames {
    prefix: "transformer.",
    head: "lm_head.",
    head_marker: None,
    decoder: "lm_head.weight",
    word: "wte.weight",
    aliases: &[],
    // Causal masks that old versions stored as buffers.
    buffers: &[".attn.bias", ".attn.masked_bias"],
    classes: ("GPT2Model", "GPT2LMHeadModel"),
    heads: HeadFamily::Gpt2,
};

static NAMES: PreNormNames = PreNormNames {
    word: "wte.weight",
    position: "wpe.weight",
    block: "h",
    attention_norm: "ln_1",
    projections: Projections::Fused("attn.c_attn"),
    attention_output: "attn.c_proj",
    feed_forward_norm: "ln_2",
    wide: "mlp.c_fc",
    narrow: "mlp.c_proj",
    final_norm: "ln_f",
    decoder: "lm_head.weight",
    conv1d: true,
};

#[derive(Debug, Clone, Deserialize)]
#[serde(crate = "lmprobe_core::serde")]
struct Gpt2Config {
    vocab_size: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    #[serde(default)]
    n_inner: Option<usize>,
    n_positions: usize,
    #[serde(default = "gelu_new")]
    activation_function: String,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f32,
    #[serde(default = "tenth")]
    embd_pdrop: f32,
    #[serde(default = "tenth")]
    resid_pdrop: f32,
    #[serde(default = "tenth")]
    attn_pdrop: f32,
    #[serde(default = "initializer_range")]
    initializer_range: f64,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    architectures: Option<Vec<String>>,
}

fn gelu_new() -> String {
    "gelu_new".into()
}
fn epsilon() -> f32 {
    1e-5
}

fn read(path: &Path, bytes: &[u8]) -> Result<Blueprint> {
    let config: Gpt2Config = parse_config(path, bytes, "GPT-2")?;
    let intermediate = config.n_inner.unwrap_or(config.n_embd.saturating_mul(4));
    check_config(
        path,
        &[("vocab_size", config.vocab_size), ("n_layer", config.n_layer), ("n_inner", intermediate), ("n_positions", config.n_positions)],
        ("n_embd", config.n_embd),
        ("n_head", config.n_head),
        &[("embd_pdrop", config.embd_pdrop), ("resid_pdrop", config.resid_pdrop), ("attn_pdrop", config.attn_pdrop)],
    )?;
    let unusual = [
        ("scale_attn_weights", !config.scale_attn_weights, "false"),
        ("scale_attn_by_inverse_layer_idx", config.scale_attn_by_inverse_layer_idx, "true"),
        ("add_cross_attention", config.add_cross_attention, "true"),
    ];
    if let Some((key, _, value)) = unusual.iter().find(|(_, unusual, _)| *unusual) {
        return Err(Error::data(path, None, format!("`{key}: {value}` is not supported")));
    }
    let network = PreNormConfig {
        vocab: config.vocab_size,
        hidden: config.n_embd,
        layers: config.n_layer,
        heads: config.n_head,
        intermediate,
        positions: config.n_positions,
        first_position: 0,
        padding: None,
        embedding_scale: 1.0,
        activation: activation(path, "activation_function", &config.activation_function)?,
        eps: config.layer_norm_epsilon,
        embedding_dropout: config.embd_pdrop,
        residual_dropout: config.resid_pdrop,
        attention_dropout: config.attn_pdrop,
        activation_dropout: 0.0,
        normalises_last: true,
        names: &NAMES,
    };
    Ok(Blueprint {
        network: NetworkConfig::PreNorm(network),
        files: &FILES,
        max_length: config.n_positions,
        tied: config.tie_word_embeddings,
        initializer_range: config.initializer_range,
        architectures: config.architectures.unwrap_or_default(),
    })
}
