//! What a tokenizer puts round texts, and sequences made of pieces in the same way.

use lmprobe_core::{Encoder, Error, Result, TokenBatch, Tokenization};

use super::settings::{InputSettings, PairSeparator};

/// The special tokens round one text and round a pair, as the tokenizer puts them.
#[derive(Debug, Clone)]
pub(crate) struct SequenceLayout {
    single: Wrapping,
    pair: Wrapping,
    /// Tokens between two texts that the tokenizer knows nothing of.
    separators: usize,
    /// What is wrong with pairs, if something is.
    no_pairs: Option<String>,
}

/// A special token and its token type.
type Special = (u32, u32);

#[derive(Debug, Clone)]
struct Wrapping {
    before: Vec<Special>,
    between: Vec<Special>,
    behind: Vec<Special>,
    /// Token types of the first and of the second text.
    types: (u32, u32),
}

/// Pieces of a text without special tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PieceRun<'a> {
    /// Their ids.
    pub(crate) ids: &'a [u32],
    /// The word each belongs to, if that is known.
    pub(crate) words: &'a [u32],
    /// Their places in the text, if they are known.
    pub(crate) places: &'a [(u32, u32)],
}

/// The token that GPT-2 puts between documents.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A text that every vocabulary has pieces for.
const PROBE: &str = "a";

impl SequenceLayout {
    /// Finds out by tokenizing a text and a pair.
    ///
    /// # Errors
    /// If the tokenizer fails or finds no piece.
    pub(crate) fn of(encoder: &dyn Encoder, settings: &InputSettings) -> Result<Self> {
        let probe = encoder.tokenize_pairs(&[(PROBE, None), (PROBE, Some(PROBE))], Tokenization::whole())?;
        let mut layout = Self { single: Wrapping::of(&probe, 0)?, pair: Wrapping::of(&probe, 1)?, separators: 0, no_pairs: None };
        if settings.pair_separator == PairSeparator::EndOfText && !layout.separates_pairs() {
            if let Some(id) = end_of_text(encoder)? {
                layout.pair.between.push((id, layout.pair.types.0));
                layout.separators = 1;
            } else {
                layout.no_pairs =
                    Some(format!("the tokenizer puts nothing between two texts and has no token `{END_OF_TEXT}` to stand there: set `pair_separator: none`"));
            }
        }
        if !settings.segments {
            for wrapping in [&mut layout.single, &mut layout.pair] {
                wrapping.types = (0, 0);
                wrapping.before.iter_mut().chain(&mut wrapping.between).chain(&mut wrapping.behind).for_each(|(_, segment)| *segment = 0);
            }
        }
        Ok(layout)
    }

    /// Whether something stands between two texts.
    pub(crate) fn separates_pairs(&self) -> bool {
        !self.pair.between.is_empty()
    }

    /// Whether pairs can be made.
    ///
    /// # Errors
    /// If the separator that was asked for makes no sense or is not there.
    pub(crate) fn check_pairs(&self) -> Result<()> {
        self.no_pairs.clone().map_or(Ok(()), |message| Err(Error::Config(message)))
    }

    /// Number of special tokens beside one text or a pair.
    pub(crate) fn added(&self, pair: bool) -> usize {
        let wrapping = self.wrapping(pair);
        wrapping.before.len() + if pair { wrapping.between.len() } else { 0 } + wrapping.behind.len()
    }

    /// Those of them that the tokenizer puts there itself.
    pub(crate) fn added_by_tokenizer(&self, pair: bool) -> usize {
        self.added(pair) - if pair { self.separators } else { 0 }
    }

    /// Number of tokens before the first text.
    pub(crate) fn before(&self, pair: bool) -> usize {
        self.wrapping(pair).before.len()
    }

    /// Number of tokens between two texts.
    pub(crate) fn between(&self) -> usize {
        self.pair.between.len()
    }

    /// Number of tokens behind the last text.
    pub(crate) fn behind(&self, pair: bool) -> usize {
        self.wrapping(pair).behind.len()
    }

    /// Room for pieces beside the special tokens.
    ///
    /// # Errors
    /// If there is none for a piece of each text.
    pub(crate) fn room(&self, max_length: usize, pair: bool) -> Result<usize> {
        let (added, texts) = (self.added(pair), if pair { 2 } else { 1 });
        max_length
            .checked_sub(added)
            .filter(|room| *room >= texts)
            .ok_or_else(|| Error::Config(format!("`max_length` {max_length} leaves no room for text beside {added} special tokens: raise it")))
    }

    /// Appends a sequence of one text or two.
    pub(crate) fn push(&self, batch: &mut TokenBatch, first: PieceRun<'_>, second: Option<PieceRun<'_>>) {
        let wrapping = self.wrapping(second.is_some());
        push_special(batch, &wrapping.before);
        push_pieces(batch, first, wrapping.types.0);
        if let Some(second) = second {
            push_special(batch, &wrapping.between);
            push_pieces(batch, second, wrapping.types.1);
        }
        push_special(batch, &wrapping.behind);
        batch.offsets.push(batch.ids.len());
        batch.truncated.push(false);
    }

    fn wrapping(&self, pair: bool) -> &Wrapping {
        if pair { &self.pair } else { &self.single }
    }
}

impl Wrapping {
    /// What is round the pieces of sequence `index`.
    fn of(probe: &TokenBatch, index: usize) -> Result<Self> {
        let range = probe.range(index);
        let pieces: Vec<usize> = range.clone().filter(|&position| !probe.special[position]).collect();
        let (Some(&first), Some(&last)) = (pieces.first(), pieces.last()) else {
            return Err(Error::Unsupported(format!("the tokenizer finds no piece in the text `{PROBE}`")));
        };
        let specials = |mut range: std::ops::Range<usize>| -> Vec<Special> {
            let mut specials = Vec::new();
            range.by_ref().filter(|&position| probe.special[position]).for_each(|position| specials.push((probe.ids[position], probe.type_ids[position])));
            specials
        };
        Ok(Self {
            before: specials(range.start..first),
            between: specials(first..last),
            behind: specials(last + 1..range.end),
            types: (probe.type_ids[first], probe.type_ids[last]),
        })
    }
}

fn push_special(batch: &mut TokenBatch, tokens: &[Special]) {
    for &(id, segment) in tokens {
        batch.ids.push(id);
        batch.type_ids.push(segment);
        batch.special.push(true);
        batch.word_ids.push(None);
        batch.char_offsets.push((0, 0));
    }
}

fn push_pieces(batch: &mut TokenBatch, pieces: PieceRun<'_>, segment: u32) {
    for (index, &id) in pieces.ids.iter().enumerate() {
        batch.ids.push(id);
        batch.type_ids.push(segment);
        batch.special.push(false);
        batch.word_ids.push(pieces.words.get(index).copied());
        batch.char_offsets.push(pieces.places.get(index).copied().unwrap_or_default());
    }
}

/// The id of `<|endoftext|>`, if the vocabulary has it.
fn end_of_text(encoder: &dyn Encoder) -> Result<Option<u32>> {
    let batch = encoder.tokenize(&[END_OF_TEXT], Tokenization::whole())?;
    Ok(batch.ids.iter().copied().find(|&id| encoder.token(id).as_deref() == Some(END_OF_TEXT)))
}

/// The pieces of texts one after another, without special tokens.
pub(crate) struct TextPieces(TokenBatch);

impl TextPieces {
    /// Tokenizes texts, whole.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub(crate) fn of(encoder: &dyn Encoder, texts: &[&str]) -> Result<Self> {
        let all = encoder.tokenize(texts, Tokenization::whole())?;
        let mut pieces = TokenBatch::default();
        for index in 0..all.len() {
            for position in all.range(index).filter(|&position| !all.special[position]) {
                pieces.ids.push(all.ids[position]);
                pieces.char_offsets.push(all.char_offsets[position]);
            }
            pieces.offsets.push(pieces.ids.len());
        }
        Ok(Self(pieces))
    }

    /// Those of text `index`.
    pub(crate) fn run(&self, index: usize) -> PieceRun<'_> {
        let range = self.0.range(index);
        PieceRun { ids: &self.0.ids[range.clone()], words: &[], places: &self.0.char_offsets[range] }
    }
}

impl<'a> PieceRun<'a> {
    /// Number of pieces.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Some of them.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> PieceRun<'a> {
        let ids = &self.ids[range.clone()];
        let words = if self.words.is_empty() { &[] } else { &self.words[range.clone()] };
        let places = if self.places.is_empty() { &[][..] } else { &self.places[range] };
        PieceRun { ids, words, places }
    }
}
