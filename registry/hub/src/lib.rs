//! Models by hub id: finds them in the standard Hugging Face cache and downloads what is missing.
//!
//! A hub id is `org/name` or `name`, with `@revision` behind it for anything but `main`. The cache is the one that
//! Python's `huggingface_hub` uses, read and written alike, so that a model fetched by either is there for both:
//!
//! ```text
//! models--ORG--NAME/
//!   blobs/<etag>                      the bytes, named by their checksum
//!   blobs/<etag>.incomplete           a download that was cut; the next one continues it
//!   refs/<revision>                   the commit a branch or tag pointed to when last asked
//!   snapshots/<commit>/<file>         -> ../../blobs/<etag>
//! .locks/models--ORG--NAME/<etag>.lock
//! ```
//!
//! `.no_exist/<commit>/<file>` is neither written nor needed: the hub lists the files of a commit before any is asked
//! for.
//!
//! **Invariant:** offline opens no socket. A [`Hub`] that is offline does not hold the value from which a client is
//! made, and without the feature `download` there is no client at all.
//!
//! **Invariant:** the token is sent to the hub's own origin only (scheme, host and port), and is in no message.
//!
//! ```
//! use lmprobe_hub::{Hub, HubId};
//!
//! let id = HubId::parse("dmis-lab/biobert-base-cased-v1.2@main")?;
//! assert_eq!((id.repo.as_str(), id.revision()), ("dmis-lab/biobert-base-cased-v1.2", "main"));
//! let hub = Hub::from_environment()?.offline(true);
//! match hub.cached(&id) {
//!     Ok(snapshot) => println!("{}", snapshot.folder.display()),
//!     Err(error) => println!("{error}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
#[cfg(feature = "download")]
mod cache_write;
#[cfg(feature = "download")]
mod checksum;
#[cfg(feature = "download")]
mod client;
#[cfg(feature = "download")]
mod download;
mod environment;
mod error;
mod event;
mod hub;
mod hub_id;
mod model_files;
#[cfg(feature = "download")]
mod token;
#[cfg(feature = "download")]
mod url;

pub use error::{Denial, Error, Missing, NoNetwork};
pub use event::Event;
pub use hub::{Hub, Snapshot};
pub use hub_id::HubId;
