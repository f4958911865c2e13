//! Tensors with names.

use core::ffi::c_void;

use crate::{DLManagedTensorVersioned, lmprobe_str};

/// A tensor and what it is.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_named_tensor {
    /// Its name; in an owned list it lives as long as the list.
    pub name: lmprobe_str,
    /// The tensor.
    pub tensor: *mut DLManagedTensorVersioned,
}

/// An owned list of tensors. Zeroed is empty and needs no release.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_tensors {
    /// The tensors.
    pub items: *mut lmprobe_named_tensor,
    /// Their number.
    pub len: usize,
    /// For the maker.
    pub ctx: *mut c_void,
    /// Frees the list and the names; each tensor has its own deleter.
    pub release: Option<unsafe extern "C" fn(tensors: *mut lmprobe_tensors)>,
}
