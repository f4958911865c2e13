//! Checkpoints of TensorFlow 1 (and 2): `PREFIX.index` says where in `PREFIX.data-0000K-of-0000N` each variable lies.
//!
//! The index is a sorted table whose values are messages of
//! <https://github.com/tensorflow/tensorflow/blob/v2.16.1/tensorflow/core/protobuf/tensor_bundle.proto>. `PREFIX.meta`, the graph, is not needed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::dtype::Dtype;
use crate::error::{Error, Parsed, Result};
use crate::limits;
use crate::mapped_file::MappedFile;
use crate::protobuf::{Field, Fields};
use crate::sstable;
use crate::values::TensorView;

/// The five digits of a shard's number end here.
const MAX_SHARDS: u64 = 99_999;

/// A checkpoint of TensorFlow.
#[derive(Debug)]
pub(crate) struct TensorflowBundle {
    pub(crate) index: Index,
    pub(crate) shards: Vec<MappedFile>,
}

/// What an index holds.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) variables: BTreeMap<String, Variable>,
    /// How many variables are left out: state of the optimizer, and types that no encoder has.
    pub(crate) skipped: usize,
    shards: u64,
}

/// One variable: its type and its place in a shard.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) shard: usize,
    place: Range<usize>,
    crc: u32,
}

impl TensorflowBundle {
    /// Reads the index and maps its data files, whose paths are appended to `files`.
    pub(crate) fn open(index_path: &Path, files: &mut Vec<PathBuf>) -> Result<Self> {
        let file = MappedFile::open(index_path)?;
        let index = Index::parse(file.as_ref()).map_err(Error::at(index_path))?;
        let mut shards = Vec::new();
        for number in 0..index.shards {
            let path = index_path.with_extension(format!("data-{number:05}-of-{:05}", index.shards));
            if !path.exists() {
                let name = path.file_name().unwrap_or_default().display();
                return Err(Error::new(index_path, format!("its values are in `{name}`, which is not there; download or copy that file too")));
            }
            shards.push(MappedFile::open(&path)?);
            files.push(path);
        }
        for (name, variable) in &index.variables {
            let there = shards[variable.shard].as_ref().len();
            if variable.place.end > there {
                let message = format!("variable `{name}` has the bytes {:?} of a file of {there}; it is damaged or cut off", variable.place);
                return Err(Error::new(&files[files.len() - shards.len() + variable.shard], message));
            }
        }
        Ok(Self { index, shards })
    }

    /// A variable and its bytes, whose checksum has been verified.
    pub(crate) fn view(&self, name: &str) -> Option<Parsed<TensorView<'_>>> {
        let variable = self.index.variables.get(name)?;
        let storage = &self.shards[variable.shard].as_ref()[variable.place.clone()];
        if sstable::masked_crc(crc32c::crc32c(storage)) != variable.crc {
            return Some(Err("its bytes do not have their checksum; the file is damaged, copy or download it again".to_owned()));
        }
        Some(Ok(TensorView { dtype: variable.dtype, shape: &variable.shape, stride: None, offset: 0, storage }))
    }
}

impl Index {
    /// Reads the bytes of a `.index` file.
    pub(crate) fn parse(bytes: &[u8]) -> Parsed<Self> {
        if bytes.len() > limits::HEADER_BYTES {
            return Err(format!("not a TensorFlow index: it has {} bytes, more than the {} that are read", bytes.len(), limits::HEADER_BYTES));
        }
        let records = sstable::read(bytes).map_err(|message| format!("not a TensorFlow index: {message}"))?;
        let mut records = records.into_iter();
        let header = records.next().filter(|(key, _)| key.is_empty()).ok_or("not a TensorFlow index: it has no header; the file is damaged")?;
        let shards = shards(header.1).map_err(|message| format!("the header of the index: {message}"))?;
        let mut index = Self { variables: BTreeMap::new(), skipped: 0, shards };
        for (name, message) in records {
            index.add(name, message)?;
        }
        Ok(index)
    }

    fn add(&mut self, name: Vec<u8>, message: &[u8]) -> Parsed<()> {
        // Pieces of partitioned variables come first, under encoded keys; the variable itself says that it has pieces.
        let Ok(name) = String::from_utf8(name) else {
            return Err("the index has a name that is not UTF-8; it has partitioned variables or is damaged".to_owned());
        };
        if is_optimizer_state(&name) {
            self.skipped += 1;
            return Ok(());
        }
        match variable(message, self.shards).map_err(|message| format!("variable `{}`: {message}", name.escape_debug()))? {
            Some(variable) => {
                self.variables.insert(name, variable);
            }
            None => self.skipped += 1,
        }
        Ok(())
    }
}

/// Whether a variable belongs to the optimizer of BERT or counts its steps.
fn is_optimizer_state(name: &str) -> bool {
    name.split('/').any(|part| matches!(part, "adam_m" | "adam_v" | "global_step") || part.starts_with("AdamWeightDecayOptimizer"))
}

/// The number of data files from a `BundleHeaderProto`.
fn shards(message: &[u8]) -> Parsed<u64> {
    let mut shards = 0;
    for field in Fields::new(message) {
        match field? {
            Field::Number(1, number) => shards = number,
            Field::Number(2, order) if order != 0 => return Err("its numbers are in the byte order `big`; only `little` is read".to_owned()),
            _ => {}
        }
    }
    if shards == 0 || shards > MAX_SHARDS {
        return Err(format!("it claims {shards} data files; 1 to {MAX_SHARDS} are possible, the file is damaged"));
    }
    Ok(shards)
}

/// A variable from a `BundleEntryProto`; `None` if its type is one that no encoder has.
fn variable(message: &[u8], shards: u64) -> Parsed<Option<Variable>> {
    let (mut dtype, mut shape, mut shard, mut offset, mut size, mut crc) = (0, Vec::new(), 0, 0, 0, 0);
    for field in Fields::new(message) {
        match field? {
            Field::Number(1, value) => dtype = value,
            Field::Message(2, message) => shape = dimensions(message)?,
            Field::Number(3, value) => shard = value,
            Field::Number(4, value) => offset = value,
            Field::Number(5, value) => size = value,
            Field::Fixed32(6, value) => crc = value,
            Field::Message(7, _) => return Err("it is partitioned into slices, which are not read; save it with TensorFlow as one variable".to_owned()),
            _ => {}
        }
    }
    let Some(dtype) = Dtype::of_tensorflow(dtype) else { return Ok(None) };
    let bytes = limits::elements(&shape).and_then(|count| count.checked_mul(dtype.size()));
    if bytes.is_none_or(|bytes| bytes as u64 != size) {
        return Err(format!("its shape {shape:?} of {dtype} does not take the {size} bytes that it has; the file is damaged"));
    }
    let place = |place: Option<u64>| place.and_then(|place| usize::try_from(place).ok()).ok_or("its place is larger than can be counted; the file is damaged");
    let place = place(Some(offset))?..place(offset.checked_add(size))?;
    let shard = usize::try_from(shard).ok().filter(|shard| (*shard as u64) < shards).ok_or_else(|| format!("it is in data file {shard} of {shards}"))?;
    Ok(Some(Variable { dtype, shape, shard, place, crc }))
}

/// The sizes of a `TensorShapeProto`.
fn dimensions(message: &[u8]) -> Parsed<Vec<usize>> {
    let mut shape = Vec::new();
    for field in Fields::new(message) {
        match field? {
            Field::Message(2, dimension) => {
                let mut size = 0;
                for field in Fields::new(dimension) {
                    if let Field::Number(1, value) = field? {
                        size = usize::try_from(value).map_err(|_| format!("it has a dimension of {value}; the file is damaged"))?;
                    }
                }
                shape.push(size);
            }
            Field::Number(3, unknown) if unknown != 0 => return Err("its shape is unknown".to_owned()),
            _ => {}
        }
        if shape.len() > limits::DIMENSIONS {
            return Err(format!("it has more than {} dimensions", limits::DIMENSIONS));
        }
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimizer_state_is_told_from_weights() {
        for name in ["bert/pooler/dense/kernel/adam_m", "a/adam_v", "global_step", "a/AdamWeightDecayOptimizer_1"] {
            assert!(is_optimizer_state(name), "{name}");
        }
        for name in ["bert/pooler/dense/kernel", "cls/predictions/output_bias", "adam_mixer/kernel"] {
            assert!(!is_optimizer_state(name), "{name}");
        }
    }

    #[test]
    fn headers_of_other_machines_are_refused() {
        assert_eq!(shards(&[8, 2]), Ok(2));
        assert!(shards(&[8, 1, 16, 1]).unwrap_err().contains("byte order `big`"));
        assert!(shards(&[]).unwrap_err().contains("claims 0 data files"));
        assert!(shards(&[8, 0xff, 0xff, 0xff, 0xff, 0x0f]).unwrap_err().contains("claims 4294967295 data files"));
    }

    #[test]
    fn slices_and_lies_are_refused() {
        // dtype 1, shape [2], offset 0, size 8.
        let message = [8, 1, 18, 4, 18, 2, 8, 2, 40, 8];
        assert_eq!(variable(&message, 1).unwrap().unwrap().shape, [2]);
        assert!(variable(&[&message[..], &[58, 0]].concat(), 1).unwrap_err().contains("partitioned into slices"));
        assert!(variable(&[&message[..], &[40, 9]].concat(), 1).unwrap_err().contains("does not take the 9 bytes"));
        assert!(variable(&[&message[..], &[24, 1]].concat(), 1).unwrap_err().contains("data file 1 of 1"));
        assert!(variable(&[8, 7], 1).unwrap().is_none(), "text is left out");
    }
}
