//! `lmprobe run`: does what a run file describes, or goes on where an earlier run stopped.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lmprobe_core::{Cancel, Error, JobRecord, OutputFormat, Plan, Resolved, RunOptions, RunSummary, Store};
use serde_json::json;

use crate::cmd::plan;
use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::interrupt::Interrupt;
use crate::models::Fetch;
use crate::progress::Display;
use crate::report::score_table;
use crate::report::scores::{Aggregate, Score, read};
use crate::run_file::{RunFileArgs, count, shown};
use crate::threads;

/// Arguments of `lmprobe run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    run_file: RunFileArgs,
    /// The run folder, instead of the one the run file names
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Ask at most N questions a relation; for testing only, and marked in every table
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show the jobs and stop
    #[arg(long)]
    dry_run: bool,
    /// Worker threads [default: `SLURM_CPUS_PER_TASK`, else `RAYON_NUM_THREADS`, else `OMP_NUM_THREADS`, else all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(arguments: &RunArgs, console: Console) -> anyhow::Result<Exit> {
    lmprobe_kernels::simd_from_environment().map_err(UsageError)?;
    let threads = threads::arrange(arguments.threads);
    let interrupt = Interrupt::listen()?;
    let (resolved, jobs) = arguments.run_file.plan(console, Fetch::Missing, arguments.out.as_deref(), arguments.limit)?;
    if arguments.dry_run {
        plan::show(&resolved, &jobs, arguments.json, console)?;
        return Ok(Exit::Done);
    }
    warn_of_limit(&jobs, console);
    let store = Store::open(&resolved.folder)?;
    let finished = finished(&jobs, &store);
    let before = finished.iter().filter(|finished| **finished).count();
    if before > 0 {
        console.note(&format!("{} of {} finished by an earlier run", before, count(jobs.jobs.len(), "job")));
    }
    let display = Arc::new(Display::new(console, finished));
    let options = RunOptions { command: std::env::args().collect(), version: env!("CARGO_PKG_VERSION").into(), threads };
    let cancel: &Cancel = interrupt.begin(display.clone());
    let result = lmprobe_core::run(&resolved, &jobs, &store, &options, display.as_ref(), cancel);
    display.close();
    match result {
        Ok(summary) => {
            show(&resolved, &jobs, &summary, arguments.json, console)?;
            Ok(report_failures(&summary, console))
        }
        Err(Error::Cancelled) => {
            let done = self::finished(&jobs, &store).into_iter().filter(|finished| *finished).count();
            console.error(&format!("stopped on request, {done} of {} done; the same command goes on from here", count(jobs.jobs.len(), "job")));
            Ok(interrupt.exit())
        }
        Err(error) => Err(error.into()),
    }
}

/// Which jobs of the plan are finished in the store. A record that cannot be read is left for the run to complain about.
fn finished(plan: &Plan, store: &Store) -> Vec<bool> {
    plan.jobs.iter().map(|job| matches!(store.job(&job.id).record::<JobRecord>(), Ok(Some(_)))).collect()
}

fn warn_of_limit(plan: &Plan, console: Console) {
    if let Some(limit) = plan.limit {
        console.warning(&format!(
            "--limit {limit}: at most {} of a relation, or of a task without relations, are asked; THE NUMBERS ARE FOR TESTING ONLY",
            count_questions(limit)
        ));
    }
}

fn count_questions(limit: u64) -> String {
    count(usize::try_from(limit).unwrap_or(usize::MAX), "question")
}

fn show(resolved: &Resolved, plan: &Plan, summary: &RunSummary, json: bool, console: Console) -> anyhow::Result<()> {
    let scores = read(&summary.scores)?;
    if json {
        let wanted: Vec<&Score> = scores.iter().filter(|score| !matches!(score.aggregate, Aggregate::Relation | Aggregate::Label)).collect();
        console.json(&json!({
            "name": resolved.name,
            "folder": resolved.folder,
            "limit": plan.limit,
            "jobs": {"done": summary.done, "reused": summary.reused, "failed": summary.failed.len()},
            "failed": summary.failed.iter().map(|(cell, error)| json!({"cell": cell, "error": error})).collect::<Vec<_>>(),
            "scores": wanted,
        }))?;
    } else {
        let micro: Vec<&Score> = scores.iter().filter(|score| score.aggregate == Aggregate::Micro).collect();
        let tables = score_table::of(&micro, &scores);
        console.result(&tables.iter().map(score_table::ScoreTable::plain).collect::<Vec<_>>().join("\n"))?;
    }
    console.note(&files(resolved, scores.is_empty()));
    Ok(())
}

/// Tells where the results lie.
fn files(resolved: &Resolved, training_only: bool) -> String {
    let folder = shown(&resolved.folder);
    if training_only {
        return format!("checkpoints, losses and the manifest are in {folder}");
    }
    let names: Vec<&str> = resolved
        .formats
        .iter()
        .map(|format| match format {
            OutputFormat::Parquet => "scores.parquet",
            OutputFormat::Csv => "scores.csv",
            OutputFormat::Ipc => "scores.arrow",
        })
        .collect();
    format!("{}, predictions and manifest.json are in {folder}", names.join(", "))
}

fn report_failures(summary: &RunSummary, console: Console) -> Exit {
    if summary.failed.is_empty() {
        return Exit::Done;
    }
    let total = summary.failed.len() + summary.done + summary.reused;
    console.error(&format!("{} of {} failed; the others are saved", summary.failed.len(), count(total, "job")));
    for (cell, error) in &summary.failed {
        console.error(&format!("{cell}: {error}"));
    }
    console.note("once the cause is mended, the same command runs the failed jobs again and keeps the others");
    Exit::SomeFailed
}
