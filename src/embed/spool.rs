//! A part of a file whose place is only known when the rest is written.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};

use super::staged_file::folder;

/// Bytes that wait in a nameless temporary file beside the output: the system removes it when the process ends, however it ends.
pub(crate) struct Spool {
    file: BufWriter<File>,
    output: PathBuf,
    bytes: u64,
}

impl Spool {
    /// An empty spool for an output.
    pub(crate) fn create(output: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder(output)).map_err(Error::io(output))?;
        Ok(Self { file: BufWriter::new(file), output: output.to_owned(), bytes: 0 })
    }

    /// Bytes in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::io(&self.output))
    }

    /// Hands everything over.
    pub(crate) fn pour(mut self, into: &mut impl Write) -> Result<()> {
        let mut poured = || {
            self.file.flush()?;
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(0))?;
            io::copy(file, into)
        };
        poured().map(|_| ()).map_err(Error::io(&self.output))
    }
}
