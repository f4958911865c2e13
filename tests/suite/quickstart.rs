//! The calibration model of `data/minibio`: what it was shown is known, so a prober's answer has a known truth.

use std::path::Path;

use serde_json::Value;

use crate::program::{Finished, lmprobe};

fn quickstart(out: &Path) -> Vec<Value> {
    let mut command = lmprobe(&["run", "data/runs/quickstart.yaml", "--json", "--out", out.to_str().expect("UTF-8")]);
    let finished = Finished::of(command.current_dir(env!("CARGO_MANIFEST_DIR"))).exits(0);
    finished.json()["scores"].as_array().expect("rows").clone()
}

/// The one row of a metric averaged over all questions.
fn row<'a>(rows: &'a [Value], task: &str, prober: &str, adapt: Option<&str>, metric: &str) -> &'a Value {
    let is = |row: &&Value| {
        row["task"] == task && row["prober"] == prober && row["adapt"].as_str() == adapt && row["metric"] == metric && row["aggregate"] == "micro"
    };
    let found: Vec<&Value> = rows.iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{task} {prober} {adapt:?} {metric}");
    found[0]
}

#[test]
fn fill_mask_tells_shown_facts_from_held_back_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = quickstart(folder.path());
    let value = |row: &Value, column: &str| row[column].as_f64().expect("a number");
    let shown = row(&rows, "shown", "fill-mask", Some("none"), "acc@1");
    assert!(value(shown, "value") >= 0.9, "shown facts: {shown}");
    let held_back = row(&rows, "held-back", "fill-mask", Some("none"), "acc@1");
    let prior = row(&rows, "held-back", "frequency-prior", None, "acc@1");
    assert!(value(held_back, "value") <= value(prior, "ci_high"), "held-back facts: {held_back}, prior: {prior}");
    for file in ["scores.parquet", "scores.csv", "manifest.json"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    assert!(folder.path().join("predictions").read_dir().expect("a folder").count() >= 10);
}
