//! Tensors across the border: DLPack, compact, in main memory.

use std::ptr;
use std::sync::Arc;

use lmprobe_abi as abi;

use crate::boundary::buffer::{Buffer, Foreign};
use crate::tensor::{TensorValues, ViewValues};
use crate::{Error, Result, Tensor};

/// What a managed tensor points to.
struct Managed {
    tensor: abi::DLManagedTensorVersioned,
    shape: Vec<i64>,
    strides: Vec<i64>,
    _kept: TensorValues,
}

/// Hands a tensor over; its deleter frees it.
pub(crate) fn give(tensor: Tensor) -> *mut abi::DLManagedTensorVersioned {
    let Tensor { shape, values } = tensor;
    let shape: Vec<i64> = shape.into_iter().map(|size| i64::try_from(size).expect("no allocation is longer than 2^63")).collect();
    let mut strides = vec![1i64; shape.len()];
    for dimension in (1..shape.len()).rev() {
        strides[dimension - 1] = strides[dimension] * shape[dimension].max(1);
    }
    let (data, code, bits, foreign): (*const u8, u8, u8, bool) = match &values {
        TensorValues::F32(values) => (values.as_ptr().cast(), abi::DLPACK_FLOAT, 32, values.is_foreign()),
        TensorValues::I64(values) => (values.as_ptr().cast(), abi::DLPACK_INT, 64, values.is_foreign()),
        TensorValues::U32(values) => (values.as_ptr().cast(), abi::DLPACK_UINT, 32, values.is_foreign()),
        TensorValues::U8(values) => (values.as_ptr(), abi::DLPACK_UINT, 8, values.is_foreign()),
    };
    let managed = Box::into_raw(Box::new(Managed {
        tensor: abi::DLManagedTensorVersioned {
            version: abi::DLPackVersion { major: abi::DLPACK_MAJOR, minor: abi::DLPACK_MINOR },
            manager_ctx: ptr::null_mut(),
            deleter: Some(delete),
            // What belongs to another side goes on as it came: not to be written.
            flags: if foreign { abi::DLPACK_READ_ONLY } else { 0 },
            dl_tensor: abi::DLTensor {
                data: data.cast_mut().cast(),
                device: abi::DLDevice { device_type: abi::DLPACK_CPU, device_id: 0 },
                ndim: i32::try_from(shape.len()).expect("at most 8 dimensions"),
                dtype: abi::DLDataType { code, bits, lanes: 1 },
                shape: ptr::null_mut(),
                strides: ptr::null_mut(),
                byte_offset: 0,
            },
        },
        shape,
        strides,
        _kept: values,
    }));
    // SAFETY: the pointer was just made, and nobody else has it.
    unsafe {
        (*managed).tensor.manager_ctx = managed.cast();
        (*managed).tensor.dl_tensor.shape = (*managed).shape.as_mut_ptr();
        (*managed).tensor.dl_tensor.strides = (*managed).strides.as_mut_ptr();
        &raw mut (*managed).tensor
    }
}

unsafe extern "C" fn delete(tensor: *mut abi::DLManagedTensorVersioned) {
    if !tensor.is_null() {
        // SAFETY: `give` made the struct, and the interface says that this is called once.
        unsafe { drop(Box::from_raw((*tensor).manager_ctx.cast::<Managed>())) };
    }
}

/// Takes over a tensor of the host: its deleter is called when the last user is gone, and at once if it is not what it should be.
///
/// # Safety
/// `tensor` is null or a living tensor that nobody else frees.
pub(crate) unsafe fn take(tensor: *mut abi::DLManagedTensorVersioned) -> Result<Tensor> {
    if tensor.is_null() {
        return Err(Error::input("the tensor is missing"));
    }
    let keep = Arc::new(Foreign::Tensor(tensor));
    // SAFETY: the tensor is alive as long as `keep`.
    unsafe {
        let Layout { shape, count, data, kind } = layout(tensor)?;
        let values = match kind {
            Kind::F32 => TensorValues::F32(Buffer::foreign(data.cast(), count, &keep)),
            Kind::I64 => TensorValues::I64(Buffer::foreign(data.cast(), count, &keep)),
            Kind::U32 => TensorValues::U32(Buffer::foreign(data.cast(), count, &keep)),
            Kind::U8 => TensorValues::U8(Buffer::foreign(data, count, &keep)),
        };
        Ok(Tensor { shape, values })
    }
}

/// Looks at a tensor that is lent for `'a`.
///
/// # Safety
/// `tensor` is null or alive for `'a`, and nobody writes to it.
pub(crate) unsafe fn lent<'a>(tensor: *const abi::DLManagedTensorVersioned) -> Result<(Vec<usize>, ViewValues<'a>)> {
    if tensor.is_null() {
        return Err(Error::input("the tensor is missing"));
    }
    // SAFETY: the caller holds what is asked for.
    unsafe {
        let Layout { shape, count, data, kind } = layout(tensor)?;
        let values = match kind {
            Kind::F32 => ViewValues::F32(slice(data.cast(), count)?),
            Kind::I64 => ViewValues::I64(slice(data.cast(), count)?),
            Kind::U32 => ViewValues::U32(slice(data.cast(), count)?),
            Kind::U8 => ViewValues::U8(slice(data, count)?),
        };
        Ok((shape, values))
    }
}

/// # Safety
/// Unless `count` is 0, that many values are readable at `data` for `'a`.
unsafe fn slice<'a, T>(data: *const T, count: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if !data.is_aligned() {
        return Err(Error::unsupported("the values of a tensor are not aligned"));
    }
    // SAFETY: the caller holds that the values are readable; the pointer is aligned and, as `layout` checked, not null.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

enum Kind {
    F32,
    I64,
    U32,
    U8,
}

struct Layout {
    shape: Vec<usize>,
    count: usize,
    data: *const u8,
    kind: Kind,
}

/// # Safety
/// `tensor` is alive.
unsafe fn layout(tensor: *const abi::DLManagedTensorVersioned) -> Result<Layout> {
    // SAFETY: the tensor is alive; of another major version only the version may be looked at.
    let (version, tensor) = unsafe { ((*tensor).version, &raw const (*tensor).dl_tensor) };
    if version.major != abi::DLPACK_MAJOR {
        return Err(Error::unsupported(format!("tensors of DLPack {} are not offered", version.major)));
    }
    // SAFETY: the version was checked.
    let tensor = unsafe { &*tensor };
    if tensor.device.device_type != abi::DLPACK_CPU {
        return Err(Error::unsupported(format!("tensors on a device of type {} are not offered", tensor.device.device_type)));
    }
    let kind = match (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes) {
        (abi::DLPACK_FLOAT, 32, 1) => Kind::F32,
        (abi::DLPACK_INT, 64, 1) => Kind::I64,
        (abi::DLPACK_UINT, 32, 1) => Kind::U32,
        (abi::DLPACK_UINT, 8, 1) => Kind::U8,
        (code, bits, lanes) => return Err(Error::unsupported(format!("values of type {code} with {bits} bits and {lanes} lanes are not offered"))),
    };
    let ndim = usize::try_from(tensor.ndim).ok().filter(|&ndim| ndim <= 8);
    let ndim = ndim.ok_or_else(|| Error::input(format!("a tensor has {} dimensions", tensor.ndim)))?;
    if ndim > 0 && tensor.shape.is_null() {
        return Err(Error::input("a tensor has no shape"));
    }
    // SAFETY: the shape, and the strides if there are any, have `ndim` entries.
    let (sizes, strides): (Vec<i64>, Option<Vec<i64>>) = unsafe {
        let read = |values: *const i64| (0..ndim).map(|dimension| *values.add(dimension)).collect::<Vec<_>>();
        (read(tensor.shape), (!tensor.strides.is_null()).then(|| read(tensor.strides)))
    };
    let shape: Option<Vec<usize>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
    let limit = isize::MAX as usize / 8;
    let count = shape.as_ref().and_then(|shape| shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size)));
    let (Some(shape), Some(count)) = (shape, count.filter(|&count| count <= limit)) else {
        return Err(Error::input(format!("a tensor has the shape {sizes:?}")));
    };
    if let Some(strides) = strides.filter(|_| count > 0) {
        let mut step = 1;
        for (&size, &stride) in sizes.iter().zip(&strides).rev() {
            if size != 1 && stride != step {
                return Err(Error::unsupported(format!("a tensor of the shape {sizes:?} with the strides {strides:?} is not compact")));
            }
            step *= size;
        }
    }
    if tensor.data.is_null() && count > 0 {
        return Err(Error::input("a tensor has no values"));
    }
    let start = usize::try_from(tensor.byte_offset).map_err(|_| Error::input("a tensor begins nowhere"))?;
    // SAFETY: a tensor's values begin so many bytes into its allocation.
    let data = if count == 0 { tensor.data.cast::<u8>() } else { unsafe { tensor.data.cast::<u8>().add(start) } };
    Ok(Layout { shape, count, data: data.cast_const(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_cross_unchanged() {
        let tensors = [
            Tensor::f32s([2, 1, 2], [1.0, 2.0, 3.0, 4.0]).unwrap(),
            Tensor::i64s([3], [0, -2, 5]).unwrap(),
            Tensor::u32s([], [7]).unwrap(),
            Tensor::u8s([2, 0], []).unwrap(),
        ];
        for tensor in tensors {
            // SAFETY: every tensor is handed over once and taken once.
            unsafe {
                let given = give(tensor.clone());
                let (shape, values) = lent(given).unwrap();
                assert_eq!((&shape, format!("{values:?}")), (&tensor.shape, format!("{:?}", tensor.view().values)));
                let taken = take(given).unwrap();
                let again = take(give(taken)).unwrap();
                assert_eq!(format!("{again:?}"), format!("{tensor:?}"));
            }
        }
    }

    #[test]
    fn a_tensor_that_is_not_compact_is_refused_and_freed() {
        fn refused(change: impl Fn(&mut abi::DLManagedTensorVersioned)) -> String {
            let given = give(Tensor::f32s([2, 2], [1.0, 2.0, 3.0, 4.0]).unwrap());
            // SAFETY: the tensor was just made and is taken once.
            unsafe {
                change(&mut *given);
                take(given).unwrap_err().to_string()
            }
        }
        assert!(refused(|tensor| tensor.version.major = 2).contains("DLPack 2"));
        assert!(refused(|tensor| tensor.dl_tensor.device.device_type = 2).contains("device of type 2"));
        assert!(refused(|tensor| tensor.dl_tensor.dtype.bits = 16).contains("16 bits"));
        assert!(refused(|tensor| tensor.dl_tensor.ndim = 9).contains("9 dimensions"));
        assert!(refused(|tensor| tensor.dl_tensor.data = ptr::null_mut()).contains("no values"));
        // SAFETY: shape and strides have two entries.
        unsafe {
            assert!(refused(|tensor| *tensor.dl_tensor.strides = 1).contains("is not compact"));
            assert!(refused(|tensor| *tensor.dl_tensor.shape = -1).contains("[-1, 2]"));
            assert!(refused(|tensor| *tensor.dl_tensor.shape = i64::MAX).contains("has the shape"));
        }
    }
}
