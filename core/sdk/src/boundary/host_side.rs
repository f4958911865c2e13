//! The other side of the border, for tests of plugins that play the host.

use lmprobe_abi as abi;

use crate::boundary::{arrow_export, arrow_import, tensor_list, text};
use crate::{Result, Table, Tensor};

/// A table, handed over.
///
/// # Errors
/// If the name of a column holds a zero byte.
pub fn give_table(table: Table) -> Result<abi::lmprobe_table> {
    arrow_export::give(table)
}

/// A table, taken over.
///
/// # Errors
/// If it is not what it should be.
///
/// # Safety
/// `table` is alive or released.
pub unsafe fn take_table(mut table: abi::lmprobe_table) -> Result<Table> {
    // SAFETY: the caller holds what is asked for.
    unsafe { arrow_import::take(&raw mut table) }
}

/// A list of tensors, handed over.
pub fn give_tensors(tensors: Vec<(String, Tensor)>) -> abi::lmprobe_tensors {
    tensor_list::give(tensors)
}

/// A list of tensors, taken over.
///
/// # Errors
/// If one is not what it should be.
///
/// # Safety
/// `tensors` is empty or alive, and nobody else frees it.
pub unsafe fn take_tensors(tensors: abi::lmprobe_tensors) -> Result<Vec<(String, Tensor)>> {
    // SAFETY: the caller holds what is asked for.
    unsafe { tensor_list::take(tensors) }
}

/// A text, taken over.
///
/// # Safety
/// `buf` is empty or alive, and nobody else frees it.
pub unsafe fn take_text(buf: abi::lmprobe_buf) -> String {
    // SAFETY: the caller holds what is asked for.
    unsafe { text::take(buf) }
}
