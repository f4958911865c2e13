//! Questions and their right answers, read from files.

pub mod cloze;
pub mod medlama;
mod pool;
mod template;
