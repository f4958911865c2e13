//! The zip container of `torch.save` since PyTorch 1.6: `NAME/data.pkl` and one uncompressed entry `NAME/data/KEY` for each storage.
//!
//! <https://pytorch.org/docs/stable/notes/serialization.html#serialized-file-format-for-torch-save>

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use crate::error::Parsed;
use crate::mapped_file::MappedFile;
use crate::pickle::Pickle;
use crate::state_dict::{self, StateTensor};

/// How many bytes of directory are read. Each entry has at least 46 and takes about ten times as much memory.
const DIRECTORY_BYTES: u64 = 4 << 20;

/// Piece by which checksums are computed.
const CHECKSUM_BYTES: usize = 1 << 16;

/// The storages of an archive by key.
#[derive(Debug)]
pub(crate) struct ZipStorages {
    file: MappedFile,
    archive: Archive,
    entries: BTreeMap<String, ZipEntry>,
}

type Archive = ZipArchive<Directory>;

#[derive(Debug)]
struct ZipEntry {
    index: usize,
    place: Range<usize>,
    /// Whether the bytes have the checksum of the directory; computed when they are first read.
    checked: OnceLock<Parsed<()>>,
}

/// Whether a file begins like a zip archive.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Reads the directory and the pickle of an archive.
pub(crate) fn open(file: &MappedFile) -> Parsed<(BTreeMap<String, StateTensor>, ZipStorages)> {
    let budget = Arc::new(AtomicU64::new(DIRECTORY_BYTES));
    let directory = Directory { bytes: Cursor::new(file.clone()), budget: Arc::clone(&budget) };
    let mut archive = ZipArchive::with_config(Config { archive_offset: ArchiveOffset::Known(0) }, directory)
        .map_err(|error| format!("the zip archive has no readable directory ({error}); the file is damaged or cut off"))?;
    budget.store(u64::MAX, Ordering::Relaxed);
    let mut entries = entries(&mut archive, file.as_ref().len())?;
    let Some(prefix) = entries.keys().find_map(|name| name.strip_suffix("data.pkl")).map(str::to_owned) else {
        return Err("the zip archive has no `data.pkl`: it was not written by `torch.save`".to_owned());
    };
    let storages = |entries, archive| ZipStorages { file: file.clone(), archive, entries };
    if let Some(place) = entries.get(&format!("{prefix}byteorder")).map(|entry| entry.place.clone()) {
        let order = &file.as_ref()[place];
        if order != b"little" {
            return Err(format!(
                "its numbers are in the byte order `{}`; only `little` is read",
                order.escape_ascii().take(20).map(char::from).collect::<String>()
            ));
        }
    }
    let name = format!("{prefix}data.pkl");
    let pickle_entry = entries.remove(&name).ok_or("the zip archive has no `data.pkl`")?;
    let data = format!("{prefix}data/");
    let entries = entries.into_iter().filter_map(|(name, entry)| Some((name.strip_prefix(&data)?.to_owned(), entry))).collect();
    let storages = storages(entries, archive);
    let stream = storages.checked(&name, &pickle_entry)?;
    let tensors = state_dict::tensors(&Pickle::read(stream)?)?;
    for (name, tensor) in &tensors {
        let there = storages.entries.get(&tensor.key).map(|entry| entry.place.len());
        if there != Some(tensor.storage_bytes) {
            let there = there.map_or("is missing".to_owned(), |there| format!("has {there}"));
            let (key, expected) = (&tensor.key, tensor.storage_bytes);
            return Err(format!("tensor `{name}`: its storage `{key}` of {expected} bytes {there}; the file is damaged"));
        }
    }
    Ok((tensors, storages))
}

/// The entries of an archive by name, each checked to lie in the file as it is.
fn entries(archive: &mut Archive, length: usize) -> Parsed<BTreeMap<String, ZipEntry>> {
    if archive.has_duplicate_names() {
        return Err("the zip archive has two entries of one name; the file is damaged".to_owned());
    }
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| format!("entry {index} of the zip archive cannot be read ({error}); the file is damaged"))?;
        let name = entry.name_raw();
        let name = std::str::from_utf8(name).map_err(|_| format!("entry {index} of the zip archive has a name that is not UTF-8; the file is damaged"))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("`{name}` in the zip archive is compressed: compressed entries are refused: a few bytes can claim gigabytes"));
        }
        let place = entry
            .data_start()
            .and_then(|start| Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(entry.size())?).ok()?))
            .filter(|place| place.end <= length && entry.size() == entry.compressed_size())
            .ok_or_else(|| format!("`{name}` in the zip archive claims {} bytes, more than the file holds; the file is damaged or cut off", entry.size()))?;
        entries.insert(name.to_owned(), ZipEntry { index, place, checked: OnceLock::new() });
    }
    Ok(entries)
}

impl ZipStorages {
    /// The bytes of a storage, with the right checksum.
    pub(crate) fn bytes(&self, key: &str) -> Parsed<&[u8]> {
        let entry = self.entries.get(key).ok_or_else(|| format!("its storage `{key}` is missing"))?;
        self.checked(key, entry)
    }

    fn checked(&self, name: &str, entry: &ZipEntry) -> Parsed<&[u8]> {
        entry.checked.get_or_init(|| verify(self.archive.clone(), entry.index)).clone().map_err(|message| format!("`{name}` in the zip archive: {message}"))?;
        Ok(&self.file.as_ref()[entry.place.clone()])
    }
}

/// Reads an entry through the archive, which compares its checksum at the end.
fn verify(mut archive: Archive, index: usize) -> Parsed<()> {
    let mut entry = archive.by_index(index).map_err(|error| error.to_string())?;
    let mut piece = vec![0; CHECKSUM_BYTES];
    loop {
        match entry.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                return Err(format!(
                    "its bytes do not have their checksum ({error}); the file is damaged (copy or download it again) or was saved without checksums (save it with them)"
                ));
            }
        }
    }
}

/// The bytes of an archive, of which only so many are handed out before the directory has been read.
#[derive(Debug, Clone)]
struct Directory {
    bytes: Cursor<MappedFile>,
    budget: Arc<AtomicU64>,
}

impl Read for Directory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        let left = self.budget.load(Ordering::Relaxed);
        if left != u64::MAX {
            let left = left.checked_sub(read as u64).ok_or_else(|| io::Error::other(format!("it is longer than {DIRECTORY_BYTES} bytes")))?;
            self.budget.store(left, Ordering::Relaxed);
        }
        Ok(read)
    }
}

impl Seek for Directory {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(position)
    }
}
