//! Questions as an encoder reads them: the prompt with one mask token where the object stands.

use lmprobe_core::{CallContext, Encoder, Error, Examples, MaskToken, Result, TokenBatch, Tokenization, table};

/// The questions of a task, tokenized.
pub(crate) struct Queries {
    /// The questions.
    pub(crate) tokens: TokenBatch,
    /// Packed position of the mask of each question; empty where the length limit cut it off.
    pub(crate) masks: Vec<Option<usize>>,
}

impl Queries {
    /// Fills the mask token into every prompt and finds it again among the tokens.
    ///
    /// # Errors
    /// If the encoder has no mask token.
    pub(crate) fn new(encoder: &dyn Encoder, examples: &Examples, how: Tokenization) -> Result<Self> {
        let mask = mask_token(encoder)?;
        let prompts = table::texts(&examples.examples, "prompt")?;
        let starts: Vec<usize> = prompts.iter().map(|prompt| prompt.find("[Y]").map_or(0, |byte| prompt[..byte].chars().count())).collect();
        let filled: Vec<String> = prompts.iter().map(|prompt| prompt.replacen("[Y]", &mask.text, 1)).collect();
        let texts: Vec<&str> = filled.iter().map(String::as_str).collect();
        let tokens = encoder.tokenize(&texts, how)?;
        // A subject may hold the mask token too: the one that counts is the one that stands where `[Y]` stood.
        let masks = starts
            .iter()
            .enumerate()
            .map(|(index, &start)| tokens.range(index).find(|&position| tokens.ids[position] == mask.id && tokens.char_offsets[position].0 as usize == start))
            .collect();
        Ok(Self { tokens, masks })
    }

    /// Warns of questions that were cut.
    pub(crate) fn report(&self, cx: &CallContext<'_>) {
        let cut = self.tokens.truncated.iter().filter(|&&cut| cut).count();
        let lost = self.masks.iter().filter(|mask| mask.is_none()).count();
        if cut > 0 {
            cx.warn(format!("{cut} of {} questions were longer than the length limit and were cut; {lost} of them lost their mask", self.tokens.len()));
        }
    }
}

/// The encoder's mask token.
///
/// # Errors
/// If it has none.
pub(crate) fn mask_token(encoder: &dyn Encoder) -> Result<&MaskToken> {
    encoder.info().mask.as_ref().ok_or_else(|| Error::Unsupported("the encoder's tokenizer has no mask token".into()))
}
