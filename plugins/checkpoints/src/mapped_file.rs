//! The bytes of a file, mapped: opening a file reads nothing of it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// The bytes of a file; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct MappedFile(Arc<Content>);

#[derive(Debug)]
enum Content {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl MappedFile {
    /// Maps a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::at(path))?;
        let metadata = file.metadata().map_err(Error::at(path))?;
        if !metadata.is_file() {
            return Err(Error::new(path, "not a file"));
        }
        if metadata.len() == 0 {
            return Err(Error::new(path, "the file is empty; copy or download it again"));
        }
        Ok(Self(Arc::new(Content::Mapped(map(&file).map_err(Error::at(path))?))))
    }
}

impl From<Vec<u8>> for MappedFile {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Content::Owned(bytes)))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        match &*self.0 {
            Content::Mapped(bytes) => bytes,
            Content::Owned(bytes) => bytes,
        }
    }
}

/// Maps a file for reading.
#[expect(unsafe_code, reason = "a memory map is only as constant as its file; there is no safe way to make one")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private to this process and read-only, so nothing here can write through it. Another program that changes the file while it is
    // open changes the numbers we read, and one that shortens it ends this process with SIGBUS: both are so for every reader that maps files, model
    // files are written once, and the writer of this crate replaces files instead of changing them. No reader relies on two looks at one byte agreeing
    // for memory safety: all access is by checked slices, and values are copied out before they are used.
    unsafe { Mmap::map(file) }
}
