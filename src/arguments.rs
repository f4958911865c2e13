//! The command line as clap sees it; each command describes its own arguments.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::cmd;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a bug of lmprobe; 2 usage or an invalid run file; 3 a model or data file is missing or malformed; \
4 finished, but some jobs failed; 5 needs the network but is offline; 6 out of memory, or without the device asked for; 75 stopped by a signal, 130 by Ctrl-C: the same command goes on from there.";

/// Ask language models what they know, and see how they know it.
#[derive(Debug, Parser)]
#[command(name = "lmprobe", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Show errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Show more of what happens; -vv for everything (the variable `RUST_LOG` selects by module)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// When to use colours; `auto` also respects `NO_COLOR` and `CLICOLOR_FORCE`
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub(crate) color: Color,
    /// Never use the network; as does `HF_HUB_OFFLINE=1`
    #[arg(long, global = true, help_heading = "Models")]
    pub(crate) offline: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The commands, one file each in `cmd/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run what a run file describes, or go on where an earlier run stopped
    Run(cmd::run::RunArgs),
    /// Check a run file without loading a model
    Validate(cmd::validate::ValidateArgs),
    /// Show the jobs of a run file and which of them are done
    Plan(cmd::plan::PlanArgs),
    /// Show the scores of finished runs
    Results(cmd::results::ResultsArgs),
    /// Turn texts into vectors: one a text or one a token, of any layers
    Embed(cmd::embed::EmbedArgs),
    /// Answer new texts, words or questions with a fine-tuned checkpoint
    Predict(cmd::predict::PredictArgs),
    /// Show what a masked language model puts in the place of a mask
    FillMask(cmd::fill_mask::FillMaskArgs),
    /// List the encoders, objectives, tasks, probers and metrics
    List(cmd::list::ListArgs),
    /// Show the manual and the parameters of a plugin, or what a model folder holds
    Describe(cmd::describe::DescribeArgs),
    /// Write a model as a Hugging Face folder with one safetensors file
    Convert(cmd::convert::ConvertArgs),
    /// Make a model of the hub local and print its folder
    Fetch(cmd::fetch::FetchArgs),
    /// Print the JSON Schema of run files, for editors
    Schema(cmd::schema::SchemaArgs),
    /// Score files as conlleval, `re_eval`, BioASQ, SQuAD and BLURB do
    Score(cmd::score::ScoreArgs),
    /// Begin a plugin of one's own
    New(cmd::new_plugin::NewArgs),
    /// Look at plugins in shared libraries and check them
    Plugin(cmd::plugin::PluginArgs),
    /// The other side of `isolation: process`
    #[command(hide = true)]
    PluginHost(cmd::plugin_host::PluginHostArgs),
    /// Show what this machine offers
    Doctor(cmd::doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(cmd::completions::CompletionsArgs),
}
