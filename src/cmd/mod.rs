//! The commands, one file each.

pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod describe;
pub(crate) mod describe_model;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod fetch;
pub(crate) mod fill_mask;
pub(crate) mod list;
pub(crate) mod new_plugin;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod plugin_host;
pub(crate) mod predict;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod score;
pub(crate) mod validate;

use crate::arguments::Command;
use crate::console::Console;
use crate::exit::Exit;

/// Executes a command.
pub(crate) fn execute(command: Command, console: Console) -> anyhow::Result<Exit> {
    match command {
        Command::Run(arguments) => run::execute(&arguments, console),
        Command::Validate(arguments) => validate::execute(&arguments, console),
        Command::Plan(arguments) => plan::execute(&arguments, console),
        Command::Results(arguments) => results::execute(&arguments, console),
        Command::List(arguments) => list::execute(&arguments, console),
        Command::Describe(arguments) => describe::execute(&arguments, console),
        Command::Embed(arguments) => embed::execute(&arguments, console),
        Command::Predict(arguments) => predict::execute(&arguments, console),
        Command::FillMask(arguments) => fill_mask::execute(&arguments, console),
        Command::Convert(arguments) => convert::execute(&arguments, console),
        Command::Fetch(arguments) => fetch::execute(&arguments, console),
        Command::Schema(arguments) => schema::execute(&arguments, console),
        Command::Score(arguments) => score::execute(&arguments, console),
        Command::New(arguments) => new_plugin::execute(&arguments, console),
        Command::Plugin(arguments) => plugin::execute(&arguments, console),
        Command::PluginHost(arguments) => plugin_host::execute(&arguments),
        Command::Doctor(arguments) => doctor::execute(&arguments, console),
        Command::Completions(arguments) => completions::execute(&arguments, console),
    }
}
