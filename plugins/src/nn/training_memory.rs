//! The memory of a training: buffers that go from step to step, so that only the first one allocates.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lmprobe_kernels::{InputPanels, OutputStrips, Precision, Rows, WeightPanels};

/// Buffers that nobody uses, by the width of their rows.
#[derive(Default)]
pub(super) struct BufferPool {
    free: Mutex<BTreeMap<usize, Vec<Vec<f32>>>>,
    allocations: AtomicUsize,
}

impl BufferPool {
    /// A buffer of `(rows, width)`, whose content has no meaning.
    pub(super) fn take(self: &Arc<Self>, rows: usize, width: usize) -> Buffer {
        let length = rows * width;
        let mut pool = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = pool.entry(width).or_default();
        let fits = free.iter().enumerate().filter(|(_, buffer)| buffer.len() >= length).min_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index);
        let values = if let Some(index) = fits {
            free.swap_remove(index)
        } else {
            // One that is too short makes room for the new one: there are never more than were in use at once.
            free.pop();
            self.allocations.fetch_add(1, Ordering::Relaxed);
            vec![0.0; length]
        };
        Buffer { values, length, width, pool: self.clone() }
    }

    /// How many buffers were allocated so far.
    #[cfg(test)]
    pub(super) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Relaxed)
    }

    /// How many buffers lie here unused.
    #[cfg(test)]
    pub(super) fn unused(&self) -> usize {
        self.free.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// A buffer that goes back to its pool.
pub(super) struct Buffer {
    values: Vec<f32>,
    length: usize,
    width: usize,
    pool: Arc<BufferPool>,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        pool.entry(self.width).or_default().push(std::mem::take(&mut self.values));
    }
}

/// What one pass works with, whichever block it is at.
#[derive(Default)]
pub(super) struct Workspace {
    /// The weights of a block.
    pub(super) projections: WeightPanels,
    pub(super) attention_output: WeightPanels,
    pub(super) wide: WeightPanels,
    pub(super) narrow: WeightPanels,
    /// What the gradients of the weights of a block are products of, for each group of sequences.
    pub(super) factors: Vec<Factors>,
    /// The gradient of what a block gives, then of what goes into it.
    pub(super) gradient: Vec<f32>,
    /// The gradients of gains and biases, for each group of sequences.
    pub(super) vectors: Vec<f32>,
}

/// What went into a linear layer, and the gradients of what came out: of several layers with the same input one after the other.
#[derive(Default)]
pub(super) struct LinearFactors {
    pub(super) inputs: InputPanels,
    pub(super) outputs: Vec<OutputStrips>,
}

/// Those of all linear layers of a block.
#[derive(Default)]
pub(super) struct Factors {
    pub(super) projections: LinearFactors,
    pub(super) attention_output: LinearFactors,
    pub(super) wide: LinearFactors,
    pub(super) narrow: LinearFactors,
}

impl LinearFactors {
    /// Makes room for rows of inputs and of outputs of these widths.
    pub(super) fn prepare(&mut self, rows: usize, inp: usize, outs: &[usize], precision: Precision) {
        self.inputs.prepare(rows, inp, precision);
        self.outputs.resize_with(outs.len(), OutputStrips::new);
        for (outputs, out) in self.outputs.iter_mut().zip(outs) {
            outputs.prepare(rows, *out, precision);
        }
    }

    /// Takes the gradients of `n` rows of outputs, which lie side by side in `dy`.
    pub(super) fn put_gradients(&mut self, first: usize, dy: &[f32], widths: &[usize], n: usize) {
        let stride = widths.iter().sum();
        let mut column = 0;
        for (outputs, width) in self.outputs.iter_mut().zip(widths) {
            outputs.put(first, Rows { values: dy.get(column..).unwrap_or_default(), stride }, n);
            column += width;
        }
    }
}

/// Workspaces that no pass uses. Passes may run at the same time, each with its own.
#[derive(Default)]
pub(super) struct Workspaces(Mutex<Vec<Workspace>>);

impl Workspaces {
    /// Runs a pass with a workspace.
    pub(super) fn with<T>(&self, pass: impl FnOnce(&mut Workspace) -> T) -> T {
        // Not locked meanwhile: a thread that waits for its own tasks may be given another pass.
        let workspace = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = workspace.unwrap_or_default();
        let result = pass(&mut workspace);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        result
    }
}

/// A buffer of this length; what it held does not matter.
pub(super) fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_is_used_again() {
        let pool = Arc::new(BufferPool::default());
        let address = pool.take(4, 3).as_ptr();
        assert_eq!(pool.take(3, 3).as_ptr(), address);
        assert_eq!((pool.allocations(), pool.unused()), (1, 1));
        // A longer one takes the place of the one that is too short.
        assert_eq!(pool.take(5, 3).len(), 15);
        assert_eq!((pool.allocations(), pool.unused()), (2, 1));
        let (one, other) = (pool.take(1, 3), pool.take(1, 2));
        assert_eq!((one.len(), other.len(), pool.allocations()), (3, 2, 3));
    }
}
