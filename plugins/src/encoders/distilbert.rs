//! The encoder `distilbert`: DistilBERT and every checkpoint with its architecture.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::serde::Deserialize;
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, Origin, Registration, Result, inventory, schema_of};

use super::bert::{BertParams, gelu, initializer_range, tenth, yes};
use crate::nn::blueprint::{Blueprint, Family, FileNames, NetworkConfig, activation, check_config, parse_config};
use crate::nn::head_layout::HeadFamily;
use crate::nn::model_source::ModelSource;
use crate::nn::post_norm::{PostNormConfig, PostNormNames};
use crate::nn::tokenizer::TokenizerKind;

inventory::submit! {
    Registration {
        id: "distilbert",
        version: 2,
        build: Build::Encoder(&build),
        summary: "DistilBERT and every checkpoint with its architecture",
        manual: MANUAL,
        schema: &schema_of::<BertParams>,
        families: &["distilbert"],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs DistilBERT: hidden states of every layer, attention probabilities and masked-language-model logits. It can be trained.

## How

The network is BERT's without segments and pooler; in training the attention's output has no dropout. Files as for `bert`, with the prefix
`distilbert.` or without, and `dtype` and `device` too.

## Example

```yaml
encoders:
  - {use: distilbert, model: nlpie/bio-distilbert-uncased}
```

## Reference

Sanh et al. 2019, arXiv:1910.01108. `transformers/models/distilbert/modeling_distilbert.py`.
";

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let params: BertParams = serde_json::from_value(params)?;
    Ok(Arc::new(ModelSource::new(&DISTILBERT, params.options()?)?))
}

/// DistilBERT.
pub static DISTILBERT: Family = Family { id: "distilbert", tokenizer: TokenizerKind::WordPiece, read, review: |_, _| Vec::new() };

static FILES: FileNames = FileNames {
    prefix: "distilbert.",
    head: "vocab_",
    head_marker: Some("vocab_transform.weight"),
    decoder: "vocab_projector.weight",
    word: "embeddings.word_embeddings.weight",
    aliases: &[],
    buffers: &["position_ids"],
    classes: ("DistilBertModel", "DistilBertForMaskedLM"),
    heads: HeadFamily::DistilBert,
};

static NAMES: PostNormNames = PostNormNames {
    block: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    intermediate: "ffn.lin1",
    output: "ffn.lin2",
    output_norm: "output_layer_norm",
    head_dense: "vocab_transform",
    head_norm: "vocab_layer_norm",
    head_bias: "vocab_projector.bias",
    decoder: "vocab_projector.weight",
};

#[derive(Debug, Clone, Deserialize)]
#[serde(crate = "lmprobe_core::serde")]
struct DistilBertConfig {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    max_position_embeddings: usize,
    #[serde(default = "gelu")]
    activation: String,
    #[serde(default = "tenth")]
    dropout: f32,
    #[serde(default = "tenth")]
    attention_dropout: f32,
    #[serde(default = "initializer_range")]
    initializer_range: f64,
    #[serde(default)]
    pad_token_id: Option<usize>,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    architectures: Option<Vec<String>>,
}

fn read(path: &Path, bytes: &[u8]) -> Result<Blueprint> {
    let config: DistilBertConfig = parse_config(path, bytes, "DistilBERT")?;
    check_config(
        path,
        &[
            ("vocab_size", config.vocab_size),
            ("n_layers", config.n_layers),
            ("hidden_dim", config.hidden_dim),
            ("max_position_embeddings", config.max_position_embeddings),
        ],
        ("dim", config.dim),
        ("n_heads", config.n_heads),
        &[("dropout", config.dropout), ("attention_dropout", config.attention_dropout)],
    )?;
    let activation = activation(path, "activation", &config.activation)?;
    let network = PostNormConfig {
        vocab: config.vocab_size,
        hidden: config.dim,
        layers: config.n_layers,
        heads: config.n_heads,
        intermediate: config.hidden_dim,
        positions: config.max_position_embeddings,
        first_position: 0,
        token_types: 0,
        padding: config.pad_token_id,
        activation,
        head_activation: activation,
        // Fixed in the reference; no configuration says it.
        eps: 1e-12,
        hidden_dropout: config.dropout,
        attention_dropout: config.attention_dropout,
        drops_attention_output: false,
        names: &NAMES,
    };
    Ok(Blueprint {
        network: NetworkConfig::PostNorm(network),
        files: &FILES,
        max_length: config.max_position_embeddings,
        tied: config.tie_word_embeddings,
        initializer_range: config.initializer_range,
        architectures: config.architectures.unwrap_or_default(),
    })
}
