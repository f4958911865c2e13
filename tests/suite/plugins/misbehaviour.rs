//! Plugins that misbehave in this process: a message, a failed job, and a host that goes on; or a crash whose last line names the plugin.

use super::Run;
use super::libraries::{root, rust_example};
use crate::program::{Finished, lmprobe};

/// A run of baselines with the metric that misbehaves and one that does not.
fn run(how: &str, more: &str) -> Finished {
    let scene = Run::new();
    let text = run_file(&scene, how, more);
    let file = scene.file(&text);
    Finished::of(lmprobe(&["run", &file, "--out"]).arg(scene.path().join("out")))
}

/// The run file; `more` goes into the item of the library.
pub(super) fn run_file(scene: &Run, how: &str, more: &str) -> String {
    format!(
        "plugins: [{}]\nencoders: [{{use: example/hashed, name: hashed}}]\n\
         tasks: [{{use: cloze, path: {}, templates: {}/data/minibio/prompts.csv}}]\nprobers: [{{use: example/nearest, name: nearest}}]\n\
         baselines: [random-ranking]\nmetrics: [{{use: example/misbehave, how: {how}}}, {{use: example/share-right, name: good}}]\n",
        rust_example().item(more),
        scene.facts(),
        root().display()
    )
}

#[track_caller]
fn fails_with(how: &str, message: &str) {
    let finished = run(how, "").exits(4);
    assert!(finished.stderr.contains(message), "{}", finished.stderr);
    // What has nothing to do with it is there.
    assert!(finished.stdout.contains("hashed"), "{}", finished.stdout);
}

#[test]
fn a_failure_in_good_order_is_told_with_its_column() {
    fails_with("error", "plugin `example`, `compute` of metric `example/misbehave`: rank: failed on request");
}

#[test]
fn a_table_of_another_form_is_refused() {
    fails_with("wrong-schema", "metric `example/misbehave` returned a malformed `metric rows` table: column `metric` is missing; it has number");
}

#[test]
fn a_number_that_is_none_is_refused() {
    fails_with("nan", "returned a malformed `metric rows` table: column `value` holds NaN");
}

#[test]
fn no_row_is_refused() {
    fails_with("wrong-rows", "metric `misbehave` returned a malformed `metric rows` table: there is no row");
}

/// After a panic the library's other numbers are not trusted either: the run ends with what it has and says so.
#[test]
fn a_panic_is_contained_and_the_library_is_called_no_more() {
    for (how, message) in [("panic", "panicked: panicked on request"), ("panic-in-thread", "panicked: "), ("panic-payload-drops-panic", "panicked: ")] {
        let finished = run(how, "").exits(4);
        assert!(finished.stderr.contains("plugin `example`, `compute` of metric `example/misbehave`"), "{how}: {}", finished.stderr);
        assert!(finished.stderr.contains(message), "{how}: {}", finished.stderr);
        assert!(finished.stderr.contains("it is not called any more, because this plugin has panicked before in this process"), "{how}: {}", finished.stderr);
    }
}

#[test]
fn a_panic_in_the_constructor_is_a_mistake_of_its_item() {
    let finished = run("panic-in-build", "").exits(2);
    assert!(finished.stderr.contains("cannot set up metric `example/misbehave`"), "{}", finished.stderr);
    assert!(finished.stderr.contains("panicked on request when created"), "{}", finished.stderr);
}

#[test]
fn what_a_plugin_prints_does_not_reach_the_results() {
    let scene = Run::new();
    let file = scene.file(&run_file(&scene, "stdout", ""));
    let finished = Finished::of(lmprobe(&["run", &file, "--json", "--out"]).arg(scene.path().join("out"))).exits(0);
    finished.json();
    assert!(finished.stderr.contains("printed on request"), "{}", finished.stderr);
}

#[test]
fn the_last_line_of_a_crash_names_the_plugin() {
    let blame = "lmprobe crashed inside plugin `example`, `compute` of metric `example/misbehave`; with `isolation: process` such a crash fails its job only";
    for how in ["segfault", "abort", "stack-overflow"] {
        let finished = run(how, "");
        assert_eq!(finished.code, None, "{how} ends by a signal: {}", finished.stderr);
        assert!(finished.stderr.lines().last().is_some_and(|line| line.contains(blame)), "{how}: {}", finished.stderr);
    }
    let finished = run("exit", "");
    assert_eq!(finished.code, Some(1), "a plugin cannot end the program as if all were well: {}", finished.stderr);
    assert!(finished.stderr.contains(blame), "{}", finished.stderr);
}
