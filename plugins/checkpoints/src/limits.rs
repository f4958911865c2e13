//! How much a file may make us allocate.
//!
//! Sizes that a file states are believed only as far as the file itself is long; what is left are structures that grow faster than the bytes that
//! describe them, and these have the limits below. Real models stay far under them: BERT-large has 400 tensors and a header of 50 KB.

/// Longest header or index that is read, in bytes.
pub(crate) const HEADER_BYTES: usize = 64 << 20;

/// Most values that a tensor may have beyond what its file stores of it (a broadcast tensor repeats one number), in bytes.
pub(crate) const REPEATED_BYTES: usize = 64 << 20;

/// Most tensors of one file.
pub(crate) const TENSORS: usize = 50_000;

/// Most dimensions of one tensor.
pub(crate) const DIMENSIONS: usize = 8;

/// Most bytes of the names of one file together.
pub(crate) const NAME_BYTES: usize = 16 << 20;

/// The number of values of a shape, if it is a number that this machine can count to.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))
}
