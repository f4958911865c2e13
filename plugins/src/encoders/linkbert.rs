//! The encoder `linkbert`: LinkBERT and BioLinkBERT.

use std::sync::Arc;

use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Build, BuildContext, EncoderSource, Origin, Registration, Result, inventory, schema_of};

use super::bert::{self, BertParams};
use crate::nn::blueprint::{Blueprint, Family};
use crate::nn::model_source::ModelSource;
use crate::nn::tokenizer::{TextTokenizer, TokenizerKind};

inventory::submit! {
    Registration {
        id: "linkbert",
        version: 2,
        build: Build::Encoder(&build),
        summary: "LinkBERT and BioLinkBERT: BERT pretrained on linked documents",
        manual: MANUAL,
        schema: &schema_of::<BertParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Runs LinkBERT as `bert` does. Its features are the last hidden state: `lmprobe embed michiyasunaga/BioLinkBERT-base texts.txt -o features.parquet`.

## How

Known checkpoints:

| hub id | layers, hidden, heads | vocabulary | case |
|---|---|---|---|
| `michiyasunaga/BioLinkBERT-base` | 12, 768, 12 | 28 895 (PubMedBERT's) | uncased |
| `michiyasunaga/BioLinkBERT-large` | 24, 1024, 16 | 28 895 (PubMedBERT's) | uncased |
| `michiyasunaga/LinkBERT-base` | 12, 768, 12 | 28 996 (BERT-base-cased's) | cased |
| `michiyasunaga/LinkBERT-large` | 24, 1024, 16 | 28 996 (BERT-base-cased's) | cased |

Casing follows the folder; where it contradicts the table, or the vocabulary has another size, that is reported. `dtype` and `device` as for `bert`.

## Example

```yaml
encoders:
  - {use: linkbert, name: BioLinkBERT, model: michiyasunaga/BioLinkBERT-base}
```

## Reference

Yasunaga et al. 2022, arXiv:2203.15827. https://github.com/michiyasunaga/LinkBERT.
";

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let params: BertParams = serde_json::from_value(params)?;
    Ok(Arc::new(ModelSource::new(&LINKBERT, params.options()?)?))
}

static LINKBERT: Family = Family { id: "linkbert", tokenizer: TokenizerKind::WordPiece, read: bert::read, review };

fn review(blueprint: &Blueprint, tokenizer: &TextTokenizer) -> Vec<String> {
    let vocab = blueprint.network.sizes().vocab;
    let (name, lowercase) = match vocab {
        28_895 => ("BioLinkBERT", true),
        28_996 => ("LinkBERT", false),
        _ => return vec![format!("no release of LinkBERT has {vocab} vocabulary entries (28 895 and 28 996 have): is this LinkBERT?")],
    };
    let word = |lowercase: bool| if lowercase { "uncased" } else { "cased" };
    if tokenizer.lowercase == lowercase {
        return Vec::new();
    }
    vec![format!("{name} is {}, but the tokenizer is {} ({})", word(lowercase), word(tokenizer.lowercase), tokenizer.casing_source)]
}
