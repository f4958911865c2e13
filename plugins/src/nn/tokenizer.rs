//! Tokenizers of Hugging Face model folders.
//!
//! `tokenizer.json` where there is one, else WordPiece from `vocab.txt`. Padding and truncation that a `tokenizer.json` switches on
//! by itself are switched off: they would change what a text is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Error, MaskToken, Result, Side, TokenBatch, Tokenization};
use rayon::prelude::*;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// Whether texts are lower-cased before they are tokenized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Casing {
    /// As the model folder says; if it says nothing, a vocabulary with upper-case pieces is cased.
    #[default]
    Auto,
    /// Texts stay as they are.
    Cased,
    /// Texts are lower-cased and lose their accents.
    Uncased,
    /// As `transformers` does: a folder that says nothing is lower-cased, whatever its vocabulary.
    Hf,
}

/// A tokenizer that adds a first and a last special token.
pub struct TextTokenizer {
    inner: Tokenizer,
    /// Whether it lower-cases.
    pub lowercase: bool,
    /// How that was decided.
    pub casing_source: String,
    /// The mask token.
    pub mask: Option<MaskToken>,
    /// Entries of the vocabulary, added tokens included.
    pub vocab: usize,
    /// Things a person should know.
    pub warnings: Vec<String>,
    /// The folder's own tokenizer files, copied beside a saved checkpoint.
    files: Vec<PathBuf>,
}

/// Files that make up a tokenizer.
const FILES: [&str; 5] = ["tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

impl TextTokenizer {
    /// Reads the tokenizer of a model folder.
    ///
    /// # Errors
    /// If there is no tokenizer, or its files are malformed.
    pub fn of_folder(folder: &Path, casing: Casing) -> Result<Self> {
        let config = json_of(&folder.join("tokenizer_config.json"))?;
        let special = json_of(&folder.join("special_tokens_map.json"))?;
        let files = FILES.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect();
        let token = |role: &str, default: &str| {
            special_token(config.as_ref(), role).or_else(|| special_token(special.as_ref(), role)).unwrap_or_else(|| default.to_owned())
        };
        let tokenizer_json = folder.join("tokenizer.json");
        let mut built = if tokenizer_json.exists() {
            Self::from_tokenizer_json(&tokenizer_json, config.as_ref(), casing)?
        } else {
            let specials = Specials {
                cls: token("cls_token", "[CLS]"),
                sep: token("sep_token", "[SEP]"),
                unk: token("unk_token", "[UNK]"),
                others: vec![token("pad_token", "[PAD]"), token("mask_token", "[MASK]")],
            };
            Self::from_vocab(folder, config.as_ref(), casing, &specials)?
        };
        let text = token("mask_token", "[MASK]");
        built.mask = built.inner.token_to_id(&text).map(|id| MaskToken { text, id });
        built.files = files;
        Ok(built)
    }

    fn from_tokenizer_json(path: &Path, config: Option<&Value>, casing: Casing) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let mut json: Value = serde_json::from_slice(&bytes).map_err(|error| Error::data(path, error.line(), format!("not a tokenizer: {error}")))?;
        let stated = json.pointer("/normalizer/lowercase").and_then(Value::as_bool);
        let asked = match casing {
            Casing::Cased => Some((false, "the run file")),
            Casing::Uncased => Some((true, "the run file")),
            // transformers lets `tokenizer_config.json` overrule the normalizer.
            Casing::Auto | Casing::Hf => {
                config.and_then(|config| config.get("do_lower_case")).and_then(Value::as_bool).map(|lowercase| (lowercase, "tokenizer_config.json"))
            }
        };
        let mut warnings = Vec::new();
        let (lowercase, source) = match (stated, asked) {
            (Some(stated), Some((lowercase, source))) if stated != lowercase => {
                warnings.push(format!("{}: tokenizer.json {} and {source} {}: {source} decides", path.display(), verb(stated), verb(lowercase)));
                json["normalizer"]["lowercase"] = Value::Bool(lowercase);
                (lowercase, source)
            }
            (_, Some((lowercase, source))) if stated.is_some() => (lowercase, source),
            (Some(stated), None) => (stated, "tokenizer.json"),
            (None, _) if matches!(casing, Casing::Cased | Casing::Uncased) => {
                return Err(Error::model(path, "its normalizer has no `lowercase` switch, so `casing` cannot be set; remove `casing` from the run file"));
            }
            _ => (false, "tokenizer.json"),
        };
        let mut inner = Tokenizer::from_bytes(json.to_string()).map_err(|error| Error::model(path, format!("not a tokenizer: {error}")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| Error::model(path, error.to_string()))?;
        Ok(Self::new(inner, lowercase, source, warnings))
    }

    fn from_vocab(folder: &Path, config: Option<&Value>, casing: Casing, specials: &Specials) -> Result<Self> {
        let path = folder.join("vocab.txt");
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::model(folder, "neither `tokenizer.json` nor `vocab.txt` in this folder: the tokenizer is missing"),
            std::io::ErrorKind::InvalidData => Error::data(&path, None, "the vocabulary is not UTF-8"),
            _ => Error::io(&path)(error),
        })?;
        let vocab: HashMap<String, u32> =
            text.lines().enumerate().map(|(id, piece)| (piece.trim_end().to_owned(), u32::try_from(id).unwrap_or(u32::MAX))).collect();
        for needed in [&specials.cls, &specials.sep, &specials.unk] {
            if !vocab.contains_key(needed) {
                return Err(Error::data(&path, None, format!("the vocabulary has no `{needed}`")));
            }
        }
        let flag = |name: &str| config.and_then(|config| config.get(name)).and_then(Value::as_bool);
        let (lowercase, source, warnings) = decide_casing(casing, flag("do_lower_case"), &vocab, &path);
        let (cls, sep) = (vocab[&specials.cls], vocab[&specials.sep]);
        let model =
            WordPiece::from_file(&path.to_string_lossy()).unk_token(specials.unk.clone()).build().map_err(|error| Error::model(&path, error.to_string()))?;
        let mut inner = Tokenizer::new(model);
        let fail = |error: tokenizers::Error| Error::model(&path, error.to_string());
        inner
            .with_normalizer(Some(BertNormalizer::new(true, flag("tokenize_chinese_chars").unwrap_or(true), flag("strip_accents"), lowercase)))
            .map_err(fail)?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_post_processor(Some(BertProcessing::new((specials.sep.clone(), sep), (specials.cls.clone(), cls))));
        let there = specials.others.iter().chain([&specials.cls, &specials.sep, &specials.unk]).filter(|token| vocab.contains_key(*token));
        let added: Vec<AddedToken> = there.map(|token| AddedToken::from(token.clone(), true)).collect();
        inner.add_special_tokens(added).map_err(fail)?;
        Ok(Self::new(inner, lowercase, source, warnings))
    }

    fn new(inner: Tokenizer, lowercase: bool, source: &str, warnings: Vec<String>) -> Self {
        let vocab = inner.get_vocab_size(true);
        Self { inner, lowercase, casing_source: source.to_owned(), mask: None, vocab, warnings, files: Vec::new() }
    }

    /// Turns texts, or pairs of texts, into a packed batch.
    ///
    /// A text that is longer than the limit is cut; the special tokens at its ends stay.
    ///
    /// # Errors
    /// If the tokenizer fails or the limit leaves no room for the special tokens.
    pub fn encode(&self, texts: &[(&str, Option<&str>)], how: Tokenization, limit: usize) -> Result<TokenBatch> {
        let limit = how.max_length.map_or(limit, |max| max.min(limit));
        if limit < 3 {
            return Err(Error::Config(format!("a length limit of {limit} tokens leaves no room for text between the special tokens")));
        }
        let encodings = texts
            .par_iter()
            .map(|(first, second)| match second {
                None => self.inner.encode_char_offsets(*first, true),
                Some(second) => self.inner.encode_char_offsets((*first, *second), true),
            })
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| Error::Unsupported(format!("tokenizer: {error}")))?;
        let mut batch = TokenBatch::default();
        for encoding in encodings {
            let length = encoding.len();
            let cut = length > limit;
            // The first and the last token are special and stay: what is cut lies behind the one or before the other.
            let surplus = length.saturating_sub(limit);
            let kept = |index: usize| match how.cut {
                Side::Right => index + if index + 1 == limit { surplus } else { 0 },
                Side::Left => index + if index == 0 { 0 } else { surplus },
            };
            for index in (0..length.min(limit)).map(kept) {
                batch.ids.push(encoding.get_ids()[index]);
                batch.type_ids.push(encoding.get_type_ids()[index]);
                batch.special.push(encoding.get_special_tokens_mask()[index] == 1);
                batch.word_ids.push(encoding.get_word_ids()[index]);
                let (start, end) = encoding.get_offsets()[index];
                batch.char_offsets.push((u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(end).unwrap_or(u32::MAX)));
            }
            batch.offsets.push(batch.ids.len());
            batch.truncated.push(cut);
        }
        Ok(batch)
    }

    /// The pieces of a text without special tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| Error::Unsupported(format!("tokenizer: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Copies the tokenizer's files into a folder and writes down the casing that was decided.
    ///
    /// # Errors
    /// If a file cannot be copied.
    pub fn save(&self, folder: &Path) -> Result<()> {
        for source in &self.files {
            let target = folder.join(source.file_name().unwrap_or_default());
            std::fs::copy(source, &target).map_err(Error::io(&target))?;
        }
        let path = folder.join("tokenizer_config.json");
        let mut config = json_of(&path)?.unwrap_or_else(|| serde_json::json!({"tokenizer_class": "BertTokenizer"}));
        config["do_lower_case"] = Value::Bool(self.lowercase);
        std::fs::write(&path, format!("{config:#}\n")).map_err(Error::io(&path))
    }
}

struct Specials {
    cls: String,
    sep: String,
    unk: String,
    others: Vec<String>,
}

fn verb(lowercase: bool) -> &'static str {
    if lowercase { "lower-cases" } else { "keeps case" }
}

/// Casing of a folder without `tokenizer.json`. Released biomedical models often lack the configuration that says they are cased,
/// and `transformers` then lower-cases them in silence.
fn decide_casing(casing: Casing, stated: Option<bool>, vocab: &HashMap<String, u32>, path: &Path) -> (bool, &'static str, Vec<String>) {
    match (casing, stated) {
        (Casing::Cased, _) => (false, "the run file", vec![]),
        (Casing::Uncased, _) => (true, "the run file", vec![]),
        (_, Some(lowercase)) => (lowercase, "tokenizer_config.json", vec![]),
        (Casing::Hf, None) => (true, "the default of transformers", vec![]),
        (Casing::Auto, None) => {
            let is_text = |piece: &str| !(piece.starts_with('[') && piece.ends_with(']'));
            let cased = vocab.keys().any(|piece| is_text(piece) && piece.chars().any(char::is_uppercase));
            let found =
                if cased { "has upper-case pieces, so the model is taken as cased" } else { "has no upper-case piece, so the model is taken as uncased" };
            let warning = format!("{}: no tokenizer_config.json says whether to lower-case; the vocabulary {found} (set `casing` to overrule)", path.display());
            (!cased, "the vocabulary", vec![warning])
        }
    }
}

fn json_of(path: &Path) -> Result<Option<Value>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::data(path, error.line(), format!("not JSON: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

fn special_token(config: Option<&Value>, role: &str) -> Option<String> {
    let entry = config?.get(role)?;
    entry.as_str().or_else(|| entry.get("content").and_then(Value::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const CASED: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nBRCA\nbrca\naspirin\n##s\n";

    fn ids(folder: &tempfile::TempDir, casing: Casing, text: &str) -> Vec<u32> {
        TextTokenizer::of_folder(folder.path(), casing).unwrap().encode(&[(text, None)], Tokenization::default(), 512).unwrap().ids
    }

    #[test]
    fn casing_without_a_configuration_comes_from_the_vocabulary() {
        let folder = folder(&[("vocab.txt", CASED)]);
        assert_eq!(ids(&folder, Casing::Auto, "BRCA"), [2, 5, 3]);
        assert_eq!(ids(&folder, Casing::Hf, "BRCA"), [2, 6, 3]);
        assert_eq!(ids(&folder, Casing::Uncased, "BRCA"), [2, 6, 3]);
        let tokenizer = TextTokenizer::of_folder(folder.path(), Casing::Auto).unwrap();
        assert!(tokenizer.warnings[0].contains("taken as cased"), "{:?}", tokenizer.warnings);
    }

    #[test]
    fn the_configuration_decides_where_there_is_one() {
        let folder = folder(&[("vocab.txt", CASED), ("tokenizer_config.json", r#"{"do_lower_case": true}"#)]);
        assert_eq!(ids(&folder, Casing::Auto, "BRCA"), [2, 6, 3]);
    }

    #[test]
    fn the_mask_token_is_one_token() {
        let folder = folder(&[("vocab.txt", CASED)]);
        assert_eq!(ids(&folder, Casing::Auto, "aspirins [MASK] ."), [2, 7, 8, 4, 1, 3]);
    }

    #[test]
    fn a_long_text_is_cut_where_asked_and_marked() {
        let folder = folder(&[("vocab.txt", CASED)]);
        let tokenizer = TextTokenizer::of_folder(folder.path(), Casing::Auto).unwrap();
        let how = Tokenization::at_most(4);
        let batch = tokenizer.encode(&[("aspirin brca brca brca", None), ("brca", None)], how, 512).unwrap();
        assert_eq!(batch.ids, [2, 7, 6, 3, 2, 6, 3]);
        assert_eq!(batch.truncated, [true, false]);
        let how = Tokenization { cut: Side::Left, ..how };
        assert_eq!(tokenizer.encode(&[("aspirin brca brcas", None)], how, 512).unwrap().ids, [2, 6, 8, 3]);
        assert!(tokenizer.encode(&[("a", None)], Tokenization::at_most(2), 512).unwrap_err().to_string().contains("no room"));
    }

    #[test]
    fn a_missing_tokenizer_is_named() {
        let message = TextTokenizer::of_folder(folder(&[]).path(), Casing::Auto).err().unwrap().to_string();
        assert!(message.contains("neither `tokenizer.json` nor `vocab.txt`"), "{message}");
        let message = TextTokenizer::of_folder(folder(&[("vocab.txt", "[CLS]\n")]).path(), Casing::Auto).err().unwrap().to_string();
        assert!(message.contains("has no `[SEP]`"), "{message}");
    }
}
