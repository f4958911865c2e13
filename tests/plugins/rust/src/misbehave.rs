//! The metric `example/misbehave`: everything a plugin should not do, for tests of hosts.
//!
//! `segfault` writes to address 0; nothing else in this crate is unsafe.
#![expect(unsafe_code, reason = "a crash on purpose cannot be written in safe code")]

use std::time::Duration;

use lmprobe_sdk::schemars::JsonSchema;
use lmprobe_sdk::serde::Deserialize;
use lmprobe_sdk::{Aggregate, Call, Column, Component, Error, Interval, Metric, MetricRow, MetricRows, Predictions, Result, Table};

/// Parameters of `example/misbehave`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub struct MisbehaveParams {
    /// What it does.
    how: How,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub enum How {
    /// Panics.
    Panic,
    /// Panics when it is created.
    PanicInBuild,
    /// Panics on a thread of its own.
    PanicInThread,
    /// Panics with a value that panics when it is dropped.
    PanicPayloadDropsPanic,
    /// Fails in an orderly way.
    Error,
    /// Aborts the process.
    Abort,
    /// Ends the process.
    Exit,
    /// Writes to address 0.
    Segfault,
    /// Calls itself without end.
    StackOverflow,
    /// Never returns.
    Loop,
    /// Takes long, but stops when asked to.
    Slow,
    /// Prints.
    Stdout,
    /// Returns a table with other columns.
    WrongSchema,
    /// Returns a number that is none.
    Nan,
    /// Returns no row.
    WrongRows,
}

/// Does what it is told.
#[derive(Debug)]
pub struct Misbehave {
    how: How,
}

impl Component for Misbehave {
    type Params = MisbehaveParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "does what a plugin should not do, for tests";

    fn build(params: MisbehaveParams, _: &Call<'_>) -> Result<Self> {
        assert!(params.how != How::PanicInBuild, "panicked on request when created");
        Ok(Self { how: params.how })
    }
}

impl Metric for Misbehave {
    fn name(&self) -> String {
        "misbehave".to_owned()
    }

    fn compute(&self, predictions: &Predictions, call: &Call<'_>) -> Result<Table> {
        let mut value = 1.0;
        match self.how {
            How::Panic => panic!("panicked on request"),
            How::PanicInThread => std::thread::spawn(|| panic!("panicked on request in a thread")).join().expect("the thread works"),
            How::PanicPayloadDropsPanic => std::panic::panic_any(PanicsWhenDropped),
            How::Error => return Err(Error::input("failed on request").at("rank")),
            How::Abort => std::process::abort(),
            How::Exit => std::process::exit(0),
            // SAFETY: there is none, which is the point: the host must survive or die in a way that is tested.
            How::Segfault => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
            How::StackOverflow => call.debug(format!("depth {}", deeper(1))),
            How::Loop => loop {
                std::thread::sleep(Duration::from_millis(10));
            },
            How::Slow => {
                for step in 0..6_000 {
                    call.check_cancelled()?;
                    call.progress("steps", step, 6_000);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            How::Stdout => println!("printed on request"),
            How::WrongSchema => return Table::new().with("number", Column::i64s([1])),
            How::Nan => value = f64::NAN,
            How::WrongRows => return MetricRows::new().into_table(),
            How::PanicInBuild => {}
        }
        let mut rows = MetricRows::new();
        rows.push(MetricRow {
            metric: self.name(),
            aggregate: Aggregate::Micro,
            value,
            interval: Interval { low: 0.0, high: 1.0, method: "none" },
            n: predictions.len(),
            unit: "fraction",
            higher_is_better: true,
        });
        rows.into_table()
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("panicked on request when dropped");
    }
}

/// Uses the stack until there is none left.
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if frame[0] == 0 { 0 } else { deeper(depth + 1) + std::hint::black_box(frame)[1] }
}
