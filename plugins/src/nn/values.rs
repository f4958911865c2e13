//! The `f32` values of candle's tensors on the CPU, as slices.

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor};

/// Runs `read` on the values of a tensor, in row-major order.
///
/// # Errors
/// If the tensor is not `f32` on the CPU.
pub fn with<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => read(slice(storage, layout)?),
        _ => candle_core::bail!("this operation runs on the CPU only"),
    }
}

/// The values of a contiguous storage.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("this operation needs a contiguous tensor");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The length of a row.
pub(super) fn width(layout: &Layout) -> Result<usize> {
    layout.dims().last().copied().ok_or_else(|| candle_core::Error::Msg("a scalar has no rows".into()).bt())
}

/// A storage of its own and its shape.
pub(super) fn owned(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Values in the shape of a tensor.
pub(super) fn like(values: Vec<f32>, tensor: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, tensor.shape(), tensor.device())
}
