//! `lmprobe plugin pin`: the lines for a run file.

use std::path::PathBuf;

use clap::Args;
use lmprobe_registry::bridge::{Options, inspect};

use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe plugin pin`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The shared library
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn execute(arguments: &PinArgs, console: Console) -> anyhow::Result<Exit> {
    let found = inspect(&super::absolute(&arguments.file)?, Options::default()).map_err(|error| UsageError(error.to_string()))?;
    // The path as it was typed: who moves the run file moves the library along.
    let path = serde_json::to_string(&arguments.file.display().to_string())?;
    console.result(&format!("plugins:\n  - path: {path}\n    sha256: \"{}\"\n", found.sha256))?;
    console.note(&format!("on a command line: --plugin {}@sha256:{}", arguments.file.display(), found.sha256));
    Ok(Exit::Done)
}
