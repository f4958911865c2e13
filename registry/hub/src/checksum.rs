//! Whether a file is what the hub announced: the hub names files by their checksums.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The `ETag` of a file, which is also the name of its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Etag {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Large files: SHA-256 of the content.
    Sha256,
    /// Others: as git names a blob, SHA-1 of `blob LENGTH\0` and the content.
    GitSha1,
    /// Of another server; cannot be checked.
    Other,
}

/// What was announced and what was found instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Etag {
    /// Reads the header's value. It becomes the name of a file, so nothing that could be a path is accepted.
    pub(crate) fn parse(header: &str) -> Result<Self, String> {
        let text = header.trim();
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.chars().all(allowed) {
            return Err(format!("the etag `{}` cannot be the name of a blob", header.escape_debug()));
        }
        let kind = match text.len() {
            64 if is_hex(text) => Kind::Sha256,
            40 if is_hex(text) => Kind::GitSha1,
            _ => Kind::Other,
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The name of the blob.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Compares size and checksum of the file at `path`; an unknown size or an etag of another form is not compared.
    pub(crate) fn compare(&self, path: &Path, size: Option<u64>) -> io::Result<Option<Mismatch>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        if size.is_some_and(|size| size != len) {
            let expected = size.unwrap_or_default();
            return Ok(Some(Mismatch { expected: format!("{expected} bytes"), found: format!("{len} bytes") }));
        }
        let (name, found) = match self.kind {
            Kind::Sha256 => ("sha256", digest(&mut file, Sha256::new())?),
            Kind::GitSha1 => ("git-sha1", digest(&mut file, Sha1::new_with_prefix(format!("blob {len}\0")))?),
            Kind::Other => return Ok(None),
        };
        Ok((!found.eq_ignore_ascii_case(&self.text)).then(|| Mismatch { expected: format!("{name} {}", self.text), found: format!("{name} {found}") }))
    }
}

fn digest(file: &mut File, mut hasher: impl Digest) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | sha256sum`, `printf hello | git hash-object --stdin`.
    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const GIT: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";

    #[test]
    fn both_kinds_of_checksum_are_those_of_git_and_lfs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();
        for etag in [SHA256, GIT, &format!("\"{SHA256}\""), &format!("W/\"{GIT}\""), "\"5f-x\""] {
            assert_eq!(Etag::parse(etag).unwrap().compare(file.path(), Some(5)).unwrap(), None);
        }
        std::fs::write(file.path(), "hellO").unwrap();
        for etag in [SHA256, GIT] {
            let mismatch = Etag::parse(etag).unwrap().compare(file.path(), Some(5)).unwrap().unwrap();
            assert!(mismatch.expected.ends_with(etag) && mismatch.found != mismatch.expected);
        }
        let mismatch = Etag::parse("5f-x").unwrap().compare(file.path(), Some(6)).unwrap().unwrap();
        assert_eq!((mismatch.expected.as_str(), mismatch.found.as_str()), ("6 bytes", "5 bytes"));
        assert_eq!(Etag::parse("5f-x").unwrap().compare(file.path(), None).unwrap(), None);
    }

    #[test]
    fn etags_that_could_be_paths_are_refused() {
        for etag in ["", "\"\"", "../x", "a/b", "a\\b", ".hidden", "a\0b", "a b", &"x".repeat(129)] {
            Etag::parse(etag).unwrap_err();
        }
    }
}
