//! Tokenizers of Hugging Face model folders.
//!
//! [`TextTokenizer`] reads a folder and turns texts into token batches. It takes `tokenizer.json` where there is one, else what the
//! family of the model is known to use: `WordPiece` from `vocab.txt`, byte-level BPE from `vocab.json` and `merges.txt`, or the
//! tokenizer of `BioGPT`, Moses followed by fairseq's BPE, which no `tokenizer.json` can express.
//!
//! **Invariant:** whatever a file holds, reading it ends in a tokenizer or in an error that names the file, never in a panic.

mod added_tokens;
mod biogpt;
mod byte_level_bpe;
mod casing;
mod fairseq_bpe;
mod files;
pub mod moses;
mod moses_classes;
mod pipeline;
mod text_tokenizer;
mod tokenizer_config;
mod tokenizer_json;
mod wordpiece;

pub use added_tokens::{SpecialToken, SpecialTokens};
pub use casing::Casing;
pub use text_tokenizer::{TextTokenizer, TokenizerKind};
