//! `lmprobe score blurb`: the BLURB score of thirteen results.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use lmprobe_scorers::blurb::{BlurbScore, Results, SETS, set};
use lmprobe_scorers::{Error, text_lines};
use serde_json::{Map, Value};

use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::Exit;

/// Arguments of `lmprobe score blurb`.
#[derive(Debug, Args)]
pub(crate) struct BlurbArgs {
    /// Names of data sets and their results: a JSON object, or two columns separated by tabs, or by commas in a file ending in .csv
    file: PathBuf,
    /// Take the mean of what is there where results are missing
    #[arg(long)]
    partial: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn execute(arguments: &BlurbArgs, console: Console) -> anyhow::Result<Exit> {
    let input = Input::read(Some(&arguments.file))?;
    let ending = arguments.file.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default().to_lowercase();
    let results = match ending.as_str() {
        "json" => from_json(&input)?,
        "csv" => from_lines(&input, ',')?,
        _ => from_lines(&input, '\t')?,
    };
    let score = if arguments.partial { results.partial() } else { results.score() };
    let score = score.map_err(|error| {
        let hint = if matches!(error, Error::MissingSets { .. }) && !arguments.partial { "; --partial takes the mean of what is there" } else { "" };
        Error::Malformed { file: input.name.clone(), line: None, message: format!("{error}{hint}") }
    })?;
    if !score.missing.is_empty() {
        let (n, names) = (SETS.len() - score.missing.len(), score.missing.join(", "));
        console.warning(&format!("this is the mean over {n} of {} data sets and no BLURB score; missing: {names}", SETS.len()));
    }
    if arguments.json {
        console.json(&score)?;
    } else {
        console.result(&table(&score))?;
    }
    Ok(Exit::Done)
}

fn table(score: &BlurbScore) -> String {
    let mut text = String::new();
    for group in &score.groups {
        let _ = writeln!(text, "{:<15} {:>9.4}  {} of {}", group.group.name(), group.mean, group.n, group.of);
    }
    let name = if score.missing.is_empty() { "BLURB score" } else { "partial mean" };
    let _ = writeln!(text, "{name:<15} {:>9.4}", score.score);
    text
}

fn from_json(input: &Input) -> Result<Results, Error> {
    let malformed = |line, message| Error::Malformed { file: input.name.clone(), line, message };
    let json: Map<String, Value> =
        serde_json::from_slice(&input.bytes).map_err(|error| malformed(Some(error.line()), format!("not a JSON object of results by data set: {error}")))?;
    let mut results = Results::default();
    for (name, value) in json {
        let value = value.as_f64().ok_or_else(|| malformed(None, format!("the result of `{name}` is {value}, expected a number")))?;
        results.insert(&name, value).map_err(|error| malformed(None, error.to_string()))?;
    }
    Ok(results)
}

/// Two columns; a first line that names neither a data set nor a number is a header.
fn from_lines(input: &Input, separator: char) -> Result<Results, Error> {
    let mut results = Results::default();
    for (index, line) in text_lines(&input.bytes, &input.name)?.into_iter().enumerate() {
        let malformed = |message: String| Error::Malformed { file: input.name.clone(), line: Some(index + 1), message };
        if line.trim().is_empty() {
            continue;
        }
        let cells: Vec<&str> = line.split(separator).map(str::trim).collect();
        let [name, value] = cells[..] else {
            let separator = if separator == ',' { "a comma" } else { "a tab" };
            return Err(malformed(format!("{} columns, expected 2: a data set and its result, separated by {separator}", cells.len())));
        };
        let number = value.parse::<f64>();
        if index == 0 && number.is_err() && set(name).is_err() {
            continue;
        }
        let number = number.map_err(|_| malformed(format!("the result of `{name}` is `{value}`, expected a number")))?;
        results.insert(name, number).map_err(|error| malformed(error.to_string()))?;
    }
    Ok(results)
}
