//! Scores of labels, entities and answers, and the formats in which the field writes them.
//!
//! | module | scores |
//! |---|---|
//! | [`conlleval`] | phrases, byte for byte as `conlleval.pl` (2004-01-26) prints them |
//! | [`entities`] | entity spans of tag sequences, by three readings of the tags |
//! | [`token_level`] | tokens, one by one |
//! | [`classes`] | one label an example |
//! | [`label_cells`] | several labels an example |
//! | [`relation_eval`] | BioBERT's relation extraction, as `re_eval.py` prints it |
//! | [`answers`] | answers as text: exact match and F1 of SQuAD |
//! | [`bioasq`] | phase B of BioASQ, as its evaluator prints it |
//! | [`correlation`], [`calibration`] | numbers against numbers, confidence against success |
//! | [`blurb`] | the BLURB score of thirteen results |
//!
//! [`detokenize`], [`squad_files`] and [`bioasq_transform`] read and write the files between a model and its score.
//!
//! **Invariants:** every score is a fraction in [0, 1] except in text that imitates an original; what is undefined (0/0) is 0 where the field says so and `None`
//! elsewhere. Counts are `Clone + Default + AddAssign`, so that a caller can draw clusters of examples again and add them up. Nothing here opens a file: names
//! of files are taken for error messages only.

pub mod answers;
pub mod bioasq;
mod bioasq_files;
pub mod bioasq_transform;
pub mod blurb;
pub mod calibration;
pub mod classes;
pub mod conlleval;
pub mod correlation;
mod counts;
pub mod detokenize;
pub mod entities;
mod error;
mod java_double;
pub mod label_cells;
mod lines;
mod python_json;
mod python_number;
pub mod relation_eval;
pub mod squad_files;
mod strict_json;
pub mod token_level;

pub use counts::{Counts, Scores};
pub use error::{Error, Result};
pub use lines::text_lines;
pub use python_number::{float32_text, float64_text};
pub use strict_json::{UniqueKeys, read_json};
