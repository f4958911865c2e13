//! One array in the format of numpy.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use lmprobe_core::{Error, Result};

use super::format::Array;
use super::staged_file::StagedFile;

/// An array that grows by rows. Its header is written last, into room that any number of rows fits.
pub(crate) struct NpyFile {
    staged: StagedFile,
    out: BufWriter<File>,
    kind: Kind,
    row: Vec<u64>,
    rows: u64,
    header: usize,
}

/// An element type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    F32,
    I64,
}

impl NpyFile {
    /// Starts an array whose rows have this shape.
    pub(crate) fn create(path: &Path, kind: Kind, row: Vec<u64>) -> Result<Self> {
        let staged = StagedFile::create(path)?;
        let header = header(kind, u64::MAX, &row, 0).len();
        let mut out = staged.writer()?;
        out.write_all(&vec![b' '; header]).map_err(Error::io(path))?;
        Ok(Self { staged, out, kind, row, rows: 0, header })
    }

    /// Appends rows.
    pub(crate) fn write(&mut self, rows: u64, bytes: &[u8]) -> Result<()> {
        self.rows += rows;
        self.out.write_all(bytes).map_err(Error::io(self.staged.path()))
    }

    /// Completes the file.
    pub(crate) fn finish(mut self, name: &str) -> Result<(StagedFile, Array)> {
        self.out.flush().map_err(Error::io(self.staged.path()))?;
        self.staged.patch(&header(self.kind, self.rows, &self.row, self.header))?;
        let shape = std::iter::once(self.rows).chain(self.row).collect();
        let dtype = match self.kind {
            Kind::F32 => "F32",
            Kind::I64 => "I64",
        };
        Ok((self.staged, Array { name: name.to_owned(), dtype, shape }))
    }
}

/// Magic, version 1.0, length and a Python literal, padded with blanks to a multiple of 64 and to `least` bytes.
fn header(kind: Kind, rows: u64, row: &[u64], least: usize) -> Vec<u8> {
    let descr = match kind {
        Kind::F32 => "<f4",
        Kind::I64 => "<i8",
    };
    let sizes: Vec<String> = row.iter().map(u64::to_string).collect();
    // A tuple of one needs its comma.
    let sizes = if sizes.is_empty() { ",".to_owned() } else { format!(", {}", sizes.join(", ")) };
    let literal = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}{sizes}), }}");
    let length = (10 + literal.len() + 1).next_multiple_of(64).max(least);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    // A shape has at most three sizes, so the header is far shorter than the 65 535 bytes of version 1.0.
    bytes.extend_from_slice(&u16::try_from(length - 10).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend_from_slice(literal.as_bytes());
    bytes.resize(length - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_one_numpy_writes() {
        let bytes = header(Kind::F32, 3, &[2], 0);
        assert_eq!(bytes.len(), 128);
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }  "));
        assert!(header(Kind::I64, 3, &[], 0)[10..].starts_with(b"{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }"));
    }
}
