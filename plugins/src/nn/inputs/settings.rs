//! How examples become inputs: what a head must be told to be asked as it was trained.

use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{EncoderInfo, Error, Problem, Result, TaskHead};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sentences::TokenKind;

/// How examples become inputs, and how logits become answers. It is stored in a checkpoint beside the head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputSettings {
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// What happens to longer ones.
    pub long_inputs: LongInputs,
    /// Tokens that two neighbouring windows share; empty is a third of `max_length`.
    pub window_overlap: Option<usize>,
    /// Tokens from the beginning of a window to that of the next, in the place of `window_overlap`.
    pub window_step: Option<usize>,
    /// Longest question about a context, in pieces.
    pub max_query_length: usize,
    /// Longest answer from a context, in pieces.
    pub max_answer_length: usize,
    /// Answers listed for a question about a context.
    pub n_best: usize,
    /// How much better than the best answer it must be to say that there is none.
    pub null_threshold: f64,
    /// Which piece of a word carries its label.
    pub label_position: LabelPosition,
    /// What the labels of pieces are.
    pub label_scheme: LabelScheme,
    /// Whether the second text of a pair has token type 1.
    pub segments: bool,
    /// What stands between two texts if the tokenizer puts nothing there.
    pub pair_separator: PairSeparator,
    /// Whether questions were learned from that their contexts do not answer, so that such an answer is possible.
    pub unanswerable: bool,
    /// The tag of a word for which there is no other.
    pub outside: String,
}

/// What happens to inputs that are longer than a model is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LongInputs {
    /// They are split into windows that overlap.
    #[default]
    Window,
    /// They are cut, of a pair the longer text first.
    Cut,
}

/// Which piece of a word carries its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LabelPosition {
    /// The first.
    First,
    /// The last, the only one of a causal model that has seen the whole word.
    Last,
    /// All: their logits are averaged.
    Mean,
}

/// What the labels of pieces are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LabelScheme {
    /// Words have labels; pieces that stand for no word have none.
    #[default]
    Words,
    /// As the original `BioBERT`: every piece has a label, further pieces of a word `X`, special tokens their own.
    Biobert,
}

/// What stands between the two texts of a pair where the tokenizer puts nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairSeparator {
    /// Nothing.
    None,
    /// The token `<|endoftext|>`.
    #[default]
    EndOfText,
}

/// The label of padding, which no real token has.
pub(crate) const PADDING: &str = "[PAD]";
/// The label of a word's further pieces.
const FURTHER_PIECE: &str = "X";
/// The label of special tokens before a text.
const BEFORE_TEXT: &str = "[CLS]";
/// The label of special tokens behind a text.
const BEHIND_TEXT: &str = "[SEP]";

impl LabelScheme {
    /// The labels of a head for a task with these: `BioBERT` has seven for `B`, `I` and `O`.
    pub(crate) fn head_labels(self, labels: &[String]) -> Vec<String> {
        let own = labels.iter().cloned();
        match self {
            Self::Words => own.collect(),
            Self::Biobert => [PADDING.to_owned()].into_iter().chain(own).chain([FURTHER_PIECE, BEFORE_TEXT, BEHIND_TEXT].map(str::to_owned)).collect(),
        }
    }

    /// The label of a token of a sentence with these tags, where every token has one.
    pub(crate) fn token_label(self, kind: TokenKind, tags: &[String]) -> Option<&str> {
        (self == Self::Biobert).then(|| match kind {
            TokenKind::Before => BEFORE_TEXT,
            TokenKind::Behind => BEHIND_TEXT,
            TokenKind::First(word) => tags[word].as_str(),
            TokenKind::Further(_) => FURTHER_PIECE,
        })
    }

    /// Whether a label is one of the scheme's own and no tag of a word.
    pub(crate) fn is_own(self, label: &str) -> bool {
        self == Self::Biobert && [PADDING, FURTHER_PIECE, BEFORE_TEXT, BEHIND_TEXT].contains(&label)
    }
}

impl InputSettings {
    /// What a head is asked with, and what to say about it: its own settings, or those that the examples of `transformers` train with if it has none.
    ///
    /// # Errors
    /// If its settings cannot be read.
    pub(crate) fn of_head(head: &TaskHead, encoder: &EncoderInfo, outside: &str) -> Result<(Self, Option<String>)> {
        if head.settings != Value::Null {
            let settings = serde_json::from_value(head.settings.clone());
            let settings: Self = settings.map_err(|error| {
                Error::Unsupported(format!("the settings of the checkpoint's head cannot be read (`lmprobe.settings` of config.json): {error}"))
            })?;
            return Ok((settings, None));
        }
        let question = head.info.problem == Problem::ExtractiveQa;
        let settings = Self {
            max_length: encoder.max_length.min(if question { 384 } else { 512 }),
            long_inputs: LongInputs::Window,
            window_overlap: None,
            window_step: None,
            max_query_length: 64,
            max_answer_length: 30,
            n_best: 20,
            null_threshold: 0.0,
            label_position: LabelPosition::First,
            label_scheme: LabelScheme::Words,
            segments: true,
            pair_separator: PairSeparator::None,
            unanswerable: false,
            outside: outside.to_owned(),
        };
        let note = format!(
            "the checkpoint does not say how the inputs of its head were made: windows of {} tokens are taken, the first piece of a word carries its label, and \
             nothing stands between two texts but what the tokenizer puts there",
            settings.max_length
        );
        Ok((settings, Some(note)))
    }
}
