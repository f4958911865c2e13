//! The tokenizer of `BioGPT`: Moses, then byte-pair encoding in the manner of fairseq.
//!
//! Follows `transformers` 5.23, `models/biogpt/tokenization_biogpt.py`, which has no places of tokens and no words: those are added.

use std::collections::HashMap;
use std::path::Path;

use lmprobe_checkpoints::vocabulary::MergesFormat;
use lmprobe_core::{Error, Result, Side, TokenBatch};
use regex::Regex;

use super::added_tokens::{ROLES, misplaced};
use super::byte_level_bpe::read_files;
use super::casing::{Casing, Decision};
use super::fairseq_bpe::{FairseqBpe, WORD_END};
use super::files::needed;
use super::moses;
use super::text_tokenizer::TokenizerKind;
use super::tokenizer_config::TokenizerConfig;

/// Moses and fairseq's BPE with their vocabulary.
pub(super) struct BioGpt {
    ids: HashMap<String, u32>,
    /// The texts by id.
    texts: HashMap<u32, String>,
    bpe: FairseqBpe,
    unk: u32,
    sep: u32,
    /// Tokens that are found in a text before anything else; of two at one place, the longer one.
    whole: Regex,
}

/// The tokens of one text.
#[derive(Default)]
struct Tokens {
    ids: Vec<u32>,
    words: Vec<u32>,
    offsets: Vec<(u32, u32)>,
}

impl BioGpt {
    pub(super) fn of_folder(folder: &Path, config: &TokenizerConfig, casing: Casing) -> Result<(Self, Decision)> {
        const KIND: TokenizerKind = TokenizerKind::BioGpt;
        let (mut vocabulary, merges) = read_files(folder, MergesFormat::Fairseq, "")?;
        let path = folder.join("vocab.json");
        let decision = Decision::always_cased(casing, &path)?;
        let text = |role: &str| config.special(role, KIND).map(|token| token.content).unwrap_or_default();
        let (unk, sep) = (needed(&vocabulary, &text("unk_token"), &path)?, needed(&vocabulary, &text("sep_token"), &path)?);
        let mut whole = Vec::new();
        for (id, token) in config.added(folder)? {
            let next = u32::try_from(vocabulary.ids.len()).unwrap_or(u32::MAX);
            let found = *vocabulary.ids.entry(token.content.clone()).or_insert(next);
            if found != id {
                return Err(misplaced(folder, &token.content, id, Some(found)));
            }
            whole.push(token.content);
        }
        let special = ROLES.iter().filter_map(|role| config.special(role, KIND)).map(|token| token.content);
        whole.extend(special.filter(|token| vocabulary.ids.contains_key(token)));
        whole.sort_by_key(|token| std::cmp::Reverse(token.len()));
        let pattern = whole.iter().map(|token| regex::escape(token)).collect::<Vec<_>>().join("|");
        let whole = Regex::new(&pattern).map_err(|error| Error::model(folder, format!("too many added tokens: {error}")))?;
        let texts = vocabulary.ids.iter().map(|(text, id)| (*id, text.clone())).collect();
        Ok((Self { texts, bpe: FairseqBpe::new(&merges), ids: vocabulary.ids, unk, sep, whole }, decision))
    }

    /// Number of special tokens before one text or before both of a pair; there is none at the end.
    pub(super) fn added(pair: bool) -> usize {
        if pair { 2 } else { 1 }
    }

    /// The id of a token.
    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The text of a token.
    pub(super) fn text_of(&self, id: u32) -> Option<String> {
        self.texts.get(&id).cloned()
    }

    /// The number of ids.
    pub(super) fn vocab(&self) -> usize {
        self.ids.len()
    }

    /// One text, or a pair, of at most `room` tokens beside the special ones.
    pub(super) fn encode(&self, first: &str, second: Option<&str>, room: usize, cut: Side) -> TokenBatch {
        let first = self.tokens(first);
        let second = second.map(|text| self.tokens(text));
        let lengths = (first.ids.len(), second.as_ref().map_or(0, |second| second.ids.len()));
        let kept = if second.is_some() { longest_first(lengths, room) } else { (lengths.0.min(room), 0) };
        let mut batch = TokenBatch::default();
        self.append(&mut batch, &first, 0, kept.0, cut);
        if let Some(second) = second {
            self.append(&mut batch, &second, 1, kept.1, cut);
        }
        batch.offsets.push(batch.ids.len());
        batch.truncated.push(lengths != kept);
        batch
    }

    /// The pieces of a text without special tokens. What stands before it does not matter: words are tokenized one by one.
    pub(super) fn pieces(&self, text: &str) -> Vec<u32> {
        self.tokens(text).ids
    }

    fn append(&self, batch: &mut TokenBatch, tokens: &Tokens, segment: u32, kept: usize, cut: Side) {
        let start = if cut == Side::Left { tokens.ids.len() - kept } else { 0 };
        batch.ids.push(self.sep);
        batch.ids.extend(&tokens.ids[start..start + kept]);
        batch.type_ids.extend(std::iter::repeat_n(segment, kept + 1));
        batch.special.push(true);
        batch.special.extend(std::iter::repeat_n(false, kept));
        batch.word_ids.push(None);
        batch.word_ids.extend(tokens.words[start..start + kept].iter().map(|&word| Some(word)));
        batch.char_offsets.push((0, 0));
        batch.char_offsets.extend(&tokens.offsets[start..start + kept]);
    }

    fn tokens(&self, text: &str) -> Tokens {
        let words = words_of(text);
        let mut tokens = Tokens::default();
        let (mut byte, mut at) = (0, 0); // where the text between whole tokens begins, in bytes and in characters
        let end = text.len()..text.len();
        for range in self.whole.find_iter(text).map(|found| found.range()).chain([end]) {
            for token in moses::tokenize(&text[byte..range.start]) {
                self.push_pieces(&mut tokens, &token, at, &words);
            }
            at += length(&text[byte..range.start]);
            if let Some(&id) = self.ids.get(&text[range.clone()]).filter(|_| !range.is_empty()) {
                let start = at;
                at += length(&text[range.clone()]);
                tokens.ids.push(id);
                tokens.words.push(words[start as usize]);
                tokens.offsets.push((start, at));
            }
            byte = range.end;
        }
        tokens
    }

    fn push_pieces(&self, tokens: &mut Tokens, token: &moses::MosesToken, at: u32, words: &[u32]) {
        let mut bytes: Vec<usize> = token.text.char_indices().map(|(byte, _)| byte).collect();
        bytes.push(token.text.len());
        let pieces = self.bpe.pieces(&token.text);
        for &(start, end) in &pieces {
            let piece = &token.text[bytes[start]..bytes[end]];
            let id = if end == token.spans.len() { self.ids.get(&format!("{piece}{WORD_END}")) } else { self.ids.get(piece) };
            let (first, last) = (token.spans[start].0 + at, token.spans[end - 1].1 + at);
            tokens.ids.push(id.copied().unwrap_or(self.unk));
            tokens.words.push(words[first as usize]);
            tokens.offsets.push((first, last));
        }
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// The number of the word, in the sense of what stands between white space, of each character.
fn words_of(text: &str) -> Vec<u32> {
    let mut word = 0u32;
    let mut inside = false;
    let number = |character: char| {
        let space = moses::is_space(character);
        word += u32::from(inside && space);
        inside = !space;
        word
    };
    text.chars().map(number).collect()
}

/// How many tokens of a pair stay: the longer one loses tokens until both are equally long, then the second one loses the odd one.
/// This is how the Python tokenizers of `transformers` cut; those of the `tokenizers` crate leave the odd one to the longer text.
fn longest_first((first, second): (usize, usize), room: usize) -> (usize, usize) {
    let surplus = (first + second).saturating_sub(room);
    let from_longer = surplus.min(first.abs_diff(second));
    let from_both = surplus - from_longer;
    let (mut kept_first, mut kept_second) = (first - from_both / 2, second - from_both.div_ceil(2));
    if first > second {
        kept_first -= from_longer;
    } else {
        kept_second -= from_longer;
    }
    (kept_first, kept_second)
}

#[cfg(test)]
mod tests {
    use super::super::{Casing, TextTokenizer, TokenizerKind};
    use super::*;
    use lmprobe_core::Tokenization;

    const VOCAB: &str = r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "@-@</w>": 4, "a</w>": 5, "b</w>": 6, "gene</w>": 7, "ge": 8, "n": 9, "&apos;": 10,
        "s</w>": 11, ".</w>": 12, "&am": 13, "p;</w>": 14, "é</w>": 15}"#;
    const MERGES: &str = "@ -\n@- @</w>\ng e 12\nn e</w> 9\nge ne</w> 5\n& a\n&a p\n&ap o\n&apo s\n&apos ;\n&a m\np ;</w>\n";

    fn tokenizer() -> TextTokenizer {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vocab.json"), VOCAB).unwrap();
        std::fs::write(folder.path().join("merges.txt"), MERGES).unwrap();
        TextTokenizer::of_folder(folder.path(), TokenizerKind::BioGpt, Casing::Auto).unwrap()
    }

    fn encode(text: &str, second: Option<&str>) -> TokenBatch {
        tokenizer().encode(&[(text, second)], Tokenization::default(), 512).unwrap()
    }

    #[test]
    fn pieces_know_their_words_and_places() {
        let batch = encode(" gene-a's é & b.", None);
        assert_eq!(batch.ids, [2, 7, 4, 5, 10, 11, 15, 13, 14, 6, 12]);
        let words: Vec<Option<u32>> = [None].into_iter().chain([0, 0, 0, 0, 0, 1, 2, 2, 3, 3].map(Some)).collect();
        assert_eq!(batch.word_ids, words);
        let places = [(0, 0), (1, 5), (5, 6), (6, 7), (7, 8), (8, 9), (10, 11), (12, 13), (12, 13), (14, 15), (15, 16)];
        assert_eq!(batch.char_offsets, places); // both pieces of `&amp;` stand for the one sign
    }

    #[test]
    fn special_tokens_stand_before_texts_and_are_found_inside() {
        let batch = encode("a</s>b", Some("b <unk>q"));
        assert_eq!(batch.ids, [2, 5, 2, 6, 2, 6, 3, 3]);
        assert_eq!(batch.type_ids, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(batch.special, [true, false, false, false, true, false, false, false]);
        assert_eq!(batch.char_offsets[1..4], [(0, 1), (1, 5), (5, 6)]);
        assert_eq!(batch.char_offsets[5..], [(0, 1), (2, 7), (7, 8)]);
        assert_eq!(encode("", None).ids, [2]);
        assert_eq!((tokenizer().added, tokenizer().added_to_pair), (1, 2));
    }

    #[test]
    fn pairs_lose_tokens_of_the_longer_text_first() {
        assert_eq!(longest_first((9, 3), 12), (9, 3));
        assert_eq!(longest_first((9, 3), 8), (5, 3));
        assert_eq!(longest_first((3, 9), 8), (3, 5));
        assert_eq!(longest_first((9, 9), 5), (3, 2));
        assert_eq!(longest_first((9, 4), 5), (3, 2));
        let tokenizer = tokenizer();
        let how = |cut| Tokenization { max_length: Some(5), cut, ..Tokenization::default() };
        let ids = |cut| tokenizer.encode(&[("a b gene", Some("a b"))], how(cut), 512).unwrap().ids;
        assert_eq!(ids(Side::Right), [2, 5, 6, 2, 5]);
        assert_eq!(ids(Side::Left), [2, 6, 7, 2, 6]);
    }

    #[test]
    fn places_are_in_order_and_words_are_counted_by_white_space() {
        let tokenizer = tokenizer();
        let parts = ["gene-a's", " ", "\t\u{1c}", "</s>", "&", "...", "é.'", "\u{1}", "<unk>", "中", "b,"];
        for seed in 0..4000usize {
            let text: String = (0..seed % 9).map(|step| parts[(seed * 7919 + step * step * 31 + step) % parts.len()]).collect();
            let characters: Vec<char> = text.chars().collect();
            let batch = tokenizer.encode(&[(&text, None)], Tokenization::default(), 512).unwrap();
            let mut last = 0;
            for (&(start, end), word) in batch.char_offsets.iter().zip(&batch.word_ids).skip(1) {
                assert!(start >= last && start < end && end as usize <= characters.len(), "{text:?}");
                last = start;
                let begun = characters[..=start as usize].split(|&sign| moses::is_space(sign)).filter(|word| !word.is_empty()).count();
                assert_eq!(word.map(|word| word as usize + 1), Some(begun), "{text:?}");
            }
        }
    }

    #[test]
    fn case_cannot_be_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vocab.json"), r#"{"<unk>": 0}"#).unwrap();
        let build = |casing| TextTokenizer::of_folder(folder.path(), TokenizerKind::BioGpt, casing).err().unwrap().to_string();
        assert!(build(Casing::Auto).contains("no `merges.txt`"), "{}", build(Casing::Auto));
        std::fs::write(folder.path().join("merges.txt"), "").unwrap();
        assert!(build(Casing::Uncased).contains("keeps case"), "{}", build(Casing::Uncased));
        assert!(build(Casing::Auto).contains("the vocabulary has no `</s>`"), "{}", build(Casing::Auto));
    }
}
