//! What encoders and objectives share. Not plugins.

pub mod bert_model;
pub mod ops;
pub mod tokenizer;
pub mod weights;
