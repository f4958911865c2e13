//! Every tensor of a model folder, whatever the format.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::dtype::Dtype;
use crate::error::{Error, Parsed, Result};
use crate::folder;
use crate::mapped_file::MappedFile;
use crate::nearest::nearest;
use crate::safetensors_file::SafetensorsFile;
use crate::shard_index::ShardIndex;
use crate::sstable;
use crate::tensorflow_bundle::TensorflowBundle;
use crate::torch_file::TorchFile;
use crate::values::TensorView;

/// A family of checkpoint files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Files of the `safetensors` library.
    Safetensors,
    /// Files of `torch.save`.
    Torch,
    /// Files of TensorFlow's `Saver`.
    TensorFlow,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch",
            Self::TensorFlow => "TensorFlow 1",
        })
    }
}

/// Type and shape of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The type of its values in the file.
    pub dtype: Dtype,
    /// Its shape in the file; empty for a single number.
    pub shape: Vec<usize>,
}

/// Every tensor of a model, known by its header; values are read when asked for.
#[derive(Debug)]
pub struct Checkpoint {
    format: Format,
    files: Vec<PathBuf>,
    entries: BTreeMap<String, Entry>,
    /// The number of the shard of each tensor.
    shard_of: BTreeMap<String, usize>,
    shards: Vec<Shard>,
    skipped: usize,
}

/// One file (of TensorFlow, one index with its data files) and what it holds.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Safetensors(SafetensorsFile),
    Torch(TorchFile),
    TensorFlow { bundle: TensorflowBundle, data: Vec<PathBuf> },
}

impl Checkpoint {
    /// Opens the checkpoint of a model folder.
    ///
    /// The first of these that is there is taken: `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin`,
    /// `pytorch_model.bin.index.json`, and an index of TensorFlow (`*.index` beside its data file or with `ckpt` in its name).
    ///
    /// # Errors
    /// If there is none, or several of TensorFlow, or if it cannot be opened.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        Self::open(&folder::find(folder)?)
    }

    /// Opens one file of any format, an index of shards, or a checkpoint of TensorFlow by its prefix or its `.index`.
    ///
    /// # Errors
    /// If it is missing, of another kind, damaged, or of a kind that is not read; the message says which.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".index.json") {
            return Self::of_shards(path);
        }
        let tensorflow_index = path.with_added_extension("index");
        if !path.exists() && tensorflow_index.is_file() {
            return Self::open(&tensorflow_index);
        }
        if path.is_dir() {
            return Err(Error::new(path, "this is a folder; name a checkpoint file in it"));
        }
        if name.ends_with(".index") {
            let mut data = Vec::new();
            let bundle = TensorflowBundle::open(path, &mut data)?;
            return Self::of_contents(vec![Shard { path: path.to_owned(), content: Content::TensorFlow { bundle, data } }], Vec::new());
        }
        Self::of_contents(vec![Shard::open(path)?], Vec::new())
    }

    fn of_shards(index_path: &Path) -> Result<Self> {
        let index = ShardIndex::parse(MappedFile::open(index_path)?.as_ref()).map_err(Error::at(index_path))?;
        let mut shards = Vec::new();
        for (number, name) in index.files().iter().enumerate() {
            let path = index_path.with_file_name(name);
            if !path.exists() {
                return Err(Error::new(index_path, format!("it names the shard `{name}`, which is not there; download or copy that file too")));
            }
            let shard = Shard::open(&path)?;
            if let Some(tensor) = index.tensors_of(number).find(|tensor| !shard.content.has(tensor)) {
                return Err(Error::new(&path, format!("the shard has no tensor `{tensor}`, but its index says so; they are not of one model")));
            }
            shards.push(shard);
        }
        Self::of_contents(shards, vec![index_path.to_owned()])
    }

    fn of_contents(shards: Vec<Shard>, mut files: Vec<PathBuf>) -> Result<Self> {
        let format = shards.first().map_or(Format::Safetensors, |shard| shard.content.format());
        let (mut entries, mut shard_of, mut skipped) = (BTreeMap::new(), BTreeMap::new(), 0);
        for (number, shard) in shards.iter().enumerate() {
            files.push(shard.path.clone());
            if shard.content.format() != format {
                return Err(Error::new(&shard.path, format!("the shard is a file of {}, the one before it of {format}", shard.content.format())));
            }
            for (name, entry) in shard.content.entries() {
                if let Some(first) = shard_of.insert(name.clone(), number) {
                    let first = shards[first].path.file_name().unwrap_or_default().display();
                    return Err(Error::new(&shard.path, format!("tensor `{name}` is in this shard and in `{first}`; which of them counts is not known")));
                }
                entries.insert(name, entry);
            }
            if let Content::TensorFlow { bundle, data } = &shard.content {
                skipped += bundle.index.skipped;
                files.extend_from_slice(data);
            }
        }
        Ok(Self { format, files, entries, shard_of, shards, skipped })
    }

    /// The family of the files.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Every file that is read, an index before its shards.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Type and shape of each tensor by its name in the file.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// How many variables of TensorFlow are left out of [`entries`](Self::entries): the optimizer's, and those of types that no encoder has.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The file with the values of a tensor.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        let shard = &self.shards[*self.shard_of.get(name)?];
        match &shard.content {
            Content::TensorFlow { bundle, data } => data.get(bundle.index.variables.get(name)?.shard).map(PathBuf::as_path),
            Content::Safetensors(_) | Content::Torch(_) => Some(&shard.path),
        }
    }

    /// The values of a tensor in row-major order.
    ///
    /// `f16`, `bf16` and `f64` are converted; transposed and other strided tensors of PyTorch are made contiguous. Where the format has checksums
    /// (zip archives, TensorFlow), they are verified.
    ///
    /// # Errors
    /// If there is no such tensor, if it holds whole numbers, or if its bytes are damaged.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let Some(file) = self.file_of(name) else {
            let nearest = nearest(name, self.entries.keys()).map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?"));
            let file = &self.files[0];
            return Err(Error::new(file, format!("no tensor `{name}`{nearest}")));
        };
        let shard = &self.shards[self.shard_of[name]];
        let fail = |message: String| Error::new(file, format!("tensor `{name}`: {message}"));
        let view = shard.content.view(name).map_err(fail)?;
        let values = view.to_f32().map_err(fail)?;
        for map in shard.content.maps() {
            map.release(view.storage);
        }
        Ok(values)
    }
}

impl Shard {
    /// Opens a file of safetensors or PyTorch by what is in it; the name decides only where the content does not.
    fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let content = Content::of(&file, path.extension().is_some_and(|ending| ending == "safetensors")).map_err(Error::at(path))?;
        Ok(Self { path: path.to_owned(), content })
    }
}

impl Content {
    fn of(file: &MappedFile, is_safetensors: bool) -> Parsed<Self> {
        let bytes = file.as_ref();
        if let Some(other) = other_format(bytes) {
            return Err(other.to_owned());
        }
        // Headers begin with a brace after their length; no other format has one there.
        if is_safetensors || bytes.get(8) == Some(&b'{') {
            return SafetensorsFile::new(file).map(Self::Safetensors);
        }
        TorchFile::new(file).map(Self::Torch)
    }

    fn format(&self) -> Format {
        match self {
            Self::Safetensors(_) => Format::Safetensors,
            Self::Torch(_) => Format::Torch,
            Self::TensorFlow { .. } => Format::TensorFlow,
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Safetensors(file) => file.tensors.contains_key(name),
            Self::Torch(file) => file.tensors.contains_key(name),
            Self::TensorFlow { bundle, .. } => bundle.index.variables.contains_key(name),
        }
    }

    fn entries(&self) -> Vec<(String, Entry)> {
        fn entry(name: &str, dtype: Dtype, shape: &[usize]) -> (String, Entry) {
            (name.to_owned(), Entry { dtype, shape: shape.to_vec() })
        }
        match self {
            Self::Safetensors(file) => file.tensors.iter().map(|(name, tensor)| entry(name, tensor.dtype, &tensor.shape)).collect(),
            Self::Torch(file) => file.tensors.iter().map(|(name, tensor)| entry(name, tensor.dtype, &tensor.shape)).collect(),
            Self::TensorFlow { bundle, .. } => bundle.index.variables.iter().map(|(name, tensor)| entry(name, tensor.dtype, &tensor.shape)).collect(),
        }
    }

    /// The files that tensors lie in.
    fn maps(&self) -> &[MappedFile] {
        match self {
            Self::Safetensors(file) => std::slice::from_ref(&file.file),
            Self::Torch(file) => std::slice::from_ref(&file.file),
            Self::TensorFlow { bundle, .. } => &bundle.shards,
        }
    }

    fn view(&self, name: &str) -> Parsed<TensorView<'_>> {
        let view = match self {
            Self::Safetensors(file) => file.view(name).map(Ok),
            Self::Torch(file) => file.view(name),
            Self::TensorFlow { bundle, .. } => bundle.view(name),
        };
        view.unwrap_or_else(|| Err("it is not there".to_owned()))
    }
}

/// What to say of files that are often found where a checkpoint is expected.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"version https://git-lfs") {
        return Some("a pointer of Git LFS, not the file itself; run `git lfs pull` in its folder");
    }
    if bytes.starts_with(b"\x89HDF") {
        return Some("an HDF5 file of TensorFlow 2, which is not read; convert it to `model.safetensors`");
    }
    if bytes.starts_with(b"GGUF") {
        return Some("a GGUF file, which is not read; use the checkpoint that it was made from");
    }
    if bytes.starts_with(b"<!DOCTYPE") || bytes.starts_with(b"<html") {
        return Some("a web page, not a checkpoint; the download went wrong");
    }
    sstable::is_table(bytes).then_some(
        "a checkpoint of TensorFlow in its first format, without an `.index` file, which is not read; save it again with `tf.train.Saver(write_version=2)`",
    )
}
