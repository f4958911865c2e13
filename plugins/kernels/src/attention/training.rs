//! Attention and its gradient for callers that give each thread sequences of their own: queries, keys and values side by side in
//! one matrix, as the projection leaves them.

use super::{
    AttentionShape, Buffers, Head, Left, QUERIES, Rows, Sequence, copy_out, effective, first_group, forward, mask_block, multiply, product, softmax,
    softmax_grad,
};
use crate::dropout::Dropout;
use crate::lanes::padded;
use crate::scratch::{Scratch, sized};
use crate::simd::{Simd, simd};

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
        let dqkv = &mut dqkv[3 * rows.start..3 * rows.end];
        backward(simd, (qkv, dout), shape, sequence, dropout, &mut scratch.attention, dqkv, &mut out[rows]);
    }
}

/// All heads of one sequence. `dqkv` and `out` are its rows.
fn backward(
    simd: Simd,
    (qkv, dout): (&[f32], &[f32]),
    shape: AttentionShape,
    sequence: Sequence,
    dropout: Option<Dropout>,
    buffers: &mut Buffers,
    dqkv: &mut [f32],
    out: &mut [f32],
) {
    let tokens = sequence.tokens;
    let stride = padded(tokens);
    let width = padded(shape.head_dim);
    let row = shape.width();
    let dout = Rows { values: dout, stride: row };
    for head in 0..shape.heads {
        let column = head * shape.head_dim;
        let [q, k, v] = shape.split(qkv).map(|rows| Head::new(rows, shape, sequence.start, head));
        let dout = Head::new(dout, shape, sequence.start, head);
        let k_transposed = k.transposed(simd, tokens, &mut buffers.k);
        let v_transposed = v.transposed(simd, tokens, &mut buffers.v);
        let k_rows = k.right(0, tokens, &mut buffers.k_rows);
        let v_rows = v.right(0, tokens, &mut buffers.v_rows);
        let dk = sized(&mut buffers.dk, tokens * width);
        let dv = sized(&mut buffers.dv, tokens * width);
        for first in (0..tokens).step_by(QUERIES) {
            let rows = QUERIES.min(tokens - first);
            let p = sized(&mut buffers.probabilities, rows * stride);
            product(simd, q.left(first), k_transposed, p, stride, [rows, shape.head_dim, stride], false);
            softmax(simd, p, stride, shape, first, tokens);
            let ds = sized(&mut buffers.dscores, rows * stride);
            product(simd, dout.left(first), v_transposed, ds, stride, [rows, shape.head_dim, stride], false);

            // The values and their gradient see the probabilities after dropout, and they see their own gradient.
            let used = if let Some(dropout) = dropout {
                let mask = sized(&mut buffers.mask, rows * stride);
                mask_block(simd, dropout, first_group(sequence, head, first), mask);
                multiply(simd, ds, mask);
                let dropped = sized(&mut buffers.dropped, rows * stride);
                dropped.copy_from_slice(p);
                multiply(simd, dropped, mask);
                &*dropped
            } else {
                &*p
            };
            let result = sized(&mut buffers.result, rows * width);
            let by_query = Left { values: used, row: stride, column: 1 };
            product(simd, by_query, v_rows, result, width, [rows, tokens, width], false);
            copy_out(result, width, &mut out[first * row + column..], row, shape.head_dim);

            let later = first > 0;
            let by_key = Left { values: used, row: 1, column: stride };
            let dout_rows = dout.right(first, rows, &mut buffers.dout_rows);
            product(simd, by_key, dout_rows, dv, width, [tokens, rows, width], later);

            softmax_grad(simd, p, stride, shape.scale, ds);

            let by_query = Left { values: ds, row: stride, column: 1 };
            product(simd, by_query, k_rows, result, width, [rows, tokens, width], false);
            copy_out(result, width, &mut dqkv[first * 3 * row + column..], 3 * row, shape.head_dim);
            let by_key = Left { values: ds, row: 1, column: stride };
            let q_rows = q.right(first, rows, &mut buffers.q_rows);
            product(simd, by_key, q_rows, dk, width, [tokens, rows, width], later);
        }
        copy_out(dk, width, &mut dqkv[row + column..], 3 * row, shape.head_dim);
        copy_out(dv, width, &mut dqkv[2 * row + column..], 3 * row, shape.head_dim);
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
