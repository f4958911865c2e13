//! What a model is, what it can give, and what its files hold.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, TaskHeadInfo};

/// The numbers that the linear layers of an encoder's blocks multiply. Sums, everything else, and what the encoder gives are `f32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits, 24 of them significant. Encoders of shared libraries, whose description has no place for it, count as this.
    #[default]
    F32,
    /// bfloat16: 16 bits, 8 of them significant.
    Bf16,
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// A mask token and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskToken {
    /// Its text, `[MASK]` in BERT.
    pub text: String,
    /// Its vocabulary id.
    pub id: u32,
}

/// What an encoder is and can give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderInfo {
    /// Registered name of the plugin.
    pub family: String,
    /// Number of transformer blocks; hidden states are numbered `0..=layers`.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Vocabulary entries.
    pub vocab: usize,
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// The mask token, if the tokenizer has one.
    pub mask: Option<MaskToken>,
    /// Whether the tokenizer lower-cases.
    pub lowercase: bool,
    /// How the casing was decided.
    pub casing_source: String,
    /// Whether the checkpoint has a pooler.
    pub pooler: bool,
    /// Whether the checkpoint has a masked-language-model head.
    pub mlm_head: bool,
    /// Whether the checkpoint has a causal-language-model head.
    pub lm_head: bool,
    /// What the head that fine-tuning has left in the checkpoint answers, if there is one.
    #[serde(default)]
    pub task_head: Option<TaskHeadInfo>,
    /// Whether a token sees only itself and what stands before it.
    pub causal: bool,
    /// Whether it can be trained.
    pub trainable: bool,
    /// Whether the weights are drawn from the seed instead of read.
    pub random_init: bool,
    /// What it computes in here; never a choice that is still open.
    pub dtype: Dtype,
    /// Things a person should know about this checkpoint.
    pub warnings: Vec<String>,
}

/// What a model's files hold, and how that fits the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The model folder.
    pub folder: PathBuf,
    /// The format of the weights, `safetensors`; empty if there are none.
    pub format: String,
    /// Every file that is read; the content of these is what the model is.
    pub files: Vec<PathBuf>,
    /// Element types of the stored tensors with their number of tensors, `f32`.
    pub dtypes: Vec<(String, usize)>,
    /// Numbers the network holds.
    pub parameters: u64,
    /// Tensors that are stored and not used.
    pub unused: Vec<String>,
    /// Tensors that are needed and not stored, each with the most similar name that is.
    pub missing: Vec<(String, Option<String>)>,
    /// Tensors of another shape than the configuration says, with the shapes found and expected.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl ModelReport {
    /// Whether the files fit the network.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn check(&self) -> Result<()> {
        if !self.missing.is_empty() {
            let names = self.missing.iter().map(|(name, _)| name.clone()).collect();
            return Err(Error::MissingTensors { path: self.folder.clone(), names, near: self.missing[0].1.clone() });
        }
        match self.misshapen.first() {
            Some((name, found, expected)) => Err(Error::model(&self.folder, format!("tensor `{name}` has shape {found:?}, `config.json` says {expected:?}"))),
            None => Ok(()),
        }
    }
}

impl EncoderInfo {
    /// Turns a layer number, where negative numbers count from the end, into `0..=layers`.
    ///
    /// # Errors
    /// If the model has no such layer.
    pub fn layer(&self, layer: i64) -> Result<usize> {
        let count = i64::try_from(self.layers).unwrap_or(i64::MAX) + 1;
        let index = if layer < 0 { layer + count } else { layer };
        if (0..count).contains(&index) {
            Ok(usize::try_from(index).expect("the index was checked to be in range"))
        } else {
            Err(Error::Config(format!("layer {layer} does not exist: the model has hidden states 0 to {} (or -{count} to -1)", self.layers)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_layers_count_from_the_end() {
        let info = EncoderInfo {
            family: "bert".into(),
            layers: 6,
            hidden: 8,
            heads: 2,
            vocab: 10,
            max_length: 16,
            mask: None,
            lowercase: true,
            casing_source: String::new(),
            trainable: true,
            pooler: false,
            mlm_head: false,
            lm_head: false,
            task_head: None,
            causal: false,
            random_init: false,
            dtype: Dtype::F32,
            warnings: vec![],
        };
        assert_eq!(info.layer(-1).unwrap(), 6);
        assert_eq!(info.layer(-7).unwrap(), 0);
        assert_eq!(info.layer(0).unwrap(), 0);
        assert!(info.layer(7).unwrap_err().to_string().contains("hidden states 0 to 6"));
    }
}
