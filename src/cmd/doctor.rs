//! `lmprobe doctor`: what this machine offers, to be pasted into a question.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use lmprobe_registry::Registry;
use serde_json::{Map, Value, json};

use crate::console::Console;
use crate::exit::Exit;
use crate::report::text_table::TextTable;
use crate::threads;

/// Arguments of `lmprobe doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where run folders would be
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Variables that change where models come from, and how arithmetic runs. None of them can hold a token.
const VARIABLES: [&str; 13] = [
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "SLURM_CPUS_PER_TASK",
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
    "LMPROBE_SIMD",
    "RUST_LOG",
    "NO_COLOR",
    "CLICOLOR_FORCE",
];

/// Runs the command.
pub(crate) fn execute(arguments: &DoctorArgs, console: Console) -> anyhow::Result<Exit> {
    let plugins = Registry::builtin()?.all().len();
    let (total, available) = memory();
    let facts: Vec<(&str, Value)> = vec![
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("build", json!(if cfg!(debug_assertions) { "debug: slow, for development only" } else { "release" })),
        ("platform", json!(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))),
        ("processor", json!(processor())),
        ("cpu features", json!(lmprobe_core::cpu_features().join(" "))),
        ("arithmetic", json!(lmprobe_kernels::simd_from_environment().map_or_else(|error| error, |simd| simd.name().to_owned()))),
        ("bfloat16", json!(bfloat16())),
        ("threads", json!(threads::wanted(None))),
        ("memory", json!(total)),
        ("memory available", json!(available)),
        ("run folders in", json!(arguments.folder)),
        ("disk free there", json!(free_disk(&arguments.folder))),
        ("plugins", json!(plugins)),
    ];
    let variables = VARIABLES.iter().filter_map(|name| Some((*name, json!(std::env::var(name).ok()?))));
    let own = own_variables();
    let secret = ("HF_TOKEN", json!(if std::env::var_os("HF_TOKEN").is_some() { "set" } else { "not set" }));
    let own = own.iter().map(|name| (name.as_str(), json!("set")));
    let facts: Vec<(&str, Value)> = facts.into_iter().chain(variables).chain([secret]).chain(own).collect();
    if arguments.json {
        let object: Map<String, Value> = facts.into_iter().map(|(name, value)| (name.replace(' ', "_"), value)).collect();
        console.json(&object)?;
    } else {
        let mut table = TextTable::new(["lmprobe", ""]);
        for (name, value) in facts {
            table.push(vec![name.to_owned(), value.as_str().map_or_else(|| if value.is_null() { "unknown".into() } else { value.to_string() }, str::to_owned)]);
        }
        console.result(&table.plain())?;
    }
    Ok(Exit::Done)
}

/// Whether `dtype: bf16` is faster here, and so what `dtype: auto` chooses.
fn bfloat16() -> &'static str {
    match lmprobe_kernels::simd_from_environment() {
        Ok(simd) if simd.has_bf16() => "native: dtype auto is bf16",
        Ok(_) => "not native: dtype auto is f32",
        Err(_) => "unknown",
    }
}

/// Names of other variables of ours that are set: a plugin may keep anything in one, so no value is shown.
fn own_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("LMPROBE_") && !VARIABLES.contains(&name.as_str())).collect();
    names.sort();
    names
}

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Memory of the machine and what of it is free, where `/proc` tells.
fn memory() -> (Option<String>, Option<String>) {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let entry = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(gibibytes(kibibytes))
    };
    (entry("MemTotal:"), entry("MemAvailable:"))
}

/// Free disk space at the nearest folder that exists, as POSIX `df` says.
fn free_disk(folder: &Path) -> Option<String> {
    let absolute = std::path::absolute(folder).ok()?;
    let existing = absolute.ancestors().find(|ancestor| ancestor.is_dir())?;
    let output = Command::new("df").arg("-Pk").arg(existing).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(gibibytes(kibibytes))
}

fn gibibytes(kibibytes: u64) -> String {
    // One decimal, by whole numbers: an exact size would suggest more than it says.
    let tenths = kibibytes * 10 / (1 << 20);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}
