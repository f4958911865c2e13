//! Finding and opening the models that commands name.

use clap::Args;
use lmprobe_registry::{Hub, ModelRequest, Models, OpenError, OpenModel, Registry, open_model};

use crate::console::Console;
use crate::downloads::Downloads;
use crate::exit::{Exit, UsageError};
use crate::plugins::LibraryArgs;

/// Whether a command may fetch what is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Models of the hub are downloaded, unless `--offline` or the environment forbids it.
    Missing,
    /// Only what the cache holds: checking a file should take no gigabyte.
    Nothing,
}

/// Where models come from.
pub(crate) fn models(console: Console, fetch: Fetch) -> anyhow::Result<Models> {
    let hub = Hub::from_environment().map_err(|error| UsageError(error.to_string()))?.offline(console.is_offline());
    Ok(match fetch {
        Fetch::Nothing => Models::cached(hub),
        Fetch::Missing => {
            let mut downloads = Downloads::new(console);
            Models::downloaded(hub, Box::new(move |event| downloads.show(event)))
        }
    })
}

/// How a model is read, if not as its own configuration says.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadAs {
    /// Read the model with this encoder instead of the one its configuration asks for
    #[arg(long, value_name = "FAMILY", help_heading = "Models")]
    pub(crate) encoder: Option<String>,
    /// Set a parameter of the encoder, such as `casing=cased`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Models")]
    pub(crate) param: Vec<String>,
    #[command(flatten)]
    plugins: LibraryArgs,
}

/// What a model computes in.
#[derive(Debug, Clone, Args)]
pub(crate) struct ComputeIn {
    /// What the linear layers compute in: f32, bf16 (rounded inputs and weights, f32 sums), or auto (bf16 where the processor has it) [default: f32]
    #[arg(long, value_name = "DTYPE", value_parser = ["f32", "bf16", "auto"], hide_possible_values = true, help_heading = "Speed")]
    pub(crate) dtype: Option<String>,
}

impl ReadAs {
    /// The plugins of the command.
    pub(crate) fn registry(&self, console: Console) -> anyhow::Result<Registry> {
        self.plugins.registry(console)
    }

    /// Opens a model; no weight is read. `dtype` is what `--dtype` says, where the command has it.
    pub(crate) fn open(&self, model: &str, dtype: Option<&str>, console: Console) -> anyhow::Result<OpenModel> {
        if model.trim().is_empty() {
            return Err(UsageError("the model's name is empty; give a folder or a hub id".into()).into());
        }
        let registry = self.registry(console)?;
        let request = ModelRequest { model, family: self.encoder.as_deref(), params: &self.param, dtype };
        match open_model(&registry, &models(console, Fetch::Missing)?, &request) {
            Ok(model) => Ok(model),
            Err(OpenError::Invalid(invalid)) => Err(invalid.into()),
            Err(OpenError::Model(error)) => Err(error.into()),
        }
    }
}

/// The exit code of a reader that went away, as `head` does: it has seen enough.
pub(crate) fn unless_reader_left(error: lmprobe_core::Error) -> anyhow::Result<Exit> {
    match error {
        lmprobe_core::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        error => Err(error.into()),
    }
}
