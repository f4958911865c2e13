//! A whole run on a tiny model: tables, exit codes, resuming, stopping.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::program::{Finished, fixtures, lmprobe};

/// A folder with a run file on the tiny model and the small set of facts.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let (model, data) = (fixtures().join("bert/tiny-mlm"), repository.join("data/minibio"));
        let text = format!(
            "name: demo\nencoders:\n  - {model}\ntasks:\n  - {{use: cloze, name: facts, path: {data}/facts.csv, templates: {data}/prompts.csv}}\n\
             probers: [fill-mask, contrastive]\nmetrics: [acc@1, acc@10, mrr]\n{more}",
            model = model.display(),
            data = data.display(),
        );
        std::fs::write(folder.path().join("run.yaml"), text).expect("the run file can be written");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn lmprobe(&self, arguments: &[&str]) -> Finished {
        Finished::of(lmprobe(arguments).current_dir(self.path()))
    }
}

/// Trains long enough to be stopped.
fn training() -> String {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/minibio/rewire.txt");
    format!("adapt:\n  - {{use: contrastive, name: rewired, corpus: {}, steps: 100000, batch_size: 8}}\n", corpus.display())
}

#[test]
fn a_run_prints_its_scores_and_writes_the_same_ones() {
    let workspace = Workspace::new("");
    let finished = workspace.lmprobe(&["run", "run.yaml"]).exits(0);
    assert!(finished.stdout.contains("demo / facts: micro, n = "), "{}", finished.stdout);
    assert!(finished.stdout.contains("tiny-mlm"), "{}", finished.stdout);
    assert!(finished.stdout.contains("acc@10 (%)"), "{}", finished.stdout);
    assert!(finished.stdout.contains("(baseline)"), "{}", finished.stdout);
    assert!(finished.stderr.contains("scores.parquet"), "{}", finished.stderr);
    assert_eq!(workspace.lmprobe(&["results", "runs/demo"]).exits(0).stdout, finished.stdout);
    let again = workspace.lmprobe(&["run", "run.yaml"]).exits(0);
    assert_eq!(again.stdout, finished.stdout);
    assert!(again.stderr.contains("finished by an earlier run"), "{}", again.stderr);
    let plan = workspace.lmprobe(&["plan", "run.yaml", "--json"]).exits(0).json();
    assert!(plan["jobs"].as_array().expect("jobs").iter().all(|job| job["done"] == true), "{plan}");
}

#[test]
fn results_come_in_every_format() {
    let workspace = Workspace::new("");
    workspace.lmprobe(&["-q", "run", "run.yaml", "--out", "here"]).exits(0);
    let markdown = workspace.lmprobe(&["results", "here", "--format", "markdown", "--metric", "acc@1"]).exits(0).stdout;
    assert!(markdown.contains("| encoder | prober |") && !markdown.contains("acc@10"), "{markdown}");
    let json = workspace.lmprobe(&["results", "here", "--format", "json", "--aggregate", "macro"]).exits(0).json();
    assert!(json.as_array().expect("rows").iter().all(|row| row["aggregate"] == "macro" && row["value"].as_f64().expect("a number") <= 1.0));
    let csv = workspace.lmprobe(&["results", "here", "here", "--format", "csv"]).exits(0).stdout;
    assert!(csv.starts_with("run,job_id,encoder,"), "{csv}");
    assert!(workspace.lmprobe(&["results", "here", "--aggregate", "relation"]).exits(0).stdout.contains("relation"));
    for format in ["table", "csv"] {
        let none = workspace.lmprobe(&["results", "here", "--aggregate", "label", "--format", format]).exits(2);
        assert!(none.stderr.contains("no score here has the aggregate `label`; with --aggregate there are macro, micro, relation"), "{}", none.stderr);
    }
    let means = workspace.lmprobe(&["results", "here", "--aggregate", "macro"]).exits(0).stdout;
    assert!(means.contains("demo / facts: macro, over ") && means.contains("relation"), "{means}");
    let unknown = workspace.lmprobe(&["results", "here", "--metric", "acc@7"]).exits(2);
    assert!(unknown.stderr.contains("acc@10"), "{}", unknown.stderr);
}

#[test]
fn json_is_one_object_and_quiet_is_quiet() {
    let workspace = Workspace::new("");
    let finished = workspace.lmprobe(&["-q", "run", "run.yaml", "--json"]).exits(0);
    assert_eq!(finished.stderr, "");
    let json = finished.json();
    assert_eq!(json["jobs"]["failed"], 0);
    assert!(json["scores"].as_array().expect("rows").iter().any(|row| row["aggregate"] == "micro"));
}

#[test]
fn a_limited_run_is_marked_everywhere() {
    let workspace = Workspace::new("");
    let finished = workspace.lmprobe(&["run", "run.yaml", "--limit", "2"]).exits(0);
    assert!(finished.stderr.contains("FOR TESTING ONLY"), "{}", finished.stderr);
    assert!(finished.stdout.contains("--limit 2: FOR TESTING ONLY"), "{}", finished.stdout);
}

#[test]
fn looking_makes_no_folder() {
    let workspace = Workspace::new("");
    let planned = workspace.lmprobe(&["plan", "run.yaml"]).exits(0);
    assert!(planned.stdout.contains("to do"), "{}", planned.stdout);
    assert_eq!(workspace.lmprobe(&["run", "run.yaml", "--dry-run"]).exits(0).stdout, planned.stdout);
    assert!(workspace.lmprobe(&["validate", "run.yaml"]).exits(0).stdout.starts_with("run.yaml: valid: 1 encoder, 1 task, 2 probers, "));
    assert!(!workspace.path().join("runs").exists());
}

#[test]
fn threads_change_no_number() {
    let workspace = Workspace::new("");
    let one = workspace.lmprobe(&["run", "run.yaml", "--threads", "1", "--out", "one"]).exits(0).stdout;
    assert_eq!(workspace.lmprobe(&["run", "run.yaml", "--threads", "2", "--out", "two"]).exits(0).stdout, one);
    let manifest = std::fs::read_to_string(workspace.path().join("one/manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["threads"], 1);
}

#[test]
fn a_task_that_cannot_be_read_fails_its_jobs_only() {
    let workspace = Workspace::new("");
    std::fs::write(workspace.path().join("bad.csv"), "subject,relation\naspirin,treats\n").expect("a file");
    let prompts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/minibio/prompts.csv");
    let task = format!("tasks=[{{use: cloze, path: bad.csv, templates: {}}}]", prompts.display());
    let finished = workspace.lmprobe(&["run", "run.yaml", "--set", &task]).exits(4);
    assert!(finished.stderr.contains("failed; the others are saved"), "{}", finished.stderr);
}

#[cfg(unix)]
#[test]
fn a_stopped_run_says_so_and_can_go_on() {
    for (signal, code) in [("INT", 130), ("TERM", 75), ("USR1", 75)] {
        let workspace = Workspace::new(&training());
        let mut child =
            lmprobe(&["run", "run.yaml"]).current_dir(workspace.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            said += &line.expect("UTF-8");
            if said.contains("rewired") {
                break;
            }
        }
        let killed = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        said.extend(lines.map(|line| line.expect("UTF-8") + "\n"));
        assert_eq!(child.wait().expect("the program ends").code(), Some(code), "{said}");
        assert!(said.contains("the same command goes on from here"), "{said}");
    }
}

#[test]
fn a_second_run_on_the_same_folder_is_refused() {
    let workspace = Workspace::new(&training());
    let mut child =
        lmprobe(&["run", "run.yaml"]).current_dir(workspace.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("UTF-8").contains("rewired")));
    let second = workspace.lmprobe(&["run", "run.yaml"]);
    child.kill().expect("the program can be stopped");
    child.wait().expect("the program ends");
    assert!(second.exits(2).stderr.contains("another lmprobe process"));
}

#[test]
fn an_instruction_set_that_does_not_exist_is_refused() {
    let workspace = Workspace::new("");
    let finished = Finished::of(lmprobe(&["run", "run.yaml"]).current_dir(workspace.path()).env("LMPROBE_SIMD", "avx1024"));
    assert!(finished.exits(2).stderr.contains("avx1024"));
}
