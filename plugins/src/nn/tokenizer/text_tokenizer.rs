//! The tokenizer of a model folder.

use std::path::{Path, PathBuf};

use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Error, MaskToken, Result, TokenBatch, Tokenization};
use rayon::prelude::*;

use super::added_tokens::SpecialTokens;
use super::biogpt::BioGpt;
use super::casing::{Casing, Decision};
use super::pipeline::Pipeline;
use super::tokenizer_config::TokenizerConfig;
use super::vocabulary::{json_if_there, read_if_there};
use super::{byte_level_bpe, tokenizer_json, wordpiece};

/// What a family of models is tokenized with where its folder has no `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerKind {
    /// `WordPiece` from `vocab.txt`: `[CLS] a [SEP] b [SEP]`.
    WordPiece,
    /// Byte-level BPE from `vocab.json` and `merges.txt` without special tokens.
    Gpt2,
    /// Byte-level BPE from `vocab.json` and `merges.txt`: `<s> a </s></s> b </s>`.
    Roberta,
    /// Moses and fairseq's BPE from `vocab.json` and `merges.txt`: `</s> a </s> b`. A `tokenizer.json` is ignored: it cannot say this.
    BioGpt,
}

/// Turns texts into tokens as a model folder says.
pub struct TextTokenizer {
    inner: Inner,
    kind: TokenizerKind,
    /// Whether it lower-cases.
    pub lowercase: bool,
    /// How that was decided.
    pub casing_source: String,
    /// The mask token.
    pub mask: Option<MaskToken>,
    /// The special tokens, the mask token among them.
    pub specials: SpecialTokens,
    /// Ids of the vocabulary, added tokens included: the highest id and one.
    pub vocab: usize,
    /// Number of special tokens that are added to one text.
    pub added: usize,
    /// Number of special tokens that are added to a pair of texts.
    pub added_to_pair: usize,
    /// Things a person should know.
    pub warnings: Vec<String>,
    /// The folder's own tokenizer files, copied beside a saved checkpoint.
    files: Vec<PathBuf>,
}

enum Inner {
    Pipeline(Box<Pipeline>),
    BioGpt(Box<BioGpt>),
}

/// Files that make up a tokenizer.
const FILES: [&str; 7] = ["tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

impl TextTokenizer {
    /// Reads the tokenizer of a model folder; `kind` says what to build where there is no `tokenizer.json`.
    ///
    /// # Errors
    /// If there is no tokenizer, or its files are malformed.
    pub fn of_folder(folder: &Path, kind: TokenizerKind, casing: Casing) -> Result<Self> {
        let config = TokenizerConfig::of_folder(folder)?;
        let path = folder.join("tokenizer.json");
        let whole = if kind == TokenizerKind::BioGpt { None } else { read_if_there(&path)? };
        let pipeline = |(pipeline, decision)| (Inner::Pipeline(Box::new(pipeline)), decision);
        let (inner, decision) = match (whole, kind) {
            (Some(bytes), _) => pipeline(tokenizer_json::read(&path, &bytes, config.flag("do_lower_case"), casing)?),
            (None, TokenizerKind::WordPiece) => pipeline(wordpiece::of_folder(folder, &config, casing)?),
            (None, TokenizerKind::Gpt2 | TokenizerKind::Roberta) => pipeline(byte_level_bpe::of_folder(folder, &config, kind, casing)?),
            (None, TokenizerKind::BioGpt) => {
                let (biogpt, decision) = BioGpt::of_folder(folder, &config, casing)?;
                (Inner::BioGpt(Box::new(biogpt)), decision)
            }
        };
        let Decision { lowercase, source, warnings } = decision;
        let specials = SpecialTokens::new(&config, kind, |token| inner.id_of(token));
        Ok(Self {
            kind,
            lowercase,
            casing_source: source.to_owned(),
            mask: specials.mask.clone().map(|mask| MaskToken { text: mask.text, id: mask.id }),
            specials,
            vocab: inner.vocab(),
            added: inner.added(false),
            added_to_pair: inner.added(true),
            warnings,
            files: FILES.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect(),
            inner,
        })
    }

    /// Turns texts, or pairs of texts, into a packed batch.
    ///
    /// What is longer than the limit is cut, of a pair the longer text first; special tokens stay. The places of tokens are in
    /// characters of the text they come from and include no white space at their ends.
    ///
    /// # Errors
    /// If the tokenizer fails or the limit leaves no room for a token of each text.
    pub fn encode(&self, texts: &[(&str, Option<&str>)], how: Tokenization, limit: usize) -> Result<TokenBatch> {
        let limit = how.max_length.map_or(limit, |max| max.min(limit));
        let room = |pair: bool| {
            let (added, texts) = if pair { (self.added_to_pair, 2) } else { (self.added, 1) };
            limit.checked_sub(added).filter(|room| *room >= texts).ok_or_else(|| {
                let what = if pair { "both texts" } else { "text" };
                Error::Config(format!("a length limit of {limit} tokens leaves no room for {what} beside {added} special tokens"))
            })
        };
        let one = |&(first, second): &(&str, Option<&str>)| match &self.inner {
            Inner::Pipeline(pipeline) => pipeline.encode(first, second, room(second.is_some())?, how.cut),
            Inner::BioGpt(biogpt) => Ok(biogpt.encode(first, second, room(second.is_some())?, how.cut)),
        };
        let sequences = texts.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        let mut batch = TokenBatch::default();
        for sequence in &sequences {
            batch.push_from(sequence, 0);
        }
        Ok(batch)
    }

    /// The pieces of a text that follows other text, without special tokens.
    ///
    /// Byte-level BPE writes a word differently at the beginning of a text than behind a space: here a space is put before the text
    /// unless it starts with white space. To `WordPiece` and `BioGPT` the place does not matter.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        match &self.inner {
            Inner::Pipeline(pipeline) => pipeline.pieces(text),
            Inner::BioGpt(biogpt) => Ok(biogpt.pieces(text)),
        }
    }

    /// The text of a vocabulary entry, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.inner {
            Inner::Pipeline(pipeline) => pipeline.text_of(id),
            Inner::BioGpt(biogpt) => biogpt.text_of(id),
        }
    }

    /// The files it was read from.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Copies the tokenizer's files into a folder and, for `WordPiece`, writes down the casing that was decided.
    ///
    /// # Errors
    /// If a file cannot be copied.
    pub fn save(&self, folder: &Path) -> Result<()> {
        for source in &self.files {
            let target = folder.join(source.file_name().unwrap_or_default());
            // Copying a file onto itself would empty it.
            let same = target.exists() && source.canonicalize().ok() == target.canonicalize().ok();
            if !same {
                std::fs::copy(source, &target).map_err(Error::io(&target))?;
            }
        }
        let class = match self.kind {
            TokenizerKind::WordPiece => "BertTokenizer",
            TokenizerKind::Gpt2 => "GPT2Tokenizer",
            TokenizerKind::Roberta => "RobertaTokenizer",
            TokenizerKind::BioGpt => "BioGptTokenizer",
        };
        let path = folder.join("tokenizer_config.json");
        let mut config = json_if_there(&path)?.unwrap_or_else(|| serde_json::json!({"tokenizer_class": class}));
        if self.kind == TokenizerKind::WordPiece {
            config["do_lower_case"] = Value::Bool(self.lowercase);
        }
        std::fs::write(&path, format!("{config:#}\n")).map_err(Error::io(&path))
    }
}

impl Inner {
    fn id_of(&self, token: &str) -> Option<u32> {
        match self {
            Self::Pipeline(pipeline) => pipeline.id_of(token),
            Self::BioGpt(biogpt) => biogpt.id_of(token),
        }
    }

    fn vocab(&self) -> usize {
        match self {
            Self::Pipeline(pipeline) => pipeline.vocab(),
            Self::BioGpt(biogpt) => biogpt.vocab(),
        }
    }

    fn added(&self, pair: bool) -> usize {
        match self {
            Self::Pipeline(pipeline) => pipeline.added(pair),
            Self::BioGpt(_) => BioGpt::added(pair),
        }
    }
}
