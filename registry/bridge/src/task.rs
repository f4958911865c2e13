//! Tasks of plugins.

use lmprobe_core::{CallContext, Error, Examples, Result, Task, table};
use serde::Deserialize;
use serde_json::Value;

use crate::host_services::Kept;
use crate::instance::Instance;
use crate::request::{Request, Response};
use crate::table_import::typed;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    default_metrics: Vec<String>,
}

/// A task of a plugin.
pub(crate) struct PluginTask {
    instance: Box<dyn Instance>,
    default_metrics: Vec<String>,
    kept: Kept,
    origin: String,
}

impl PluginTask {
    pub(crate) fn new(id: &str, instance: Box<dyn Instance>, kept: Kept, description: Value) -> Result<Self> {
        let origin = format!("task `{id}`");
        let Description { default_metrics } =
            serde_json::from_value(description).map_err(|error| Error::plugin(format!("`describe` of {origin}"), error.to_string()))?;
        Ok(Self { instance, default_metrics, kept, origin })
    }
}

impl Task for PluginTask {
    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let Response::Tables(examples, candidates) = self.kept.inside(cx, &[], |services| self.instance.call(Request::Examples, services))? else {
            return Err(Error::plugin(&*self.origin, "it answered something else than examples"));
        };
        Examples::cloze(typed(examples, &table::EXAMPLES, &self.origin)?, typed(candidates, &table::CANDIDATES, &self.origin)?)
    }

    fn default_metrics(&self) -> Vec<String> {
        self.default_metrics.clone()
    }
}
