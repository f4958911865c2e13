//! Probers of plugins, and what they and objectives say they need.

use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::{CallContext, Encoder, Error, Examples, Needs, Prober, Result, table};
use serde::Deserialize;
use serde_json::Value;

use crate::host_services::Kept;
use crate::instance::Instance;
use crate::request::{Request, Response};
use crate::table_import::typed;

/// `needs` of a description. A need that this program does not know cannot be met, so it is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DescribedNeeds {
    encoders: usize,
    #[serde(default)]
    mask_token: bool,
    #[serde(default)]
    mlm_head: bool,
    #[serde(default)]
    pooler: bool,
    #[serde(default)]
    layers: Vec<i64>,
    #[serde(default)]
    randomness: bool,
}

impl From<DescribedNeeds> for Needs {
    fn from(needs: DescribedNeeds) -> Self {
        let DescribedNeeds { encoders, mask_token, mlm_head, pooler, layers, randomness } = needs;
        Self { encoders, mask_token, mlm_head, pooler, layers, randomness, ..Self::default() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    needs: DescribedNeeds,
}

/// A prober of a plugin.
pub(crate) struct PluginProber {
    instance: Box<dyn Instance>,
    needs: Needs,
    kept: Kept,
    origin: String,
}

impl PluginProber {
    pub(crate) fn new(id: &str, instance: Box<dyn Instance>, kept: Kept, description: Value) -> Result<Self> {
        let origin = format!("prober `{id}`");
        let description: Description =
            serde_json::from_value(description).map_err(|error| Error::plugin(format!("`describe` of {origin}"), error.to_string()))?;
        Ok(Self { instance, needs: description.needs.into(), kept, origin })
    }
}

impl Prober for PluginProber {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn probe(&self, encoders: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let request = Request::Probe { examples: examples.examples.clone(), candidates: examples.candidates.clone() };
        let Response::Table(predictions) = self.kept.inside(cx, encoders, |services| self.instance.call(request, services))? else {
            return Err(Error::plugin(&*self.origin, "it answered something else than predictions"));
        };
        typed(predictions, &table::PREDICTIONS, &self.origin)
    }
}
