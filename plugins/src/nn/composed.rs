//! The operations of [`ops`](super::ops) from candle's own: what runs where the kernels do not, on a graphics processor.
//!
//! Only what candle can differentiate is used. Its fused normalisation and softmax have no backward pass and cut the graph in silence, and the derivative of
//! its GELU has constants of six digits. Dropout masks are drawn on the CPU, so the same seed drops the same elements on every device.

use std::collections::BTreeMap;

use candle_core::{D, Device, IndexOp, Result, Tensor};
use lmprobe_kernels::{self as kernels, Activation, Dropout};

use super::ops::Attention;

/// Sequences whose lengths lie within this many tokens go through the attention together: few calls, and little padding.
const BUCKET: usize = 32;

/// The kernels pad rows of attention probabilities to this many, and number the elements of a dropout mask accordingly.
const PADDED_ROW: usize = 16;

/// Elements of a mask that are drawn together: each head begins with a group.
const MASK_GROUP: usize = 64;

/// `x (rows, in)`, `weight (out, in)`, `bias (out)`: `(rows, out)`.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// `x (rows, width)`, `gain (width)`, `bias (width)`.
pub(super) fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?; // (rows, 1)
    let normed = centred.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
    normed.broadcast_mul(gain)?.broadcast_add(bias)
}

/// Element by element.
pub(super) fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    match kind {
        Activation::GeluErf => (x * 0.5)? * ((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)?,
        Activation::GeluTanh => {
            let cube = (x.sqr()? * x)?;
            let inner = ((x + (cube * 0.044_715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
            (x * 0.5)? * (inner.tanh()? + 1.0)?
        }
        // The derivative at 0 is 0, as in torch; candle's own is 1.
        Activation::Relu => {
            let zeros = x.zeros_like()?;
            x.gt(&zeros)?.where_cond(x, &zeros)
        }
        Activation::Tanh => x.tanh(),
    }
}

/// Rows of `table (rows, width)`: `(indices, width)`.
pub(super) fn gather(table: &Tensor, indices: &[u32]) -> Result<Tensor> {
    table.contiguous()?.index_select(&Tensor::new(indices, table.device())?, 0)
}

/// Any shape.
pub(super) fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    x * Tensor::from_vec(mask(dropout, x.elem_count()), x.shape(), x.device())?
}

/// The mean of the rows of each sequence: `(tokens, width)` to `(batch, width)`.
#[expect(clippy::cast_precision_loss, reason = "a sequence has at most a few thousand tokens")]
pub(super) fn sequence_mean(x: &Tensor, offsets: &[usize]) -> Result<Tensor> {
    let (tokens, batch) = (x.dim(0)?, offsets.len() - 1);
    let mut shares = vec![0.0f32; batch * tokens];
    for (row, ends) in shares.chunks_exact_mut(tokens).zip(offsets.windows(2)) {
        row[ends[0]..ends[1]].fill(1.0 / (ends[1] - ends[0]) as f32);
    }
    Tensor::from_vec(shares, (batch, tokens), x.device())?.matmul(x)
}

/// Rows of any shape.
pub(super) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let powers = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// The context `(tokens, heads x head_dim)` of queries, keys and values `(tokens, heads x head_dim)`.
pub(super) fn attention(attention: &Attention, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
    let (_, width) = query.dims2()?;
    let (mut contexts, mut order) = (Vec::new(), Vec::new());
    for bucket in buckets(&attention.offsets) {
        let mut p = bucket.probabilities(attention, query, key)?; // (batch, heads, longest, longest)
        if let Some(dropout) = attention.dropout.filter(|dropout| dropout.p > 0.0) {
            p = (p * bucket.mask(attention, dropout, query.device())?)?;
        }
        let context = p.matmul(&bucket.heads(attention, value)?)?; // (batch, heads, longest, head_dim)
        contexts.push(context.transpose(1, 2)?.reshape(((), width))?); // (batch x longest, width)
        order.push(bucket);
    }
    // The rows stand bucket by bucket and padded; each token's is taken.
    let mut rows = vec![0; query.dim(0)?];
    let mut first = 0;
    for bucket in &order {
        for sequence in &bucket.sequences {
            for token in 0..sequence.length {
                rows[sequence.start + token] = index(first + token)?;
            }
            first += bucket.longest;
        }
    }
    gather(&Tensor::cat(&contexts, 0)?, &rows)
}

/// The probabilities, `(heads, query, key)` for each sequence.
pub(super) fn attention_probabilities(attention: &Attention, query: &Tensor, key: &Tensor) -> Result<Vec<Tensor>> {
    let nothing = Tensor::zeros((attention.heads, 0, 0), query.dtype(), query.device())?;
    let mut found = vec![nothing; attention.offsets.len() - 1];
    for bucket in buckets(&attention.offsets) {
        let p = bucket.probabilities(attention, query, key)?.detach();
        for (row, sequence) in bucket.sequences.iter().enumerate() {
            found[sequence.index] = p.i((row, .., ..sequence.length, ..sequence.length))?.contiguous()?;
        }
    }
    Ok(found)
}

/// One sequence of a packed batch.
#[derive(Clone, Copy)]
struct Sequence {
    /// Its number in the batch.
    index: usize,
    /// Its first row.
    start: usize,
    /// Its tokens, one at least.
    length: usize,
}

/// Sequences of similar length.
struct Bucket {
    sequences: Vec<Sequence>,
    longest: usize,
}

/// The sequences that hold tokens, by length.
fn buckets(offsets: &[usize]) -> Vec<Bucket> {
    let mut found: BTreeMap<usize, Bucket> = BTreeMap::new();
    for (index, ends) in offsets.windows(2).enumerate().filter(|(_, ends)| ends[0] < ends[1]) {
        let sequence = Sequence { index, start: ends[0], length: ends[1] - ends[0] };
        let bucket = found.entry(sequence.length.div_ceil(BUCKET)).or_insert_with(|| Bucket { sequences: Vec::new(), longest: 0 });
        bucket.longest = bucket.longest.max(sequence.length);
        bucket.sequences.push(sequence);
    }
    found.into_values().collect()
}

impl Bucket {
    /// Rows `(tokens, heads x head_dim)` as `(batch, heads, longest, head_dim)`. What pads a sequence is its first row.
    fn heads(&self, attention: &Attention, x: &Tensor) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(self.sequences.len() * self.longest);
        for sequence in &self.sequences {
            for token in 0..self.longest {
                rows.push(index(sequence.start + if token < sequence.length { token } else { 0 })?);
            }
        }
        let head_dim = x.dim(1)? / attention.heads;
        gather(x, &rows)?.reshape((self.sequences.len(), self.longest, attention.heads, head_dim))?.transpose(1, 2)?.contiguous()
    }

    /// `(batch, heads, longest, longest)`; of a sequence the first rows and columns mean something.
    fn probabilities(&self, attention: &Attention, query: &Tensor, key: &Tensor) -> Result<Tensor> {
        let scale = f64::from(attention.shape(query)?.scale);
        let (query, key) = (self.heads(attention, query)?, self.heads(attention, key)?);
        let scores = (query.matmul(&key.transpose(2, 3)?.contiguous()?)? * scale)?;
        softmax(&scores.broadcast_add(&self.unseen(attention, scores.device())?)?)
    }

    /// 0 where a query sees a key and minus infinity where not, `(batch, 1, longest, longest)`.
    fn unseen(&self, attention: &Attention, device: &Device) -> Result<Tensor> {
        let n = self.longest;
        let mut values = vec![f32::NEG_INFINITY; self.sequences.len() * n * n];
        for (sequence, block) in self.sequences.iter().zip(values.chunks_exact_mut(n * n)) {
            for (query, row) in block.chunks_exact_mut(n).enumerate() {
                let seen = if attention.causal { sequence.length.min(query + 1) } else { sequence.length };
                row[..seen].fill(0.0);
            }
        }
        Tensor::from_vec(values, (self.sequences.len(), 1, n, n), device)
    }

    /// The mask of the probabilities, `(batch, heads, longest, longest)`: the elements that the kernels would drop.
    fn mask(&self, attention: &Attention, dropout: Dropout, device: &Device) -> Result<Tensor> {
        let n = self.longest;
        // The kernels number the elements of a batch sequence by sequence, head by head, in padded rows.
        let per_head = |length: usize| (length * length.next_multiple_of(PADDED_ROW)).next_multiple_of(MASK_GROUP);
        let mut first = 0;
        let starts: Vec<usize> = attention
            .offsets
            .windows(2)
            .map(|ends| {
                let start = first;
                first += attention.heads * per_head(ends[1] - ends[0]);
                start
            })
            .collect();
        let drawn = mask(dropout, first);
        let mut values = vec![0.0; self.sequences.len() * attention.heads * n * n];
        for (row, sequence) in self.sequences.iter().enumerate() {
            let (length, padded) = (sequence.length, sequence.length.next_multiple_of(PADDED_ROW));
            for head in 0..attention.heads {
                let drawn = &drawn[starts[sequence.index] + head * per_head(length)..];
                let block = &mut values[(row * attention.heads + head) * n * n..];
                for query in 0..length {
                    block[query * n..][..length].copy_from_slice(&drawn[query * padded..][..length]);
                }
            }
        }
        Tensor::from_vec(values, (self.sequences.len(), attention.heads, n, n), device)
    }
}

/// The factors of the first `n` elements of a dropout: 0, or `1 / (1 - p)`.
fn mask(dropout: Dropout, n: usize) -> Vec<f32> {
    let mut factors = vec![0.0; n];
    kernels::dropout(&vec![1.0; n], dropout, &mut factors);
    factors
}

fn index(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| candle_core::Error::Msg("a batch of more than 2^32 rows".into()).bt())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::nn::ops;

    /// Values between -2 and 2 that repeat nothing.
    fn var(shape: &[usize], seed: u64) -> Var {
        let n = shape.iter().product();
        let mut random = lmprobe_core::Seed(seed).random();
        #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
        let values: Vec<f32> = std::iter::repeat_with(|| (random.unit() * 4.0 - 2.0) as f32).take(n).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn close(what: &str, a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims(), "{what}");
        let [a, b] = [a, b].map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{what}: {worst}");
    }

    /// Holds two ways of computing the same against each other: values, and gradients of every variable.
    fn same(what: &str, variables: &[&Var], composed: impl Fn(&[&Tensor]) -> Result<Tensor>, fused: impl Fn(&[&Tensor]) -> Result<Tensor>) {
        let inputs: Vec<&Tensor> = variables.iter().map(|var| var.as_tensor()).collect();
        let (found, expected) = (composed(&inputs).unwrap(), fused(&inputs).unwrap());
        close(what, &found, &expected);
        let weights = var(found.dims(), 99);
        let gradients = [found, expected].map(|y| (y * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap());
        for (number, input) in inputs.iter().enumerate() {
            let [found, expected] = gradients.each_ref().map(|gradients| gradients.get(input).unwrap_or_else(|| panic!("{what}: the graph is cut")));
            close(&format!("{what}, gradient {number}"), found, expected);
        }
    }

    #[test]
    fn composed_operations_are_the_fused_ones() {
        let x = var(&[7, 6], 1);
        let (w, b, g) = (var(&[5, 6], 2), var(&[5], 3), var(&[6], 4));
        same("linear", &[&x, &w, &b], |t| linear(t[0], t[1], t[2]), |t| ops::linear(t[0], t[1], t[2]));
        let c = var(&[6], 5);
        same("layer_norm", &[&x, &g, &c], |t| layer_norm(t[0], t[1], t[2], 1e-12), |t| ops::layer_norm(t[0], t[1], t[2], 1e-12));
        for kind in [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh] {
            same("activation", &[&x], |t| activation(t[0], kind), |t| ops::activation(t[0], kind));
        }
        same("gather", &[&x], |t| gather(t[0], &[3, 0, 3, 6]), |t| ops::gather(t[0], &[3, 0, 3, 6]));
        let drop = Dropout { p: 0.3, seed: 5, stream: 9 };
        let wide = var(&[20, 33], 6);
        same("dropout", &[&wide], |t| dropout(t[0], drop), |t| ops::dropout(t[0], Some(drop)));
        same("sequence_mean", &[&x], |t| sequence_mean(t[0], &[0, 1, 5, 7]), |t| ops::sequence_mean(t[0], &[0, 1, 5, 7]));
        same("log_softmax", &[&x], log_softmax_of, |t| ops::log_softmax(t[0]));
    }

    fn log_softmax_of(t: &[&Tensor]) -> Result<Tensor> {
        log_softmax(t[0])
    }

    #[test]
    fn the_derivative_of_relu_at_zero_is_zero() {
        let x = Var::from_vec(vec![-1.0f32, 0.0, 2.0], 3, &Device::Cpu).unwrap();
        same("relu", &[&x], |t| activation(t[0], Activation::Relu), |t| ops::activation(t[0], Activation::Relu));
    }

    /// Sequences of several buckets in no order, an empty one, and one of a single token.
    const OFFSETS: [usize; 7] = [0, 40, 43, 43, 44, 81, 98];

    #[test]
    fn composed_attention_is_the_fused_one() {
        let (q, k, v) = (var(&[98, 12], 1), var(&[98, 12], 2), var(&[98, 12], 3));
        for causal in [false, true] {
            for p in [None, Some(0.0), Some(0.25)] {
                let dropout = p.map(|p| Dropout { p, seed: 7, stream: 3 });
                let shape = Attention { offsets: OFFSETS.into(), heads: 3, causal, dropout };
                let what = format!("attention, causal {causal}, dropout {p:?}");
                same(&what, &[&q, &k, &v], |t| attention(&shape, t[0], t[1], t[2]), |t| shape.clone().apply(t[0], t[1], t[2]));
            }
            let shape = Attention { offsets: OFFSETS.into(), heads: 3, causal, dropout: None };
            let found = attention_probabilities(&shape, q.as_tensor(), k.as_tensor()).unwrap();
            let expected = shape.probabilities(q.as_tensor(), k.as_tensor()).unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                close("probabilities", found, expected);
            }
        }
    }
}
