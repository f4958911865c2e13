//! Reading the files of a tokenizer.

use std::io::Read;
use std::path::Path;

use lmprobe_checkpoints::vocabulary::{Merge, MergesFormat, Vocabulary, VocabularyError};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{Error, Result};

/// The largest tokenizer file that is read. The largest of published models have about half of it.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// `vocab.txt` as [`lmprobe_checkpoints::vocabulary::read_vocab_txt`] reads it.
pub(super) fn vocab_txt(path: &Path, bytes: &[u8]) -> Result<Vocabulary> {
    lmprobe_checkpoints::vocabulary::read_vocab_txt(path, bytes).map_err(|error| located(path, error))
}

/// `vocab.json` as [`lmprobe_checkpoints::vocabulary::read_vocab_json`] reads it.
pub(super) fn vocab_json(path: &Path, bytes: &[u8]) -> Result<Vocabulary> {
    lmprobe_checkpoints::vocabulary::read_vocab_json(bytes).map_err(|error| located(path, error))
}

/// `merges.txt` as [`lmprobe_checkpoints::vocabulary::read_merges_txt`] reads it.
pub(super) fn merges_txt(path: &Path, bytes: &[u8], format: MergesFormat) -> Result<Vec<Merge>> {
    lmprobe_checkpoints::vocabulary::read_merges_txt(bytes, format).map_err(|error| located(path, error))
}

fn located(path: &Path, error: VocabularyError) -> Error {
    Error::data(path, error.line, error.message)
}

/// The id of a piece that the tokenizer cannot do without.
pub(super) fn needed(vocabulary: &Vocabulary, piece: &str, path: &Path) -> Result<u32> {
    vocabulary.ids.get(piece).copied().ok_or_else(|| Error::data(path, None, format!("the vocabulary has no `{piece}`")))
}

/// Reads a tokenizer file, or nothing where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::io(path))?,
    };
    let mut bytes = Vec::new();
    // The length is checked on what was read: special files have none.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::model(path, format!("larger than {} MiB, which no tokenizer file is", MAX_FILE_BYTES >> 20)));
    }
    Ok(Some(bytes))
}

/// Reads a JSON object, or nothing where there is no such file.
pub(super) fn json_if_there(path: &Path) -> Result<Option<Value>> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(Some(value)),
        Ok(_) => Err(Error::data(path, None, "not a JSON object")),
        Err(error) => Err(Error::data(path, error.line(), format!("not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.txt");
        std::fs::File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(read_if_there(&path).unwrap_err().to_string().contains("larger than 64 MiB"));
        assert_eq!(read_if_there(&folder.path().join("none")).unwrap(), None);
    }
}
