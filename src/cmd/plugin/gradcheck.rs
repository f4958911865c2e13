//! `lmprobe plugin gradcheck`: gradients against differences.

use clap::Args;
use lmprobe_core::Kind;
use lmprobe_registry::bridge::GradientReport;
use serde_json::{Value, json};

use super::Loaded;
use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::report::text_table::TextTable;

/// Arguments of `lmprobe plugin gradcheck`.
#[derive(Debug, Args)]
pub(crate) struct GradcheckArgs {
    #[command(flatten)]
    loaded: Loaded,
    /// Only this objective
    #[arg(long, value_name = "ID")]
    objective: Option<String>,
}

/// Runs the command. A gradient that is wrong is exit code 3.
pub(crate) fn execute(arguments: &GradcheckArgs, console: Console) -> anyhow::Result<Exit> {
    let params = arguments.loaded.params()?;
    let library = arguments.loaded.library()?;
    let objectives = library.facts().components.iter().filter(|component| component.kind == Kind::Objective);
    let chosen: Vec<_> = objectives.filter(|component| arguments.objective.as_ref().is_none_or(|id| *id == component.id)).collect();
    if chosen.is_empty() {
        let what = arguments.objective.as_ref().map_or("objective".to_owned(), |id| format!("objective `{id}`"));
        return Err(UsageError(format!("{} has no {what}", arguments.loaded.file.display())).into());
    }
    let mut reports: Vec<(String, GradientReport)> = Vec::new();
    for component in chosen {
        let params = library.complete(component, params.get(&component.id)).map_err(|name| {
            UsageError(format!("objective `{}` needs the parameter `{name}`; give it with --params '{}={{\"{name}\": ...}}'", component.id, component.id))
        })?;
        reports.extend(library.gradcheck(&component.id, &params)?.into_iter().map(|report| (component.id.clone(), report)));
    }
    if arguments.loaded.json {
        let rows: Vec<Value> = reports.iter().map(|(id, report)| json!({"objective": id, "report": report})).collect();
        console.json(&rows)?;
    } else {
        let mut table = TextTable::new(["objective", "sample", "tensor", "numbers moved", "largest gradient", "largest difference", ""]);
        for (id, report) in &reports {
            let (position, found, expected) = report.worst;
            let verdict = if report.passed { "right".to_owned() } else { format!("WRONG at {position}: {found:e}, by differences {expected:e}") };
            let share = format!("{:.1e} of it", report.difference);
            table.push(vec![
                id.clone(),
                report.sample.to_string(),
                report.tensor.clone(),
                report.probed.to_string(),
                format!("{:.3e}", report.largest),
                share,
                verdict,
            ]);
        }
        console.result(&table.plain())?;
    }
    Ok(if reports.iter().all(|(_, report)| report.passed) { Exit::Done } else { Exit::Input })
}
