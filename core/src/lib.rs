//! What things are and how a run runs.
//!
//! The five traits ([`Encoder`], [`Prober`], [`Objective`], [`Task`], [`Metric`]), the tables they exchange, the plan of a
//! run, its store on disk, its training loop and its statistics.
//!
//! **Invariant:** this crate knows no plugin, no run-file syntax and no terminal. Whoever runs it hands in the objects and
//! receives progress through callbacks.
//!
//! # Words for shapes
//!
//! `batch` sequences, `seq` positions of a padded sequence, `tokens` positions of a packed batch, `hidden` width of a
//! hidden state, `heads` attention heads, `query` and `key` positions of an attention, `vocab` entries of a vocabulary,
//! `layers` hidden states (0 is the embedding output, `layers` the last block). Shapes are written `(tokens, hidden)`.
#![deny(missing_docs)]

mod check;
mod component;
mod context;
mod encoder;
mod encoder_info;
mod error;
mod frame;
mod hash;
mod launch;
mod manifest;
mod metric;
mod objective;
mod params;
mod pass;
mod plan;
mod prober;
mod problem;
mod registration;
mod run;
mod seed;
pub mod statistics;
mod store;
pub mod table;
mod task;
mod task_head;
mod tokens;
pub mod train;

pub use check::{contained, examples as check_examples, predictions as check_predictions};
pub use component::{Adaptation, Component, EncoderItem, LearnedTask, MetricItem, ProberItem, Recipe, Resolved, TaskItem, fits};
pub use context::{CallContext, Cancel, Progress, Quiet};
pub use encoder::{Encoder, EncoderSource, Trainable, Variable};
pub use encoder_info::{Dtype, EncoderInfo, MaskToken, ModelReport};
pub use error::{Error, Result};
pub use frame::{Column, ColumnType, FrameSchema};
pub use hash::{ContentHash, hash_bytes, hash_files, hash_json, hash_path};
pub use launch::{RunOptions, RunSummary};
pub use manifest::{JobRecord, Manifest, cpu_features};
pub use metric::Metric;
pub use objective::{DevScore, Learner, Material, Objective, Selection, Targets, TrainingBatch};
pub use params::{ExistingFile, ExistingFiles, ExistingFolder, ModelFolder, PathKind, schema_of};
pub use pass::{EncoderOutput, TokenRows, Want};
pub use plan::{Cell, CellFilter, Job, JobId, JobKind, OutputFormat, Plan, PlanRequest};
pub use prober::{Needs, Prober};
pub use problem::Problem;
pub use registration::{Build, BuildContext, Constructor, Describe, Isolation, Kind, LibraryOrigin, Origin, Preset, RecipeDefaults, Registration};
pub use run::run;
pub use seed::{Random, Seed};
pub use store::{JobFolder, Store, write_atomically};
pub use task::{Examples, Splits, Task};
pub use task_head::{HeadActivation, HeadLayout, HeadReads, TaskHead, TaskHeadInfo};
pub use tokens::{Side, TokenBatch, Tokenization};

// Plugins name these through the core, so that one version of each is in a build.
pub use {candle_core, inventory, polars, schemars, serde, serde_json};
