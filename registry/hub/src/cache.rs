//! Reading the cache: from a revision to a commit to a folder with a model.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::model_files::{Lack, Weights, choose, is_unreadable_weights, shards};

/// The shortest beginning of a commit that is taken for one.
const SHORT_COMMIT: usize = 7;
const COMMIT: usize = 40;

/// One repository in the cache.
#[derive(Debug, Clone)]
pub(crate) struct CachedRepo {
    /// Folder of the whole cache.
    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only downloads lock"))]
    pub(crate) cache: PathBuf,
    /// `models--ORG--NAME`.
    #[cfg_attr(not(feature = "download"), expect(dead_code, reason = "only downloads lock"))]
    pub(crate) name: String,
    /// Folder of the repository.
    pub(crate) folder: PathBuf,
}

/// What a snapshot's folder holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// There is no such folder, or nothing in it.
    Nothing,
    /// These files are not there.
    Without(Vec<String>),
    /// Weights only in formats that are not read.
    Unreadable(Vec<String>),
    /// Configuration and weights. The names are those of all files.
    Model(Vec<String>),
}

impl CachedRepo {
    /// `repo` must have been checked: it becomes part of a path.
    pub(crate) fn new(cache: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        Self { cache: cache.to_owned(), folder: cache.join(&name), name }
    }

    /// Where the files of a commit are.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where the commit of a branch or tag is noted.
    pub(crate) fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// The commit a revision stood for when it was last fetched. A full commit needs no note.
    pub(crate) fn commit(&self, revision: &str) -> Result<Option<String>, Error> {
        if let Some(commit) = full_commit(revision) {
            return Ok(Some(commit));
        }
        let path = self.reference(revision);
        match fs::read_to_string(&path) {
            Ok(text) => match full_commit(text.trim()) {
                Some(commit) => Ok(Some(commit)),
                None => Err(Error::malformed(
                    format!("the cache's `{}`", path.display()),
                    "a commit of 40 hexadecimal digits is expected; delete the file and fetch the model again",
                )),
            },
            Err(error) if is_absent(error.kind()) => self.commit_beginning_with(revision),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// The only commit in the cache that begins so.
    fn commit_beginning_with(&self, short: &str) -> Result<Option<String>, Error> {
        if !is_short_commit(short) {
            return Ok(None);
        }
        let short = short.to_ascii_lowercase();
        let commits = names_in(&self.folder.join("snapshots"))?;
        let mut matching = commits.into_iter().filter(|name| name.starts_with(&short)).filter_map(|name| full_commit(&name));
        let first = matching.next();
        if matching.next().is_some() {
            return Err(Error::InvalidId { reason: format!("`{short}` is the beginning of several commits in `{}`; write more of it", self.folder.display()) });
        }
        Ok(first)
    }

    /// What is there of a commit.
    pub(crate) fn held(&self, commit: &str) -> Result<Held, Error> {
        let folder = self.snapshot(commit);
        let names = names_in(&folder)?;
        if names.is_empty() {
            return Ok(Held::Nothing);
        }
        let missing = match choose(&names) {
            Err(Lack::Config) => vec!["config.json".to_owned()],
            Err(Lack::Weights) if names.iter().any(|name| is_unreadable_weights(name)) => return Ok(Held::Unreadable(names)),
            Err(Lack::Weights) => vec!["model.safetensors (or other weights)".to_owned()],
            Ok(files) => match files.weights {
                Weights::Sharded(index) => missing_shards(&folder, &index)?,
                Weights::Single(_) | Weights::TensorFlow(_) => Vec::new(),
            },
        };
        Ok(if missing.is_empty() { Held::Model(names) } else { Held::Without(missing) })
    }
}

/// The shards that an index in `folder` names.
pub(crate) fn shards_of(folder: &Path, index: &str) -> Result<Vec<String>, Error> {
    let path = folder.join(index);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    shards(&text).map_err(|reason| Error::malformed(format!("`{}`", path.display()), reason))
}

/// `text` as a full commit, in lower case.
pub(crate) fn full_commit(text: &str) -> Option<String> {
    (text.len() == COMMIT && is_hex(text)).then(|| text.to_ascii_lowercase())
}

/// Whether `text` may be the beginning of a commit.
pub(crate) fn is_short_commit(text: &str) -> bool {
    (SHORT_COMMIT..COMMIT).contains(&text.len()) && is_hex(text)
}

fn missing_shards(folder: &Path, index: &str) -> Result<Vec<String>, Error> {
    let mut shards = shards_of(folder, index)?;
    shards.retain(|shard| !folder.join(shard).is_file());
    Ok(shards)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// The entries of a folder that lead to something: a link whose blob was deleted does not count.
fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(error.kind()) => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().exists()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaa111111111111111111111111111111111";
    const B: &str = "aaaaaaa222222222222222222222222222222222";

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn repo(dir: &Path) -> CachedRepo {
        let repo = CachedRepo::new(dir, "org/name");
        assert_eq!(repo.folder, dir.join("models--org--name"));
        repo
    }

    #[test]
    fn revisions_lead_to_commits() {
        let dir = tempfile::tempdir().unwrap();
        let repo = repo(dir.path());
        assert_eq!(repo.commit("main").unwrap(), None);
        assert_eq!(repo.commit(A).unwrap().as_deref(), Some(A));
        assert_eq!(repo.commit(&A.to_ascii_uppercase()).unwrap().as_deref(), Some(A));

        write(&repo.reference("main"), &format!("{A}\n"));
        write(&repo.reference("refs/pr/5"), B);
        assert_eq!(repo.commit("main").unwrap().as_deref(), Some(A));
        assert_eq!(repo.commit("refs/pr/5").unwrap().as_deref(), Some(B));
        assert_eq!(repo.commit("refs/pr").unwrap(), None);

        write(&repo.snapshot(A).join("x"), "");
        assert_eq!(repo.commit("aaaaaaa1").unwrap().as_deref(), Some(A));
        assert_eq!(repo.commit("aaaaaaa").unwrap().as_deref(), Some(A));
        assert_eq!(repo.commit("aaaaaa").unwrap(), None, "six digits are too few");
        write(&repo.snapshot(B).join("x"), "");
        assert!(repo.commit("aaaaaaa").unwrap_err().to_string().contains("several"));
    }

    #[test]
    fn a_reference_that_is_no_commit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let repo = repo(dir.path());
        for text in ["", "../../../etc", "main", &A[1..]] {
            write(&repo.reference("main"), text);
            assert!(repo.commit("main").unwrap_err().to_string().contains("refs/main"));
        }
    }

    #[test]
    fn a_snapshot_counts_when_config_and_weights_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let repo = repo(dir.path());
        let folder = repo.snapshot(A);
        assert_eq!(repo.held(A).unwrap(), Held::Nothing);
        write(&folder.join("vocab.txt"), "");
        assert_eq!(repo.held(A).unwrap(), Held::Without(vec!["config.json".into()]));
        write(&folder.join("config.json"), "{}");
        assert!(matches!(repo.held(A).unwrap(), Held::Without(missing) if missing[0].contains("weights")));
        write(&folder.join("tf_model.h5"), "");
        assert!(matches!(repo.held(A).unwrap(), Held::Unreadable(_)));
        write(&folder.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "m-1", "b": "m-2"}}"#);
        write(&folder.join("m-1"), "");
        assert_eq!(repo.held(A).unwrap(), Held::Without(vec!["m-2".into()]));
        write(&folder.join("m-2"), "");
        assert!(matches!(repo.held(A).unwrap(), Held::Model(_)));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_without_its_blob_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let repo = repo(dir.path());
        write(&repo.snapshot(A).join("config.json"), "{}");
        std::os::unix::fs::symlink("../../blobs/gone", repo.snapshot(A).join("model.safetensors")).unwrap();
        assert!(matches!(repo.held(A).unwrap(), Held::Without(_)));
    }
}
