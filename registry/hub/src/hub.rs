//! The hub as a run sees it: a cache, and perhaps a network behind it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cache::{CachedRepo, Held};
use crate::environment::Variables;
use crate::error::{Error, NoNetwork};
use crate::event::Event;
use crate::hub_id::HubId;
#[cfg(feature = "download")]
use crate::token::TokenSource;

/// Where the cache is, where the hub is, and whether the network may be used.
#[derive(Debug, Clone)]
pub struct Hub {
    cache: PathBuf,
    endpoint: String,
    network: Network,
    hint: String,
}

/// A model's folder in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Holds `config.json`, the weights and what the tokenizer needs.
    pub folder: PathBuf,
    /// The full commit.
    pub commit: String,
    /// `org/name` or `name`.
    pub repo: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
}

/// Whether the network may be used. A client is made from a [`Remote`] only, and [`Network::Off`] has none.
#[derive(Debug, Clone)]
enum Network {
    #[cfg(feature = "download")]
    On(Remote),
    Off(NoNetwork),
}

/// All that it takes to reach the hub.
#[cfg(feature = "download")]
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) endpoint: String,
    pub(crate) token: TokenSource,
}

impl Hub {
    /// The hub and the cache that the process environment names.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`, `$XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub` | the cache: the first that is set |
    /// | `HF_TOKEN`, file `HF_TOKEN_PATH`, file `$HF_HOME/token` | the token: the first that is set |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | no token is sent |
    /// | `HF_ENDPOINT` | the hub's address; default `https://huggingface.co` |
    /// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_DATASETS_OFFLINE` | any that is 1, ON, YES or TRUE forbids the network |
    ///
    /// # Errors
    ///
    /// [`Error::Environment`] if a value cannot be used.
    pub fn from_environment() -> Result<Self, Error> {
        // Without HOME the user database may still know.
        let home = |name: &str| env::home_dir().filter(|_| name == "HOME").map(PathBuf::into_os_string);
        Self::from_variables(|name| env::var_os(name).or_else(|| home(name)))
    }

    /// Like [`Hub::from_environment`], with the variables from elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Environment`] if a value cannot be used.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let variables = Variables::new(&lookup);
        let endpoint = variables.endpoint()?;
        #[cfg(feature = "download")]
        let online = || {
            let token = TokenSource::from_variables(&variables)?;
            Ok(Network::On(Remote { endpoint: endpoint.clone(), token }))
        };
        #[cfg(not(feature = "download"))]
        let online = || Ok(Network::Off(NoNetwork::NotBuilt));
        let network = match variables.offline() {
            Some(name) => Network::Off(NoNetwork::Variable(name)),
            None => online()?,
        };
        Ok(Self { cache: variables.cache()?, hint: variables.cache_hint(), network, endpoint })
    }

    /// Forbids the network if `offline`; `false` leaves what the environment says, so that a flag that was not given
    /// never overrules a variable that was.
    pub fn offline(self, offline: bool) -> Self {
        let network = match self.network {
            Network::Off(reason) => Network::Off(reason),
            #[cfg(feature = "download")]
            Network::On(_) if offline => Network::Off(NoNetwork::Requested),
            #[cfg(feature = "download")]
            on @ Network::On(_) => on,
        };
        #[cfg(not(feature = "download"))]
        let _ = offline;
        Self { network, ..self }
    }

    /// Folder of the cache; it need not exist.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Whether only the cache is used.
    pub fn is_offline(&self) -> bool {
        matches!(self.network, Network::Off(_))
    }

    /// Address of the hub, without a slash at its end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The model's folder if the cache holds its configuration and weights. Opens no socket and writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotCached`] and [`Error::Incomplete`] if it is not there or not all of it; [`Error::UnreadableFormat`]
    /// if there are weights, but in no format that is read.
    pub fn cached(&self, id: &HubId) -> Result<Snapshot, Error> {
        let reason = match &self.network {
            Network::Off(reason) => reason.clone(),
            #[cfg(feature = "download")]
            Network::On(_) => NoNetwork::CacheOnly,
        };
        self.look_up(id, reason)
    }

    /// The model's folder, after downloading what is missing.
    ///
    /// A full commit that is complete in the cache needs no network. Otherwise the hub is asked which commit the
    /// revision stands for; if it cannot be reached and the cache holds the commit it last stood for, that one is used
    /// and [`Event::UsingCache`] says so. A refusal of the hub (401, 403, 404) is an error in any case. A download that
    /// is cut is continued by the next call. Offline, this is [`Hub::cached`].
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub fn model(&self, id: &HubId, events: &mut dyn FnMut(Event)) -> Result<Snapshot, Error> {
        #[cfg(not(feature = "download"))]
        let _ = events;
        match &self.network {
            Network::Off(reason) => self.look_up(id, reason.clone()),
            #[cfg(feature = "download")]
            Network::On(remote) => {
                id.check().map_err(|reason| Error::InvalidId { reason })?;
                crate::download::model(&CachedRepo::new(&self.cache, &id.repo), remote, id, events)
            }
        }
    }

    fn look_up(&self, id: &HubId, network: NoNetwork) -> Result<Snapshot, Error> {
        id.check().map_err(|reason| Error::InvalidId { reason })?;
        let repo = CachedRepo::new(&self.cache, &id.repo);
        let (held, commit) = match repo.commit(id.revision())? {
            Some(commit) => (repo.held(&commit)?, commit),
            None => (Held::Nothing, String::new()),
        };
        let snapshot = Snapshot::new(&repo, id, commit);
        match held {
            Held::Model(_) => Ok(snapshot),
            Held::Unreadable(files) => Err(Error::UnreadableFormat { repo: snapshot.repo, files }),
            Held::Without(missing) => Err(Error::Incomplete { repo: snapshot.repo, folder: snapshot.folder, missing, network }),
            Held::Nothing => {
                Err(Error::NotCached { repo: snapshot.repo, revision: snapshot.revision, cache: self.cache.clone(), network, hint: self.hint.clone() })
            }
        }
    }
}

impl Snapshot {
    pub(crate) fn new(repo: &CachedRepo, id: &HubId, commit: String) -> Self {
        Self { folder: repo.snapshot(&commit), commit, repo: id.repo.clone(), revision: id.revision().to_owned() }
    }
}
