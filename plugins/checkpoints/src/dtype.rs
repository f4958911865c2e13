//! Types of the numbers in a checkpoint.

use std::fmt;

/// The type of the values of one tensor, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it: letter and number of bits")]
#[non_exhaustive]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes of one value.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether [`read_f32`](crate::Checkpoint::read_f32) gives the values: the floating-point types of 16 bits and more.
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// The type that a safetensors header names.
    ///
    /// <https://huggingface.co/docs/safetensors/index#format>
    pub(crate) fn of_safetensors(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "F8_E4M3" => Self::F8E4M3,
            "F8_E5M2" => Self::F8E5M2,
            "I64" => Self::I64,
            "I32" => Self::I32,
            "I16" => Self::I16,
            "I8" => Self::I8,
            "U64" => Self::U64,
            "U32" => Self::U32,
            "U16" => Self::U16,
            "U8" => Self::U8,
            "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    /// The type of a storage class of PyTorch: `HalfStorage`; `HalfTensor` names the same type.
    ///
    /// <https://pytorch.org/docs/stable/storage.html>
    pub(crate) fn of_torch_storage(class: &str) -> Option<Self> {
        let class = class.strip_suffix("Storage").or_else(|| class.strip_suffix("Tensor"))?;
        Some(match class {
            "Double" => Self::F64,
            "Float" => Self::F32,
            "Half" => Self::F16,
            "BFloat16" => Self::BF16,
            "Long" => Self::I64,
            "Int" => Self::I32,
            "Short" => Self::I16,
            "Char" => Self::I8,
            "Byte" => Self::U8,
            "Bool" => Self::Bool,
            _ => return None,
        })
    }

    /// The type of a dtype object of PyTorch: `float16`.
    ///
    /// <https://pytorch.org/docs/stable/tensor_attributes.html#torch.dtype>
    pub(crate) fn of_torch_dtype(name: &str) -> Option<Self> {
        Some(match name {
            "float64" => Self::F64,
            "float32" => Self::F32,
            "float16" => Self::F16,
            "bfloat16" => Self::BF16,
            "float8_e4m3fn" => Self::F8E4M3,
            "float8_e5m2" => Self::F8E5M2,
            "int64" => Self::I64,
            "int32" => Self::I32,
            "int16" => Self::I16,
            "int8" => Self::I8,
            "uint64" => Self::U64,
            "uint32" => Self::U32,
            "uint16" => Self::U16,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            _ => return None,
        })
    }

    /// The type of a number in TensorFlow's `DataType`; `None` for those that no encoder has (text, complex numbers, quantised ones).
    ///
    /// <https://github.com/tensorflow/tensorflow/blob/v2.16.1/tensorflow/core/framework/types.proto>
    pub(crate) const fn of_tensorflow(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::F64,
            3 => Self::I32,
            4 => Self::U8,
            5 => Self::I16,
            6 => Self::I8,
            9 => Self::I64,
            10 => Self::Bool,
            14 => Self::BF16,
            17 => Self::U16,
            19 => Self::F16,
            22 => Self::U32,
            23 => Self::U64,
            24 => Self::F8E5M2,
            25 => Self::F8E4M3,
            _ => return None,
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F8E4M3 => "f8_e4m3",
            Self::F8E5M2 => "f8_e5m2",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}
