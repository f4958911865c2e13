//! What a person reads of the tables.

pub(crate) mod originals;
pub(crate) mod score_table;
pub(crate) mod scores;
pub(crate) mod text_table;
