//! The blocks of a network for training: one node of candle's graph with a backward pass of its own.
//!
//! Candle's tape would keep every intermediate result, allocate every gradient anew and go over memory once for each operation. Here a group of
//! sequences goes through a block on one thread, forward and back; what the backward pass cannot cheaply work out again is kept in buffers that go
//! from step to step; and the gradients of weights are summed where the optimiser reads them. Weights are packed for their kernels one block at a
//! time, for they change with every step.
//!
//! Sums over tokens are cut by shape, so that no number of threads changes a bit of any gradient.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Storage, StorageRef, Tensor};
use lmprobe_core::{EncoderOutput, Error, Result, Seed, TokenBatch, Want};
use lmprobe_kernels::{AttentionShape, Dropout, Norm};

use super::gradient_sink::{GradientSink, GradientSlot};
use super::inference_blocks::BlockShape;
use super::pair::{Pair, Tensors};
use super::training_memory::{Buffer, BufferPool, Workspaces};
use super::values::{owned, slice, with};

/// Tokens of a group: enough to make good use of each weight that is read, few enough for the second-level cache.
const TOKENS_A_GROUP: usize = 192;

/// Dropout rates of a block.
#[derive(Debug, Clone, Copy)]
pub struct BlockDropout {
    /// Of attention probabilities.
    pub attention: f32,
    /// Of what the attention adds to the residual stream.
    pub attended: f32,
    /// Behind the activation.
    pub activation: f32,
    /// Of what the feed-forward part adds to the residual stream.
    pub narrow: f32,
}

/// Weight and bias of a linear map or a normalisation, and where their gradients go.
pub struct Trained {
    /// The tensors, which share their storage with the variables.
    pub pair: Pair,
    /// The gradients of weight and bias; empty in a network that is not trained.
    pub slots: Option<[GradientSlot; 2]>,
}

impl Trained {
    /// `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// If one is missing.
    pub fn of(tensors: Tensors<'_>, name: &str, sink: Option<&GradientSink>) -> Result<Self> {
        let slots = |sink: &GradientSink| Ok::<_, Error>([sink.slot(&format!("{name}.weight"))?, sink.slot(&format!("{name}.bias"))?]);
        Ok(Self { pair: tensors.pair(name)?, slots: sink.map(slots).transpose()? })
    }
}

/// The weights of a block.
pub struct TrainedBlock {
    /// Query, key and value projections; one of three times the width, or three.
    pub projections: Vec<Trained>,
    /// Output projection of the attention.
    pub attention_output: Trained,
    /// The normalisation of the attention part.
    pub attention_norm: Trained,
    /// First linear map of the feed-forward part.
    pub wide: Trained,
    /// Its second one.
    pub narrow: Trained,
    /// The normalisation of the feed-forward part.
    pub feed_forward_norm: Trained,
}

/// The blocks of a network. They read their weights where the variables hold them.
pub struct TrainingBlocks(Arc<Blocks>);

pub(super) struct Blocks {
    pub(super) shape: BlockShape,
    pub(super) rates: BlockDropout,
    pub(super) intermediate: usize,
    pub(super) trained: Vec<TrainedBlock>,
    pub(super) pool: Arc<BufferPool>,
    pub(super) workspaces: Workspaces,
}

impl TrainingBlocks {
    /// Puts blocks together.
    ///
    /// # Errors
    /// If the heads do not divide the width, or a weight has another shape than the first block's.
    pub fn new(shape: BlockShape, rates: BlockDropout, blocks: Vec<TrainedBlock>) -> Result<Self> {
        let h = shape.hidden;
        if h == 0 || shape.heads == 0 || !h.is_multiple_of(shape.heads) {
            return Err(Error::Unsupported(format!("{} heads do not divide a width of {h}", shape.heads)));
        }
        let intermediate = blocks.first().map_or(Ok(0), |block| block.wide.pair.weight.dim(0))?;
        let fits = |trained: &Trained, weight: &[usize]| trained.pair.weight.dims() == weight && trained.pair.bias.dims() == &weight[..1];
        for (index, block) in blocks.iter().enumerate() {
            let rows: usize = block.projections.iter().map(|part| part.pair.bias.elem_count()).sum();
            let whole = block.projections.iter().all(|part| fits(part, &[part.pair.bias.elem_count(), h])) && rows == 3 * h;
            let linear = fits(&block.attention_output, &[h, h]) && fits(&block.wide, &[intermediate, h]) && fits(&block.narrow, &[h, intermediate]);
            if !whole || !linear || !fits(&block.attention_norm, &[h]) || !fits(&block.feed_forward_norm, &[h]) {
                return Err(Error::Unsupported(format!("the weights of block {index} do not fit a width of {h} and {intermediate}")));
            }
        }
        let (pool, workspaces) = (Arc::default(), Workspaces::default());
        Ok(Self(Arc::new(Blocks { shape, rates, intermediate, trained: blocks, pool, workspaces })))
    }

    /// Runs as many blocks as are needed on `embedded (tokens, hidden)`, puts what is wanted of them into `output` and returns what the last one gave.
    ///
    /// # Errors
    /// If `embedded` is not of this network's width.
    pub fn outputs(
        &self,
        embedded: &Tensor,
        tokens: &TokenBatch,
        (want, last): (&Want, usize),
        dropout: Option<Seed>,
        output: &mut EncoderOutput,
    ) -> Result<Tensor> {
        let (n_tokens, hidden) = embedded.dims2()?;
        if hidden != self.0.shape.hidden || n_tokens != tokens.ids.len() {
            return Err(Error::Unsupported(format!("states of shape {:?} for {} tokens of width {}", embedded.dims(), tokens.ids.len(), self.0.shape.hidden)));
        }
        if !embedded.device().is_cpu() {
            return self.0.taped(embedded, tokens, (want, last), dropout, output);
        }
        let mut layers: Vec<usize> = want.hidden.iter().copied().chain([last]).filter(|&layer| layer > 0).collect();
        layers.sort_unstable();
        layers.dedup();
        let states = if layers.is_empty() {
            None
        } else {
            let groups = groups(&tokens.offsets, self.0.shape);
            let pass = Pass { tokens: n_tokens, groups, layers: layers.clone(), last, seed: dropout, attentions: want.attentions };
            let attentions = Arc::new(Mutex::new(Vec::new()));
            let node = Node { blocks: self.0.clone(), pass, keeps: embedded.track_op(), attentions: attentions.clone(), saved: Mutex::default() };
            let states = embedded.contiguous()?.apply_op1(node)?;
            output.attentions = std::mem::take(&mut *attentions.lock().unwrap_or_else(PoisonError::into_inner));
            Some(states)
        };
        let state = |layer: usize| -> Result<Tensor> {
            Ok(match (&states, layers.binary_search(&layer)) {
                (Some(states), Ok(_)) if layers.len() == 1 => states.clone(),
                (Some(states), Ok(place)) => states.narrow(0, place * n_tokens, n_tokens)?,
                _ => embedded.clone(),
            })
        };
        for &layer in &want.hidden {
            output.hidden.push((layer, state(layer)?));
        }
        state(last)
    }
}

/// What one pass over a batch is.
pub(super) struct Pass {
    pub(super) groups: Vec<Group>,
    pub(super) tokens: usize,
    /// Hidden states that are given, from 1 on, in ascending order.
    pub(super) layers: Vec<usize>,
    /// How many blocks are run.
    pub(super) last: usize,
    pub(super) seed: Option<Seed>,
    pub(super) attentions: bool,
}

impl Pass {
    /// A dropout of this pass: each block has four masks.
    pub(super) fn dropout(&self, p: f32, block: usize, site: u64) -> Option<Dropout> {
        self.seed.filter(|_| p > 0.0).map(|seed| Dropout { p, seed: seed.0, stream: (block as u64 + 1) * 4 + site })
    }

    /// Where among the given states the one behind a block is.
    pub(super) fn place(&self, block: usize) -> Option<usize> {
        self.layers.binary_search(&(block + 1)).ok()
    }
}

/// Sequences that go through a block on one thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Their first token.
    pub(super) first: usize,
    /// Boundaries of the sequences counted from the first token on, `(sequences + 1)`.
    pub(super) offsets: Vec<usize>,
    /// Groups of dropout elements of the sequences before these.
    pub(super) dropout_groups: u64,
}

impl Group {
    pub(super) fn tokens(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The rows of the group in a matrix of the batch.
    pub(super) fn rows<'a>(&self, values: &'a [f32], width: usize) -> &'a [f32] {
        &values[self.first * width..(self.first + self.tokens()) * width]
    }
}

/// The attention of sequences.
pub(super) fn attention_shape(shape: BlockShape, offsets: &[usize]) -> AttentionShape<'_> {
    let head_dim = shape.hidden / shape.heads;
    #[expect(clippy::cast_precision_loss, reason = "a head has a few dozen dimensions")]
    let scale = 1.0 / (head_dim as f32).sqrt();
    AttentionShape { offsets, heads: shape.heads, head_dim, scale, causal: shape.causal }
}

/// Cuts a batch into groups of about as many tokens each, of one sequence at least.
fn groups(offsets: &[usize], shape: BlockShape) -> Vec<Group> {
    let sequences = offsets.len().saturating_sub(1);
    let tokens = offsets.last().copied().unwrap_or(0);
    let fair = tokens.div_ceil(tokens.div_ceil(TOKENS_A_GROUP).max(1));
    let mut groups = Vec::new();
    let (mut start, mut dropout_groups) = (0, 0);
    while start < sequences {
        let mut end = start + 1;
        while end < sequences && offsets[end + 1] - offsets[start] <= fair {
            end += 1;
        }
        let first = offsets[start];
        let local: Vec<usize> = offsets[start..=end].iter().map(|offset| offset - first).collect();
        let own = attention_shape(shape, &local).dropout_groups();
        groups.push(Group { first, offsets: local, dropout_groups });
        dropout_groups += own;
        start = end;
    }
    groups
}

/// Cuts a matrix into the rows of each group.
pub(super) fn cut<'a>(groups: &[Group], width: usize, mut values: &'a mut [f32]) -> Vec<&'a mut [f32]> {
    groups
        .iter()
        .map(|group| {
            let (own, rest) = std::mem::take(&mut values).split_at_mut(group.tokens() * width);
            values = rest;
            own
        })
        .collect()
}

/// What a block keeps for the backward pass, each `(tokens, width)`.
pub(super) struct Kept {
    /// Queries, keys and values.
    pub(super) projected: Buffer,
    /// The residual stream behind the attention.
    pub(super) attended: Buffer,
    /// What goes into the activation.
    pub(super) wide: Buffer,
    /// The residual stream behind the feed-forward part.
    pub(super) narrow: Buffer,
}

/// What a forward pass keeps.
struct Saved {
    kept: Vec<Kept>,
    /// Tells weights that have changed since.
    fingerprint: u64,
}

/// The node of the graph: from `embedded (tokens, hidden)` to the given states, one after the other.
struct Node {
    blocks: Arc<Blocks>,
    pass: Pass,
    /// Whether there will be a backward pass.
    keeps: bool,
    attentions: Arc<Mutex<Vec<Vec<Tensor>>>>,
    /// Empty before the forward and after the backward pass.
    saved: Mutex<Option<Saved>>,
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn cpu_fwd(&self, embedded: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let embedded = slice(embedded, layout)?;
        let held: Vec<HeldBlock> = self.blocks.trained[..self.pass.last].iter().map(HeldBlock::new).collect();
        let weights: Vec<BlockWeights> = held.iter().map(|held| held.weights(self.blocks.shape.eps)).collect::<candle_core::Result<_>>()?;
        let mut states = vec![0.0; self.pass.layers.len() * embedded.len()];
        let (kept, attentions) =
            self.blocks.workspaces.with(|workspace| self.blocks.forward(&weights, &self.pass, embedded, self.keeps, workspace, &mut states))?;
        *self.attentions.lock().unwrap_or_else(PoisonError::into_inner) = attentions;
        if self.keeps {
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Saved { kept, fingerprint: fingerprint(&weights) });
        }
        Ok(owned(states, (self.pass.layers.len() * self.pass.tokens, self.blocks.shape.hidden)))
    }

    fn bwd(&self, embedded: &Tensor, _: &Tensor, dstates: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let Some(saved) = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            candle_core::bail!("a graph is gone back through once: run the model again");
        };
        let held: Vec<HeldBlock> = self.blocks.trained[..self.pass.last].iter().map(HeldBlock::new).collect();
        let weights: Vec<BlockWeights> = held.iter().map(|held| held.weights(self.blocks.shape.eps)).collect::<candle_core::Result<_>>()?;
        if fingerprint(&weights) != saved.fingerprint {
            candle_core::bail!("weights were changed between the forward and the backward pass");
        }
        let dx = with(embedded, |embedded| {
            with(dstates, |dstates| {
                Ok(self.blocks.workspaces.with(|workspace| self.blocks.backward(&weights, &self.pass, (embedded, dstates), saved.kept, workspace)))
            })
        })?;
        Ok(Some(Tensor::from_vec(dx, embedded.shape(), embedded.device())?))
    }
}

/// The tensors of a block, read while nobody writes them: pairs of weight and bias in the order of [`TrainedBlock`].
struct HeldBlock<'a>(Vec<HeldPair<'a>>);

/// The values of the weights of a block.
pub(super) struct BlockWeights<'a> {
    pub(super) projections: Vec<(&'a [f32], &'a [f32])>,
    pub(super) attention_output: (&'a [f32], &'a [f32]),
    pub(super) wide: (&'a [f32], &'a [f32]),
    pub(super) narrow: (&'a [f32], &'a [f32]),
    pub(super) attention_norm: Norm<'a>,
    pub(super) feed_forward_norm: Norm<'a>,
}

impl TrainedBlock {
    /// All weights in their order: the projections come last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Trained> {
        [&self.attention_output, &self.wide, &self.narrow, &self.attention_norm, &self.feed_forward_norm].into_iter().chain(&self.projections)
    }
}

/// Weight and bias, read while nobody writes them.
type HeldPair<'a> = [(StorageRef<'a>, &'a Layout); 2];

/// The values of weight and bias.
fn values<'a>(held: &'a HeldPair<'_>) -> candle_core::Result<(&'a [f32], &'a [f32])> {
    let read = |(storage, layout): &'a (StorageRef<'_>, &Layout)| -> candle_core::Result<&'a [f32]> {
        match &**storage {
            Storage::Cpu(storage) => slice(storage, layout),
            _ => candle_core::bail!("this operation runs on the CPU only"),
        }
    };
    Ok((read(&held[0])?, read(&held[1])?))
}

impl<'a> HeldBlock<'a> {
    fn new(block: &'a TrainedBlock) -> Self {
        let held = |trained: &'a Trained| [trained.pair.weight.storage_and_layout(), trained.pair.bias.storage_and_layout()];
        Self(block.all().map(held).collect())
    }

    fn weights(&self, eps: f32) -> candle_core::Result<BlockWeights<'_>> {
        let [attention_output, wide, narrow, attention_norm, feed_forward_norm, projections @ ..] = self.0.as_slice() else {
            unreachable!("a block has five weights and its projections");
        };
        let norm = |(gain, bias)| Norm { gain, bias, eps };
        Ok(BlockWeights {
            projections: projections.iter().map(values).collect::<candle_core::Result<_>>()?,
            attention_output: values(attention_output)?,
            wide: values(wide)?,
            narrow: values(narrow)?,
            attention_norm: norm(values(attention_norm)?),
            feed_forward_norm: norm(values(feed_forward_norm)?),
        })
    }
}

/// A number that an update of the weights changes: an optimiser moves every bias and every gain.
fn fingerprint(weights: &[BlockWeights]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    for block in weights {
        for values in [block.wide.0, block.narrow.1, block.attention_norm.gain, block.feed_forward_norm.gain] {
            values.iter().take(16).for_each(|value| hasher.write_u32(value.to_bits()));
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Var};
    use lmprobe_core::Variable;
    use lmprobe_kernels::{Activation, Precision};

    use super::super::gradient_sink::GradientSink;
    use super::super::inference_blocks::NormPlace;
    use super::*;

    const LAYERS: usize = 3;
    const PARTS: [&str; 8] = ["query", "key", "value", "attention_output", "attention_norm", "wide", "narrow", "feed_forward_norm"];

    /// A small network with weights drawn from a seed, or with its projections in one.
    struct Model {
        tensors: BTreeMap<String, Tensor>,
        variables: Vec<Variable>,
        sink: GradientSink,
        blocks: TrainingBlocks,
        shape: BlockShape,
        rates: BlockDropout,
    }

    fn draw(dims: &[usize], scale: f64, middle: f64, random: &mut lmprobe_core::Random) -> Var {
        let n = dims.iter().product();
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        let values: Vec<f32> = std::iter::repeat_with(|| (random.normal() * scale + middle) as f32).take(n).collect();
        Var::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    impl Model {
        fn new(shape: BlockShape, intermediate: usize, rate: f32, fused: bool) -> Self {
            let h = shape.hidden;
            let mut random = Seed(3).random();
            let parts: Vec<&str> = if fused { [&["projections"], &PARTS[3..]].concat() } else { PARTS.to_vec() };
            let mut variables = Vec::new();
            for layer in 0..LAYERS {
                for part in &parts {
                    let (weight, bias) = match *part {
                        "attention_norm" | "feed_forward_norm" => (draw(&[h], 0.1, 1.0, &mut random), draw(&[h], 0.1, 0.0, &mut random)),
                        _ => {
                            let (out, inp) = match *part {
                                "projections" => (3 * h, h),
                                "wide" => (intermediate, h),
                                "narrow" => (h, intermediate),
                                _ => (h, h),
                            };
                            (draw(&[out, inp], 0.3, 0.0, &mut random), draw(&[out], 0.1, 0.0, &mut random))
                        }
                    };
                    for (kind, var) in [("weight", weight), ("bias", bias)] {
                        variables.push(Variable { name: format!("{layer}.{part}.{kind}"), var, is_bias_or_norm: false });
                    }
                }
            }
            let tensors: BTreeMap<String, Tensor> = variables.iter().map(|variable| (variable.name.clone(), variable.var.as_tensor().clone())).collect();
            let sink = GradientSink::new(&variables);
            let rates = BlockDropout { attention: rate, attended: rate / 2.0, activation: rate / 3.0, narrow: rate };
            let blocks = (0..LAYERS)
                .map(|layer| {
                    let trained = |part: &str| Trained::of(Tensors(&tensors), &format!("{layer}.{part}"), Some(&sink)).unwrap();
                    TrainedBlock {
                        projections: parts[..parts.len() - 5].iter().map(|part| trained(part)).collect(),
                        attention_output: trained("attention_output"),
                        attention_norm: trained("attention_norm"),
                        wide: trained("wide"),
                        narrow: trained("narrow"),
                        feed_forward_norm: trained("feed_forward_norm"),
                    }
                })
                .collect();
            Self { blocks: TrainingBlocks::new(shape, rates, blocks).unwrap(), tensors, variables, sink, shape, rates }
        }

        /// The same on candle's tape.
        fn taped(&self, embedded: &Tensor, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> Vec<Tensor> {
            let mut output = EncoderOutput::default();
            self.blocks.0.taped(embedded, tokens, (want, LAYERS), dropout, &mut output).unwrap();
            output.hidden.into_iter().map(|(_, state)| state).collect()
        }

        fn run(&self, embedded: &Tensor, tokens: &TokenBatch, want: &Want, dropout: Option<Seed>) -> (Vec<Tensor>, EncoderOutput) {
            let mut output = EncoderOutput::default();
            let last = want.hidden.iter().copied().max().unwrap();
            self.blocks.outputs(embedded, tokens, (want, last), dropout, &mut output).unwrap();
            (output.hidden.iter().map(|(_, state)| state.clone()).collect(), output)
        }

        /// The gradients of all variables, and whether each has one, which are then forgotten.
        fn gradients(&self) -> Vec<Option<Vec<f32>>> {
            let mut gradients = self.sink.gradients().lock().unwrap();
            let all = (0..self.variables.len()).map(|index| gradients.to_vec(index)).collect();
            gradients.clear();
            all
        }
    }

    fn batch(lengths: &[usize]) -> TokenBatch {
        let mut offsets = vec![0];
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        let n = offsets[lengths.len()];
        TokenBatch {
            ids: vec![0; n],
            type_ids: vec![0; n],
            special: vec![false; n],
            word_ids: vec![None; n],
            char_offsets: vec![(0, 0); n],
            offsets,
            truncated: vec![false; lengths.len()],
        }
    }

    fn shape(norms: NormPlace, causal: bool, activation: Activation, precision: Precision) -> BlockShape {
        BlockShape { hidden: 20, heads: 2, causal, activation, eps: 1e-5, norms, precision }
    }

    /// A loss in which every element of every state has a weight of its own.
    fn loss(states: &[Tensor]) -> Tensor {
        let weighted = states.iter().enumerate().map(|(place, state)| {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let weights: Vec<f32> = (0..state.elem_count()).map(|index| ((index * 7 + place * 3) % 11) as f32 / 5.0 - 1.0).collect();
            let weights = Tensor::from_vec(weights, state.shape(), &Device::Cpu).unwrap();
            (state * weights).unwrap().sum_all().unwrap()
        });
        weighted.reduce(|a, b| (a + b).unwrap()).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The largest difference, in units of the largest value of the second.
    fn distance(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let size = b.iter().fold(1e-3f32, |size, value| size.max(value.abs()));
        a.iter().zip(b).map(|(a, b)| (a - b).abs() / size).fold(0.0, f32::max)
    }

    #[test]
    fn states_and_gradients_are_those_of_the_tape() {
        // Sequences of one token, of none, and one that is a group of its own.
        let lengths = [5, 1, 0, 17, 200, 3, 120, 64];
        let activations = [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh];
        let mut case = 0;
        for norms in [NormPlace::Behind, NormPlace::Before] {
            for causal in [false, true] {
                for (rate, hidden) in [(0.0, vec![LAYERS]), (0.3, vec![LAYERS, 1, 0, 1]), (0.0, vec![2])] {
                    let model = Model::new(shape(norms, causal, activations[case % 4], Precision::F32), 50, rate, case % 2 == 1);
                    case += 1;
                    let lengths = if rate > 0.0 { &lengths[..] } else { &lengths[..4] };
                    let (tokens, dropout) = (batch(lengths), (rate > 0.0).then_some(Seed(11)));
                    let embedded = draw(&[tokens.ids.len(), 20], 1.0, 0.0, &mut Seed(5).random());
                    let want = Want { hidden, ..Want::default() };
                    let taped = model.taped(embedded.as_tensor(), &tokens, &want, dropout);
                    let (states, _) = model.run(embedded.as_tensor(), &tokens, &want, dropout);
                    for (state, expected) in states.iter().zip(&taped) {
                        assert!(distance(&values(state), &values(expected)) < 1e-5, "{norms:?} {causal} {rate} {want:?}");
                    }
                    let expected = loss(&taped).backward().unwrap();
                    let found = loss(&states).backward().unwrap();
                    let dx = |store: &candle_core::backprop::GradStore| values(store.get(embedded.as_tensor()).unwrap());
                    assert!(distance(&dx(&found), &dx(&expected)) < 1e-5, "{norms:?} {causal} {rate} {want:?}");
                    for (variable, found) in model.variables.iter().zip(model.gradients()) {
                        let what = format!("{norms:?} {causal} {rate} {want:?} {}", variable.name);
                        let expected = expected.get(variable.var.as_tensor()).map(values);
                        assert_eq!(found.is_some(), expected.is_some(), "{what}");
                        if let (Some(found), Some(expected)) = (found, expected) {
                            // What is added to all keys alike, the softmax ignores: that gradient is 0 but for rounding.
                            assert!(variable.name.ends_with("key.bias") || distance(&found, &expected) < 1e-5, "{what} {}", distance(&found, &expected));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        for norms in [NormPlace::Behind, NormPlace::Before] {
            let model = Model::new(shape(norms, true, Activation::GeluErf, Precision::F32), 24, 0.2, false);
            let (tokens, want, dropout) = (batch(&[3, 2]), Want::layer(LAYERS), Some(Seed(2)));
            let embedded = draw(&[5, 20], 1.0, 0.0, &mut Seed(5).random());
            let run = || model.run(embedded.as_tensor(), &tokens, &want, dropout).0;
            loss(&run()).backward().unwrap();
            let gradients = model.gradients();
            for (variable, gradient) in model.variables.iter().zip(&gradients).filter(|(variable, _)| !variable.name.ends_with("key.bias")) {
                let gradient = gradient.as_ref().unwrap();
                let start = values(variable.var.as_tensor());
                let index = gradient.len() / 3;
                let at = |by: f32| {
                    let mut moved = start.clone();
                    moved[index] += by;
                    variable.var.set(&Tensor::from_vec(moved, variable.var.shape(), &Device::Cpu).unwrap()).unwrap();
                    f64::from(loss(&run()).to_scalar::<f32>().unwrap())
                };
                let difference = (at(5e-3) - at(-5e-3)) / 1e-2;
                at(0.0);
                let size = f64::from(gradient.iter().fold(0.1f32, |size, value| size.max(value.abs())));
                assert!((difference - f64::from(gradient[index])).abs() < 0.02 * size, "{norms:?} {} {difference} {}", variable.name, gradient[index]);
            }
        }
    }

    #[test]
    fn neither_threads_nor_what_was_there_change_a_bit() {
        for precision in [Precision::F32, Precision::Bf16] {
            let model = Model::new(shape(NormPlace::Behind, false, Activation::GeluErf, precision), 50, 0.1, false);
            let (tokens, want) = (batch(&[100, 30, 170, 7, 80, 90, 33]), Want::layer(LAYERS));
            let embedded = draw(&[tokens.ids.len(), 20], 1.0, 0.0, &mut Seed(5).random());
            let step = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let (states, _) = model.run(embedded.as_tensor(), &tokens, &want, Some(Seed(1)));
                    let store = loss(&states).backward().unwrap();
                    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                    let gradients: Vec<_> = model.gradients().into_iter().map(|gradient| bits(gradient.unwrap())).collect();
                    (bits(values(&states[0])), bits(values(store.get(embedded.as_tensor()).unwrap())), gradients)
                })
            };
            let one = step(1);
            assert!(one == step(2) && one == step(3), "{precision:?}");
        }
    }

    #[test]
    fn passes_add_up() {
        let model = Model::new(shape(NormPlace::Before, true, Activation::Relu, Precision::F32), 30, 0.0, true);
        let (tokens, want) = (batch(&[9, 4]), Want::layer(LAYERS));
        let embedded = draw(&[13, 20], 1.0, 0.0, &mut Seed(5).random());
        let backward = || drop(loss(&model.run(embedded.as_tensor(), &tokens, &want, None).0).backward().unwrap());
        backward();
        let once = model.gradients();
        backward();
        backward();
        for (once, twice) in once.into_iter().zip(model.gradients()) {
            let doubled: Vec<f32> = once.unwrap().iter().map(|value| 2.0 * value).collect();
            assert!(distance(&twice.unwrap(), &doubled) < 1e-5);
        }
    }

    #[test]
    fn later_steps_allocate_nothing_and_a_dropped_graph_leaves_nothing() {
        let model = Model::new(shape(NormPlace::Behind, false, Activation::GeluErf, Precision::F32), 50, 0.0, false);
        let (tokens, want) = (batch(&[40, 10]), Want::layer(LAYERS));
        let embedded = draw(&[50, 20], 1.0, 0.0, &mut Seed(5).random());
        let pool = &model.blocks.0.pool;
        drop(model.run(embedded.as_tensor(), &tokens, &want, None));
        let allocated = pool.allocations();
        assert_eq!((allocated, pool.unused()), (4 * LAYERS, 4 * LAYERS));
        assert!(model.gradients().iter().all(Option::is_none), "no backward pass, no gradient");
        let graph = loss(&model.run(embedded.as_tensor(), &tokens, &want, None).0);
        assert_eq!(pool.unused(), 0);
        graph.backward().unwrap();
        assert_eq!((pool.allocations(), pool.unused()), (allocated, allocated));
        let message = graph.backward().unwrap_err().to_string();
        assert!(message.contains("gone back through once"), "{message}");
        // A smaller batch fits where a larger one was.
        drop(model.run(&embedded.narrow(0, 0, 10).unwrap(), &batch(&[10]), &want, None));
        assert_eq!(pool.allocations(), allocated);
        // Without variables there is nothing to keep: one block's buffers and the next one's are enough.
        drop(model.run(&embedded.as_detached_tensor(), &tokens, &want, None));
        assert_eq!((pool.allocations(), pool.unused()), (allocated, allocated));
    }

    #[test]
    fn weights_that_change_under_a_graph_are_an_error() {
        let model = Model::new(shape(NormPlace::Behind, false, Activation::GeluErf, Precision::F32), 50, 0.0, false);
        let embedded = draw(&[4, 20], 1.0, 0.0, &mut Seed(5).random());
        let graph = loss(&model.run(embedded.as_tensor(), &batch(&[4]), &Want::layer(LAYERS), None).0);
        let norm = &model.variables.iter().find(|variable| variable.name == "1.attention_norm.weight").unwrap().var;
        norm.set(&(norm.as_tensor() * 1.001).unwrap()).unwrap();
        let message = graph.backward().unwrap_err().to_string();
        assert!(message.contains("weights were changed between"), "{message}");
    }

    #[test]
    fn an_empty_batch_has_gradients_of_zero() {
        let model = Model::new(shape(NormPlace::Behind, false, Activation::GeluErf, Precision::F32), 50, 0.0, false);
        for lengths in [&[][..], &[0, 0]] {
            let embedded = draw(&[0, 20], 1.0, 0.0, &mut Seed(5).random());
            let (states, _) = model.run(embedded.as_tensor(), &batch(lengths), &Want::layer(LAYERS), None);
            assert_eq!(states[0].dims(), [0, 20]);
            loss(&states).backward().unwrap();
            assert!(model.gradients().into_iter().all(|gradient| gradient.unwrap().iter().all(|value| *value == 0.0)));
        }
    }

    #[test]
    fn attentions_are_probabilities() {
        let model = Model::new(shape(NormPlace::Before, true, Activation::GeluErf, Precision::F32), 50, 0.0, true);
        let tokens = batch(&[3, 1, 4]);
        let embedded = draw(&[8, 20], 1.0, 0.0, &mut Seed(5).random());
        let want = Want { attentions: true, ..Want::layer(LAYERS) };
        let (_, output) = model.run(embedded.as_tensor(), &tokens, &want, None);
        assert_eq!(output.attentions.len(), LAYERS);
        for block in &output.attentions {
            assert_eq!(block.iter().map(|tensor| tensor.dims().to_vec()).collect::<Vec<_>>(), [[2, 3, 3], [2, 1, 1], [2, 4, 4]]);
            for tensor in block {
                let sums = values(&tensor.sum(2).unwrap());
                assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
            }
        }
    }

    #[test]
    fn bfloat16_points_the_same_way() {
        for norms in [NormPlace::Behind, NormPlace::Before] {
            let [single, half] = [Precision::F32, Precision::Bf16].map(|precision| {
                let model = Model::new(shape(norms, false, Activation::GeluErf, precision), 50, 0.1, false);
                let (tokens, want) = (batch(&[40, 31, 9]), Want::layer(LAYERS));
                let embedded = draw(&[80, 20], 1.0, 0.0, &mut Seed(5).random());
                loss(&model.run(embedded.as_tensor(), &tokens, &want, Some(Seed(1))).0).backward().unwrap();
                let gradients = model.gradients();
                model
                    .variables
                    .iter()
                    .zip(gradients)
                    .filter(|(variable, _)| !variable.name.ends_with("key.bias"))
                    .flat_map(|(_, values)| values.unwrap())
                    .collect::<Vec<f32>>()
            });
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let cosine = dot(&single, &half) / (dot(&single, &single) * dot(&half, &half)).sqrt();
            assert!(cosine > 0.999 && cosine < 1.0 - 1e-9, "{norms:?} {cosine}");
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let model = Model::new(shape(NormPlace::Behind, false, Activation::GeluErf, Precision::F32), 50, 0.0, false);
        let blocks = |heads: usize, hidden: usize| {
            let trained = |part: &str| Trained::of(Tensors(&model.tensors), &format!("0.{part}"), None).unwrap();
            let block = TrainedBlock {
                projections: vec![trained("query"), trained("key"), trained("value")],
                attention_output: trained("attention_output"),
                attention_norm: trained("attention_norm"),
                wide: trained("wide"),
                narrow: trained("narrow"),
                feed_forward_norm: trained("feed_forward_norm"),
            };
            TrainingBlocks::new(BlockShape { hidden, heads, ..model.shape }, model.rates, vec![block]).err().map(|error| error.to_string())
        };
        assert_eq!(blocks(2, 20), None);
        assert!(blocks(3, 20).unwrap().contains("3 heads do not divide a width of 20"));
        assert!(blocks(2, 16).unwrap().contains("the weights of block 0 do not fit a width of 16 and 50"));
        let embedded = draw(&[4, 20], 1.0, 0.0, &mut Seed(5).random());
        let mut output = EncoderOutput::default();
        let message = model.blocks.outputs(embedded.as_tensor(), &batch(&[5]), (&Want::layer(1), 1), None, &mut output).unwrap_err().to_string();
        assert!(message.contains("states of shape [4, 20] for 5 tokens of width 20"), "{message}");
    }
}
