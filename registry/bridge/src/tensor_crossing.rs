//! Tensors in both directions: borrowed or owned on the way to a plugin, checked and copied on the way from one.

use std::ffi::c_void;
use std::ptr;

use lmprobe_abi::{
    DLDataType, DLDevice, DLManagedTensorVersioned, DLPACK_CPU, DLPACK_FLOAT, DLPACK_INT, DLPACK_MAJOR, DLPACK_MINOR, DLPACK_READ_ONLY, DLPACK_UINT,
    DLPackVersion, DLTensor, lmprobe_named_tensor, lmprobe_str, lmprobe_tensors,
};
use lmprobe_core::candle_core::{DType, Device, Tensor};
use lmprobe_core::{Error, Result};
use lmprobe_loader::OwnedTensors;
use lmprobe_loader::tensor_check::{TensorError, TensorView, Values};

use crate::request::{NamedTensor, TensorValues};

/// Text that outlives the call it is passed to.
pub(crate) fn borrowed(text: &str) -> lmprobe_str {
    lmprobe_str { ptr: text.as_ptr(), len: text.len() }
}

fn element(values: &TensorValues) -> (DLDataType, *const c_void) {
    let (code, bits, data) = match values {
        TensorValues::F32(values) => (DLPACK_FLOAT, 32, values.as_ptr().cast()),
        TensorValues::I64(values) => (DLPACK_INT, 64, values.as_ptr().cast()),
        TensorValues::U32(values) => (DLPACK_UINT, 32, values.as_ptr().cast()),
        TensorValues::U8(values) => (DLPACK_UINT, 8, values.as_ptr().cast()),
    };
    (DLDataType { code, bits, lanes: 1 }, data)
}

/// The sizes of a tensor and its compact row-major steps.
fn layout(tensor: &NamedTensor) -> Vec<i64> {
    let sizes: Vec<i64> = tensor.shape.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
    let mut strides = vec![1; sizes.len()];
    for dimension in (1..sizes.len()).rev() {
        strides[dimension - 1] = strides[dimension] * sizes[dimension].max(1);
    }
    [sizes, strides].concat()
}

/// A struct that points at the tensor's values and at `layout`, its sizes followed by its strides.
fn managed(
    tensor: &NamedTensor,
    layout: *mut i64,
    context: *mut c_void,
    deleter: unsafe extern "C" fn(*mut DLManagedTensorVersioned),
) -> DLManagedTensorVersioned {
    let (dtype, data) = element(&tensor.values);
    let rank = tensor.shape.len();
    DLManagedTensorVersioned {
        version: DLPackVersion { major: DLPACK_MAJOR, minor: DLPACK_MINOR },
        manager_ctx: context,
        deleter: Some(deleter),
        flags: DLPACK_READ_ONLY,
        dl_tensor: DLTensor {
            data: data.cast_mut(),
            device: DLDevice { device_type: DLPACK_CPU, device_id: 0 },
            ndim: i32::try_from(rank).unwrap_or(i32::MAX),
            dtype,
            shape: layout,
            // SAFETY: `layout` holds the sizes and behind them as many strides.
            strides: unsafe { layout.add(rank) },
            byte_offset: 0,
        },
    }
}

/// Tensors lent for one call.
pub(crate) struct Lent<'a> {
    /// For the plugin; points at the fields below.
    pub(crate) items: Vec<lmprobe_named_tensor>,
    _tensors: Vec<DLManagedTensorVersioned>,
    _layouts: Vec<Vec<i64>>,
    _owner: std::marker::PhantomData<&'a [NamedTensor]>,
}

/// Lends tensors; they must outlive the call.
pub(crate) fn lend(tensors: &[NamedTensor]) -> Lent<'_> {
    /// A plugin has no business with the deleter of a borrowed tensor; calling it does nothing.
    unsafe extern "C" fn keep(_: *mut DLManagedTensorVersioned) {}

    let mut layouts: Vec<Vec<i64>> = tensors.iter().map(layout).collect();
    let mut managed_tensors: Vec<DLManagedTensorVersioned> =
        tensors.iter().zip(&mut layouts).map(|(tensor, layout)| managed(tensor, layout.as_mut_ptr(), ptr::null_mut(), keep)).collect();
    let items = tensors
        .iter()
        .zip(&mut managed_tensors)
        .map(|(tensor, managed)| lmprobe_named_tensor { name: borrowed(&tensor.name), tensor: ptr::from_mut(managed) })
        .collect();
    Lent { items, _tensors: managed_tensors, _layouts: layouts, _owner: std::marker::PhantomData }
}

/// What an owned tensor's struct keeps alive.
struct Kept {
    _tensor: NamedTensor,
    _layout: Vec<i64>,
}

/// Gives tensors away: the receiver calls each deleter, and the list's release.
pub(crate) fn give(tensors: Vec<NamedTensor>) -> lmprobe_tensors {
    /// Frees a tensor that [`give`] made.
    unsafe extern "C" fn delete(tensor: *mut DLManagedTensorVersioned) {
        // SAFETY: made by `Box::into_raw` in `give`, and a deleter is called once.
        let tensor = unsafe { Box::from_raw(tensor) };
        // SAFETY: likewise.
        drop(unsafe { Box::from_raw(tensor.manager_ctx.cast::<Kept>()) });
    }
    /// Frees the list and the names.
    unsafe extern "C" fn release(list: *mut lmprobe_tensors) {
        // SAFETY: the caller passes a live list, once; it sets `release` to null here.
        let list = unsafe { &mut *list };
        list.release = None;
        // SAFETY: made by `Box::into_raw` in `give`.
        drop(unsafe { Box::from_raw(list.ctx.cast::<(Vec<String>, Vec<lmprobe_named_tensor>)>()) });
        (list.items, list.len, list.ctx) = (ptr::null_mut(), 0, ptr::null_mut());
    }

    let (mut names, mut items) = (Vec::with_capacity(tensors.len()), Vec::with_capacity(tensors.len()));
    for tensor in tensors {
        names.push(tensor.name.clone());
        let mut layout = layout(&tensor);
        let pointer = layout.as_mut_ptr();
        let mut managed = managed(&tensor, pointer, ptr::null_mut(), delete);
        // Moving the vectors into the box moves no value that `managed` points at.
        managed.manager_ctx = Box::into_raw(Box::new(Kept { _tensor: tensor, _layout: layout })).cast();
        items.push(lmprobe_named_tensor { name: borrowed(names.last().map_or("", String::as_str)), tensor: Box::into_raw(Box::new(managed)) });
    }
    let len = items.len();
    let mut kept = Box::new((names, items));
    lmprobe_tensors { items: kept.1.as_mut_ptr(), len, ctx: Box::into_raw(kept).cast(), release: Some(release) }
}

/// Copies the tensors of a plugin.
///
/// # Errors
/// If one is malformed; the message names it.
pub(crate) fn copies(tensors: &OwnedTensors) -> Result<Vec<NamedTensor>, TensorError> {
    let copy = |(name, view): (String, TensorView<'_>)| {
        let values = match view.values {
            Values::F32(values) => TensorValues::F32(values.to_vec()),
            Values::I64(values) => TensorValues::I64(values.to_vec()),
            Values::U32(values) => TensorValues::U32(values.to_vec()),
            Values::U8(values) => TensorValues::U8(values.to_vec()),
        };
        NamedTensor { name, shape: view.shape, values }
    };
    Ok(tensors.views()?.into_iter().map(copy).collect())
}

impl NamedTensor {
    /// A copy of a tensor of this program.
    ///
    /// # Errors
    /// If its values cannot be read or have a type that does not cross.
    pub fn of(name: impl Into<String>, tensor: &Tensor) -> Result<Self> {
        let flat = tensor.flatten_all()?;
        let values = match tensor.dtype() {
            DType::F32 => TensorValues::F32(flat.to_vec1()?),
            DType::I64 => TensorValues::I64(flat.to_vec1()?),
            DType::U32 => TensorValues::U32(flat.to_vec1()?),
            DType::U8 => TensorValues::U8(flat.to_vec1()?),
            other => return Err(Error::Unsupported(format!("tensors of {other:?} do not cross to a plugin"))),
        };
        Ok(Self { name: name.into(), shape: tensor.dims().to_vec(), values })
    }

    /// The tensor for this program.
    ///
    /// # Errors
    /// If shape and values do not fit.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let shape = self.shape.as_slice();
        Ok(match &self.values {
            TensorValues::F32(values) => Tensor::from_slice(values, shape, &Device::Cpu)?,
            TensorValues::I64(values) => Tensor::from_slice(values, shape, &Device::Cpu)?,
            TensorValues::U32(values) => Tensor::from_slice(values, shape, &Device::Cpu)?,
            TensorValues::U8(values) => Tensor::from_slice(values, shape, &Device::Cpu)?,
        })
    }

    /// The values, if they are 32-bit floats.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            TensorValues::F32(values) => Some(values),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<NamedTensor> {
        vec![
            NamedTensor { name: "states".into(), shape: vec![2, 1, 3], values: TensorValues::F32(vec![1.0, -0.0, f32::INFINITY, 4.0, f32::MIN_POSITIVE, 6.0]) },
            NamedTensor { name: "offsets".into(), shape: vec![3], values: TensorValues::I64(vec![0, -1, i64::MAX]) },
            NamedTensor { name: "ids".into(), shape: vec![], values: TensorValues::U32(vec![7]) },
            NamedTensor { name: "nothing".into(), shape: vec![0, 5], values: TensorValues::U8(vec![]) },
        ]
    }

    #[test]
    fn tensors_come_back_as_they_went() {
        // SAFETY: the list was just made, and nobody else releases it.
        let owned = unsafe { OwnedTensors::from_raw(give(tensors())) };
        assert_eq!(copies(&owned).unwrap(), tensors());
    }

    #[test]
    fn what_is_lent_points_at_the_values() {
        let tensors = tensors();
        let lent = lend(&tensors);
        assert_eq!(lent.items.len(), 4);
        // SAFETY: the tensor is lent for as long as `lent` lives.
        let first = unsafe { &*lent.items[0].tensor };
        assert_eq!(first.flags, DLPACK_READ_ONLY);
        // SAFETY: it has three dimensions.
        let (shape, strides) = unsafe { (std::slice::from_raw_parts(first.dl_tensor.shape, 3), std::slice::from_raw_parts(first.dl_tensor.strides, 3)) };
        assert_eq!((shape, strides), (&[2, 1, 3][..], &[3, 3, 1][..]));
        let TensorValues::F32(values) = &tensors[0].values else { unreachable!() };
        assert_eq!(first.dl_tensor.data.cast_const().cast(), values.as_ptr());
    }

    #[test]
    fn tensors_of_the_program_keep_shape_and_values() {
        let tensor = Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap().t().unwrap();
        let named = NamedTensor::of("x", &tensor).unwrap();
        assert_eq!(named.floats().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(named.to_tensor().unwrap().to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        let double = Tensor::new(&[1.0f64], &Device::Cpu).unwrap();
        assert!(NamedTensor::of("x", &double).unwrap_err().to_string().contains("do not cross"));
    }
}
