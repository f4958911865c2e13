//! What happens while a model is fetched, for a caller that shows it.

/// Something that happened while a model was fetched. Nothing here is drawn or printed by this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A download begins, or continues after an earlier cut.
    Start {
        /// Name in the repository.
        file: String,
        /// Size of the whole file, if the hub tells.
        bytes: Option<u64>,
    },
    /// More of a file is on disk.
    Progress {
        /// Name in the repository.
        file: String,
        /// Bytes on disk, those of an earlier call included.
        received: u64,
    },
    /// A download is complete and its checksum is right.
    Done {
        /// Name in the repository.
        file: String,
    },
    /// Another process downloads the same file; this one waits for it.
    Waiting {
        /// Name in the repository.
        file: String,
    },
    /// What an earlier call left of a file could not be continued; the file is fetched from its beginning.
    Restarted {
        /// Name in the repository.
        file: String,
    },
    /// The hub could not be asked; the commit that is in the cache is used.
    UsingCache {
        /// Why the hub could not be asked.
        reason: String,
    },
}
