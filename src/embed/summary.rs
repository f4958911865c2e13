//! The file beside the output that says what it holds and how it was made.

use std::io::Write;
use std::path::Path;

use lmprobe_core::{Dtype, Error, Result};
use serde_json::{Value, json};

use super::format::{Finished, Format, Shape};
use super::staged_file::{StagedFile, beside};
use super::stream::Totals;

/// What is known before the first text is read.
pub(crate) struct Summary<'a> {
    pub(crate) model: &'a str,
    pub(crate) family: &'a str,
    /// Content of the model's files.
    pub(crate) hash: &'a str,
    /// What its linear layers compute in.
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a Shape,
    pub(crate) max_length: usize,
    pub(crate) input: &'a str,
    pub(crate) column: Option<&'a str>,
    pub(crate) pair_column: Option<&'a str>,
    pub(crate) format: Format,
    pub(crate) command: Vec<String>,
}

impl Summary<'_> {
    /// The facts that decide the vectors, for files that carry some themselves.
    pub(crate) fn metadata(&self) -> Vec<(String, String)> {
        let layers: Vec<String> = self.shape.layers.iter().map(|(_, layer)| layer.to_string()).collect();
        let facts = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("model", self.model.to_owned()),
            ("family", self.family.to_owned()),
            ("files_sha256", self.hash.to_owned()),
            ("dtype", self.dtype.to_string()),
            ("layers", layers.join(",")),
            ("pooling", self.shape.pooling.name().to_owned()),
            ("max_length", self.max_length.to_string()),
        ];
        facts.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Writes the summary and puts everything in place, the output itself last: when it is there, all is there.
    pub(crate) fn finish(&self, finished: Finished, totals: &Totals, out: &Path) -> Result<()> {
        let path = beside(out, "json");
        let summary = StagedFile::create(&path)?;
        let mut writer = summary.writer()?;
        let text = format!("{:#}\n", self.json(&finished, totals));
        writer.write_all(text.as_bytes()).and_then(|()| writer.flush()).map_err(Error::io(&path))?;
        for file in std::iter::once(summary).chain(finished.files.into_iter().rev()) {
            file.persist()?;
        }
        Ok(())
    }

    fn json(&self, finished: &Finished, totals: &Totals) -> Value {
        let arrays = finished.arrays.iter().map(|array| (array.name.clone(), json!({"dtype": array.dtype, "shape": array.shape})));
        json!({
            "lmprobe": env!("CARGO_PKG_VERSION"),
            "command": self.command,
            "model": {"label": self.model, "family": self.family, "files_sha256": self.hash},
            "input": {"file": self.input, "column": self.column, "pair_column": self.pair_column},
            "dtype": self.dtype,
            "format": self.format.name(),
            "layers": self.shape.layers.iter().map(|(_, layer)| layer).collect::<Vec<_>>(),
            "pooling": self.shape.pooling.name(),
            "max_length": self.max_length,
            "hidden": self.shape.hidden,
            "texts": totals.texts,
            "tokens": totals.tokens,
            "truncated": totals.truncated,
            "skipped_empty": totals.skipped,
            "arrays": arrays.collect::<serde_json::Map<_, _>>(),
        })
    }
}
