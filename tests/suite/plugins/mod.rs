//! Plugins in shared libraries: the examples in `tests/plugins`, built here and used as a user uses them.

mod commands;
mod endurance;
mod equality;
mod isolation;
mod libraries;
mod misbehaviour;
mod refusals;
mod twins;

use std::path::Path;

/// A run file that asks the model of the repository a handful of questions, with more lines put in.
struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a run file and gives its path as text.
    fn file(&self, text: &str) -> String {
        let path = self.path().join("run.yaml");
        std::fs::write(&path, text).expect("the file can be written");
        path.display().to_string()
    }

    /// The facts of the repository, a few rows of them.
    fn facts(&self) -> String {
        let all = std::fs::read_to_string(libraries::root().join("data/minibio/facts.csv")).expect("the facts");
        let some: Vec<&str> = all.lines().take(41).collect();
        let path = self.path().join("facts.csv");
        std::fs::write(&path, some.join("\n") + "\n").expect("the file can be written");
        path.display().to_string()
    }
}
