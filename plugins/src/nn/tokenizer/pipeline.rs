//! Tokenizers that the `tokenizers` crate can run.

use std::path::Path;

use lmprobe_core::serde_json;
use lmprobe_core::{Error, Result, Side, TokenBatch};
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Tokenizer};

/// A tokenizer of the crate, without padding and truncation of its own: they would change what a text is.
pub(super) struct Pipeline {
    tokenizer: Tokenizer,
    /// What adds special tokens. It stands apart from the tokenizer because texts are cut before it works.
    processor: Option<PostProcessorWrapper>,
    /// Whether pieces carry the space before them, as in GPT-2.
    byte_level: bool,
}

impl Pipeline {
    pub(super) fn new(mut tokenizer: Tokenizer, path: &Path) -> Result<Self> {
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| Error::model(path, error.to_string()))?;
        let processor = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let pre_tokenizer = serde_json::to_string(&tokenizer.get_pre_tokenizer())?;
        Ok(Self { tokenizer, processor, byte_level: pre_tokenizer.contains("\"ByteLevel\"") })
    }

    /// Number of special tokens round one text or a pair.
    pub(super) fn added(&self, pair: bool) -> usize {
        self.processor.as_ref().map_or(0, |processor| processor.added_tokens(pair))
    }

    /// The id of a token, added tokens included.
    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The text of a token.
    pub(super) fn text_of(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The number of ids: the highest one and one, be it that of a piece or of a special token that is put round texts.
    pub(super) fn vocab(&self) -> Result<usize> {
        let empty = [self.encode("", None, 0, Side::Right)?, self.encode("", Some(""), 0, Side::Right)?];
        let pieces = self.tokenizer.get_vocab(true);
        let highest = empty.iter().flat_map(|batch| &batch.ids).chain(pieces.values()).max();
        Ok(highest.map_or(0, |&id| id as usize + 1))
    }

    /// One text, or a pair, of at most `room` tokens beside the special ones.
    pub(super) fn encode(&self, first: &str, second: Option<&str>, room: usize, cut: Side) -> Result<TokenBatch> {
        contained(|| {
            let direction = if cut == Side::Left { TruncationDirection::Left } else { TruncationDirection::Right };
            let params = TruncationParams { direction, max_length: room, strategy: TruncationStrategy::LongestFirst, stride: 0 };
            let first = self.encode_one(first)?;
            let second = second.map(|text| self.encode_one(text)).transpose()?;
            let truncated = first.len() + second.as_ref().map_or(0, Encoding::len) > room;
            let (mut first, mut second) = truncate_encodings(first, second, &params)?;
            // What was cut off would be given special tokens too.
            first.take_overflowing();
            second.as_mut().map(Encoding::take_overflowing);
            let encoding = match &self.processor {
                Some(processor) => processor.process(first, second, true)?,
                None => second.map_or(first.clone(), |mut second| {
                    second.set_type_ids(vec![1; second.len()]);
                    Encoding::merge([first, second], false)
                }),
            };
            Ok(batch_of(&encoding, truncated))
        })
    }

    /// Tokens of one text without special tokens. No place includes white space at its ends.
    fn encode_one(&self, text: &str) -> tokenizers::Result<Encoding> {
        let mut encoding = self.tokenizer.encode_char_offsets(text, false)?;
        if self.byte_level {
            let space: Vec<bool> = text.chars().map(char::is_whitespace).collect();
            for (start, end) in encoding.get_offsets_mut() {
                while *start < *end && space.get(*start) == Some(&true) {
                    *start += 1;
                }
                while *start < *end && space.get(*end - 1) == Some(&true) {
                    *end -= 1;
                }
            }
        }
        Ok(encoding)
    }

    /// The pieces of a text that follows another one, without special tokens.
    pub(super) fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let spaced = (self.byte_level && !text.is_empty() && !text.starts_with(char::is_whitespace)).then(|| format!(" {text}"));
        contained(|| Ok(self.tokenizer.encode_fast(spaced.as_deref().unwrap_or(text), false)?.get_ids().to_vec()))
    }
}

fn batch_of(encoding: &Encoding, truncated: bool) -> TokenBatch {
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    TokenBatch {
        ids: encoding.get_ids().to_vec(),
        type_ids: encoding.get_type_ids().to_vec(),
        special: encoding.get_special_tokens_mask().iter().map(|&special| special == 1).collect(),
        word_ids: encoding.get_word_ids().to_vec(),
        char_offsets: encoding.get_offsets().iter().map(|&(start, end)| (place(start), place(end))).collect(),
        offsets: vec![0, encoding.len()],
        truncated: vec![truncated],
    }
}

/// Runs code of the crate. A malformed `tokenizer.json` can make it panic, which is an error of the file and not of this program.
pub(super) fn contained<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let fail = |message: &str| Error::Unsupported(format!("tokenizer: {message}"));
    match lmprobe_core::contained("tokenizer", || run().map_err(|error| fail(&error.to_string()))) {
        Err(Error::Panic { message, .. }) => Err(fail(&message)),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_crate_is_an_error() {
        let result = contained::<()>(|| panic!("no vocabulary"));
        assert_eq!(result.unwrap_err().to_string(), "tokenizer: no vocabulary");
    }
}
