//! What encoders and objectives share. Not plugins.

pub(crate) mod answers;
pub mod blueprint;
mod composed;
pub mod compute;
pub mod gradient_sink;
pub mod head;
pub mod head_layout;
pub mod inference_blocks;
pub(crate) mod inputs;
pub mod language_model;
pub(crate) mod losses;
pub mod model_source;
pub mod ops;
pub mod packed;
pub mod pair;
pub(crate) mod passes;
pub mod post_norm;
pub mod pre_norm;
mod taped_blocks;
pub mod tensorflow_names;
pub mod tokenizer;
mod training_backward;
pub mod training_blocks;
mod training_forward;
mod training_memory;
pub mod values;
