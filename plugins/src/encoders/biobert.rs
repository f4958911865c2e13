//! The encoder `biobert`: BERT pretrained on PubMed, cased.

use std::sync::Arc;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, ModelFolder, Origin, Registration, Result, inventory, schema_of};

use super::bert;
use crate::nn::blueprint::{Blueprint, Family};
use crate::nn::compute::{Compute, DtypeChoice, cpu};
use crate::nn::model_source::{Init, ModelOptions, ModelSource};
use crate::nn::pre_norm::FinalNorm;
use crate::nn::tokenizer::{Casing, TextTokenizer, TokenizerKind};

inventory::submit! {
    Registration {
        id: "biobert",
        version: 2,
        build: Build::Encoder(&build),
        summary: "BioBERT: BERT pretrained on PubMed; cased whatever the folder says",
        manual: MANUAL,
        schema: &schema_of::<BioBertParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs BioBERT as `bert` does, and is cased whatever the folder says or does not say, unless `casing` asks otherwise: uploads without `tokenizer_config.json` are lower-cased in
silence by other software, and the vocabulary then knows few gene names.

## How

Known checkpoints:

| hub id | sizes | masked-language-model head |
|---|---|---|
| `dmis-lab/biobert-v1.1`, `dmis-lab/biobert-base-cased-v1.1` | 12 layers, 768, vocabulary of BERT-base-cased (28 996) | no |
| `dmis-lab/biobert-base-cased-v1.2` | the same | yes: the one to probe with `fill-mask` |
| `dmis-lab/biobert-large-cased-v1.1` | 24 layers, 1024, own vocabulary | no |

The TensorFlow releases (`biobert_v1.1_pubmed`: `bert_config.json`, `vocab.txt`, `model.ckpt-1000000.*`) are read as they are. A folder whose vocabulary
lacks upper-case pieces, or is not of a released size, is reported: it may be another model. `dtype` and `device` as for `bert`.

## Example

```yaml
encoders:
  - {use: biobert, model: dmis-lab/biobert-base-cased-v1.2}
  - {use: biobert, name: BioBERT-TF, model: models/biobert_v1.1_pubmed}
```

## Reference

Lee et al. 2020, Bioinformatics 36(4):1234, doi:10.1093/bioinformatics/btz682. https://github.com/dmis-lab/biobert.
";

/// Parameters of the encoder `biobert`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_core::schemars")]
pub struct BioBertParams {
    /// The model: a folder, or a hub id such as `org/name@revision`.
    pub model: ModelFolder,
    /// Where the weights come from.
    #[serde(default)]
    pub init: Init,
    /// Whether texts are lower-cased. `uncased` repeats a mistake that scripts of BioBERT make by default.
    #[serde(default = "cased")]
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

fn cased() -> Casing {
    Casing::Cased
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let BioBertParams { model, init, casing, dropout, dtype, device } = serde_json::from_value(params)?;
    let compute = Compute::decide(dtype, &device)?;
    let options = ModelOptions { folder: model.0, init, casing, dropout, final_norm: FinalNorm::Always, compute };
    Ok(Arc::new(ModelSource::new(&BIOBERT, options)?))
}

static BIOBERT: Family = Family { id: "biobert", tokenizer: TokenizerKind::WordPiece, read: bert::read, review };

/// Vocabulary entries of the base and the large releases.
const VOCABULARIES: [usize; 2] = [28_996, 58_996];

fn review(blueprint: &Blueprint, tokenizer: &TextTokenizer) -> Vec<String> {
    let vocab = blueprint.network.sizes().vocab;
    let mut warnings = Vec::new();
    if !VOCABULARIES.contains(&vocab) {
        warnings.push(format!("no release of BioBERT has {vocab} vocabulary entries (28 996 and 58 996 have): is this BioBERT?"));
    }
    if tokenizer.lowercase {
        warnings.push("BioBERT is cased, but its texts are lower-cased here: the run file or the folder's tokenizer says so".to_owned());
    }
    warnings
}
