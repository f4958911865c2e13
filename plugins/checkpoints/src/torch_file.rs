//! `pytorch_model.bin`: the file of `torch.save`, in both of its containers.

use std::collections::BTreeMap;

use crate::error::Parsed;
use crate::mapped_file::MappedFile;
use crate::state_dict::StateTensor;
use crate::torch_legacy::{self, LegacyStorages};
use crate::torch_zip::{self, ZipStorages};
use crate::values::TensorView;

/// A file of `torch.save`.
#[derive(Debug)]
pub(crate) struct TorchFile {
    pub(crate) tensors: BTreeMap<String, StateTensor>,
    pub(crate) file: MappedFile,
    storages: Storages,
}

#[derive(Debug)]
pub(crate) enum Storages {
    Zip(ZipStorages),
    Legacy(LegacyStorages),
}

impl TorchFile {
    /// Reads what the file holds, without values.
    pub(crate) fn new(file: &MappedFile) -> Parsed<Self> {
        let bytes = file.as_ref();
        if torch_zip::is_zip(bytes) {
            let (tensors, storages) = torch_zip::open(file)?;
            return Ok(Self { tensors, file: file.clone(), storages: Storages::Zip(storages) });
        }
        if torch_legacy::is_legacy(bytes) {
            let (tensors, storages) = torch_legacy::open(file)?;
            return Ok(Self { tensors, file: file.clone(), storages: Storages::Legacy(storages) });
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Err("a tar archive, the format of PyTorch before 0.1.10, is not read; load it with PyTorch and save it again".to_owned());
        }
        Err("not a file of `torch.save`: neither a zip archive nor its older format; the file is damaged or of another kind".to_owned())
    }

    /// A tensor and its memory, whose checksum has been verified if the container has one.
    pub(crate) fn view(&self, name: &str) -> Option<Parsed<TensorView<'_>>> {
        let tensor = self.tensors.get(name)?;
        let storage = match &self.storages {
            Storages::Zip(storages) => storages.bytes(&tensor.key),
            Storages::Legacy(storages) => storages.bytes(&tensor.key),
        };
        Some(storage.map(|storage| tensor.view(storage)))
    }
}
