//! The arithmetic of the models on the CPU.
//!
//! Every function is safe, works on plain row-major `f32` slices and checks their lengths: a wrong length is a mistake of
//! the caller and panics. Shapes are written `(rows, width)`. Empty inputs and widths of any size are fine.
//!
//! **Invariants:**
//! - Results are the same bit for bit whatever the number of threads: work is cut by shape, and partial sums are added in
//!   the order of their index.
//! - Results differ between instruction sets ([`Simd`]) and processors in the last bits only.
//! - Outputs are overwritten, except by [`scatter_add_rows`], which says so.
//! - [`PackedLinear`], [`attention_rows`], [`attention_merged`], [`layer_norm_rows`] and what takes rows of a training run on the calling thread, for callers that give each
//!   thread rows of its own.
//!   They allocate nothing once their [`Scratch`] has grown, and a row does not depend on the others of the call.
//! - This crate knows nothing of models, tensors or graphs.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "sums are narrowed to f32, lengths become divisors and probabilities thresholds on purpose"
)]
#![expect(clippy::many_single_char_names, reason = "x, y, q, k and v are the names the formulas use")]
#![expect(clippy::similar_names, reason = "dq, dk and dv are the gradients of q, k and v")]
#![expect(clippy::too_many_arguments, reason = "plain slices and their shapes are the interface")]
#![expect(clippy::inline_always, reason = "a helper that is not inlined would lose the vector instructions of its caller")]
#![cfg_attr(test, expect(clippy::float_cmp, reason = "exact results are part of what is tested"))]

mod activation;
mod attention;
mod bf16;
mod dot;
mod dropout;
mod embedding;
mod lanes;
mod layer_norm;
mod linear;
mod math;
mod packed_linear;
mod panel_product;
mod parallel;
mod scratch;
mod simd;
mod softmax;
mod training_rows;
mod weight_gradient;
mod weight_panels;

pub use activation::{Activation, activation, activation_grad};
pub use attention::{
    AttentionDropout, AttentionShape, Rows, attention, attention_grad, attention_merged, attention_merged_grad, attention_probabilities, attention_rows,
};
pub use bf16::{pairs, round_rows};
pub use dropout::{Dropout, dropout, dropout_rows};
pub use embedding::{gather_rows, scatter_add_rows};
pub use layer_norm::{layer_norm, layer_norm_grad, layer_norm_pairs, layer_norm_rows};
pub use linear::{linear, linear_grad_input, linear_grad_weight, matmul_transposed, sum_rows};
pub use packed_linear::{Epilogue, Input, Output, PackedLinear, Precision};
pub use scratch::Scratch;
pub use simd::{Simd, select_simd, simd, simd_from_environment};
pub use softmax::{log_softmax, log_softmax_grad};
pub use training_rows::{Norm, activate_rows, activate_rows_grad, add_into, add_rows_into};
pub use weight_gradient::{InputPanels, OutputStrips, STRIP, weight_gradient};
pub use weight_panels::WeightPanels;
