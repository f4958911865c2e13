//! The format of `torch.save` before PyTorch 1.6: five pickles, then the storages one after the other.
//!
//! The pickles are a magic number, the version of the protocol, facts on the machine, what was saved, and the keys of the storages in their order; each
//! storage is its number of values in eight bytes and then the values.
//! <https://github.com/pytorch/pytorch/blob/v2.4.0/torch/serialization.py>, `_legacy_load`.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::dtype::Dtype;
use crate::error::Parsed;
use crate::mapped_file::MappedFile;
use crate::pickle::{Pickle, Value};
use crate::state_dict::{self, StateTensor};

/// The pickle of the magic number 0x1950a86a20f9469cfc6c without its end.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The version of every file of this format since PyTorch 0.1.10.
const PROTOCOL: i64 = 1001;

/// The places of the storages by key.
#[derive(Debug)]
pub(crate) struct LegacyStorages {
    file: MappedFile,
    places: BTreeMap<String, Range<usize>>,
}

/// Whether a file begins with the magic number.
pub(crate) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads the pickles of a file and finds its storages.
pub(crate) fn open(file: &MappedFile) -> Parsed<(BTreeMap<String, StateTensor>, LegacyStorages)> {
    let bytes = file.as_ref();
    let mut at = Pickle::read(bytes)?.length;
    let protocol = next(bytes, &mut at)?;
    if !matches!(protocol.root(), Value::Int(PROTOCOL)) {
        return Err(format!("the file has another version of the format than {PROTOCOL}, which PyTorch 0.1.10 to 1.5 wrote"));
    }
    if !is_little_endian(&next(bytes, &mut at)?) {
        return Err("its numbers are in the byte order of another machine (`big`); only `little` is read".to_owned());
    }
    let saved = next(bytes, &mut at)?;
    let keys = next(bytes, &mut at)?;
    let places = places(bytes, at, &saved, &keys)?;
    let tensors = state_dict::tensors(&saved)?;
    if let Some((name, tensor)) = tensors.iter().find(|(_, tensor)| !places.contains_key(&tensor.key)) {
        return Err(format!("tensor `{name}`: its storage `{}` is missing; the file is damaged", tensor.key));
    }
    Ok((tensors, LegacyStorages { file: file.clone(), places }))
}

fn next<'a>(bytes: &'a [u8], at: &mut usize) -> Parsed<Pickle<'a>> {
    let start = *at;
    let pickle = Pickle::read(&bytes[start..]).map_err(|message| format!("{message}, which starts at byte {start} of the file"))?;
    *at += pickle.length;
    Ok(pickle)
}

/// What the third pickle says; a missing answer is one that `torch.load` would take as well.
fn is_little_endian(facts: &Pickle<'_>) -> bool {
    let Value::Dict(pairs) = facts.root() else { return false };
    !pairs.iter().any(|(key, value)| match (facts.value(*key), facts.value(*value)) {
        (Value::Text(key), Value::Bool(value)) => facts.bytes(*key) == b"little_endian" && !value,
        _ => false,
    })
}

/// Walks over the storages, whose lengths follow from the pickle and must agree with the file.
fn places(bytes: &[u8], mut at: usize, saved: &Pickle<'_>, keys: &Pickle<'_>) -> Parsed<BTreeMap<String, Range<usize>>> {
    let storages = state_dict::storages(saved)?;
    let Value::List(keys_in_order) = keys.root() else {
        return Err("the file has no list of its storages; it is damaged".to_owned());
    };
    let mut places = BTreeMap::new();
    for key in keys_in_order {
        let Value::Text(key) = keys.value(*key) else {
            return Err("the file has a storage whose key is not text; it is damaged".to_owned());
        };
        let key = keys.text(*key)?;
        let storage = storages.get(key).ok_or_else(|| format!("the file lists a storage `{key}` that no tensor uses; it is damaged"))?;
        let cut_off = || format!("storage `{key}` of {} values reaches beyond the file; it is damaged or cut off", storage.count);
        let count = bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|count| u64::from_le_bytes(*count)).ok_or_else(cut_off)?;
        if count != storage.count as u64 {
            return Err(format!("storage `{key}` has {count} values in the file and {} in the pickle; the file is damaged", storage.count));
        }
        // Bytes without a type are counted as bytes.
        let start = at + 8;
        let end = storage.count.checked_mul(storage.dtype.map_or(1, Dtype::size)).and_then(|length| start.checked_add(length));
        at = end.filter(|end| *end <= bytes.len()).ok_or_else(cut_off)?;
        if places.insert(key.to_owned(), start..at).is_some() {
            return Err(format!("the file has storage `{key}` twice; it is damaged"));
        }
    }
    Ok(places)
}

impl LegacyStorages {
    /// The bytes of a storage. The format has no checksums.
    pub(crate) fn bytes(&self, key: &str) -> Parsed<&[u8]> {
        let place = self.places.get(key).ok_or_else(|| format!("its storage `{key}` is missing"))?;
        Ok(&self.file.as_ref()[place.clone()])
    }
}
