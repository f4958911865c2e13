//! What `tokenizer_config.json` and its older companions say about a tokenizer.

use std::path::Path;

use lmprobe_core::serde_json::Value;
use lmprobe_core::{Error, Result};
use tokenizers::AddedToken;

use super::files::json_if_there;
use super::text_tokenizer::TokenizerKind;

/// The configuration files of a folder; any of them may be missing.
pub(super) struct TokenizerConfig {
    config: Option<Value>,
    special: Option<Value>,
    added: Option<Value>,
}

impl TokenizerConfig {
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        let read = |name: &str| json_if_there(&folder.join(name));
        Ok(Self { config: read("tokenizer_config.json")?, special: read("special_tokens_map.json")?, added: read("added_tokens.json")? })
    }

    /// A switch of `tokenizer_config.json`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.config.as_ref()?.get(name)?.as_bool()
    }

    /// The special token of a role, such as `cls_token`: as the folder says, else as the kind of tokenizer has it.
    pub(super) fn special(&self, role: &str, kind: TokenizerKind) -> Option<AddedToken> {
        let stated = [&self.config, &self.special].into_iter().flatten().find_map(|file| token_of(file.get(role)?, true));
        stated.or_else(|| default_special(role, kind)).map(|token| {
            // The mask token of RoBERTa takes the space before it along unless the folder says otherwise in so many words.
            let in_words = [&self.config, &self.special].into_iter().flatten().any(|file| file.get(role).is_some_and(Value::is_object));
            if role == "mask_token" && kind == TokenizerKind::Roberta && !in_words { token.lstrip(true) } else { token }
        })
    }

    /// Tokens that were added to the vocabulary, with their ids, in the order of their ids.
    pub(super) fn added(&self, folder: &Path) -> Result<Vec<(u32, AddedToken)>> {
        let mut added = Vec::new();
        let id_of = |id: Option<u64>| id.and_then(|id| u32::try_from(id).ok());
        if let Some(entries) = self.config.as_ref().and_then(|config| config.get("added_tokens_decoder")).and_then(Value::as_object) {
            let path = folder.join("tokenizer_config.json");
            for (id, token) in entries {
                let token = token_of(token, token.get("special").and_then(Value::as_bool).unwrap_or(false));
                let (Some(id), Some(token)) = (id_of(id.parse().ok()), token) else {
                    return Err(Error::data(path, None, format!("`added_tokens_decoder`: entry `{id}` is not an id with a token")));
                };
                added.push((id, token));
            }
        }
        for (token, id) in self.added.iter().filter_map(Value::as_object).flatten() {
            let path = folder.join("added_tokens.json");
            let id = id_of(id.as_u64()).ok_or_else(|| Error::data(path, None, format!("token `{token}`: its id is {id}, not a whole number")))?;
            if !token.is_empty() && added.iter().all(|(_, other)| other.content != *token) {
                added.push((id, AddedToken::from(token.clone(), false)));
            }
        }
        added.sort_by_key(|(id, _)| *id);
        Ok(added)
    }
}

/// A token as a string or as an object with its properties.
fn token_of(entry: &Value, special: bool) -> Option<AddedToken> {
    let content = entry.as_str().or_else(|| entry.get("content")?.as_str()).filter(|content| !content.is_empty())?;
    let token = AddedToken::from(content, special);
    let flag = |name: &str, default: bool| entry.get(name).and_then(Value::as_bool).unwrap_or(default);
    let (lstrip, rstrip) = (flag("lstrip", token.lstrip), flag("rstrip", token.rstrip));
    let (single_word, normalized) = (flag("single_word", token.single_word), flag("normalized", token.normalized));
    Some(token.lstrip(lstrip).rstrip(rstrip).single_word(single_word).normalized(normalized))
}

fn default_special(role: &str, kind: TokenizerKind) -> Option<AddedToken> {
    let text = match (kind, role) {
        (TokenizerKind::WordPiece, "cls_token") => "[CLS]",
        (TokenizerKind::WordPiece, "sep_token") => "[SEP]",
        (TokenizerKind::WordPiece, "unk_token") => "[UNK]",
        (TokenizerKind::WordPiece, "pad_token") => "[PAD]",
        (TokenizerKind::WordPiece, "mask_token") => "[MASK]",
        (TokenizerKind::Gpt2, "bos_token" | "eos_token" | "unk_token") => "<|endoftext|>",
        (TokenizerKind::Roberta, "cls_token" | "bos_token") | (TokenizerKind::BioGpt, "bos_token") => "<s>",
        (TokenizerKind::Roberta | TokenizerKind::BioGpt, "sep_token" | "eos_token") => "</s>",
        (TokenizerKind::Roberta | TokenizerKind::BioGpt, "unk_token") => "<unk>",
        (TokenizerKind::Roberta | TokenizerKind::BioGpt, "pad_token") => "<pad>",
        (TokenizerKind::Roberta, "mask_token") => "<mask>",
        _ => return None,
    };
    Some(AddedToken::from(text, true))
}
