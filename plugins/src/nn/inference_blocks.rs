//! The blocks of a network for inference: weights packed for their kernels, no tape, one thread for each group of sequences.
//!
//! A group goes through all blocks on one thread, so threads never wait for each other inside the network and what a block leaves is still in the cache for the
//! next. The value of a token depends on its own sequence only, to the last bit: neither on the other sequences of the batch nor on how they are grouped.

use std::cell::Cell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use lmprobe_core::{EncoderOutput, Error, Result, Seed, TokenBatch, Want};
use lmprobe_kernels::{
    Activation, AttentionShape, Epilogue, Input, Output, PackedLinear, Precision, Rows, Scratch, attention_probabilities, attention_rows, layer_norm_pairs,
    layer_norm_rows, pairs, round_rows,
};
use rayon::prelude::*;

use super::pair::Pair;
use super::values::with;

/// About the most tokens of a group of more than one sequence: enough to make good use of each weight that is read, few enough for the second-level cache.
const TOKENS_A_GROUP: usize = 256;

/// Tokens below which a group is not worth a thread: reading the weights takes as long as multiplying them.
const LEAST_TOKENS: usize = 32;

/// Where a block normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// Behind each of its two parts, as BERT does.
    Behind,
    /// Before each of its two parts, as GPT-2 does.
    Before,
}

/// What all blocks of a network have in common.
#[derive(Debug, Clone, Copy)]
pub struct BlockShape {
    /// Width of a hidden state.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Whether a token sees only itself and what stands before it.
    pub causal: bool,
    /// Of the feed-forward part.
    pub activation: Activation,
    /// Of the normalisations.
    pub eps: f32,
    /// Where they stand.
    pub norms: NormPlace,
    /// What weights and inputs of the linear layers are rounded to.
    pub precision: Precision,
}

/// The weights of a block.
pub struct BlockPairs {
    /// Query, key and value projections; one of three times the width, or three.
    pub projections: Vec<Pair>,
    /// Output projection of the attention.
    pub attention_output: Pair,
    /// The normalisation of the attention part.
    pub attention_norm: Pair,
    /// First linear map of the feed-forward part.
    pub wide: Pair,
    /// Its second one.
    pub narrow: Pair,
    /// The normalisation of the feed-forward part.
    pub feed_forward_norm: Pair,
}

struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

struct InferenceBlock {
    projections: PackedLinear,
    attention_output: PackedLinear,
    attention_norm: Norm,
    wide: PackedLinear,
    narrow: PackedLinear,
    feed_forward_norm: Norm,
}

/// The blocks of a network, packed.
pub struct InferenceBlocks {
    shape: BlockShape,
    blocks: Vec<InferenceBlock>,
}

/// What the blocks gave.
pub struct BlockOutputs {
    /// The wanted hidden states, `(tokens, hidden)`, in the order wanted.
    pub states: Vec<Tensor>,
    /// For each block that was run and each sequence `(heads, query, key)`; empty if not wanted.
    pub attentions: Vec<Vec<Tensor>>,
    /// What the last block that was run gave, `(rows, hidden)`; rows are tokens, or those of [`BlockRequest::rows`].
    pub last: Tensor,
}

/// What the blocks are asked.
#[derive(Clone, Copy)]
pub struct BlockRequest<'a> {
    /// The sequences.
    pub tokens: &'a TokenBatch,
    /// How many blocks are run.
    pub blocks: usize,
    /// Hidden states that are wanted of all tokens, from 1: 0 is what goes in.
    pub layers: &'a [usize],
    /// The tokens of which the last block's result is wanted, ascending; nothing if all are. Its attention is the only thing in it that needs the others.
    pub rows: Option<&'a [usize]>,
    /// Whether attention probabilities are wanted.
    pub attentions: bool,
}

impl InferenceBlocks {
    /// Reads and packs `n` blocks; what `read` gives is dropped once it is packed.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the heads do not divide the width.
    pub fn new(shape: BlockShape, n: usize, read: &(dyn Fn(usize) -> Result<BlockPairs> + Sync)) -> Result<Self> {
        if shape.heads == 0 || !shape.hidden.is_multiple_of(shape.heads) {
            return Err(Error::Unsupported(format!("{} heads do not divide a width of {}", shape.heads, shape.hidden)));
        }
        let blocks = (0..n).into_par_iter().map(|block| InferenceBlock::new(&read(block)?, shape)).collect::<Result<_>>()?;
        Ok(Self { shape, blocks })
    }

    /// Runs as many blocks as are needed, puts what is wanted of them into `output` and returns what the last one gave, for `rows` if they are given. The hidden state of
    /// that block stands in `output` with the same rows.
    ///
    /// # Errors
    /// With dropout, which belongs to training.
    pub fn outputs(
        &self,
        embedded: &Tensor,
        tokens: &TokenBatch,
        (want, last, rows): (&Want, usize, Option<&[usize]>),
        dropout: Option<Seed>,
        output: &mut EncoderOutput,
    ) -> Result<Tensor> {
        if dropout.is_some() {
            return Err(Error::Unsupported("a model that was loaded for inference has no dropout".into()));
        }
        let layers: Vec<usize> = want.hidden.iter().copied().filter(|&layer| layer > 0 && layer != last).collect();
        let given = self.run(embedded, BlockRequest { tokens, blocks: last, layers: &layers, rows, attentions: want.attentions })?;
        let mut states = given.states.into_iter();
        for &layer in &want.hidden {
            let state = match layer {
                0 => embedded.clone(),
                layer if layer == last => given.last.clone(),
                _ => states.next().expect("one state for each wanted layer"),
            };
            output.hidden.push((layer, state));
        }
        output.attentions = given.attentions;
        Ok(given.last)
    }

    /// Runs the first blocks on `x (tokens, hidden)`.
    ///
    /// # Errors
    /// If `x` is not of this network's width.
    pub fn run(&self, x: &Tensor, request: BlockRequest<'_>) -> Result<BlockOutputs> {
        let (n_tokens, hidden) = x.dims2()?;
        if hidden != self.shape.hidden || n_tokens != request.tokens.ids.len() {
            return Err(Error::Unsupported(format!("states of shape {:?} for {} tokens of width {}", x.dims(), request.tokens.ids.len(), self.shape.hidden)));
        }
        let mut states: Vec<Vec<f32>> = request.layers.iter().map(|_| vec![0.0; n_tokens * hidden]).collect();
        let n_rows = request.rows.map_or(n_tokens, <[usize]>::len);
        let mut last = vec![0.0; n_rows * hidden];
        let threads = rayon::current_num_threads();
        let groups = cut(&request.tokens.offsets, self.token_cost(), threads);
        let mut jobs = jobs(&groups, request, hidden, &mut states, &mut last);
        jobs.sort_by_key(|job| std::cmp::Reverse(job.cost));
        let queue = Mutex::new(jobs.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let worker = |x: &[f32]| -> Vec<(usize, GroupAttentions)> { std::iter::from_fn(next).map(|job| (job.index, self.group(x, job, request))).collect() };
        let mut attentions: Vec<(usize, GroupAttentions)> =
            with(x, |x| Ok((0..threads.min(groups.len())).into_par_iter().with_max_len(1).flat_map_iter(|_| worker(x)).collect()))?;
        attentions.sort_by_key(|(index, _)| *index);

        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (n_tokens, hidden), &Device::Cpu);
        let blocks = if request.attentions { 0..request.blocks } else { 0..0 };
        let of_block = |block: usize| -> Result<Vec<Tensor>> {
            let sequences = attentions.iter().flat_map(|(_, group)| &group[block]);
            sequences.map(|(length, values)| Ok(Tensor::from_slice(values, (self.shape.heads, *length, *length), &Device::Cpu)?)).collect()
        };
        let attentions = blocks.map(of_block).collect::<Result<_>>()?;
        Ok(BlockOutputs {
            states: states.into_iter().map(tensor).collect::<candle_core::Result<_>>()?,
            attentions,
            last: Tensor::from_vec(last, (n_rows, hidden), &Device::Cpu)?,
        })
    }

    /// The multiplications of a token that do not depend on its sequence, as a multiple of those with one token of its sequence.
    fn token_cost(&self) -> usize {
        let BlockShape { hidden, .. } = self.shape;
        2 * hidden + self.blocks.first().map_or(0, |block| block.wide.out())
    }

    /// Runs a group of sequences through the blocks.
    fn group(&self, x: &[f32], job: Job<'_>, request: BlockRequest<'_>) -> GroupAttentions {
        let hidden = self.shape.hidden;
        let Job { offsets, rows, mut states, last, .. } = job;
        let (first, end) = (offsets[0], offsets[offsets.len() - 1]);
        let local: Vec<usize> = offsets.iter().map(|offset| offset - first).collect();
        // Taken out for the time of the pass: whatever else this thread is given meanwhile finds an empty one.
        let mut buffers = BUFFERS.take();
        let mut attentions = Vec::new();
        buffers.x.clear();
        buffers.x.extend_from_slice(&x[first * hidden..end * hidden]);
        if self.shape.norms == NormPlace::Behind && self.shape.precision == Precision::Bf16 {
            // Later blocks find what the normalisation before them rounded.
            round_rows(&buffers.x, hidden, sized(&mut buffers.normed.pairs, (end - first) * pairs(hidden)));
        }
        for (index, block) in self.blocks.iter().take(request.blocks).enumerate() {
            if request.attentions {
                attentions.push(Vec::new());
            }
            let probabilities = attentions.last_mut();
            let rows = rows.as_deref().filter(|_| index + 1 == request.blocks);
            match self.shape.norms {
                NormPlace::Behind => block.normalise_behind(self.shape, &local, rows, &mut buffers, probabilities),
                NormPlace::Before => block.normalise_before(self.shape, &local, rows, &mut buffers, probabilities),
            }
            for (state, _) in states.iter_mut().zip(request.layers).filter(|(_, layer)| **layer == index + 1) {
                state.copy_from_slice(&buffers.x);
            }
        }
        last.copy_from_slice(&buffers.x);
        BUFFERS.set(buffers);
        attentions
    }
}

/// Of each block, for each sequence of a group its length and probabilities; nothing if they are not wanted.
type GroupAttentions = Vec<Vec<(usize, Vec<f32>)>>;

/// Consecutive sequences that go through the blocks together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    sequences: Range<usize>,
    cost: usize,
}

/// A group and the rows that it is to write.
struct Job<'a> {
    index: usize,
    cost: usize,
    /// Of its sequences in the batch.
    offsets: &'a [usize],
    /// The tokens of the group of which the last block's result is wanted; nothing if all are.
    rows: Option<Vec<usize>>,
    /// Its rows of each state that is wanted.
    states: Vec<&'a mut [f32]>,
    last: &'a mut [f32],
}

/// Cuts a batch into groups that cost about the same, of about [`TOKENS_A_GROUP`] tokens at most, and as many for each thread as for the others if there are
/// enough tokens. How a batch is cut changes no value, so it may depend on the threads.
fn cut(offsets: &[usize], token_cost: usize, threads: usize) -> Vec<Group> {
    let cost = |ends: &[usize]| (ends[1] - ends[0]) * (token_cost + ends[1] - ends[0]);
    let tokens = offsets[offsets.len() - 1];
    let total: usize = offsets.windows(2).map(cost).sum();
    let for_each_thread = tokens.div_ceil(TOKENS_A_GROUP).div_ceil(threads);
    let wanted = (for_each_thread * threads).min(tokens / LEAST_TOKENS).max(1);
    let mut groups: Vec<Group> = Vec::new();
    let (mut before, mut last_share) = (0, None);
    for (index, ends) in offsets.windows(2).enumerate() {
        let own = cost(ends);
        // The share of the whole work in which the middle of the sequence falls.
        let share = ((2 * before + own) * wanted).checked_div(2 * total);
        match groups.last_mut() {
            Some(group) if share == last_share => {
                group.sequences.end = index + 1;
                group.cost += own;
            }
            _ => groups.push(Group { sequences: index..index + 1, cost: own }),
        }
        last_share = share;
        before += own;
    }
    groups
}

/// Gives each group its rows of the results.
fn jobs<'a>(groups: &[Group], request: BlockRequest<'a>, hidden: usize, states: &'a mut [Vec<f32>], last: &'a mut [f32]) -> Vec<Job<'a>> {
    let mut states: Vec<&mut [f32]> = states.iter_mut().map(Vec::as_mut_slice).collect();
    let mut last = last;
    let job = |(index, group): (usize, &Group)| {
        let offsets = &request.tokens.offsets[group.sequences.start..=group.sequences.end];
        let (first, end) = (offsets[0], offsets[offsets.len() - 1]);
        let rows = request.rows.map(|rows| {
            let place = |token: usize| rows.partition_point(|&row| row < token);
            rows[place(first)..place(end)].iter().map(|row| row - first).collect::<Vec<usize>>()
        });
        let states = states.iter_mut().map(|rest| take_front(rest, (end - first) * hidden)).collect();
        let last = take_front(&mut last, rows.as_ref().map_or(end - first, Vec::len) * hidden);
        Job { index, cost: group.cost, offsets, rows, states, last }
    };
    groups.iter().enumerate().map(job).collect()
}

/// The first values of a slice, which keeps the others.
#[expect(clippy::mut_mut, reason = "the slice itself moves on")]
fn take_front<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (own, others) = std::mem::take(rest).split_at_mut(length);
    *rest = others;
    own
}

/// What a thread keeps between groups.
#[derive(Default)]
struct Buffers {
    /// The residual stream, `(tokens, hidden)`.
    x: Vec<f32>,
    /// What the normalisation gave; with norms behind, which leave it in the residual stream too, only if it is rounded.
    normed: LayerInput,
    /// Queries, keys and values side by side, `(tokens, 3 hidden)`.
    projected: Vec<f32>,
    context: LayerInput,
    wide: LayerInput,
    sum: Vec<f32>,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: Cell<Buffers> = Cell::default();
}

/// Rows on their way to a linear layer, in the form its precision asks for: whoever makes them rounds them, while they are in the cache.
#[derive(Default)]
struct LayerInput {
    floats: Vec<f32>,
    pairs: Vec<u32>,
}

impl LayerInput {
    fn output(&mut self, precision: Precision, rows: usize, width: usize) -> Output<'_> {
        match precision {
            Precision::F32 => Output::Floats(sized(&mut self.floats, rows * width)),
            Precision::Bf16 => Output::Pairs(sized(&mut self.pairs, rows * pairs(width))),
        }
    }

    /// Keeps some rows of what was last written to `output`.
    fn keep_rows(&mut self, precision: Precision, width: usize, rows: &[usize]) {
        match precision {
            Precision::F32 => keep_rows(&mut self.floats, width, rows),
            Precision::Bf16 => keep_rows(&mut self.pairs, pairs(width), rows),
        }
    }

    /// What was last written to `output`.
    fn input(&self, precision: Precision) -> Input<'_> {
        match precision {
            Precision::F32 => Input::Floats(&self.floats),
            Precision::Bf16 => Input::Pairs(&self.pairs),
        }
    }
}

/// Keeps some rows of a matrix, ascending, and forgets the others.
fn keep_rows<T: Copy>(values: &mut Vec<T>, width: usize, rows: &[usize]) {
    for (to, from) in rows.iter().enumerate() {
        values.copy_within(from * width..(from + 1) * width, to * width);
    }
    values.truncate(rows.len() * width);
}

/// A buffer of this length; what it held does not matter.
fn sized<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    buffer.resize(length, T::default());
    buffer
}

impl Norm {
    fn new(pair: &Pair) -> Result<Self> {
        Ok(Self { gain: pair.weight.to_vec1()?, bias: pair.bias.to_vec1()? })
    }

    /// Normalises rows into the residual stream, and for a layer that reads rounded rows into `normed` too.
    fn behind(&self, sum: &[f32], shape: BlockShape, x: &mut [f32], normed: &mut LayerInput) {
        match shape.precision {
            Precision::F32 => layer_norm_rows(sum, &self.gain, &self.bias, shape.eps, x),
            Precision::Bf16 => {
                let packed = sized(&mut normed.pairs, sum.len() / shape.hidden * pairs(shape.hidden));
                layer_norm_pairs(sum, &self.gain, &self.bias, shape.eps, Some(x), packed);
            }
        }
    }

    /// Normalises rows for the next layer.
    fn before(&self, x: &[f32], shape: BlockShape, normed: &mut LayerInput) {
        match normed.output(shape.precision, x.len() / shape.hidden, shape.hidden) {
            Output::Floats(y) => layer_norm_rows(x, &self.gain, &self.bias, shape.eps, y),
            Output::Pairs(packed) => layer_norm_pairs(x, &self.gain, &self.bias, shape.eps, None, packed),
        }
    }
}

impl InferenceBlock {
    fn new(pairs: &BlockPairs, BlockShape { hidden, precision, .. }: BlockShape) -> Result<Self> {
        let linear = |pair: &Pair| -> Result<PackedLinear> {
            let (out, inp) = pair.weight.dims2()?;
            Ok(with(&pair.weight, |weight| with(&pair.bias, |bias| Ok(PackedLinear::new(weight, Some(bias), out, inp, precision))))?)
        };
        let parts: Vec<(Vec<f32>, Vec<f32>)> =
            pairs.projections.iter().map(|pair| Ok((pair.weight.flatten_all()?.to_vec1()?, pair.bias.to_vec1()?))).collect::<Result<_>>()?;
        let parts: Vec<(&[f32], Option<&[f32]>)> = parts.iter().map(|(weight, bias)| (weight.as_slice(), Some(bias.as_slice()))).collect();
        Ok(Self {
            projections: PackedLinear::concat(&parts, hidden, precision),
            attention_output: linear(&pairs.attention_output)?,
            attention_norm: Norm::new(&pairs.attention_norm)?,
            wide: linear(&pairs.wide)?,
            narrow: linear(&pairs.narrow)?,
            feed_forward_norm: Norm::new(&pairs.feed_forward_norm)?,
        })
    }

    /// `x` to `norm(x + attention(x))` to `norm(x + feed-forward(x))`, of some rows if `only` they are wanted.
    fn normalise_behind(
        &self,
        shape: BlockShape,
        offsets: &[usize],
        only: Option<&[usize]>,
        buffers: &mut Buffers,
        probabilities: Option<&mut Vec<(usize, Vec<f32>)>>,
    ) {
        let Buffers { x, normed, projected, context, wide, sum, scratch } = buffers;
        let precision = shape.precision;
        macro_rules! normed {
            () => {
                match precision {
                    Precision::F32 => Input::Floats(x),
                    Precision::Bf16 => normed.input(precision),
                }
            };
        }
        self.attend(shape, offsets, normed!(), (projected, context, scratch), probabilities);
        if let Some(rows) = only {
            keep_rows(x, shape.hidden, rows);
            context.keep_rows(precision, shape.hidden, rows);
        }
        let rows = x.len() / shape.hidden;
        self.attention_output.apply_between(context.input(precision), rows, Epilogue::Residual(x), scratch, Output::Floats(sized(sum, x.len())));
        self.attention_norm.behind(sum, shape, x, normed);
        self.wide.apply_between(normed!(), rows, Epilogue::Activation(shape.activation), scratch, wide.output(precision, rows, self.wide.out()));
        self.narrow.apply_between(wide.input(precision), rows, Epilogue::Residual(x), scratch, Output::Floats(sum));
        self.feed_forward_norm.behind(sum, shape, x, normed);
    }

    /// `x` to `x + attention(norm(x))` to `x + feed-forward(norm(x))`, of some rows if `only` they are wanted.
    fn normalise_before(
        &self,
        shape: BlockShape,
        offsets: &[usize],
        only: Option<&[usize]>,
        buffers: &mut Buffers,
        probabilities: Option<&mut Vec<(usize, Vec<f32>)>>,
    ) {
        let Buffers { x, normed, projected, context, wide, sum, scratch } = buffers;
        let precision = shape.precision;
        self.attention_norm.before(x, shape, normed);
        self.attend(shape, offsets, normed.input(precision), (projected, context, scratch), probabilities);
        if let Some(rows) = only {
            keep_rows(x, shape.hidden, rows);
            context.keep_rows(precision, shape.hidden, rows);
        }
        let rows = x.len() / shape.hidden;
        self.attention_output.apply_between(context.input(precision), rows, Epilogue::Residual(x), scratch, Output::Floats(sized(sum, x.len())));
        std::mem::swap(x, sum);
        self.feed_forward_norm.before(x, shape, normed);
        self.wide.apply_between(normed.input(precision), rows, Epilogue::Activation(shape.activation), scratch, wide.output(precision, rows, self.wide.out()));
        self.narrow.apply_between(wide.input(precision), rows, Epilogue::Residual(x), scratch, Output::Floats(sum));
        std::mem::swap(x, sum);
    }

    /// The context of each token, into `context`.
    fn attend(
        &self,
        shape: BlockShape,
        offsets: &[usize],
        x: Input<'_>,
        (projected, context, scratch): (&mut Vec<f32>, &mut LayerInput, &mut Scratch),
        probabilities: Option<&mut Vec<(usize, Vec<f32>)>>,
    ) {
        let BlockShape { hidden, heads, causal, precision, .. } = shape;
        let rows = offsets[offsets.len() - 1];
        self.projections.apply_between(x, rows, Epilogue::None, scratch, Output::Floats(sized(projected, rows * 3 * hidden)));
        let head_dim = hidden / heads;
        #[expect(clippy::cast_precision_loss, reason = "a head has a few dozen dimensions")]
        let scale = 1.0 / (head_dim as f32).sqrt();
        let attention = AttentionShape { offsets, heads, head_dim, scale, causal };
        if let Some(probabilities) = probabilities {
            let part = |n: usize| -> Vec<f32> { projected.chunks_exact(3 * hidden).flat_map(|row| &row[n * hidden..(n + 1) * hidden]).copied().collect() };
            let blocks = attention_probabilities(&part(0), &part(1), attention);
            probabilities.extend(offsets.windows(2).map(|ends| ends[1] - ends[0]).zip(blocks));
        }
        let part = |n: usize| Rows { values: projected.get(n * hidden..).unwrap_or_default(), stride: 3 * hidden };
        attention_rows(part(0), part(1), part(2), attention, scratch, context.output(precision, rows, hidden));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(lengths: &[usize]) -> Vec<usize> {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        }));
        offsets
    }

    /// Every sequence is in one group, in its order, and the costs are those of the sequences.
    fn checked(lengths: &[usize], threads: usize) -> Vec<Group> {
        let groups = cut(&offsets(lengths), 1000, threads);
        let mut next = 0;
        for group in &groups {
            assert!(group.sequences.start == next && !group.sequences.is_empty(), "{groups:?}");
            assert_eq!(group.cost, lengths[group.sequences.clone()].iter().map(|length| length * (1000 + length)).sum::<usize>());
            next = group.sequences.end;
        }
        assert_eq!(next, lengths.len());
        groups
    }

    #[test]
    fn a_thousand_tokens_keep_every_thread_busy_to_the_end() {
        let lengths: Vec<usize> = (0..33).map(|index| 15 + 7 * index % 31).collect();
        for threads in [1, 2, 3, 4, 8] {
            let groups = checked(&lengths, threads);
            assert_eq!(groups.len() % threads, 0, "{threads}");
            let costs = || groups.iter().map(|group| group.cost);
            let (least, most) = (costs().min().expect("a group"), costs().max().expect("a group"));
            assert!(most - least <= 2 * 45 * 1045, "{threads} {groups:?}");
        }
    }

    #[test]
    fn groups_of_short_sequences_stay_near_their_limit() {
        let lengths = vec![30; 1000];
        for threads in [1, 2, 7] {
            assert!(checked(&lengths, threads).iter().all(|group| group.sequences.len() * 30 <= TOKENS_A_GROUP + 30));
        }
    }

    #[test]
    fn a_few_tokens_are_not_scattered() {
        assert_eq!(checked(&[3, 4, 5], 8).len(), 1);
        assert_eq!(checked(&[512], 8).len(), 1);
    }

    #[test]
    fn a_long_sequence_leaves_the_others_to_other_threads() {
        let groups = checked(&[500, 100, 100, 100, 100, 100], 2);
        assert!(groups.len() >= 2 && groups[0].sequences == (0..1), "{groups:?}");
    }

    #[test]
    fn sequences_without_tokens_are_in_groups_too() {
        assert_eq!(checked(&[0, 0], 2).len(), 1);
        assert_eq!(checked(&[0, 40, 0, 40, 0], 2).iter().map(|group| group.sequences.len()).sum::<usize>(), 5);
        assert!(checked(&[], 2).is_empty());
    }
}
