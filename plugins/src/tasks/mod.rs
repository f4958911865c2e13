//! Questions and their right answers, read from files.

pub mod cloze;
pub(crate) mod data_file;
pub mod medlama;
mod pool;
mod template;
