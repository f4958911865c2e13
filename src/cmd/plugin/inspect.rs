//! `lmprobe plugin inspect`: what a file claims to be.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use lmprobe_registry::bridge::{Options, Permissions, inspect};
use serde_json::json;

use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe plugin inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The shared library
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. Whoever may write to the file is told of, not refused: nothing runs.
pub(crate) fn execute(arguments: &InspectArgs, console: Console) -> anyhow::Result<Exit> {
    let found = inspect(&super::absolute(&arguments.file)?, Options { permissions: Permissions::Ignored }).map_err(|error| UsageError(error.to_string()))?;
    if let Err(error) = inspect(&found.path, Options::default()) {
        console.warning(&format!("it would not be loaded: {error}"));
    }
    let abi = format!("{}.{}", found.abi.0, found.abi.1);
    if arguments.json {
        console.json(&json!({
            "path": found.path, "size": found.size, "sha256": found.sha256, "abi": abi, "machine": found.machine.to_string(), "needed": found.needed,
        }))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    let needed = if found.needed.is_empty() { "nothing".to_owned() } else { found.needed.join(", ") };
    for (name, value) in [
        ("file", found.path.display().to_string()),
        ("size", format!("{} bytes", found.size)),
        ("sha256", found.sha256),
        ("plugin interface", abi),
        ("machine", found.machine.to_string()),
        ("needs", format!("{needed} (not covered by the sha256)")),
    ] {
        let _ = writeln!(text, "{name:18}{value}");
    }
    console.result(&text)?;
    Ok(Exit::Done)
}
