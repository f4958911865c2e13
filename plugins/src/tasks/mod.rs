//! Questions and their right answers, read from files.

mod answer_places;
pub mod classification;
pub mod cloze;
mod csv_quotes;
pub(crate) mod data_file;
pub mod extractive_qa;
mod label_flags;
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
mod strict_json;
mod tagged_sentences;
mod template;
mod text_file;
pub mod yes_no;
mod yes_no_files;
