//! `lmprobe list`: the plugins by kind.

use clap::{Args, ValueEnum};
use lmprobe_core::{Kind, Origin, Registration};
use lmprobe_registry::Registry;
use serde_json::{Value, json};

use crate::console::Console;
use crate::exit::Exit;
use crate::plugins::LibraryArgs;
use crate::report::text_table::TextTable;

/// Arguments of `lmprobe list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only this kind
    kind: Option<KindName>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: LibraryArgs,
}

/// A kind of plugin on the command line; singular and plural mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindName {
    /// Language models.
    #[value(name = "encoders", alias = "encoder")]
    Encoder,
    /// Training signals.
    #[value(name = "objectives", alias = "objective")]
    Objective,
    /// Sets of questions.
    #[value(name = "tasks", alias = "task")]
    Task,
    /// Ways of asking.
    #[value(name = "probers", alias = "prober")]
    Prober,
    /// Numbers about answers.
    #[value(name = "metrics", alias = "metric")]
    Metric,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Encoder => Self::Encoder,
            KindName::Objective => Self::Objective,
            KindName::Task => Self::Task,
            KindName::Prober => Self::Prober,
            KindName::Metric => Self::Metric,
        }
    }
}

/// Runs the command.
pub(crate) fn execute(arguments: &ListArgs, console: Console) -> anyhow::Result<Exit> {
    let registry = arguments.plugins.registry(console)?;
    let kinds = arguments.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind.into()]);
    if arguments.json {
        let plugins: Vec<Value> = kinds.iter().flat_map(|kind| registry.of(*kind)).map(entry).collect();
        console.json(&plugins)?;
    } else {
        let tables: Vec<String> = kinds.iter().map(|kind| table(&registry, *kind)).collect();
        console.result(&tables.join("\n"))?;
    }
    Ok(Exit::Done)
}

fn table(registry: &Registry, kind: Kind) -> String {
    let mut table = TextTable::new([kind.plural(), ""]);
    for plugin in registry.of(kind) {
        let from = match &plugin.origin {
            Origin::Builtin { .. } => String::new(),
            Origin::Library { library, .. } => format!(" [{} {}, {}]", library.name, library.version, library.path.display()),
        };
        table.push(vec![plugin.id.to_owned(), format!("{}{from}", plugin.summary)]);
    }
    table.plain()
}

/// Where a plugin comes from: a place in the source, or a shared library.
pub(crate) fn origin(plugin: &Registration) -> Value {
    match &plugin.origin {
        Origin::Builtin { file, line } => json!({"file": file, "line": line}),
        Origin::Library { library, component_version } => json!({"library": library, "component_version": component_version}),
    }
}

fn entry(plugin: &Registration) -> Value {
    json!({
        "kind": plugin.kind().word(),
        "id": plugin.id,
        "version": plugin.version,
        "summary": plugin.summary,
        "families": plugin.families,
        "origin": origin(plugin),
    })
}
