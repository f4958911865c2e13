//! `lmprobe plugin`: looks at shared libraries and checks them.

mod check;
mod gradcheck;
mod inspect;
mod pin;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lmprobe_core::Isolation;
use lmprobe_registry::bridge::{DEFAULT_TIMEOUT, LibraryRequest, OfferedLibrary, Pin};

use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe plugin`.
#[derive(Debug, Args)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Show what a shared library claims to be; nothing of it runs
    Inspect(inspect::InspectArgs),
    /// Print the lines that list a shared library in a run file; nothing of it runs
    Pin(pin::PinArgs),
    /// Load a shared library and check all its components on small inputs
    Check(check::CheckArgs),
    /// Compare the gradients of a library's objectives with differences of their values
    Gradcheck(gradcheck::GradcheckArgs),
}

/// Runs the command.
pub(crate) fn execute(arguments: &PluginArgs, console: Console) -> anyhow::Result<Exit> {
    match &arguments.command {
        PluginCommand::Inspect(arguments) => inspect::execute(arguments, console),
        PluginCommand::Pin(arguments) => pin::execute(arguments, console),
        PluginCommand::Check(arguments) => check::execute(arguments, console),
        PluginCommand::Gradcheck(arguments) => gradcheck::execute(arguments, console),
    }
}

/// A library to load and parameters for its components.
#[derive(Debug, Args)]
struct Loaded {
    /// The shared library
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The SHA-256 it must have; without it whatever the file holds is run
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Parameters of a component, `example/facts={"path": "facts.csv"}`; may be repeated
    #[arg(long, value_name = "ID=JSON")]
    params: Vec<String>,
    /// Run its code in a process of its own
    #[arg(long)]
    isolated: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Loaded {
    fn library(&self) -> anyhow::Result<OfferedLibrary> {
        let pin = match &self.sha256 {
            Some(hex) => hex.parse().map_err(|error: lmprobe_registry::bridge::PinError| UsageError(error.to_string()))?,
            None => Pin::Unpinned,
        };
        let isolation = if self.isolated { Isolation::Process } else { Isolation::InProcess };
        Ok(OfferedLibrary::load(&LibraryRequest { path: absolute(&self.file)?, pin, isolation, timeout: DEFAULT_TIMEOUT, direct: false })?)
    }

    /// The parameters by component.
    fn params(&self) -> anyhow::Result<std::collections::BTreeMap<String, serde_json::Value>> {
        let mut params = std::collections::BTreeMap::new();
        for text in &self.params {
            let (id, json) = text.split_once('=').ok_or_else(|| UsageError(format!("`--params {text}` has no `=`; write ID=JSON")))?;
            let value: serde_json::Value = serde_json::from_str(json).map_err(|error| UsageError(format!("`--params {text}` is not JSON: {error}")))?;
            if !value.is_object() {
                return Err(UsageError(format!("`--params {text}` must give an object, such as {{\"path\": \"facts.csv\"}}")).into());
            }
            params.insert(id.to_owned(), value);
        }
        Ok(params)
    }
}

/// The path from the root: a library is never looked for.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path).map_err(lmprobe_core::Error::io(path))?)
}
