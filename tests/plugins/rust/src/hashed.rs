//! The encoder `example/hashed`: a toy model that needs no files.

use std::sync::OnceLock;

use lmprobe_sdk::schemars::JsonSchema;
use lmprobe_sdk::serde::Deserialize;
use lmprobe_sdk::{Call, Component, Encoder, EncoderInfo, EncoderOutput, Error, MaskToken, Result, Side, Tensor, Token, TokenBatch, Tokenization, Want};

use crate::hashed_model::{CLS, HEADS, HashedModel, MASK, SEP};

/// Longest sequence in tokens.
const MAX_LENGTH: usize = 512;

/// Parameters of `example/hashed`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields, default)]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub struct HashedParams {
    /// Width of a hidden state.
    #[schemars(range(min = 1, max = 4096))]
    hidden: usize,
    /// Number of blocks.
    #[schemars(range(min = 1, max = 64))]
    layers: usize,
    /// Vocabulary entries, of which the first 8 are special.
    #[schemars(range(min = 9, max = 1_000_000))]
    vocab: u32,
    /// Whether words are lower-cased.
    lowercase: bool,
}

impl Default for HashedParams {
    fn default() -> Self {
        Self { hidden: 16, layers: 2, vocab: 512, lowercase: true }
    }
}

/// A model whose weights are hashes.
#[derive(Debug)]
pub struct Hashed {
    model: HashedModel,
    lowercase: bool,
    /// `(vocab, hidden)`, made by the first call that needs them.
    embeddings: OnceLock<Vec<f32>>,
}

impl Component for Hashed {
    type Params = HashedParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "a toy model without files: every weight is a hash";

    fn build(params: HashedParams, _: &Call<'_>) -> Result<Self> {
        let HashedParams { hidden, layers, vocab, lowercase } = params;
        if hidden == 0 || layers == 0 || vocab < 9 {
            return Err(Error::config("`hidden` and `layers` must be at least 1, `vocab` at least 9"));
        }
        Ok(Self { model: HashedModel { hidden, layers, vocab }, lowercase, embeddings: OnceLock::new() })
    }
}

impl Encoder for Hashed {
    const FAMILIES: &'static [&'static str] = &["hashed"];

    fn info(&self) -> EncoderInfo {
        EncoderInfo {
            layers: self.model.layers,
            hidden: self.model.hidden,
            heads: HEADS,
            vocab: self.model.vocab as usize,
            max_length: MAX_LENGTH,
            mask: Some(MaskToken { text: "[MASK]".to_owned(), id: MASK }),
            lowercase: self.lowercase,
            pooler: true,
            mlm_head: true,
            ..EncoderInfo::default()
        }
    }

    fn tokenize(&self, texts: &[(&str, Option<&str>)], how: Tokenization, _: &Call<'_>) -> Result<TokenBatch> {
        let limit = how.max_length.unwrap_or(MAX_LENGTH).min(MAX_LENGTH);
        let mut batch = TokenBatch::default();
        for &(text, pair) in texts {
            let mut words = self.words(text, 0);
            if how.pieces {
                let cut = shorten(&mut words, limit, how.cut);
                batch.push(words, cut);
                continue;
            }
            let mut second = pair.map(|pair| self.words(pair, 1));
            let specials = if second.is_some() { 3 } else { 2 };
            let room = limit.checked_sub(specials).ok_or_else(|| Error::config(format!("{limit} tokens leave no room for {specials} special tokens")))?;
            let cut = match &mut second {
                None => shorten(&mut words, room, how.cut),
                Some(second) => shorten_pair(&mut words, second, room, how.cut),
            };
            let special = |id, type_id| Token { id, type_id, special: true, ..Token::default() };
            let mut sequence = vec![special(CLS, 0)];
            sequence.extend(words);
            sequence.push(special(SEP, 0));
            if let Some(second) = second {
                sequence.extend(second);
                sequence.push(special(SEP, 1));
            }
            batch.push(sequence, cut);
        }
        Ok(batch)
    }

    fn load(&self, _: &Call<'_>) -> Result<()> {
        self.embeddings();
        Ok(())
    }

    fn encode(&self, tokens: &TokenBatch, want: &Want, call: &Call<'_>) -> Result<EncoderOutput> {
        let (model, hidden) = (&self.model, self.model.hidden);
        if want.lm_logits {
            return Err(Error::unsupported("the model has no causal-language-model head"));
        }
        if let Some(id) = tokens.ids.iter().find(|&&id| id >= model.vocab) {
            return Err(Error::input(format!("the token {id} is not in the vocabulary of {} entries", model.vocab)));
        }
        if let Some(&layer) = want.layers.iter().find(|&&layer| layer as usize > model.layers) {
            return Err(Error::config(format!("layer {layer} does not exist: the model has hidden states 0 to {}", model.layers)));
        }
        let n = tokens.ids.len();
        // Every layer of all sequences, `(layers + 1)` times `(tokens, hidden)`.
        let mut states: Vec<Vec<f32>> = vec![Vec::with_capacity(n * hidden); model.layers + 1];
        let (mut pooled, mut attentions) = (Vec::new(), Vec::new());
        for index in 0..tokens.len() {
            call.check_cancelled()?;
            let ids = tokens.sequence(index);
            let sequence = model.hidden_states(ids);
            pooled.extend(sequence[model.layers].iter().take(hidden).copied());
            attentions.extend(model.attentions(ids.len()));
            for (all, one) in states.iter_mut().zip(sequence) {
                all.extend(one);
            }
        }
        let mut output = EncoderOutput::default();
        if !want.layers.is_empty() {
            let wanted: Vec<f32> = want.layers.iter().flat_map(|&layer| &states[layer as usize]).copied().collect();
            output.hidden_states = Some(Tensor::f32s([want.layers.len(), n, hidden], wanted)?);
        }
        if want.attentions {
            let cells = attentions.len();
            output.attentions = Some(Tensor::f32s([model.layers, cells], attentions.repeat(model.layers))?);
        }
        if want.pooled {
            output.pooled = Some(Tensor::f32s([pooled.len() / hidden, hidden], pooled)?);
        }
        if want.mlm_logits {
            let rows = want.rows.clone().unwrap_or_else(|| (0..n).collect());
            let last = &states[model.layers];
            let logits: Vec<f32> = rows.iter().flat_map(|&row| model.mlm_logits(&last[row * hidden..(row + 1) * hidden], self.embeddings())).collect();
            output.mlm_logits = Some(Tensor::f32s([rows.len(), model.vocab as usize], logits)?);
        }
        Ok(output)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.model.token(id)
    }
}

impl Hashed {
    fn embeddings(&self) -> &[f32] {
        self.embeddings.get_or_init(|| self.model.embeddings())
    }

    /// The words of a text with their places in characters.
    fn words(&self, text: &str, type_id: u32) -> Vec<Token> {
        let mut words = Vec::new();
        let (mut end_byte, mut end_char) = (0, 0);
        for (index, word) in (0..).zip(text.split_whitespace()) {
            let start_byte = end_byte + text[end_byte..].find(word).unwrap_or(0);
            let start = end_char + length(&text[end_byte..start_byte]);
            (end_byte, end_char) = (start_byte + word.len(), start + length(word));
            let id = if self.lowercase && word != "[MASK]" { self.model.word_id(&word.to_lowercase()) } else { self.model.word_id(word) };
            words.push(Token { id, type_id, special: false, word: Some(index), chars: (start, end_char) });
        }
        words
    }
}

/// The length of a text in characters.
fn length(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// Cuts words so that `room` are left; whether any was lost.
fn shorten(words: &mut Vec<Token>, room: usize, cut: Side) -> bool {
    let lost = words.len().saturating_sub(room);
    match cut {
        Side::Right => words.truncate(room),
        Side::Left => drop(words.drain(..lost)),
    }
    lost > 0
}

/// Cuts the longer of two texts word by word, the second one if they are of one length.
fn shorten_pair(first: &mut Vec<Token>, second: &mut Vec<Token>, room: usize, cut: Side) -> bool {
    let (mut left, mut right) = (first.len(), second.len());
    while left + right > room {
        if left > right { left -= 1 } else { right -= 1 }
    }
    let lost = shorten(first, left, cut);
    shorten(second, right, cut) || lost
}
