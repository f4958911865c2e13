//! Hands bytes to the system's loader in a way that nobody can change them on the way.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// A copy that exists as long as this value.
#[derive(Debug)]
pub(crate) struct SealedCopy {
    /// What to give to the loader.
    pub(crate) path: PathBuf,
    /// Holds a copy in memory; its number is part of the path.
    _file: Option<File>,
    /// The folder to remove.
    folder: Option<PathBuf>,
}

impl SealedCopy {
    /// A file in memory that can no longer be written.
    ///
    /// The loader recognises libraries by the path, too, so the number of the file must not be used again while the library is there: keep the copy as long.
    ///
    /// # Errors
    /// If the system has no such files, forbids to run them, or has no `/proc`.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn in_memory(bytes: &[u8]) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let mut file = memory_file()?;
        file.write_all(bytes)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
        // SAFETY: an open file, and an operation with an integer argument.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(io::Error::last_os_error());
        }
        may_run(&file)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        path.metadata()?;
        Ok(Self { path, _file: Some(file), folder: None })
    }

    /// A file in memory that can no longer be written.
    ///
    /// # Errors
    /// Always: this system has no such files.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn in_memory(_: &[u8]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A file in a new folder that only this user may enter.
    ///
    /// # Errors
    /// If the folder for temporary files cannot be written.
    #[cfg(unix)]
    pub(crate) fn in_folder(bytes: &[u8]) -> io::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        use std::sync::atomic::{AtomicU64, Ordering};
        static COPIES: AtomicU64 = AtomicU64::new(0);
        let parent = std::env::temp_dir().canonicalize()?;
        loop {
            let folder = parent.join(format!("lmprobe-plugin-{}-{}", std::process::id(), COPIES.fetch_add(1, Ordering::Relaxed)));
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                // Somebody's leftover, or a trap: never used.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            }
            let copy = Self { path: folder.join("plugin.so"), _file: None, folder: Some(folder) };
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&copy.path)?;
            file.write_all(bytes)?;
            return Ok(copy);
        }
    }

    /// A file in a new folder that only this user may enter.
    ///
    /// # Errors
    /// Always, on this system.
    #[cfg(not(unix))]
    pub(crate) fn in_folder(_: &[u8]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a copy on disk and its folder; what is mapped stays mapped.
    pub(crate) fn clear_folder(&mut self) {
        if let Some(folder) = self.folder.take() {
            // Nothing depends on it: a leftover copy is only litter.
            drop(std::fs::remove_file(&self.path));
            drop(std::fs::remove_dir(&folder));
        }
    }
}

impl Drop for SealedCopy {
    fn drop(&mut self) {
        self.clear_folder();
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn memory_file() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    /// Where the system is set up to make such files not executable, this asks for one that is. Older systems do not know it.
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    for flags in [flags | MFD_EXEC, flags] {
        // SAFETY: the name is a text with a zero at its end.
        let number = unsafe { libc::memfd_create(c"lmprobe-plugin".as_ptr(), flags) };
        if number >= 0 {
            // SAFETY: a new open file that nobody else owns.
            return Ok(unsafe { File::from_raw_fd(number) });
        }
    }
    Err(io::Error::last_os_error())
}

/// Tries to map one page as code, because a system that forbids it says so only when the loader tries.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn may_run(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping of an open file, which is removed again and never touched.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 1, protection, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::munmap(page, 1);
    }
    Ok(())
}
