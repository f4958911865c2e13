//! The same cache from Python and from here.
//!
//! `LMPROBE_TEST_PYTHON=/path/to/python cargo test -p lmprobe-hub --features download -- --ignored`

use std::process::Command;

use crate::fake_hub::FakeHub;
use crate::folder::{Folder, model};

/// Runs `code` with `huggingface_hub` and this cache; returns what it prints.
fn python(folder: &Folder, hub: &FakeHub, offline: &str, code: &str) -> String {
    let python = std::env::var_os("LMPROBE_TEST_PYTHON").expect("`LMPROBE_TEST_PYTHON` names a Python with huggingface_hub");
    let output = Command::new(python)
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_HUB_CACHE", folder.cache())
        .env("HF_HUB_OFFLINE", offline)
        .env("HF_HUB_DISABLE_XET", "1")
        .args(["-c", &format!("from huggingface_hub import snapshot_download, hf_hub_download\n{code}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Without what Python writes for itself.
fn shared(tree: Vec<String>) -> Vec<String> {
    let own = |path: &String| path == "CACHEDIR.TAG" || path.contains("/trees/") || path.starts_with(".locks/");
    tree.into_iter().filter(|path| !own(path)).collect()
}

#[test]
#[ignore = "needs Python with huggingface_hub"]
fn both_write_the_same_cache_and_read_each_others() {
    let hub = FakeHub::start();
    hub.remove("README.md");
    let (ours, theirs) = (Folder::new(), Folder::new());
    let snapshot = model(&ours.hub(&hub.url, &[]), "org/name").0.unwrap();
    python(&theirs, &hub, "0", "snapshot_download('org/name')");
    eprintln!("here: {:#?}\nPython: {:#?}", ours.tree(), theirs.tree());
    assert_eq!(shared(ours.tree()), shared(theirs.tree()));

    let read = "print(snapshot_download('org/name', local_files_only=True))";
    assert_eq!(python(&ours, &hub, "1", read), snapshot.folder.display().to_string());
    hub.take_log();
    let theirs_read = model(&theirs.hub(&hub.url, &[]).offline(true), "org/name").0.unwrap();
    assert_eq!(theirs_read.commit, snapshot.commit);
    model(&theirs.hub(&hub.url, &[]), "org/name").0.unwrap();
    assert_eq!(hub.take_log().len(), 1, "nothing is fetched again");

    python(&ours, &hub, "0", "snapshot_download('org/name')");
    assert!(hub.take_log().iter().all(|request| request.server == "hub" && request.method != "GET" || request.path.contains("/api/")));
}
