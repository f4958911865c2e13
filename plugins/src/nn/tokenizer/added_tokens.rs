//! Special tokens, and tokens that were added to a vocabulary.

use std::path::Path;

use lmprobe_core::{Error, Result};
use tokenizers::{AddedToken, Tokenizer};

use super::text_tokenizer::TokenizerKind;
use super::tokenizer_config::TokenizerConfig;

/// A token with a role of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its text.
    pub text: String,
    /// Its vocabulary id.
    pub id: u32,
}

/// The special tokens of a tokenizer; those that its vocabulary lacks are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Stands before a text that is classified.
    pub cls: Option<SpecialToken>,
    /// Stands between and behind texts.
    pub sep: Option<SpecialToken>,
    /// Begins a text.
    pub bos: Option<SpecialToken>,
    /// Ends a text.
    pub eos: Option<SpecialToken>,
    /// Fills a batch.
    pub pad: Option<SpecialToken>,
    /// Stands for what the vocabulary cannot write.
    pub unk: Option<SpecialToken>,
    /// Hides a token that is to be guessed.
    pub mask: Option<SpecialToken>,
}

/// The roles of special tokens in configuration files, in the order in which `transformers` adds them.
pub(super) const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl SpecialTokens {
    /// The special tokens that a folder names, as far as `id_of` knows them.
    pub(super) fn new(config: &TokenizerConfig, kind: TokenizerKind, id_of: impl Fn(&str) -> Option<u32>) -> Self {
        let of = |role: &str| {
            let text = config.special(role, kind)?.content;
            id_of(&text).map(|id| SpecialToken { text, id })
        };
        Self {
            cls: of("cls_token"),
            sep: of("sep_token"),
            bos: of("bos_token"),
            eos: of("eos_token"),
            pad: of("pad_token"),
            unk: of("unk_token"),
            mask: of("mask_token"),
        }
    }
}

/// Makes a tokenizer recognise the special tokens in its vocabulary, and the tokens that the folder adds to it.
pub(super) fn add_to(tokenizer: &mut Tokenizer, config: &TokenizerConfig, kind: TokenizerKind, folder: &Path) -> Result<()> {
    let fail = |error: tokenizers::Error| Error::model(folder, error.to_string());
    let added = config.added(folder)?;
    let stated = |token: &AddedToken| added.iter().any(|(_, other)| other.content == token.content);
    let special = ROLES.iter().filter_map(|role| config.special(role, kind));
    let special: Vec<AddedToken> = special.filter(|token| tokenizer.token_to_id(&token.content).is_some() && !stated(token)).collect();
    tokenizer.add_special_tokens(special).map_err(fail)?;
    for (id, token) in &added {
        let one = [token.clone()];
        if token.special { tokenizer.add_special_tokens(one) } else { tokenizer.add_tokens(one) }.map_err(fail)?;
        if tokenizer.token_to_id(&token.content) != Some(*id) {
            return Err(misplaced(folder, &token.content, *id, tokenizer.token_to_id(&token.content)));
        }
    }
    Ok(())
}

/// The error of an added token whose id is neither that of the vocabulary nor the next free one.
pub(super) fn misplaced(folder: &Path, token: &str, stated: u32, found: Option<u32>) -> Error {
    let found = found.map_or_else(|| "another piece has it".to_owned(), |id| format!("the vocabulary gives it {id}"));
    Error::model(folder, format!("the added token `{token}` has the id {stated}, but {found}; the vocabulary and the added tokens do not belong together"))
}

#[cfg(test)]
mod tests {
    use super::super::{Casing, TextTokenizer};
    use super::*;
    use lmprobe_core::Tokenization;

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngene\n";

    fn tokenizer(added: &str) -> Result<TextTokenizer> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vocab.txt"), VOCAB).unwrap();
        std::fs::write(folder.path().join("added_tokens.json"), added).unwrap();
        TextTokenizer::of_folder(folder.path(), TokenizerKind::WordPiece, Casing::Auto)
    }

    #[test]
    fn added_tokens_are_found_in_texts() {
        let tokenizer = tokenizer(r#"{"@gene$": 6}"#).unwrap();
        assert_eq!(tokenizer.encode(&[("Gene@gene$", None)], Tokenization::default(), 9).unwrap().ids, [2, 5, 6, 3]);
        assert_eq!(tokenizer.vocab, 7);
    }

    #[test]
    fn an_added_token_must_have_its_id() {
        let message = tokenizer(r#"{"@gene$": 9}"#).err().unwrap().to_string();
        assert!(message.contains("`@gene$` has the id 9, but the vocabulary gives it 6"), "{message}");
        let message = tokenizer(r#"{"@gene$": "x"}"#).err().unwrap().to_string();
        assert!(message.contains("not a whole number"), "{message}");
    }

    #[test]
    fn special_tokens_that_are_not_in_the_vocabulary_are_none() {
        let specials = tokenizer("{}").unwrap().specials;
        assert_eq!(specials.cls, Some(SpecialToken { text: "[CLS]".into(), id: 2 }));
        assert_eq!(specials.bos, None);
    }
}
