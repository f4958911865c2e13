//! The gradients of a step: one sum a variable, in memory that is kept from step to step.

use candle_core::backprop::GradStore;
use candle_core::{Device, Storage, Tensor};
use rayon::prelude::*;

use crate::{Error, Result, Variable};

/// Numbers whose squares one task sums: the norm is then the same for any number of threads.
const PIECE: usize = 1 << 16;

/// The gradient of a loss by every variable of a model, summed over the passes since [`Self::clear`].
///
/// An operation of the model may add to it while candle goes back through its graph; what candle's graph itself gives is added with [`Self::add_store`].
/// A variable that no loss reached has no gradient, which is not the same as one of 0.
#[derive(Debug, Default)]
pub struct Gradients {
    slots: Vec<Slot>,
}

/// What is held for one variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Dense,
    Rows,
}

#[derive(Debug)]
struct Slot {
    held: Held,
    elements: usize,
    /// Length of a row, for a variable of two dimensions.
    width: usize,
    /// All elements if dense, else the rows of `indices` one after the other.
    values: Vec<f32>,
    indices: Vec<u32>,
    /// Where in `indices` a row stands, from 1; 0 is nowhere. Empty as long as no row was added.
    places: Vec<u32>,
}

/// The gradient of one variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gradient<'a> {
    /// All elements, row-major.
    Dense(&'a [f32]),
    /// Some rows of a matrix, all others being 0: the gradient of an embedding.
    Rows {
        /// Which rows, each once, in the order they were first met.
        indices: &'a [u32],
        /// `(indices, width)`.
        values: &'a [f32],
        /// Length of a row.
        width: usize,
    },
}

/// The memory of a dense gradient, taken out to be written.
#[derive(Debug)]
pub struct DenseBuffer {
    /// As many elements as the variable has.
    pub values: Vec<f32>,
    /// Whether the content is meaningless and to be overwritten; else it is a sum to be added to.
    pub fresh: bool,
}

impl Gradients {
    /// No gradient yet, for these variables.
    pub fn new(variables: &[Variable]) -> Self {
        let slot = |variable: &Variable| {
            let dims = variable.var.dims();
            let (elements, width) = (variable.var.elem_count(), if dims.len() == 2 { dims[1] } else { 0 });
            Slot { held: Held::Nothing, elements, width, values: Vec::new(), indices: Vec::new(), places: Vec::new() }
        };
        Self { slots: variables.iter().map(slot).collect() }
    }

    /// Forgets all gradients and keeps their memory.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.forget_rows();
            slot.held = Held::Nothing;
        }
    }

    /// The gradient of a variable, if a loss reached it.
    pub fn get(&self, index: usize) -> Option<Gradient<'_>> {
        let slot = &self.slots[index];
        match slot.held {
            Held::Nothing => None,
            Held::Dense => Some(Gradient::Dense(&slot.values)),
            Held::Rows => Some(Gradient::Rows { indices: &slot.indices, values: &slot.values, width: slot.width }),
        }
    }

    /// All elements of the gradient of a variable, if a loss reached it.
    pub fn to_vec(&self, index: usize) -> Option<Vec<f32>> {
        Some(match self.get(index)? {
            Gradient::Dense(values) => values.to_vec(),
            Gradient::Rows { indices, values, width } => spread(self.slots[index].elements, indices, values, width),
        })
    }

    /// Takes out the buffer of a variable to write into; it must come back by [`Self::put`]. Until then the variable has no gradient.
    pub fn take(&mut self, index: usize) -> DenseBuffer {
        let slot = &mut self.slots[index];
        slot.make_dense();
        let fresh = slot.held == Held::Nothing;
        slot.held = Held::Nothing;
        let mut values = std::mem::take(&mut slot.values);
        values.resize(slot.elements, 0.0);
        DenseBuffer { values, fresh }
    }

    /// Gives a buffer back, which now is the gradient of the variable.
    ///
    /// # Panics
    /// If it has not as many elements as the variable.
    pub fn put(&mut self, index: usize, values: Vec<f32>) {
        let slot = &mut self.slots[index];
        assert!(values.len() == slot.elements, "a gradient of {} elements for a variable of {}", values.len(), slot.elements);
        slot.values = values;
        slot.held = Held::Dense;
    }

    /// Adds a gradient of all elements.
    ///
    /// # Errors
    /// If it is not `f32`, or has not as many elements as the variable.
    pub fn add_tensor(&mut self, index: usize, gradient: &Tensor) -> Result<()> {
        let elements = self.slots[index].elements;
        if gradient.elem_count() != elements {
            return Err(Error::Unsupported(format!("a gradient of shape {:?} for a variable of {elements} elements", gradient.dims())));
        }
        let gradient = gradient.to_device(&Device::Cpu)?.contiguous()?;
        let (storage, layout) = gradient.storage_and_layout();
        let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(Error::Unsupported("a gradient is not a contiguous tensor on the CPU".into()));
        };
        let from = &storage.as_slice::<f32>()?[start..end];
        let DenseBuffer { mut values, fresh } = self.take(index);
        if fresh {
            values.copy_from_slice(from);
        } else {
            values.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        }
        self.put(index, values);
        Ok(())
    }

    /// Adds the gradient of some rows of a matrix: `values (rows, width)`. A row may come more than once.
    ///
    /// # Panics
    /// If the variable is no matrix, a row is not in it, or `values` has another length.
    pub fn add_rows(&mut self, index: usize, rows: &[u32], values: &[f32]) {
        let slot = &mut self.slots[index];
        let width = slot.width;
        assert!(width > 0, "only a matrix has rows");
        assert!(values.len() == rows.len() * width, "{} values are not {} rows of {width}", values.len(), rows.len());
        if slot.held == Held::Nothing {
            slot.held = Held::Rows;
            slot.values.clear();
        }
        slot.places.resize(slot.elements / width, 0);
        for (&row, values) in rows.iter().zip(values.chunks_exact(width)) {
            let first = match slot.held {
                Held::Dense => row as usize * width,
                _ => slot.place(row) * width,
            };
            slot.values[first..first + width].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Adds what candle's graph gave for these variables, which are those of [`Self::new`].
    ///
    /// # Errors
    /// As [`Self::add_tensor`].
    pub fn add_store(&mut self, variables: &[Variable], store: &GradStore) -> Result<()> {
        for (index, variable) in variables.iter().enumerate() {
            if let Some(gradient) = store.get(variable.var.as_tensor()) {
                self.add_tensor(index, gradient)?;
            }
        }
        Ok(())
    }

    /// The Euclidean norm over all gradients, summed in `f64` in an order that no number of threads changes.
    pub fn norm(&self) -> f64 {
        let square = |values: &[f32]| values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        let mut sum = 0.0;
        for slot in self.slots.iter().filter(|slot| slot.held != Held::Nothing) {
            sum += slot.values.par_chunks(PIECE).map(square).collect::<Vec<f64>>().iter().sum::<f64>();
        }
        sum.sqrt()
    }
}

impl Slot {
    /// The position of a row among those held; a new one is 0.
    fn place(&mut self, row: u32) -> usize {
        let place = &mut self.places[row as usize];
        if *place == 0 {
            self.indices.push(row);
            self.values.resize(self.indices.len() * self.width, 0.0);
            *place = u32::try_from(self.indices.len()).expect("a matrix has fewer than 2^32 rows");
        }
        *place as usize - 1
    }

    fn forget_rows(&mut self) {
        for row in self.indices.drain(..) {
            self.places[row as usize] = 0;
        }
    }

    /// Spreads rows over all elements.
    fn make_dense(&mut self) {
        if self.held != Held::Rows {
            return;
        }
        self.values = spread(self.elements, &self.indices, &self.values, self.width);
        self.held = Held::Dense;
        self.forget_rows();
    }
}

/// A matrix of so many elements that is 0 outside of some rows.
fn spread(elements: usize, rows: &[u32], values: &[f32], width: usize) -> Vec<f32> {
    let mut dense = vec![0.0; elements];
    for (row, values) in rows.iter().zip(values.chunks_exact(width)) {
        dense[*row as usize * width..][..width].copy_from_slice(values);
    }
    dense
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    fn gradients() -> Gradients {
        let var = |dims: (usize, usize)| Var::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap();
        let variable = |name: &str, dims| Variable { name: name.into(), var: var(dims), is_bias_or_norm: false };
        Gradients::new(&[variable("table", (4, 2)), variable("weight", (1, 3))])
    }

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn dense(gradients: &Gradients, index: usize) -> Vec<f32> {
        match gradients.get(index) {
            Some(Gradient::Dense(values)) => values.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_variable_that_was_not_reached_has_no_gradient() {
        let mut gradients = gradients();
        assert_eq!(gradients.get(1), None);
        gradients.add_tensor(1, &tensor(&[0.0, 0.0, 0.0])).unwrap();
        assert_eq!(gradients.get(1), Some(Gradient::Dense(&[0.0; 3])));
        gradients.clear();
        assert_eq!(gradients.get(1), None);
    }

    #[test]
    fn gradients_are_summed_until_they_are_cleared() {
        let mut gradients = gradients();
        for _ in 0..2 {
            gradients.add_tensor(1, &tensor(&[1.0, 2.0, 3.0])).unwrap();
        }
        assert_eq!(dense(&gradients, 1), [2.0, 4.0, 6.0]);
        assert!((gradients.norm() - 56.0f64.sqrt()).abs() < 1e-12);
        gradients.clear();
        gradients.add_tensor(1, &tensor(&[1.0, 0.0, 0.0])).unwrap();
        assert_eq!(dense(&gradients, 1), [1.0, 0.0, 0.0]);
        let message = gradients.add_tensor(1, &tensor(&[1.0])).unwrap_err().to_string();
        assert!(message.contains("a gradient of shape [1] for a variable of 3 elements"), "{message}");
    }

    #[test]
    fn rows_are_summed_by_row_and_stay_few() {
        let mut gradients = gradients();
        gradients.add_rows(0, &[3, 1, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(gradients.get(0), Some(Gradient::Rows { indices: &[3, 1], values: &[6.0, 8.0, 3.0, 4.0], width: 2 }));
        assert_eq!(gradients.to_vec(0).unwrap(), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
        gradients.clear();
        gradients.add_rows(0, &[1], &[1.0, 1.0]);
        assert_eq!(gradients.get(0), Some(Gradient::Rows { indices: &[1], values: &[1.0, 1.0], width: 2 }));
    }

    #[test]
    fn rows_and_a_dense_gradient_add_up_in_either_order() {
        let all = tensor(&[1.0; 8]);
        let (mut one, mut other) = (gradients(), gradients());
        one.add_rows(0, &[2, 0], &[5.0, 6.0, 7.0, 8.0]);
        one.add_tensor(0, &all).unwrap();
        other.add_tensor(0, &all).unwrap();
        other.add_rows(0, &[2, 0], &[5.0, 6.0, 7.0, 8.0]);
        assert_eq!(dense(&one, 0), [8.0, 9.0, 1.0, 1.0, 6.0, 7.0, 1.0, 1.0]);
        assert_eq!(dense(&one, 0), dense(&other, 0));
        // Rows of before are forgotten.
        one.clear();
        one.add_rows(0, &[2], &[1.0, 1.0]);
        assert_eq!(one.get(0), Some(Gradient::Rows { indices: &[2], values: &[1.0, 1.0], width: 2 }));
    }

    #[test]
    fn a_buffer_is_taken_and_given_back() {
        let mut gradients = gradients();
        let buffer = gradients.take(1);
        assert!(buffer.fresh && gradients.get(1).is_none());
        gradients.put(1, vec![1.0, 2.0, 3.0]);
        let DenseBuffer { values, fresh } = gradients.take(1);
        assert!(!fresh);
        assert_eq!(values, [1.0, 2.0, 3.0]);
        let address = values.as_ptr();
        gradients.put(1, values);
        gradients.clear();
        assert_eq!(gradients.take(1).values.as_ptr(), address); // the memory is the same one
    }

    #[test]
    fn the_norm_does_not_depend_on_the_number_of_threads() {
        let n = 3 * PIECE + 17;
        let var = Var::zeros(n, candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut gradients = Gradients::new(&[Variable { name: "w".into(), var, is_bias_or_norm: false }]);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        gradients.put(0, (0..n).map(|index| (index % 1013) as f32 * 0.37).collect());
        let norm = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| gradients.norm());
        assert_eq!(norm(1).to_bits(), norm(3).to_bits());
    }
}
