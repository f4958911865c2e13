//! Write plugins for lmprobe in safe Rust.
//!
//! A plugin is a shared library with components: metrics, probers, tasks, objectives and encoders. Each is a type with a trait; a macro exports them.
//! The crate translates between these traits and the binary interface of `lmprobe-abi`, so that neither the compiler nor the versions of libraries need
//! match those of the host.
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! lmprobe-sdk = "0.1"
//! ```
//!
//! A whole plugin with one metric:
//!
//! ```
//! #![forbid(unsafe_code)]
//!
//! use lmprobe_sdk::schemars::JsonSchema;
//! use lmprobe_sdk::serde::Deserialize;
//! use lmprobe_sdk::{Aggregate, Call, Component, Error, Interval, Metric, MetricRow, MetricRows, Predictions, Result, Table};
//!
//! /// Parameters of `acme/accuracy`.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields)]
//! #[schemars(crate = "lmprobe_sdk::schemars")]
//! struct AccuracyParams {
//!     /// How many of the first candidates may hold a right answer.
//!     #[serde(default = "one")]
//!     #[schemars(range(min = 1))]
//!     k: i64,
//! }
//!
//! fn one() -> i64 {
//!     1
//! }
//!
//! struct Accuracy {
//!     k: i64,
//! }
//!
//! impl Component for Accuracy {
//!     type Params = AccuracyParams;
//!     const VERSION: &'static str = "1.0.0";
//!     const SUMMARY: &'static str = "share of questions with a right answer among the first k candidates";
//!
//!     fn build(params: AccuracyParams, _: &Call<'_>) -> Result<Self> {
//!         Ok(Self { k: params.k })
//!     }
//! }
//!
//! impl Metric for Accuracy {
//!     fn name(&self) -> String {
//!         format!("accuracy@{}", self.k)
//!     }
//!
//!     fn compute(&self, predictions: &Predictions, _: &Call<'_>) -> Result<Table> {
//!         let n = predictions.len();
//!         if n == 0 {
//!             return Err(Error::input("the predictions have no row"));
//!         }
//!         let hits = predictions.rank().iter().filter(|rank| rank.is_some_and(|rank| rank <= self.k)).count();
//!         let mut rows = MetricRows::new();
//!         rows.push(MetricRow {
//!             metric: self.name(),
//!             aggregate: Aggregate::Micro,
//!             value: hits as f64 / n as f64,
//!             interval: Interval { low: 0.0, high: 1.0, method: "none" },
//!             n,
//!             unit: "fraction",
//!             higher_is_better: true,
//!         });
//!         rows.into_table()
//!     }
//! }
//!
//! lmprobe_sdk::export_plugin! {
//!     name: "acme",
//!     components: [metric "acme/accuracy" => Accuracy]
//! }
//! # fn main() {}
//! ```
//!
//! # Rules for plugins
//!
//! * What a component prints goes nowhere useful: tell people things with [`Call::warn`].
//! * Working directory, environment, locale and signal handlers belong to the host. A plugin never ends the process.
//! * Draw from [`Call::seed`] only, and use at most [`Call::threads`] threads, joined before the call returns.
//! * Ask [`Call::check_cancelled`] often: a call cannot be stopped from outside.
//! * A panic is reported as a bug of the plugin with its place. It does not end the host, but the job it happened in.
//!
//! # Features
//!
//! `arrow` turns tables into record batches of arrow-rs and back, `candle` turns tensors into tensors of candle and back.

#[cfg(feature = "arrow")]
mod arrow;
mod bits;
mod boundary;
mod call;
#[cfg(feature = "candle")]
mod candle;
mod column;
mod component;
mod encoder;
mod error;
mod export;
mod host_encoder;
mod metric;
mod objective;
mod params;
mod prober;
mod rows;
mod seed;
mod table;
mod task;
mod tensor;
mod tokens;

pub use call::Call;
pub use column::{Column, Flags, Number, NumberLists, Numbers, TextLists, Texts};
pub use component::{Caps, Component, Needs};
pub use encoder::{Encoder, EncoderInfo, EncoderOutput, MaskToken, Want};
pub use error::{Error, Result};
pub use host_encoder::HostEncoder;
pub use metric::{Aggregate, Interval, Metric, MetricRow, MetricRows};
pub use objective::{Batch, Loss, LossInputs, Objective, ObjectiveWant, Prepared, WantedRows};
pub use params::{ExistingFile, ExistingFiles, ExistingFolder, ModelFolder, NoParams, schema_of};
pub use prober::{PredictionRows, Prober};
pub use rows::{Candidates, Examples, Predictions};
pub use seed::{Random, Seed};
pub use table::Table;
pub use task::{CandidateRows, ExampleRow, ExampleRows, Task};
pub use tensor::{Tensor, TensorView};
pub use tokens::{Side, Token, TokenBatch, Tokenization};
pub use {schemars, serde, serde_json};

/// What [`export_plugin!`] writes; no part of the interface for authors.
#[doc(hidden)]
pub mod __private {
    pub use lmprobe_abi::{lmprobe_error as HostError, lmprobe_host as Host, lmprobe_plugin as Plugin, lmprobe_stamp as Stamp};

    // A host for tests hands over and takes what crosses.
    pub use crate::boundary::host_side::{give_table, give_tensors, take_table, take_tensors, take_text};
    pub use crate::boundary::plugin::{Declaration, Offer, PluginCell, encoder, enter, in_namespace, metric, objective, prober, task};
}
