//! Tensors: DLPack 1.0, restricted to compact row-major arrays in main memory.

use core::ffi::c_void;

/// Major version of DLPack. Of another one, call the deleter and touch nothing else.
pub const DLPACK_MAJOR: u32 = 1;
/// Minor version of DLPack.
pub const DLPACK_MINOR: u32 = 0;
/// Device type: main memory, the only one of 1.0.
pub const DLPACK_CPU: i32 = 1;
/// Type code: signed whole numbers; 64 bits are allowed.
pub const DLPACK_INT: u8 = 0;
/// Type code: unsigned whole numbers; 8 and 32 bits are allowed.
pub const DLPACK_UINT: u8 = 1;
/// Type code: floats; 32 bits are allowed.
pub const DLPACK_FLOAT: u8 = 2;
/// Flag: the values must not be written.
pub const DLPACK_READ_ONLY: u64 = 1;

/// Version of the struct that follows.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DLPackVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

/// Where values lie.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DLDevice {
    /// Type of the device.
    pub device_type: i32,
    /// Its number.
    pub device_id: i32,
}

/// Type of a value.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DLDataType {
    /// Type code.
    pub code: u8,
    /// Bits of a value.
    pub bits: u8,
    /// 1.
    pub lanes: u16,
}

/// A tensor.
#[repr(C)]
#[derive(Debug)]
pub struct DLTensor {
    /// The allocation.
    pub data: *mut c_void,
    /// Where it is.
    pub device: DLDevice,
    /// Number of dimensions, at most 8.
    pub ndim: i32,
    /// Type of the values.
    pub dtype: DLDataType,
    /// Sizes of the dimensions.
    pub shape: *mut i64,
    /// Steps between values of a dimension, in values; null is compact row-major. The host always fills them in.
    pub strides: *mut i64,
    /// First value, in bytes from `data`.
    pub byte_offset: u64,
}

/// A tensor and who frees it.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensorVersioned {
    /// Version of DLPack.
    pub version: DLPackVersion,
    /// For the maker.
    pub manager_ctx: *mut c_void,
    /// Frees the tensor and this struct.
    pub deleter: Option<unsafe extern "C" fn(tensor: *mut DLManagedTensorVersioned)>,
    /// Flags.
    pub flags: u64,
    /// The tensor.
    pub dl_tensor: DLTensor,
}
