//! Vectors as a table.

use std::fs::File;
use std::path::Path;

use lmprobe_core::{Error, Result};
use polars::io::parquet::write::BatchedWriter;
use polars::prelude::{
    Column, DataFrame, DataType, Field, IntoColumn, KeyValueMetadata, NamedFrom, ParquetWriter, ReshapeDimension, Schema, Series, StatisticsOptions,
};

use super::format::{Array, Finished, Order, Part, Shape, Sink, Texts};
use super::pooling::Pooling;
use super::staged_file::StagedFile;

/// A row a text and layer, or a token and layer; a row group a part.
pub(crate) struct ParquetTable<'a> {
    staged: StagedFile,
    writer: BatchedWriter<File>,
    shape: &'a Shape,
    texts: Texts,
    encoder: &'a dyn lmprobe_core::Encoder,
    rows: u64,
}

impl<'a> ParquetTable<'a> {
    pub(crate) fn create(path: &Path, order: &Order<'a>) -> Result<Self> {
        let staged = StagedFile::create(path)?;
        let schema = schema(order.shape, order.texts);
        let metadata = order.metadata.iter().map(|(name, value)| (format!("lmprobe.{name}"), value.clone())).collect();
        let writer = ParquetWriter::new(staged.handle()?)
            // Smallest and largest of a vector's numbers help no query.
            .with_statistics(StatisticsOptions::empty())
            .with_key_value_metadata(Some(KeyValueMetadata::from_static(metadata)))
            .batched(&schema)?;
        Ok(Self { staged, writer, shape: order.shape, texts: order.texts, encoder: order.encoder, rows: 0 })
    }

    /// What a row says of its text, repeated for every layer.
    fn of_texts(&self, part: &Part<'_>) -> Vec<Column> {
        let n = self.shape.layers.len();
        let each = || (0..part.records.len()).flat_map(|at| std::iter::repeat_n(at, n));
        let mut columns = vec![column("index", each().map(|at| part.index[at]).collect::<Vec<_>>())];
        if self.texts != Texts::None {
            columns.push(column("text", each().map(|at| part.records[at].text.as_str()).collect::<Vec<_>>()));
        }
        if self.texts == Texts::Pair {
            columns.push(column("pair", each().map(|at| part.records[at].pair.as_deref()).collect::<Vec<_>>()));
        }
        columns
    }

    /// What a row says of its token, repeated for every layer.
    fn of_tokens(&self, part: &Part<'_>) -> Vec<Column> {
        let (tokens, n) = (part.tokens, self.shape.layers.len());
        let each = || (0..tokens.ids.len()).flat_map(|at| std::iter::repeat_n(at, n));
        let owner: Vec<usize> = (0..tokens.len()).flat_map(|index| std::iter::repeat_n(index, tokens.sequence_len(index))).collect();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let texts: Vec<String> = tokens.ids.iter().map(|&id| self.encoder.token(id).unwrap_or_default()).collect();
        vec![
            column("index", each().map(|at| part.index[owner[at]]).collect::<Vec<_>>()),
            column("token_index", each().map(|at| number(at - tokens.offsets[owner[at]])).collect::<Vec<_>>()),
            column("token", each().map(|at| texts[at].as_str()).collect::<Vec<_>>()),
            column("id", each().map(|at| tokens.ids[at]).collect::<Vec<_>>()),
            column("word", each().map(|at| tokens.word_ids[at]).collect::<Vec<_>>()),
            column("start", each().map(|at| tokens.char_offsets[at].0).collect::<Vec<_>>()),
            column("end", each().map(|at| tokens.char_offsets[at].1).collect::<Vec<_>>()),
            column("special", each().map(|at| tokens.special[at]).collect::<Vec<_>>()),
        ]
    }
}

impl Sink for ParquetTable<'_> {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        let rows = part.values.len() / self.shape.hidden;
        if rows == 0 {
            return Ok(());
        }
        let mut columns = if self.shape.pooling == Pooling::Tokens { self.of_tokens(part) } else { self.of_texts(part) };
        let layers: Vec<i32> = self.shape.layers.iter().map(|(_, layer)| i32::try_from(*layer).unwrap_or(i32::MAX)).collect();
        columns.push(column("layer", layers.iter().copied().cycle().take(rows).collect::<Vec<_>>()));
        let dimensions = [ReshapeDimension::Infer, ReshapeDimension::new_dimension(self.shape.hidden as u64)];
        columns.push(Series::new("embedding".into(), part.values).reshape_array(&dimensions)?.into_column());
        self.writer.write_batch(&DataFrame::new(rows, columns)?)?;
        self.rows += rows as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Finished> {
        self.writer.finish().map_err(|error| Error::data(self.staged.path(), None, format!("cannot be completed ({error})")))?;
        let array = Array { name: "embedding".into(), dtype: "F32", shape: vec![self.rows, self.shape.hidden as u64] };
        Ok(Finished { files: vec![self.staged], arrays: vec![array] })
    }
}

fn column<T, P: AsRef<T>>(name: &str, values: P) -> Column
where
    T: ?Sized,
    Series: NamedFrom<P, T>,
{
    Series::new(name.into(), values).into_column()
}

fn schema(shape: &Shape, texts: Texts) -> Schema {
    let mut columns = vec![("index", DataType::UInt64)];
    if shape.pooling == Pooling::Tokens {
        columns.extend([("token_index", DataType::UInt32), ("token", DataType::String), ("id", DataType::UInt32), ("word", DataType::UInt32)]);
        columns.extend([("start", DataType::UInt32), ("end", DataType::UInt32), ("special", DataType::Boolean)]);
    }
    if texts != Texts::None {
        columns.push(("text", DataType::String));
    }
    if texts == Texts::Pair {
        columns.push(("pair", DataType::String));
    }
    columns.extend([("layer", DataType::Int32), ("embedding", DataType::Array(Box::new(DataType::Float32), shape.hidden))]);
    columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype)).collect()
}
