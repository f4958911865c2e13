//! Tensors: compact row-major values with a shape.

use crate::boundary::buffer::Buffer;
use crate::{Error, Result};

/// Values and their shape, ours or of the host.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: TensorValues,
}

#[derive(Debug, Clone)]
pub(crate) enum TensorValues {
    F32(Buffer<f32>),
    I64(Buffer<i64>),
    U32(Buffer<u32>),
    U8(Buffer<u8>),
}

/// A tensor that is lent for a call.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) values: ViewValues<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ViewValues<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
    U32(&'a [u32]),
    U8(&'a [u8]),
}

macro_rules! of_values {
    ($($name:ident, $type:ty, $variant:ident;)*) => {
        impl Tensor {
            $(
                /// A tensor of these values.
                ///
                /// # Errors
                /// If the shape has another number of values or more than 8 dimensions.
                pub fn $name(shape: impl Into<Vec<usize>>, values: impl Into<Vec<$type>>) -> Result<Self> {
                    let (shape, values) = (shape.into(), values.into());
                    check_shape(&shape, values.len())?;
                    Ok(Self { shape, values: TensorValues::$variant(values.into()) })
                }
            )*

            /// The tensor, lent.
            pub fn view(&self) -> TensorView<'_> {
                let values = match &self.values {
                    $(TensorValues::$variant(values) => ViewValues::$variant(values),)*
                };
                TensorView { shape: &self.shape, values }
            }
        }

        impl<'a> TensorView<'a> {
            $(
                /// The values in row-major order.
                ///
                /// # Errors
                /// If they are of another type.
                pub fn $name(self) -> Result<&'a [$type]> {
                    match self.values {
                        ViewValues::$variant(values) => Ok(values),
                        _ => Err(Error::input(format!("the tensor holds {}, expected {}", self.dtype(), stringify!($type)))),
                    }
                }
            )*

            /// The type of the values, `f32`.
            pub fn dtype(self) -> &'static str {
                match self.values {
                    $(ViewValues::$variant(_) => stringify!($type),)*
                }
            }

            /// A copy.
            pub fn to_tensor(self) -> Tensor {
                let values = match self.values {
                    $(ViewValues::$variant(values) => TensorValues::$variant(values.to_vec().into()),)*
                };
                Tensor { shape: self.shape.to_vec(), values }
            }
        }
    };
}

of_values! {
    f32s, f32, F32;
    i64s, i64, I64;
    u32s, u32, U32;
    u8s, u8, U8;
}

impl Tensor {
    /// Zeros.
    ///
    /// # Errors
    /// If the shape has more than 8 dimensions.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        let values = vec![0.0f32; shape.iter().product()];
        Self::f32s(shape, values)
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the values, `f32`.
    pub fn dtype(&self) -> &'static str {
        self.view().dtype()
    }

    /// The values as 32-bit floats.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn as_f32s(&self) -> Result<&[f32]> {
        self.view().f32s()
    }

    /// The values as 64-bit whole numbers.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn as_i64s(&self) -> Result<&[i64]> {
        self.view().i64s()
    }
}

impl<'a> TensorView<'a> {
    /// Sizes of the dimensions.
    pub fn shape(self) -> &'a [usize] {
        self.shape
    }

    /// The sizes of a tensor of exactly `N` dimensions.
    ///
    /// # Errors
    /// If it has another number of dimensions.
    pub fn sizes<const N: usize>(self) -> Result<[usize; N]> {
        self.shape.try_into().map_err(|_| Error::input(format!("the tensor has the shape {:?}, expected {N} dimensions", self.shape)))
    }
}

pub(crate) fn check_shape(shape: &[usize], values: usize) -> Result<()> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    if shape.len() > 8 || count != Some(values) {
        return Err(Error::internal(format!("the shape {shape:?} does not fit {values} values")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_knows_its_shape_and_type() {
        let tensor = Tensor::f32s([2, 2], [1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), (&[2, 2][..], "f32"));
        assert_eq!(tensor.view().sizes().unwrap(), [2, 2]);
        assert!(tensor.view().sizes::<3>().is_err());
        assert_eq!(tensor.as_i64s().unwrap_err().message(), "the tensor holds f32, expected i64");
        assert!(Tensor::u8s([3], [1, 2]).is_err());
        assert_eq!(Tensor::zeros([0, 4]).unwrap().as_f32s().unwrap(), [0.0; 0]);
    }
}
