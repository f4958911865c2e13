//! From the hub into the cache.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::cache::{CachedRepo, Held, full_commit, is_short_commit, shards_of};
use crate::cache_write::create_folder;
use crate::client::{Client, FileInfo, Info};
use crate::error::Error;
use crate::event::Event;
use crate::hub::{Remote, Snapshot};
use crate::hub_id::HubId;
use crate::model_files::{Lack, Weights, choose, has_vocabulary};

/// See [`Hub::model`](crate::Hub::model).
pub(crate) fn model(repo: &CachedRepo, remote: &Remote, id: &HubId, events: &mut dyn FnMut(Event)) -> Result<Snapshot, Error> {
    if let Some(commit) = full_commit(id.revision())
        && let Held::Model(names) = repo.held(&commit)?
        // Python fetches a tokenizer only when one is made: without a vocabulary the hub has to be asked.
        && has_vocabulary(&names)
    {
        return Ok(Snapshot::new(repo, id, commit));
    }
    let client = Client::new(remote)?;
    match client.info(id) {
        Ok(info) => Fetch { repo, client, id, commit: &info.commit, events }.model(&info),
        Err(Error::Network { message }) => last_known(repo, id, message, events),
        Err(error) => Err(error),
    }
}

/// The commit that the cache holds for the revision, when the hub cannot be asked.
fn last_known(repo: &CachedRepo, id: &HubId, reason: String, events: &mut dyn FnMut(Event)) -> Result<Snapshot, Error> {
    if let Some(commit) = repo.commit(id.revision())?
        && let Held::Model(_) = repo.held(&commit)?
    {
        events(Event::UsingCache { reason });
        return Ok(Snapshot::new(repo, id, commit));
    }
    let message = format!("{reason}, and the cache `{}` does not hold `{id}`", repo.cache.display());
    Err(Error::Network { message })
}

/// One commit on its way into the cache.
struct Fetch<'a> {
    repo: &'a CachedRepo,
    client: Client,
    id: &'a HubId,
    commit: &'a str,
    events: &'a mut dyn FnMut(Event),
}

impl Fetch<'_> {
    /// Weights come last: a snapshot that has them has everything.
    fn model(mut self, info: &Info) -> Result<Snapshot, Error> {
        let repo = self.id.repo.clone();
        let files = choose(&info.files).map_err(|lack| match lack {
            Lack::Config => Error::NoConfig { repo: repo.clone(), files: info.files.clone() },
            Lack::Weights => Error::UnreadableFormat { repo, files: info.files.clone() },
        })?;
        for file in &files.small {
            self.file(file)?;
        }
        match files.weights {
            Weights::Single(file) => self.file(&file)?,
            Weights::TensorFlow(parts) => parts.iter().try_for_each(|part| self.file(part))?,
            Weights::Sharded(index) => {
                self.file(&index)?;
                for shard in shards_of(&self.repo.snapshot(self.commit), &index)? {
                    if !info.files.contains(&shard) {
                        let what = format!("`{index}` of `{}`", self.id.repo);
                        return Err(Error::malformed(what, format!("the repository has no shard `{}`", shard.escape_debug())));
                    }
                    self.file(&shard)?;
                }
            }
        }
        self.note_revision()?;
        Ok(Snapshot::new(self.repo, self.id, self.commit.to_owned()))
    }

    /// Only now, unlike Python: a reference to a commit that was cut would hide the complete one before it. A commit
    /// needs none.
    fn note_revision(&self) -> Result<(), Error> {
        let revision = self.id.revision();
        let is_commit = full_commit(revision).is_some() || (is_short_commit(revision) && self.commit.starts_with(&revision.to_ascii_lowercase()));
        if is_commit {
            return Ok(());
        }
        match self.repo.note_reference(revision, self.commit) {
            // The model is complete: a cache that cannot be written to serves it all the same.
            Err(Error::Io { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that a file of the commit is in the cache.
    fn file(&mut self, file: &str) -> Result<(), Error> {
        if self.repo.snapshot(self.commit).join(file).exists() {
            return Ok(());
        }
        let info = self.client.file(self.id, self.commit, file)?;
        let etag = info.etag.as_str();
        let blob = self.repo.blob(etag);
        create_folder(&self.repo.folder.join("blobs"))?;
        let _lock = self.repo.lock(etag, || (self.events)(Event::Waiting { file: file.to_owned() }))?;
        let there = fs::metadata(&blob).is_ok_and(|blob| info.size.is_none_or(|size| size == blob.len()));
        if !there {
            self.blob(file, &info)?;
        }
        self.repo.link(self.commit, file, etag)
    }

    /// Fetches the bytes and compares their checksum before they get the name under which they are found.
    fn blob(&mut self, file: &str, info: &FileInfo) -> Result<(), Error> {
        let path = self.repo.incomplete_blob(info.etag.as_str());
        (self.events)(Event::Start { file: file.to_owned(), bytes: info.size });
        loop {
            let resumed = fs::metadata(&path).is_ok_and(|part| part.len() > 0);
            self.receive(file, info, &path)?;
            let Some(mismatch) = info.etag.compare(&path, info.size).map_err(Error::io("read", &path))? else { break };
            fs::remove_file(&path).map_err(Error::io("delete", &path))?;
            if !resumed {
                let (repo, file) = (self.id.repo.clone(), file.to_owned());
                return Err(Error::Checksum { repo, file, expected: mismatch.expected, found: mismatch.found });
            }
            // The part of an earlier call may be what is wrong.
            (self.events)(Event::Restarted { file: file.to_owned() });
        }
        self.repo.keep_blob(info.etag.as_str())?;
        (self.events)(Event::Done { file: file.to_owned() });
        Ok(())
    }

    /// Appends to what is there until the file is whole.
    fn receive(&mut self, file: &str, info: &FileInfo, path: &Path) -> Result<(), Error> {
        let mut part = File::options().create(true).append(true).open(path).map_err(Error::io("write", path))?;
        let mut received = part.metadata().map_err(Error::io("read", path))?.len();
        let truncate = |part: &File| part.set_len(0).map_err(Error::io("write", path));
        if info.size.is_some_and(|size| received > size) {
            truncate(&part)?;
            received = 0;
        }
        if info.size == Some(received) {
            return Ok(());
        }
        let mut response = self.client.bytes(self.id, file, &info.url, received)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && received > 0 {
            truncate(&part)?;
            received = 0;
            response = self.client.bytes(self.id, file, &info.url, 0)?;
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // The server sends all, whether a part was asked for or not.
            truncate(&part)?;
            received = 0;
        } else if range_start(&response) != Some(received) {
            let reason = format!("bytes from {received} on were asked for, but others were sent; try again later");
            return Err(Error::malformed(format!("the answer of the hub about `{file}`"), reason));
        }
        if received > 0 {
            (self.events)(Event::Progress { file: file.to_owned(), received });
        }
        self.copy(file, info, response, &mut part, received, path)
    }

    /// Moves the body into the file; what arrived before an error stays there.
    fn copy(&mut self, file: &str, info: &FileInfo, response: Response<Body>, part: &mut File, mut received: u64, path: &Path) -> Result<(), Error> {
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        let broke = |received: u64, why: &str| {
            let whole = info.size.map_or_else(String::new, |size| format!(" of {size}"));
            let message = format!("`{file}` of `{}` broke off after {received}{whole} bytes ({why}); the next call continues there", self.id.repo);
            Error::Network { message }
        };
        // More than was announced is not stored without end; the checksum will refuse it.
        while info.size.is_none_or(|size| received <= size) {
            let n = reader.read(&mut buffer).map_err(|error| broke(received, &error.to_string()))?;
            if n == 0 {
                break;
            }
            part.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
            received += n as u64;
            (self.events)(Event::Progress { file: file.to_owned(), received });
        }
        if info.size.is_some_and(|size| received < size) {
            return Err(broke(received, "the connection was closed"));
        }
        part.sync_all().map_err(Error::io("write", path))
    }
}

/// Where the bytes of a partial answer begin: `bytes 5-9/10` begins at 5.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
