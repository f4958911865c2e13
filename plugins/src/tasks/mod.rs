//! Questions and their right answers, read from files.

pub mod classification;
pub mod cloze;
pub(crate) mod data_file;
pub mod extractive_qa;
mod labelled_text;
pub mod medlama;
pub mod multiple_choice;
pub mod ner;
pub mod nli;
pub mod pico;
mod pool;
mod question_file;
pub mod relation;
pub mod similarity;
mod splits;
mod tagged_sentences;
mod template;
mod text_file;
pub mod yes_no;
