//! The bytes of a file, mapped: opening a file reads nothing of it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Smaller parts are not worth a call to the operating system.
const WORTH_RELEASING: usize = 1 << 16;

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

    /// Gives back the memory that holds these bytes, if they are bytes of the file: they are read again if they are looked at again. Without it a
    /// model whose tensors were all copied would be in memory twice. Best effort.
    pub(crate) fn release(&self, part: &[u8]) {
        let Content::Mapped(map) = &*self.0 else { return };
        let offset = part.as_ptr().addr().wrapping_sub(map.as_ptr().addr());
        if part.len() >= WORTH_RELEASING && offset.checked_add(part.len()).is_some_and(|end| end <= map.len()) {
            release(map, offset, part.len());
        }
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

/// Tells the operating system that the bytes are not needed now.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the advice is harmless for a map that nothing writes to, which the library cannot know")]
fn release(map: &Mmap, offset: usize, length: usize) {
    // SAFETY: the map is of a file, shared and read-only, so dropping its pages loses nothing: the next look at them reads the file. The range was checked
    // to lie inside the map; pages that it covers in part are dropped too, which is as harmless.
    let advised = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length) };
    drop(advised);
}

#[cfg(not(unix))]
fn release(_: &Mmap, _: usize, _: usize) {}
