//! Where the cache and the hub are, from the variables that every tool of the Hugging Face ecosystem shares.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Any of these forbids the network.
const OFFLINE: [&str; 3] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"];

/// The source of the variables: the process, or a table in a test. An empty value counts as none.
pub(crate) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup }
    }

    /// A value as it is.
    pub(crate) fn text(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// A value of the kind 1, ON, YES, TRUE in any case.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| {
            let value = value.to_string_lossy().trim().to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        })
    }

    /// A path, with a leading `~` and `$NAME` or `${NAME}` replaced as Python's library does: values from a service
    /// file or a container reach us without a shell.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.text(name)?;
        let Some(text) = value.to_str() else { return Some(value.into()) };
        let text = self.expanded(text);
        match (text.strip_prefix('~'), self.text("HOME")) {
            (Some(""), Some(home)) => Some(home.into()),
            (Some(rest), Some(home)) if rest.starts_with('/') => Some(PathBuf::from(home).join(&rest[1..])),
            _ => Some(text.into()),
        }
    }

    /// Unknown variables stay as they are written.
    fn expanded(&self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            result.push_str(&rest[..at]);
            let (written, name) = reference_at(&rest[at..]);
            match self.text(name).filter(|_| !name.is_empty()) {
                Some(value) => result.push_str(&value.to_string_lossy()),
                None => result.push_str(written),
            }
            rest = &rest[at + written.len()..];
        }
        result + rest
    }

    /// `$HF_HOME`, else `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`.
    pub(crate) fn hf_home(&self) -> Option<PathBuf> {
        self.path("HF_HOME")
            .or_else(|| Some(self.path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(PathBuf::from(self.text("HOME")?).join(".cache/huggingface")))
    }

    /// `HF_HUB_CACHE`, else the legacy `HUGGINGFACE_HUB_CACHE`, else the folder `hub` of [`Self::hf_home`].
    pub(crate) fn cache(&self) -> Result<PathBuf, Error> {
        self.path("HF_HUB_CACHE").or_else(|| self.path("HUGGINGFACE_HUB_CACHE")).or_else(|| Some(self.hf_home()?.join("hub"))).ok_or_else(|| {
            Error::Environment { variable: "HOME", reason: "it is not set, so the cache has no place; set `HF_HOME` or `HF_HUB_CACHE`".to_owned() }
        })
    }

    /// The first variable that forbids the network.
    pub(crate) fn offline(&self) -> Option<&'static str> {
        OFFLINE.into_iter().find(|name| self.is_true(name))
    }

    /// `HF_ENDPOINT` without a slash at its end. One that holds a password is refused: endpoints appear in messages.
    pub(crate) fn endpoint(&self) -> Result<String, Error> {
        let Some(value) = self.text("HF_ENDPOINT") else { return Ok(DEFAULT_ENDPOINT.to_owned()) };
        let refuse = |reason: &str| Err(Error::Environment { variable: "HF_ENDPOINT", reason: reason.to_owned() });
        let Some(text) = value.to_str().map(|text| text.trim().trim_end_matches('/')) else {
            return refuse("it is not text");
        };
        let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
            return refuse("it does not start with `https://` or `http://`");
        };
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return refuse("it holds a user name or password; use `HF_TOKEN`");
        }
        if host.is_empty() || rest.contains(['?', '#']) || !rest.chars().all(|c| c.is_ascii_graphic()) {
            return refuse("it is not the address of a hub, such as `https://huggingface.co`");
        }
        Ok(text.to_owned())
    }

    /// `TRANSFORMERS_CACHE` moves no cache here; whoever relies on it should hear that.
    pub(crate) fn cache_hint(&self) -> String {
        self.path("TRANSFORMERS_CACHE")
            .map_or_else(String::new, |path| format!("; `TRANSFORMERS_CACHE` is `{}` but is not used, `HF_HUB_CACHE` is", path.display()))
    }
}

/// The `$NAME` or `${NAME}` that `text` begins with, and the name in it.
fn reference_at(text: &str) -> (&str, &str) {
    if let Some((name, _)) = text.strip_prefix("${").and_then(|inner| inner.split_once('}')) {
        return (&text[..name.len() + 3], name);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text[1..].find(|c| !is_name(c)).map_or(text.len(), |end| end + 1);
    (&text[..end], &text[1..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test's table lives as long as the test process.
    fn with(table: &[(&str, &str)]) -> Variables<'static> {
        let table: Vec<(String, OsString)> = table.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let lookup = move |name: &str| table.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Variables::new(Box::leak(Box::new(lookup)))
    }

    #[test]
    fn the_cache_is_the_first_that_is_named() {
        let all = [("HF_HUB_CACHE", "/a"), ("HUGGINGFACE_HUB_CACHE", "/b"), ("HF_HOME", "/c"), ("XDG_CACHE_HOME", "/d"), ("HOME", "/e")];
        let expected = ["/a", "/b", "/c/hub", "/d/huggingface/hub", "/e/.cache/huggingface/hub"];
        for (first, path) in expected.iter().enumerate() {
            assert_eq!(with(&all[first..]).cache().unwrap(), PathBuf::from(path));
        }
        let error = with(&[]).cache().unwrap_err().to_string();
        assert!(error.contains("HF_HOME"), "{error}");
    }

    #[test]
    fn empty_counts_as_unset_and_paths_are_expanded_as_in_python() {
        for (table, path) in [
            (vec![("HF_HUB_CACHE", ""), ("HF_HOME", "/c")], "/c/hub"),
            (vec![("HF_HUB_CACHE", "~/x"), ("HOME", "/e")], "/e/x"),
            (vec![("HF_HUB_CACHE", "~"), ("HOME", "/e")], "/e"),
            (vec![("HF_HUB_CACHE", "~other/x"), ("HOME", "/e")], "~other/x"),
            (vec![("HF_HUB_CACHE", "$SCRATCH/hf"), ("SCRATCH", "/s")], "/s/hf"),
            (vec![("HF_HUB_CACHE", "/a/${WHO}-x"), ("WHO", "me")], "/a/me-x"),
            (vec![("HF_HUB_CACHE", "/a/$WHO/${NOT}/$")], "/a/$WHO/${NOT}/$"),
            (vec![("HF_HUB_CACHE", "/a/${broken")], "/a/${broken"),
        ] {
            assert_eq!(with(&table).cache().unwrap(), PathBuf::from(path), "{table:?}");
        }
    }

    #[test]
    fn any_offline_variable_forbids_the_network() {
        for name in OFFLINE {
            for value in ["1", "ON", "on", "Yes", "TRUE", "true"] {
                assert_eq!(with(&[(name, value)]).offline(), Some(name));
            }
            for value in ["", "0", "off", "no", "false", "2"] {
                assert_eq!(with(&[(name, value)]).offline(), None, "{name}={value}");
            }
        }
        let contradiction = [("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")];
        assert_eq!(with(&contradiction).offline(), Some("TRANSFORMERS_OFFLINE"));
    }

    #[test]
    fn the_endpoint_is_an_address_without_secrets() {
        assert_eq!(with(&[]).endpoint().unwrap(), "https://huggingface.co");
        for (value, endpoint) in [("http://127.0.0.1:8000/", "http://127.0.0.1:8000"), ("https://m/hf/x//", "https://m/hf/x")] {
            assert_eq!(with(&[("HF_ENDPOINT", value)]).endpoint().unwrap(), endpoint);
        }
        for value in ["ftp://x", "huggingface.co", "http://", "http://a b", "http://x?y", "https://user:secret@host"] {
            let error = with(&[("HF_ENDPOINT", value)]).endpoint().unwrap_err().to_string();
            assert!(error.contains("HF_ENDPOINT") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn transformers_cache_is_a_hint_only() {
        assert!(with(&[]).cache_hint().is_empty());
        assert!(with(&[("TRANSFORMERS_CACHE", "/old")]).cache_hint().contains("/old"));
    }
}
