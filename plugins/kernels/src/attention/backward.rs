//! The gradient of the attention of one sequence, wherever its matrices lie.

use super::{AttentionShape, Buffers, Head, Left, QUERIES, Rows, Sequence, first_group, mask_block, multiply, product, softmax, softmax_grad};
use crate::dropout::Dropout;
use crate::lanes::padded;
use crate::scratch::sized;
use crate::simd::Simd;

/// What rows of a head are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Query,
    Key,
    Value,
    /// What the attention itself gives, if it is asked for again.
    Context,
}

/// All heads of one sequence of `[q, k, v, dout]`. `put` takes rows of the gradients, `(rows, padded head_dim)`, with what they are, the row of the sequence that they
/// begin with and their head.
pub(super) fn backward(
    simd: Simd,
    inputs: [Rows; 4],
    shape: AttentionShape,
    sequence: Sequence,
    dropout: Option<Dropout>,
    buffers: &mut Buffers,
    with_context: bool,
    mut put: impl FnMut(Part, usize, usize, &[f32]),
) {
    let tokens = sequence.tokens;
    let stride = padded(tokens);
    let width = padded(shape.head_dim);
    for head in 0..shape.heads {
        let [q, k, v, dout] = inputs.map(|rows| Head::new(rows, shape, sequence.start, head));
        let k_transposed = k.transposed(simd, tokens, &mut buffers.k);
        let v_transposed = v.transposed(simd, tokens, &mut buffers.v);
        let k_rows = k.right(0, tokens, &mut buffers.k_rows);
        let v_rows = with_context.then(|| v.right(0, tokens, &mut buffers.v_rows));
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
            if let Some(v_rows) = v_rows {
                let by_query = Left { values: used, row: stride, column: 1 };
                product(simd, by_query, v_rows, result, width, [rows, tokens, width], false);
                put(Part::Context, first, head, result);
            }
            let later = first > 0;
            let by_key = Left { values: used, row: 1, column: stride };
            let dout_rows = dout.right(first, rows, &mut buffers.dout_rows);
            product(simd, by_key, dout_rows, dv, width, [tokens, rows, width], later);

            softmax_grad(simd, p, stride, shape.scale, ds);

            let by_query = Left { values: ds, row: stride, column: 1 };
            product(simd, by_query, k_rows, result, width, [rows, tokens, width], false);
            put(Part::Query, first, head, result);
            let by_key = Left { values: ds, row: 1, column: stride };
            let q_rows = q.right(first, rows, &mut buffers.q_rows);
            product(simd, by_key, q_rows, dk, width, [tokens, rows, width], later);
        }
        put(Part::Key, 0, head, dk);
        put(Part::Value, 0, head, dv);
    }
}
