//! Vectors as tensors of one safetensors file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use lmprobe_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::format::{Array, Finished, Order, Part, Sink};
use super::pooling::Pooling;
use super::spool::Spool;
use super::staged_file::{StagedFile, little_endian};
use super::stream::Empty;

/// `embeddings`, and behind them `offsets`, `ids` and `special` if there is a vector a token, and `index` if records may be left out.
///
/// The vectors stream into the file; what stands behind them waits in spools, and the header, which may end in blanks, is written last.
pub(crate) struct SafetensorsFile {
    staged: StagedFile,
    out: BufWriter<File>,
    header: usize,
    metadata: Value,
    row: Vec<u64>,
    vector_bytes: u64,
    width: usize,
    rows: u64,
    tokens: i64,
    others: Vec<Other>,
}

/// A tensor behind the vectors.
struct Other {
    name: &'static str,
    dtype: &'static str,
    n: u64,
    spool: Spool,
}

impl SafetensorsFile {
    pub(crate) fn create(path: &Path, order: &Order<'_>) -> Result<Self> {
        let staged = StagedFile::create(path)?;
        let other = |name, dtype| -> Result<Other> { Ok(Other { name, dtype, n: 0, spool: Spool::create(path)? }) };
        let mut others = Vec::new();
        if order.shape.pooling == Pooling::Tokens {
            others = vec![other("offsets", "I64")?, other("ids", "I64")?, other("special", "U8")?];
            others[0].push(1, &0i64.to_le_bytes())?;
        }
        if order.empty == Empty::Skip {
            others.insert(0, other("index", "I64")?);
        }
        let metadata: Map<String, Value> = order.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut file = Self {
            out: staged.writer()?,
            staged,
            header: 0,
            metadata: Value::Object(metadata),
            row: order.shape.row(),
            vector_bytes: 0,
            width: order.shape.width(),
            rows: 0,
            tokens: 0,
            others,
        };
        // Room for the longest numbers there are. Data must start at a multiple of eight.
        file.header = file.header_of(u64::MAX, |_| (u64::MAX, u64::MAX)).to_string().len().next_multiple_of(8);
        file.out.write_all(&vec![b' '; 8 + file.header]).map_err(Error::io(path))?;
        Ok(file)
    }

    /// The header for so many rows; `place` says where the tensors behind the vectors begin and end.
    fn header_of(&self, rows: u64, place: impl Fn(usize) -> (u64, u64)) -> Value {
        let mut header = Map::new();
        header.insert("__metadata__".into(), self.metadata.clone());
        let shape: Vec<u64> = std::iter::once(rows).chain(self.row.iter().copied()).collect();
        // `u64::MAX` rows stand for the longest header; their bytes are as long a number.
        let end = if rows == u64::MAX { u64::MAX } else { self.vector_bytes };
        header.insert("embeddings".into(), json!({"dtype": "F32", "shape": shape, "data_offsets": [0, end]}));
        for (at, other) in self.others.iter().enumerate() {
            let (start, end) = place(at);
            let n = if rows == u64::MAX { u64::MAX } else { other.n };
            header.insert(other.name.into(), json!({"dtype": other.dtype, "shape": [n], "data_offsets": [start, end]}));
        }
        Value::Object(header)
    }
}

impl Other {
    fn push(&mut self, n: usize, bytes: &[u8]) -> Result<()> {
        self.n += n as u64;
        self.spool.write(bytes)
    }
}

impl Sink for SafetensorsFile {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        let bytes = little_endian(part.values.iter().copied(), f32::to_le_bytes);
        self.out.write_all(&bytes).map_err(Error::io(self.staged.path()))?;
        self.vector_bytes += bytes.len() as u64;
        self.rows += (part.values.len() / self.width) as u64;
        let tokens = part.tokens;
        for other in &mut self.others {
            match other.name {
                "index" => other.push(part.index.len(), &little_endian(part.index.iter().copied(), u64::to_le_bytes))?,
                "offsets" => {
                    let ends = tokens.offsets[1..].iter().map(|end| self.tokens + i64::try_from(*end).unwrap_or(i64::MAX));
                    other.push(tokens.len(), &little_endian(ends, i64::to_le_bytes))?;
                }
                "ids" => other.push(tokens.ids.len(), &little_endian(tokens.ids.iter().map(|id| i64::from(*id)), i64::to_le_bytes))?,
                _ => other.push(tokens.special.len(), &little_endian(tokens.special.iter().map(|special| u8::from(*special)), u8::to_le_bytes))?,
            }
        }
        self.tokens += i64::try_from(tokens.ids.len()).unwrap_or(i64::MAX);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        let mut places = Vec::with_capacity(self.others.len());
        let mut end = self.vector_bytes;
        for other in &self.others {
            places.push((end, end + other.spool.bytes()));
            end += other.spool.bytes();
        }
        let mut header = self.header_of(self.rows, |at| places[at]).to_string().into_bytes();
        header.resize(self.header, b' ');
        let mut first = (self.header as u64).to_le_bytes().to_vec();
        first.append(&mut header);
        let mut arrays = vec![Array { name: "embeddings".into(), dtype: "F32", shape: std::iter::once(self.rows).chain(self.row).collect() }];
        for other in self.others {
            arrays.push(Array { name: other.name.into(), dtype: other.dtype, shape: vec![other.n] });
            other.spool.pour(&mut self.out)?;
        }
        self.out.flush().map_err(Error::io(self.staged.path()))?;
        self.staged.patch(&first)?;
        Ok(Finished { files: vec![self.staged], arrays })
    }
}
