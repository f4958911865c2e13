//! From the logits of a head to answers.

pub(crate) mod class_answers;
pub(crate) mod logits;
pub(crate) mod span_answers;
pub(crate) mod tag_answers;
