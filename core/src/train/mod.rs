//! Training an encoder before it is probed: one loop for every objective.

mod adamw;
mod checkpoint;
mod gradients;
mod params;
mod schedule;
mod trainer;

pub use adamw::AdamW;
pub use gradients::{DenseBuffer, Gradient, Gradients};
pub use params::{Schedule, TrainingParams, WeightDecayOn};
pub use trainer::{TrainingJob, train};
