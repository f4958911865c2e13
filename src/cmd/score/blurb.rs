//! `lmprobe score blurb`: the BLURB score of thirteen results, of files or of finished runs.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lmprobe_scorers::blurb::{self, BlurbScore, Results, SETS, set};
use lmprobe_scorers::{Error, read_json, text_lines};
use serde_json::Value;

use crate::cmd::score::blurb_run;
use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::Exit;

/// Arguments of `lmprobe score blurb`.
#[derive(Debug, Args)]
pub(crate) struct BlurbArgs {
    /// Names of data sets and their results: a JSON object, or two columns separated by tabs, or by commas in a file ending in .csv; or the folder of a finished
    /// run, whose tasks are called as the data sets. Several are taken together
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// What all results are given in, where their numbers do not say it
    #[arg(long)]
    unit: Option<Unit>,
    /// Take the mean of what is there where results are missing
    #[arg(long)]
    partial: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What results are given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unit {
    /// From 0 to 100.
    Percent,
    /// From 0 to 1.
    Fraction,
}

/// Runs the command.
pub(super) fn execute(arguments: &BlurbArgs, console: Console) -> anyhow::Result<Exit> {
    let mut results = Results::default();
    for path in &arguments.files {
        if path.is_dir() {
            blurb_run::insert(&mut results, path)?;
            continue;
        }
        let input = Input::read(Some(path))?;
        match path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default().to_lowercase().as_str() {
            "json" => from_json(&mut results, &input)?,
            "csv" => from_lines(&mut results, &input, ',')?,
            _ => from_lines(&mut results, &input, '\t')?,
        }
    }
    let unit = arguments.unit.map(|unit| match unit {
        Unit::Percent => blurb::Unit::Percent,
        Unit::Fraction => blurb::Unit::Fraction,
    });
    let score = if arguments.partial { results.partial(unit) } else { results.score(unit) };
    let score = score.map_err(|error| {
        let hint = match error {
            Error::MissingSets { .. } if !arguments.partial => "; --partial takes the mean of what is there",
            Error::Value(_) if unit.is_none() => ": --unit percent",
            _ => "",
        };
        let names: Vec<String> = arguments.files.iter().map(|path| path.display().to_string()).collect();
        Error::Malformed { file: names.join(", "), line: None, message: format!("{error}{hint}") }
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

fn from_json(results: &mut Results, input: &Input) -> Result<(), Error> {
    let malformed = |message| Error::Malformed { file: input.name.clone(), line: None, message };
    let Value::Object(object) = read_json(&input.bytes, &input.name)? else {
        return Err(malformed("expected a JSON object of results by data set".to_owned()));
    };
    for (name, value) in object {
        let value = value.as_f64().ok_or_else(|| malformed(format!("the result of `{name}` is {value}, expected a number")))?;
        results.insert(&name, value).map_err(|error| malformed(error.to_string()))?;
    }
    Ok(())
}

/// Two columns; a first line that names neither a data set nor a number is a header.
fn from_lines(results: &mut Results, input: &Input, separator: char) -> Result<(), Error> {
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
    Ok(())
}
