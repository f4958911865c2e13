//! Questions about contexts.

use std::ops::Range;

use lmprobe_core::{Encoder, Error, Result, TokenBatch};

use super::sequence_layout::{SequenceLayout, TextPieces};
use super::settings::InputSettings;
use super::windows::covering;

/// Questions with windows of their contexts as sequences.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    /// All windows of all questions.
    pub(crate) tokens: TokenBatch,
    /// The questions, in order.
    pub(crate) examples: Vec<Question>,
    /// What was split or cut.
    pub(crate) notes: Vec<String>,
}

/// A question as sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Its windows among all sequences.
    pub(crate) sequences: Range<usize>,
    /// Where the pieces of the context stand in it, in characters.
    pub(crate) pieces: Vec<(u32, u32)>,
    /// The pieces of the context that each window holds.
    pub(crate) windows: Vec<Range<usize>>,
    /// The place of a window's first piece of context in its sequence.
    pub(crate) first_place: usize,
}

impl Questions {
    /// Makes sequences of questions and contexts. `what` names the questions in notes.
    ///
    /// # Errors
    /// If the tokenizer fails, or the length leaves no room.
    pub(crate) fn of(questions: &[&str], contexts: &[&str], encoder: &dyn Encoder, settings: &InputSettings, what: &str) -> Result<Self> {
        let layout = SequenceLayout::of(encoder, settings)?;
        layout.check_pairs()?;
        // Byte-level vocabularies write a word behind a blank in another way: a blank before a question means nothing.
        let asked = TextPieces::of(encoder, &questions.iter().map(|question| question.trim_start()).collect::<Vec<_>>())?;
        let read = TextPieces::of(encoder, contexts)?;
        let mut all = Self { tokens: TokenBatch::default(), examples: Vec::with_capacity(questions.len()), notes: Vec::new() };
        let (mut cut, mut split) = (0, 0);
        let room = layout.room(settings.max_length, true)?;
        for index in 0..questions.len() {
            let (question, context) = (asked.run(index), read.run(index));
            cut += usize::from(question.len() > settings.max_query_length);
            let question = question.part(0..question.len().min(settings.max_query_length));
            let left = room.checked_sub(question.len()).filter(|left| *left > 0).ok_or_else(|| {
                Error::Config(format!(
                    "`max_length` {} leaves no room for a context beside a question of {} pieces: raise it or lower `max_query_length`",
                    settings.max_length,
                    question.len()
                ))
            })?;
            let windows = covering(context.len(), left, settings)?;
            split += usize::from(windows.len() > 1);
            let begin = all.tokens.len();
            for window in &windows {
                layout.push(&mut all.tokens, question, Some(context.part(window.clone())));
            }
            all.examples.push(Question {
                sequences: begin..all.tokens.len(),
                pieces: context.places.to_vec(),
                windows,
                first_place: layout.before(true) + question.len() + layout.between(),
            });
        }
        let n = questions.len();
        if cut > 0 {
            all.notes.push(format!("{cut} of {n} {what} have more than {} pieces and were cut", settings.max_query_length));
        }
        if split > 0 {
            all.notes.push(format!("{split} of {n} {what} have contexts that do not fit {} tokens and were split into windows", settings.max_length));
        }
        Ok(all)
    }
}

impl Question {
    /// The first and last token of an answer in each window, given its characters in the context; both 0, the first token of the sequence, in a window that does
    /// not hold all of it. As the examples of `transformers` find them.
    pub(crate) fn spans(&self, answer: Option<&Range<usize>>) -> Vec<(usize, usize)> {
        let inside = |window: &Range<usize>| {
            let answer = answer?;
            let (start, end) = (u32::try_from(answer.start).ok()?, u32::try_from(answer.end).ok()?);
            let pieces = &self.pieces[window.clone()];
            if pieces.first()?.0 > start || pieces.last()?.1 < end {
                return None;
            }
            let first = pieces.iter().rposition(|piece| piece.0 <= start)?;
            let last = pieces.iter().position(|piece| piece.1 >= end)?;
            Some((self.first_place + first, self.first_place + last))
        };
        self.windows.iter().map(|window| inside(window).unwrap_or((0, 0))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `IL-2 binds`, of four pieces in two windows behind three other tokens.
    fn question() -> Question {
        Question { sequences: 0..2, pieces: vec![(0, 2), (2, 3), (3, 4), (5, 10)], windows: vec![0..3, 2..4], first_place: 3 }
    }

    #[test]
    fn an_answer_is_found_where_it_is_whole() {
        let question = question();
        assert_eq!(question.spans(Some(&(0..4))), [(3, 5), (0, 0)], "`IL-2` is cut in the second window");
        assert_eq!(question.spans(Some(&(3..10))), [(0, 0), (3, 4)], "`2 binds` is cut in the first");
        assert_eq!(question.spans(Some(&(3..4))), [(5, 5), (3, 3)], "`2` is whole in both");
        assert_eq!(question.spans(Some(&(6..9))), [(0, 0), (4, 4)], "part of a piece is the piece");
        assert_eq!(question.spans(None), [(0, 0), (0, 0)]);
    }

    #[test]
    fn a_context_without_pieces_answers_nothing() {
        let empty = Question { sequences: 0..2, pieces: vec![], windows: vec![0..0, 0..0], first_place: 3 };
        assert_eq!(empty.spans(Some(&(0..1))), [(0, 0), (0, 0)]);
    }
}
