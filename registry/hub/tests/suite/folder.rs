//! A cache in a folder of its own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use lmprobe_hub::{Error, Event, Hub, HubId, Snapshot};
use tempfile::TempDir;

pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.cache().join("models--org--name")
    }

    /// A hub at `endpoint` with this cache and these further variables.
    pub(crate) fn hub(&self, endpoint: &str, variables: &[(&str, &str)]) -> Hub {
        Hub::from_variables(|name| match name {
            "HF_HOME" => Some(self.dir.path().as_os_str().to_owned()),
            "HF_ENDPOINT" => Some(OsString::from(endpoint)),
            _ => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)),
        })
        .unwrap()
    }

    pub(crate) fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.repo().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// All files and links below the repository's folder and the locks, links with their targets, sorted.
    #[cfg(feature = "download")]
    pub(crate) fn tree(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut folders = vec![self.cache()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.cache()).unwrap().display().to_string();
                if path.is_symlink() {
                    lines.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
                } else if path.is_dir() {
                    folders.push(path);
                } else {
                    lines.push(name);
                }
            }
        }
        lines.sort();
        lines
    }
}

pub(crate) fn id(text: &str) -> HubId {
    HubId::parse(text).unwrap()
}

/// [`Hub::model`] with the events it reported.
pub(crate) fn model(hub: &Hub, text: &str) -> (Result<Snapshot, Error>, Vec<Event>) {
    let mut events = Vec::new();
    let result = hub.model(&id(text), &mut |event| events.push(event));
    (result, events)
}

/// The error of [`Hub::model`] and all its texts.
pub(crate) fn refusal(hub: &Hub, text: &str) -> (Error, String) {
    let error = model(hub, text).0.unwrap_err();
    let texts = format!("{error} {error:?}");
    (error, texts)
}
