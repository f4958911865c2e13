//! The blocks of a network for inference: weights packed for their kernels, no tape, one thread for each group of sequences.
//!
//! A group goes through all blocks on one thread, so threads never wait for each other inside the network and what a block leaves is still in the cache for the
//! next. The value of a token depends on its own sequence only, to the last bit: neither on the other sequences of the batch nor on how they are grouped.

use std::cell::Cell;

use candle_core::{Device, Tensor};
use lmprobe_core::{EncoderOutput, Error, Result, Seed, TokenBatch, Want};
use lmprobe_kernels::{Activation, AttentionShape, Epilogue, PackedLinear, Precision, Rows, Scratch, attention_probabilities, attention_rows, layer_norm};
use rayon::prelude::*;

use super::pair::Pair;
use super::values::with;

/// Tokens of a group: enough to make good use of each weight that is read, few enough for the second-level cache.
const TOKENS_A_GROUP: usize = 384;

/// Floats up to which the layer normalisation stays on its thread.
const FLOATS_ON_ONE_THREAD: usize = 1 << 14;

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
    /// What the last block that was run gave, `(tokens, hidden)`.
    pub last: Tensor,
}

/// What the blocks are asked.
#[derive(Clone, Copy)]
pub struct BlockRequest<'a> {
    /// The sequences.
    pub tokens: &'a TokenBatch,
    /// How many blocks are run.
    pub blocks: usize,
    /// Hidden states that are wanted, from 1: 0 is what goes in.
    pub layers: &'a [usize],
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

    /// Runs as many blocks as are needed, puts what is wanted of them into `output` and returns what the last one gave.
    ///
    /// # Errors
    /// With dropout, which belongs to training.
    pub fn outputs(
        &self,
        embedded: &Tensor,
        tokens: &TokenBatch,
        (want, last): (&Want, usize),
        dropout: Option<Seed>,
        output: &mut EncoderOutput,
    ) -> Result<Tensor> {
        if dropout.is_some() {
            return Err(Error::Unsupported("a model that was loaded for inference has no dropout".into()));
        }
        let layers: Vec<usize> = want.hidden.iter().copied().filter(|&layer| layer > 0).collect();
        let given = self.run(embedded, BlockRequest { tokens, blocks: last, layers: &layers, attentions: want.attentions })?;
        let mut states = given.states.into_iter();
        for &layer in &want.hidden {
            let state = if layer == 0 { embedded.clone() } else { states.next().expect("one state for each wanted layer") };
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
        let groups = groups(&request.tokens.offsets);
        let outputs: Vec<GroupOutput> =
            with(x, |x| Ok(groups.par_iter().with_max_len(1).map(|group| self.group(x, &request.tokens.offsets[group.start..=group.end], request)).collect()))?;
        let stacked = |part: &dyn Fn(&GroupOutput) -> &[f32]| -> Result<Tensor> {
            let mut values = Vec::with_capacity(n_tokens * hidden);
            for output in &outputs {
                values.extend_from_slice(part(output));
            }
            Ok(Tensor::from_vec(values, (n_tokens, hidden), &Device::Cpu)?)
        };
        let states = (0..request.layers.len()).map(|layer| stacked(&|output| &output.states[layer])).collect::<Result<_>>()?;
        let last = stacked(&|output| &output.last)?;
        let mut attentions = Vec::new();
        if request.attentions {
            for block in 0..request.blocks {
                let sequences = outputs.iter().flat_map(|output| &output.attentions[block]);
                let tensors = sequences.map(|(length, values)| Ok(Tensor::from_slice(values, (self.shape.heads, *length, *length), &Device::Cpu)?));
                attentions.push(tensors.collect::<Result<Vec<_>>>()?);
            }
        }
        Ok(BlockOutputs { states, attentions, last })
    }

    /// Runs a group of sequences, which are those between `offsets`.
    fn group(&self, x: &[f32], offsets: &[usize], request: BlockRequest<'_>) -> GroupOutput {
        let hidden = self.shape.hidden;
        let (first, end) = (offsets[0], offsets[offsets.len() - 1]);
        let local: Vec<usize> = offsets.iter().map(|offset| offset - first).collect();
        // Taken out for the time of the pass: whatever else this thread is given meanwhile finds an empty one.
        let mut buffers = BUFFERS.take();
        let mut output = GroupOutput { states: vec![Vec::new(); request.layers.len()], attentions: Vec::new(), last: Vec::new() };
        buffers.x.clear();
        buffers.x.extend_from_slice(&x[first * hidden..end * hidden]);
        for (index, block) in self.blocks.iter().take(request.blocks).enumerate() {
            if request.attentions {
                output.attentions.push(Vec::new());
            }
            let probabilities = output.attentions.last_mut();
            match self.shape.norms {
                NormPlace::Behind => block.normalise_behind(self.shape, &local, &mut buffers, probabilities),
                NormPlace::Before => block.normalise_before(self.shape, &local, &mut buffers, probabilities),
            }
            for (state, _) in output.states.iter_mut().zip(request.layers).filter(|(_, layer)| **layer == index + 1) {
                state.extend_from_slice(&buffers.x);
            }
        }
        output.last.extend_from_slice(&buffers.x);
        BUFFERS.set(buffers);
        output
    }
}

/// What one group gave.
struct GroupOutput {
    states: Vec<Vec<f32>>,
    /// Of each block, for each sequence its length and probabilities.
    attentions: Vec<Vec<(usize, Vec<f32>)>>,
    last: Vec<f32>,
}

/// Ranges of sequences of about [`TOKENS_A_GROUP`] tokens, one sequence at least.
fn groups(offsets: &[usize]) -> Vec<std::ops::Range<usize>> {
    let n = offsets.len() - 1;
    let mut groups = Vec::new();
    let mut start = 0;
    while start < n {
        let mut end = start + 1;
        while end < n && offsets[end + 1] - offsets[start] <= TOKENS_A_GROUP {
            end += 1;
        }
        groups.push(start..end);
        start = end;
    }
    groups
}

/// What a thread keeps between groups.
#[derive(Default)]
struct Buffers {
    /// The residual stream, `(tokens, hidden)`.
    x: Vec<f32>,
    normed: Vec<f32>,
    /// Queries, keys and values side by side, `(tokens, 3 hidden)`.
    projected: Vec<f32>,
    context: Vec<f32>,
    wide: Vec<f32>,
    sum: Vec<f32>,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: Cell<Buffers> = Cell::default();
}

/// A buffer of this length; what it held does not matter.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    buffer.resize(length, 0.0);
    buffer
}

impl Norm {
    fn new(pair: &Pair) -> Result<Self> {
        Ok(Self { gain: pair.weight.to_vec1()?, bias: pair.bias.to_vec1()? })
    }

    /// Normalises rows on this thread.
    fn apply(&self, x: &[f32], eps: f32, y: &mut [f32]) {
        let width = self.gain.len();
        let piece = (FLOATS_ON_ONE_THREAD / width.max(1)).max(1) * width;
        for (x, y) in x.chunks(piece).zip(y.chunks_mut(piece)) {
            layer_norm(x, &self.gain, &self.bias, eps, y);
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

    /// `x` to `norm(x + attention(x))` to `norm(x + feed-forward(x))`.
    fn normalise_behind(&self, shape: BlockShape, offsets: &[usize], buffers: &mut Buffers, probabilities: Option<&mut Vec<(usize, Vec<f32>)>>) {
        let Buffers { x, projected, context, wide, sum, scratch, .. } = buffers;
        let length = x.len();
        self.attend(shape, offsets, x, (projected, context, scratch), probabilities);
        let rows = length / shape.hidden;
        self.attention_output.apply(context, rows, Epilogue::Residual(x), scratch, sized(sum, length));
        self.attention_norm.apply(sum, shape.eps, x);
        self.wide.apply(x, rows, Epilogue::Activation(shape.activation), scratch, sized(wide, rows * self.wide.out()));
        self.narrow.apply(wide, rows, Epilogue::Residual(x), scratch, sized(sum, length));
        self.feed_forward_norm.apply(sum, shape.eps, x);
    }

    /// `x` to `x + attention(norm(x))` to `x + feed-forward(norm(x))`.
    fn normalise_before(&self, shape: BlockShape, offsets: &[usize], buffers: &mut Buffers, probabilities: Option<&mut Vec<(usize, Vec<f32>)>>) {
        let Buffers { x, normed, projected, context, wide, sum, scratch } = buffers;
        let length = x.len();
        self.attention_norm.apply(x, shape.eps, sized(normed, length));
        self.attend(shape, offsets, normed, (projected, context, scratch), probabilities);
        let rows = length / shape.hidden;
        self.attention_output.apply(context, rows, Epilogue::Residual(x), scratch, sized(sum, length));
        std::mem::swap(x, sum);
        self.feed_forward_norm.apply(x, shape.eps, normed);
        self.wide.apply(normed, rows, Epilogue::Activation(shape.activation), scratch, sized(wide, rows * self.wide.out()));
        self.narrow.apply(wide, rows, Epilogue::Residual(x), scratch, sized(sum, length));
        std::mem::swap(x, sum);
    }

    /// The context of each token, into the second of `into`.
    fn attend(
        &self,
        shape: BlockShape,
        offsets: &[usize],
        x: &[f32],
        (projected, context, scratch): (&mut Vec<f32>, &mut Vec<f32>, &mut Scratch),
        probabilities: Option<&mut Vec<(usize, Vec<f32>)>>,
    ) {
        let BlockShape { hidden, heads, causal, .. } = shape;
        let rows = x.len() / hidden;
        self.projections.apply(x, rows, Epilogue::None, scratch, sized(projected, rows * 3 * hidden));
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
        attention_rows(part(0), part(1), part(2), attention, scratch, sized(context, rows * hidden));
    }
}
