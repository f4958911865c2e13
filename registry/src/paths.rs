//! Paths of a run file: made absolute, expanded, and there.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use lmprobe_core::PathKind;

use crate::suggestion::nearest;

/// Why a path cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) message: String,
    /// The name beside it that was probably meant.
    pub(crate) meant: Option<String>,
    /// What was expected.
    pub(crate) expected: Option<String>,
    /// Where was looked.
    pub(crate) help: Option<String>,
    /// Whether there is nothing at that path, as opposed to the wrong thing.
    pub(crate) missing: bool,
}

impl Problem {
    /// The words beside the place.
    pub(crate) fn label(&self) -> Option<String> {
        self.meant.as_ref().map(|meant| format!("did you mean `{meant}`?")).or_else(|| self.expected.clone())
    }
}

/// The absolute path of a file or folder that exists.
pub(crate) fn resolve(kind: PathKind, text: &str, folder: &Path) -> Result<PathBuf, Problem> {
    let path = absolute(text, folder)?;
    let noun = noun(kind);
    match path.metadata() {
        Ok(found) if found.is_dir() == is_folder(kind) => Ok(path),
        Ok(found) => {
            let found = if found.is_dir() { "a folder" } else { "a file" };
            Err(Problem { message: format!("`{text}` is {found}"), meant: None, expected: Some(format!("expected a {noun}")), help: None, missing: false })
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(nothing_at(kind, text, &path)),
        Err(error) => Err(Problem { message: format!("cannot look at `{text}`: {error}"), meant: None, expected: None, help: None, missing: false }),
    }
}

/// The absolute paths of files that exist: one file, or all that match a glob, in byte order.
pub(crate) fn resolve_files(text: &str, folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let literal = resolve(PathKind::File, text, folder);
    // A file whose name merely looks like a pattern is that file.
    if literal.is_ok() || !text.contains(['*', '?', '[']) {
        return literal.map(|path| vec![path]);
    }
    let problem = |message: String| Problem { message, meant: None, expected: None, help: Some(format!("looked in {}", folder.display())), missing: false };
    let pattern = if Path::new(text).is_absolute() {
        text.to_owned()
    } else {
        let folder = folder.to_str().ok_or_else(|| problem(format!("`{text}` cannot be expanded: the path of its folder is not UTF-8")))?;
        format!("{}/{text}", glob::Pattern::escape(folder))
    };
    let options = glob::MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let matches = glob::glob_with(&pattern, options).map_err(|error| problem(format!("`{text}` is not a valid pattern: {}", error.msg)))?;
    let mut paths = Vec::new();
    for path in matches {
        let path = path.map_err(|error| problem(format!("cannot expand `{text}`: {error}")))?;
        if path.is_file() {
            paths.push(without_dots(&path));
        }
    }
    paths.sort();
    if paths.is_empty() { Err(problem(format!("no file matches `{text}`"))) } else { Ok(paths) }
}

/// The path, absolute and without detours.
pub(crate) fn absolute(text: &str, folder: &Path) -> Result<PathBuf, Problem> {
    let problem =
        |message: &str, help: Option<&str>| Problem { message: message.to_owned(), meant: None, expected: None, help: help.map(str::to_owned), missing: false };
    if text.trim().is_empty() {
        return Err(problem("the path is empty", None));
    }
    if text == "~" || text.starts_with("~/") {
        return Err(problem(&format!("`~` is not expanded in `{text}`"), Some("write `${HOME}` instead of `~`")));
    }
    Ok(without_dots(&folder.join(text)))
}

/// A path without `.`, and without `..` except behind a symbolic link, where `a/b/..` need not be `a`.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) && !clean.is_symlink() => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

fn noun(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Model => "model folder",
        PathKind::Folder => "folder",
        PathKind::File | PathKind::Files => "file",
    }
}

fn is_folder(kind: PathKind) -> bool {
    matches!(kind, PathKind::Folder | PathKind::Model)
}

/// Names the first missing part of the path and what stands beside it.
fn nothing_at(kind: PathKind, text: &str, path: &Path) -> Problem {
    let mut missing = path;
    let mut parent = path.parent();
    while let Some(folder) = parent {
        if folder.exists() {
            break;
        }
        missing = folder;
        parent = folder.parent();
    }
    let is_last = missing == path;
    let name = missing.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let siblings: Vec<String> = parent
        .and_then(|folder| folder.read_dir().ok())
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir() == (!is_last || is_folder(kind)))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let meant = nearest(&name, siblings.iter().map(String::as_str)).map(str::to_owned);
    let expected = (!is_last).then(|| format!("there is no folder `{name}`"));
    Problem { message: format!("there is no {} `{text}`", noun(kind)), meant, expected, help: Some(format!("looked for {}", path.display())), missing: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in ["corpus/b.txt", "corpus/a.txt", "corpus/a[1].txt", "corpus/.hidden.txt", "facts.csv"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    #[test]
    fn a_path_is_relative_to_the_folder_it_is_written_in() {
        let folder = folder();
        assert_eq!(resolve(PathKind::File, "./corpus/./a.txt", folder.path()), Ok(folder.path().join("corpus/a.txt")));
        assert_eq!(resolve(PathKind::Folder, "corpus/", folder.path()), Ok(folder.path().join("corpus")));
    }

    #[cfg(unix)]
    #[test]
    fn detours_are_removed_unless_a_link_is_followed() {
        let folder = folder();
        std::fs::create_dir_all(folder.path().join("far/away")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("far/away"), folder.path().join("link")).unwrap();
        assert_eq!(absolute("corpus/../facts.csv", folder.path()).unwrap(), folder.path().join("facts.csv"));
        assert_eq!(absolute("link/../x", folder.path()).unwrap(), folder.path().join("link/../x"));
    }

    #[test]
    fn a_missing_file_suggests_a_sibling() {
        let folder = folder();
        let problem = resolve(PathKind::File, "fact.csv", folder.path()).unwrap_err();
        assert_eq!(problem.message, "there is no file `fact.csv`");
        assert_eq!(problem.label().as_deref(), Some("did you mean `facts.csv`?"));
        assert_eq!(problem.help, Some(format!("looked for {}", folder.path().join("fact.csv").display())));
        let problem = resolve(PathKind::File, "corpora/a.txt", folder.path()).unwrap_err();
        assert_eq!(problem.label().as_deref(), Some("did you mean `corpus`?"));
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = folder();
        assert_eq!(resolve(PathKind::File, "corpus", folder.path()).unwrap_err().message, "`corpus` is a folder");
        assert_eq!(resolve(PathKind::Folder, "facts.csv", folder.path()).unwrap_err().label().as_deref(), Some("expected a folder"));
        assert!(resolve(PathKind::File, "facts.csv/x", folder.path()).unwrap_err().missing);
    }

    #[test]
    fn paths_that_cannot_be_meant_are_refused() {
        let folder = folder();
        assert_eq!(resolve(PathKind::File, " ", folder.path()).unwrap_err().message, "the path is empty");
        assert_eq!(resolve(PathKind::File, "~/x", folder.path()).unwrap_err().help.as_deref(), Some("write `${HOME}` instead of `~`"));
    }

    #[test]
    fn globs_expand_in_byte_order_and_skip_hidden_files() {
        let folder = folder();
        let names = |pattern: &str| -> Vec<String> {
            resolve_files(pattern, folder.path()).unwrap().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names("corpus/*.txt"), ["a.txt", "a[1].txt", "b.txt"]);
        assert_eq!(names("./corpus/?.txt"), ["a.txt", "b.txt"]);
        assert_eq!(names("corpus/[bc].txt"), ["b.txt"]);
        assert_eq!(names("corpus/a[1].txt"), ["a[1].txt"]);
        assert_eq!(names("corpus/a.txt"), ["a.txt"]);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_a_mistake() {
        let folder = folder();
        assert_eq!(resolve_files("*.tsv", folder.path()).unwrap_err().message, "no file matches `*.tsv`");
        assert!(resolve_files("[", folder.path()).unwrap_err().message.starts_with("`[` is not a valid pattern"));
    }
}
