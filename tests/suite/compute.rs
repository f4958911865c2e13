//! `dtype` and `device`: chosen in the run file, decided by the machine, part of a job's identity, and written beside every number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::array_files::{parquet, safetensors};
use crate::embed::tiny;
use crate::program::{Finished, fixtures, lmprobe, run};

/// Whether `auto` is `bf16` on this machine.
fn is_native() -> bool {
    run(&["doctor", "--json"]).exits(0).json()["bfloat16"].as_str().expect("a text").starts_with("native")
}

/// A folder with a run file whose only encoder has more parameters.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `lmprobe COMMAND run.yaml` with more arguments, which are split at blanks.
    fn lmprobe(&self, command: &str, encoder: &str, more: &str) -> Finished {
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/minibio");
        let text = format!(
            "name: demo\nencoders:\n  - {{use: bert, name: tiny, model: {model}{encoder}}}\n\
             tasks:\n  - {{use: cloze, name: facts, path: {data}/facts.csv, templates: {data}/prompts.csv}}\n\
             probers: [fill-mask, contrastive]\nmetrics: [acc@1, mrr]\n",
            model = tiny("tiny-mlm"),
            data = data.display(),
        );
        std::fs::write(self.path().join("run.yaml"), text).expect("the run file can be written");
        let arguments: Vec<&str> = [command, "run.yaml"].into_iter().chain(more.split_whitespace()).collect();
        Finished::of(lmprobe(&arguments).current_dir(self.path()))
    }

    /// The job ids of cells with an encoder, by prober.
    fn ids(&self, encoder: &str) -> BTreeMap<String, (String, Value)> {
        let plan = self.lmprobe("plan", encoder, "--json").exits(0).json();
        let jobs = plan["jobs"].as_array().expect("jobs").iter().filter(|job| job["encoder"] == "tiny");
        jobs.map(|job| (job["prober"].as_str().expect("a prober").to_owned(), (job["id"].as_str().expect("an id").to_owned(), job["dtype"].clone()))).collect()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join(name)).expect("a file")).expect("JSON")
    }
}

#[test]
fn runs_in_two_dtypes_never_share_a_job() {
    let workspace = Workspace::new();
    let (unsaid, f32, bf16, auto) = (workspace.ids(""), workspace.ids(", dtype: f32"), workspace.ids(", dtype: bf16"), workspace.ids(", dtype: auto"));
    assert_eq!(unsaid.len(), 2);
    assert_eq!(unsaid, f32, "f32 is the default");
    for prober in ["fill-mask", "contrastive"] {
        assert_ne!(f32[prober].0, bf16[prober].0);
        assert_eq!((&f32[prober].1, &bf16[prober].1), (&"f32".into(), &"bf16".into()));
    }
    assert_eq!(auto, if is_native() { bf16 } else { f32.clone() }, "`auto` is the dtype it comes to");
    let elsewhere = Finished::of(lmprobe(&["plan", "run.yaml", "--json"]).current_dir(workspace.path()).env("LMPROBE_SIMD", "portable")).exits(0).json();
    let elsewhere = elsewhere["jobs"].as_array().expect("jobs").iter().find(|job| job["prober"] == "fill-mask").expect("a job").clone();
    assert_eq!(elsewhere["id"], f32["fill-mask"].0.as_str(), "`auto` on a processor without bfloat16 is f32");
}

#[test]
fn a_run_in_bf16_gives_nearly_the_same_scores_and_says_what_it_did() {
    let workspace = Workspace::new();
    workspace.lmprobe("run", "", "--out runs/f32").exits(0);
    workspace.lmprobe("run", ", dtype: bf16", "--out runs/bf16").exits(0);
    let [f32, bf16] = ["f32", "bf16"].map(|name| workspace.json(&format!("runs/{name}/manifest.json")));
    for (manifest, dtype) in [(&f32, "f32"), (&bf16, "bf16")] {
        let encoder = &manifest["resolved"]["encoders"][0];
        assert_eq!((&encoder["info"]["dtype"], &encoder["component"]["params"]["dtype"]), (&dtype.into(), &dtype.into()));
    }
    let file = |folder: &str| {
        let folder = workspace.path().join("runs").join(folder).join("predictions");
        let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        parquet(&names.filter(|path| path.to_string_lossy().contains("fill-mask")).min().expect("predictions"))
    };
    let [exact, rounded] = ["f32", "bf16"].map(file);
    let scores = |frame: &polars::prelude::DataFrame| -> Vec<f64> {
        frame.column("scores").expect("scores").list().expect("lists").get_inner().f64().expect("numbers").iter().flatten().collect()
    };
    let (exact, rounded) = (scores(&exact), scores(&rounded));
    assert_eq!(exact.len(), rounded.len());
    let worst = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max);
    assert!(worst > 1e-6 && worst < 0.05, "rounding to 8 bits changes the scores, and little: {worst}");
}

#[test]
fn auto_never_reaches_a_record() {
    let workspace = Workspace::new();
    workspace.lmprobe("run", ", dtype: auto", "--limit 2").exits(0);
    let encoder = &workspace.json("runs/demo/manifest.json")["resolved"]["encoders"][0];
    let expected = if is_native() { "bf16" } else { "f32" };
    assert_eq!((&encoder["info"]["dtype"], &encoder["component"]["params"]["dtype"]), (&expected.into(), &expected.into()));
}

#[test]
fn plan_and_validate_tell_what_is_not_f32() {
    let workspace = Workspace::new();
    let line = "encoder `tiny` computes in bf16\n";
    for command in ["plan", "validate"] {
        assert!(workspace.lmprobe(command, ", dtype: bf16", "").exits(0).stdout.contains(line));
        assert!(!workspace.lmprobe(command, "", "").exits(0).stdout.contains("computes in"));
    }
    assert_eq!(workspace.lmprobe("validate", ", dtype: bf16", "--json").exits(0).json()["encoders"][0]["dtype"], "bf16");
}

#[test]
fn a_training_in_bf16_is_another_one_than_in_f32() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/minibio/rewire.txt");
    let adapt = format!("adapt=[{{use: contrastive, corpus: {}, steps: 2, batch_size: 8}}]", corpus.display());
    let losses = |dtype: &str| -> Vec<f64> {
        let workspace = Workspace::new();
        workspace.lmprobe("validate", &format!(", dtype: {dtype}"), "").exits(0);
        Finished::of(lmprobe(&["run", "run.yaml", "--set", &adapt]).current_dir(workspace.path())).exits(0);
        let mut tables = std::fs::read_dir(workspace.path().join("runs/demo/training")).expect("a folder");
        let table = parquet(&tables.next().expect("a table").expect("an entry").path());
        table.column("loss").expect("a loss").f64().expect("floats").iter().flatten().collect()
    };
    let (exact, rounded) = (losses("f32"), losses("bf16"));
    assert_eq!((exact.len(), rounded.len()), (2, 2));
    for (exact, rounded) in exact.iter().zip(&rounded) {
        assert!(exact.to_bits() != rounded.to_bits() && (exact - rounded).abs() < 0.05 * exact, "{exact} and {rounded}");
    }
}

#[test]
fn embed_computes_in_what_it_is_told_and_writes_it_down() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path().join("texts.txt"), "fever\nThe drug may treat [MASK] .\n").expect("a file");
    let embed = |more: &str| {
        let model = tiny("tiny-mlm");
        let arguments: Vec<&str> = ["embed", &model, "texts.txt", "-o", "out.safetensors", "--force"].into_iter().chain(more.split_whitespace()).collect();
        Finished::of(lmprobe(&arguments).current_dir(workspace.path())).exits(0);
        let (tensors, metadata) = safetensors(&workspace.path().join("out.safetensors"));
        assert_eq!(metadata["dtype"], workspace.json("out.safetensors.json")["dtype"]);
        let values: Vec<f32> = tensors["embeddings"].f32_bits().into_iter().map(f32::from_bits).collect();
        (workspace.json("out.safetensors.json")["dtype"].clone(), values)
    };
    let (unsaid, f32, bf16, auto) = (embed(""), embed("--dtype f32"), embed("--dtype bf16"), embed("--dtype auto"));
    assert_eq!(unsaid, f32);
    assert_eq!((&f32.0, &bf16.0), (&"f32".into(), &"bf16".into()));
    let worst = f32.1.iter().zip(&bf16.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst > 1e-6 && worst < 0.05, "{worst}");
    assert_eq!(auto, if is_native() { bf16.clone() } else { f32 });
    assert_eq!(embed("--param dtype=f32 --dtype bf16"), bf16, "the option outranks the parameter");
    assert_eq!(embed("--param dtype=bf16"), bf16);
}

#[test]
fn fill_mask_computes_in_what_it_is_told() {
    let fill = |more: &[&str]| {
        let model = tiny("tiny-mlm");
        let arguments: Vec<&str> = ["fill-mask", &model, "The drug may treat [MASK] .", "--json"].into_iter().chain(more.iter().copied()).collect();
        run(&arguments).exits(0).json()["masks"][0]["predictions"][0]["log_probability"].as_f64().expect("a number")
    };
    let (f32, bf16) = (fill(&[]), fill(&["--dtype", "bf16"]));
    assert!(f32 != bf16 && (f32 - bf16).abs() < 0.05, "{f32} {bf16}");
    assert_eq!(fill(&["--dtype", "f32"]), f32);
    let refused = run(&["fill-mask", &tiny("tiny-mlm"), "[MASK]", "--dtype", "f16"]).exits(2).stderr;
    assert!(refused.contains("f32, bf16, auto"), "{refused}");
}

#[test]
fn every_built_in_encoder_takes_it() {
    for (family, model) in [
        ("bert", "bert/tiny-mlm"),
        ("biobert", "bert/tiny-mlm"),
        ("linkbert", "bert/tiny-mlm"),
        ("distilbert", "encoders/distilbert-mlm"),
        ("roberta", "encoders/roberta-mlm"),
        ("gpt2", "encoders/gpt2-lm"),
        ("biogpt", "encoders/biogpt-lm"),
    ] {
        let model = fixtures().join(model);
        let described = |dtype: &str| {
            let param = format!("dtype={dtype}");
            run(&["describe", "model", model.to_str().expect("UTF-8"), "--encoder", family, "--param", &param, "--json"]).exits(0).json()["dtype"].clone()
        };
        assert_eq!((described("f32"), described("bf16")), ("f32".into(), "bf16".into()), "{family}");
    }
}

/// `cuda` and `metal` in a program that was built without them.
#[cfg(not(any(feature = "cuda", feature = "metal")))]
#[test]
fn a_device_that_was_not_built_in_has_an_exit_code_of_its_own() {
    let workspace = Workspace::new();
    for (device, feature) in [("cuda", "cuda"), ("cuda:1", "cuda"), ("metal", "metal")] {
        for command in ["run", "validate", "plan"] {
            let said = workspace.lmprobe(command, &format!(", device: {device}"), "").exits(6).stderr;
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(&format!("`device: {device}`: built without the feature `{feature}`")), "{said}");
            assert!(said.contains(&format!("`cargo install --path . --features {feature}` adds it")), "{said}");
            assert!(said.contains("run.yaml:3:5"), "{said}");
        }
    }
    let model = tiny("tiny-mlm");
    let said = run(&["fill-mask", &model, "[MASK]", "--param", "device=cuda"]).exits(6).stderr;
    assert!(said.contains("--features cuda"), "{said}");
    // Another mistake beside it can be mended in the file.
    workspace.lmprobe("validate", ", device: cuda", "--set seeds=[]").exits(2);
}

#[test]
fn the_device_is_part_of_a_job() {
    let workspace = Workspace::new();
    assert_eq!(workspace.ids(", device: cpu"), workspace.ids(""));
    workspace.lmprobe("run", "", "--limit 2").exits(0);
    assert_eq!(workspace.json("runs/demo/manifest.json")["resolved"]["encoders"][0]["component"]["params"]["device"], "cpu");
}
