//! The formats of the output, and what each of their writers is told.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use lmprobe_core::{Encoder, Error, Result, TokenBatch};

use super::feature_lines::FeatureLines;
use super::npy_files::NpyFiles;
use super::parquet_table::ParquetTable;
use super::pooling::Pooling;
use super::records::Record;
use super::safetensors_file::SafetensorsFile;
use super::staged_file::{StagedFile, beside};
use super::stream::Empty;

/// A format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with a row a vector
    Parquet,
    /// One tensor, with offsets and ids if there is a vector a token
    Safetensors,
    /// One array of numpy; offsets stand in OUT.offsets.npy
    Npy,
    /// The lines of BERT's `extract_features.py`
    Jsonl,
}

impl Format {
    /// The format a file's ending asks for.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "parquet" => Some(Self::Parquet),
            "safetensors" => Some(Self::Safetensors),
            "npy" => Some(Self::Npy),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }

    /// The word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What every vector is.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The layers as written, with the hidden states they mean.
    pub(crate) layers: Vec<(i64, usize)>,
    /// Width of a hidden state.
    pub(crate) hidden: usize,
    pub(crate) pooling: Pooling,
}

impl Shape {
    /// Numbers in a row `(layers, hidden)`.
    pub(crate) fn width(&self) -> usize {
        self.layers.len() * self.hidden
    }

    /// Rows of a text of so many tokens.
    pub(crate) fn rows(&self, tokens: usize) -> usize {
        if self.pooling == Pooling::Tokens { tokens } else { 1 }
    }

    /// The shape of one row in an array: `(hidden)`, or `(layers, hidden)` if there are several.
    pub(crate) fn row(&self) -> Vec<u64> {
        let layers = (self.layers.len() > 1).then_some(self.layers.len() as u64);
        layers.into_iter().chain([self.hidden as u64]).collect()
    }
}

/// Where vectors go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    StandardOutput,
    File(PathBuf),
}

/// What a writer is told besides where to write.
pub(crate) struct Order<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) encoder: &'a dyn Encoder,
    pub(crate) empty: Empty,
    /// Columns with the texts themselves.
    pub(crate) texts: Texts,
    /// Facts about the run for formats that carry some.
    pub(crate) metadata: &'a [(String, String)],
}

/// Which texts a table repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    None,
    Single,
    Pair,
}

/// Some records with their vectors, in the order of the input.
pub(crate) struct Part<'a> {
    pub(crate) records: &'a [&'a Record],
    /// Number of each record in the input, from 0.
    pub(crate) index: &'a [u64],
    pub(crate) tokens: &'a TokenBatch,
    /// `(rows, layers, hidden)`.
    pub(crate) values: &'a [f32],
}

/// An array of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<u64>,
}

/// Files that are complete but not yet in place, the one that was asked for first.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) files: Vec<StagedFile>,
    pub(crate) arrays: Vec<Array>,
}

/// Receives vectors.
pub(crate) trait Sink {
    /// Takes some records.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&mut self, part: &Part<'_>) -> Result<()>;

    /// Completes the files.
    ///
    /// # Errors
    /// If they cannot be written.
    fn finish(self: Box<Self>) -> Result<Finished>;
}

impl Target {
    /// Refuses to replace a file.
    ///
    /// # Errors
    /// If one of the files that will be written is there.
    pub(crate) fn check(&self) -> Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        let files = std::iter::once(path.clone()).chain(["json", "offsets.npy", "index.npy"].map(|ending| beside(path, ending)));
        match files.into_iter().find(|file| file.exists()) {
            Some(file) => Err(Error::Config(format!("{} is there already; --force replaces it", file.display()))),
            None => Ok(()),
        }
    }

    /// Opens a writer.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn open<'a>(&self, format: Format, order: &Order<'a>) -> Result<Box<dyn Sink + 'a>> {
        Ok(match (self, format) {
            (Self::StandardOutput, _) => Box::new(FeatureLines::to_standard_output(order)),
            (Self::File(path), Format::Jsonl) => Box::new(FeatureLines::create(path, order)?),
            (Self::File(path), Format::Npy) => Box::new(NpyFiles::create(path, order)?),
            (Self::File(path), Format::Safetensors) => Box::new(SafetensorsFile::create(path, order)?),
            (Self::File(path), Format::Parquet) => Box::new(ParquetTable::create(path, order)?),
        })
    }
}
