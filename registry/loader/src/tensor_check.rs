//! Looks at a tensor from foreign memory.

use std::slice::from_raw_parts;

use lmprobe_abi::{DLDataType, DLManagedTensorVersioned, DLPACK_CPU, DLPACK_FLOAT, DLPACK_INT, DLPACK_MAJOR, DLPACK_UINT, DLTensor};

const MOST_DIMENSIONS: i32 = 8;

/// The values of a tensor, row-major without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorView<'a> {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values<'a>,
}

/// Values of one of the types that cross.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Signed whole numbers.
    I64(&'a [i64]),
    /// Unsigned whole numbers.
    U32(&'a [u32]),
    /// Bytes.
    U8(&'a [u8]),
}

/// A tensor that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// A pointer is null.
    #[error("`{field}` is null")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// Another major version of `DLPack`.
    #[error("is DLPack {found}, but {DLPACK_MAJOR} is what crosses")]
    Version {
        /// The major version.
        found: u32,
    },
    /// Not in main memory.
    #[error("is on device type {found}; only main memory ({DLPACK_CPU}) crosses")]
    Device {
        /// The type of the device.
        found: i32,
    },
    /// A type that does not cross.
    #[error("has values of type code {code}, {bits} bits, {lanes} lanes; f32, i64, u32 and u8 cross")]
    Dtype {
        /// Type code.
        code: u8,
        /// Bits of a value.
        bits: u8,
        /// Lanes.
        lanes: u16,
    },
    /// Too many dimensions, or a negative number.
    #[error("has {found} dimensions; 0 to {MOST_DIMENSIONS} are allowed")]
    Dimensions {
        /// How many.
        found: i32,
    },
    /// A size is negative.
    #[error("dimension {dimension} has size {found}")]
    Size {
        /// Which.
        dimension: usize,
        /// Its size.
        found: i64,
    },
    /// More bytes than memory has.
    #[error("the sizes {shape:?} are more than memory has")]
    Overflow {
        /// The sizes.
        shape: Vec<i64>,
    },
    /// Gaps or another order.
    #[error("dimension {dimension} has stride {found}, {expected} is row-major without gaps; make it contiguous first")]
    Strides {
        /// Which.
        dimension: usize,
        /// Its stride.
        found: i64,
        /// What is right.
        expected: i64,
    },
    /// An address where such a value cannot be.
    #[error("its values are not aligned to {bytes} bytes")]
    Alignment {
        /// The alignment.
        bytes: usize,
    },
    /// A list of tensors without a way to free it, or with an absurd length.
    #[error("the list has {found} tensors; 0 to {limit} are allowed")]
    Count {
        /// How many it says.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A name in a list is no text.
    #[error("tensor {number} has an unreadable name: {why}")]
    Name {
        /// Which.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// Two tensors of a list are the same or have the same name.
    #[error("tensors {first} and {second} have the same {what}")]
    Twice {
        /// The earlier.
        first: usize,
        /// The later.
        second: usize,
        /// `name` or `address`.
        what: &'static str,
    },
    /// A tensor of a list cannot be used.
    #[error("tensor `{name}`: {error}")]
    Of {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: Box<TensorError>,
    },
}

impl TensorView<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self.values {
            Values::F32(values) => values.len(),
            Values::I64(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::U8(values) => values.len(),
        }
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The values of a tensor, if they are of a form that crosses.
///
/// # Errors
/// What is wrong with it.
///
/// # Safety
/// `tensor` is null or points to a tensor of its version that lives for `'a`; its pointers that are not null point to as many values as its sizes say.
pub unsafe fn view<'a>(tensor: *const DLManagedTensorVersioned) -> Result<TensorView<'a>, TensorError> {
    if tensor.is_null() {
        return Err(TensorError::Null { field: "tensor" });
    }
    // SAFETY: not null, and the version is first in every version.
    let found = unsafe { (*tensor).version.major };
    if found != DLPACK_MAJOR {
        return Err(TensorError::Version { found });
    }
    // SAFETY: the version says that the rest is there.
    let tensor = unsafe { &*tensor };
    if tensor.deleter.is_none() {
        return Err(TensorError::Null { field: "deleter" });
    }
    // SAFETY: the caller promises the values.
    unsafe { view_of(&tensor.dl_tensor) }
}

/// # Safety
/// As [`view`].
unsafe fn view_of<'a>(tensor: &DLTensor) -> Result<TensorView<'a>, TensorError> {
    if tensor.device.device_type != DLPACK_CPU {
        return Err(TensorError::Device { found: tensor.device.device_type });
    }
    let DLDataType { code, bits, lanes } = tensor.dtype;
    let width = match (code, bits, lanes) {
        (DLPACK_INT, 64, 1) => 8,
        (DLPACK_FLOAT | DLPACK_UINT, 32, 1) => 4,
        (DLPACK_UINT, 8, 1) => 1,
        _ => return Err(TensorError::Dtype { code, bits, lanes }),
    };
    // SAFETY: the caller promises sizes and strides.
    let shape = unsafe { sizes(tensor) }?;
    let count = elements(&shape, width)?;
    // SAFETY: as above.
    unsafe { check_strides(tensor, &shape)? };
    let shape = shape.iter().map(|size| usize::try_from(*size).expect("checked")).collect();
    if count == 0 {
        let values = match (code, bits) {
            (DLPACK_INT, _) => Values::I64(&[]),
            (DLPACK_FLOAT, _) => Values::F32(&[]),
            (_, 32) => Values::U32(&[]),
            _ => Values::U8(&[]),
        };
        return Ok(TensorView { shape, values });
    }
    if tensor.data.is_null() {
        return Err(TensorError::Null { field: "data" });
    }
    let offset = usize::try_from(tensor.byte_offset).ok().filter(|offset| tensor.data.addr().checked_add(*offset).is_some());
    let data = tensor.data.cast::<u8>().wrapping_add(offset.ok_or_else(|| TensorError::Overflow { shape: vec![i64::MAX] })?);
    if !data.addr().is_multiple_of(width) {
        return Err(TensorError::Alignment { bytes: width });
    }
    // SAFETY: the caller promises as many values as the sizes say; the address is aligned, and any bits are a value of these types.
    let values = unsafe {
        match (code, bits) {
            (DLPACK_INT, _) => Values::I64(from_raw_parts(data.cast(), count)),
            (DLPACK_FLOAT, _) => Values::F32(from_raw_parts(data.cast(), count)),
            (_, 32) => Values::U32(from_raw_parts(data.cast(), count)),
            _ => Values::U8(from_raw_parts(data, count)),
        }
    };
    Ok(TensorView { shape, values })
}

/// # Safety
/// The shape is null or has as many sizes as there are dimensions.
unsafe fn sizes(tensor: &DLTensor) -> Result<Vec<i64>, TensorError> {
    if !(0..=MOST_DIMENSIONS).contains(&tensor.ndim) {
        return Err(TensorError::Dimensions { found: tensor.ndim });
    }
    let dimensions = usize::try_from(tensor.ndim).expect("checked");
    if dimensions > 0 && tensor.shape.is_null() {
        return Err(TensorError::Null { field: "shape" });
    }
    // SAFETY: the caller promises them.
    let shape: Vec<i64> = (0..dimensions).map(|dimension| unsafe { tensor.shape.add(dimension).read_unaligned() }).collect();
    match shape.iter().position(|size| *size < 0) {
        Some(dimension) => Err(TensorError::Size { dimension, found: shape[dimension] }),
        None => Ok(shape),
    }
}

/// Number of values. Sizes beside a size of 0 count, too, so that later products of some of them do not overflow.
fn elements(shape: &[i64], width: usize) -> Result<usize, TensorError> {
    let width = i64::try_from(width).expect("at most 8");
    let overflow = || TensorError::Overflow { shape: shape.to_vec() };
    let bytes = shape.iter().filter(|size| **size != 0).try_fold(width, |product, size| product.checked_mul(*size)).ok_or_else(overflow)?;
    let count = if shape.contains(&0) { 0 } else { bytes / width };
    usize::try_from(count).map_err(|_| overflow())
}

/// # Safety
/// The strides are null or as many as there are dimensions.
unsafe fn check_strides(tensor: &DLTensor, shape: &[i64]) -> Result<(), TensorError> {
    if tensor.strides.is_null() || shape.contains(&0) {
        return Ok(());
    }
    let mut expected = 1;
    for (dimension, size) in shape.iter().enumerate().rev() {
        // SAFETY: the caller promises them.
        let found = unsafe { tensor.strides.add(dimension).read_unaligned() };
        // A single value is never stepped from.
        if *size != 1 && found != expected {
            return Err(TensorError::Strides { dimension, found, expected });
        }
        expected *= size;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::ptr;

    use lmprobe_abi::{DLDevice, DLPackVersion};

    use super::*;
    use crate::kept::{kept, kept_slice};

    /// A tensor over borrowed values, and how often it was deleted.
    pub(crate) struct Foreign {
        pub(crate) raw: *mut DLManagedTensorVersioned,
        deleted: *const Cell<u32>,
    }

    impl Foreign {
        /// Changes the tensor.
        pub(crate) fn with(self, change: impl FnOnce(&mut DLManagedTensorVersioned)) -> Self {
            // SAFETY: kept, and nobody else changes it now.
            change(unsafe { &mut *self.raw });
            self
        }

        pub(crate) fn deleted(&self) -> u32 {
            // SAFETY: kept.
            unsafe { (*self.deleted).get() }
        }
    }

    unsafe extern "C" fn delete(tensor: *mut DLManagedTensorVersioned) {
        // SAFETY: the tensor and its counter are kept.
        unsafe {
            let counter = (*tensor).manager_ctx.cast::<Cell<u32>>();
            (*counter).set((*counter).get() + 1);
        }
    }

    pub(crate) fn foreign<T: Copy>(values: &[T], code: u8, bits: u8, shape: &[i64]) -> Foreign {
        let deleted = kept(Cell::new(0u32));
        let raw = kept(DLManagedTensorVersioned {
            version: DLPackVersion { major: 1, minor: 3 },
            manager_ctx: deleted.cast(),
            deleter: Some(delete),
            flags: 0,
            dl_tensor: DLTensor {
                data: kept_slice(values.to_vec()).cast::<c_void>(),
                device: DLDevice { device_type: 1, device_id: 0 },
                ndim: i32::try_from(shape.len()).unwrap(),
                dtype: DLDataType { code, bits, lanes: 1 },
                shape: kept_slice(shape.to_vec()),
                strides: ptr::null_mut(),
                byte_offset: 0,
            },
        });
        Foreign { raw, deleted }
    }

    fn refused(change: impl FnOnce(&mut DLManagedTensorVersioned)) -> String {
        let tensor = foreign(&[0f32; 6], DLPACK_FLOAT, 32, &[2, 3]).with(change);
        // SAFETY: everything is kept.
        unsafe { view(tensor.raw) }.unwrap_err().to_string()
    }

    #[test]
    fn the_four_types_are_seen() {
        // SAFETY: everything is kept.
        unsafe {
            let tensor = foreign(&[1f32, 2.0], DLPACK_FLOAT, 32, &[2, 1]);
            assert_eq!(view(tensor.raw).unwrap(), TensorView { shape: vec![2, 1], values: Values::F32(&[1.0, 2.0]) });
            let tensor = foreign(&[-1i64], DLPACK_INT, 64, &[]);
            assert_eq!(view(tensor.raw).unwrap(), TensorView { shape: vec![], values: Values::I64(&[-1]) });
            let tensor = foreign(&[7u32], DLPACK_UINT, 32, &[1]);
            assert_eq!(view(tensor.raw).unwrap().values, Values::U32(&[7]));
            let tensor = foreign(&[7u8, 8], DLPACK_UINT, 8, &[1]).with(|tensor| tensor.dl_tensor.byte_offset = 1);
            assert_eq!(view(tensor.raw).unwrap().values, Values::U8(&[8]));
            let tensor = foreign::<f32>(&[], DLPACK_FLOAT, 32, &[3, 0]).with(|tensor| tensor.dl_tensor.data = ptr::null_mut());
            assert!(view(tensor.raw).unwrap().is_empty());
        }
    }

    #[test]
    fn strides_are_row_major_where_they_matter() {
        for (strides, right) in [([3, 99, 1], true), ([3, 3, 1], true), ([1, 1, 2], false), ([0, 3, 1], false), ([6, 3, 1], false)] {
            let tensor = foreign(&[0f32; 6], DLPACK_FLOAT, 32, &[2, 1, 3]).with(|tensor| tensor.dl_tensor.strides = kept_slice(strides.to_vec()));
            // SAFETY: everything is kept.
            assert_eq!(unsafe { view(tensor.raw) }.is_ok(), right, "{strides:?}");
        }
        assert_eq!(
            refused(|tensor| tensor.dl_tensor.strides = kept_slice(vec![1, 2])),
            "dimension 1 has stride 2, 1 is row-major without gaps; make it contiguous first"
        );
    }

    #[test]
    fn other_tensors_are_refused() {
        assert_eq!(refused(|tensor| tensor.version.major = 2), "is DLPack 2, but 1 is what crosses");
        assert_eq!(refused(|tensor| tensor.deleter = None), "`deleter` is null");
        assert_eq!(refused(|tensor| tensor.dl_tensor.device.device_type = 2), "is on device type 2; only main memory (1) crosses");
        let text = "f32, i64, u32 and u8 cross";
        assert_eq!(refused(|tensor| tensor.dl_tensor.dtype.bits = 16), format!("has values of type code 2, 16 bits, 1 lanes; {text}"));
        assert_eq!(refused(|tensor| tensor.dl_tensor.dtype.lanes = 4), format!("has values of type code 2, 32 bits, 4 lanes; {text}"));
        assert_eq!(refused(|tensor| tensor.dl_tensor.ndim = 99), "has 99 dimensions; 0 to 8 are allowed");
        assert_eq!(refused(|tensor| tensor.dl_tensor.ndim = -1), "has -1 dimensions; 0 to 8 are allowed");
        assert_eq!(refused(|tensor| tensor.dl_tensor.shape = ptr::null_mut()), "`shape` is null");
        assert_eq!(refused(|tensor| tensor.dl_tensor.data = ptr::null_mut()), "`data` is null");
        assert_eq!(refused(|tensor| tensor.dl_tensor.byte_offset = 2), "its values are not aligned to 4 bytes");
        // SAFETY: the shape has two sizes.
        assert_eq!(refused(|tensor| unsafe { *tensor.dl_tensor.shape.add(1) = -3 }), "dimension 1 has size -3");
        // SAFETY: the shape has two sizes.
        let message = refused(|tensor| unsafe { *tensor.dl_tensor.shape = i64::MAX / 2 });
        assert_eq!(message, format!("the sizes [{}, 3] are more than memory has", i64::MAX / 2));
        // SAFETY: null is allowed.
        assert_eq!(unsafe { view(ptr::null()) }, Err(TensorError::Null { field: "tensor" }));
    }
}
