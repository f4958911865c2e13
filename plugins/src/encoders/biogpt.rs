//! The encoder `biogpt`: BioGPT and every checkpoint with its architecture.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::serde::Deserialize;
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, Origin, Registration, Result, inventory, schema_of};

use super::bert::{gelu, initializer_range, tenth, yes};
use super::gpt2::DecoderParams;
use crate::nn::blueprint::{Blueprint, Family, FileNames, NetworkConfig, activation, check_config, parse_config};
use crate::nn::head_layout::HeadFamily;
use crate::nn::model_source::ModelSource;
use crate::nn::pre_norm::{PreNormConfig, PreNormNames, Projections};
use crate::nn::tokenizer::TokenizerKind;

inventory::submit! {
    Registration {
        id: "biogpt",
        version: 2,
        build: Build::Encoder(&build),
        summary: "BioGPT and every checkpoint with its architecture",
        manual: MANUAL,
        schema: &schema_of::<DecoderParams>,
        families: &["biogpt"],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs BioGPT: hidden states of every layer, causal attention probabilities and next-token logits. It can be trained.

## How

Word embeddings are multiplied by the square root of their width (`scale_embedding`); the position table has two rows more than
`max_position_embeddings`, and a first token has row 2. Layer normalisations use an epsilon of 1e-5, whatever `layer_norm_eps` says: the reference does
not read it. Whether the last hidden state has been through the final normalisation is said by `final_norm`.

Texts are split as the Moses tokenizer splits English, with entities escaped, and then by the model's own pairs (`vocab.json` and `merges.txt`); one
`</s>` stands before each text and nothing behind it. Files as for `bert`, with the prefix `biogpt.` or without, and `dtype` and `device` too.

## Example

```yaml
encoders:
  - microsoft/biogpt
```

## Reference

Luo et al. 2022, arXiv:2210.10341. `transformers/models/biogpt/modeling_biogpt.py`.
";

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let params: DecoderParams = serde_json::from_value(params)?;
    Ok(Arc::new(ModelSource::new(&BIOGPT, params.options()?)?))
}

/// BioGPT.
pub static BIOGPT: Family = Family { id: "biogpt", tokenizer: TokenizerKind::BioGpt, read, review: |_, _| Vec::new() };

static FILES: FileNames = FileNames {
    prefix: "biogpt.",
    head: "output_projection.",
    head_marker: None,
    decoder: "output_projection.weight",
    word: "embed_tokens.weight",
    aliases: &[],
    buffers: &[],
    classes: ("BioGptModel", "BioGptForCausalLM"),
    heads: HeadFamily::BioGpt,
};

static NAMES: PreNormNames = PreNormNames {
    word: "embed_tokens.weight",
    position: "embed_positions.weight",
    block: "layers",
    attention_norm: "self_attn_layer_norm",
    projections: Projections::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    attention_output: "self_attn.out_proj",
    feed_forward_norm: "final_layer_norm",
    wide: "fc1",
    narrow: "fc2",
    final_norm: "layer_norm",
    decoder: "output_projection.weight",
    conv1d: false,
};

/// Rows of the position table before that of a first token, as in fairseq.
const POSITION_OFFSET: usize = 2;

#[derive(Debug, Clone, Deserialize)]
#[serde(crate = "lmprobe_core::serde")]
struct BioGptConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "tenth")]
    hidden_dropout_prob: f32,
    #[serde(default = "tenth")]
    attention_probs_dropout_prob: f32,
    #[serde(default)]
    activation_dropout: f32,
    #[serde(default = "yes")]
    scale_embedding: bool,
    #[serde(default = "initializer_range")]
    initializer_range: f64,
    #[serde(default = "one")]
    pad_token_id: usize,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    architectures: Option<Vec<String>>,
}

fn one() -> usize {
    1
}

fn read(path: &Path, bytes: &[u8]) -> Result<Blueprint> {
    let config: BioGptConfig = parse_config(path, bytes, "BioGPT")?;
    check_config(
        path,
        &[
            ("vocab_size", config.vocab_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
        ],
        ("hidden_size", config.hidden_size),
        ("num_attention_heads", config.num_attention_heads),
        &[
            ("hidden_dropout_prob", config.hidden_dropout_prob),
            ("attention_probs_dropout_prob", config.attention_probs_dropout_prob),
            ("activation_dropout", config.activation_dropout),
        ],
    )?;
    #[expect(clippy::cast_precision_loss, reason = "widths are small")]
    let embedding_scale = if config.scale_embedding { (config.hidden_size as f64).sqrt() } else { 1.0 };
    let network = PreNormConfig {
        vocab: config.vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        intermediate: config.intermediate_size,
        positions: config.max_position_embeddings + POSITION_OFFSET,
        first_position: POSITION_OFFSET,
        padding: Some(config.pad_token_id),
        embedding_scale,
        activation: activation(path, "hidden_act", &config.hidden_act)?,
        // The reference builds its normalisations with torch's default and does not read `layer_norm_eps`.
        eps: 1e-5,
        embedding_dropout: config.hidden_dropout_prob,
        residual_dropout: config.hidden_dropout_prob,
        attention_dropout: config.attention_probs_dropout_prob,
        activation_dropout: config.activation_dropout,
        normalises_last: false,
        names: &NAMES,
    };
    Ok(Blueprint {
        network: NetworkConfig::PreNorm(network),
        files: &FILES,
        max_length: config.max_position_embeddings,
        tied: config.tie_word_embeddings,
        initializer_range: config.initializer_range,
        architectures: config.architectures.unwrap_or_default(),
    })
}
