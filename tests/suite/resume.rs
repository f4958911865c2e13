//! Runs that survive: killed at any moment, or run with another number of threads, they leave the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::program::{Finished, fixtures, lmprobe};

/// A run that trains with dropout and checkpoints, then probes before and after.
fn run_file(folder: &Path) -> PathBuf {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/minibio");
    let path = folder.join("run.yaml");
    let text = format!(
        "name: small\nseeds: [7]\nencoders:\n  - {model}\nadapt:\n  - none\n  - {{use: contrastive, name: rewired, corpus: {data}/rewire.txt, steps: 40, batch_size: 24, checkpoint_every: 5}}\n\
         \x20 - {{use: masked-lm, name: further, corpus: {data}/rewire.txt, steps: 30, batch_size: 16, gradient_accumulation: 2, checkpoint_every: 7}}\n\
         tasks:\n  - {{use: cloze, name: facts, path: {data}/facts.csv, templates: {data}/prompts.csv}}\nprobers: [fill-mask, contrastive]\n\
         metrics: [acc@1, mrr]\noutput: {{dir: unused, formats: [parquet, csv, ipc]}}\n",
        model = fixtures().join("bert/tiny-mlm").display(),
        data = data.display(),
    );
    std::fs::write(&path, text).expect("the run file can be written");
    path
}

fn start(run: &Path, out: &Path, threads: &str) -> Child {
    let arguments = ["run", run.to_str().expect("UTF-8"), "--out", out.to_str().expect("UTF-8"), "--threads", threads];
    lmprobe(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

fn finish(run: &Path, out: &Path, threads: &str) {
    Finished::of(&mut lmprobe(&["run", run.to_str().expect("UTF-8"), "--out", out.to_str().expect("UTF-8"), "--threads", threads])).exits(0);
}

/// Every file that is a result: tables and checkpoints, by path. Times stand in the manifest and the job records alone.
fn results(out: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            if path.is_dir() {
                collect(root, &path, found);
            } else if !name.ends_with("job.json") && name != "manifest.json" && name != ".lock" {
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(out, out, &mut found);
    found
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let differing: Vec<_> = expected.iter().filter(|(name, bytes)| found[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "these files differ: {differing:?}");
}

#[test]
fn a_run_killed_twenty_times_leaves_the_bytes_of_one_that_was_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run_file(folder.path());
    let clock = Instant::now();
    finish(&run, &folder.path().join("whole"), "2");
    let mut whole_time = clock.elapsed();
    let expected = results(&folder.path().join("whole"));
    assert!(expected.keys().any(|name| name.starts_with("checkpoints/")) && expected.contains_key("scores.parquet"), "{:?}", expected.keys());

    // Moments spread over the whole run, drawn from a fixed stream: the kills fall into tables, checkpoints and steps alike. When a run
    // ends before its kill, the next one starts afresh in another folder.
    let mut random = lmprobe_core::Seed(20).random();
    let (mut kills, mut rounds) = (0, 0);
    while kills < 20 {
        let out = folder.path().join(format!("killed-{rounds}"));
        rounds += 1;
        let mut left = 5;
        while left > 0 && kills < 20 {
            let mut child = start(&run, &out, "2");
            let (clock, moment) = (Instant::now(), Duration::from_secs_f64(whole_time.as_secs_f64() * random.unit()));
            let mut ended = false;
            while clock.elapsed() < moment && !ended {
                std::thread::sleep(Duration::from_millis(2));
                ended = child.try_wait().expect("a process").is_some();
            }
            if ended {
                // A machine that has less to do than at first is faster: later moments are drawn from what a run takes now.
                whole_time = whole_time.min(clock.elapsed());
                break;
            }
            child.kill().expect("the process can be killed");
            child.wait().expect("the process ends");
            kills += 1;
            left -= 1;
        }
        finish(&run, &out, "2");
        assert_same(&results(&out), &expected);
        assert!(rounds < 60, "only {kills} kills in {rounds} runs");
    }
    println!("{kills} kills in {rounds} runs; a whole run takes {:.1} s", whole_time.as_secs_f64());
}

#[test]
fn one_and_two_threads_leave_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run_file(folder.path());
    for threads in ["1", "2"] {
        finish(&run, &folder.path().join(threads), threads);
    }
    assert_same(&results(&folder.path().join("2")), &results(&folder.path().join("1")));
}
