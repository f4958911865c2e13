//! What can go wrong between a hub id and a model's folder.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no model; each variant is something a caller can tell apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text or the fields are no hub id.
    #[error("{reason}")]
    InvalidId {
        /// Names the text and the rule it breaks.
        reason: String,
    },
    /// The cache does not hold the model, and the network was not to be used.
    #[error(
        "`{repo}` at revision `{revision}` is not in the cache `{}`, and {network}; {}{hint}",
        cache.display(), network.remedy(repo)
    )]
    NotCached {
        /// The repository.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Folder of the cache.
        cache: PathBuf,
        /// Why the network was not used.
        network: NoNetwork,
        /// More to try, with its separator in front; may be empty.
        hint: String,
    },
    /// The cache holds a part of the model only, and the network was not to be used.
    #[error(
        "`{repo}` is incomplete in the cache: `{}` lacks {}, and {network}; {}",
        folder.display(), listed(missing), network.remedy(repo)
    )]
    Incomplete {
        /// The repository.
        repo: String,
        /// The snapshot's folder.
        folder: PathBuf,
        /// What is not there.
        missing: Vec<String>,
        /// Why the network was not used.
        network: NoNetwork,
    },
    /// The hub does not have it.
    #[error("{missing} at {hub}; {}", missing.remedy())]
    NotFound {
        /// What is not there.
        missing: Missing,
        /// Address of the hub.
        hub: String,
    },
    /// The hub refuses this user.
    #[error("{hub} refused `{repo}` with status {status}: {}", denial.text(hub, repo))]
    Unauthorized {
        /// The repository.
        repo: String,
        /// Address of the hub.
        hub: String,
        /// 401 or 403.
        status: u16,
        /// What was lacking.
        denial: Denial,
    },
    /// What arrived is not what the hub announced; it was deleted.
    #[error(
        "`{file}` of `{repo}` was damaged on its way and has been deleted: expected {expected}, found {found}; \
         fetch it again, and if this repeats ask who runs the network or the mirror"
    )]
    Checksum {
        /// The repository.
        repo: String,
        /// Name in the repository.
        file: String,
        /// What the hub announced: `sha256 …`, `git-sha1 …` or `… bytes`.
        expected: String,
        /// The same of what arrived.
        found: String,
    },
    /// The hub cannot be reached, or answers that it cannot serve now.
    #[error("{message}; check the network and `HF_ENDPOINT`, then try again")]
    Network {
        /// What was tried and how it failed.
        message: String,
    },
    /// The repository has no weights in a format that can be read.
    #[error(
        "`{repo}` has no weights that can be read (`model.safetensors`, `pytorch_model.bin`, their sharded forms, or a \
         TensorFlow checkpoint `*.ckpt*`), only {}; convert it to `model.safetensors` or choose another revision",
        listed(files)
    )]
    UnreadableFormat {
        /// The repository.
        repo: String,
        /// The files it has.
        files: Vec<String>,
    },
    /// The repository has no configuration.
    #[error("`{repo}` has no `config.json`, so its model family is unknown; it has {}; choose another repository or revision", listed(files))]
    NoConfig {
        /// The repository.
        repo: String,
        /// The files it has.
        files: Vec<String>,
    },
    /// The hub's answer or the cache's content breaks a rule and is not used.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which answer or file.
        what: String,
        /// The rule it breaks, and what to do.
        reason: String,
    },
    /// An environment variable cannot be used.
    #[error("`{variable}` cannot be used: {reason}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// Why, and what to do; never its value if that is a secret.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// Whether the same call could succeed with a working network.
    pub fn needs_network(&self) -> bool {
        matches!(self, Self::NotCached { .. } | Self::Incomplete { .. } | Self::Network { .. })
    }

    /// For `map_err` on operations with files.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// For answers and files that break a rule.
    pub(crate) fn malformed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), reason: reason.into() }
    }
}

/// Why the network was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoNetwork {
    /// This environment variable forbids it.
    Variable(&'static str),
    /// The caller forbids it ([`Hub::offline`](crate::Hub::offline)).
    Requested,
    /// This build has no downloads (feature `download`).
    NotBuilt,
    /// Only the cache was asked ([`Hub::cached`](crate::Hub::cached)).
    CacheOnly,
}

impl NoNetwork {
    fn remedy(&self, repo: &str) -> String {
        let copy = format!(
            "on a machine with network run `hf download {repo}` and copy the cache folder, or point `HF_HUB_CACHE` at \
             a cache that has it"
        );
        match self {
            Self::Variable(name) => format!("unset `{name}` to download it; else {copy}"),
            Self::Requested => format!("run once without `--offline` to download it; else {copy}"),
            Self::NotBuilt => format!("use a build with the feature `hub`; else {copy}"),
            Self::CacheOnly => format!("`lmprobe fetch {repo}` downloads it, as `lmprobe run` does"),
        }
    }
}

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "`{name}` forbids the network"),
            Self::Requested => f.write_str("offline mode forbids the network"),
            Self::NotBuilt => f.write_str("this build has no downloads"),
            Self::CacheOnly => f.write_str("only the cache was asked"),
        }
    }
}

/// What the hub does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The repository.
    Repo(String),
    /// This revision of the repository.
    Revision {
        /// The repository, which exists.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// A file of the repository.
    File {
        /// The repository, which exists.
        repo: String,
        /// Name in the repository.
        file: String,
    },
}

impl Missing {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Repo(_) => "check the spelling; if it is private, set `HF_TOKEN` to a token that may read it",
            Self::Revision { .. } => "check the branch, tag or commit behind `@`",
            Self::File { .. } => "the repository changed or is damaged; try again or pin another revision",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repo(repo) => write!(f, "there is no repository `{repo}`"),
            Self::Revision { repo, revision } => write!(f, "`{repo}` has no revision `{revision}`"),
            Self::File { repo, file } => write!(f, "`{repo}` has no file `{file}`"),
        }
    }
}

/// What was lacking when the hub refused a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The repository is gated: its terms must be accepted by the owner of the token.
    Gated,
    /// No token was sent.
    NoToken,
    /// A token was sent and is not enough.
    TokenRefused,
}

impl Denial {
    fn text(self, hub: &str, repo: &str) -> String {
        match self {
            Self::Gated => {
                format!("it is gated; accept its licence at {hub}/{repo} and set `HF_TOKEN` to a token of that account")
            }
            Self::NoToken => "it is private or does not exist, and no token was sent; set `HF_TOKEN`, or log in with \
                              `hf auth login`, and check the spelling"
                .to_owned(),
            Self::TokenRefused => "the token is invalid, expired or may not read it; set `HF_TOKEN` to another one, or \
                                   unset it for a public model"
                .to_owned(),
        }
    }
}

/// At most ten names, so that a large repository does not flood the terminal.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown = names.iter().take(SHOWN).map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
