//! What a user of the crate sees.
//!
//! `download`, `resume`, `refusals` and `fallback` run against a server of their own (`fake_hub`); `offline` runs in
//! every build; `python` compares with `huggingface_hub` where there is one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "download")]
mod download;
#[cfg(feature = "download")]
mod fake_hub;
#[cfg(feature = "download")]
mod fallback;
mod folder;
mod offline;
#[cfg(all(feature = "download", unix))]
mod python;
#[cfg(feature = "download")]
mod refusals;
#[cfg(feature = "download")]
mod resume;
