//! How much of a task is learned from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an objective that learns from a task takes of it, beside the recipe of the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskShare {
    /// Label of the task to learn from; empty if the run has only one that the objective can learn from.
    #[serde(default)]
    pub task: Option<String>,
    /// Percent of the training examples to learn from, 0 to 100; a list makes a learning curve, one training each. Smaller shares lie within larger ones. 0 trains
    /// nothing: the encoder as it is with a fresh head. Any more is one example at least, with all of its document or premise.
    #[serde(default = "everything")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub training_size: f64,
    /// Percent of the training examples to hold out as development examples where the task has none and the recipe asks for some.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 50.0))]
    pub hold_out: f64,
    /// What happens to training and development examples that are also among those asked, or have their document or premise in common with one, and to training
    /// examples that share as much with a development example.
    #[serde(default)]
    pub overlap: Overlap,
}

/// What happens to examples of a split that are also in another, or have their document or premise in common with one of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// They are left out and counted.
    #[default]
    LeaveOut,
    /// They are kept and counted, as the published programs do.
    Keep,
}

fn everything() -> f64 {
    100.0
}
fn tenth() -> f64 {
    10.0
}

impl Default for TaskShare {
    fn default() -> Self {
        Self { task: None, training_size: everything(), hold_out: tenth(), overlap: Overlap::LeaveOut }
    }
}
