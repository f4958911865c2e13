//! The user's secret for the hub.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::environment::Variables;
use crate::error::Error;

/// A secret; its debug form hides it, and it has no other.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// White space around a token comes from files and shells. Anything that cannot stand in a header is refused.
    fn parse(text: &str, variable: &'static str) -> Result<Option<Self>, Error> {
        let text = text.trim();
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            let reason = "the token has characters that no token has (is it the right file?)".to_owned();
            return Err(Error::Environment { variable, reason });
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Where the token is; a file is read only when a request is about to be sent.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    /// No token is to be sent.
    None,
    /// From `HF_TOKEN`.
    Value(Token),
    /// From the file that `hf auth login` writes, if it exists.
    File(PathBuf),
}

impl TokenSource {
    /// `HF_TOKEN`, else the file at `HF_TOKEN_PATH`, else the file `token` of the Hugging Face folder; none at all with
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`.
    pub(crate) fn from_variables(variables: &Variables<'_>) -> Result<Self, Error> {
        if variables.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(Self::None);
        }
        if let Some(value) = variables.text("HF_TOKEN")
            && let Some(token) = Token::parse(&value.to_string_lossy(), "HF_TOKEN")?
        {
            return Ok(Self::Value(token));
        }
        let file = variables.path("HF_TOKEN_PATH").or_else(|| Some(variables.hf_home()?.join("token")));
        Ok(file.map_or(Self::None, Self::File))
    }

    /// The token itself.
    pub(crate) fn read(&self) -> Result<Option<Token>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Value(token) => Ok(Some(token.clone())),
            Self::File(path) => Self::read_file(path),
        }
    }

    fn read_file(path: &Path) -> Result<Option<Token>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Token::parse(&text, "HF_TOKEN_PATH"),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::io("read the token file", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn token(table: &[(&str, &str)]) -> Result<Option<String>, Error> {
        let lookup = |name: &str| table.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let source = TokenSource::from_variables(&Variables::new(&lookup))?;
        Ok(source.read()?.map(|token| token.header()))
    }

    #[test]
    fn the_token_is_the_first_that_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let other = dir.path().join("other");
        fs::write(dir.path().join("token"), "hf_home\n").unwrap();
        fs::write(&other, "  hf_other \n").unwrap();
        let other = other.to_str().unwrap();

        let all = [("HF_TOKEN", "hf_variable"), ("HF_TOKEN_PATH", other), ("HF_HOME", home)];
        for (first, expected) in ["Bearer hf_variable", "Bearer hf_other", "Bearer hf_home"].iter().enumerate() {
            assert_eq!(token(&all[first..]).unwrap().as_deref(), Some(*expected));
        }
        assert_eq!(token(&[("HF_TOKEN", "  "), ("HF_HOME", home)]).unwrap().as_deref(), Some("Bearer hf_home"));
        assert_eq!(token(&[]).unwrap(), None);
        assert_eq!(token(&[("HF_HOME", "/does/not/exist")]).unwrap(), None);
        assert_eq!(token(&[all[0], all[2], ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap(), None);
    }

    #[test]
    fn a_token_is_never_shown() {
        let lookup = |name: &str| (name == "HF_TOKEN").then(|| OsString::from("hf_secret"));
        let source = TokenSource::from_variables(&Variables::new(&lookup)).unwrap();
        assert!(!format!("{source:?} {:?}", source.read()).contains("secret"));
        let error = token(&[("HF_TOKEN", "hf_secret\nX-Evil: 1")]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
