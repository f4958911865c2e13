//! Memory that single-threaded kernels keep between calls.

use crate::attention::Buffers;
use crate::packed_linear::Operands;
use crate::weight_panels::Rounded;

/// What the single-threaded kernels need beside their arguments. A thread has one, passes it to every call, and after
/// the first calls of each size nothing is allocated any more. What it holds between calls has no meaning.
#[derive(Default)]
pub struct Scratch {
    pub(crate) linear: Operands,
    pub(crate) attention: Buffers,
    /// The context of a sequence before it is rounded.
    pub(crate) context: Vec<f32>,
    pub(crate) rounded: Rounded,
}

impl Scratch {
    /// An empty one, which allocates when it is first used.
    #[must_use]
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

/// Makes a buffer this long. What it held does not matter.
pub(crate) fn sized<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}
