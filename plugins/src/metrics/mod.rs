//! Numbers about predictions.

pub mod acc;
pub mod accuracy;
pub mod answer_f1;
pub mod bioasq;
pub mod calibration_error;
mod class_scores;
mod clusters;
pub mod entity_f1;
pub mod f1;
mod grouped;
pub mod label_cells_f1;
#[cfg(test)]
mod labelled_fixture;
pub mod mrr;
pub mod mse;
mod number_pairs;
pub mod pearson;
pub mod spearman;
pub mod token_f1;
