//! Self-attention over packed sequences of any lengths, and its gradient.

mod backward;
mod training;

use backward::{Part, backward};
use rayon::prelude::*;
pub use training::{AttentionDropout, attention_merged, attention_merged_grad};

use crate::bf16::{pack_rows, pairs};
use crate::dropout::{Dropout, GROUP, mask as mask_block};
use crate::lanes::{Lanes, padded};
use crate::math::exp;
use crate::packed_linear::Output;
use crate::scratch::{Scratch, sized};
use crate::simd::{Simd, kernel, simd};

/// The shape of a packed attention: `q`, `k`, `v` and `out` are `(tokens, heads * head_dim)`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape<'a> {
    /// Where sequences begin, one entry more than there are sequences: sequence `s` owns the rows `offsets[s]` to
    /// `offsets[s + 1]`. The first is 0, the last the number of tokens.
    pub offsets: &'a [usize],
    /// The number of heads.
    pub heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// What scores are multiplied by before the softmax, usually `1 / sqrt(head_dim)`. It is greater than 0.
    pub scale: f32,
    /// Whether a token sees only itself and what precedes it in its sequence.
    pub causal: bool,
}

impl AttentionShape<'_> {
    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    fn check(self, slices: &[(&str, usize)]) {
        let offsets = self.offsets;
        assert!(offsets.first() == Some(&0), "offsets must begin with 0");
        assert!(offsets.is_sorted(), "offsets must not decrease");
        assert!(self.scale > 0.0, "the scale of scores is greater than 0: {}", self.scale);
        let tokens = offsets[offsets.len() - 1];
        for (name, length) in slices {
            assert!(
                *length == tokens * self.width(),
                "{name} must be (tokens, heads * head_dim): {length} is not {tokens} x {} x {}",
                self.heads,
                self.head_dim
            );
        }
    }

    /// The sequences that hold tokens.
    fn sequences(self) -> Vec<Sequence> {
        let mut group = 0;
        self.offsets
            .windows(2)
            .filter(|ends| ends[0] < ends[1])
            .map(|ends| {
                let sequence = Sequence { start: ends[0], tokens: ends[1] - ends[0], group };
                group += self.heads as u64 * sequence.groups_per_head();
                sequence
            })
            .collect()
    }
}

/// One sequence of a packed batch.
#[derive(Clone, Copy)]
struct Sequence {
    /// Its first row.
    start: usize,
    tokens: usize,
    /// The group of dropout elements that its first head begins with.
    group: u64,
}

impl Sequence {
    /// Dropout elements of a head are its padded rows, rounded up to whole groups.
    fn groups_per_head(self) -> u64 {
        (self.tokens * padded(self.tokens)).div_ceil(GROUP) as u64
    }
}

/// Queries worked on together, so that their probabilities stay in the cache however long the sequence is. Rows are padded
/// to a quarter of a dropout group, so a block of them begins with a group.
const QUERIES: usize = 48;

/// Rows and vectors of the register tile. Twelve accumulators hide the latency of the multiplication and fit sixteen
/// registers.
const TILE_ROWS: usize = 6;
const TILE_VECTORS: usize = 2;

/// The left factor of a product: element `(i, k)` is `values[i * row + k * column]`.
#[derive(Clone, Copy)]
struct Left<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

/// A row-major matrix whose rows lie `row` floats apart.
#[derive(Clone, Copy)]
struct Right<'a> {
    values: &'a [f32],
    row: usize,
}

/// A tile of `R` rows and `V` vectors of `c`, from row `i` and column `j` on.
///
/// # Safety
///
/// `a` holds the rows `i` to `i + R` with `depth` columns, `b` holds `depth` rows and `c` the rows `i` to `i + R`, both with
/// the columns `j` to `j + V * L::WIDTH`.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const V: usize>(
    lanes: L,
    a: Left,
    b: Right,
    c: &mut [f32],
    c_row: usize,
    [i, j, depth]: [usize; 3],
    accumulate: bool,
) {
    let mut sums = [[lanes.zero(); V]; R];
    // Pointers that move on: with slices and indices the compiler runs out of registers and spills sums. They may stand
    // behind the factors at the end, where nothing is read.
    let (mut left, mut right) = (a.values.as_ptr().wrapping_add(i * a.row), b.values.as_ptr().wrapping_add(j));
    for _ in 0..depth {
        let mut vectors = [lanes.zero(); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            // SAFETY: it is one of the first `depth` rows and the columns are within the tile, which the caller says `b`
            // holds.
            *vector = lanes.load(unsafe { std::slice::from_raw_parts(right.add(v * L::WIDTH), L::WIDTH) });
        }
        for (r, row) in sums.iter_mut().enumerate() {
            // SAFETY: the row is within the tile and it is one of the first `depth` columns, which the caller says `a`
            // holds.
            let factor = lanes.splat(unsafe { *left.add(r * a.row) });
            for (sum, vector) in row.iter_mut().zip(vectors) {
                *sum = lanes.mul_add(factor, vector, *sum);
            }
        }
        (left, right) = (left.wrapping_add(a.column), right.wrapping_add(b.row));
    }
    for (r, row) in sums.into_iter().enumerate() {
        for (v, sum) in row.into_iter().enumerate() {
            let start = (i + r) * c_row + j + v * L::WIDTH;
            // SAFETY: row and columns are within the tile, which the caller says `c` holds.
            let to = unsafe { c.get_unchecked_mut(start..start + L::WIDTH) };
            lanes.store(if accumulate { lanes.add(sum, lanes.load(to)) } else { sum }, to);
        }
    }
}

kernel! {
    /// `c(rows, columns) = a(rows, depth) . b(depth, columns)`, added to what `c` holds if `accumulate`.
    ///
    /// `columns` is a multiple of the padding.
    fn product<L>(
        lanes,
        a: Left,
        b: Right,
        c: &mut [f32],
        c_row: usize,
        sizes: [usize; 3],
        accumulate: bool,
    ) {
        let [rows, depth, columns] = sizes;
        if rows == 0 || columns == 0 {
            return;
        }
        let last = |row: usize, rows: usize| rows.saturating_sub(1) * row;
        assert!(columns.is_multiple_of(L::WIDTH), "columns are padded");
        assert!(depth == 0 || last(a.row, rows) + last(a.column, depth) < a.values.len(), "the left factor is whole");
        assert!(depth == 0 || last(b.row, depth) + columns <= b.values.len(), "the right factor is whole");
        assert!(last(c_row, rows) + columns <= c.len(), "the result has room");
        let mut j = 0;
        while j < columns {
            macro_rules! column_of_tiles {
                ($vectors:expr) => {{
                    let mut i = 0;
                    while i < rows {
                        // SAFETY: the assertions above say that all rows and columns lie in the slices. The tile has
                        // no more rows than are left, and its columns end before `columns` by the branch below.
                        unsafe {
                            match rows - i {
                                1 => tile::<L, 1, { $vectors }>(lanes, a, b, c, c_row, [i, j, depth], accumulate),
                                2 => tile::<L, 2, { $vectors }>(lanes, a, b, c, c_row, [i, j, depth], accumulate),
                                3 => tile::<L, 3, { $vectors }>(lanes, a, b, c, c_row, [i, j, depth], accumulate),
                                4 => tile::<L, 4, { $vectors }>(lanes, a, b, c, c_row, [i, j, depth], accumulate),
                                5 => tile::<L, 5, { $vectors }>(lanes, a, b, c, c_row, [i, j, depth], accumulate),
                                _ => tile::<L, TILE_ROWS, { $vectors }>(lanes, a, b, c, c_row, [i, j, depth], accumulate),
                            }
                        }
                        i += TILE_ROWS;
                    }
                }};
            }
            if columns - j >= TILE_VECTORS * L::WIDTH {
                column_of_tiles!(TILE_VECTORS);
                j += TILE_VECTORS * L::WIDTH;
            } else {
                column_of_tiles!(1);
                j += L::WIDTH;
            }
        }
    }
}

/// A matrix whose rows lie `stride` floats apart: row `t` begins with `values[t * stride]`. So it may be some of the
/// columns of a wider matrix, such as the keys in a buffer of merged queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first element of the first row on, at least to the last element of the last row.
    pub values: &'a [f32],
    /// The distance of rows, at least their width.
    pub stride: usize,
}

impl Rows<'_> {
    pub(crate) fn check(self, name: &str, tokens: usize, width: usize) {
        let Rows { values, stride } = self;
        assert!(stride >= width, "the stride of {name} must be at least heads * head_dim: {stride} is less than {width}");
        // A stride that makes this overflow would pass for a small one.
        let needed = if tokens == 0 || width == 0 { Some(0) } else { (tokens - 1).checked_mul(stride).and_then(|last| last.checked_add(width)) };
        let holds = needed.is_some_and(|needed| values.len() >= needed);
        assert!(holds, "{name} must hold {tokens} rows: {} is too few for a stride of {stride}", values.len());
    }
}

/// The slice of one head and the sequence's rows in a `(tokens, heads * head_dim)` matrix.
#[derive(Clone, Copy)]
struct Head<'a> {
    /// From the head's first float in the sequence's first row on.
    values: &'a [f32],
    /// The distance of rows.
    row: usize,
    /// The width of the head.
    width: usize,
}

impl<'a> Head<'a> {
    fn new(matrix: Rows<'a>, shape: AttentionShape, first_row: usize, head: usize) -> Head<'a> {
        Head { values: &matrix.values[first_row * matrix.stride + head * shape.head_dim..], row: matrix.stride, width: shape.head_dim }
    }

    /// As the left factor of a product, from a row on.
    fn left(self, row: usize) -> Left<'a> {
        Left { values: &self.values[row * self.row..], row: self.row, column: 1 }
    }

    /// The rows from `first` on as the right factor of a product: as they lie where the head is made of whole vectors,
    /// else copied into padded rows.
    fn right<'b>(self, first: usize, rows: usize, copy: &'b mut Vec<f32>) -> Right<'b>
    where
        'a: 'b,
    {
        let stride = padded(self.width);
        if stride == self.width {
            return Right { values: &self.values[first * self.row..], row: self.row };
        }
        let copy = sized(copy, rows * stride);
        for (row, to) in copy.chunks_exact_mut(stride).enumerate() {
            to[..self.width].copy_from_slice(&self.values[(first + row) * self.row..][..self.width]);
            to[self.width..].fill(0.0);
        }
        Right { values: copy, row: stride }
    }

    /// The transposed rows, `(width, rows)` with padded rows.
    fn transposed(self, simd: Simd, rows: usize, copy: &mut Vec<f32>) -> Right<'_> {
        let stride = padded(rows);
        let copy = sized(copy, self.width * stride);
        transpose(simd, self, rows, copy);
        Right { values: copy, row: stride }
    }
}

kernel! {
    /// Writes the first rows of a head as columns of `to`, whose rows are padded with 0.
    fn transpose<L>(_lanes, head: Head, rows: usize, to: &mut [f32]) {
        const SIDE: usize = 4;
        let (width, stride) = (head.width, padded(rows));
        let row = |index: usize| &head.values[index * head.row..][..width];
        let whole = rows - rows % SIDE;
        for first in (0..whole).step_by(SIDE) {
            // Four rows and columns at once, which the compiler exchanges in registers.
            let from = [row(first), row(first + 1), row(first + 2), row(first + 3)];
            let [a, b, c, d] = [from[0].as_chunks::<SIDE>().0, from[1].as_chunks::<SIDE>().0, from[2].as_chunks::<SIDE>().0, from[3].as_chunks::<SIDE>().0];
            for ((((a, b), c), d), to) in a.iter().zip(b).zip(c).zip(d).zip(to.chunks_exact_mut(SIDE * stride)) {
                for x in 0..SIDE {
                    to[x * stride + first..][..SIDE].copy_from_slice(&[a[x], b[x], c[x], d[x]]);
                }
            }
            for x in width - width % SIDE..width {
                to[x * stride + first..][..SIDE].copy_from_slice(&[from[0][x], from[1][x], from[2][x], from[3][x]]);
            }
        }
        for index in whole..rows {
            for (to, value) in to.chunks_exact_mut(stride).zip(row(index)) {
                to[index] = *value;
            }
        }
        for to in to.chunks_exact_mut(stride) {
            to[rows..].fill(0.0);
        }
    }
}

/// Copies padded rows into the columns of a head.
fn copy_out(from: &[f32], stride: usize, to: &mut [f32], row: usize, width: usize) {
    for (from, to) in from.chunks_exact(stride).zip(to.chunks_mut(row)) {
        to[..width].copy_from_slice(&from[..width]);
    }
}

kernel! {
    /// Turns rows of scores, which begin with query `first`, into probabilities. Padding becomes 0.
    fn softmax<L>(lanes, scores: &mut [f32], stride: usize, shape: AttentionShape, first: usize, tokens: usize) {
        let scale = lanes.splat(shape.scale);
        for (query, row) in scores.chunks_exact_mut(stride).enumerate() {
            let visible = if shape.causal { first + query + 1 } else { tokens };
            let mut top = lanes.splat(f32::NEG_INFINITY);
            for start in (0..visible).step_by(L::WIDTH) {
                top = lanes.max(top, lanes.load_or(&row[start..visible], f32::NEG_INFINITY));
            }
            // The scale is positive, so it may as well come after the maximum.
            let top = lanes.splat(lanes.largest(top));
            let mut sum = lanes.zero();
            for start in (0..visible).step_by(L::WIDTH) {
                let score = lanes.load_or(&row[start..visible], f32::NEG_INFINITY);
                let power = exp(lanes, lanes.mul(lanes.sub(score, top), scale));
                sum = lanes.add(sum, power);
                lanes.store(power, &mut row[start..]);
            }
            let factor = lanes.splat(1.0 / lanes.sum(sum));
            for start in (0..visible).step_by(L::WIDTH) {
                lanes.store(lanes.mul(lanes.load(&row[start..]), factor), &mut row[start..]);
            }
            for start in (visible.next_multiple_of(L::WIDTH)..stride).step_by(L::WIDTH) {
                lanes.store(lanes.zero(), &mut row[start..]);
            }
        }
    }
}

kernel! {
    /// Turns the gradient of the probabilities `p` into that of the unscaled scores, row by row:
    /// `p (dp - sum of p dp) scale`.
    fn softmax_grad<L>(lanes, p: &[f32], stride: usize, scale: f32, dp: &mut [f32]) {
        let scale = lanes.splat(scale);
        for (p, dp) in p.chunks_exact(stride).zip(dp.chunks_exact_mut(stride)) {
            let mut dot = lanes.zero();
            for start in (0..stride).step_by(L::WIDTH) {
                dot = lanes.mul_add(lanes.load(&p[start..]), lanes.load(&dp[start..]), dot);
            }
            let dot = lanes.splat(lanes.sum(dot));
            for start in (0..stride).step_by(L::WIDTH) {
                let difference = lanes.sub(lanes.load(&dp[start..]), dot);
                let value = lanes.mul(lanes.mul(lanes.load(&p[start..]), scale), difference);
                lanes.store(value, &mut dp[start..]);
            }
        }
    }
}

kernel! {
    /// Multiplies element by element.
    fn multiply<L>(lanes, values: &mut [f32], by: &[f32]) {
        for start in (0..values.len()).step_by(L::WIDTH) {
            lanes.store(lanes.mul(lanes.load(&values[start..]), lanes.load(&by[start..])), &mut values[start..]);
        }
    }
}

/// Buffers a task keeps from head to head.
#[derive(Default)]
pub(crate) struct Buffers {
    k: Vec<f32>,
    v: Vec<f32>,
    q_rows: Vec<f32>,
    dout_rows: Vec<f32>,
    k_rows: Vec<f32>,
    v_rows: Vec<f32>,
    probabilities: Vec<f32>,
    dropped: Vec<f32>,
    dscores: Vec<f32>,
    mask: Vec<f32>,
    result: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

/// The group of dropout elements that a block of queries begins with.
fn first_group(sequence: Sequence, head: usize, first_query: usize) -> u64 {
    sequence.group + head as u64 * sequence.groups_per_head() + (first_query * padded(sequence.tokens) / GROUP) as u64
}

/// All heads of one sequence. `out` are its rows.
fn forward(simd: Simd, [q, k, v]: [Rows; 3], shape: AttentionShape, sequence: Sequence, dropout: Option<Dropout>, buffers: &mut Buffers, out: &mut [f32]) {
    let tokens = sequence.tokens;
    let stride = padded(tokens);
    let width = padded(shape.head_dim);
    for head in 0..shape.heads {
        let q = Head::new(q, shape, sequence.start, head);
        let k = Head::new(k, shape, sequence.start, head).transposed(simd, tokens, &mut buffers.k);
        let v = Head::new(v, shape, sequence.start, head).right(0, tokens, &mut buffers.v);
        for first in (0..tokens).step_by(QUERIES) {
            let rows = QUERIES.min(tokens - first);
            let p = sized(&mut buffers.probabilities, rows * stride);
            product(simd, q.left(first), k, p, stride, [rows, shape.head_dim, stride], false);
            softmax(simd, p, stride, shape, first, tokens);
            if let Some(dropout) = dropout {
                let mask = sized(&mut buffers.mask, rows * stride);
                mask_block(simd, dropout, first_group(sequence, head, first), mask);
                multiply(simd, p, mask);
            }
            let p = Left { values: p, row: stride, column: 1 };
            let to = &mut out[first * shape.width() + head * shape.head_dim..];
            if width == shape.head_dim {
                product(simd, p, v, to, shape.width(), [rows, tokens, width], false);
            } else {
                let result = sized(&mut buffers.result, rows * width);
                product(simd, p, v, result, width, [rows, tokens, width], false);
                copy_out(result, width, to, shape.width(), shape.head_dim);
            }
        }
    }
}

/// The probabilities of all heads of one sequence, `(heads, query, key)`.
fn probabilities(simd: Simd, [q, k]: [Rows; 2], shape: AttentionShape, sequence: Sequence, buffers: &mut Buffers, out: &mut [f32]) {
    let tokens = sequence.tokens;
    let stride = padded(tokens);
    for (head, out) in out.chunks_exact_mut(tokens * tokens).enumerate() {
        let q = Head::new(q, shape, sequence.start, head);
        let k = Head::new(k, shape, sequence.start, head).transposed(simd, tokens, &mut buffers.k);
        for first in (0..tokens).step_by(QUERIES) {
            let rows = QUERIES.min(tokens - first);
            let p = sized(&mut buffers.probabilities, rows * stride);
            product(simd, q.left(first), k, p, stride, [rows, shape.head_dim, stride], false);
            softmax(simd, p, stride, shape, first, tokens);
            copy_out(p, stride, &mut out[first * tokens..], tokens, tokens);
        }
    }
}

/// Cuts the rows of each sequence out of a `(tokens, width)` matrix.
fn rows_of<'a>(sequences: &[Sequence], width: usize, mut rows: &'a mut [f32]) -> Vec<&'a mut [f32]> {
    sequences
        .iter()
        .map(|sequence| {
            let (own, rest) = std::mem::take(&mut rows).split_at_mut(sequence.tokens * width);
            rows = rest;
            own
        })
        .collect()
}

/// Below this many multiplications a second thread is not worth waking.
const PARALLEL_FROM: usize = 1 << 17;

/// Runs a task for each sequence, in parallel if there is enough to do.
fn for_each<T: Send>(sequences: &[Sequence], width: usize, outputs: Vec<T>, task: impl Fn(Sequence, &mut Buffers, T) + Sync + Send) {
    let work: usize = sequences.iter().map(|sequence| sequence.tokens * sequence.tokens * width).sum();
    if work < PARALLEL_FROM || sequences.len() < 2 {
        let mut buffers = Buffers::default();
        for (sequence, output) in sequences.iter().zip(outputs) {
            task(*sequence, &mut buffers, output);
        }
    } else {
        sequences.par_iter().zip(outputs).for_each_init(Buffers::default, |buffers, (sequence, output)| task(*sequence, buffers, output));
    }
}

/// A dropout that drops something.
fn effective(dropout: Option<Dropout>) -> Option<Dropout> {
    dropout.inspect(|dropout| dropout.check()).filter(|dropout| dropout.p > 0.0)
}

/// `out = softmax(scale q k^T) v` in each head of each sequence, with optional dropout of the probabilities.
///
/// # Panics
///
/// The offsets do not begin with 0 or decrease, the scale is not positive, a slice is not `(tokens, heads * head_dim)`, or
/// the dropout probability is not at least 0 and less than 1.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: AttentionShape, dropout: Option<Dropout>, out: &mut [f32]) {
    attention_on(simd(), q, k, v, shape, dropout, out);
}

fn attention_on(simd: Simd, q: &[f32], k: &[f32], v: &[f32], shape: AttentionShape, dropout: Option<Dropout>, out: &mut [f32]) {
    shape.check(&[("q", q.len()), ("k", k.len()), ("v", v.len()), ("out", out.len())]);
    let dropout = effective(dropout);
    if shape.width() == 0 {
        return;
    }
    let sequences = shape.sequences();
    let outputs = rows_of(&sequences, shape.width(), out);
    let inputs = [q, k, v].map(|values| Rows { values, stride: shape.width() });
    for_each(&sequences, shape.width(), outputs, |sequence, buffers, out| {
        forward(simd, inputs, shape, sequence, dropout, buffers, out);
    });
}

/// `out = softmax(scale q k^T) v` as [`attention`] without dropout computes it, bit for bit, but on this thread only and
/// from rows that need not be dense. `out` is `(tokens, heads * head_dim)`, as it is or rounded to bfloat16.
///
/// It suits callers that give each thread sequences of its own.
///
/// # Panics
///
/// The offsets do not begin with 0 or decrease, the scale is not positive, a stride is less than `heads * head_dim`, or a
/// slice is too short for its rows or, for `out`, too long.
pub fn attention_rows(q: Rows<'_>, k: Rows<'_>, v: Rows<'_>, shape: AttentionShape<'_>, scratch: &mut Scratch, out: Output<'_>) {
    attention_rows_on(simd(), [q, k, v], shape, scratch, out);
}

fn attention_rows_on(simd: Simd, inputs: [Rows; 3], shape: AttentionShape, scratch: &mut Scratch, mut out: Output) {
    let width = shape.width();
    match &out {
        Output::Floats(out) => shape.check(&[("out", out.len())]),
        Output::Pairs(out) => {
            shape.check(&[]);
            let tokens = shape.offsets[shape.offsets.len() - 1];
            assert!(out.len() == tokens * pairs(width), "out must be (tokens, pairs(heads * head_dim)): {} for {tokens} tokens", out.len());
        }
    }
    for (name, rows) in ["q", "k", "v"].into_iter().zip(inputs) {
        rows.check(name, shape.offsets[shape.offsets.len() - 1], width);
    }
    if width == 0 {
        return;
    }
    for ends in shape.offsets.windows(2).filter(|ends| ends[0] < ends[1]) {
        // Groups number dropout elements, of which there are none.
        let sequence = Sequence { start: ends[0], tokens: ends[1] - ends[0], group: 0 };
        let Scratch { attention, context, .. } = scratch;
        match &mut out {
            Output::Floats(out) => forward(simd, inputs, shape, sequence, None, attention, &mut out[ends[0] * width..ends[1] * width]),
            Output::Pairs(out) => {
                let context = sized(context, sequence.tokens * width);
                forward(simd, inputs, shape, sequence, None, attention, context);
                pack_rows(simd, context, width, &mut out[ends[0] * pairs(width)..ends[1] * pairs(width)]);
            }
        }
    }
}

/// The probabilities of [`attention`] before dropout: one block of `(heads, query, key)` for each sequence.
///
/// # Panics
///
/// The offsets do not begin with 0 or decrease, the scale is not positive, or a slice is not `(tokens, heads * head_dim)`.
#[must_use]
pub fn attention_probabilities(q: &[f32], k: &[f32], shape: AttentionShape) -> Vec<Vec<f32>> {
    shape.check(&[("q", q.len()), ("k", k.len())]);
    let simd = simd();
    let mut blocks: Vec<Vec<f32>> = shape.offsets.windows(2).map(|ends| vec![0.0; shape.heads * (ends[1] - ends[0]) * (ends[1] - ends[0])]).collect();
    let sequences = shape.sequences();
    let inputs = [q, k].map(|values| Rows { values, stride: shape.width() });
    let outputs: Vec<&mut Vec<f32>> = blocks.iter_mut().zip(shape.offsets.windows(2)).filter(|(_, ends)| ends[0] < ends[1]).map(|(block, _)| block).collect();
    for_each(&sequences, shape.width(), outputs, |sequence, buffers, out| {
        probabilities(simd, inputs, shape, sequence, buffers, out);
    });
    blocks
}

/// The gradients of [`attention`] by `q`, `k` and `v`, given `dout`. The probabilities are worked out again, and the same
/// dropout drops the same ones.
///
/// # Panics
///
/// The offsets do not begin with 0 or decrease, the scale is not positive, a slice is not `(tokens, heads * head_dim)`, or
/// the dropout probability is not at least 0 and less than 1.
pub fn attention_grad(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dout: &[f32],
    shape: AttentionShape,
    dropout: Option<Dropout>,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    attention_grad_on(simd(), [q, k, v, dout], shape, dropout, [dq, dk, dv]);
}

fn attention_grad_on(simd: Simd, inputs: [&[f32]; 4], shape: AttentionShape, dropout: Option<Dropout>, gradients: [&mut [f32]; 3]) {
    for (name, slice) in ["q", "k", "v", "dout"].into_iter().zip(inputs) {
        shape.check(&[(name, slice.len())]);
    }
    for (name, slice) in ["dq", "dk", "dv"].into_iter().zip(&gradients) {
        shape.check(&[(name, slice.len())]);
    }
    let dropout = effective(dropout);
    if shape.width() == 0 {
        return;
    }
    let sequences = shape.sequences();
    let [dq, dk, dv] = gradients.map(|gradient| rows_of(&sequences, shape.width(), gradient));
    let outputs: Vec<[&mut [f32]; 3]> = dq.into_iter().zip(dk).zip(dv).map(|((dq, dk), dv)| [dq, dk, dv]).collect();
    for_each(&sequences, shape.width(), outputs, |sequence, buffers, gradients| {
        let [dq, dk, dv] = gradients;
        let (row, width) = (shape.width(), padded(shape.head_dim));
        let inputs = inputs.map(|values| Rows { values, stride: row });
        backward(simd, inputs, shape, sequence, dropout, buffers, false, |part, first, head, rows| {
            let to = match part {
                Part::Query => &mut *dq,
                Part::Key => &mut *dk,
                Part::Value => &mut *dv,
                Part::Context => unreachable!("it was not asked for"),
            };
            copy_out(rows, width, &mut to[first * row + head * shape.head_dim..], row, shape.head_dim);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, same_on_any_pool, values};

    const D: Dropout = Dropout { p: 0.3, seed: 5, stream: 9 };

    fn shape(offsets: &[usize], heads: usize, head_dim: usize, causal: bool) -> AttentionShape<'_> {
        AttentionShape { offsets, heads, head_dim, scale: 1.0 / (head_dim.max(1) as f32).sqrt(), causal }
    }

    /// The factors dropout multiplies the probabilities of each sequence with, `(heads, query, key)`.
    fn masks(shape: AttentionShape, dropout: Option<Dropout>) -> Vec<Vec<f64>> {
        let mut masks = vec![Vec::new(); shape.offsets.len() - 1];
        for (ends, mask) in shape.offsets.windows(2).zip(&mut masks) {
            mask.resize(shape.heads * (ends[1] - ends[0]).pow(2), 1.0);
        }
        let Some(dropout) = dropout else { return masks };
        for sequence in shape.sequences() {
            let index = shape.offsets.iter().rposition(|start| *start == sequence.start).expect("an offset");
            let stride = padded(sequence.tokens);
            for head in 0..shape.heads {
                let mut rows = vec![0.0; sequence.tokens * stride];
                mask_block(simd(), dropout, first_group(sequence, head, 0), &mut rows);
                for (query, row) in rows.chunks_exact(stride).enumerate() {
                    for (key, factor) in row[..sequence.tokens].iter().enumerate() {
                        masks[index][(head * sequence.tokens + query) * sequence.tokens + key] = f64::from(*factor);
                    }
                }
            }
        }
        masks
    }

    /// Probabilities before dropout and the output, in double precision.
    fn reference(q: &[f32], k: &[f32], v: &[f32], shape: AttentionShape, masks: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let width = shape.width();
        let mut blocks = Vec::new();
        let mut out = vec![0.0; q.len()];
        for (ends, mask) in shape.offsets.windows(2).zip(masks) {
            let tokens = ends[1] - ends[0];
            let mut block = Vec::new();
            for head in 0..shape.heads {
                let at = |values: &[f32], row: usize, x: usize| f64::from(values[(ends[0] + row) * width + head * shape.head_dim + x]);
                for i in 0..tokens {
                    let scores: Vec<f64> = (0..tokens)
                        .map(|j| (0..shape.head_dim).map(|x| at(q, i, x) * at(k, j, x)).sum::<f64>() * f64::from(shape.scale))
                        .enumerate()
                        .map(|(j, score)| if shape.causal && j > i { f64::NEG_INFINITY } else { score })
                        .collect();
                    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
                    let row: Vec<f64> = scores.iter().map(|score| score.exp() / sum).collect();
                    for x in 0..shape.head_dim {
                        out[(ends[0] + i) * width + head * shape.head_dim + x] =
                            (0..tokens).map(|j| row[j] * mask[(head * tokens + i) * tokens + j] * at(v, j, x)).sum();
                    }
                    block.extend(row);
                }
            }
            blocks.push(block);
        }
        (blocks, out)
    }

    fn narrow(values: &[f64]) -> Vec<f32> {
        values.iter().map(|value| *value as f32).collect()
    }

    /// Empty, single, short, block-sized and longer sequences.
    const OFFSETS: [usize; 8] = [0, 5, 5, 6, 22, 39, 87, 190];

    #[test]
    fn merged_rows_on_one_thread_give_the_same_bits_in_any_groups() {
        for (heads, head_dim, causal) in [(2, 32, false), (3, 5, true), (1, 64, false)] {
            let shape = shape(&OFFSETS, heads, head_dim, causal);
            let (width, stride) = (shape.width(), 3 * shape.width() + 2);
            // The last row ends with its last value, so that nothing can be read behind it.
            let merged = values(189 * stride + 3 * width, 1);
            let part = |which: usize| -> Vec<f32> { merged.chunks(stride).flat_map(|row| row[which * width..][..width].to_vec()).collect() };
            for simd in Simd::supported() {
                let (mut expected, mut out) = (vec![0.0; 190 * width], vec![f32::NAN; 190 * width]);
                attention_on(simd, &part(0), &part(1), &part(2), shape, None, &mut expected);
                let rows = |first: usize| [0, 1, 2].map(|which| Rows { values: &merged[first * stride + which * width..], stride });
                let mut scratch = Scratch::new();
                attention_rows_on(simd, rows(0), shape, &mut scratch, Output::Floats(&mut out));
                assert_eq!(out, expected, "{simd} {heads} {head_dim}");
                out.fill(f32::NAN);
                for group in [&OFFSETS[..4], &OFFSETS[3..6], &OFFSETS[5..]] {
                    let (first, last) = (group[0], group[group.len() - 1]);
                    let offsets: Vec<usize> = group.iter().map(|offset| offset - first).collect();
                    let shape = AttentionShape { offsets: &offsets, ..shape };
                    attention_rows_on(simd, rows(first), shape, &mut scratch, Output::Floats(&mut out[first * width..last * width]));
                }
                assert_eq!(out, expected, "{simd} {heads} {head_dim}");
            }
        }
    }

    #[test]
    fn pairs_are_the_context_rounded_outside() {
        let offsets: &[usize] = if cfg!(miri) { &OFFSETS[..4] } else { &OFFSETS };
        let tokens = offsets[offsets.len() - 1];
        for (heads, head_dim) in [(2, 16), (3, 5)] {
            let shape = shape(offsets, heads, head_dim, false);
            let width = shape.width();
            let all = values(tokens * width, 1);
            let rows = Rows { values: &all, stride: width };
            for simd in Simd::supported() {
                let (mut context, mut scratch) = (vec![0.0; tokens * width], Scratch::new());
                attention_rows_on(simd, [rows; 3], shape, &mut scratch, Output::Floats(&mut context));
                let (mut packed, mut outside) = (vec![u32::MAX; tokens * pairs(width)], vec![0; tokens * pairs(width)]);
                attention_rows_on(simd, [rows; 3], shape, &mut scratch, Output::Pairs(&mut packed));
                pack_rows(simd, &context, width, &mut outside);
                assert_eq!(packed, outside, "{simd} {heads} {head_dim}");
            }
        }
    }

    /// The scratch of one sequence is used by the next, longer or shorter, and what it held must not count.
    #[test]
    fn sequences_of_every_length_agree_with_double_precision() {
        let lengths: Vec<usize> = if cfg!(miri) { vec![1, 17, 5] } else { (1..=130).rev().chain([61, 130, 7]).collect() };
        for causal in [false, true] {
            let mut scratch = Scratch::new();
            scratch.attention.k.resize(20_000, f32::NAN);
            scratch.attention.v.resize(20_000, f32::NAN);
            for &tokens in &lengths {
                let offsets = [0, tokens];
                for head_dim in [5, 16] {
                    let shape = shape(&offsets, 1, head_dim, causal);
                    let [q, k, v] = [1, 2, 3].map(|seed| values(tokens * head_dim, seed));
                    let (_, expected) = reference(&q, &k, &v, shape, &masks(shape, None));
                    let rows = |values| Rows { values, stride: head_dim };
                    for simd in Simd::supported() {
                        let mut out = vec![f32::NAN; q.len()];
                        attention_rows_on(simd, [rows(&q), rows(&k), rows(&v)], shape, &mut scratch, Output::Floats(&mut out));
                        assert!(distance(&out, &narrow(&expected)) < 1e-6, "{simd} {tokens} {head_dim} {causal}");
                    }
                }
            }
        }
    }

    #[test]
    fn random_shapes_give_what_plain_rust_gives() {
        let mut draw = crate::parallel::tests::dice(12);
        for trial in 0..if cfg!(miri) { 3 } else { 200 } {
            let mut offsets = vec![0];
            for _ in 0..draw(5) {
                offsets.push(offsets[offsets.len() - 1] + draw(if cfg!(miri) { 6 } else { 70 }));
            }
            let shape = shape(&offsets, draw(4), draw(if cfg!(miri) { 6 } else { 50 }), draw(2) == 1);
            let (width, tokens) = (shape.width(), offsets[offsets.len() - 1]);
            let stride = 3 * width + draw(3);
            let merged = values(tokens * stride + 3 * width, trial);
            let inputs = [0, 1, 2].map(|which| Rows { values: &merged[which * width..], stride });
            let on = |simd| {
                let mut out = vec![f32::NAN; tokens * width];
                attention_rows_on(simd, inputs, shape, &mut Scratch::new(), Output::Floats(&mut out));
                out
            };
            let expected = on(Simd::Portable);
            for simd in Simd::supported() {
                assert!(distance(&on(simd), &expected) < 1e-6, "{simd} {shape:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "v must hold 2 rows")]
    fn rows_that_end_too_early_are_refused() {
        let rows = |values| Rows { values, stride: 3 };
        attention_rows(rows(&[1.0; 4]), rows(&[1.0; 4]), rows(&[1.0; 3]), shape(&[0, 2], 1, 1, false), &mut Scratch::new(), Output::Floats(&mut [0.0; 2]));
    }

    #[test]
    #[should_panic(expected = "q must hold 3 rows")]
    fn a_stride_that_overflows_is_refused() {
        let rows = Rows { values: &[1.0; 8], stride: 1 << (usize::BITS - 1) };
        attention_rows(rows, rows, rows, shape(&[0, 3], 1, 1, false), &mut Scratch::new(), Output::Floats(&mut [0.0; 3]));
    }

    #[test]
    #[should_panic(expected = "the stride of k")]
    fn rows_that_overlap_are_refused() {
        let rows = |stride| Rows { values: &[1.0; 4], stride };
        attention_rows(rows(2), rows(1), rows(2), shape(&[0, 2], 1, 2, false), &mut Scratch::new(), Output::Floats(&mut [0.0; 4]));
    }

    #[test]
    fn equal_keys_average_the_values() {
        let mut out = [0.0; 4];
        let shape = shape(&[0, 2], 1, 2, false);
        attention(&[1.0, 2.0, 3.0, 4.0], &[1.0; 4], &[1.0, 2.0, 3.0, 6.0], shape, None, &mut out);
        assert_eq!(out, [2.0, 4.0, 2.0, 4.0]);
    }

    #[test]
    fn causal_tokens_see_only_what_precedes_them() {
        let mut out = [0.0; 3];
        attention(&[1.0; 3], &[1.0; 3], &[1.0, 3.0, 8.0], shape(&[0, 3], 1, 1, true), None, &mut out);
        assert!(distance(&out, &[1.0, 2.0, 4.0]) < 1e-6, "{out:?}");
    }

    #[test]
    fn every_path_agrees_with_double_precision() {
        for (heads, head_dim) in [(2, 32), (3, 5), (1, 64), (2, 48), (1, 1)] {
            for causal in [false, true] {
                for dropout in [None, Some(D)] {
                    let shape = shape(&OFFSETS, heads, head_dim, causal);
                    let length = 190 * shape.width();
                    let (q, k, v) = (values(length, 1), values(length, 2), values(length, 3));
                    let (_, expected) = reference(&q, &k, &v, shape, &masks(shape, dropout));
                    for simd in Simd::supported() {
                        let mut out = vec![f32::NAN; length];
                        attention_on(simd, &q, &k, &v, shape, dropout, &mut out);
                        assert!(distance(&out, &narrow(&expected)) < 1e-6, "{simd} {heads} {head_dim} {causal}");
                    }
                }
            }
        }
    }

    #[test]
    fn probabilities_come_in_one_block_a_sequence() {
        for (heads, head_dim, causal) in [(2, 32, false), (3, 5, true)] {
            let shape = shape(&OFFSETS, heads, head_dim, causal);
            let length = 190 * shape.width();
            let (q, k) = (values(length, 1), values(length, 2));
            let (expected, _) = reference(&q, &k, &q, shape, &masks(shape, None));
            let blocks = attention_probabilities(&q, &k, shape);
            assert_eq!(blocks.len(), OFFSETS.len() - 1);
            for (block, expected) in blocks.iter().zip(&expected) {
                assert!(distance(block, &narrow(expected)) < 1e-6);
            }
        }
    }

    #[test]
    fn a_neighbouring_sequence_does_not_count() {
        let offsets = [0, 7, 30];
        let shape = shape(&offsets, 2, 16, false);
        let length = 30 * shape.width();
        let (q, mut k, mut v) = (values(length, 1), values(length, 2), values(length, 3));
        let mut before = vec![0.0; length];
        attention(&q, &k, &v, shape, None, &mut before);
        k[7 * shape.width()..].fill(50.0);
        v[7 * shape.width()..].fill(f32::NAN);
        let mut after = vec![0.0; length];
        attention(&q, &k, &v, shape, None, &mut after);
        assert_eq!(before[..7 * shape.width()], after[..7 * shape.width()]);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let mut out = [0.0; 2];
        attention(&[1e4, 1e4], &[1e4, -1e4], &[1.0, 2.0], shape(&[0, 2], 1, 1, false), None, &mut out);
        assert_eq!(out, [1.0, 1.0]);
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        let offsets = [0, 3, 3, 4, 24];
        for (heads, head_dim, causal) in [(2, 3, false), (1, 16, true), (2, 16, false)] {
            for dropout in [None, Some(D)] {
                let shape = shape(&offsets, heads, head_dim, causal);
                let length = 24 * shape.width();
                let inputs = [values(length, 1), values(length, 2), values(length, 3)];
                let dout = values(length, 4);
                let masks = masks(shape, dropout);
                let loss = |inputs: &[Vec<f32>; 3]| -> f64 {
                    let (_, out) = reference(&inputs[0], &inputs[1], &inputs[2], shape, &masks);
                    out.iter().zip(&dout).map(|(out, dout)| out * f64::from(*dout)).sum()
                };
                // Every seventh element is enough: 7 shares no factor with the widths.
                let expected = [0, 1, 2].map(|which| -> Vec<f32> {
                    (0..length)
                        .step_by(7)
                        .map(|index| {
                            let moved = |by: f32| {
                                let mut inputs = inputs.clone();
                                inputs[which][index] += by;
                                (loss(&inputs), f64::from(inputs[which][index]))
                            };
                            let ((high, at_high), (low, at_low)) = (moved(1e-3), moved(-1e-3));
                            ((high - low) / (at_high - at_low)) as f32
                        })
                        .collect()
                });
                for simd in Simd::supported() {
                    let mut gradients = [vec![f32::NAN; length], vec![f32::NAN; length], vec![f32::NAN; length]];
                    let [dq, dk, dv] = &mut gradients;
                    let all = [&inputs[0][..], &inputs[1], &inputs[2], &dout];
                    attention_grad_on(simd, all, shape, dropout, [dq, dk, dv]);
                    for (gradient, expected) in gradients.iter().zip(&expected) {
                        let some: Vec<f32> = gradient.iter().copied().step_by(7).collect();
                        assert!(distance(&some, expected) < 2e-6, "{simd} {heads} {head_dim} {causal}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_sequence_of_several_blocks_has_the_gradient_of_one() {
        // The loss is linear in `v`, so its gradient is known: the probabilities' transpose times `dout`.
        let offsets = [0, 130];
        let shape = shape(&offsets, 1, 16, true);
        let length = 130 * 16;
        let (q, k, v, dout) = (values(length, 1), values(length, 2), values(length, 3), values(length, 4));
        let masks = masks(shape, Some(D));
        let (blocks, _) = reference(&q, &k, &v, shape, &masks);
        let (mut dq, mut dk, mut dv) = (vec![0.0; length], vec![0.0; length], vec![0.0; length]);
        attention_grad(&q, &k, &v, &dout, shape, Some(D), &mut dq, &mut dk, &mut dv);
        let at = |values: &[f32], row: usize, x: usize| f64::from(values[row * 16 + x]);
        let used = |i: usize, j: usize| blocks[0][i * 130 + j] * masks[0][i * 130 + j];
        // By hand: ds = p (mask dp - sum of p mask dp) scale.
        let mut ds = vec![0.0; 130 * 130];
        for i in 0..130 {
            let dp: Vec<f64> = (0..130).map(|j| masks[0][i * 130 + j] * (0..16).map(|x| at(&dout, i, x) * at(&v, j, x)).sum::<f64>()).collect();
            let dot: f64 = (0..130).map(|j| blocks[0][i * 130 + j] * dp[j]).sum();
            for j in 0..130 {
                ds[i * 130 + j] = blocks[0][i * 130 + j] * (dp[j] - dot) * 0.25;
            }
        }
        let (mut eq, mut ek, mut ev) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..130 {
            for x in 0..16 {
                eq.push((0..130).map(|j| ds[row * 130 + j] * at(&k, j, x)).sum::<f64>());
                ek.push((0..130).map(|i| ds[i * 130 + row] * at(&q, i, x)).sum::<f64>());
                ev.push((0..130).map(|i| used(i, row) * at(&dout, i, x)).sum::<f64>());
            }
        }
        for (gradient, expected) in [(&dq, &eq), (&dk, &ek), (&dv, &ev)] {
            assert!(distance(gradient, &narrow(expected)) < 2e-6);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let shape = shape(&OFFSETS, 12, 32, false);
        let length = 190 * shape.width();
        let (q, k, v, dout) = (values(length, 1), values(length, 2), values(length, 3), values(length, 4));
        same_on_any_pool(|| {
            let mut out = vec![0.0; length];
            let (mut dq, mut dk, mut dv) = (out.clone(), out.clone(), out.clone());
            attention(&q, &k, &v, shape, Some(D), &mut out);
            attention_grad(&q, &k, &v, &dout, shape, Some(D), &mut dq, &mut dk, &mut dv);
            let blocks = attention_probabilities(&q, &k, shape).concat();
            [out, dq, dk, dv, blocks].concat()
        });
    }

    #[test]
    fn every_probability_has_its_own_dropout_element() {
        let shape = shape(&OFFSETS, 3, 4, false);
        let mut ends = 0;
        for sequence in shape.sequences() {
            for head in 0..3 {
                assert_eq!(first_group(sequence, head, 0), ends);
                ends += sequence.groups_per_head();
                for first in (0..sequence.tokens).step_by(QUERIES) {
                    assert_eq!(first * padded(sequence.tokens) % GROUP, 0);
                }
            }
        }
    }

    #[test]
    fn no_tokens_give_nothing() {
        for offsets in [&[0][..], &[0, 0, 0]] {
            let shape = shape(offsets, 2, 4, false);
            attention(&[], &[], &[], shape, Some(D), &mut []);
            let none = Rows { values: &[], stride: 8 };
            attention_rows(none, none, none, shape, &mut Scratch::new(), Output::Floats(&mut []));
            attention_grad(&[], &[], &[], &[], shape, None, &mut [], &mut [], &mut []);
            assert_eq!(attention_probabilities(&[], &[], shape), vec![Vec::<f32>::new(); offsets.len() - 1]);
        }
        attention(&[], &[], &[], shape(&[0, 4], 0, 4, false), None, &mut []);
        let uniform = attention_probabilities(&[], &[], shape(&[0, 2], 1, 0, false));
        assert_eq!(uniform.len(), 1);
    }

    #[test]
    #[should_panic(expected = "k must be (tokens, heads * head_dim)")]
    fn a_wrong_length_is_refused() {
        attention(&[1.0], &[], &[1.0], shape(&[0, 1], 1, 1, false), None, &mut [0.0]);
    }

    #[test]
    #[should_panic(expected = "must not decrease")]
    fn decreasing_offsets_are_refused() {
        attention(&[], &[], &[], shape(&[0, 3, 0], 1, 1, false), None, &mut []);
    }
}
