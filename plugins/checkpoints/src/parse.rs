//! The parsers by themselves: bytes in, tensors or an error out. Fuzzing starts here.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::Entry;
use crate::error::{Error, Parsed, Result};
use crate::mapped_file::MappedFile;
use crate::pickle::Pickle;
use crate::torch_file::TorchFile;
use crate::values::TensorView;
use crate::{safetensors_file, state_dict, tensorflow_bundle};

/// The tensors that the pickle of a state dict (`data.pkl`) describes.
///
/// # Errors
/// If it is damaged or asks for more than tensors.
pub fn pickle(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    named("pickle", || {
        let tensors = state_dict::tensors(&Pickle::read(bytes)?)?;
        Ok(tensors.into_iter().map(|(name, tensor)| (name, Entry { dtype: tensor.dtype, shape: tensor.shape })).collect())
    })
}

/// The tensors of a safetensors file, each inside `bytes`.
///
/// # Errors
/// If the header is damaged.
pub fn safetensors_header(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    named("header", || {
        let tensors = safetensors_file::header(bytes)?;
        Ok(tensors.into_iter().map(|(name, tensor)| (name, Entry { dtype: tensor.dtype, shape: tensor.shape })).collect())
    })
}

/// The variables of an index of TensorFlow.
///
/// # Errors
/// If it is damaged.
pub fn tensorflow_index(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    named("index", || {
        let index = tensorflow_bundle::Index::parse(bytes)?;
        Ok(index.variables.into_iter().map(|(name, variable)| (name, Entry { dtype: variable.dtype, shape: variable.shape })).collect())
    })
}

/// The tensors of a whole file of `torch.save`; the values of those that can be read are read as well.
///
/// # Errors
/// If it is damaged, its values included.
pub fn torch_file(bytes: Vec<u8>) -> Result<BTreeMap<String, Entry>> {
    named("file", || {
        let file = TorchFile::new(&MappedFile::from(bytes))?;
        for (name, tensor) in &file.tensors {
            if tensor.dtype.is_readable() {
                file.view(name).unwrap_or_else(|| Err("it is not there".to_owned())).and_then(TensorView::to_f32)?;
            }
        }
        Ok(file.tensors.into_iter().map(|(name, tensor)| (name, Entry { dtype: tensor.dtype, shape: tensor.shape })).collect())
    })
}

fn named<T>(what: &str, parse: impl FnOnce() -> Parsed<T>) -> Result<T> {
    parse().map_err(Error::at(Path::new(what)))
}
