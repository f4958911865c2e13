//! Encoders: language models that turn tokens into vectors.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::train::Gradients;
use crate::{CallContext, Error, HeadLayout, Problem, Result, Seed, TaskHead, TaskHeadInfo, TokenBatch, Tokenization};

/// A language model, loaded.
pub trait Encoder: Send + Sync {
    /// What the model is and what it can give.
    fn info(&self) -> &EncoderInfo;

    /// Turns texts, or pairs of texts, into one packed batch, special tokens included. Of a pair that is too long the longer text is cut.
    ///
    /// # Errors
    /// If the tokenizer fails or the length limit leaves no room for the special tokens.
    fn tokenize_pairs(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch>;

    /// Turns texts into one packed batch, special tokens included.
    ///
    /// # Errors
    /// As [`Self::tokenize_pairs`].
    fn tokenize(&self, texts: &[&str], how: Tokenization) -> Result<TokenBatch> {
        let texts: Vec<(&str, Option<&str>)> = texts.iter().map(|text| (*text, None)).collect();
        self.tokenize_pairs(&texts, how)
    }

    /// The text of a vocabulary entry, as the vocabulary writes it.
    fn token(&self, id: u32) -> Option<String>;

    /// The vocabulary pieces of a text that follows other text, without special tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    fn pieces(&self, text: &str) -> Result<Vec<u32>>;

    /// Runs the model without dropout and returns only what is wanted.
    ///
    /// # Errors
    /// If something is wanted that [`EncoderInfo`] does not offer, or a sequence is longer than the model allows.
    fn encode(&self, tokens: &TokenBatch, want: &Want, cx: &CallContext<'_>) -> Result<EncoderOutput>;

    /// The head that fine-tuning has left in the checkpoint.
    fn task_head(&self) -> Option<&TaskHead> {
        None
    }

    /// What a head for such a problem looks like on this model.
    ///
    /// # Errors
    /// If the family has none.
    fn head_layout(&self, problem: Problem) -> Result<HeadLayout> {
        Err(Error::Unsupported(format!("encoder `{}` has no head for a {problem} task", self.info().family)))
    }

    /// The handle for training, if the encoder has one.
    fn trainable(&self) -> Option<&dyn Trainable> {
        None
    }
}

/// A model that is known but not loaded: what a plan is checked against before any weight is read.
pub trait EncoderSource: Send + Sync {
    /// What the model is and what it can give, read from its configuration and the header of its weights.
    fn info(&self) -> &EncoderInfo;

    /// What the model's files hold, and how that fits the network.
    fn report(&self) -> &ModelReport;

    /// Parameters that the machine decides, such as `dtype: auto`, each with the value they have here. [`EncoderItem::new`](crate::EncoderItem::new) puts them in
    /// the place of what the run file says, so that they are part of a job's identity.
    fn decided(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Whether the files hold every tensor of the network in its shape, as far as their headers tell.
    ///
    /// # Errors
    /// The first misfit of the report.
    fn check(&self) -> Result<()> {
        self.report().check()
    }

    /// Writes everything the model's files hold as a Hugging Face folder with one safetensors file: tensors that the network does not use included.
    ///
    /// # Errors
    /// If a file cannot be read or written, or the family cannot do it.
    fn export(&self, folder: &Path) -> Result<()> {
        let _ = folder;
        Err(Error::Unsupported(format!("encoder `{}` cannot export its checkpoint", self.info().family)))
    }

    /// Reads the weights, for training and inference.
    ///
    /// # Errors
    /// If tensors are missing or malformed.
    fn load(&self, seed: Seed) -> Result<Box<dyn Encoder>>;

    /// Reads the weights for inference only: the encoder has no handle for training and may hold its weights in another form.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn load_for_inference(&self, seed: Seed) -> Result<Box<dyn Encoder>> {
        self.load(seed)
    }

    /// The same family reading another folder in Hugging Face layout: how an adapted checkpoint is opened.
    ///
    /// # Errors
    /// If the folder is not a checkpoint of this family.
    fn at(&self, folder: &Path) -> Result<Box<dyn EncoderSource>>;
}

/// What training needs from an encoder.
pub trait Trainable: Send + Sync {
    /// Every variable that gradients may change, in a fixed order.
    fn variables(&self) -> Vec<Variable>;

    /// Runs the model and keeps the graph. `dropout` seeds all dropout masks of this pass; `None` switches dropout off.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn forward(&self, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Result<EncoderOutput>;

    /// The gradients of the variables, in their order. While candle goes back through a graph of [`Self::forward`], the model's operations may add to them here
    /// instead of to candle's store; [`Self::backward`] brings the two together. They are summed until somebody clears them.
    fn gradients(&self) -> &Mutex<Gradients>;

    /// Goes back through the graph of a loss, adds its gradients to [`Self::gradients`] and returns candle's store, which has those by other variables.
    ///
    /// # Errors
    /// If an operation of the graph has no gradient.
    fn backward(&self, loss: &Tensor) -> Result<GradStore> {
        let store = loss.backward()?;
        self.gradients().lock().unwrap_or_else(PoisonError::into_inner).add_store(&self.variables(), &store)?;
        Ok(store)
    }

    /// Writes weights, configuration and tokenizer in Hugging Face layout into an existing folder; with a head, as a checkpoint of the matching class.
    ///
    /// # Errors
    /// If a file cannot be written, or the family has no class with such a head.
    fn save(&self, folder: &Path, head: Option<&TaskHead>) -> Result<()>;
}

/// A trainable tensor.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name in the checkpoint.
    pub name: String,
    /// The tensor.
    pub var: Var,
    /// Whether it is a bias or a normalisation gain, which most recipes leave out of weight decay.
    pub is_bias_or_norm: bool,
}

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

/// For which tokens something is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenRows {
    /// Every token.
    #[default]
    All,
    /// These packed positions only, in this order: the rest need not be computed. The head is by far the widest product of a small model, and of the last block most
    /// of the work is for its own token alone.
    At(Vec<usize>),
}

/// What is wanted from one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Hidden states of these layers, `0..=layers`.
    pub hidden: Vec<usize>,
    /// For which tokens they are wanted.
    pub hidden_rows: TokenRows,
    /// Attention probabilities of every block.
    pub attentions: bool,
    /// The pooler's output.
    pub pooled: bool,
    /// Masked-language-model logits: each row scores the token at its own position.
    pub mlm_logits: Option<TokenRows>,
    /// Causal-language-model logits: each row scores the token behind its position.
    pub lm_logits: Option<TokenRows>,
}

impl Want {
    /// One hidden state.
    pub fn layer(layer: usize) -> Self {
        Self { hidden: vec![layer], ..Self::default() }
    }

    /// One hidden state at the given packed positions.
    pub fn layer_at(layer: usize, positions: Vec<usize>) -> Self {
        Self { hidden: vec![layer], hidden_rows: TokenRows::At(positions), ..Self::default() }
    }

    /// Logits of the masked-language-model head at the given packed positions.
    pub fn mlm_at(positions: Vec<usize>) -> Self {
        Self { mlm_logits: Some(TokenRows::At(positions)), ..Self::default() }
    }
}

/// What one pass gave. Tensors are `f32`: on the CPU what [`Encoder::encode`] gives, on the encoder's device what [`Trainable::forward`] gives.
#[derive(Debug, Clone, Default)]
pub struct EncoderOutput {
    /// The wanted hidden states as pairs of layer and `(rows, hidden)`, in the order wanted; rows are tokens, or those of [`Want::hidden_rows`].
    pub hidden: Vec<(usize, Tensor)>,
    /// Attention probabilities: for each block, for each sequence, `(heads, query, key)`.
    pub attentions: Vec<Vec<Tensor>>,
    /// Pooler output `(batch, hidden)`.
    pub pooled: Option<Tensor>,
    /// Masked-language-model logits `(rows, vocab)`, rows in the order wanted.
    pub mlm_logits: Option<Tensor>,
    /// Causal-language-model logits `(rows, vocab)`, rows in the order wanted.
    pub lm_logits: Option<Tensor>,
}

impl EncoderOutput {
    /// Keeps the wanted rows of hidden states that were computed for every token.
    ///
    /// # Errors
    /// If a position is not in the batch.
    pub fn keep_rows(&mut self, rows: &TokenRows) -> Result<()> {
        let TokenRows::At(positions) = rows else { return Ok(()) };
        for (_, state) in &mut self.hidden {
            let n = state.dim(0)?;
            if let Some(position) = positions.iter().find(|&&position| position >= n) {
                return Err(Error::Unsupported(format!("a hidden state was asked at position {position} of a batch of {n} tokens")));
            }
            let index: Vec<u32> = positions.iter().map(|&position| u32::try_from(position).unwrap_or(u32::MAX)).collect();
            *state = state.index_select(&Tensor::from_vec(index, positions.len(), state.device())?, 0)?;
        }
        Ok(())
    }

    /// The hidden state of a layer that was wanted.
    ///
    /// # Errors
    /// If that layer was not wanted.
    pub fn layer(&self, layer: usize) -> Result<&Tensor> {
        self.hidden
            .iter()
            .find(|(index, _)| *index == layer)
            .map(|(_, tensor)| tensor)
            .ok_or_else(|| Error::Unsupported(format!("hidden state {layer} was not returned by the encoder")))
    }

    /// The same on a device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_device(self, device: &Device) -> Result<Self> {
        let moved = |tensor: Tensor| tensor.to_device(device);
        let all = |tensors: Vec<Tensor>| tensors.into_iter().map(moved).collect::<candle_core::Result<Vec<_>>>();
        Ok(Self {
            hidden: self.hidden.into_iter().map(|(layer, tensor)| Ok((layer, moved(tensor)?))).collect::<Result<_>>()?,
            attentions: self.attentions.into_iter().map(all).collect::<candle_core::Result<_>>()?,
            pooled: self.pooled.map(moved).transpose()?,
            mlm_logits: self.mlm_logits.map(moved).transpose()?,
            lm_logits: self.lm_logits.map(moved).transpose()?,
        })
    }

    /// The logits, if they were wanted.
    ///
    /// # Errors
    /// If the encoder did not return them.
    pub fn mlm_logits(&self) -> Result<&Tensor> {
        self.mlm_logits.as_ref().ok_or_else(|| Error::Unsupported("masked-language-model logits were not returned by the encoder".into()))
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
