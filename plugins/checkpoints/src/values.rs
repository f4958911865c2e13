//! Values of a tensor as `f32` in row-major order.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::dtype::Dtype;
use crate::error::Parsed;
use crate::limits;

/// Values that one thread converts at a time.
const PARALLEL_ELEMENTS: usize = 1 << 16;

/// Values that are converted at once where they have to be collected first.
const PIECE: usize = 256;

/// Where the values of one tensor lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorView<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    /// Distance between neighbours along each dimension, in values; `None` is row-major without gaps.
    pub(crate) stride: Option<&'a [usize]>,
    /// Place of the first value, in values.
    pub(crate) offset: usize,
    /// The memory that the tensor looks at.
    pub(crate) storage: &'a [u8],
}

impl TensorView<'_> {
    /// The values, converted and made contiguous.
    pub(crate) fn to_f32(self) -> Parsed<Vec<f32>> {
        match self.dtype {
            Dtype::F32 => self.convert(each(f32::from_le_bytes)),
            Dtype::F16 => self.convert(f16s),
            Dtype::BF16 => self.convert(each(|bytes| bf16::from_le_bytes(bytes).to_f32())),
            #[expect(clippy::cast_possible_truncation, reason = "f64 is rounded to f32 on purpose")]
            Dtype::F64 => self.convert(each(|bytes| f64::from_le_bytes(bytes) as f32)),
            other => Err(format!("it holds numbers of type {other}, not floating-point numbers of 16 bits or more")),
        }
    }

    fn convert<const SIZE: usize>(self, convert: impl Fn(&[[u8; SIZE]], &mut [f32]) + Sync) -> Parsed<Vec<f32>> {
        let storage = self.storage.as_chunks::<SIZE>().0;
        let count = self.check(storage.len())?;
        let mut values = vec![0.0; count];
        if count == 0 {
            return Ok(values);
        }
        let Some(stride) = self.stride.filter(|stride| !is_row_major(self.shape, stride)) else {
            let from = &storage[self.offset..self.offset + count];
            // Handing a small tensor to other threads takes longer than converting it.
            if count <= PARALLEL_ELEMENTS {
                convert(from, &mut values);
            } else {
                values.par_chunks_mut(PARALLEL_ELEMENTS).zip(from.par_chunks(PARALLEL_ELEMENTS)).for_each(|(values, from)| convert(from, values));
            }
            return Ok(values);
        };
        gather(storage, self.shape, stride, self.offset, &mut values, convert);
        Ok(values)
    }

    /// Checks that the tensor stays inside its storage of `there` values and gives the number of its own values.
    pub(crate) fn check(self, there: usize) -> Parsed<usize> {
        let Self { shape, offset, .. } = self;
        let count = limits::elements(shape).ok_or_else(|| format!("its shape {shape:?} has more values than can be counted"))?;
        if count == 0 {
            return Ok(0);
        }
        let end = match self.stride {
            None => offset.checked_add(count),
            Some(stride) if stride.len() == shape.len() => shape
                .iter()
                .zip(stride)
                .try_fold(offset, |last, (size, step)| last.checked_add((size - 1).checked_mul(*step)?))
                .and_then(|last| last.checked_add(1)),
            Some(stride) => return Err(format!("it has the shape {shape:?} but the strides {stride:?}")),
        };
        if end.is_none_or(|end| end > there) {
            let strides = self.stride.map_or(String::new(), |stride| format!(" and strides {stride:?}"));
            return Err(format!("its shape {shape:?} at offset {offset}{strides} reaches beyond its {there} stored values; the file is damaged"));
        }
        if count > there && count.saturating_mul(self.dtype.size().max(4)) > limits::REPEATED_BYTES {
            return Err(format!("it repeats {there} stored values to {count}, more than is expanded; save a contiguous copy of it"));
        }
        Ok(count)
    }
}

/// Whether the strides are those of a tensor without gaps; dimensions of size 1 may have any.
fn is_row_major(shape: &[usize], stride: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(stride).rev().all(|(&size, &step)| {
        let fits = size == 1 || step == expected;
        expected *= size;
        fits
    })
}

/// Converts one value after the other; the compiler makes vector instructions of it.
fn each<const SIZE: usize>(value: impl Fn([u8; SIZE]) -> f32 + Sync) -> impl Fn(&[[u8; SIZE]], &mut [f32]) + Sync {
    move |from, to| {
        for (to, from) in to.iter_mut().zip(from) {
            *to = value(*from);
        }
    }
}

/// Converts pieces, which is several times as fast as one value at a time where the processor converts eight at once.
fn f16s(from: &[[u8; 2]], to: &mut [f32]) {
    let mut numbers = [f16::ZERO; PIECE];
    for (to, from) in to.chunks_mut(PIECE).zip(from.chunks(PIECE)) {
        let numbers = &mut numbers[..from.len()];
        for (number, bytes) in numbers.iter_mut().zip(from) {
            *number = f16::from_le_bytes(*bytes);
        }
        numbers.convert_to_f32_slice(to);
    }
}

/// Converts the values of a strided tensor in row-major order; the caller has checked that all are inside `storage`.
fn gather<const SIZE: usize>(
    storage: &[[u8; SIZE]],
    shape: &[usize],
    stride: &[usize],
    offset: usize,
    values: &mut [f32],
    convert: impl Fn(&[[u8; SIZE]], &mut [f32]),
) {
    let mut index = vec![0; shape.len()];
    let mut place = offset;
    let mut piece = [[0; SIZE]; PIECE];
    for values in values.chunks_mut(PIECE) {
        let piece = &mut piece[..values.len()];
        for bytes in &mut *piece {
            *bytes = storage[place];
            for ((idx, &size), &step) in index.iter_mut().zip(shape).zip(stride).rev() {
                *idx += 1;
                if *idx < size {
                    place += step;
                    break;
                }
                *idx = 0;
                place -= (size - 1) * step;
            }
        }
        convert(piece, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(shape: &'a [usize], stride: &'a [usize], offset: usize, storage: &'a [u8]) -> TensorView<'a> {
        TensorView { dtype: Dtype::F32, shape, stride: Some(stride), offset, storage }
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).flat_map(|value| f32::from(u16::try_from(value).unwrap()).to_le_bytes()).collect()
    }

    #[test]
    fn strides_are_followed() {
        let storage = bytes(6);
        assert_eq!(view(&[2, 3], &[3, 1], 0, &storage).to_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(view(&[3, 2], &[1, 3], 0, &storage).to_f32().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(view(&[2, 2], &[0, 4], 1, &storage).to_f32().unwrap(), [1.0, 5.0, 1.0, 5.0]);
        assert_eq!(view(&[], &[], 4, &storage).to_f32().unwrap(), [4.0]);
    }

    #[test]
    fn a_tensor_beyond_its_storage_is_refused() {
        let storage = bytes(6);
        for (shape, stride, offset) in [(&[7][..], &[1][..], 0), (&[2], &[6], 0), (&[1], &[1], 6), (&[2], &[usize::MAX], 0), (&[1], &[1], usize::MAX)] {
            let message = view(shape, stride, offset, &storage).to_f32().unwrap_err();
            assert!(message.contains("reaches beyond its 6 stored values"), "{message}");
        }
        assert!(view(&[usize::MAX, 3], &[0, 0], 0, &storage).to_f32().unwrap_err().contains("more values than can be counted"));
        assert!(view(&[1 << 40], &[0], 0, &storage).to_f32().unwrap_err().contains("repeats 6 stored values"));
        assert!(view(&[2], &[1, 1], 0, &storage).to_f32().unwrap_err().contains("the strides [1, 1]"));
    }

    #[test]
    fn large_tensors_are_converted_alike() {
        let storage: Vec<u8> = (0..=u16::MAX).cycle().take(PARALLEL_ELEMENTS + 3).flat_map(|value| f32::from(value).to_le_bytes()).collect();
        let values = TensorView { dtype: Dtype::F32, shape: &[PARALLEL_ELEMENTS], stride: None, offset: 3, storage: &storage }.to_f32().unwrap();
        assert_eq!(values.len(), PARALLEL_ELEMENTS);
        assert!(values.iter().zip((3..=u16::MAX).chain((0..=u16::MAX).cycle())).all(|(value, expected)| *value == f32::from(expected)));
    }
}
