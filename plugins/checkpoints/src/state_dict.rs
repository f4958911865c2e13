//! The tensors of a pickled state dict.

use std::collections::BTreeMap;

use crate::dtype::Dtype;
use crate::error::Parsed;
use crate::limits;
use crate::pickle::{Id, Pickle, Storage, Tensor, Value};
use crate::values::TensorView;

/// Keys under which training loops keep the state dict of the model, in the order in which they are looked for.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Longest key of a storage; PyTorch writes a counter or an address.
const KEY_BYTES: usize = 64;

/// How often a dictionary may lie in another.
const DEPTH: usize = 4;

/// One tensor: what it looks at and how.
#[derive(Debug, Clone)]
pub(crate) struct StateTensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    stride: Vec<usize>,
    offset: usize,
    /// The name of its storage.
    pub(crate) key: String,
    /// The length of its storage in bytes.
    pub(crate) storage_bytes: usize,
}

impl StateTensor {
    /// The tensor over the bytes of its storage.
    pub(crate) fn view<'a>(&'a self, storage: &'a [u8]) -> TensorView<'a> {
        TensorView { dtype: self.dtype, shape: &self.shape, stride: Some(&self.stride), offset: self.offset, storage }
    }
}

/// The tensors of a pickle by name.
///
/// They are those of the dictionary that was saved, or, if it has another dictionary under the key `state_dict`, `model_state_dict` or `model` (the first
/// of these, and again inside it), of that one. Entries that are not tensors are left out, and so are other nested dictionaries.
pub(crate) fn tensors(pickle: &Pickle<'_>) -> Parsed<BTreeMap<String, StateTensor>> {
    let mut tensors = BTreeMap::new();
    // Later entries replace earlier ones of the same name, as in Python.
    for (key, value) in state_dict(pickle)?.iter().rev() {
        let (Value::Text(key), Value::Tensor(tensor)) = (pickle.value(*key), pickle.value(*value)) else { continue };
        let name = pickle.text(*key)?;
        if !tensors.contains_key(name) {
            let tensor = state_tensor(pickle, tensor).map_err(|message| format!("tensor `{name}`: {message}"))?;
            tensors.insert(name.to_owned(), tensor);
        }
        if tensors.len() > limits::TENSORS {
            return Err(format!("the pickle has more than {} tensors", limits::TENSORS));
        }
    }
    Ok(tensors)
}

/// Each storage that the pickle speaks of, by its key.
pub(crate) fn storages<'a>(pickle: &Pickle<'a>) -> Parsed<BTreeMap<&'a str, Storage>> {
    let mut storages = BTreeMap::new();
    for value in pickle.values() {
        let Value::Storage(storage) = value else { continue };
        let key = pickle.text(storage.key)?;
        let first = *storages.entry(key).or_insert(*storage);
        if (first.dtype, first.count) != (storage.dtype, storage.count) {
            return Err(format!("the pickle describes storage `{key}` in two ways; the file is damaged"));
        }
    }
    Ok(storages)
}

/// The dictionary whose values are the tensors.
fn state_dict<'p>(pickle: &'p Pickle<'_>) -> Parsed<&'p [(Id, Id)]> {
    let mut found = pickle.root();
    for _ in 0..DEPTH {
        let Value::Dict(pairs) = found else {
            return Err("what was pickled is not a dictionary of tensors; save the state dict of the model (`torch.save(model.state_dict(), ..)`)".to_owned());
        };
        match NESTED.into_iter().find_map(|name| nested(pickle, pairs, name)) {
            Some(inner) => found = inner,
            None => return Ok(pairs),
        }
    }
    Err(format!("the dictionary of tensors lies in more than {DEPTH} others"))
}

fn nested<'p>(pickle: &'p Pickle<'_>, pairs: &[(Id, Id)], name: &str) -> Option<&'p Value> {
    pairs.iter().rev().find_map(|(key, value)| match (pickle.value(*key), pickle.value(*value)) {
        (Value::Text(key), dict @ Value::Dict(_)) if pickle.bytes(*key) == name.as_bytes() => Some(dict),
        _ => None,
    })
}

fn state_tensor(pickle: &Pickle<'_>, tensor: &Tensor) -> Parsed<StateTensor> {
    let key = pickle.text(tensor.storage.key)?;
    if key.len() > KEY_BYTES {
        return Err(format!("its storage has a name of {} bytes; the file is damaged", key.len()));
    }
    let storage_bytes = tensor.storage.bytes().ok_or("its storage is larger than can be counted; the file is damaged")?;
    let made = StateTensor {
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        stride: tensor.stride.clone(),
        offset: tensor.offset,
        key: key.to_owned(),
        storage_bytes,
    };
    made.view(&[]).check(storage_bytes / tensor.dtype.size())?;
    Ok(made)
}
