//! Attention and its gradient for callers that give each thread sequences of their own: queries, keys and values side by side in
//! one matrix, as the projection leaves them.

use super::backward::{Part, backward};
use super::{AttentionShape, Rows, Sequence, copy_out, effective, forward};
use crate::dropout::Dropout;
use crate::lanes::padded;
use crate::scratch::Scratch;
use crate::simd::simd;

/// Dropout of probabilities when the sequences at hand are some of a batch.
#[derive(Clone, Copy, Debug)]
pub struct AttentionDropout {
    /// The dropout of the batch.
    pub dropout: Dropout,
    /// The [dropout groups](AttentionShape::dropout_groups) of the sequences of the batch before these.
    pub first_group: u64,
}

impl AttentionShape<'_> {
    /// In how many groups dropout numbers the probabilities of these sequences.
    #[must_use]
    pub fn dropout_groups(self) -> u64 {
        let sequences = self.offsets.windows(2).filter(|ends| ends[0] < ends[1]);
        sequences.map(|ends| self.heads as u64 * Sequence { start: 0, tokens: ends[1] - ends[0], group: 0 }.groups_per_head()).sum()
    }

    fn check_merged(self, name: &str, length: usize) {
        let tokens = self.offsets[self.offsets.len() - 1];
        assert!(length == tokens * 3 * self.width(), "{name} must be (tokens, 3 heads * head_dim): {length} is not {tokens} x {}", 3 * self.width());
    }

    /// Queries, keys and values of a merged matrix.
    fn split(self, merged: &[f32]) -> [Rows<'_>; 3] {
        let width = self.width();
        [0, 1, 2].map(|part| Rows { values: merged.get(part * width..).unwrap_or_default(), stride: 3 * width })
    }

    /// The sequences that hold tokens, and the dropout with its first group taken into account.
    fn numbered(self, dropout: Option<AttentionDropout>) -> (Vec<Sequence>, Option<Dropout>) {
        let mut sequences = self.sequences();
        for sequence in &mut sequences {
            sequence.group += dropout.map_or(0, |dropout| dropout.first_group);
        }
        (sequences, effective(dropout.map(|dropout| dropout.dropout)))
    }
}

/// `out = softmax(scale q k^T) v` of merged queries, keys and values `(tokens, 3 heads * head_dim)`, with the bits of
/// [`attention`](super::attention). `out` is `(tokens, heads * head_dim)`.
///
/// # Panics
///
/// The offsets do not begin with 0 or decrease, the scale is not positive, a slice has not the length its shape says, or the
/// dropout probability is not at least 0 and less than 1.
pub fn attention_merged(qkv: &[f32], shape: AttentionShape, dropout: Option<AttentionDropout>, scratch: &mut Scratch, out: &mut [f32]) {
    shape.check(&[("out", out.len())]);
    shape.check_merged("qkv", qkv.len());
    let (sequences, dropout) = shape.numbered(dropout);
    let width = shape.width();
    if width == 0 {
        return;
    }
    let simd = simd();
    for sequence in sequences {
        let out = &mut out[sequence.start * width..][..sequence.tokens * width];
        forward(simd, shape.split(qkv), shape, sequence, dropout, &mut scratch.attention, out);
    }
}

/// The gradient of [`attention_merged`] by `qkv`, given `dout`, and once more its `out`: the probabilities are worked out again,
/// and the same dropout drops the same ones.
///
/// # Panics
///
/// As [`attention_merged`].
pub fn attention_merged_grad(
    qkv: &[f32],
    dout: &[f32],
    shape: AttentionShape,
    dropout: Option<AttentionDropout>,
    scratch: &mut Scratch,
    dqkv: &mut [f32],
    out: &mut [f32],
) {
    shape.check(&[("dout", dout.len()), ("out", out.len())]);
    shape.check_merged("qkv", qkv.len());
    shape.check_merged("dqkv", dqkv.len());
    let (sequences, dropout) = shape.numbered(dropout);
    let width = shape.width();
    if width == 0 {
        return;
    }
    let simd = simd();
    for sequence in sequences {
        let rows = sequence.start * width..(sequence.start + sequence.tokens) * width;
        let (dqkv, out) = (&mut dqkv[3 * rows.start..3 * rows.end], &mut out[rows]);
        let [q, k, v] = shape.split(qkv);
        let inputs = [q, k, v, Rows { values: dout, stride: width }];
        backward(simd, inputs, shape, sequence, dropout, &mut scratch.attention, true, |part, first, head, rows| {
            let column = head * shape.head_dim;
            let (to, row) = match part {
                Part::Query => (&mut dqkv[3 * first * width + column..], 3 * width),
                Part::Key => (&mut dqkv[(3 * first + 1) * width + column..], 3 * width),
                Part::Value => (&mut dqkv[(3 * first + 2) * width + column..], 3 * width),
                Part::Context => (&mut out[first * width + column..], width),
            };
            copy_out(rows, padded(shape.head_dim), to, row, shape.head_dim);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{attention, attention_grad};
    use super::*;
    use crate::parallel::tests::{distance, values};

    /// The columns of one third of merged rows.
    fn third(merged: &[f32], width: usize, part: usize) -> Vec<f32> {
        merged.chunks_exact(3 * width).flat_map(|row| &row[part * width..(part + 1) * width]).copied().collect()
    }

    #[test]
    fn merged_sequences_are_those_of_the_whole_batch() {
        let lengths: &[usize] = if cfg!(miri) { &[2, 0, 3, 1] } else { &[3, 70, 0, 1, 48, 17] };
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        let tokens = offsets[offsets.len() - 1];
        for (heads, head_dim) in if cfg!(miri) { vec![(2, 3)] } else { vec![(2, 16), (3, 5), (1, 32)] } {
            let width = heads * head_dim;
            let (qkv, dout) = (values(tokens * 3 * width, 1), values(tokens * width, 2));
            for (causal, p) in [(false, 0.0), (true, 0.0), (false, 0.3), (true, 0.3)] {
                let shape = AttentionShape { offsets: &offsets, heads, head_dim, scale: 0.4, causal };
                let dropout = Dropout { p, seed: 5, stream: 2 };
                let [q, k, v] = [0, 1, 2].map(|part| third(&qkv, width, part));
                let mut expected = vec![0.0; tokens * width];
                attention(&q, &k, &v, shape, Some(dropout), &mut expected);
                let (mut dq, mut dk, mut dv) = (expected.clone(), expected.clone(), expected.clone());
                attention_grad(&q, &k, &v, &dout, shape, Some(dropout), &mut dq, &mut dk, &mut dv);

                // The batch in two halves.
                let cut = offsets.len() / 2;
                let mut first_group = 0;
                let mut scratch = Scratch::new();
                let (mut out, mut again, mut dqkv) = (vec![9.0; tokens * width], vec![9.0; tokens * width], vec![9.0; tokens * 3 * width]);
                for ends in [&offsets[..=cut], &offsets[cut..]] {
                    let (start, end) = (ends[0] * width, ends[ends.len() - 1] * width);
                    let local: Vec<usize> = ends.iter().map(|offset| offset - ends[0]).collect();
                    let shape = AttentionShape { offsets: &local, ..shape };
                    let from = Some(AttentionDropout { dropout, first_group });
                    let qkv = &qkv[3 * start..3 * end];
                    attention_merged(qkv, shape, from, &mut scratch, &mut out[start..end]);
                    attention_merged_grad(qkv, &dout[start..end], shape, from, &mut scratch, &mut dqkv[3 * start..3 * end], &mut again[start..end]);
                    first_group += shape.dropout_groups();
                }
                assert_eq!(out, expected, "{heads} {head_dim} {causal} {p}");
                assert_eq!(again, expected, "{heads} {head_dim} {causal} {p}");
                for (part, expected) in [dq, dk, dv].iter().enumerate() {
                    assert!(distance(&third(&dqkv, width, part), expected) < 1e-6, "{heads} {head_dim} {causal} {p} {part}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "dqkv must be (tokens, 3 heads * head_dim)")]
    fn a_wrong_length_is_refused() {
        let shape = AttentionShape { offsets: &[0, 1], heads: 1, head_dim: 2, scale: 1.0, causal: false };
        attention_merged_grad(&[0.0; 6], &[0.0; 2], shape, None, &mut Scratch::new(), &mut [0.0; 5], &mut [0.0; 2]);
    }
}
