//! `lmprobe score conll`: phrases as `conlleval.pl` counts and prints them.

use std::path::Path;

use clap::{Args, ValueEnum};
use lmprobe_scorers::conlleval;

use crate::cmd::score::conll_strict;
use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe score conll`.
#[derive(Debug, Args)]
#[command(
    override_usage = "lmprobe score conll [-l] [-r] [-d RE] [-o TAG] [FILE]\n       lmprobe score conll --strict [--scheme SCHEME] [-d RE] [--json] [FILE]"
)]
pub(crate) struct ConllArgs {
    /// Score entities that must be well-formed instead, in our own words
    #[arg(long)]
    strict: bool,
    /// How --strict reads tags [default: iobes if a tag begins with E or S, otherwise iob2]
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<SchemeName>,
    /// Print the scores of --strict as a JSON object
    #[arg(long)]
    json: bool,
    /// What conlleval.pl takes (-l: as LaTeX, -r: tags without B and I, -d RE: what separates columns, -o TAG: the tag outside, with -r), and a file instead of
    /// standard input; everything else is answered as it answers
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// The strict readings of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemeName {
    /// `B` begins, `I` continues.
    Iob2,
    /// `B I E`, and `S` for single tokens.
    Iobes,
}

/// The arguments with those of ours that stand among the script's.
struct Sorted {
    strict: bool,
    json: bool,
    scheme: Option<SchemeName>,
    /// What the script is to see.
    script: Vec<String>,
    file: Option<String>,
}

/// Runs the command.
pub(super) fn execute(arguments: &ConllArgs, console: Console) -> anyhow::Result<Exit> {
    let sorted = Sorted::new(arguments)?;
    if sorted.strict {
        let delimiter = match &sorted.script[..] {
            [] => None,
            [option, delimiter] if option == "-d" => Some(delimiter.as_str()),
            other => {
                return Err(UsageError(format!("--strict takes no `{}`; of conlleval.pl's options only -d RE has a meaning with it", other.join(" "))).into());
            }
        };
        let input = Input::read(sorted.file.as_deref().map(Path::new))?;
        return conll_strict::execute(&input, delimiter, sorted.scheme, sorted.json, console);
    }
    if sorted.json || sorted.scheme.is_some() {
        return Err(UsageError("--json and --scheme belong to --strict; without it the output is that of conlleval.pl".into()).into());
    }
    // The script finds a mistake in its arguments before it reads anything.
    let rehearsal = conlleval::run(&sorted.script, b"");
    let outcome = if rehearsal.code == 0 { conlleval::run(&sorted.script, &Input::read(sorted.file.as_deref().map(Path::new))?.bytes) } else { rehearsal };
    console.result_bytes(&outcome.stdout)?;
    console.raw_error(&outcome.stderr);
    Ok(if outcome.code == 0 { Exit::Done } else { Exit::Original(outcome.code) })
}

impl Sorted {
    /// Takes our options out, wherever they stand, and the first argument that is no option as the file.
    fn new(arguments: &ConllArgs) -> Result<Self, UsageError> {
        let ConllArgs { strict, scheme, json, args } = arguments;
        let mut sorted = Self { strict: *strict, json: *json, scheme: *scheme, script: Vec::new(), file: None };
        let mut args = args.iter();
        while let Some(argument) = args.next() {
            match argument.as_str() {
                "--strict" => sorted.strict = true,
                "--json" => sorted.json = true,
                "--scheme" => {
                    let name = args.next().ok_or_else(|| UsageError("--scheme needs a value: iob2 or iobes".into()))?;
                    sorted.scheme =
                        Some(SchemeName::from_str(name, false).map_err(|_| UsageError(format!("unknown scheme `{name}`; there are iob2 and iobes")))?);
                }
                "-d" | "-o" => {
                    sorted.script.push(argument.clone());
                    sorted.script.extend(args.next().cloned());
                }
                option if option == "-" || !option.starts_with('-') => match sorted.file {
                    None => sorted.file = Some(argument.clone()),
                    Some(_) => sorted.script.push(argument.clone()),
                },
                _ => sorted.script.push(argument.clone()),
            }
        }
        Ok(sorted)
    }
}
