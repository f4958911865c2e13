//! Which files of a repository make a model.

use serde_json::Value;

const CONFIG: &str = "config.json";
/// What the configuration is called beside the original TensorFlow checkpoints.
const TENSORFLOW_CONFIG: &str = "bert_config.json";

/// Fetched where they exist; a model can do without any of them.
const COMPANIONS: [&str; 7] =
    ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"];

/// The files of a model, chosen from those a repository or a folder has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModelFiles {
    /// Configuration first, then what the tokenizer needs.
    pub(crate) small: Vec<String>,
    /// One kind of weights only.
    pub(crate) weights: Weights,
}

/// Weights in the form that is preferred among those that exist.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// One file.
    Single(String),
    /// An index, which names its shards.
    Sharded(String),
    /// The parts of a TensorFlow checkpoint.
    TensorFlow(Vec<String>),
}

/// What a list of files lacks to be a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    Config,
    Weights,
}

/// Chooses the files of the model among `names`.
pub(crate) fn choose(names: &[String]) -> Result<ModelFiles, Lack> {
    let has = |name: &&str| names.iter().any(|other| other == name);
    let config = [CONFIG, TENSORFLOW_CONFIG].into_iter().find(has).ok_or(Lack::Config)?;
    let small = [config].into_iter().chain(COMPANIONS.into_iter().filter(has)).map(str::to_owned).collect();
    let single = |name: &str| Weights::Single(name.to_owned());
    let weights = match ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"].into_iter().find(has) {
        Some(index) if index.ends_with(".index.json") => Weights::Sharded(index.to_owned()),
        Some(file) => single(file),
        None => Weights::TensorFlow(tensorflow(names).ok_or(Lack::Weights)?),
    };
    Ok(ModelFiles { small, weights })
}

/// The shards that an index names, each once, in the order of their names.
pub(crate) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    let index: Value = serde_json::from_slice(index).map_err(|error| format!("it is not JSON: {error}"))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or("it has no table `weight_map`")?;
    let mut names = Vec::new();
    for (tensor, shard) in map {
        let shard = shard.as_str().ok_or_else(|| format!("the shard of `{}` is not text", tensor.escape_debug()))?;
        check_name(shard)?;
        names.push(shard.to_owned());
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err("its table `weight_map` is empty".to_owned());
    }
    Ok(names)
}

/// Refuses names that could lead out of the snapshot's folder.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let leads_out = |part: &str| part == ".." || part == ".";
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.is_empty() || name.starts_with(['/', '\\']) || drive || name.split(['/', '\\']).any(leads_out) {
        return Err(format!("the file name `{}` leads out of the model's folder", name.escape_debug()));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the file name `{}` has control characters", name.escape_debug()));
    }
    Ok(())
}

/// Whether a tokenizer can be built from `names`.
#[cfg(feature = "download")]
pub(crate) fn has_vocabulary(names: &[String]) -> bool {
    let has = |name: &str| names.iter().any(|other| other == name);
    has("tokenizer.json") || has("vocab.txt") || (has("vocab.json") && has("merges.txt"))
}

/// Whether `name` is weights in a format that is not read.
pub(crate) fn is_unreadable_weights(name: &str) -> bool {
    [".h5", ".msgpack", ".onnx", ".gguf", ".ot"].iter().any(|end| name.ends_with(end))
}

/// The complete TensorFlow checkpoint of the latest step.
fn tensorflow(names: &[String]) -> Option<Vec<String>> {
    let complete = names.iter().filter_map(|index| {
        let stem = index.strip_suffix(".index").filter(|stem| stem.contains(".ckpt") && !stem.contains('/'))?;
        let data: Vec<&String> = names.iter().filter(|name| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".data-"))).collect();
        let (_, count) = data.first()?.rsplit_once("-of-")?;
        if count.parse() != Ok(data.len()) {
            return None;
        }
        let number: u64 = stem.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
        let files = std::iter::once(index).chain(data).cloned().collect();
        Some((number, files))
    });
    complete.max_by_key(|(number, _)| *number).map(|(_, files)| files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn weights_are_chosen_in_order_and_one_kind_only() {
        let all = names(&[
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "bert_model.ckpt.index",
            "bert_model.ckpt.data-00000-of-00001",
            "config.json",
            "README.md",
            "tf_model.h5",
        ]);
        let expected = [
            Weights::Single("model.safetensors".into()),
            Weights::Sharded("model.safetensors.index.json".into()),
            Weights::Single("pytorch_model.bin".into()),
            Weights::Sharded("pytorch_model.bin.index.json".into()),
            Weights::TensorFlow(names(&["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"])),
        ];
        for (first, weights) in expected.into_iter().enumerate() {
            let chosen = choose(&all[first..]).unwrap();
            assert_eq!((chosen.weights, chosen.small), (weights, names(&["config.json"])));
        }
        assert_eq!(choose(&all[6..]), Err(Lack::Weights));
        assert_eq!(choose(&all[7..]), Err(Lack::Config));
    }

    #[test]
    fn companions_come_along_and_the_tensorflow_config_only_alone() {
        let chosen = choose(&names(&["vocab.txt", "x.py", "tokenizer_config.json", "bert_config.json", "pytorch_model.bin"]));
        assert_eq!(chosen.unwrap().small, names(&["bert_config.json", "tokenizer_config.json", "vocab.txt"]));
        let chosen = choose(&names(&["bert_config.json", "config.json", "pytorch_model.bin"]));
        assert_eq!(chosen.unwrap().small, names(&["config.json"]));
    }

    #[test]
    fn the_latest_complete_tensorflow_checkpoint_is_taken() {
        let files = names(&[
            "config.json",
            "model.ckpt-900.index",
            "model.ckpt-900.data-00000-of-00001",
            "model.ckpt-1000.index",
            "model.ckpt-1000.data-00000-of-00002",
            "model.ckpt-1000.data-00001-of-00002",
            "model.ckpt-1000.meta",
            "model.ckpt-2000.index",
            "model.ckpt-2000.data-00000-of-00002",
            "sub/model.ckpt-3000.index",
            "sub/model.ckpt-3000.data-00000-of-00001",
        ]);
        assert_eq!(choose(&files).unwrap().weights, Weights::TensorFlow(files[3..6].to_vec()));
    }

    #[test]
    fn an_index_names_each_shard_once() {
        let index = br#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
        assert_eq!(shards(index).unwrap(), names(&["m-1.safetensors", "m-2.safetensors"]));
        for bad in ["{", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#, r#"{"weight_map": {"a": "../x"}}"#] {
            shards(bad.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["config.json", "onnx/model.onnx", "a..b", "..a", "weird name (1).txt"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "/etc/passwd", "..", "../x", "a/../../x", "a\\..\\x", "\\\\host\\x", "C:x", "a/./b", "a\nb", "a\0"] {
            check_name(name).unwrap_err();
        }
    }
}
