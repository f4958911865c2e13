//! Vectors as arrays of numpy.

use std::path::Path;

use lmprobe_core::Result;

use super::format::{Finished, Order, Part, Sink};
use super::npy_file::{Kind, NpyFile};
use super::pooling::Pooling;
use super::staged_file::{beside, little_endian};
use super::stream::Empty;

/// `OUT` with the vectors; `OUT.offsets.npy` with the boundaries of the texts if there is a vector a token; `OUT.index.npy` with the
/// numbers of the records if some may be left out.
pub(crate) struct NpyFiles {
    vectors: NpyFile,
    offsets: Option<NpyFile>,
    index: Option<NpyFile>,
    width: usize,
    tokens: i64,
}

impl NpyFiles {
    pub(crate) fn create(path: &Path, order: &Order<'_>) -> Result<Self> {
        let vectors = NpyFile::create(path, Kind::F32, order.shape.row())?;
        let mut offsets = None;
        if order.shape.pooling == Pooling::Tokens {
            let mut file = NpyFile::create(&beside(path, "offsets.npy"), Kind::I64, vec![])?;
            file.write(1, &0i64.to_le_bytes())?;
            offsets = Some(file);
        }
        let index = (order.empty == Empty::Skip).then(|| NpyFile::create(&beside(path, "index.npy"), Kind::I64, vec![])).transpose()?;
        Ok(Self { vectors, offsets, index, width: order.shape.width(), tokens: 0 })
    }
}

impl Sink for NpyFiles {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        self.vectors.write((part.values.len() / self.width) as u64, &little_endian(part.values.iter().copied(), f32::to_le_bytes))?;
        if let Some(offsets) = &mut self.offsets {
            for index in 0..part.tokens.len() {
                self.tokens += i64::try_from(part.tokens.sequence_len(index)).unwrap_or(i64::MAX);
                offsets.write(1, &self.tokens.to_le_bytes())?;
            }
        }
        if let Some(index) = &mut self.index {
            index.write(part.index.len() as u64, &little_endian(part.index.iter().copied(), u64::to_le_bytes))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Finished> {
        let mut finished = Finished::default();
        for (name, file) in [("embeddings", Some(self.vectors)), ("offsets", self.offsets), ("index", self.index)] {
            if let Some(file) = file {
                let (file, array) = file.finish(name)?;
                finished.files.push(file);
                finished.arrays.push(array);
            }
        }
        Ok(finished)
    }
}
