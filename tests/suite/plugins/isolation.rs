//! `isolation: process`: crashes and endless loops fail their job, and the run goes on.

use std::time::Instant;

use lmprobe_core::Isolation;

use super::Run;
use super::libraries::rust_example;
use super::misbehaviour::run_file;
use crate::program::{Finished, lmprobe};

/// Runs with the misbehaving metric in a process of its own.
fn run(how: &str) -> (Run, Finished) {
    let scene = Run::new();
    let file = scene.file(&run_file(&scene, how, ", isolation: process, timeout: 2"));
    let finished = Finished::of(lmprobe(&["run", &file, "--json", "--out"]).arg(scene.path().join("out")));
    (scene, finished)
}

/// The other metric of the same library has its scores, of every job.
#[track_caller]
fn others_are_there(finished: &Finished) {
    let json = finished.json();
    let scores = json["scores"].as_array().expect("scores");
    let good: Vec<_> = scores.iter().filter(|score| score["metric"] == "good").collect();
    assert!(good.iter().any(|score| score["encoder"] == "hashed") && good.iter().any(|score| score["baseline"] == true), "{json}");
    assert!(scores.iter().all(|score| score["metric"] != "misbehave"), "{json}");
}

#[test]
fn crashes_fail_their_job_and_the_run_goes_on() {
    for (how, message) in [
        ("segfault", "was killed by signal 11 (SIGSEGV)"),
        ("abort", "was killed by signal 6 (SIGABRT"),
        ("stack-overflow", "was killed by signal"),
        ("exit", "ended"),
        ("panic", "panicked on request"),
    ] {
        let (_scene, finished) = run(how);
        let finished = finished.exits(4);
        assert!(finished.stderr.contains("example/misbehave") && finished.stderr.contains(message), "{how}: {}", finished.stderr);
        assert!(finished.stderr.contains("`compute`") && finished.stderr.contains("plugin `example`"), "{how}: {}", finished.stderr);
        others_are_there(&finished);
    }
}

#[test]
fn an_endless_loop_is_ended_after_the_time_that_was_given() {
    let clock = Instant::now();
    let (_scene, finished) = run("loop");
    let finished = finished.exits(4);
    assert!(finished.stderr.contains("gave no sign of life for 2 s") && finished.stderr.contains("example/misbehave"), "{}", finished.stderr);
    others_are_there(&finished);
    assert!(clock.elapsed().as_secs() < 60, "two jobs of two seconds each");
}

#[test]
fn the_numbers_are_those_of_the_same_library_in_this_process() {
    let scores = |more: &str| {
        let scene = Run::new();
        let file = scene.file(&run_file(&scene, "stdout", more));
        let finished = Finished::of(lmprobe(&["run", &file, "--json", "--out"]).arg(scene.path().join("out"))).exits(0);
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(scene.path().join("out/manifest.json")).expect("a manifest")).expect("JSON");
        (finished.json()["scores"].clone(), manifest)
    };
    let ((here, manifest), (elsewhere, isolated)) = (scores(""), scores(", isolation: process"));
    assert_eq!(here, elsewhere);
    let isolation =
        |manifest: &serde_json::Value| serde_json::from_value::<Isolation>(manifest["resolved"]["plugins"][0]["isolation"].clone()).expect("an isolation");
    assert_eq!((isolation(&manifest), isolation(&isolated)), (Isolation::InProcess, Isolation::Process));
    // The same jobs: where code runs is no part of what a job is.
    let ids = |manifest: &serde_json::Value| manifest["jobs"].as_array().expect("jobs").iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&manifest), ids(&isolated));
    let plugin = &manifest["resolved"]["plugins"][0];
    assert_eq!((plugin["name"].as_str(), plugin["abi"].as_str(), plugin["pinned"].as_bool()), (Some("example"), Some("1.0"), Some(true)));
    assert_eq!(plugin["sha256"], rust_example().sha256.as_str());
}
