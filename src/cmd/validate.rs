//! `lmprobe validate`: checks a run file without loading a model.

use clap::Args;
use lmprobe_core::{EncoderItem, Plan, Resolved};
use lmprobe_registry::Invalid;
use serde_json::{Value, json};

use crate::console::Console;
use crate::exit::Exit;
use crate::models::Fetch;
use crate::run_file::{RunFileArgs, count, reduced_precision};

/// Arguments of `lmprobe validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    run_file: RunFileArgs,
    /// Print one JSON object; it lists the mistakes, if any
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(arguments: &ValidateArgs, console: Console) -> anyhow::Result<Exit> {
    let (resolved, plan) = match arguments.run_file.plan(console, Fetch::Nothing, None, None) {
        Ok(planned) => planned,
        Err(error) => {
            if let (true, Some(invalid)) = (arguments.json, error.downcast_ref::<Invalid>()) {
                console.json(&mistakes(invalid))?;
                return Ok(Exit::of(&error));
            }
            return Err(error);
        }
    };
    if arguments.json {
        let encoder = |item: &EncoderItem| json!({"label": item.component.label, "use": item.component.id, "dtype": item.source.info().dtype});
        let encoders: Vec<Value> = resolved.encoders.iter().map(encoder).collect();
        console.json(&json!({"valid": true, "name": resolved.name, "folder": resolved.folder, "encoders": encoders, "jobs": plan.jobs.len()}))?;
    } else {
        console.result(&format!("{}: valid: {}\n{}", arguments.run_file.file.display(), contents(&resolved, &plan), reduced_precision(&resolved)))?;
    }
    Ok(Exit::Done)
}

/// What the run consists of: `2 encoders, 1 task, 3 probers, 6 jobs`.
fn contents(run: &Resolved, plan: &Plan) -> String {
    let adaptations = run.adapt.iter().filter(|adaptation| adaptation.recipe.is_some()).count();
    let parts = [
        (run.encoders.len(), "encoder"),
        (adaptations, "adaptation"),
        (run.tasks.len(), "task"),
        (run.probers.len(), "prober"),
        (run.baselines.len(), "baseline"),
        (run.metrics.len(), "metric"),
        (run.seeds.len(), "seed"),
        (plan.jobs.len(), "job"),
    ];
    let present = parts.into_iter().filter(|(n, _)| *n > 0);
    present.map(|(n, noun)| count(n, noun)).collect::<Vec<_>>().join(", ")
}

fn mistakes(invalid: &Invalid) -> Value {
    let mistakes = invalid.diagnostics.iter().map(|diagnostic| {
        json!({
            "file": invalid.sources.get(diagnostic.source).map(|source| &source.name),
            "line": diagnostic.line,
            "column": diagnostic.column,
            "key": diagnostic.key,
            "message": diagnostic.message,
            "label": diagnostic.label,
            "help": diagnostic.help,
        })
    });
    json!({"valid": false, "mistakes": mistakes.collect::<Vec<_>>()})
}
