//! Weight and bias by name.

use std::collections::BTreeMap;

use candle_core::Tensor;
use lmprobe_core::{Error, Result};

use super::gradient_sink::{GradientSink, GradientSlot};
use super::ops;

/// Weight and bias of a linear map or a layer normalisation.
pub struct Pair {
    /// `(outputs, inputs)` of a linear map, `(width)` of a normalisation.
    pub weight: Tensor,
    /// `(outputs)` or `(width)`.
    pub bias: Tensor,
}

impl Pair {
    /// `x (rows, inputs)` to `(rows, outputs)`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn linear(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::linear(x, &self.weight, &self.bias)?)
    }

    /// Layer normalisation of rows.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn norm(&self, x: &Tensor, eps: f32) -> Result<Tensor> {
        Ok(ops::layer_norm(x, &self.weight, &self.bias, eps)?)
    }
}

/// A table of which tokens choose rows.
pub struct Table {
    /// `(rows, width)`.
    pub rows: Tensor,
    /// Where its gradient goes, if not on candle's tape.
    pub slot: Option<GradientSlot>,
}

impl Table {
    /// A table by name.
    ///
    /// # Errors
    /// If it is missing.
    pub fn of(tensors: Tensors<'_>, name: &str, sink: Option<&GradientSink>) -> Result<Self> {
        Ok(Self { rows: tensors.get(name)?, slot: sink.map(|sink| sink.slot(name)).transpose()? })
    }

    /// Rows by index, `(indices, width)`.
    ///
    /// # Errors
    /// If an index is not a row.
    pub fn gather(&self, indices: &[u32]) -> Result<Tensor> {
        Ok(ops::gather_into(&self.rows, indices, self.slot.as_ref())?)
    }
}

/// Tensors by name.
#[derive(Clone, Copy)]
pub struct Tensors<'a>(pub &'a BTreeMap<String, Tensor>);

impl Tensors<'_> {
    /// One tensor.
    ///
    /// # Errors
    /// If it is missing.
    pub fn get(self, name: &str) -> Result<Tensor> {
        self.0.get(name).cloned().ok_or_else(|| Error::Unsupported(format!("tensor `{name}` is missing")))
    }

    /// `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// If one is missing.
    pub fn pair(self, name: &str) -> Result<Pair> {
        Ok(Pair { weight: self.get(&format!("{name}.weight"))?, bias: self.get(&format!("{name}.bias"))? })
    }
}
