//! A loaded model: what every family's [`Encoder`] is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use lmprobe_core::train::Gradients;
use lmprobe_core::{
    CallContext, Encoder, EncoderInfo, EncoderOutput, HeadLayout, Problem, Result, Seed, TaskHead, TokenBatch, Tokenization, Trainable, Variable, Want,
    serde_json,
};
use lmprobe_kernels::Precision;

use super::blueprint::{Blueprint, NetworkConfig, Parts, TensorSpec};
use super::gradient_sink::GradientSink;
use super::head_layout::{describe_head, head_layout};
use super::model_source::{read_config, transpose, write_config, write_tensors};
use super::post_norm::PostNorm;
use super::pre_norm::PreNorm;
use super::tokenizer::TextTokenizer;

/// One of the two kinds of networks.
pub(super) enum Network {
    PostNorm(PostNorm),
    PreNorm(PreNorm),
}

impl Network {
    pub(super) fn new(
        blueprint: &Blueprint,
        parts: Parts,
        precision: Precision,
        tensors: &BTreeMap<String, Tensor>,
        sink: Option<&GradientSink>,
    ) -> Result<Self> {
        Ok(match &blueprint.network {
            NetworkConfig::PostNorm(config) => Self::PostNorm(PostNorm::new(config, parts, blueprint.tied, precision, tensors, sink)?),
            NetworkConfig::PreNorm(config) => Self::PreNorm(PreNorm::new(config, parts, blueprint.tied, precision, tensors, sink)?),
        })
    }

    /// For inference only: `tensors` holds what is outside of the blocks, `read` gives the rest.
    pub(super) fn packed(
        blueprint: &Blueprint,
        parts: Parts,
        precision: Precision,
        tensors: &BTreeMap<String, Tensor>,
        read: &(dyn Fn(&str) -> Result<Tensor> + Sync),
    ) -> Result<Self> {
        Ok(match &blueprint.network {
            NetworkConfig::PostNorm(config) => Self::PostNorm(PostNorm::packed(config, parts, blueprint.tied, precision, tensors, read)?),
            NetworkConfig::PreNorm(config) => Self::PreNorm(PreNorm::packed(config, parts, blueprint.tied, precision, tensors, read)?),
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
    /// Without a graph, for inference.
    pub(super) network: Network,
    pub(super) blueprint: Blueprint,
    pub(super) parts: Parts,
    pub(super) specs: Vec<TensorSpec>,
    /// Empty if the model was loaded for inference.
    pub(super) training: Option<Training>,
    /// The head for a task that the checkpoint holds.
    pub(super) task_head: Option<TaskHead>,
    /// What replaces the dropout rates of the configuration.
    pub(super) dropout: Option<f32>,
}

/// What training needs.
pub(super) struct Training {
    /// The network on the variables, which share their storage with the network for inference: its outputs carry the graph.
    pub(super) tracked: Network,
    pub(super) variables: Vec<Variable>,
    pub(super) gradients: Arc<Mutex<Gradients>>,
}

impl LanguageModel {
    fn training(&self) -> &Training {
        self.training.as_ref().expect("the handle is given only where there is one")
    }
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
        // Those who ask read values on the CPU, wherever the network runs.
        self.network.forward(tokens, want, None)?.to_device(&Device::Cpu)
    }

    fn task_head(&self) -> Option<&TaskHead> {
        self.task_head.as_ref()
    }

    fn head_layout(&self, problem: Problem) -> Result<HeadLayout> {
        head_layout(&self.blueprint, self.parts, &read_config(&self.config_path)?, self.dropout, problem)
    }

    fn trainable(&self) -> Option<&dyn Trainable> {
        self.training.as_ref().map(|_| self as &dyn Trainable)
    }
}

impl Trainable for LanguageModel {
    fn variables(&self) -> Vec<Variable> {
        self.training().variables.clone()
    }

    fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput> {
        self.training().tracked.forward(tokens, want, dropout)
    }

    fn gradients(&self) -> &Mutex<Gradients> {
        &self.training().gradients
    }

    fn save(&self, folder: &Path, head: Option<&TaskHead>) -> Result<()> {
        let layout = head.map(|head| self.head_layout(head.info.problem)).transpose()?;
        let has_more = self.parts.head || head.is_some();
        let head_tensors = head.map_or(&[][..], |head| &head.tensors);
        let named = self.specs.iter().map(|spec| (self.blueprint.stored_name(&spec.name, has_more), spec.stored_shape()));
        let named = named.chain(head_tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())));
        write_tensors(&folder.join("model.safetensors"), named.collect(), &|index| {
            if let Some((_, tensor)) = index.checked_sub(self.specs.len()).map(|index| &head_tensors[index]) {
                return Ok(tensor.flatten_all()?.to_vec1()?);
            }
            let values = self.training().variables[index].var.flatten_all()?.to_vec1::<f32>()?;
            let spec = &self.specs[index];
            Ok(if spec.transposed { transpose(&values, spec.shape[0], spec.shape[1]) } else { values })
        })?;
        write_config(&self.config_path, &folder.join("config.json"), |config| {
            let classes = self.blueprint.files.classes;
            config["architectures"] = serde_json::json!([if self.parts.head { classes.1 } else { classes.0 }]);
            if let Some(config) = config.as_object_mut() {
                config.remove("lmprobe");
            }
            if let (Some(head), Some(layout)) = (head, &layout) {
                describe_head(config, head, layout);
            }
            if config.get("model_type").is_none() {
                config["model_type"] = "bert".into();
            }
        })?;
        self.tokenizer.save(folder)
    }
}
