//! `lmprobe schema`: the JSON Schema of run files, for the completion of editors.

use lmprobe_registry::{Registry, run_schema};

use crate::console::Console;
use crate::exit::Exit;

/// Runs the command.
pub(crate) fn execute(console: Console) -> anyhow::Result<Exit> {
    console.json(&run_schema(&Registry::builtin()?))?;
    Ok(Exit::Done)
}
