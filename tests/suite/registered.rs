//! What there is, pinned: the registered plugins and the schema of run files. Adding a plugin changes both; run
//! `LMPROBE_BLESS=1 cargo test registered` and read the difference.

use std::path::PathBuf;

use crate::program::{fixtures, run};

#[track_caller]
fn assert_pinned(path: &PathBuf, found: &str) {
    if std::env::var_os("LMPROBE_BLESS").is_some() {
        std::fs::write(path, found).expect("the file can be written");
    }
    let pinned = std::fs::read_to_string(path).unwrap_or_default();
    assert!(pinned == found, "{} is out of date; `LMPROBE_BLESS=1 cargo test registered` writes it anew", path.display());
}

#[test]
fn the_registered_plugins_are_the_pinned_ones() {
    let listed = run(&["list", "--json"]).exits(0).json();
    let mut names: Vec<String> = listed
        .as_array()
        .expect("plugins")
        .iter()
        .map(|plugin| format!("{} {}\n", plugin["kind"].as_str().expect("a kind"), plugin["id"].as_str().or_else(|| plugin["name"].as_str()).expect("a name")))
        .collect();
    names.sort();
    assert_pinned(&fixtures().join("registered.txt"), &names.concat());
}

#[test]
fn the_schema_for_editors_is_current() {
    let schema = run(&["schema"]).exits(0).stdout;
    assert_pinned(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/schema/run.schema.json"), &schema);
}
