//! Encoders: language models that turn tokens into vectors.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use serde_json::Value;

use crate::train::Gradients;
use crate::{CallContext, EncoderInfo, EncoderOutput, Error, HeadLayout, ModelReport, Problem, Result, Seed, TaskHead, TokenBatch, Tokenization, Want};

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

    /// Whether a head for such a problem can stand on the model.
    ///
    /// # Errors
    /// If the family has none.
    fn check_head(&self, problem: Problem) -> Result<()> {
        let _ = problem;
        Ok(())
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
