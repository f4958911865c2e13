//! The logits of a head for many sequences.

use lmprobe_core::{CallContext, Encoder, Error, HeadReads, Result, TokenBatch, TokenRows};

use crate::nn::head::Head;
use crate::nn::passes::encode_in_passes;
use crate::nn::values::with as with_values;

/// Logits of sequences, `(rows, width)` each: one row a sequence, or one a place that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct SequenceLogits {
    /// Numbers a row.
    pub(crate) width: usize,
    sequences: Vec<Vec<f32>>,
}

/// Which places of sequences are read by a head that reads every token.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Places<'a> {
    /// All.
    All,
    /// These of each sequence.
    Chosen(&'a [Vec<usize>]),
}

impl SequenceLogits {
    /// Asks the head about all sequences. `phase` names them where progress is shown.
    ///
    /// # Errors
    /// If the encoder fails, a logit is not finite or a stop was requested.
    pub(crate) fn of(encoder: &dyn Encoder, head: &Head, tokens: &TokenBatch, places: Places<'_>, phase: &str, cx: &CallContext<'_>) -> Result<Self> {
        let every = head.reads() == HeadReads::EveryToken;
        let rows = |sequence: usize| match places {
            _ if !every => 1,
            Places::All => tokens.sequence_len(sequence),
            Places::Chosen(places) => places[sequence].len(),
        };
        let asked: Vec<usize> = (0..tokens.len()).filter(|&sequence| rows(sequence) > 0).collect();
        let mut all = Self { width: head.outputs(), sequences: vec![Vec::new(); tokens.len()] };
        let want = |pass: &TokenBatch, group: &[usize]| {
            let rows = match places {
                Places::Chosen(places) if every => {
                    let at = |(index, &member): (usize, &usize)| places[asked[member]].iter().map(move |place| pass.offsets[index] + place);
                    TokenRows::At(group.iter().enumerate().flat_map(at).collect())
                }
                _ => TokenRows::All,
            };
            Ok(head.want(pass, rows, encoder.info()))
        };
        encode_in_passes(encoder, &tokens.select(&asked), phase, cx, &want, &mut |group, _, output| {
            let logits = head.answers(&output, encoder.info())?; // (rows, width)
            with_values(&logits, |values| {
                let mut begin = 0;
                for &member in group {
                    let end = begin + rows(asked[member]) * all.width;
                    all.sequences[asked[member]] = values[begin..end].to_vec();
                    begin = end;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        if let Some(sequence) = all.sequences.iter().position(|values| values.iter().any(|value| !value.is_finite())) {
            return Err(Error::Unsupported(format!("the head gave a logit that is not finite (sequence {sequence} of the {phase}): its weights are damaged")));
        }
        Ok(all)
    }

    /// One row of a sequence.
    pub(crate) fn row(&self, sequence: usize, row: usize) -> &[f32] {
        &self.sequences[sequence][row * self.width..][..self.width]
    }

    /// The mean of rows, column by column.
    pub(crate) fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, width: usize) -> Vec<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a text has far fewer than 2^53 windows")]
        let n = rows.len() as f64;
        let mut sums = vec![0.0; width];
        for row in rows {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        sums.into_iter().map(|sum| sum / n).collect()
    }
}

/// The first of the highest.
pub(crate) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Probabilities of alternatives.
pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Probability of one thing that may be or not.
pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
impl SequenceLogits {
    /// Logits written down: the rows of each sequence.
    pub(crate) fn by_hand<const N: usize>(width: usize, sequences: &[&[[f32; N]]]) -> Self {
        Self { width, sequences: sequences.iter().map(|rows| rows.concat()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_logits_wins() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(sigmoid(0.0), 0.5);
    }

    #[test]
    fn logits_of_windows_are_averaged() {
        let logits = SequenceLogits::by_hand(2, &[&[[1.0, 2.0]], &[[3.0, 6.0]]]);
        assert_eq!(SequenceLogits::mean((0..2).map(|sequence| logits.row(sequence, 0)), 2), [2.0, 4.0]);
    }
}
