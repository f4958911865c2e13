//! Training an encoder before it is probed: one loop for every objective.

mod adamw;
mod checkpoint;
mod gradients;
mod overlap;
mod params;
mod schedule;
mod subset;
mod task_share;
mod trainer;

pub use adamw::AdamW;
pub use checkpoint::remove_states;
pub use gradients::{DenseBuffer, Gradient, Gradients};
pub use params::{LastBatch, Schedule, TrainingParams, WeightDecayOn};
pub use subset::{ShareOfTask, share_of};
pub use task_share::{Overlap, TaskShare};
pub use trainer::{Outcome, Signal, TrainingJob, train};
