//! The hub's answers over HTTP.
//!
//! hf-hub 0.5 is not used. It sends the token to the host of a redirect when it asks for a file's size
//! (`Api::metadata`), uses the headers `etag` and `x-repo-commit` as paths without looking at them, fails for good on a
//! download that was cut at its last byte (416), appends a whole file to a part if a server ignores `Range`, notes a
//! reference for every commit, hides the header that tells a missing revision from a missing repository, and waits
//! without end for a silent server. None of that can be configured; this file and `download.rs` replace it.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

use crate::cache::full_commit;
use crate::checksum::Etag;
use crate::error::{Denial, Error, Missing};
use crate::hub::Remote;
use crate::hub_id::HubId;
use crate::model_files::check_name;
use crate::token::Token;
use crate::url::{Origin, encode, join};

const MAX_REDIRECTS: usize = 10;
/// The list of files of the largest repositories is a few megabytes.
const MAX_INFO_BYTES: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks one hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<Token>,
}

/// A commit and its files.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// One file of a commit, before it is fetched.
#[derive(Debug)]
pub(crate) struct FileInfo {
    pub(crate) etag: Etag,
    pub(crate) size: Option<u64>,
    /// Where the bytes are; may be another host.
    pub(crate) url: String,
}

/// Whether redirects are followed to the end, or only to the first other host that knows the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    ToTheEnd,
    UntilForeign,
}

/// A status that is no redirect, and the address it came from.
struct Answer {
    response: Response<Body>,
    url: String,
    /// `x-repo-commit`, `x-linked-etag` and `x-linked-size` of the redirects before it, as far as they had them.
    linked: [Option<String>; 3],
    /// The response is a redirect to another host, which was not followed.
    is_foreign: bool,
}

const LINKED: [&str; 3] = ["x-repo-commit", "x-linked-etag", "x-linked-size"];

impl Client {
    pub(crate) fn new(remote: &Remote) -> Result<Self, Error> {
        let origin = Origin::of(&remote.endpoint).ok_or_else(|| Error::Environment {
            variable: "HF_ENDPOINT",
            reason: "it is not the address of a hub, such as `https://huggingface.co`".to_owned(),
        })?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("lmprobe/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT));
        // A proxy of the environment would look for a hub on its own machine.
        if origin.is_loopback() {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into(), endpoint: remote.endpoint.clone(), origin, token: remote.token.read()? })
    }

    /// The commit a revision stands for now, and the files it has.
    pub(crate) fn info(&self, id: &HubId) -> Result<Info, Error> {
        let url = format!("{}/api/models/{}/revision/{}", self.endpoint, id.repo, encode(id.revision(), ""));
        let answer = self.follow(&Method::GET, url, None, Follow::ToTheEnd)?;
        let revision = id.revision().to_owned();
        self.check_status(&answer, id, Missing::Revision { repo: id.repo.clone(), revision })?;
        let mut body = answer.response.into_body();
        let text = body.with_config().limit(MAX_INFO_BYTES).read_to_vec().map_err(|error| self.unreachable(&error))?;
        // A log-in page or a proxy answers with something else: that is a network that does not work.
        let info: Value = serde_json::from_slice(&text)
            .map_err(|_| Error::Network { message: format!("{} did not answer as a hub does (is there a log-in page or a proxy?)", self.endpoint) })?;
        read_info(&info, id).map_err(|reason| Error::malformed(format!("the answer of {} about `{}`", self.endpoint, id.repo), reason))
    }

    /// What the hub knows about a file of a commit.
    pub(crate) fn file(&self, id: &HubId, commit: &str, file: &str) -> Result<FileInfo, Error> {
        let url = format!("{}/{}/resolve/{commit}/{}", self.endpoint, id.repo, encode(file, "/"));
        let answer = self.follow(&Method::HEAD, url, None, Follow::UntilForeign)?;
        self.check_status(&answer, id, Missing::File { repo: id.repo.clone(), file: file.to_owned() })?;
        let [seen_commit, etag, size] = answer.linked;
        let header = |name| header(&answer.response, name);
        let malformed = |reason: String| Error::malformed(format!("the answer of {} about `{file}`", self.endpoint), reason);
        if let Some(other) = seen_commit.filter(|other| other != commit) {
            return Err(malformed(format!("commit {commit} was asked for, but `{}` answered", other.escape_debug())));
        }
        let etag = etag.or_else(|| header("etag")).ok_or_else(|| malformed("it has no etag".to_owned()))?;
        // The length of a redirect's own body says nothing.
        let own_length = || header("content-length").filter(|_| answer.response.status().is_success());
        let size = size.or_else(own_length).and_then(|size| size.trim().parse().ok());
        Ok(FileInfo { etag: Etag::parse(&etag).map_err(malformed)?, size, url: answer.url })
    }

    /// The bytes of a file from `offset` on; the answer may be 200, 206 or 416.
    pub(crate) fn bytes(&self, id: &HubId, file: &str, url: &str, offset: u64) -> Result<Response<Body>, Error> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let answer = self.follow(&Method::GET, url.to_owned(), range.as_deref(), Follow::ToTheEnd)?;
        if answer.response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
            self.check_status(&answer, id, Missing::File { repo: id.repo.clone(), file: file.to_owned() })?;
        }
        Ok(answer.response)
    }

    /// Sends a request and follows redirects. The token goes to the hub's origin only.
    fn follow(&self, method: &Method, mut url: String, range: Option<&str>, follow: Follow) -> Result<Answer, Error> {
        let mut linked = [None, None, None];
        for _ in 0..MAX_REDIRECTS {
            let response = self.send(method, &url, range)?;
            for (value, name) in linked.iter_mut().zip(LINKED) {
                *value = header(&response, name).or(value.take());
            }
            let location = header(&response, "location").filter(|_| response.status().is_redirection());
            let Some(location) = location else {
                return Ok(Answer { response, url, linked, is_foreign: false });
            };
            let next = join(&url, &location).filter(|next| self.is_allowed(next));
            url = next.ok_or_else(|| Error::malformed(format!("the answer of {}", self.endpoint), "it redirects to an address that is not used"))?;
            let foreign = Origin::of(&url).as_ref() != Some(&self.origin);
            let known = linked[1].is_some() || header(&response, "etag").is_some();
            if follow == Follow::UntilForeign && foreign && known {
                return Ok(Answer { response, url, linked, is_foreign: true });
            }
        }
        Err(Error::Network { message: format!("{} redirects in a circle", self.endpoint) })
    }

    /// From an encrypted hub nothing leads to a plain address.
    fn is_allowed(&self, url: &str) -> bool {
        Origin::of(url).is_some_and(|origin| origin.is_encrypted() || !self.origin.is_encrypted())
    }

    fn send(&self, method: &Method, url: &str, range: Option<&str>) -> Result<Response<Body>, Error> {
        // Compressed bytes would have another size and checksum.
        let mut request = Request::builder().method(method.clone()).uri(url).header("accept-encoding", "identity");
        if let Some(range) = range {
            request = request.header("range", range);
        }
        if let Some(token) = self.token.as_ref().filter(|_| Origin::of(url).as_ref() == Some(&self.origin)) {
            request = request.header("authorization", token.header());
        }
        let request = request.body(()).map_err(|_| Error::malformed(format!("an address that {} gave", self.endpoint), "it cannot be sent in a request"))?;
        self.agent.run(request).map_err(|error| {
            let origin = Origin::of(url).map_or_else(|| self.endpoint.clone(), |origin| origin.to_string());
            Error::Network { message: format!("cannot reach {origin}: {error}") }
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        Error::Network { message: format!("the connection to {} broke: {error}", self.endpoint) }
    }

    /// Turns a refusal into an error; nothing of the answer's text is repeated.
    fn check_status(&self, answer: &Answer, id: &HubId, subject: Missing) -> Result<(), Error> {
        let status = answer.response.status();
        if status.is_success() || answer.is_foreign {
            return Ok(());
        }
        let code = header(&answer.response, "x-error-code").unwrap_or_default();
        let own = Origin::of(&answer.url).as_ref() == Some(&self.origin);
        let (repo, hub) = (id.repo.clone(), self.endpoint.clone());
        Err(match status.as_u16() {
            408 | 429 | 500.. => Error::Network { message: format!("{hub} cannot serve `{repo}` now (status {status})") },
            // An address that was signed for a while has expired, or a mirror is broken.
            _ if !own => Error::Network { message: format!("the storage behind {hub} refused `{repo}` (status {status})") },
            401 | 403 if code == "GatedRepo" => Error::Unauthorized { repo, hub, status: status.as_u16(), denial: Denial::Gated },
            401 | 403 | 404 if code == "RepoNotFound" => Error::NotFound { missing: Missing::Repo(repo), hub },
            401 | 403 => {
                let denial = if self.token.is_some() { Denial::TokenRefused } else { Denial::NoToken };
                Error::Unauthorized { repo, hub, status: status.as_u16(), denial }
            }
            404 if code == "RevisionNotFound" => {
                let missing = Missing::Revision { repo, revision: id.revision().to_owned() };
                Error::NotFound { missing, hub }
            }
            404 if code == "EntryNotFound" || matches!(subject, Missing::File { .. }) => Error::NotFound { missing: subject, hub },
            404 => Error::NotFound { missing: Missing::Repo(repo), hub },
            _ => Error::malformed(format!("the answer of {hub} about `{repo}`"), format!("its status is {status}")),
        })
    }
}

fn read_info(info: &Value, id: &HubId) -> Result<Info, String> {
    let commit = info.get("sha").and_then(Value::as_str).and_then(full_commit).ok_or("it names no commit")?;
    if full_commit(id.revision()).is_some_and(|asked| asked != commit) {
        return Err(format!("commit {} was asked for, but {commit} answered", id.revision()));
    }
    let siblings = info.get("siblings").and_then(Value::as_array).ok_or("it lists no files")?;
    let mut files = Vec::new();
    for sibling in siblings {
        let name = sibling.get("rfilename").and_then(Value::as_str).ok_or("a file has no name")?;
        check_name(name)?;
        files.push(name.to_owned());
    }
    Ok(Info { commit, files })
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}
