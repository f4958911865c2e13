//! What makes a run repeatable: versions, hashes, seeds, machine, time and memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Cell, JobId};

/// The record of a finished job, `job.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its identity.
    pub id: JobId,
    /// Its labels.
    pub cell: Cell,
    /// Everything the identity was made of.
    pub identity: Value,
    /// Wall time in seconds of the attempt that finished it.
    pub wall_s: f64,
    /// Warnings of its plugins.
    pub warnings: Vec<String>,
    /// Content hash of every file that a plugin said it read besides its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<PathBuf, String>,
}

/// `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The run's name.
    pub name: String,
    /// Version of this program.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// Seconds since 1970 at the start of this invocation.
    pub started_unix_s: u64,
    /// Wall time of this invocation in seconds.
    pub wall_s: f64,
    /// CPU time of this invocation in seconds, where the system tells.
    pub cpu_s: Option<f64>,
    /// Peak resident memory of this invocation in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Operating system and processor architecture.
    pub platform: String,
    /// Vector instructions the processor has.
    pub cpu_features: Vec<String>,
    /// Worker threads.
    pub threads: usize,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Questions a relation at most, if `--limit` was given.
    pub limit: Option<u64>,
    /// Content hash of every file and folder read.
    pub inputs: BTreeMap<PathBuf, String>,
    /// The run file after overrides.
    pub run_file: Value,
    /// Every component with all defaults filled in.
    pub resolved: Value,
    /// How ties are ranked and layers numbered: the conventions a reader of the numbers needs.
    pub conventions: Vec<String>,
    /// The jobs, finished or failed.
    pub jobs: Vec<ManifestJob>,
}

/// A job in the manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestJob {
    /// Its identity.
    pub id: JobId,
    /// Its labels.
    pub cell: Cell,
    /// `done`, `reused` or `failed`.
    pub status: String,
    /// Wall time in seconds.
    pub wall_s: Option<f64>,
    /// What went wrong.
    pub error: Option<String>,
    /// Warnings of its plugins.
    pub warnings: Vec<String>,
}

/// Seconds since 1970.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Peak resident memory of this process, where `/proc` tells.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// CPU time of this process, user and system, where `/proc` tells.
pub(crate) fn cpu_s() -> Option<f64> {
    // Fields 14 and 15 in ticks; the command name in field 2 may hold blanks, so count from its closing bracket.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_A_SECOND)
}

/// Vector instructions of this processor that matter here.
pub fn cpu_features() -> Vec<String> {
    let mut features: Vec<&str> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! detect {
            ($($name:tt),*) => { $(if std::is_x86_feature_detected!($name) { features.push($name); })* };
        }
        detect!("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512bf16", "avx512vnni");
    }
    #[cfg(target_arch = "aarch64")]
    features.push("neon");
    features.into_iter().map(str::to_owned).collect()
}
