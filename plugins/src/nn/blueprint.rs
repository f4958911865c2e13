//! What a family of models says of one checkpoint: its sizes, its tensors, and what the files call them.

use std::path::Path;

use lmprobe_core::serde::de::DeserializeOwned;
use lmprobe_core::{Error, Result, serde_json};

use super::head_layout::HeadFamily;
use super::post_norm::PostNormConfig;
use super::pre_norm::PreNormConfig;
use super::tokenizer::{TextTokenizer, TokenizerKind};

/// A family of models: what an encoder plugin adds to the code that all share.
pub struct Family {
    /// Registered name of the plugin.
    pub id: &'static str,
    /// What to build where the folder holds no `tokenizer.json`.
    pub tokenizer: TokenizerKind,
    /// Reads the configuration at the path, whose bytes are given.
    pub read: fn(&Path, &[u8]) -> Result<Blueprint>,
    /// What a person should know if the checkpoint is not what the family's name promises.
    pub review: fn(&Blueprint, &TextTokenizer) -> Vec<String>,
}

/// One checkpoint's network and the names of its tensors.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The network.
    pub network: NetworkConfig,
    /// How checkpoint files of the family call things.
    pub files: &'static FileNames,
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// Whether the decoder of the head is the word embeddings.
    pub tied: bool,
    /// Standard deviation of drawn weights.
    pub initializer_range: f64,
    /// Class names in `transformers`.
    pub architectures: Vec<String>,
}

/// The two kinds of networks.
#[derive(Debug, Clone)]
pub enum NetworkConfig {
    /// Normalisation behind each sum: BERT, RoBERTa, DistilBERT.
    PostNorm(PostNormConfig),
    /// Normalisation before each layer: GPT-2, BioGPT.
    PreNorm(PreNormConfig),
}

impl NetworkConfig {
    /// What the names of all blocks begin with; a dot and a number follow.
    pub fn block_name(&self) -> &'static str {
        match self {
            Self::PostNorm(config) => config.names.block,
            Self::PreNorm(config) => config.names.block,
        }
    }
}

/// How checkpoint files of a family call things.
#[derive(Debug)]
pub struct FileNames {
    /// Stands before the network's names where a head is stored beside it, `bert.`.
    pub prefix: &'static str,
    /// What the names of the language-model head begin with.
    pub head: &'static str,
    /// A tensor that a checkpoint with a head always has; without one, the head is the word embeddings and the class name decides.
    pub head_marker: Option<&'static str>,
    /// The decoder of the head.
    pub decoder: &'static str,
    /// The word embeddings.
    pub word: &'static str,
    /// Other names of tensors, each with the name it has here.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Ends of the names of buffers that hold no weights.
    pub buffers: &'static [&'static str],
    /// Class in `transformers` without and with the language-model head.
    pub classes: (&'static str, &'static str),
    /// What heads for tasks look like.
    pub heads: HeadFamily,
}

/// Which optional parts a checkpoint has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// The pooler.
    pub pooler: bool,
    /// The language-model head.
    pub head: bool,
}

/// How a weight is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// From a normal distribution with this share of the configuration's standard deviation.
    Normal(f64),
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
}

/// One tensor of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Its name, without the family's prefix.
    pub name: String,
    /// Its shape in the network.
    pub shape: Vec<usize>,
    /// Whether files hold it transposed (the `Conv1D` of GPT-2).
    pub transposed: bool,
    /// How it is drawn.
    pub draw: Draw,
    /// A row that is 0 when drawn: that of the padding token.
    pub zero_row: Option<usize>,
}

impl TensorSpec {
    /// A tensor drawn from the normal distribution.
    pub fn normal(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), transposed: false, draw: Draw::Normal(1.0), zero_row: None }
    }

    /// An embedding whose row for padding is 0 when drawn.
    pub fn embedding(name: impl Into<String>, shape: &[usize], padding: Option<usize>) -> Self {
        Self { zero_row: padding.filter(|row| *row < shape[0]), ..Self::normal(name, shape) }
    }

    /// Weight and bias of a linear map.
    pub fn linear(name: &str, outputs: usize, inputs: usize) -> [Self; 2] {
        [Self::normal(format!("{name}.weight"), &[outputs, inputs]), Self::zeros(format!("{name}.bias"), outputs)]
    }

    /// Gain and bias of a layer normalisation.
    pub fn norm(name: &str, width: usize) -> [Self; 2] {
        let gain = Self { draw: Draw::Ones, ..Self::normal(format!("{name}.weight"), &[width]) };
        [gain, Self::zeros(format!("{name}.bias"), width)]
    }

    /// A bias.
    pub fn zeros(name: impl Into<String>, width: usize) -> Self {
        Self { draw: Draw::Zeros, ..Self::normal(name, &[width]) }
    }

    /// The shape in the file.
    pub fn stored_shape(&self) -> Vec<usize> {
        if self.transposed { self.shape.iter().rev().copied().collect() } else { self.shape.clone() }
    }

    /// Whether it is a bias or the gain of a normalisation.
    pub fn is_bias_or_norm(&self) -> bool {
        self.shape.len() == 1
    }
}

impl Blueprint {
    /// Every tensor of the network with these parts, in the order of a forward pass.
    pub fn tensors(&self, parts: Parts) -> Vec<TensorSpec> {
        match &self.network {
            NetworkConfig::PostNorm(config) => config.tensors(parts, self.tied),
            NetworkConfig::PreNorm(config) => config.tensors(parts, self.tied),
        }
    }

    /// The name without the family's prefix, with normalisations called as they are today.
    pub fn own_name(&self, stored: &str) -> String {
        let name = stored.strip_prefix("module.").unwrap_or(stored);
        let name = name.strip_prefix(self.files.prefix).unwrap_or(name);
        match name.rsplit_once('.') {
            Some((stem, "gamma")) => format!("{stem}.weight"),
            Some((stem, "beta")) => format!("{stem}.bias"),
            _ => name.to_owned(),
        }
    }

    /// The name in files that `transformers` writes for a checkpoint that `has_more` than the network without its head.
    pub fn stored_name(&self, own: &str, has_more: bool) -> String {
        let outside = own.starts_with(self.files.head) || !has_more;
        if outside { own.to_owned() } else { format!("{}{own}", self.files.prefix) }
    }

    /// Whether the tensor is a buffer that holds no weights.
    pub fn is_buffer(&self, own: &str) -> bool {
        self.files.buffers.iter().any(|end| own.ends_with(end))
    }

    /// Which parts are there, judged by the network's own names of what is stored.
    pub fn parts(&self, stored: &dyn Fn(&str) -> bool) -> Parts {
        let head = match self.files.head_marker {
            Some(marker) => stored(marker),
            None => stored(self.files.decoder) || (self.tied && self.names_a_head()),
        };
        Parts { pooler: stored("pooler.dense.weight"), head }
    }

    /// Which parts drawn weights have.
    pub fn drawn_parts(&self) -> Parts {
        Parts { pooler: false, head: self.names_a_head() }
    }

    fn names_a_head(&self) -> bool {
        self.architectures.iter().any(|name| name == self.files.classes.1)
    }
}

/// Sizes that every configuration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Blocks.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Vocabulary entries.
    pub vocab: usize,
}

impl NetworkConfig {
    /// Its sizes.
    pub fn sizes(&self) -> Sizes {
        match self {
            Self::PostNorm(config) => Sizes { layers: config.layers, hidden: config.hidden, heads: config.heads, vocab: config.vocab },
            Self::PreNorm(config) => Sizes { layers: config.layers, hidden: config.hidden, heads: config.heads, vocab: config.vocab },
        }
    }

    /// Sets every dropout rate.
    pub fn set_dropout(&mut self, rate: f32) {
        match self {
            Self::PostNorm(config) => (config.hidden_dropout, config.attention_dropout) = (rate, rate),
            Self::PreNorm(config) => {
                (config.embedding_dropout, config.residual_dropout, config.attention_dropout) = (rate, rate, rate);
            }
        }
    }
}

/// Reads `config.json` as a type.
///
/// # Errors
/// If it is not JSON, or a key is missing or of another type.
pub fn parse_config<T: DeserializeOwned>(path: &Path, bytes: &[u8], family: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::data(path, error.line(), format!("not a {family} configuration: {error}")))
}

/// Checks what every network needs of its sizes and dropout rates; names are those of `config.json`.
///
/// # Errors
/// If no network has such sizes.
pub fn check_config(path: &Path, sizes: &[(&str, usize)], width: (&str, usize), heads: (&str, usize), dropout: &[(&str, f32)]) -> Result<()> {
    let refuse = |message: String| Err(Error::data(path, None, message));
    for (name, size) in sizes.iter().chain([&width, &heads]) {
        if *size == 0 {
            return refuse(format!("`{name}` is 0"));
        }
        // A hundred times the largest model there is: beyond it products of sizes would not fit a number.
        if *size > 1 << 24 {
            return refuse(format!("`{name}` is {size}, which no model has"));
        }
    }
    if !width.1.is_multiple_of(heads.1) {
        return refuse(format!("`{}` {} is not a multiple of `{}` {}", width.0, width.1, heads.0, heads.1));
    }
    for (name, rate) in dropout {
        if !(0.0..1.0).contains(rate) {
            return refuse(format!("`{name}` {rate} is not in [0, 1)"));
        }
    }
    Ok(())
}

/// The activation that `config.json` names.
///
/// # Errors
/// If it is none that the networks have.
pub fn activation(path: &Path, key: &str, name: &str) -> Result<super::ops::Activation> {
    use super::ops::Activation;
    match name {
        "gelu" => Ok(Activation::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(Error::data(path, None, format!("`{key}` {other:?} is not supported; gelu, gelu_new, gelu_pytorch_tanh, relu and tanh are"))),
    }
}
