//! Sentences of words, word by word.

use std::ops::Range;

use lmprobe_core::{Encoder, Result, TokenBatch};
use rayon::prelude::*;

use super::sequence_layout::{PieceRun, SequenceLayout};
use super::settings::{InputSettings, LabelPosition, LongInputs};
use super::windows::{most_context, step};

/// Sentences as sequences.
#[derive(Debug, Clone)]
pub(crate) struct Sentences {
    /// All windows of all sentences.
    pub(crate) tokens: TokenBatch,
    /// The sentences, in order.
    pub(crate) examples: Vec<Sentence>,
    /// What was split or cut.
    pub(crate) notes: Vec<String>,
    /// Special tokens before and behind the pieces of every sequence.
    ends: (usize, usize),
}

/// A sentence as sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// Its windows among all sequences; none if no word has a piece.
    pub(crate) sequences: Range<usize>,
    /// Where each word is read; nothing of a word without pieces or behind the cut.
    pub(crate) words: Vec<Option<Placed>>,
}

/// Where a word is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Which sequence.
    pub(crate) sequence: usize,
    /// The places of its pieces in it.
    pub(crate) places: Range<usize>,
}

impl Placed {
    /// The places whose logits are the word's.
    pub(crate) fn read(&self, position: LabelPosition) -> Range<usize> {
        match position {
            LabelPosition::First => self.places.start..self.places.start + 1,
            LabelPosition::Last => self.places.end - 1..self.places.end,
            LabelPosition::Mean => self.places.clone(),
        }
    }
}

/// A token of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentenceToken {
    /// Its sequence.
    pub(crate) sequence: usize,
    /// Its place in it.
    pub(crate) place: usize,
    /// What it is.
    pub(crate) kind: TokenKind,
}

/// What a token of a sentence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A special token before the words.
    Before,
    /// A special token behind the words.
    Behind,
    /// A word's first piece.
    First(usize),
    /// Another piece of a word.
    Further(usize),
}

impl Sentences {
    /// Makes sequences of sentences. `what` names them in notes.
    ///
    /// # Errors
    /// If the tokenizer fails, or the length leaves no room.
    pub(crate) fn of(sentences: &[Vec<String>], encoder: &dyn Encoder, settings: &InputSettings, what: &str) -> Result<Self> {
        let layout = SequenceLayout::of(encoder, settings)?;
        let room = layout.room(settings.max_length, false)?;
        let pieces =
            sentences.par_iter().map(|words| words.iter().map(|word| encoder.pieces(word)).collect::<Result<Vec<Vec<u32>>>>()).collect::<Result<Vec<_>>>()?;
        let mut all = Self {
            tokens: TokenBatch::default(),
            examples: Vec::with_capacity(pieces.len()),
            notes: Vec::new(),
            ends: (layout.before(false), layout.behind(false)),
        };
        let (mut empty, mut shortened, mut long, mut lost) = (0, 0, 0, 0);
        for mut words in pieces {
            empty += words.iter().filter(|word| word.is_empty()).count();
            for word in words.iter_mut().filter(|word| word.len() > room) {
                word.truncate(room);
                shortened += 1;
            }
            let lengths: Vec<usize> = words.iter().map(Vec::len).collect();
            let is_long = lengths.iter().sum::<usize>() > room;
            long += usize::from(is_long);
            let mut windows = Vec::new();
            match settings.long_inputs {
                LongInputs::Window if is_long => windows = word_windows(&lengths, room, room - step(settings, room)?),
                LongInputs::Cut if is_long => windows.push(0..fitting(&lengths, 0, room)),
                _ => windows.push(0..words.len()),
            }
            let sentence = all.push(&layout, &words, &windows);
            lost += sentence.words.iter().zip(&words).filter(|(placed, word)| placed.is_none() && !word.is_empty()).count();
            all.examples.push(sentence);
        }
        let n = sentences.len();
        if long > 0 {
            let how = if settings.long_inputs == LongInputs::Window { "were split into windows" } else { "were cut" };
            all.notes.push(format!("{long} of {n} {what} are longer than {} tokens and {how}", settings.max_length));
        }
        if lost > 0 {
            all.notes.push(format!(
                "{lost} words of {what} stand behind the cut: they are not learned from, and asked about they have the tag `{}`",
                settings.outside
            ));
        }
        if shortened > 0 {
            all.notes.push(format!("{shortened} words of {what} have more than {room} pieces; the first {room} of each are read"));
        }
        if empty > 0 {
            all.notes.push(format!(
                "{empty} words of {what} have no piece in the vocabulary: they are not learned from, and asked about they have the tag `{}`",
                settings.outside
            ));
        }
        Ok(all)
    }

    /// Appends the windows of a sentence, given as ranges of its words.
    fn push(&mut self, layout: &SequenceLayout, words: &[Vec<u32>], windows: &[Range<usize>]) -> Sentence {
        let first = self.tokens.len();
        if words.iter().all(Vec::is_empty) {
            return Sentence { sequences: first..first, words: vec![None; words.len()] };
        }
        let mut ends = vec![0];
        for word in words {
            ends.push(ends[ends.len() - 1] + word.len());
        }
        for window in windows {
            let ids: Vec<u32> = words[window.clone()].concat();
            let of: Vec<u32> = window.clone().flat_map(|word| std::iter::repeat_n(u32::try_from(word).unwrap_or(u32::MAX), words[word].len())).collect();
            layout.push(&mut self.tokens, PieceRun { ids: &ids, words: &of, places: &[] }, None);
        }
        let in_pieces: Vec<Range<usize>> = windows.iter().map(|window| ends[window.start]..ends[window.end]).collect();
        let place = |word: usize| {
            let range = ends[word]..ends[word + 1];
            let window = most_context(&in_pieces, &range).filter(|_| !range.is_empty())?;
            let before = layout.before(false);
            let start = before + range.start - in_pieces[window].start;
            Some(Placed { sequence: first + window, places: start..start + range.len() })
        };
        Sentence { sequences: first..first + windows.len(), words: (0..words.len()).map(place).collect() }
    }

    /// The tokens of a sentence, each once: special tokens before, the pieces of its words where these are read, special tokens behind.
    pub(crate) fn tokens_of(&self, sentence: &Sentence) -> Vec<SentenceToken> {
        let mut tokens = Vec::new();
        if sentence.sequences.is_empty() {
            return tokens;
        }
        let (before, behind) = self.ends;
        let (first, last) = (sentence.sequences.start, sentence.sequences.end - 1);
        tokens.extend((0..before).map(|place| SentenceToken { sequence: first, place, kind: TokenKind::Before }));
        for (word, placed) in sentence.words.iter().enumerate() {
            let Some(Placed { sequence, places }) = placed else { continue };
            tokens.extend(places.clone().map(|place| SentenceToken {
                sequence: *sequence,
                place,
                kind: if place == places.start { TokenKind::First(word) } else { TokenKind::Further(word) },
            }));
        }
        let length = self.tokens.sequence_len(last);
        tokens.extend((length - behind..length).map(|place| SentenceToken { sequence: last, place, kind: TokenKind::Behind }));
        tokens
    }
}

/// How many words from `start` on fit.
fn fitting(lengths: &[usize], start: usize, room: usize) -> usize {
    let mut filled = 0;
    lengths[start..].iter().take_while(|&&length| (filled + length <= room).then(|| filled += length).is_some()).count()
}

/// Windows of whole words, of at most `room` pieces, that share up to `overlap`. No word has more than `room`.
fn word_windows(lengths: &[usize], room: usize, overlap: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = 0;
    loop {
        let end = start + fitting(lengths, start, room);
        windows.push(start..end);
        if end == lengths.len() {
            return windows;
        }
        // The next window begins where it shares most, but it must hold the word behind this one.
        let mut shared = 0;
        let mut next = end;
        while next > start + 1 && shared + lengths[next - 1] <= overlap && shared + lengths[next - 1] + lengths[end] <= room {
            next -= 1;
            shared += lengths[next];
        }
        start = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_whole_words_and_share_some() {
        assert_eq!(word_windows(&[1, 1, 1, 1, 1, 1, 1], 4, 2), [0..4, 2..6, 4..7]);
        assert_eq!(word_windows(&[2, 2, 2, 2], 4, 1), [0..2, 2..4], "a word of two pieces does not fit an overlap of one");
        assert_eq!(word_windows(&[1, 1, 4, 1], 4, 2), [0..2, 2..3, 3..4], "the long word needs a window of its own");
    }

    #[test]
    fn every_word_is_in_a_window_whatever_the_lengths() {
        let mut random = lmprobe_core::Seed(5).random();
        for _ in 0..500 {
            let lengths: Vec<usize> = (0..=random.below(30)).map(|_| random.below(6)).collect();
            let (room, overlap) = (5 + random.below(6), random.below(5));
            let windows = word_windows(&lengths, room, overlap);
            assert!((0..lengths.len()).all(|word| windows.iter().any(|window| window.contains(&word))), "{lengths:?} {windows:?}");
            assert!(windows.iter().all(|window| lengths[window.clone()].iter().sum::<usize>() <= room));
            assert!(windows.windows(2).all(|pair| pair[0].end < pair[1].end && pair[0].start < pair[1].start), "each goes on: {lengths:?} {windows:?}");
        }
    }
}
