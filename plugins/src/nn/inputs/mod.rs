//! Labelled examples as a model reads them: the same for whoever trains a head and whoever asks it.

pub(crate) mod choices;
pub(crate) mod model_inputs;
pub(crate) mod questions;
pub(crate) mod sentences;
pub(crate) mod sequence_layout;
pub(crate) mod settings;
pub(crate) mod texts;
pub(crate) mod windows;
