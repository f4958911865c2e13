//! `lmprobe plan`: the jobs of a run file, and which of them are done.

use std::path::PathBuf;

use clap::Args;
use lmprobe_core::{Job, JobKind, Plan, Resolved};
use serde_json::json;

use crate::console::Console;
use crate::exit::Exit;
use crate::models::Fetch;
use crate::report::text_table::TextTable;
use crate::run_file::{RunFileArgs, count, reduced_precision, shown};

/// Arguments of `lmprobe plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    run_file: RunFileArgs,
    /// The run folder, instead of the one the run file names
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Plan for `run --limit N`, whose jobs are others than those of a full run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(arguments: &PlanArgs, console: Console) -> anyhow::Result<Exit> {
    let (resolved, plan) = arguments.run_file.plan(console, Fetch::Nothing, arguments.out.as_deref(), arguments.limit)?;
    show(&resolved, &plan, arguments.json, console)?;
    Ok(Exit::Done)
}

/// Shows the jobs of a plan.
pub(crate) fn show(resolved: &Resolved, plan: &Plan, json: bool, console: Console) -> anyhow::Result<()> {
    if json {
        let jobs: Vec<_> = plan.jobs.iter().map(|job| job_json(resolved, job)).collect();
        return console.json(&json!({"name": plan.name, "folder": resolved.folder, "limit": plan.limit, "jobs": jobs}));
    }
    let done = plan.jobs.iter().filter(|job| is_done(resolved, job)).count();
    let limit = plan.limit.map(|limit| format!(", --limit {limit}: for testing only")).unwrap_or_default();
    let title =
        format!("{}: {}, {done} done, in {}{limit}\n{}", plan.name, count(plan.jobs.len(), "job"), shown(&resolved.folder), reduced_precision(resolved));
    let mut table = TextTable::new(["job", "kind", "encoder", "adapt", "task", "prober", "seed", "state"]);
    for job in &plan.jobs {
        let cell = &job.cell;
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        table.push(vec![
            job.id.to_string(),
            kind(job).into(),
            text(&cell.encoder),
            text(&cell.adapt),
            text(&cell.task),
            text(&cell.prober),
            cell.seed.map_or_else(|| "-".into(), |seed| seed.to_string()),
            if is_done(resolved, job) { "done".into() } else { "to do".into() },
        ]);
    }
    console.result(&format!("{title}{}", table.plain()))
}

fn job_json(resolved: &Resolved, job: &Job) -> serde_json::Value {
    json!({
        "id": job.id,
        "kind": kind(job),
        "encoder": job.cell.encoder,
        "dtype": encoder(job).map(|encoder| resolved.encoders[encoder].source.info().dtype),
        "adapt": job.cell.adapt,
        "task": job.cell.task,
        "prober": job.cell.prober,
        "seed": job.cell.seed,
        "after": job.after,
        "done": is_done(resolved, job),
    })
}

/// The encoder of the job, as a number of the resolved run.
fn encoder(job: &Job) -> Option<usize> {
    match job.kind {
        JobKind::Baseline { .. } => None,
        JobKind::Train { encoder, .. } | JobKind::Probe { encoder, .. } => Some(encoder),
    }
}

fn kind(job: &Job) -> &'static str {
    match job.kind {
        JobKind::Baseline { .. } => "baseline",
        JobKind::Train { .. } => "train",
        JobKind::Probe { .. } => "probe",
    }
}

/// Whether the run folder holds the job's record. Looks without locking or making the folder.
fn is_done(resolved: &Resolved, job: &Job) -> bool {
    resolved.folder.join("jobs").join(&job.id.0).join("job.json").is_file()
}
