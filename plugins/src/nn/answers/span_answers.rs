//! Answers that are spans of a context.

use std::collections::HashSet;

use super::logits::{SequenceLogits, softmax};
use crate::nn::inputs::questions::Question;
use crate::nn::inputs::settings::InputSettings;
use crate::nn::inputs::windows::most_context;

/// An answer of a list, best first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpanAnswer {
    /// The characters of the context; empty if it holds no answer.
    pub(crate) text: String,
    /// Its probability among the answers listed.
    pub(crate) score: f64,
    /// Where it begins, in characters.
    pub(crate) start: usize,
    /// Logit of its first piece.
    pub(crate) start_logit: f64,
    /// Logit of its last piece.
    pub(crate) end_logit: f64,
}

/// The answers to a question, and whether no span was allowed, so that the only one is empty.
///
/// Of each window the `n_best` likeliest first and last pieces are paired. A first piece counts only in the window where it has most context. An answer does not end
/// before it begins and has at most `max_answer_length` pieces; of answers of the same text the best stays.
pub(crate) fn answers(question: &Question, context: &str, logits: &SequenceLogits, settings: &InputSettings) -> (Vec<SpanAnswer>, bool) {
    let characters: Vec<usize> = context.char_indices().map(|(byte, _)| byte).chain([context.len()]).collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut null: Option<Candidate> = None;
    for (index, (window, sequence)) in question.windows.iter().zip(question.sequences.clone()).enumerate() {
        let row = |piece: usize| logits.row(sequence, question.first_place + piece - window.start);
        let here: Vec<usize> = window.clone().filter(|piece| most_context(&question.windows, &(*piece..piece + 1)) == Some(index)).collect();
        let starts = highest(here, settings.n_best, |piece| row(piece)[0]);
        let ends = highest(window.clone().collect(), settings.n_best, |piece| row(piece)[1]);
        for &first in &starts {
            for &last in ends.iter().filter(|&&last| last >= first && last - first < settings.max_answer_length) {
                candidates.push(Candidate { pieces: Some((first, last)), start: f64::from(row(first)[0]), end: f64::from(row(last)[1]) });
            }
        }
        let nothing = logits.row(sequence, 0);
        let nothing = Candidate { pieces: None, start: f64::from(nothing[0]), end: f64::from(nothing[1]) };
        if null.as_ref().is_none_or(|null| nothing.sum() < null.sum()) {
            null = Some(nothing);
        }
    }
    candidates.sort_by(|a, b| b.sum().total_cmp(&a.sum()));
    let mut seen = HashSet::new();
    let mut listed = Vec::new();
    for candidate in candidates {
        if listed.len() == settings.n_best {
            break;
        }
        let (text, start) = candidate.text(question, context, &characters);
        if !text.is_empty() && seen.insert(text) {
            listed.push(candidate.answer(text, start));
        }
    }
    let none_allowed = listed.is_empty();
    if let Some(null) = null.filter(|_| settings.unanswerable) {
        let answer = null.answer("", 0);
        // The list is by score; only where the best answer and none are within the threshold, the rule decides which of them stands first.
        let is_none = listed.first().is_none_or(|best| null.sum() - best.sum() > settings.null_threshold);
        let place = if is_none { 0 } else { listed.iter().position(|other| other.sum() < answer.sum()).unwrap_or(listed.len()).max(1) };
        listed.insert(place, answer);
    }
    if listed.is_empty() {
        listed.push(SpanAnswer { text: String::new(), score: 1.0, start: 0, start_logit: 0.0, end_logit: 0.0 });
    }
    let scores = softmax(&listed.iter().map(SpanAnswer::sum).collect::<Vec<_>>());
    for (answer, score) in listed.iter_mut().zip(scores) {
        answer.score = score;
    }
    (listed, none_allowed)
}

impl SpanAnswer {
    fn sum(&self) -> f64 {
        self.start_logit + self.end_logit
    }
}

/// A pair of a first and a last piece, or the lack of an answer.
#[derive(Debug, Clone)]
struct Candidate {
    pieces: Option<(usize, usize)>,
    start: f64,
    end: f64,
}

impl Candidate {
    fn sum(&self) -> f64 {
        self.start + self.end
    }

    /// Its text in the context and where that begins, in characters. `characters` has the byte of each, and the end.
    fn text<'a>(&self, question: &Question, context: &'a str, characters: &[usize]) -> (&'a str, usize) {
        let Some((first, last)) = self.pieces else { return ("", 0) };
        let (start, end) = (question.pieces[first].0 as usize, question.pieces[last].1 as usize);
        let byte = |character: usize| characters.get(character).copied().unwrap_or(context.len());
        (context.get(byte(start)..byte(end)).unwrap_or_default(), start)
    }

    fn answer(&self, text: &str, start: usize) -> SpanAnswer {
        SpanAnswer { text: text.to_owned(), score: 0.0, start, start_logit: self.start, end_logit: self.end }
    }
}

/// The `n` items with the highest values, highest first; of equal ones the first.
fn highest(mut items: Vec<usize>, n: usize, value: impl Fn(usize) -> f32) -> Vec<usize> {
    items.sort_by(|a, b| value(*b).total_cmp(&value(*a)).then(a.cmp(b)));
    items.truncate(n);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::inputs::settings::{LabelPosition, LabelScheme, LongInputs, PairSeparator};

    fn settings(unanswerable: bool) -> InputSettings {
        InputSettings {
            max_length: 8,
            long_inputs: LongInputs::Window,
            window_overlap: None,
            window_step: None,
            max_query_length: 2,
            max_answer_length: 2,
            n_best: 3,
            null_threshold: 0.0,
            label_position: LabelPosition::First,
            label_scheme: LabelScheme::Words,
            segments: true,
            pair_separator: PairSeparator::None,
            unanswerable,
            outside: "O".into(),
        }
    }

    const CONTEXT: &str = "α TP53 α";

    /// Three words, the last as the first, behind two other tokens.
    fn question(windows: &[std::ops::Range<usize>]) -> Question {
        Question { sequences: 0..windows.len(), pieces: vec![(0, 1), (2, 6), (7, 8)], windows: windows.to_vec(), first_place: 2 }
    }

    /// One window that holds all.
    fn whole() -> Question {
        question(&std::array::from_fn::<_, 1, _>(|_| 0..3))
    }

    fn found(listed: &[SpanAnswer]) -> Vec<(&str, usize)> {
        listed.iter().map(|answer| (answer.text.as_str(), answer.start)).collect()
    }

    #[test]
    fn spans_are_ranked_by_the_sum_of_their_logits_and_no_text_comes_twice() {
        let logits = SequenceLogits::by_hand(2, &[&[[9.0, 9.0], [0.0, 0.0], [1.0, 0.0], [3.0, 2.0], [2.0, 0.5]]]);
        let (listed, nothing) = answers(&whole(), CONTEXT, &logits, &settings(false));
        // TP53 3 + 2, TP53 α 3 + 0.5, α TP53 1 + 2, the last α 2 + 0.5 (but only three are listed), the first α 1 + 0 is the same text.
        assert_eq!(found(&listed), [("TP53", 2), ("TP53 α", 2), ("α TP53", 0)]);
        assert!(!nothing);
        let sum: f64 = [5.0f64, 3.5, 3.0].iter().map(|sum| sum.exp()).sum();
        assert!((listed[0].score - 5f64.exp() / sum).abs() < 1e-12);
        assert_eq!((listed[0].start_logit, listed[0].end_logit), (3.0, 2.0));
        let more = InputSettings { n_best: 10, ..settings(false) };
        let (listed, _) = answers(&whole(), CONTEXT, &logits, &more);
        assert_eq!(found(&listed), [("TP53", 2), ("TP53 α", 2), ("α TP53", 0), ("α", 7)], "three pieces are too many, the first α is worse than the last");
    }

    #[test]
    fn a_first_piece_counts_where_it_has_most_context() {
        // TP53 has 0 on its nearer side in both windows: the first one is its window, although the second likes it better.
        let logits = SequenceLogits::by_hand(2, &[&[[0.0; 2], [0.0; 2], [0.0, 0.0], [1.0, 1.0]], &[[0.0; 2], [0.0; 2], [9.0, 9.0], [0.0, 0.5]]]);
        let (listed, _) = answers(&question(&[0..2, 1..3]), CONTEXT, &logits, &settings(false));
        assert_eq!(found(&listed)[0], ("TP53", 2));
        assert_eq!(listed[0].start_logit, 1.0);
    }

    #[test]
    fn no_answer_stands_first_if_it_beats_the_best_by_more_than_the_threshold() {
        let logits = SequenceLogits::by_hand(2, &[&[[3.0, 3.0], [0.0; 2], [0.0, 0.0], [3.0, 2.0], [0.0, 0.0]]]);
        let of = |threshold: f64| {
            let settings = InputSettings { null_threshold: threshold, ..settings(true) };
            found(&answers(&whole(), CONTEXT, &logits, &settings).0).iter().map(|(text, _)| (*text).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(0.0)[..2], ["", "TP53"], "6 against 5");
        assert_eq!(of(1.0)[..2], ["TP53", ""], "not by more than 1");
        // The window that is surest that something is there speaks for all.
        let two = SequenceLogits::by_hand(2, &[&[[3.0, 3.0], [0.0; 2], [0.0, 0.0], [3.0, 2.0]], &[[-1.0, -1.0], [0.0; 2], [0.0; 2], [0.0; 2]]]);
        let (listed, _) = answers(&question(&[0..2, 1..3]), CONTEXT, &two, &settings(true));
        assert_eq!(found(&listed)[0].0, "TP53");
        assert_eq!(listed.last().map(|answer| (answer.text.as_str(), answer.start_logit)), Some(("", -1.0)));
    }

    #[test]
    fn an_empty_context_is_answered_by_nothing() {
        let empty = Question { sequences: 0..1, pieces: vec![], windows: vec![std::ops::Range::default()], first_place: 2 };
        let logits = SequenceLogits::by_hand(2, &[&[[3.0, 3.0], [0.0; 2]]]);
        for unanswerable in [false, true] {
            let (listed, nothing) = answers(&empty, "", &logits, &settings(unanswerable));
            assert_eq!((found(&listed), nothing, listed[0].score), (vec![("", 0)], true, 1.0));
        }
    }
}
