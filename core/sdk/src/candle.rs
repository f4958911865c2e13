//! Tensors as tensors of candle and back, with one copy each.

use candle_core::{DType, Device};

use crate::tensor::ViewValues;
use crate::{Error, Result, Tensor, TensorView};

impl TensorView<'_> {
    /// The tensor as one of candle, in main memory.
    ///
    /// # Errors
    /// If candle refuses the shape.
    pub fn to_candle(self) -> Result<candle_core::Tensor> {
        let device = &Device::Cpu;
        let tensor = match self.values {
            ViewValues::F32(values) => candle_core::Tensor::from_slice(values, self.shape, device),
            ViewValues::I64(values) => candle_core::Tensor::from_slice(values, self.shape, device),
            ViewValues::U32(values) => candle_core::Tensor::from_slice(values, self.shape, device),
            ViewValues::U8(values) => candle_core::Tensor::from_slice(values, self.shape, device),
        };
        Ok(tensor?)
    }
}

impl Tensor {
    /// A tensor of candle, which may lie in any order and on any device.
    ///
    /// # Errors
    /// If its type is no part of the plugin interface.
    pub fn from_candle(tensor: &candle_core::Tensor) -> Result<Self> {
        let (shape, flat) = (tensor.dims(), tensor.flatten_all()?);
        match tensor.dtype() {
            DType::F32 => Self::f32s(shape, flat.to_vec1::<f32>()?),
            DType::I64 => Self::i64s(shape, flat.to_vec1::<i64>()?),
            DType::U32 => Self::u32s(shape, flat.to_vec1::<u32>()?),
            DType::U8 => Self::u8s(shape, flat.to_vec1::<u8>()?),
            other => Err(Error::unsupported(format!("tensors of {} do not cross", other.as_str()))),
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_and_one_of_candle_hold_the_same() {
        let tensor = Tensor::f32s([2, 2], [1.0, 2.0, 3.0, 4.0]).unwrap();
        let turned = tensor.view().to_candle().unwrap().t().unwrap();
        assert_eq!(Tensor::from_candle(&turned).unwrap().as_f32s().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        let half = turned.to_dtype(DType::F16).unwrap();
        assert!(Tensor::from_candle(&half).unwrap_err().message().contains("f16"));
    }
}
