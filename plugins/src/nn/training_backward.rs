//! The backward pass of the blocks of a network that is trained.
//!
//! For each block, the last one first: every group goes back through it on one thread, which leaves the gradient of what came in, and beside each other what went
//! into each linear layer and the gradient of what came out. Then the gradients of the weights are products of these over all tokens.

use std::sync::Arc;

use lmprobe_core::train::DenseBuffer;
use lmprobe_kernels::{
    Epilogue, InputPanels, OutputStrips, STRIP, activate_rows_grad, add_into, add_rows_into, attention_merged_grad, dropout_rows, weight_gradient,
};
use rayon::prelude::*;

use super::inference_blocks::NormPlace;
use super::training_blocks::{BlockWeights, Blocks, Group, Kept, Pass, Trained, attention_shape, cut};
use super::training_forward::{Buffers, FEED_FORWARD_ROWS, ROWS, deal, with_buffers};
use super::training_memory::{Factors, LinearFactors, Workspace, sized};

/// Rows of a weight whose gradient one task works out.
const ROWS_A_TASK: usize = 16 * STRIP;

/// What one group gets of everything, `(tokens of the group, width)`.
struct Task<'a> {
    group: &'a Group,
    /// The residual stream that came in, or what was normalised into it.
    before: &'a [f32],
    /// What the forward pass [kept](Kept), in its order.
    kept: [&'a [f32]; 4],
    /// The gradient of what the block gave, then of what came in.
    gradient: &'a mut [f32],
    /// The gradient of the state behind the block, if it was given.
    dstate: Option<&'a [f32]>,
    factors: &'a mut Factors,
    vectors: Vectors<'a>,
}

/// The gradients of gains and biases, summed over the tokens of a group.
struct Vectors<'a> {
    attention_output: &'a mut [f32],
    wide: &'a mut [f32],
    narrow: &'a mut [f32],
    attention_norm: [&'a mut [f32]; 2],
    feed_forward_norm: [&'a mut [f32]; 2],
    projections: &'a mut [f32],
}

impl<'a> Vectors<'a> {
    /// Those of all groups lie behind one another in the order of [`TrainedBlock::all`](super::training_blocks::TrainedBlock::all).
    fn of(values: &'a mut [f32], h: usize, i: usize) -> Self {
        values.fill(0.0);
        let (attention_output, rest) = values.split_at_mut(h);
        let (wide, rest) = rest.split_at_mut(i);
        let (narrow, rest) = rest.split_at_mut(h);
        let (gain, rest) = rest.split_at_mut(h);
        let (bias, rest) = rest.split_at_mut(h);
        let attention_norm = [gain, bias];
        let (gain, rest) = rest.split_at_mut(h);
        let (bias, projections) = rest.split_at_mut(h);
        Self { attention_output, wide, narrow, attention_norm, feed_forward_norm: [gain, bias], projections }
    }
}

impl Blocks {
    /// Goes back through the blocks of `weights`, given the gradients of the states, adds the gradients of the weights to those of the model and returns the
    /// gradient of `embedded`.
    pub(super) fn backward(
        &self,
        weights: &[BlockWeights],
        pass: &Pass,
        (embedded, dstates): (&[f32], &[f32]),
        mut kept: Vec<Kept>,
        workspace: &mut Workspace,
    ) -> Vec<f32> {
        let (h, i, precision) = (self.shape.hidden, self.intermediate, self.shape.precision);
        let length = pass.tokens * h;
        let mut gradient = std::mem::take(&mut workspace.gradient);
        let mut vectors = std::mem::take(&mut workspace.vectors);
        let mut factors = std::mem::take(&mut workspace.factors);
        let n_vectors = 9 * h + i;
        sized(&mut gradient, length).fill(0.0);
        if factors.len() < pass.groups.len() {
            factors.resize_with(pass.groups.len(), Factors::default);
        }
        for (index, block) in weights.iter().enumerate().rev() {
            let parts: Vec<&[f32]> = block.projections.iter().map(|part| part.0).collect();
            workspace.projections.pack_for_gradient(&parts, h, precision);
            workspace.attention_output.pack_for_gradient(&[block.attention_output.0], h, precision);
            workspace.wide.pack_for_gradient(&[block.wide.0], h, precision);
            workspace.narrow.pack_for_gradient(&[block.narrow.0], i, precision);

            let own = kept.pop().expect("every block that was run kept something");
            let before = kept.last().map_or(embedded, |kept| &kept.narrow);
            let dstate = pass.place(index).map(|place| &dstates[place * length..][..length]);
            let group_vectors = sized(&mut vectors, pass.groups.len() * n_vectors).chunks_exact_mut(n_vectors).map(|values| Vectors::of(values, h, i));
            let mut tasks: Vec<Task> = (pass.groups.iter().zip(&mut factors).zip(group_vectors))
                .map(|((group, factors), vectors)| {
                    let kept = [group.rows(&own.projected, 3 * h), group.rows(&own.attended, h), group.rows(&own.wide, i), group.rows(&own.narrow, h)];
                    let (before, dstate) = (group.rows(before, h), dstate.map(|dstate| group.rows(dstate, h)));
                    Task { group, before, kept, gradient: &mut [], dstate, factors, vectors }
                })
                .collect();
            deal(&mut tasks, cut(&pass.groups, h, &mut gradient), |task, part| task.gradient = part);
            let shared = &*workspace;
            tasks.into_par_iter().with_max_len(1).for_each(|task| with_buffers(|buffers| self.backward_group(index, weights, pass, shared, task, buffers)));
            drop(own);
            self.add_gradients(index, &factors[..pass.groups.len()], sized(&mut vectors, pass.groups.len() * n_vectors));
        }
        let dx = gradient[..length].to_vec();
        (workspace.gradient, workspace.vectors, workspace.factors) = (gradient, vectors, factors);
        dx
    }

    fn backward_group(&self, index: usize, weights: &[BlockWeights], pass: &Pass, workspace: &Workspace, mut task: Task, buffers: &mut Buffers) {
        if let Some(dstate) = task.dstate {
            add_into(dstate, task.gradient);
        }
        self.backward_feed_forward(index, &weights[index], pass, workspace, &mut task, buffers);
        self.backward_attention(index, weights, pass, workspace, &mut task, buffers);
    }

    /// Back through the feed-forward part: the gradient of what went into it comes into `buffers.normed`. That of the residual stream beside it stays in the
    /// task's gradient.
    fn backward_feed_forward(&self, index: usize, block: &BlockWeights, pass: &Pass, workspace: &Workspace, task: &mut Task, buffers: &mut Buffers) {
        let Task { group, kept: [_, _, wide, narrow], gradient, factors, vectors, .. } = task;
        let Buffers { normed, wide: activated, sum, scratch, .. } = buffers;
        let (h, i, precision) = (self.shape.hidden, self.intermediate, self.shape.precision);
        let (rows, piece) = (group.tokens(), ROWS * h);

        factors.narrow.prepare(rows, i, &[h], precision);
        let dropout = pass.dropout(self.rates.narrow, index, 2);
        let dsum = sized(sum, rows * h);
        for (n, ((gradient, narrow), dnarrow)) in gradient.chunks_mut(piece).zip(narrow.chunks(piece)).zip(dsum.chunks_mut(piece)).enumerate() {
            match self.shape.norms {
                NormPlace::Behind => {
                    let [dgain, dbias] = &mut vectors.feed_forward_norm;
                    block.feed_forward_norm.rows_grad(narrow, gradient, dnarrow, dgain, dbias);
                    gradient.copy_from_slice(dnarrow);
                }
                NormPlace::Before => dnarrow.copy_from_slice(gradient),
            }
            if let Some(dropout) = dropout {
                dropout_rows(dropout, group.first * h + n * piece, dnarrow);
            }
            add_rows_into(dnarrow, vectors.narrow);
            factors.narrow.put_gradients(n * ROWS, dnarrow, &[h], dnarrow.len() / h);
        }

        factors.wide.prepare(rows, h, &[i], precision);
        let normed = sized(normed, rows * h);
        let dropout = pass.dropout(self.rates.activation, index, 3);
        let wide_piece = ROWS * i;
        for first in (0..rows).step_by(FEED_FORWARD_ROWS) {
            let end = rows.min(first + FEED_FORWARD_ROWS);
            let wide = &wide[first * i..end * i];
            let (dwide, again) = sized(activated, wide.len() + wide_piece).split_at_mut(wide.len());
            workspace.narrow.apply(&dsum[first * h..end * h], end - first, Epilogue::None, scratch, dwide);
            for (n, (wide, dwide)) in wide.chunks(wide_piece).zip(dwide.chunks_mut(wide_piece)).enumerate() {
                let (row, again) = (first + n * ROWS, &mut again[..wide.len()]);
                let element = (group.first + row) * i;
                if let Some(dropout) = dropout {
                    dropout_rows(dropout, element, dwide);
                }
                // What went into the linear layer is worked out again.
                activate_rows_grad(self.shape.activation, wide, again, dwide);
                if let Some(dropout) = dropout {
                    dropout_rows(dropout, element, again);
                }
                factors.narrow.inputs.put(row, again);
                add_rows_into(dwide, vectors.wide);
                factors.wide.put_gradients(row, dwide, &[i], dwide.len() / i);
            }
            workspace.wide.apply(dwide, end - first, Epilogue::None, scratch, &mut normed[first * h..end * h]);
        }
    }

    /// Back through the attention, from what [`Self::backward_feed_forward`] left: the task's gradient becomes that of what came in.
    fn backward_attention(&self, index: usize, weights: &[BlockWeights], pass: &Pass, workspace: &Workspace, task: &mut Task, buffers: &mut Buffers) {
        let Task { group, before, kept: [projected, attended, ..], gradient, factors, vectors, .. } = task;
        let Buffers { x, context, normed, sum, projected: dprojected, scratch, .. } = buffers;
        let (h, behind, precision) = (self.shape.hidden, self.shape.norms == NormPlace::Behind, self.shape.precision);
        let (rows, piece, block) = (group.tokens(), ROWS * h, &weights[index]);
        let middle_norm = self.middle_norm(block);
        let (again, normed, dsum) = (sized(x, piece), sized(normed, rows * h), sized(sum, rows * h));

        // The gradient of the sum behind the attention.
        factors.attention_output.prepare(rows, h, &[h], precision);
        let dropout = pass.dropout(self.rates.attended, index, 1);
        let attended_rows = attended.chunks(piece).zip(gradient.chunks_mut(piece)).zip(normed.chunks_mut(piece)).zip(dsum.chunks_mut(piece));
        for (n, (((attended, gradient), dnormed), dattended)) in attended_rows.enumerate() {
            let again = &mut again[..attended.len()];
            middle_norm.rows(attended, again);
            factors.wide.inputs.put(n * ROWS, again);
            if behind {
                add_into(gradient, dnormed);
            }
            let [dgain, dbias] = if behind { &mut vectors.attention_norm } else { &mut vectors.feed_forward_norm };
            middle_norm.rows_grad(attended, dnormed, dattended, dgain, dbias);
            if behind {
                gradient.copy_from_slice(dattended);
            } else {
                add_into(dattended, gradient);
                dattended.copy_from_slice(gradient);
            }
            if let Some(dropout) = dropout {
                dropout_rows(dropout, group.first * h + n * piece, dattended);
            }
            add_rows_into(dattended, vectors.attention_output);
            factors.attention_output.put_gradients(n * ROWS, dattended, &[h], dattended.len() / h);
        }

        // Back through the attention.
        let (dcontext, context, dprojected) = (normed, sized(context, rows * h), sized(dprojected, rows * 3 * h));
        workspace.attention_output.apply(dsum, rows, Epilogue::None, scratch, dcontext);
        let shape = attention_shape(self.shape, &group.offsets);
        attention_merged_grad(projected, dcontext, shape, self.attention_dropout(pass, index, group), scratch, dprojected, context);
        factors.attention_output.inputs.put(0, context);
        add_rows_into(dprojected, vectors.projections);
        let widths: Vec<usize> = block.projections.iter().map(|part| part.1.len()).collect();
        factors.projections.prepare(rows, h, &widths, precision);
        factors.projections.put_gradients(0, dprojected, &widths, rows);
        workspace.projections.apply(dprojected, rows, Epilogue::None, scratch, dcontext);

        // The gradient of what came in.
        let norm = self.input_norm(weights, index);
        for (n, ((before, gradient), dinput)) in before.chunks(piece).zip(gradient.chunks_mut(piece)).zip(dcontext.chunks(piece)).enumerate() {
            let again = &mut again[..before.len()];
            match norm {
                Some(norm) => {
                    norm.rows(before, again);
                    factors.projections.inputs.put(n * ROWS, again);
                }
                None => factors.projections.inputs.put(n * ROWS, before),
            }
            if behind {
                add_into(dinput, gradient);
            } else {
                let [dgain, dbias] = &mut vectors.attention_norm;
                block.attention_norm.rows_grad(before, dinput, again, dgain, dbias);
                add_into(again, gradient);
            }
        }
    }

    /// Adds the gradients of the weights of a block to those of the model.
    fn add_gradients(&self, index: usize, factors: &[Factors], vectors: &[f32]) {
        let stride = 9 * self.shape.hidden + self.intermediate;
        let block = &self.trained[index];
        let Some([slot, _]) = &block.attention_output.slots else { return };
        // Taken out for the time of the products, so that nothing is locked meanwhile.
        let mut taken: Vec<(&Trained, [DenseBuffer; 2])> = {
            let mut gradients = slot.lock();
            let mut take = |trained: &Trained| trained.slots.as_ref().map(|[weight, bias]| [gradients.take(weight.index), gradients.take(bias.index)]);
            block.all().filter_map(|trained| take(trained).map(|buffers| (trained, buffers))).collect()
        };
        let mut column = 0;
        let mut tasks = Vec::new();
        for (place, (trained, [weight, bias])) in taken.iter_mut().enumerate() {
            let linear: fn(&Factors) -> &LinearFactors = match place {
                0 => |factors| &factors.attention_output,
                1 => |factors| &factors.wide,
                2 => |factors| &factors.narrow,
                3 | 4 => {
                    add_vectors(vectors, stride, &mut column, weight);
                    add_vectors(vectors, stride, &mut column, bias);
                    continue;
                }
                _ => |factors| &factors.projections,
            };
            add_vectors(vectors, stride, &mut column, bias);
            let parts = factors.iter().map(linear).map(|linear| (&linear.outputs[place.saturating_sub(5)], &linear.inputs));
            let parts: Arc<[(&OutputStrips, &InputPanels)]> = parts.collect();
            // Tasks of some of the rows of the weight, which are columns of the gradient of what came out.
            let (inp, adds) = (trained.pair.weight.dims()[1], !weight.fresh);
            for (n, rows) in weight.values.chunks_mut(ROWS_A_TASK * inp).enumerate() {
                tasks.push((parts.clone(), n * ROWS_A_TASK, rows.len() / inp, adds, rows));
            }
        }
        tasks.into_par_iter().with_max_len(1).for_each(|(parts, first, out, adds, dw)| weight_gradient(&parts, first, out, adds, dw));
        let mut gradients = slot.lock();
        for (trained, buffers) in taken {
            for (slot, buffer) in trained.slots.iter().flatten().zip(buffers) {
                gradients.put(slot.index, buffer.values);
            }
        }
    }
}

/// Adds the vectors of all groups, each of which has `stride` numbers, from a column on that then moves behind them.
fn add_vectors(vectors: &[f32], stride: usize, column: &mut usize, buffer: &mut DenseBuffer) {
    if buffer.fresh {
        buffer.values.fill(0.0);
    }
    let length = buffer.values.len();
    for vectors in vectors.chunks_exact(stride) {
        add_into(&vectors[*column..][..length], &mut buffer.values);
    }
    *column += length;
}
