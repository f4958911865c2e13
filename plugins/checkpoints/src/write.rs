//! Writing `model.safetensors`, one tensor after the other.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::limits;

/// Gives the values of one tensor when its turn comes.
pub type ReadValues<'a> = &'a dyn Fn() -> Result<Vec<f32>>;

/// Headers are padded so that values are aligned.
const ALIGNMENT: usize = 8;

/// Values that are turned into bytes at once.
const PIECE: usize = 1 << 14;

/// Writes tensors (name, shape, values) as `f32` with the metadata that `transformers` expects.
///
/// Only one tensor at a time is in memory. The file appears under its name when it is complete: until then it has another name in the same folder.
///
/// # Errors
/// If values cannot be read, do not fit their shape, if a name is there twice, or if the file cannot be written.
pub fn write_safetensors(path: &Path, tensors: &[(String, Vec<usize>, ReadValues<'_>)]) -> Result<()> {
    let header = header(path, tensors)?;
    let partial = Partial::new(path)?;
    let mut file = BufWriter::with_capacity(4 * PIECE, partial.create()?);
    let io = |error: std::io::Error| Error::new(path, format!("cannot be written: {error}"));
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(&header).map_err(io)?;
    for (name, shape, values) in tensors {
        let values = values()?;
        if limits::elements(shape) != Some(values.len()) {
            return Err(Error::new(path, format!("cannot be written: tensor `{name}` has the shape {shape:?} but {} values", values.len())));
        }
        let mut bytes = Vec::with_capacity(4 * PIECE);
        for piece in values.chunks(PIECE) {
            bytes.clear();
            bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
            file.write_all(&bytes).map_err(io)?;
        }
    }
    file.into_inner().map_err(|error| io(error.into_error()))?;
    partial.finish(path).map_err(io)
}

/// The header, padded with spaces.
fn header(path: &Path, tensors: &[(String, Vec<usize>, ReadValues<'_>)]) -> Result<Vec<u8>> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut end = 0_usize;
    for (name, shape, _) in tensors {
        let start = end;
        end = limits::elements(shape)
            .and_then(|count| count.checked_mul(4)?.checked_add(start))
            .ok_or_else(|| Error::new(path, format!("cannot be written: tensor `{name}` has the shape {shape:?}")))?;
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        if header.insert(name.clone(), entry).is_some() {
            return Err(Error::new(path, format!("cannot be written: tensor `{name}` is there twice")));
        }
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    Ok(header)
}

/// A file under a temporary name, removed again unless it is finished.
struct Partial(PathBuf);

impl Partial {
    fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::new(path, "not the name of a file"))?;
        Ok(Self(path.with_file_name(format!(".{}.{}.partial", name.display(), std::process::id()))))
    }

    /// Creates the file with the permissions that the user's mask gives to every new file.
    fn create(&self) -> Result<File> {
        // What is there under this name is the rest of an earlier process of the same number.
        let _ = fs::remove_file(&self.0);
        File::create_new(&self.0).map_err(|error| Error::new(&self.0, format!("cannot be written: {error}")))
    }

    fn finish(self, path: &Path) -> std::io::Result<()> {
        fs::rename(&self.0, path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the renaming there is nothing to remove, and a failure to remove has nobody to tell.
        let _ = fs::remove_file(&self.0);
    }
}
