//! Reads a file without running anything of it.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::image::{self, Image, Machine, Target};
use crate::pin::hexadecimal;
use crate::{LoadError, Refusal};

/// The most bytes a plugin may have.
const LARGEST: u64 = 1 << 30;

/// Whether others may have written what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permissions {
    /// A file that others may change or replace is refused. [`load`](crate::load()) always asks for this.
    #[default]
    Checked,
    /// For looking at a file that is not going to be loaded.
    Ignored,
}

/// How a file is inspected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether permissions matter.
    pub permissions: Permissions,
}

/// What a file is and says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The file, absolute, without symbolic links.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Major and minor version of the interface it was built against.
    pub abi: (u16, u16),
    /// The machine it is for.
    pub machine: Machine,
    /// Libraries that the system's loader will load with it. A pin does not cover them.
    pub needed: Vec<String>,
    /// Those of its exported symbols that begin with `lmprobe_` or `LMPROBE_`, sorted.
    pub exports: Vec<String>,
}

/// Reads a file, and says what it is. Nothing of it runs.
///
/// # Errors
/// If it is no shared library for this machine with a stamp of this major version, or if others may change it.
pub fn inspect(path: &Path, options: Options) -> Result<Inspection, LoadError> {
    read(path, options).map(|(inspection, _)| inspection).map_err(|refusal| LoadError { path: path.to_owned(), refusal })
}

/// [`inspect()`], with the bytes that were inspected.
pub(crate) fn read(path: &Path, options: Options) -> Result<(Inspection, Vec<u8>), Refusal> {
    let path = resolved(path)?;
    let file = open(&path)?;
    let metadata = file.metadata().map_err(Refusal::Unreadable)?;
    if let Some(found) = other_kind(&metadata) {
        return Err(Refusal::NotRegular { found });
    }
    if options.permissions == Permissions::Checked {
        check_permissions(&path, &metadata)?;
    }
    let bytes = contents(file, metadata.len())?;
    let sha256 = hexadecimal(&Sha256::digest(&bytes));
    let Image { abi, machine, needed, exports } = image::parse(&bytes, Target::THIS)?;
    Ok((Inspection { path, size: bytes.len() as u64, sha256, abi, machine, needed, exports }, bytes))
}

/// The path with the links of its folders followed. The last part is left alone, so that `open` sees a link there.
fn resolved(path: &Path) -> Result<PathBuf, Refusal> {
    let unreadable = |error: std::io::Error| if error.kind() == std::io::ErrorKind::NotFound { Refusal::Missing } else { Refusal::Unreadable(error) };
    let Some(name) = path.file_name() else { return Err(Refusal::NotRegular { found: "a directory" }) };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(folder.canonicalize().map_err(unreadable)?.join(name))
}

#[cfg(unix)]
fn open(path: &Path) -> Result<File, Refusal> {
    use std::os::unix::fs::OpenOptionsExt;
    // Without `O_NONBLOCK` opening a pipe would wait for somebody to write into it.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => Refusal::Missing,
        Some(libc::ELOOP) => Refusal::SymbolicLink,
        Some(libc::ENXIO) => Refusal::NotRegular { found: "a socket" },
        _ => Refusal::Unreadable(error),
    })
}

#[cfg(not(unix))]
fn open(_: &Path) -> Result<File, Refusal> {
    Err(Refusal::NoDynamicLoading { why: "only systems like Unix are supported" })
}

fn other_kind(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_block_device() || kind.is_char_device() {
            return Some("a device");
        }
    }
    Some(if kind.is_dir() { "a directory" } else { "a special file" })
}

/// Refuses a file that somebody else may change, or whose place somebody else may give to another file.
#[cfg(unix)]
fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: has no precondition.
    let user = unsafe { libc::geteuid() };
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(Refusal::Owner { owner: metadata.uid(), user });
    }
    refuse_writable(path, metadata.mode())?;
    for (distance, folder) in path.ancestors().skip(1).enumerate() {
        let mode = folder.metadata().map_err(Refusal::Unreadable)?.mode();
        // In a folder like /tmp, with the sticky bit, one cannot rename what belongs to others, but anyone can be first to take a name.
        let sticky = mode & 0o1000 != 0;
        if distance == 0 || !sticky {
            refuse_writable(folder, mode)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn refuse_writable(path: &Path, mode: u32) -> Result<(), Refusal> {
    let who = match mode & 0o022 {
        0 => return Ok(()),
        0o020 => "its group",
        _ => "everyone",
    };
    Err(Refusal::Writable { path: path.to_owned(), mode: mode & 0o7777, who })
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata) -> Result<(), Refusal> {
    Ok(())
}

fn contents(file: File, size: u64) -> Result<Vec<u8>, Refusal> {
    let too_large = |size| Refusal::TooLarge { size, limit: LARGEST };
    if size > LARGEST {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).expect("the limit fits"));
    // The file may grow while it is read.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(Refusal::Unreadable)?;
    match bytes.len() as u64 {
        0 => Err(Refusal::Empty),
        size if size > LARGEST => Err(too_large(size)),
        _ => Ok(bytes),
    }
}
