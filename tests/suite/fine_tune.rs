//! Fine-tuning from a run file to scores, checkpoints and the files of the published programs.
#![expect(clippy::unwrap_used, reason = "a run that leaves no table has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lmprobe_core::polars::prelude::{DataFrame, ParquetReader, SerReader};

use crate::program::{Finished, fixtures, lmprobe, run};

fn tiny(name: &str) -> String {
    fixtures().join("fine-tune").join(name).to_str().unwrap().to_owned()
}

/// A curve on the tiny tagger's sentences: the first half is learned from, the second asked.
fn curve(folder: &Path) -> PathBuf {
    let sentences: Vec<String> = fs::read_to_string(tiny("ner/train.tsv")).unwrap().trim().split("\n\n").map(|sentence| format!("{sentence}\n\n")).collect();
    let (asked, learned) = sentences.split_at(4);
    fs::write(folder.join("train.tsv"), learned.concat()).unwrap();
    fs::write(folder.join("test.tsv"), asked.concat()).unwrap();
    let path = folder.join("curve.yaml");
    let model = tiny("cases/token-classification/bert/model");
    let text = format!(
        "seeds: [1, 2]\nencoders: [{{use: bert, name: tiny, model: \"{model}\"}}]\n\
         adapt: [{{use: fine-tune, name: tuned, training_size: [0, 50, 100], epochs: 3, batch_size: 2, learning_rate: 1e-3, checkpoint: last, patience: ~}}]\n\
         tasks: [{{use: ner, name: words, train: train.tsv, test: test.tsv}}]\nmetrics: [entity-f1, accuracy]\noutput: {{dir: out, formats: [parquet, csv]}}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

fn frame(path: &Path) -> DataFrame {
    ParquetReader::new(fs::File::open(path).unwrap()).finish().unwrap()
}

fn texts(frame: &DataFrame, name: &str) -> Vec<String> {
    frame.column(name).unwrap().str().unwrap().iter().map(|cell| cell.unwrap_or_default().to_owned()).collect()
}

fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.to_str().unwrap().contains(part)).collect();
    found.sort();
    found
}

#[test]
fn a_learning_curve_from_run_file_to_scores() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    let out = folder.path().join("out");
    let first = run(&["run", path.to_str().unwrap()]).exits(0);
    let scores = frame(&out.join("scores.parquet"));
    let sizes: BTreeSet<String> =
        scores.column("training_size").unwrap().f64().unwrap().iter().map(|size| size.map_or_else(|| "baseline".to_owned(), |size| size.to_string())).collect();
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), ["0", "100", "50", "baseline"]);
    let metrics: BTreeSet<String> = texts(&scores, "metric").into_iter().collect();
    assert!(["entity-f1", "entity-precision", "entity-recall", "accuracy"].iter().all(|metric| metrics.contains(*metric)), "{metrics:?}");
    assert!(texts(&scores, "prober").iter().any(|prober| prober == "majority"));
    assert!(first.stdout.contains("tiny+tuned-100") && first.stdout.contains("(baseline)"), "{}", first.stdout);

    // Smaller shares lie within larger ones, and nothing that is asked was learned.
    let ids = |size: &str, seed: &str| -> BTreeSet<String> {
        let path = files(&out.join("subsets"), &format!("tuned-{size}-seed-{seed}.")).into_iter().find(|path| path.extension().unwrap() == "parquet").unwrap();
        texts(&frame(&path), "example_id").into_iter().collect()
    };
    for seed in ["1", "2"] {
        let [none, half, all] = ["0", "50", "100"].map(|size| ids(size, seed));
        assert_eq!((none.len(), half.len(), all.len()), (0, 3, 6));
        assert!(half.is_subset(&all));
    }

    // Nothing is computed twice, and nothing changes.
    let before = fs::read(out.join("scores.parquet")).unwrap();
    let again = run(&["run", path.to_str().unwrap(), "--json"]).exits(0).json();
    assert_eq!((&again["jobs"]["done"], &again["jobs"]["failed"]), (&0.into(), &0.into()));
    assert_eq!(fs::read(out.join("scores.parquet")).unwrap(), before);
}

#[test]
fn a_training_under_a_limit_leaves_out_all_that_will_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    let (train, test) = (folder.path().join("train.tsv"), folder.path().join("test.tsv"));
    let last = fs::read_to_string(&test).unwrap().trim().split("\n\n").last().unwrap().to_owned();
    fs::write(&train, format!("{}{last}\n\n", fs::read_to_string(&train).unwrap())).unwrap();
    let only = fs::read_to_string(&path).unwrap().replace("[0, 50, 100]", "100").replace("[1, 2]", "[1]");
    fs::write(&path, only).unwrap();
    // The limit hides the sentence that is also learned from; the training is the same job without the limit.
    run(&["run", path.to_str().unwrap(), "--limit", "1"]).exits(0);
    let subset = files(&folder.path().join("out/subsets"), ".parquet").remove(0);
    assert_eq!(frame(&subset).height(), 6, "of 7 sentences one is also asked");
    let full = run(&["run", path.to_str().unwrap(), "--json"]).exits(0).json();
    assert_eq!(full["jobs"]["reused"], 1, "{}", full["jobs"]);
}

#[test]
fn predictions_in_the_files_of_the_original_have_the_same_score() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    run(&["run", path.to_str().unwrap()]).exits(0);
    let (out, originals) = (folder.path().join("out"), folder.path().join("originals"));
    let listed = run(&["results", out.to_str().unwrap(), "--originals", originals.to_str().unwrap()]).exits(0).stdout;
    assert!(listed.lines().all(|line| Path::new(line).is_file()), "{listed}");
    // Nothing is replaced unasked, and nothing written beside what is there.
    let (kept, gone) = (listed.lines().last().unwrap(), listed.lines().next().unwrap());
    std::fs::write(kept, "kept").unwrap();
    std::fs::remove_file(gone).unwrap();
    let again = ["results", out.to_str().unwrap(), "--originals", originals.to_str().unwrap(), "--force"];
    let refused = run(&again[..4]).exits(2).stderr;
    assert!(refused.contains(" is there already; --force replaces it"), "{refused}");
    assert!(std::fs::read_to_string(kept).unwrap() == "kept" && !Path::new(gone).exists());
    assert_eq!(run(&again).exits(0).stdout, listed);
    let elsewhere = folder.path().join("elsewhere");
    let twice = run(&["results", out.to_str().unwrap(), out.to_str().unwrap(), "--originals", elsewhere.to_str().unwrap()]).exits(2).stderr;
    assert!(twice.contains("two of these runs would write ") && !elsewhere.exists(), "{twice}");
    let job = files(&originals, "tuned-100-words-task-head-seed-1").remove(0);
    let conll = run(&["score", "conll", job.join("NER_result_conll.txt").to_str().unwrap()]).exits(0).stdout;
    let scores = frame(&out.join("scores.parquet"));
    let value = |metric: &str| {
        let (metrics, aggregates, adapt) = (texts(&scores, "metric"), texts(&scores, "aggregate"), texts(&scores, "adapt"));
        let seeds: Vec<Option<u64>> = scores.column("seed").unwrap().u64().unwrap().iter().collect();
        let row =
            (0..metrics.len()).find(|&row| metrics[row] == metric && aggregates[row] == "micro" && adapt[row] == "tuned-100" && seeds[row] == Some(1)).unwrap();
        scores.column("value").unwrap().f64().unwrap().get(row).unwrap() * 100.0
    };
    let expected = format!("precision: {:6.2}%; recall: {:6.2}%; FB1: {:6.2}", value("entity-precision"), value("entity-recall"), value("entity-f1"));
    assert!(conll.contains(&expected), "{conll} has not {expected}");
    // The pieces and their labels, put together again, are the same words and tags.
    let gold = folder.path().join("test.tsv");
    let arguments = [
        "score",
        "ner",
        "--tokens",
        job.join("token_test.txt").to_str().unwrap(),
        "--labels",
        job.join("label_test.txt").to_str().unwrap(),
        "--gold",
        gold.to_str().unwrap(),
    ]
    .map(str::to_owned);
    let detokenized = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exits(0).stdout;
    assert!(detokenized.contains(&expected), "{detokenized} has not {expected}");
}

#[test]
fn a_checkpoint_is_an_encoder_with_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    run(&["run", path.to_str().unwrap()]).exits(0);
    let out = folder.path().join("out");
    let checkpoint = files(&out.join("checkpoints"), "").into_iter().map(|job| job.join("final")).find(|path| path.join("config.json").is_file()).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(checkpoint.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"], serde_json::json!(["BertForTokenClassification"]));
    assert_eq!(config["lmprobe"]["problem"], "token-classification");
    let text = format!(
        "encoders: [{{use: bert, name: stored, model: \"{}\"}}]\nprobers: [task-head]\ntasks: [{{use: ner, name: words, train: train.tsv, test: test.tsv}}]\noutput: {{dir: again}}\n",
        checkpoint.display()
    );
    fs::write(folder.path().join("again.yaml"), text).unwrap();
    let again = run(&["run", folder.path().join("again.yaml").to_str().unwrap()]).exits(0);
    assert!(again.stdout.contains("stored"), "{}", again.stdout);
    let predicted = run(&["predict", checkpoint.to_str().unwrap(), folder.path().join("test.tsv").to_str().unwrap(), "--format", "conll"]).exits(0).stdout;
    let tables = files(&folder.path().join("again/predictions"), "stored");
    let tags = lmprobe_core::table::text_lists(&frame(&tables[0]), "predictions").unwrap().concat();
    let found: Vec<&str> = predicted.lines().filter_map(|line| line.split('\t').nth(1)).collect();
    assert_eq!(found, tags);
}

#[test]
fn a_training_that_is_stopped_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    let long = fs::read_to_string(&path).unwrap().replace("[0, 50, 100], epochs: 3", "100, epochs: 1500").replace("[1, 2]", "[1]");
    fs::write(&path, long).unwrap();
    let weights = |out: &str| {
        let folder = folder.path().join(out);
        let finals: Vec<PathBuf> = files(&folder.join("checkpoints"), "").into_iter().map(|job| job.join("final/model.safetensors")).collect();
        fs::read(&finals[0]).unwrap()
    };
    run(&["run", path.to_str().unwrap(), "--out", folder.path().join("whole").to_str().unwrap()]).exits(0);
    let out = folder.path().join("parts");
    let arguments = ["run", path.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut stops = 0;
    loop {
        let mut child = lmprobe(&arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300 + 50 * stops));
        let _ = Finished::of(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]));
        match child.wait().unwrap().code() {
            Some(0) => break,
            Some(75) => stops += 1,
            other => panic!("exit code {other:?}"),
        }
        assert!(stops < 500, "it never ends");
    }
    assert!(stops > 0, "1500 epochs were over before the first stop");
    assert!(weights("parts") == weights("whole"), "{stops} stops changed the weights");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// The folder of the only training in a run folder, below `checkpoints`.
fn training(out: &Path) -> PathBuf {
    files(&out.join("checkpoints"), "").remove(0)
}

#[test]
fn a_training_killed_at_its_end_is_finished_whenever_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    let long = fs::read_to_string(&path).unwrap().replace("[0, 50, 100], epochs: 3", "100, epochs: 1500").replace("[1, 2]", "[1]");
    fs::write(&path, long.replace("checkpoint: last", "checkpoint: best")).unwrap();
    let start = |out: &Path| lmprobe(&["run", path.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    let whole = folder.path().join("whole");
    Finished::of(&mut start(&whole)).exits(0);
    assert_eq!(files(&training(&whole), "").len(), 1, "the final model alone");

    // A training that was stopped has what one that is killed at its end has too.
    let parts = folder.path().join("parts");
    let left = |out: &Path, part: &str| if out.join("checkpoints").is_dir() { files(&training(out), part) } else { Vec::new() };
    while left(&parts, "state-").is_empty() || left(&parts, "best").is_empty() {
        let mut child = start(&parts).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let _ = Finished::of(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]));
        assert_eq!(child.wait().unwrap().code(), Some(75), "1500 epochs were over before the first stop");
    }
    let (state, best) = (left(&parts, "state-").remove(0), left(&parts, "best").remove(0));
    let name = training(&whole).file_name().unwrap().to_owned();
    let record = |out: &Path| out.join("jobs").join(&name).join("job.json");

    // Which of the state, the best weights and the record are there beside the final model, and what else.
    for (number, (has_state, has_best, has_record, temporary)) in [
        (true, true, false, None),
        (false, false, false, None),
        (true, true, true, None),
        (false, true, true, Some(".tmp-checkpoint")),
        (false, true, true, None),
        (false, false, true, Some(".tmp-checkpoint")),
        (true, true, false, Some(".tmp-replaced")),
    ]
    .into_iter()
    .enumerate()
    {
        let out = folder.path().join(format!("killed-{number}"));
        copy(&whole, &out);
        let checkpoints = training(&out);
        if has_state {
            copy(&state, &checkpoints.join(state.file_name().unwrap()));
        }
        if has_best {
            copy(&best, &checkpoints.join("best"));
        }
        if !has_record {
            fs::remove_dir_all(out.join("jobs").join(&name)).unwrap();
        }
        if let Some(temporary) = temporary {
            copy(&best, &checkpoints.join(temporary));
        }
        Finished::of(&mut start(&out)).exits(0);
        assert!(record(&out).is_file(), "{number}");
        let left: Vec<PathBuf> = files(&checkpoints, "").into_iter().filter(|path| !path.ends_with("final")).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{number}");
        let weights = |out: &Path| fs::read(training(out).join("final/model.safetensors")).unwrap();
        assert!(weights(&out) == weights(&whole), "{number}: other weights");
        for table in ["training", "evaluations"] {
            let of = |out: &Path| frame(&out.join("jobs").join(&name).join(format!("{table}.parquet")));
            assert!(of(&out).equals(&of(&whole)), "{number}: another table `{table}`");
        }
    }
}

#[test]
fn a_training_of_which_nothing_is_left_fails_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = curve(folder.path());
    fs::copy(folder.path().join("test.tsv"), folder.path().join("train.tsv")).unwrap();
    let only = fs::read_to_string(&path).unwrap().replace("[0, 50, 100]", "100").replace("[1, 2]", "[1]");
    fs::write(&path, only).unwrap();
    let failed = lmprobe(&["run", path.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_ne!(failed.status.code(), Some(0), "{said}");
    let why = "none of 4 training examples is left to learn from: 4 of 4 training examples are also among those asked and were left out";
    assert!(said.contains(why), "{said}");
    // Without a training split it is a mistake of the run file.
    let without = fs::read_to_string(&path).unwrap().replace("train: train.tsv, ", "");
    fs::write(&path, without).unwrap();
    let refused = run(&["validate", path.to_str().unwrap()]).exits(2);
    assert!(refused.stderr.contains("learns from task `words`, which has no training split"), "{}", refused.stderr);
}
