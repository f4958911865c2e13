//! What encoders and objectives share. Not plugins.

pub mod blueprint;
mod composed;
pub mod compute;
pub mod inference_blocks;
pub mod language_model;
pub mod model_source;
pub mod ops;
pub mod packed;
pub mod pair;
pub mod post_norm;
pub mod pre_norm;
pub mod tensorflow_names;
pub mod tokenizer;
pub mod values;
