//! Writing the cache: locks, blobs, links and references, each put in place at once.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::cache::CachedRepo;
use crate::error::Error;

/// Held while a blob is fetched; the same file as Python locks, so that neither fetches what the other does.
#[derive(Debug)]
pub(crate) struct BlobLock {
    /// Closing the file releases the lock.
    _file: File,
}

impl CachedRepo {
    /// Where the bytes with this etag are.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where the bytes with this etag arrive.
    pub(crate) fn incomplete_blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Waits until no other process fetches this blob; `on_wait` is told if that takes time. A file system without
    /// locks is no reason to fail: what arrives is compared with its checksum in any case.
    pub(crate) fn lock(&self, etag: &str, on_wait: impl FnOnce()) -> Result<BlobLock, Error> {
        let folder = self.cache.join(".locks").join(&self.name);
        create_folder(&folder)?;
        let path = folder.join(format!("{etag}.lock"));
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io("write", &path))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            on_wait();
            file.lock().map_err(Error::io("lock", &path))?;
        }
        Ok(BlobLock { _file: file })
    }

    /// Gives a complete blob its final name.
    pub(crate) fn keep_blob(&self, etag: &str) -> Result<(), Error> {
        let (from, to) = (self.incomplete_blob(etag), self.blob(etag));
        fs::rename(&from, &to).map_err(Error::io("write", &to))
    }

    /// Makes `file` of a commit lead to a blob. A link that leads nowhere is replaced.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Error> {
        let pointer = self.snapshot(commit).join(file);
        if pointer.exists() {
            return Ok(());
        }
        create_folder(parent(&pointer))?;
        if pointer.is_symlink() {
            fs::remove_file(&pointer).map_err(Error::io("replace", &pointer))?;
        }
        // From `snapshots/<commit>/` two up, and one more for each folder in the file's name.
        let mut target = PathBuf::from("../..");
        target.extend(file.matches('/').map(|_| ".."));
        target.extend(["blobs", etag]);
        match symlink(&target, &pointer) {
            Ok(()) => Ok(()),
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && pointer.exists() => Ok(()),
            // A file system without links gets the file itself, as from Python.
            Err(_) => fs::rename(self.blob(etag), &pointer).map_err(Error::io("write", &pointer)),
        }
    }

    /// Notes the commit a branch or tag stands for, unless that is what is noted already.
    pub(crate) fn note_reference(&self, revision: &str, commit: &str) -> Result<(), Error> {
        let path = self.reference(revision);
        if fs::read_to_string(&path).is_ok_and(|noted| noted == commit) {
            return Ok(());
        }
        create_folder(parent(&path))?;
        let temporary = path.with_file_name(format!(".{}.tmp", std::process::id()));
        fs::write(&temporary, commit).map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Error::io("write", &path)(error)
        })
    }
}

pub(crate) fn create_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("every path in the cache lies in a folder")
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_blobs_from_any_depth_and_replace_dead_ones() {
        let dir = tempfile::tempdir().unwrap();
        let repo = CachedRepo::new(dir.path(), "a/b");
        fs::create_dir_all(repo.blob("x").parent().unwrap()).unwrap();
        fs::write(repo.blob("x"), "bytes").unwrap();
        for file in ["top", "sub/deep/file"] {
            repo.link("c", file, "gone").unwrap_or_default();
            repo.link("c", file, "x").unwrap();
            repo.link("c", file, "x").unwrap();
            assert_eq!(fs::read_to_string(repo.snapshot("c").join(file)).unwrap(), "bytes");
        }
    }

    #[test]
    fn references_are_noted_without_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let repo = CachedRepo::new(dir.path(), "a/b");
        for commit in ["1", "2", "2"] {
            repo.note_reference("refs/pr/5", commit).unwrap();
            assert_eq!(fs::read_to_string(repo.reference("refs/pr/5")).unwrap(), commit);
        }
        assert_eq!(fs::read_dir(repo.folder.join("refs/refs/pr")).unwrap().count(), 1);
    }

    #[test]
    fn a_second_lock_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let repo = CachedRepo::new(dir.path(), "a/b");
        let first = repo.lock("x", || panic!("nobody holds it")).unwrap();
        let (told, hear) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let repo = repo.clone();
            move || drop(repo.lock("x", move || told.send(()).unwrap()).unwrap())
        });
        hear.recv().unwrap();
        drop(first);
        second.join().unwrap();
        assert!(dir.path().join(".locks/models--a--b/x.lock").is_file());
    }
}
