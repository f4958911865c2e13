//! Metrics of plugins.

use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::{CallContext, Error, Metric, Result, table};
use serde::Deserialize;
use serde_json::Value;

use crate::host_services::Kept;
use crate::instance::Instance;
use crate::request::{Request, Response};
use crate::table_import::typed;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
}

/// A metric of a plugin.
pub(crate) struct PluginMetric {
    instance: Box<dyn Instance>,
    name: String,
    kept: Kept,
    origin: String,
}

impl PluginMetric {
    pub(crate) fn new(id: &str, instance: Box<dyn Instance>, kept: Kept, description: Value) -> Result<Self> {
        let origin = format!("metric `{id}`");
        let fail = |message: String| Error::plugin(format!("`describe` of {origin}"), message);
        let Description { name } = serde_json::from_value(description).map_err(|error| fail(error.to_string()))?;
        if name.is_empty() {
            return Err(fail("the name is empty".into()));
        }
        Ok(Self { instance, name, kept, origin })
    }
}

impl Metric for PluginMetric {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn compute(&self, predictions: &DataFrame, cx: &CallContext<'_>) -> Result<DataFrame> {
        let request = Request::Compute { predictions: predictions.clone() };
        let Response::Table(rows) = self.kept.inside(cx, &[], |services| self.instance.call(request, services))? else {
            return Err(Error::plugin(&*self.origin, "it answered something else than rows"));
        };
        typed(rows, &table::METRIC_ROWS, &self.origin)
    }
}
