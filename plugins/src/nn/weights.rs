//! Checkpoint files: names, shapes and values of tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use lmprobe_core::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// Longest header that is read on a file's word. The header of a model of 1 000 layers has less than 2 MiB.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The names and shapes in the header of a safetensors file, read without its values.
#[derive(Debug, Clone)]
pub struct Header {
    /// The file.
    pub path: PathBuf,
    /// Shape of each tensor by its name in the file.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

impl Header {
    /// Reads the header of `model.safetensors` in a model folder.
    ///
    /// # Errors
    /// If the file is missing or its header malformed.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("model.safetensors");
        if path.exists() {
            return Self::read(&path);
        }
        let there: Vec<&str> = ["model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5", "model.ckpt.index"]
            .into_iter()
            .filter(|name| folder.join(name).exists())
            .collect();
        let hint = if there.is_empty() { String::new() } else { format!("; it holds `{}`: convert it to one safetensors file first", there.join("`, `")) };
        Err(Error::model(folder, format!("no `model.safetensors` in this folder{hint}")))
    }

    /// Reads the header of a safetensors file.
    ///
    /// # Errors
    /// If it is malformed or claims more than the file holds.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let malformed = |message: String| Error::model(path, format!("not a safetensors file: {message}"));
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| malformed(format!("it has {size} bytes, a header needs 8")))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES || length.saturating_add(8) > size {
            return Err(malformed(format!("its header claims {length} bytes of a file of {size}; the file is damaged or cut off")));
        }
        let mut header = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact(&mut header).map_err(Error::io(path))?;
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&header).map_err(|error| malformed(format!("its header is not JSON ({error})")))?;
        let mut shapes = BTreeMap::new();
        for (name, entry) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
            let shape = entry.get("shape").and_then(|shape| serde_json::from_value(shape.clone()).ok());
            shapes.insert(name.clone(), shape.ok_or_else(|| malformed(format!("tensor `{name}` has no shape")))?);
        }
        Ok(Self { path: path.to_owned(), shapes })
    }
}

/// All tensors of a safetensors file as `f32`, by name.
///
/// `f16` and `bf16` are widened; tensors of whole numbers (`position_ids` buffers) are left out.
///
/// # Errors
/// If the file is malformed.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|error| Error::model(path, format!("not a safetensors file: {error}; the file is damaged or cut off")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            safetensors::Dtype::F64 => DType::F64,
            _ => continue,
        };
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        tensors.insert(name.to_owned(), tensor.to_dtype(DType::F32)?);
    }
    Ok(tensors)
}

/// Writes tensors as safetensors with the metadata that `transformers` expects.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        bytes.push((name.clone(), tensor.dims().to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    }
    let malformed = |error: safetensors::SafeTensorError| Error::model(path, format!("cannot be written: {error}"));
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).map_err(malformed)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    // The library's own writer makes private files; a model folder is as readable as the user's mask makes other files.
    let file = safetensors::serialize(views, Some(metadata)).map_err(malformed)?;
    std::fs::write(path, file).map_err(Error::io(path))
}

/// The name most similar to one that is missing, if any is similar at all.
pub fn nearest<'a>(missing: &str, there: impl Iterator<Item = &'a String>) -> Option<String> {
    there
        .map(|name| (strsim::jaro_winkler(missing, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensor = Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        write(&path, &BTreeMap::from([("a.weight".to_owned(), tensor)])).unwrap();
        assert_eq!(Header::read(&path).unwrap().shapes["a.weight"], [2, 2]);
        assert_eq!(read(&path).unwrap()["a.weight"].to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
    }

    #[test]
    fn damaged_headers_are_refused_without_allocating() {
        let message = |bytes: &[u8]| Header::read(file(bytes).path()).unwrap_err().to_string();
        assert!(message(b"").contains("it has 0 bytes"));
        assert!(message(&[0xff; 16]).contains("claims 18446744073709551615 bytes of a file of 16"));
        assert!(message(b"\x04\0\0\0\0\0\0\0abcd").contains("not JSON"));
        assert!(message(b"\x09\0\0\0\0\0\0\0{\"a\":{} }").contains("`a` has no shape"));
    }

    #[test]
    fn a_folder_without_safetensors_says_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
        let message = Header::of_folder(folder.path()).unwrap_err().to_string();
        assert!(message.contains("no `model.safetensors`") && message.contains("`pytorch_model.bin`"), "{message}");
    }
}
