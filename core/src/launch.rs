//! What a run is given besides its plan, and what it leaves.

use polars::prelude::DataFrame;

/// How to run a plan on this machine.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The command line, for the manifest.
    pub command: Vec<String>,
    /// Version of the program, for the manifest.
    pub version: String,
    /// Worker threads, for the manifest.
    pub threads: usize,
}

/// What a run left.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// All scores, [`crate::table::SCORES`].
    pub scores: DataFrame,
    /// Jobs run now.
    pub done: usize,
    /// Jobs an earlier run had finished.
    pub reused: usize,
    /// Labels and errors of the jobs that failed.
    pub failed: Vec<(String, String)>,
}
