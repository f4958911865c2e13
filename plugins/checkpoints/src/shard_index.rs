//! `model.safetensors.index.json` and `pytorch_model.bin.index.json`: which tensor is in which file.
//!
//! <https://huggingface.co/docs/transformers/big_models>

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::error::Parsed;
use crate::limits;

/// An index of shards.
#[derive(Debug, Deserialize)]
pub(crate) struct ShardIndex {
    weight_map: WeightMap,
}

/// The number of a shard by the name of a tensor, and the names of the shards.
#[derive(Debug, Default)]
struct WeightMap {
    tensors: BTreeMap<String, usize>,
    files: Vec<String>,
}

impl ShardIndex {
    /// Reads an index; its files are plain names in its own folder.
    pub(crate) fn parse(bytes: &[u8]) -> Parsed<Self> {
        if bytes.len() > limits::HEADER_BYTES {
            return Err(format!("the index has {} bytes, more than the {} that are read", bytes.len(), limits::HEADER_BYTES));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(|error| format!("not an index of shards ({error}); the file is damaged"))?;
        if index.weight_map.files.is_empty() {
            return Err("the index names no files".to_owned());
        }
        if let Some(name) = index.weight_map.files.iter().find(|name| !is_plain(name)) {
            return Err(format!("the index names the file `{name}`; only files in the folder of the index are read"));
        }
        Ok(index)
    }

    /// Names of the shards.
    pub(crate) fn files(&self) -> &[String] {
        &self.weight_map.files
    }

    /// The tensors that a shard should have.
    pub(crate) fn tensors_of(&self, shard: usize) -> impl Iterator<Item = &String> {
        self.weight_map.tensors.iter().filter(move |(_, of)| **of == shard).map(|(name, _)| name)
    }
}

/// Whether a name is that of a file in the same folder, on every system.
fn is_plain(name: &str) -> bool {
    !name.contains(['/', '\\', ':', '\0']) && matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(part)] if part == name)
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with the file of each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let (mut tensors, mut files) = (BTreeMap::new(), BTreeMap::new());
                while let Some((name, file)) = map.next_entry::<String, String>()? {
                    let next = files.len();
                    let shard = *files.entry(file).or_insert(next);
                    match tensors.entry(name) {
                        btree_map::Entry::Occupied(entry) => return Err(A::Error::custom(format!("tensor `{}` is there twice", entry.key()))),
                        btree_map::Entry::Vacant(entry) => entry.insert(shard),
                    };
                    if tensors.len() > limits::TENSORS {
                        return Err(A::Error::custom(format!("it has more than {} tensors", limits::TENSORS)));
                    }
                }
                let files: BTreeSet<(usize, String)> = files.into_iter().map(|(file, shard)| (shard, file)).collect();
                Ok(WeightMap { tensors, files: files.into_iter().map(|(_, file)| file).collect() })
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_elsewhere_are_refused() {
        for name in ["../a.bin", "/a.bin", "b/a.bin", "b\\\\a.bin", "..", ".", "", "c:a.bin", "./a.bin", "a.bin/"] {
            let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            let message = ShardIndex::parse(index.as_bytes()).unwrap_err();
            assert!(message.contains("only files in the folder of the index are read"), "{name}: {message}");
        }
    }

    #[test]
    fn damaged_indices_say_so() {
        for (index, expected) in [
            ("", "not an index of shards (EOF"),
            ("{}", "missing field `weight_map`"),
            (r#"{"weight_map": {}}"#, "names no files"),
            (r#"{"weight_map": {"a": 1}}"#, "expected a string"),
            (r#"{"weight_map": {"a": "b", "a": "b"}}"#, "tensor `a` is there twice"),
        ] {
            let message = ShardIndex::parse(index.as_bytes()).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
