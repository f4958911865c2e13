//! The tokenizer of a model folder.

use std::path::{Path, PathBuf};

use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Error, MaskToken, Result, TokenBatch, Tokenization};
use rayon::prelude::*;

use super::added_tokens::SpecialTokens;
use super::biogpt::BioGpt;
use super::casing::{Casing, Decision};
use super::files::{json_if_there, read_if_there};
use super::pipeline::Pipeline;
use super::tokenizer_config::TokenizerConfig;
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
            vocab: inner.vocab().map_err(|error| Error::model(folder, error.to_string()))?,
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
        let limit = if how.whole { usize::MAX } else { how.max_length.map_or(limit, |max| max.min(limit)) };
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

    fn vocab(&self) -> Result<usize> {
        match self {
            Self::Pipeline(pipeline) => pipeline.vocab(),
            Self::BioGpt(biogpt) => Ok(biogpt.vocab()),
        }
    }

    fn added(&self, pair: bool) -> usize {
        match self {
            Self::Pipeline(pipeline) => pipeline.added(pair),
            Self::BioGpt(_) => BioGpt::added(pair),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lmprobe_core::Side;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const CASED: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nBRCA\nbrca\naspirin\n##s\n";

    fn build(files: &[(&str, &str)], kind: TokenizerKind, casing: Casing) -> Result<TextTokenizer> {
        TextTokenizer::of_folder(folder(files).path(), kind, casing)
    }

    fn wordpiece(files: &[(&str, &str)], casing: Casing) -> Result<TextTokenizer> {
        build(files, TokenizerKind::WordPiece, casing)
    }

    fn ids(tokenizer: &TextTokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(&[(text, None)], Tokenization::default(), 512).unwrap().ids
    }

    fn message(result: Result<TextTokenizer>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn casing_without_a_configuration_comes_from_the_vocabulary() {
        let of = |casing| ids(&wordpiece(&[("vocab.txt", CASED)], casing).unwrap(), "BRCA");
        assert_eq!(of(Casing::Auto), [2, 5, 3]);
        assert_eq!(of(Casing::Hf), [2, 6, 3]);
        assert_eq!(of(Casing::Uncased), [2, 6, 3]);
        let tokenizer = wordpiece(&[("vocab.txt", CASED)], Casing::Auto).unwrap();
        assert!(tokenizer.warnings[0].contains("taken as cased"), "{:?}", tokenizer.warnings);
    }

    #[test]
    fn the_configuration_decides_where_there_is_one() {
        let files = [("vocab.txt", CASED), ("tokenizer_config.json", r#"{"do_lower_case": true}"#)];
        assert_eq!(ids(&wordpiece(&files, Casing::Auto).unwrap(), "BRCA"), [2, 6, 3]);
    }

    #[test]
    fn the_mask_token_is_one_token() {
        let tokenizer = wordpiece(&[("vocab.txt", CASED)], Casing::Auto).unwrap();
        assert_eq!(ids(&tokenizer, "aspirins [MASK] ."), [2, 7, 8, 4, 1, 3]);
        assert_eq!(tokenizer.mask, Some(MaskToken { text: "[MASK]".into(), id: 4 }));
    }

    #[test]
    fn a_long_text_is_cut_where_asked_and_marked() {
        let tokenizer = wordpiece(&[("vocab.txt", CASED)], Casing::Auto).unwrap();
        let how = Tokenization::at_most(4);
        let batch = tokenizer.encode(&[("aspirin brca brca brca", None), ("brca", None)], how, 512).unwrap();
        assert_eq!(batch.ids, [2, 7, 6, 3, 2, 6, 3]);
        assert_eq!(batch.truncated, [true, false]);
        let how = Tokenization { cut: Side::Left, ..how };
        assert_eq!(tokenizer.encode(&[("aspirin brca brcas", None)], how, 512).unwrap().ids, [2, 6, 8, 3]);
    }

    #[test]
    fn a_pair_loses_tokens_of_the_longer_text_and_keeps_its_special_tokens() {
        let tokenizer = wordpiece(&[("vocab.txt", CASED)], Casing::Auto).unwrap();
        let encode = |limit| tokenizer.encode(&[("aspirin brca brca brca", Some("aspirins"))], Tokenization::at_most(limit), 512).unwrap();
        assert_eq!(encode(9).truncated, [false]);
        let empty = tokenizer.encode(&[("brca", Some(""))], Tokenization::default(), 512).unwrap();
        assert_eq!(empty.ids, [2, 6, 3, 3]); // an empty second text is a text
        let batch = encode(7);
        assert_eq!(batch.ids, [2, 7, 6, 3, 7, 8, 3]); // 4 + 2 tokens into 4
        assert_eq!(batch.type_ids, [0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(batch.special, [true, false, false, true, false, false, true]);
        assert_eq!(batch.char_offsets, [(0, 0), (0, 7), (8, 12), (0, 0), (0, 7), (7, 8), (0, 0)]);
        assert_eq!(batch.truncated, [true]);
    }

    #[test]
    fn a_limit_must_leave_room() {
        let tokenizer = wordpiece(&[("vocab.txt", CASED)], Casing::Auto).unwrap();
        let error = |second, limit| tokenizer.encode(&[("a", second)], Tokenization::at_most(limit), 512).unwrap_err().to_string();
        assert_eq!(error(None, 2), "a length limit of 2 tokens leaves no room for text beside 2 special tokens");
        assert_eq!(error(Some("b"), 4), "a length limit of 4 tokens leaves no room for both texts beside 3 special tokens");
    }

    #[test]
    fn a_missing_tokenizer_is_named() {
        assert!(message(wordpiece(&[], Casing::Auto)).contains("neither `tokenizer.json` nor `vocab.txt`"));
        assert!(message(wordpiece(&[("vocab.txt", "[CLS]\n")], Casing::Auto)).contains("has no `[SEP]`"));
        assert!(message(build(&[], TokenizerKind::Gpt2, Casing::Auto)).contains("neither `tokenizer.json` nor `vocab.json`"));
    }

    #[test]
    fn malformed_files_are_errors_and_never_panics() {
        let json = |text: &str| message(wordpiece(&[("tokenizer.json", text)], Casing::Auto));
        assert!(json("{").contains("tokenizer.json:1: not a tokenizer"), "{}", json("{"));
        assert!(json("{}").contains("not a tokenizer"), "{}", json("{}"));
        assert!(json(r#"{"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}"#).contains("not a tokenizer"));
        // A special token that the template names and does not define.
        let template = r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}], "pair": [], "special_tokens": {}}"#;
        let text = json(&format!(r#"{{"model": {{"type": "WordLevel", "vocab": {{}}, "unk_token": "u"}}, "post_processor": {template}}}"#));
        assert!(text.contains("tokenizer"), "{text}");
        let config = wordpiece(&[("vocab.txt", CASED), ("tokenizer_config.json", "[]")], Casing::Auto);
        assert!(message(config).contains("tokenizer_config.json: not a JSON object"));
    }

    /// The bytes of ASCII letters and the space stand for themselves there, the space as `Ġ`.
    const BYTE_LEVEL: [(&str, &str); 2] = [
        ("vocab.json", r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3, "b": 4, "Ġ": 5, "Ġa": 6, "ab": 7, "Ġab": 8, "<mask>": 9, "<|endoftext|>": 10}"#),
        ("merges.txt", "#version: 0.2\na b\nĠ ab\nĠ a\n"),
    ];

    #[test]
    fn roberta_puts_its_special_tokens_round_texts() {
        let tokenizer = build(&BYTE_LEVEL, TokenizerKind::Roberta, Casing::Auto).unwrap();
        let batch = tokenizer.encode(&[("ab  ab", Some("a"))], Tokenization::default(), 512).unwrap();
        assert_eq!(batch.ids, [0, 7, 5, 8, 2, 2, 3, 2]);
        assert_eq!(batch.type_ids, [0; 8]);
        assert_eq!(batch.char_offsets[1..4], [(0, 2), (3, 3), (4, 6)]); // places leave the spaces out
        assert_eq!(ids(&tokenizer, "a <mask> a"), [0, 3, 9, 6, 2]); // the mask takes the space before it along
        assert_eq!((tokenizer.added, tokenizer.added_to_pair), (2, 4));
        assert!(tokenizer.warnings[0].contains("of the 256 bytes"), "{:?}", tokenizer.warnings);
    }

    #[test]
    fn gpt2_adds_nothing_and_a_limit_of_one_is_fine() {
        let tokenizer = build(&BYTE_LEVEL, TokenizerKind::Gpt2, Casing::Auto).unwrap();
        assert_eq!(ids(&tokenizer, "ab ab<|endoftext|>"), [7, 8, 10]);
        let batch = tokenizer.encode(&[("ab ab", None), ("a", Some("ab"))], Tokenization::at_most(2), 512).unwrap();
        assert_eq!((batch.ids.as_slice(), batch.type_ids.as_slice()), ([7, 8, 3, 7].as_slice(), [0, 0, 0, 1].as_slice()));
        assert_eq!(tokenizer.encode(&[("ab ab", None)], Tokenization::at_most(1), 512).unwrap().ids, [7]);
        assert_eq!((tokenizer.added, tokenizer.mask), (0, None));
    }

    #[test]
    fn pieces_are_those_of_a_text_that_follows_another() {
        let tokenizer = build(&BYTE_LEVEL, TokenizerKind::Gpt2, Casing::Auto).unwrap();
        assert_eq!(tokenizer.pieces("ab").unwrap(), [8]);
        assert_eq!(tokenizer.pieces(" ab").unwrap(), [8]);
        assert_eq!(tokenizer.pieces("").unwrap(), [0u32; 0]);
        let mut files = BYTE_LEVEL.to_vec();
        files.push(("tokenizer_config.json", r#"{"add_prefix_space": true}"#));
        let prefixed = build(&files, TokenizerKind::Gpt2, Casing::Auto).unwrap();
        assert_eq!((ids(&prefixed, "ab"), prefixed.pieces("ab").unwrap()), (vec![8], vec![8]));
    }

    #[test]
    fn tokens_at_the_ends_of_texts_are_added_if_the_configuration_says_so() {
        let mut files = BYTE_LEVEL.to_vec();
        files.push(("tokenizer_config.json", r#"{"add_bos_token": true}"#));
        let tokenizer = build(&files, TokenizerKind::Gpt2, Casing::Auto).unwrap();
        let batch = tokenizer.encode(&[("a", Some("ab"))], Tokenization::default(), 512).unwrap();
        assert_eq!(batch.ids, [10, 3, 10, 7]);
        assert_eq!((tokenizer.added, tokenizer.added_to_pair), (1, 2));
    }

    #[test]
    fn a_merge_without_a_result_is_refused() {
        let files = [BYTE_LEVEL[0], ("merges.txt", "#version: 0.2\na b\nb a\n")];
        let text = message(build(&files, TokenizerKind::Gpt2, Casing::Auto));
        assert!(text.ends_with("merges.txt:3: `b a` needs `ba`, which is not in vocab.json"), "{text}");
        assert!(message(build(&BYTE_LEVEL, TokenizerKind::Gpt2, Casing::Uncased)).contains("keeps case"));
    }
}
