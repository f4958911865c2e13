//! `lmprobe schema`: the JSON Schema of run files, for the completion of editors.

use clap::Args;
use lmprobe_registry::run_schema;

use crate::console::Console;
use crate::exit::Exit;
use crate::plugins::LibraryArgs;

/// Arguments of `lmprobe schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    #[command(flatten)]
    plugins: LibraryArgs,
}

/// Runs the command.
pub(crate) fn execute(arguments: &SchemaArgs, console: Console) -> anyhow::Result<Exit> {
    console.json(&run_schema(&arguments.plugins.registry(console)?))?;
    Ok(Exit::Done)
}
