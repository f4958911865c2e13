//! `lmprobe fetch`: makes a model local.

use clap::Args;

use crate::console::Console;
use crate::exit::Exit;
use crate::models::ReadAs;

/// Arguments of `lmprobe fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// A hub id, with `@REVISION` if wanted; of a folder only its place is printed
    model: String,
    #[command(flatten)]
    read_as: ReadAs,
}

/// Runs the command.
pub(crate) fn execute(arguments: &FetchArgs, console: Console) -> anyhow::Result<Exit> {
    let model = arguments.read_as.open(&arguments.model, None, console)?;
    console.result(&format!("{}\n", model.folder.display()))?;
    Ok(Exit::Done)
}
