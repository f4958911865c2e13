//! Training signals.

pub mod contrastive;
mod development_score;
pub mod fine_tune;
mod fine_tune_presets;
mod head_learner;
mod lessons;
pub mod masked_lm;
