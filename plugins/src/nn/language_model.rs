//! A loaded model: what every family's [`Encoder`] is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use lmprobe_core::{CallContext, Encoder, EncoderInfo, EncoderOutput, Result, Seed, TokenBatch, Tokenization, Trainable, Variable, Want, serde_json};

use super::blueprint::{Blueprint, NetworkConfig, Parts, TensorSpec};
use super::model_source::{transpose, write_config, write_tensors};
use super::post_norm::PostNorm;
use super::pre_norm::PreNorm;
use super::tokenizer::TextTokenizer;

/// One of the two kinds of networks.
pub(super) enum Network {
    PostNorm(PostNorm),
    PreNorm(PreNorm),
}

impl Network {
    pub(super) fn new(blueprint: &Blueprint, parts: Parts, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        Ok(match &blueprint.network {
            NetworkConfig::PostNorm(config) => Self::PostNorm(PostNorm::new(config, parts, blueprint.tied, tensors)?),
            NetworkConfig::PreNorm(config) => Self::PreNorm(PreNorm::new(config, parts, blueprint.tied, tensors)?),
        })
    }

    fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        match self {
            Self::PostNorm(network) => network.forward(tokens, want, dropout),
            Self::PreNorm(network) => network.forward(tokens, want, dropout),
        }
    }
}

/// A model of any family, loaded.
pub struct LanguageModel {
    pub(super) info: EncoderInfo,
    pub(super) config_path: PathBuf,
    pub(super) tokenizer: TextTokenizer,
    /// The network on the variables: its outputs carry the graph.
    pub(super) tracked: Network,
    /// The same storage without a graph, for inference.
    pub(super) detached: Network,
    pub(super) blueprint: Blueprint,
    pub(super) parts: Parts,
    pub(super) specs: Vec<TensorSpec>,
    pub(super) variables: Vec<Variable>,
}

impl Encoder for LanguageModel {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn tokenize_pairs(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch> {
        self.tokenizer.encode(texts, how, self.info.max_length)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.token(id)
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

impl Trainable for LanguageModel {
    fn variables(&self) -> Vec<Variable> {
        self.variables.clone()
    }

    fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        self.tracked.forward(tokens, want, dropout)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let named = |spec: &TensorSpec| (self.blueprint.stored_name(&spec.name, self.parts.head), spec.stored_shape());
        write_tensors(&folder.join("model.safetensors"), self.specs.iter().map(named).collect(), &|index| {
            let values = self.variables[index].var.flatten_all()?.to_vec1::<f32>()?;
            let spec = &self.specs[index];
            Ok(if spec.transposed { transpose(&values, spec.shape[0], spec.shape[1]) } else { values })
        })?;
        write_config(&self.config_path, &folder.join("config.json"), |config| {
            let classes = self.blueprint.files.classes;
            config["architectures"] = serde_json::json!([if self.parts.head { classes.1 } else { classes.0 }]);
            if config.get("model_type").is_none() {
                config["model_type"] = "bert".into();
            }
        })?;
        self.tokenizer.save(folder)
    }
}
