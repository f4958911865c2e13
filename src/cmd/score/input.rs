//! The files to be scored.

use std::io::Read;
use std::path::Path;

use lmprobe_core::{Error, Result};

/// A file and how messages call it.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Input {
    /// Reads a file; none, or `-`, is standard input.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self> {
        match path {
            Some(path) if path != Path::new("-") => Ok(Self { name: path.display().to_string(), bytes: std::fs::read(path).map_err(Error::io(path))? }),
            _ => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).map_err(Error::io("standard input"))?;
                Ok(Self { name: "standard input".into(), bytes })
            }
        }
    }
}
