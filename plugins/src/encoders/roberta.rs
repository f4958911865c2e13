//! The encoder `roberta`: RoBERTa and every checkpoint with its architecture.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, ModelFolder, Origin, Registration, Result, inventory, schema_of};

use super::bert::{BLOCK_NAMES, BertConfig};
use crate::nn::blueprint::{Blueprint, Family, FileNames, parse_config};
use crate::nn::compute::{Compute, DtypeChoice, cpu};
use crate::nn::head_layout::HeadFamily;
use crate::nn::model_source::{Init, ModelOptions, ModelSource};
use crate::nn::post_norm::PostNormNames;
use crate::nn::tokenizer::TokenizerKind;

inventory::submit! {
    Registration {
        id: "roberta",
        version: 2,
        build: Build::Encoder(&build),
        summary: "RoBERTa and every checkpoint with its architecture",
        manual: MANUAL,
        schema: &schema_of::<RobertaParams>,
        families: &["roberta"],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs RoBERTa (BioMed-RoBERTa and others): hidden states of every layer, attention probabilities, pooler output and masked-language-model logits. It
can be trained.

## How

The network is BERT's. Positions are numbered from the row behind that of the padding token, so that a model with 514 position rows reads 512 tokens. The
tokenizer is `tokenizer.json`, or byte-level BPE from `vocab.json` and `merges.txt`. Files as for `bert`, with the prefix `roberta.` or without, and `dtype` and
`device` too.

## Example

```yaml
encoders:
  - allenai/biomed_roberta_base
```

## Reference

Liu et al. 2019, arXiv:1907.11692. `transformers/models/roberta/modeling_roberta.py`.
";

/// Parameters of the encoder `roberta`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct RobertaParams {
    /// The model: a folder, or a hub id such as `org/name@revision`.
    pub model: ModelFolder,
    /// Where the weights come from.
    #[serde(default)]
    pub init: Init,
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

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let RobertaParams { model, init, dropout, dtype, device } = serde_json::from_value(params)?;
    let compute = Compute::decide(dtype, &device)?;
    Ok(Arc::new(ModelSource::new(&ROBERTA, ModelOptions { init, dropout, compute, ..ModelOptions::of(model.0) })?))
}

/// RoBERTa.
pub static ROBERTA: Family = Family { id: "roberta", tokenizer: TokenizerKind::Roberta, read, review: |_, _| Vec::new() };

static FILES: FileNames = FileNames {
    prefix: "roberta.",
    head: "lm_head.",
    head_marker: Some("lm_head.dense.weight"),
    decoder: "lm_head.decoder.weight",
    word: "embeddings.word_embeddings.weight",
    aliases: &[("lm_head.decoder.bias", "lm_head.bias")],
    buffers: &["position_ids", "embeddings.token_type_ids"],
    classes: ("RobertaModel", "RobertaForMaskedLM"),
    heads: HeadFamily::Roberta,
};

static NAMES: PostNormNames =
    PostNormNames { head_dense: "lm_head.dense", head_norm: "lm_head.layer_norm", head_bias: "lm_head.bias", decoder: "lm_head.decoder.weight", ..BLOCK_NAMES };

fn read(path: &Path, bytes: &[u8]) -> Result<Blueprint> {
    let config: BertConfig = parse_config(path, bytes, "RoBERTa")?;
    // transformers' default is 1, which every release has.
    let first_position = config.pad_token_id.unwrap_or(1).saturating_add(1);
    config.blueprint(path, &FILES, &NAMES, first_position, Some("gelu"))
}
