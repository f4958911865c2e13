//! Probabilities of labels and choices, and numbers, for texts.

use std::ops::Range;

use super::logits::{SequenceLogits, sigmoid, softmax};

/// The mean logits of a text over its windows.
fn of_text(logits: &SequenceLogits, sequences: &Range<usize>) -> Vec<f64> {
    SequenceLogits::mean(sequences.clone().map(|sequence| logits.row(sequence, 0)), logits.width)
}

/// The probability of each class; they sum to 1.
pub(crate) fn classes(logits: &SequenceLogits, sequences: &Range<usize>) -> Vec<f64> {
    softmax(&of_text(logits, sequences))
}

/// The probability of each label by itself.
pub(crate) fn flags(logits: &SequenceLogits, sequences: &Range<usize>) -> Vec<f64> {
    of_text(logits, sequences).into_iter().map(sigmoid).collect()
}

/// The number.
pub(crate) fn number(logits: &SequenceLogits, sequences: &Range<usize>) -> f64 {
    of_text(logits, sequences)[0]
}

/// The probability of each option of a question; `options` holds the windows of each.
pub(crate) fn options(logits: &SequenceLogits, options: &[Range<usize>]) -> Vec<f64> {
    softmax(&options.iter().map(|sequences| number(logits, sequences)).collect::<Vec<_>>())
}
