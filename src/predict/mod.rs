//! New texts, words and questions for a fine-tuned checkpoint, and its answers in the formats people use.

mod answers;
mod conll;
mod entities;
mod inputs;
mod words;

pub(crate) use answers::{Format, Writer};
pub(crate) use inputs::Inputs;
