//! The forward pass of the blocks of a network that is trained.

use std::cell::Cell;

use candle_core::{Device, Result, Tensor};
use lmprobe_kernels::{AttentionDropout, Dropout, Epilogue, Norm, Scratch, activate_rows, add_into, attention_merged, attention_probabilities, dropout_rows};
use rayon::prelude::*;

use super::inference_blocks::NormPlace;
use super::training_blocks::{BlockWeights, Blocks, Group, Kept, Pass, attention_shape, cut};
use super::training_memory::{Workspace, sized};

/// Rows that go through the feed-forward part together, so that its wide middle stays in the second-level cache.
pub(super) const FEED_FORWARD_ROWS: usize = 96;

/// Rows that go from one operation to the next in the nearest cache. It is even.
pub(super) const ROWS: usize = 8;

/// What a thread keeps between groups.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) x: Vec<f32>,
    pub(super) context: Vec<f32>,
    pub(super) normed: Vec<f32>,
    pub(super) wide: Vec<f32>,
    pub(super) sum: Vec<f32>,
    pub(super) projected: Vec<f32>,
    pub(super) scratch: Scratch,
}

thread_local! {
    static BUFFERS: Cell<Buffers> = Cell::default();
}

/// Runs a task with the buffers of this thread. They are taken out for its time: whatever else the thread is given meanwhile finds empty ones.
pub(super) fn with_buffers<T>(task: impl FnOnce(&mut Buffers) -> T) -> T {
    let mut buffers = BUFFERS.take();
    let result = task(&mut buffers);
    BUFFERS.set(buffers);
    result
}

/// What one group gets of everything, `(tokens of the group, width)`.
struct Task<'a> {
    group: &'a Group,
    /// The residual stream that comes in, or what is normalised into it.
    before: &'a [f32],
    projected: &'a mut [f32],
    attended: &'a mut [f32],
    wide: &'a mut [f32],
    narrow: &'a mut [f32],
    /// The state behind the block, if it is wanted.
    state: Option<&'a mut [f32]>,
}

/// `sum = residual + dropout(sum)` and `normed = norm(sum)`, a few rows at a time.
fn add_and_norm(sum: &mut [f32], residual: &[f32], dropout: Option<(Dropout, usize)>, norm: Option<Norm>, width: usize, normed: &mut [f32]) {
    let piece = ROWS * width;
    for (index, (sum, residual)) in sum.chunks_mut(piece).zip(residual.chunks(piece)).enumerate() {
        if let Some((dropout, first)) = dropout {
            dropout_rows(dropout, first + index * piece, sum);
        }
        add_into(residual, sum);
        if let Some(norm) = norm {
            norm.rows(sum, &mut normed[index * piece..][..sum.len()]);
        }
    }
}

impl Blocks {
    /// Runs the first blocks of `weights` on `embedded` and writes the wanted states. What the backward pass needs is returned if `keeps`.
    pub(super) fn forward(
        &self,
        weights: &[BlockWeights],
        pass: &Pass,
        embedded: &[f32],
        keeps: bool,
        workspace: &mut Workspace,
        states: &mut [f32],
    ) -> Result<(Vec<Kept>, Vec<Vec<Tensor>>)> {
        let h = self.shape.hidden;
        let mut kept: Vec<Kept> = Vec::new();
        let mut attentions = Vec::new();
        let mut states = states.chunks_exact_mut((pass.tokens * h).max(1));
        for (index, block) in weights.iter().enumerate() {
            self.pack(block, workspace);
            let take = |width: usize| self.pool.take(pass.tokens, width);
            let mut own = Kept { projected: take(3 * h), attended: take(h), wide: take(self.intermediate), narrow: take(h) };
            let state = pass.place(index).and_then(|_| states.next());
            let before = kept.last().map_or(embedded, |kept| &kept.narrow);
            let mut tasks: Vec<Task> = pass.groups.iter().map(|group| Task::of(group, group.rows(before, h))).collect();
            deal(&mut tasks, cut(&pass.groups, 3 * h, &mut own.projected), |task, part| task.projected = part);
            deal(&mut tasks, cut(&pass.groups, h, &mut own.attended), |task, part| task.attended = part);
            deal(&mut tasks, cut(&pass.groups, self.intermediate, &mut own.wide), |task, part| task.wide = part);
            deal(&mut tasks, cut(&pass.groups, h, &mut own.narrow), |task, part| task.narrow = part);
            if let Some(state) = state {
                deal(&mut tasks, cut(&pass.groups, h, state), |task, part| task.state = Some(part));
            }
            let workspace = &*workspace;
            tasks.into_par_iter().with_max_len(1).for_each(|task| with_buffers(|buffers| self.forward_group(index, weights, pass, workspace, task, buffers)));
            if pass.attentions {
                attentions.push(self.probabilities(pass, &own.projected)?);
            }
            if !keeps {
                kept.clear();
            }
            kept.push(own);
        }
        Ok((kept, attentions))
    }

    fn pack(&self, block: &BlockWeights, workspace: &mut Workspace) {
        let (h, precision) = (self.shape.hidden, self.shape.precision);
        workspace.projections.pack(&block.projections, h, precision);
        workspace.attention_output.pack(&[block.attention_output], h, precision);
        workspace.wide.pack(&[block.wide], h, precision);
        workspace.narrow.pack(&[block.narrow], self.intermediate, precision);
    }

    /// What goes into the projections of a block: of the state that comes in, or of the sum that becomes it.
    pub(super) fn input_norm<'a>(&self, weights: &[BlockWeights<'a>], index: usize) -> Option<Norm<'a>> {
        match self.shape.norms {
            NormPlace::Behind => index.checked_sub(1).map(|before| weights[before].feed_forward_norm),
            NormPlace::Before => Some(weights[index].attention_norm),
        }
    }

    /// What goes into the feed-forward part: of the residual stream behind the attention.
    pub(super) fn middle_norm<'a>(&self, block: &BlockWeights<'a>) -> Norm<'a> {
        match self.shape.norms {
            NormPlace::Behind => block.attention_norm,
            NormPlace::Before => block.feed_forward_norm,
        }
    }

    /// The dropout of the attention of a group.
    pub(super) fn attention_dropout(&self, pass: &Pass, index: usize, group: &Group) -> Option<AttentionDropout> {
        pass.dropout(self.rates.attention, index, 0).map(|dropout| AttentionDropout { dropout, first_group: group.dropout_groups })
    }

    fn forward_group(&self, index: usize, weights: &[BlockWeights], pass: &Pass, workspace: &Workspace, task: Task, buffers: &mut Buffers) {
        let Task { group, before, projected, attended, wide, narrow, state } = task;
        let Buffers { x, context, normed, wide: activated, scratch, .. } = buffers;
        let (h, i, behind) = (self.shape.hidden, self.intermediate, self.shape.norms == NormPlace::Behind);
        let rows = group.tokens();
        let x = match self.input_norm(weights, index) {
            Some(norm) => {
                let x = sized(x, rows * h);
                norm.rows(before, x);
                &*x
            }
            None => before,
        };
        workspace.projections.apply(x, rows, Epilogue::None, scratch, projected);
        let context = sized(context, rows * h);
        attention_merged(projected, attention_shape(self.shape, &group.offsets), self.attention_dropout(pass, index, group), scratch, context);
        workspace.attention_output.apply(context, rows, Epilogue::None, scratch, attended);
        let normed = sized(normed, rows * h);
        let element = group.first * h;
        let dropout = pass.dropout(self.rates.attended, index, 1).map(|dropout| (dropout, element));
        add_and_norm(attended, if behind { x } else { before }, dropout, Some(self.middle_norm(&weights[index])), h, normed);

        let dropout = pass.dropout(self.rates.activation, index, 3);
        let narrow_dropout = pass.dropout(self.rates.narrow, index, 2);
        let mut state = state;
        for first in (0..rows).step_by(FEED_FORWARD_ROWS) {
            let end = rows.min(first + FEED_FORWARD_ROWS);
            let (normed, wide, narrow) = (&normed[first * h..end * h], &mut wide[first * i..end * i], &mut narrow[first * h..end * h]);
            workspace.wide.apply(normed, end - first, Epilogue::None, scratch, wide);
            let activated = sized(activated, wide.len());
            activate_rows(self.shape.activation, wide, activated);
            if let Some(dropout) = dropout {
                dropout_rows(dropout, (group.first + first) * i, activated);
            }
            workspace.narrow.apply(activated, end - first, Epilogue::None, scratch, narrow);
            let dropout = narrow_dropout.map(|dropout| (dropout, element + first * h));
            let residual = if behind { normed } else { &attended[first * h..end * h] };
            add_and_norm(narrow, residual, dropout, None, h, &mut []);
            if let Some(state) = state.as_deref_mut() {
                let state = &mut state[first * h..end * h];
                if behind { weights[index].feed_forward_norm.rows(narrow, state) } else { state.copy_from_slice(narrow) }
            }
        }
    }

    /// The attention probabilities of each sequence, `(heads, query, key)`.
    fn probabilities(&self, pass: &Pass, projected: &[f32]) -> Result<Vec<Tensor>> {
        let h = self.shape.hidden;
        let mut tensors = Vec::new();
        for group in &pass.groups {
            let rows = group.rows(projected, 3 * h);
            let part = |n: usize| -> Vec<f32> { rows.chunks_exact(3 * h).flat_map(|row| &row[n * h..(n + 1) * h]).copied().collect() };
            let blocks = attention_probabilities(&part(0), &part(1), attention_shape(self.shape, &group.offsets));
            for (ends, block) in group.offsets.windows(2).zip(blocks) {
                let length = ends[1] - ends[0];
                tensors.push(Tensor::from_vec(block, (self.shape.heads, length, length), &Device::Cpu)?);
            }
        }
        Ok(tensors)
    }
}

impl<'a> Task<'a> {
    fn of(group: &'a Group, before: &'a [f32]) -> Self {
        Self { group, before, projected: &mut [], attended: &mut [], wide: &mut [], narrow: &mut [], state: None }
    }
}

/// Gives each task its part.
pub(super) fn deal<T, P>(tasks: &mut [T], parts: Vec<P>, give: impl Fn(&mut T, P)) {
    tasks.iter_mut().zip(parts).for_each(|(task, part)| give(task, part));
}
