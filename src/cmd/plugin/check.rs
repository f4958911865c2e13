//! `lmprobe plugin check`: whether a library keeps the rules.

use clap::Args;
use lmprobe_registry::bridge::{Outcome, check};
use serde_json::json;

use super::Loaded;
use crate::console::Console;
use crate::exit::Exit;
use crate::report::text_table::TextTable;

/// Arguments of `lmprobe plugin check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    loaded: Loaded,
}

/// Runs the command. A check that fails is exit code 3.
pub(crate) fn execute(arguments: &CheckArgs, console: Console) -> anyhow::Result<Exit> {
    let params = arguments.loaded.params()?;
    let library = arguments.loaded.library()?;
    let facts = library.facts();
    let findings = check(&library, &params);
    let failed = findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed(_))).count();
    if arguments.loaded.json {
        console.json(&json!({"plugin": facts.name, "version": facts.version, "abi": facts.abi, "sha256": facts.sha256, "findings": findings}))?;
    } else {
        let mut table = TextTable::new(["component", "check", "outcome"]);
        for finding in &findings {
            let outcome = match &finding.outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Skipped(why) => format!("skipped: {why}; give it with --params"),
                Outcome::Failed(why) => format!("FAILED: {why}"),
            };
            table.push(vec![finding.component.clone(), finding.check.clone(), outcome]);
        }
        console.result(&format!("{} {}, plugin interface {}, {}\n\n{}", facts.name, facts.version, facts.abi, facts.build_info, table.plain()))?;
    }
    for kind in &facts.skipped {
        console.warning(&format!("skipped a component of kind {kind}, which this version does not know"));
    }
    if failed == 0 {
        return Ok(Exit::Done);
    }
    console.error(&format!("{failed} of {} checks failed", findings.len()));
    Ok(Exit::Input)
}
