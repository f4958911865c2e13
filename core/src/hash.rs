//! Content hashes: what a job's identity is made of.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A SHA-256 in lower-case hex.
pub type ContentHash = String;

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash of bytes.
pub fn hash_bytes(bytes: &[u8]) -> ContentHash {
    hex(&Sha256::digest(bytes))
}

/// The hash of a JSON value, whatever the order of its keys.
pub fn hash_json(value: &Value) -> ContentHash {
    hash_bytes(canonical(value).to_string().as_bytes())
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// The hash of a file's bytes, or of a folder: its visible files' relative names and bytes, in byte order of the names.
///
/// Only content counts: where a file lies and when it was written does not.
///
/// # Errors
/// If something cannot be read.
pub fn hash_path(path: &Path) -> Result<ContentHash> {
    if !path.is_dir() {
        return hash_file(path);
    }
    let mut names = Vec::new();
    list(path, path, &mut names)?;
    hash_named(names.into_iter().map(|name| (path.join(&name), name)).collect())
}

/// The hash of some files by name and content, whatever their order and whatever folder they lie in.
///
/// # Errors
/// If one cannot be read.
pub fn hash_files(files: &[PathBuf]) -> Result<ContentHash> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    hash_named(files.iter().map(|path| (path.clone(), name(path))).collect())
}

fn hash_named(mut files: Vec<(PathBuf, String)>) -> Result<ContentHash> {
    files.sort_by(|a, b| a.1.cmp(&b.1));
    let mut hasher = Sha256::new();
    for (path, name) in files {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(hash_file(&path)?.as_bytes());
    }
    Ok(hex(&hasher.finalize()))
}

fn hash_file(path: &Path) -> Result<ContentHash> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io(path))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root).expect("an entry lies below its root").to_string_lossy().into_owned();
            files.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_count() {
        let a = serde_json::json!({"a": 1, "b": {"c": 2, "d": 3}});
        let b = serde_json::json!({"b": {"d": 3, "c": 2}, "a": 1});
        assert_eq!(hash_json(&a), hash_json(&b));
    }

    #[test]
    fn a_folder_is_its_names_and_bytes() {
        let make = |name: &str, text: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
            std::fs::write(folder.path().join(".hidden"), "x").unwrap();
            hash_path(folder.path()).unwrap()
        };
        assert_eq!(make("a", "1"), make("a", "1"));
        assert_ne!(make("a", "1"), make("a", "2"));
        assert_ne!(make("a", "1"), make("b", "1"));
    }

    #[test]
    fn files_hash_as_the_folder_that_holds_just_them() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["b", "a"].map(|name| folder.path().join(name));
        for path in &paths {
            std::fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        assert_eq!(hash_files(&paths).unwrap(), hash_path(folder.path()).unwrap());
        std::fs::write(folder.path().join("README.md"), "x").unwrap();
        assert_ne!(hash_files(&paths).unwrap(), hash_path(folder.path()).unwrap());
    }

    #[test]
    fn the_hash_of_nothing_is_the_published_one() {
        assert_eq!(hash_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
