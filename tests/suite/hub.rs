//! Models by hub id, from the cache. Downloads are tested where they are made, in `registry/hub`.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::program::{Finished, fixtures, lmprobe};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache as other software leaves it, with one model.
fn cache() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    let repo = home.path().join("hub/models--acme--tiny-bert");
    let snapshot = repo.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).expect("the cache is written");
    std::fs::create_dir_all(repo.join("refs")).expect("the cache is written");
    std::fs::write(repo.join("refs/main"), COMMIT).expect("the cache is written");
    for name in ["config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("bert/tiny-base").join(name), snapshot.join(name)).expect("the cache is written");
    }
    home
}

fn offline(arguments: &[&str], home: &Path, listener: &TcpListener) -> Command {
    let mut command = lmprobe(arguments);
    let endpoint = format!("http://{}", listener.local_addr().expect("a listener has an address"));
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).env("HF_HUB_OFFLINE", "1").current_dir(home);
    command
}

/// A server that must not be asked.
fn silent() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket that does not wait");
    listener
}

#[test]
fn a_cached_model_is_used_offline_and_nothing_is_asked() {
    let (home, listener) = (cache(), silent());
    for model in ["acme/tiny-bert", "acme/tiny-bert@main", &format!("acme/tiny-bert@{COMMIT}")] {
        let fetched = Finished::of(&mut offline(&["fetch", model], home.path(), &listener)).exits(0);
        assert!(fetched.stdout.trim_end().ends_with(&format!("snapshots/{COMMIT}")), "{}", fetched.stdout);
    }
    let described = Finished::of(&mut offline(&["describe", "model", "acme/tiny-bert", "--json"], home.path(), &listener)).exits(0).json();
    assert_eq!(described["family"], "bert");
    // A run names the model by its repository, and the manifest says which commit it was.
    let run = "name: hub\nencoders: [acme/tiny-bert]\ntasks: [{use: cloze, path: facts.csv, template: '[X] treats [Y] .'}]\nprobers: [contrastive]\n";
    std::fs::write(home.path().join("run.yaml"), run).expect("the run file is written");
    std::fs::write(home.path().join("facts.csv"), "subject,relation,object\naspirin,treats,pain\ninsulin,treats,diabetes\n").expect("the facts are written");
    let planned = Finished::of(&mut offline(&["plan", "run.yaml"], home.path(), &listener)).exits(0);
    assert!(planned.stdout.contains("tiny-bert"), "{}", planned.stdout);
    Finished::of(&mut offline(&["run", "run.yaml"], home.path(), &listener)).exits(0);
    let manifest = std::fs::read_to_string(home.path().join("runs/hub/manifest.json")).expect("a run leaves a manifest");
    assert!(manifest.contains(COMMIT), "{manifest}");
    assert!(listener.accept().is_err(), "offline must open no socket");
}

#[test]
fn a_model_that_is_not_cached_needs_the_network_and_says_so() {
    let (home, listener) = (cache(), silent());
    let missed = Finished::of(&mut offline(&["embed", "acme/other", "-", "--format", "jsonl"], home.path(), &listener)).exits(5);
    for words in ["acme/other", "not in the cache", "HF_HUB_OFFLINE"] {
        assert!(missed.stderr.contains(words), "{words}: {}", missed.stderr);
    }
    let missed = Finished::of(offline(&["fetch", "acme/tiny-bert@v2", "--offline"], home.path(), &listener).env_remove("HF_HUB_OFFLINE")).exits(5);
    assert!(missed.stderr.contains("offline mode forbids the network") && missed.stderr.contains("v2"), "{}", missed.stderr);
    // `validate` downloads nothing, even where it might.
    std::fs::write(home.path().join("run.yaml"), "encoders: [acme/other]\ntasks: [medlama]\nprobers: [fill-mask]\n").expect("the run file is written");
    let invalid = Finished::of(offline(&["validate", "run.yaml"], home.path(), &listener).env_remove("HF_HUB_OFFLINE"));
    assert!(invalid.stderr.contains("run.yaml:1:12") && invalid.stderr.contains("not in the cache"), "{}", invalid.stderr);
    assert!(listener.accept().is_err(), "nothing may be asked");
}

#[test]
fn a_folder_outranks_the_hub() {
    let (home, listener) = (cache(), silent());
    let folder = home.path().join("acme/tiny-bert");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(fixtures().join("bert/tiny-base/config.json"), folder.join("config.json")).expect("a configuration");
    let opened = Finished::of(&mut offline(&["fetch", "acme/tiny-bert"], home.path(), &listener)).exits(3);
    assert!(opened.stderr.contains("acme/tiny-bert") && !opened.stderr.contains("snapshots"), "{}", opened.stderr);
}
