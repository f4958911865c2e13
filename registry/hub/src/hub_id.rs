//! The name of a model on the hub.

use std::fmt;

/// Longest allowed part of a repository's name.
const MAX_PART: usize = 96;

/// `org/name` or `name`, either with `@revision`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubId {
    /// `org/name` or `name`.
    pub repo: String,
    /// Branch, tag or commit; `None` is `main`.
    pub revision: Option<String>,
}

impl HubId {
    /// Reads `[org/]name[@revision]` by the rules of the hub.
    ///
    /// # Errors
    ///
    /// The reason why the text is no hub id: a fragment that names the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.to_owned())),
            None => (text, None),
        };
        let id = Self { repo: repo.to_owned(), revision };
        id.check().map_err(|reason| format!("`{}` is not a hub id: {reason}", text.escape_debug()))?;
        Ok(id)
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Whether the fields follow the rules: both become parts of paths and of addresses.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_repo(&self.repo)?;
        self.revision.as_deref().map_or(Ok(()), check_revision)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

fn check_repo(repo: &str) -> Result<(), String> {
    if repo.starts_with(['.', '/', '~']) || repo.contains('\\') {
        return Err("it looks like a path".to_owned());
    }
    if repo.matches('/').count() > 1 {
        return Err("it has more than one `/`; write `org/name` or `name`".to_owned());
    }
    repo.split('/').try_for_each(check_part)?;
    if repo.contains("--") || repo.contains("..") {
        return Err("`--` and `..` are not allowed".to_owned());
    }
    if repo.to_ascii_lowercase().ends_with(".git") {
        return Err("a name does not end with `.git`".to_owned());
    }
    Ok(())
}

fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("a name is empty; write `org/name` or `name`".to_owned());
    }
    if part.len() > MAX_PART {
        return Err(format!("a name is longer than {MAX_PART} characters"));
    }
    if let Some(bad) = part.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        return Err(format!("`{}` is not allowed in a name; letters, digits, `.`, `_` and `-` are", bad.escape_debug()));
    }
    if part.starts_with(['.', '-']) || part.ends_with(['.', '-']) {
        return Err("a name neither starts nor ends with `.` or `-`".to_owned());
    }
    Ok(())
}

/// The rules of git for the name of a branch or tag, which a commit fulfils too.
fn check_revision(revision: &str) -> Result<(), String> {
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.to_ascii_lowercase().ends_with(".lock");
    if revision.is_empty() {
        return Err("the revision behind `@` is empty".to_owned());
    }
    if let Some(bad) = revision.chars().find(|c| c.is_control() || c.is_whitespace() || "\\~^:?*[".contains(*c)) {
        return Err(format!("`{}` is not allowed in a revision", bad.escape_debug()));
    }
    if revision.contains("..") || revision.contains("@{") || revision.ends_with('.') || revision.starts_with('-') {
        return Err("the revision is neither a branch, a tag nor a commit".to_owned());
    }
    if revision.split('/').any(bad_part) {
        return Err("a part of the revision is empty, starts with `.` or ends with `.lock`".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub_are_read() {
        for (text, repo, revision) in [
            ("bert-base-uncased", "bert-base-uncased", "main"),
            ("dmis-lab/biobert-v1.1", "dmis-lab/biobert-v1.1", "main"),
            ("org/name@v1.0", "org/name", "v1.0"),
            ("name@refs/pr/5", "name", "refs/pr/5"),
            ("Foo_/BAR-1.x@0123456789abcdef0123456789abcdef01234567", "Foo_/BAR-1.x", "0123456789abcdef0123456789abcdef01234567"),
        ] {
            let id = HubId::parse(text).unwrap();
            assert_eq!((id.repo.as_str(), id.revision()), (repo, revision));
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn paths_and_malformed_names_are_refused() {
        let long = "x".repeat(97);
        for (text, reason) in [
            ("", "empty"),
            ("./model", "path"),
            ("../model", "path"),
            ("/models/bert", "path"),
            ("~/bert", "path"),
            ("org\\name", "path"),
            ("a/b/c", "more than one"),
            ("a/", "empty"),
            ("-a/b", "starts"),
            ("a/b.", "ends"),
            ("a--b", "`--`"),
            ("a..b", "`..`"),
            ("a b", "` ` is not allowed"),
            ("a/b\n", "\\n"),
            ("a.git", ".git"),
            (long.as_str(), "96"),
            ("a@", "empty"),
            ("a@../../etc", "neither"),
            ("a@x/../y", "neither"),
            ("a@/etc", "part"),
            ("a@x//y", "part"),
            ("a@.git", "part"),
            ("a@x\\y", "not allowed"),
            ("a@x y", "not allowed"),
            ("a@x\0", "not allowed"),
        ] {
            let error = HubId::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(!error.contains('\0') && !error.contains('\n'), "{error:?}");
        }
    }
}
