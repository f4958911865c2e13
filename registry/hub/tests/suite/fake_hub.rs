//! A server that plays the hub and, at another port, the storage behind it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use sha1::{Digest, Sha1};
use sha2::Sha256;

pub(crate) const REPO: &str = "org/name";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves one repository; each test changes `state` as it needs.
pub(crate) struct FakeHub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) commit: String,
    pub(crate) files: Vec<RepoFile>,
    /// What the hub says it has beside `files`.
    pub(crate) extra_names: Vec<String>,
    pub(crate) log: Vec<Request>,
    /// Answers that take the place of the usual one where the path contains the text: status and headers.
    pub(crate) answers: Vec<(&'static str, u16, String)>,
    /// Bodies of files end after so many bytes.
    pub(crate) cut_after: Option<usize>,
    pub(crate) ignore_range: bool,
    /// This file arrives with one bit changed.
    pub(crate) damaged: Option<&'static str>,
    cdn: String,
}

#[derive(Clone)]
pub(crate) struct RepoFile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Large files are redirected to the storage and have a SHA-256 etag.
    pub(crate) is_large: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) server: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

impl RepoFile {
    pub(crate) fn etag(&self) -> String {
        if self.is_large {
            hex(&Sha256::digest(&self.bytes))
        } else {
            hex(&Sha1::new().chain_update(format!("blob {}\0", self.bytes.len())).chain_update(&self.bytes).finalize())
        }
    }
}

impl FakeHub {
    /// With the files of a small model.
    pub(crate) fn start() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let cdn = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let state = State { commit: COMMIT.to_owned(), cdn: url(&cdn), ..State::default() };
        let this = Self { url: url(&hub), state: Arc::new(Mutex::new(state)) };
        for (server, listener) in [("hub", hub), ("cdn", cdn)] {
            let state = Arc::clone(&this.state);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let state = Arc::clone(&state);
                    thread::spawn(move || serve(server, &stream.unwrap(), &state));
                }
            });
        }
        this.add("config.json", b"{\"model_type\": \"bert\"}", false);
        this.add("vocab.txt", b"[PAD]\n[UNK]\n", false);
        this.add("README.md", b"not fetched", false);
        this.add("model.safetensors", &weights(), true);
        this
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn add(&self, name: &str, bytes: &[u8], is_large: bool) {
        self.state().files.push(RepoFile { name: name.to_owned(), bytes: bytes.to_owned(), is_large });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.state().files.retain(|file| file.name != name);
    }

    /// The requests since the last call.
    pub(crate) fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().log)
    }
}

/// 300,000 bytes in which no two regions are alike.
pub(crate) fn weights() -> Vec<u8> {
    (0..75_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn serve(server: &'static str, stream: &TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut request = Request { server, method, path, range: None, authorization: None };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut state = state.lock().unwrap();
    state.log.push(request.clone());
    let answer = answer(&state, &request);
    drop(state);
    // The client may have hung up.
    let _ = (&*stream).write_all(&answer);
}

fn answer(state: &State, request: &Request) -> Vec<u8> {
    let planned = state.answers.iter().find(|(path, ..)| request.path.contains(path));
    if let Some((_, status, headers)) = planned {
        return reply(*status, headers, b"hub text that must not be repeated", "GET");
    }
    let path = request.path.split('?').next().unwrap();
    if let Some(name) = path.strip_prefix("/blob/") {
        let file = state.files.iter().find(|file| file.name == name).unwrap();
        return body(state, request, file, "etag: \"storage\"\r\n");
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", "models", "org", "name", "revision", _] => reply(200, "", info(state).as_bytes(), &request.method),
        ["api", "models", "org", "name", "tree", _] => reply(200, "", tree(state).as_bytes(), &request.method),
        ["org", "name", "resolve", _, name] => resolve(state, request, name),
        ["org", "name", "here", name] => {
            let file = state.files.iter().find(|file| file.name == *name).unwrap();
            let headers = format!("etag: \"{}\"\r\nx-repo-commit: {}\r\n", file.etag(), state.commit);
            body(state, request, file, &headers)
        }
        ["old", "name", rest @ ..] => reply(307, &format!("location: /org/name/{}\r\n", rest.join("/")), b"", "GET"),
        ["api", "models", "old", "name", rest @ ..] => reply(307, &format!("location: /api/models/org/name/{}\r\n", rest.join("/")), b"", "GET"),
        _ => reply(404, "x-error-code: RepoNotFound\r\n", b"", &request.method),
    }
}

/// Large files lead to the storage, others to another path of the hub, both as the real one does.
fn resolve(state: &State, request: &Request, name: &str) -> Vec<u8> {
    let Some(file) = state.files.iter().find(|file| file.name == name) else {
        return reply(404, "x-error-code: EntryNotFound\r\n", b"", &request.method);
    };
    let headers = if file.is_large {
        format!(
            "location: {}/blob/{name}?signature=1\r\nx-repo-commit: {}\r\nx-linked-etag: \"{}\"\r\nx-linked-size: {}\r\n",
            state.cdn,
            state.commit,
            file.etag(),
            file.bytes.len()
        )
    } else {
        format!("location: /org/name/here/{name}\r\n")
    };
    reply(302, &headers, b"Found. Redirecting", &request.method)
}

fn body(state: &State, request: &Request, file: &RepoFile, headers: &str) -> Vec<u8> {
    let mut bytes = file.bytes.clone();
    if state.damaged == Some(file.name.as_str()) {
        *bytes.last_mut().unwrap() ^= 1;
    }
    let whole = bytes.len();
    let start = request.range.as_ref().filter(|_| !state.ignore_range);
    let start: Option<usize> = start.map(|range| range[6..].split('-').next().unwrap().parse().unwrap());
    let (status, range) = match start {
        Some(start) if start >= whole => return reply(416, &format!("content-range: bytes */{whole}\r\n"), b"", "GET"),
        Some(start) => (206, format!("content-range: bytes {start}-{}/{whole}\r\n", whole - 1)),
        None => (200, String::new()),
    };
    let rest = &bytes[start.unwrap_or(0)..];
    let mut answer = reply(status, &format!("{headers}{range}"), rest, &request.method);
    if let (Some(limit), "GET") = (state.cut_after, request.method.as_str()) {
        let head = answer.len() - rest.len();
        answer.truncate(head + limit);
    }
    answer
}

fn reply(status: u16, headers: &str, body: &[u8], method: &str) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    if method != "HEAD" {
        answer.extend_from_slice(body);
    }
    answer
}

fn info(state: &State) -> String {
    let names = state.files.iter().map(|file| &file.name).chain(&state.extra_names);
    let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
    serde_json::json!({ "id": REPO, "sha": state.commit, "siblings": siblings, "private": false, "tags": [] }).to_string()
}

fn tree(state: &State) -> String {
    let entry = |file: &RepoFile| {
        let mut entry = serde_json::json!({
            "type": "file", "path": file.name, "size": file.bytes.len(), "oid": file.etag(),
        });
        if file.is_large {
            entry["lfs"] = serde_json::json!({ "oid": file.etag(), "size": file.bytes.len(), "pointerSize": 130 });
        }
        entry
    };
    serde_json::Value::Array(state.files.iter().map(entry).collect()).to_string()
}
