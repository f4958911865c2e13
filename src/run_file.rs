//! Reading a run file for the commands that take one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use lmprobe_core::{Dtype, Plan, PlanRequest, Resolved};
use lmprobe_registry::{Request, resolve};

use crate::console::Console;
use crate::models::{Fetch, models};
use crate::plugins::LibraryArgs;

/// A run file and what the command line changes in it.
#[derive(Debug, Args)]
pub(crate) struct RunFileArgs {
    /// The run file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Set a value of the run file, `seeds=[1,2]` or `encoders[0].model=path`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    plugins: LibraryArgs,
}

impl RunFileArgs {
    /// Reads the file, builds its plugins and fills in the defaults. `fetch` says whether models of the hub may be downloaded; `out` replaces the run folder.
    pub(crate) fn resolve(&self, console: Console, fetch: Fetch, out: Option<&Path>) -> anyhow::Result<Resolved> {
        let registry = self.plugins.registry(console)?;
        let models = models(console, fetch)?;
        let libraries = self.plugins.policy();
        let request = Request { path: &self.file, overrides: &self.set, out, models: &models, libraries: &libraries };
        Ok(resolve(&registry, &request)?)
    }

    /// The resolved file and its jobs.
    pub(crate) fn plan(&self, console: Console, fetch: Fetch, out: Option<&Path>, limit: Option<u64>) -> anyhow::Result<(Resolved, Plan)> {
        let resolved = self.resolve(console, fetch, out)?;
        let plan = Plan::new(&resolved, PlanRequest { limit }).with_context(|| self.file.display().to_string())?;
        Ok((resolved, plan))
    }
}

/// A line for each encoder that does not compute in `f32`, which is what numbers are reported in.
pub(crate) fn reduced_precision(run: &Resolved) -> String {
    let reduced = run.encoders.iter().filter(|item| item.source.info().dtype != Dtype::F32);
    let lines: Vec<String> = reduced.map(|item| format!("encoder `{}` computes in {}\n", item.component.label, item.source.info().dtype)).collect();
    lines.concat()
}

/// A path as a person would type it here: relative to the working directory if it lies below.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).filter(|relative| !relative.as_os_str().is_empty());
    relative.unwrap_or(path).display().to_string()
}

/// A number and its noun: `1 task`, `2 tasks`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
