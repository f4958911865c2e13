//! Which file of a model folder is its checkpoint.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The usual files in the order in which they are looked for.
const FILES: [&str; 4] = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Files that hold weights but are not read, by the end of their names.
const NOT_READ: [&str; 5] = [".h5", ".msgpack", ".onnx", ".gguf", ".ckpt.meta"];

/// Finds the checkpoint of a folder.
pub(crate) fn find(folder: &Path) -> Result<PathBuf> {
    if let Some(path) = FILES.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        return Ok(path);
    }
    let names = names(folder)?;
    let indices: Vec<&String> = names.iter().filter(|name| is_tensorflow_index(name, &names)).collect();
    match indices[..] {
        [name] => Ok(folder.join(name)),
        [] => {
            let there: Vec<&str> = names.iter().filter(|name| NOT_READ.iter().any(|end| name.ends_with(end))).map(String::as_str).collect();
            let hint = match there[..] {
                [] => String::new(),
                _ => format!("; `{}` is there, but files of that kind are not read", there.join("`, `")),
            };
            Err(Error::new(folder, format!("no checkpoint in this folder: none of `{}` and no `*.ckpt.index` of TensorFlow{hint}", FILES.join("`, `"))))
        }
        _ => {
            let names = indices.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("`, `");
            Err(Error::new(folder, format!("several checkpoints in this folder: `{names}`; keep one, or name the file instead of the folder")))
        }
    }
}

/// The names in a folder, sorted so that messages do not depend on the disk.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(Error::at(folder))? {
        names.push(entry.map_err(Error::at(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn is_tensorflow_index(name: &str, names: &[String]) -> bool {
    name.strip_suffix(".index").is_some_and(|prefix| {
        let data = format!("{prefix}.data-00000-of-");
        prefix.contains("ckpt") || names.iter().any(|name| name.starts_with(&data))
    })
}
