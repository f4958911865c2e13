//! Plugins that are called often, from many threads, or interrupted.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, Series};
use lmprobe_core::{Build, BuildContext, CallContext, Cancel, Kind, Metric, Quiet, Seed, table};

use super::Run;
use super::equality::registry;
use super::misbehaviour::run_file;
use crate::program::lmprobe;

/// The metrics of the examples, in Rust and where there is a compiler in C.
fn metrics() -> Vec<Arc<dyn Metric>> {
    let registry = registry();
    let metrics = registry.of(Kind::Metric).filter(|metric| metric.id.starts_with("example") && metric.id.ends_with("/share-right"));
    let build = |metric: &&'static lmprobe_core::Registration| {
        let Build::Metric(build) = metric.build else { panic!("a metric") };
        build(serde_json::json!({"k": 3}), &BuildContext::default()).expect("a metric")
    };
    metrics.collect::<Vec<_>>().iter().map(build).collect()
}

fn predictions(n: u64) -> DataFrame {
    let texts = |name: &str| Series::new(name.into(), (0..n).map(|row| format!("{name} {}", row % 7)).collect::<Vec<_>>());
    let lists: Vec<Vec<String>> = (0..n).map(|row| vec![format!("candidate {row}"); 10]).collect();
    table::frame_of(vec![
        texts("example_id"),
        texts("relation"),
        texts("subject"),
        table::texts_column("golds", &lists),
        Series::new("rank".into(), (0..n).map(|row| (row % 5 != 4).then_some(row % 7 + 1)).collect::<Vec<_>>()),
        Series::new("n_candidates".into(), vec![10u64; usize::try_from(n).expect("a small number")]),
        table::texts_column("predictions", &lists),
        table::reals_column("scores", &(0..n).map(|_| vec![0.5; 10]).collect::<Vec<_>>()),
    ])
    .expect("a table")
}

fn compute(metric: &dyn Metric, predictions: &DataFrame) -> DataFrame {
    metric.compute(predictions, &CallContext::new(Seed(0), &Quiet, Cancel::default())).expect("rows")
}

/// Resident memory of this process in MiB.
fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
fn ten_thousand_calls_leave_nothing_behind() {
    let predictions = predictions(200); // about 60 KB of texts a call
    for metric in metrics() {
        for _ in 0..500 {
            compute(metric.as_ref(), &predictions);
        }
        let before = resident_mib();
        for _ in 0..10_000 {
            compute(metric.as_ref(), &predictions);
        }
        // Leaking one table a call would be 600 MiB. Other tests run beside in this process.
        let grown = resident_mib().saturating_sub(before);
        assert!(grown < 200, "{}: {grown} MiB more", metric.name());
    }
}

#[test]
fn eight_threads_on_one_instance_get_the_same_rows() {
    let predictions = predictions(50);
    for metric in metrics() {
        let expected = compute(metric.as_ref(), &predictions);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        assert!(compute(metric.as_ref(), &predictions).equals_missing(&expected));
                    }
                });
            }
        });
    }
}

#[test]
fn a_slow_plugin_stops_when_it_is_asked_to() {
    for more in ["", ", isolation: process"] {
        let scene = Run::new();
        let file = scene.file(&run_file(&scene, "slow", more));
        let mut child = lmprobe(&["run", &file, "--quiet", "--out"]).arg(scene.path().join("out")).spawn().expect("the program starts");
        // The predictions are there before the metrics begin, which then take a minute.
        let clock = Instant::now();
        while !scene.path().join("out/predictions").exists() && clock.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(500));
        let pid = i32::try_from(child.id()).expect("a process id");
        let asked = Instant::now();
        let killed = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().expect("kill starts");
        assert!(killed.success());
        let status = child.wait().expect("the program ends");
        assert_eq!(status.code(), Some(75), "{more}");
        assert!(asked.elapsed() < Duration::from_secs(8), "{more}: it took {:?}", asked.elapsed());
    }
}
