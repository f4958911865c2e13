//! `lmprobe plugin-host`: the other side of `isolation: process`. Not for people.

use std::path::PathBuf;

use clap::Args;
use lmprobe_registry::bridge::{Pin, PinError, serve};

use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe plugin-host`.
#[derive(Debug, Args)]
pub(crate) struct PluginHostArgs {
    /// The shared library
    file: PathBuf,
    /// Its SHA-256
    sha256: String,
    /// Load the file itself
    #[arg(long)]
    direct: bool,
}

/// Runs the command.
pub(crate) fn execute(arguments: &PluginHostArgs) -> anyhow::Result<Exit> {
    let pin: Pin = arguments.sha256.parse().map_err(|error: PinError| UsageError(error.to_string()))?;
    serve(&arguments.file, pin, arguments.direct)?;
    Ok(Exit::Done)
}
