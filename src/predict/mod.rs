//! New texts, words and questions for a fine-tuned checkpoint, and its answers in the formats people use.

mod annotations;
mod answer_table;
mod answers;
mod conll;
mod entities;
mod inputs;
mod words;

pub(crate) use answers::{Format, Targets, Writer};
pub(crate) use entities::check_tags;
pub(crate) use inputs::Inputs;
