//! Texts to vectors, a chunk at a time: what `lmprobe embed` does.
//!
//! Records come from one of four readers (`text_lines`, `table_rows`, `json_lines`, `parquet_rows`), `stream` tokenizes and encodes
//! a bounded number of them, and one of four writers (`parquet_table`, `safetensors_file`, `npy_files`, `feature_lines`) puts their
//! vectors into files that appear whole or not at all.
//!
//! **Invariant:** memory does not grow with the number of records.

mod feature_lines;
mod format;
mod json_lines;
mod layers;
mod npy_file;
mod npy_files;
mod parquet_rows;
mod parquet_table;
mod pooling;
mod python_json;
mod records;
mod safetensors_file;
mod spool;
mod staged_file;
mod stream;
mod summary;
mod table_rows;
mod text_lines;
mod vectors;

pub(crate) use format::{Format, Order, Shape, Target, Texts};
pub(crate) use layers::Layers;
pub(crate) use pooling::Pooling;
pub(crate) use records::{Columns, IdColumn, Record, Records, open};
pub(crate) use staged_file::StagedFile;
pub(crate) use stream::{Empty, Passes, Stream, Totals};
pub(crate) use summary::Summary;
