//! A file that is written under another name and appears when it is whole.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};
use tempfile::NamedTempFile;

/// A file in the making, in the folder where it will be. It vanishes with this value unless it was put in place.
pub(crate) struct StagedFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl StagedFile {
    /// Starts a file that will be at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let folder = folder(path);
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tmp-");
        // Temporary files are private by default; results are as readable as the user's mask makes other files.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(Error::io(folder))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes to its end.
    pub(crate) fn writer(&self) -> Result<BufWriter<File>> {
        Ok(BufWriter::with_capacity(1 << 18, self.handle()?))
    }

    /// The open file.
    pub(crate) fn handle(&self) -> Result<File> {
        self.file.as_file().try_clone().map_err(Error::io(&self.path))
    }

    /// Replaces its first bytes.
    pub(crate) fn patch(&mut self, bytes: &[u8]) -> Result<()> {
        let file = self.file.as_file_mut();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(bytes)).map_err(Error::io(&self.path))
    }

    /// Puts the file in place.
    pub(crate) fn persist(self) -> Result<()> {
        self.file.as_file().sync_all().map_err(Error::io(&self.path))?;
        self.file.persist(&self.path).map_err(|error| Error::io(&self.path)(error.error))?;
        Ok(())
    }
}

/// The folder a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of a file that belongs to another one: `OUT.ending`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Numbers as bytes, the least significant first.
pub(crate) fn little_endian<const N: usize, T: Copy>(values: impl IntoIterator<Item = T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(bytes).collect()
}
