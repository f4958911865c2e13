//! An encoder of the host.

use crate::{Call, EncoderInfo, EncoderOutput, Result, TokenBatch, Tokenization, Want};

/// An encoder of the host, for the length of a call.
#[derive(Debug, Clone, Copy)]
pub struct HostEncoder<'a> {
    pub(crate) call: Call<'a>,
    pub(crate) slot: u32,
}

impl HostEncoder<'_> {
    /// What the encoder is and can give.
    ///
    /// # Errors
    /// If there is no encoder in the slot; likewise below.
    pub fn info(&self) -> Result<EncoderInfo> {
        self.describe()
    }

    /// Turns texts into one packed batch, special tokens included.
    ///
    /// # Errors
    /// If the length limit leaves no room for the special tokens.
    pub fn tokenize<T: AsRef<str>>(&self, texts: &[T], how: Tokenization) -> Result<TokenBatch> {
        let texts: Vec<(&str, Option<&str>)> = texts.iter().map(|text| (text.as_ref(), None)).collect();
        self.tokenize_pairs(&texts, how)
    }

    /// Turns texts, or pairs of texts, into one packed batch. Of a pair that is too long the longer text is cut.
    ///
    /// # Errors
    /// As [`Self::tokenize`].
    pub fn tokenize_pairs(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch> {
        self.host_tokenize(texts, how)
    }

    /// Runs the model without dropout and returns what is wanted.
    ///
    /// # Errors
    /// If something is wanted that [`EncoderInfo`] does not offer, or a sequence is longer than the model allows.
    pub fn encode(&self, tokens: &TokenBatch, want: &Want) -> Result<EncoderOutput> {
        self.host_encode(tokens, want)
    }

    /// The text of a vocabulary entry, `None` if there is none.
    ///
    /// # Errors
    /// If the host does not offer it.
    pub fn token(&self, id: u32) -> Result<Option<String>> {
        self.host_token(id)
    }
}
