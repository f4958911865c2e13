//! Texts and pairs of texts.

use std::ops::Range;

use lmprobe_core::{Encoder, Error, Result, TokenBatch, Tokenization};

use super::sequence_layout::{SequenceLayout, TextPieces};
use super::settings::{InputSettings, LongInputs};
use super::windows::covering;

/// Texts as sequences.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    /// All windows of all texts.
    pub(crate) tokens: TokenBatch,
    /// The windows of each text among all sequences; the logits of a text are the mean over them.
    pub(crate) sequences: Vec<Range<usize>>,
    /// What was split or cut.
    pub(crate) notes: Vec<String>,
}

/// A text, or a pair.
pub(crate) type Text<'a> = (&'a str, Option<&'a str>);

impl Texts {
    /// Makes sequences of texts. `ids` name them in errors, `what` names them all in notes.
    ///
    /// # Errors
    /// If the tokenizer fails, finds nothing in a text, or the length leaves no room.
    pub(crate) fn of(texts: &[Text<'_>], ids: &[&str], encoder: &dyn Encoder, settings: &InputSettings, what: &str) -> Result<Self> {
        let layout = SequenceLayout::of(encoder, settings)?;
        if texts.iter().any(|(_, second)| second.is_some()) {
            layout.check_pairs()?;
        }
        let all = match settings.long_inputs {
            LongInputs::Window => windowed(texts, encoder, &layout, settings, what)?,
            LongInputs::Cut => cut(texts, encoder, &layout, settings, what)?,
        };
        for (text, sequences) in all.sequences.iter().enumerate() {
            if sequences.clone().any(|sequence| all.tokens.sequence_len(sequence) == 0) {
                let id = ids.get(text).copied().unwrap_or_default();
                return Err(Error::Unsupported(format!("example `{id}` of the {what} has no token for this model: its text is empty")));
            }
        }
        Ok(all)
    }
}

/// Splits what is too long: of a pair the longer text, beside the whole other one.
fn windowed(texts: &[Text<'_>], encoder: &dyn Encoder, layout: &SequenceLayout, settings: &InputSettings, what: &str) -> Result<Texts> {
    let firsts = TextPieces::of(encoder, &texts.iter().map(|(first, _)| *first).collect::<Vec<_>>())?;
    let seconds = TextPieces::of(encoder, &texts.iter().filter_map(|(_, second)| *second).collect::<Vec<_>>())?;
    let (mut tokens, mut sequences) = (TokenBatch::default(), Vec::with_capacity(texts.len()));
    let (mut split, mut halved, mut pairs) = (0, 0, 0);
    for (index, (_, second)) in texts.iter().enumerate() {
        let begin = tokens.len();
        let first = firsts.run(index);
        let room = layout.room(settings.max_length, second.is_some())?;
        let Some(second) = second.map(|_| seconds.run(pairs)) else {
            let all = covering(first.len(), room, settings)?;
            split += usize::from(all.len() > 1);
            for window in all {
                layout.push(&mut tokens, first.part(window), None);
            }
            sequences.push(begin..tokens.len());
            continue;
        };
        pairs += 1;
        if first.len() + second.len() <= room {
            layout.push(&mut tokens, first, Some(second));
        } else {
            split += 1;
            let first_is_longer = first.len() > second.len();
            let (longer, shorter) = if first_is_longer { (first, second) } else { (second, first) };
            // Two long texts cannot both be whole: the shorter one has half of the room.
            halved += usize::from(shorter.len() > room / 2);
            let shorter = shorter.part(0..shorter.len().min(room / 2));
            let left = room - shorter.len();
            for window in covering(longer.len(), left, settings)? {
                let part = longer.part(window);
                let (first, second) = if first_is_longer { (part, shorter) } else { (shorter, part) };
                layout.push(&mut tokens, first, Some(second));
            }
        }
        sequences.push(begin..tokens.len());
    }
    let mut notes = Vec::new();
    if split > 0 {
        let of = format!("{split} of {} {what} are longer than {} tokens", texts.len(), settings.max_length);
        notes.push(format!("{of} and were split into windows"));
    }
    if halved > 0 {
        notes.push(format!("{halved} pairs of {what} have two long texts: the shorter one was cut to half of the room"));
    }
    Ok(Texts { tokens, sequences, notes })
}

/// Cuts what is too long as the tokenizer does.
fn cut(texts: &[Text<'_>], encoder: &dyn Encoder, layout: &SequenceLayout, settings: &InputSettings, what: &str) -> Result<Texts> {
    let firsts = TextPieces::of(encoder, &texts.iter().map(|(first, _)| *first).collect::<Vec<_>>())?;
    let seconds = TextPieces::of(encoder, &texts.iter().filter_map(|(_, second)| *second).collect::<Vec<_>>())?;
    let (mut tokens, mut n_cut, mut pairs) = (TokenBatch::default(), 0, 0);
    for (index, &(text, pair)) in texts.iter().enumerate() {
        let room = layout.room(settings.max_length, pair.is_some())?;
        let first = firsts.run(index);
        let second = pair.map(|_| seconds.run(pairs));
        pairs += usize::from(pair.is_some());
        let is_cut = first.len() + second.map_or(0, |second| second.len()) > room;
        n_cut += usize::from(is_cut);
        let kept = match second {
            _ if !is_cut => first.len(),
            None => room,
            Some(second) if first.len() == 0 || second.len() == 0 => first.len().min(room),
            Some(_) => {
                let how = Tokenization::at_most(room + layout.added_by_tokenizer(true));
                kept_of_first(&encoder.tokenize_pairs(&[(text, pair)], how)?)
            }
        };
        let second = second.map(|second| second.part(0..second.len().min(room - kept)));
        layout.push(&mut tokens, first.part(0..kept), second);
    }
    let mut notes = Vec::new();
    if n_cut > 0 {
        notes.push(format!("{n_cut} of {} {what} were longer than {} tokens and were cut", texts.len(), settings.max_length));
    }
    let sequences = (0..tokens.len()).map(|sequence| sequence..sequence + 1).collect();
    Ok(Texts { tokens, sequences, notes })
}

/// How many pieces of the first text a cut pair has. Both have some.
fn kept_of_first(pair: &TokenBatch) -> usize {
    let pieces: Vec<usize> = pair.range(0).filter(|&position| !pair.special[position]).collect();
    // The second text begins behind special tokens, or where the token type changes if there are none.
    let begins = |&at: &usize| pieces[at] > pieces[at - 1] + 1 || pair.type_ids[pieces[at]] != pair.type_ids[pieces[at - 1]];
    (1..pieces.len()).find(begins).unwrap_or(pieces.len())
}
