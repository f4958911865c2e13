//! Training signals.

pub mod contrastive;
pub mod masked_lm;
