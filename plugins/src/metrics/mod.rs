//! Numbers about predictions.

pub mod acc;
mod grouped;
pub mod mrr;
