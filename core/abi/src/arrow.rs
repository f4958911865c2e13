//! Tables: the Arrow C data interface.
//!
//! Formats of 1.0: `U` and `u` text, `l` and `i` whole numbers of 64 and 32 bits, `g` and `f` floats of 64 and 32 bits, `b` truth values, `+L` and `+l`
//! lists of one of these. The root is a struct `+s`. No dictionaries, no views, no extension types. The host sends `U`, `l`, `g`, `b` and `+L`.

use core::ffi::{c_char, c_void};

/// `ArrowSchema` of the Arrow specification.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowSchema {
    /// Type of the column.
    pub format: *const c_char,
    /// Name of the column.
    pub name: *const c_char,
    /// Unused, null.
    pub metadata: *const c_char,
    /// Bit 1 (value 2): cells may be empty.
    pub flags: i64,
    /// Number of children.
    pub n_children: i64,
    /// The children.
    pub children: *mut *mut ArrowSchema,
    /// Null.
    pub dictionary: *mut ArrowSchema,
    /// Frees what belongs to the struct, and sets this field to null.
    pub release: Option<unsafe extern "C" fn(schema: *mut ArrowSchema)>,
    /// For the maker.
    pub private_data: *mut c_void,
}

/// `ArrowArray` of the Arrow specification.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowArray {
    /// Number of cells.
    pub length: i64,
    /// Number of empty cells, -1 if not counted.
    pub null_count: i64,
    /// Cells to skip in every buffer.
    pub offset: i64,
    /// Number of buffers.
    pub n_buffers: i64,
    /// Number of children.
    pub n_children: i64,
    /// The buffers.
    pub buffers: *mut *const c_void,
    /// The children.
    pub children: *mut *mut ArrowArray,
    /// Null.
    pub dictionary: *mut ArrowArray,
    /// Frees what belongs to the struct, and sets this field to null.
    pub release: Option<unsafe extern "C" fn(array: *mut ArrowArray)>,
    /// For the maker.
    pub private_data: *mut c_void,
}

/// A table: one record batch. Zeroed is empty and needs no release.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_table {
    /// Names and types; the root is a struct.
    pub schema: ArrowSchema,
    /// The cells.
    pub array: ArrowArray,
}
