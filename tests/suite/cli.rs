//! Help, lists, exit codes: what holds without a run.

use std::process::Stdio;

use crate::program::{Finished, lmprobe, run};

#[test]
fn help_names_every_command_and_every_exit_code() {
    let help = run(&["--help"]).exits(0);
    for word in ["run", "validate", "plan", "results", "embed", "fill-mask", "list", "describe", "convert", "fetch", "schema", "score", "doctor", "completions"]
    {
        assert!(help.stdout.contains(&format!("\n  {word} ")), "`{word}` is missing:\n{}", help.stdout);
    }
    assert!(help.stdout.contains("75 stopped by a signal"), "{}", help.stdout);
    assert_eq!(help.stderr, "");
}

#[test]
fn version_goes_to_standard_output() {
    assert_eq!(run(&["--version"]).exits(0).stdout, concat!("lmprobe ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_ends_with_2_and_leaves_standard_output_empty() {
    for arguments in [
        &["probe"][..],
        &[],
        &["run"],
        &["run", "x.yaml", "--limit", "0"],
        &["run", "x.yaml", "--threads", "0"],
        &["run", "x.yaml", "--limitt", "3"],
        &["list", "models"],
        &["-q", "-v", "doctor"],
        &["completions", "dos"],
    ] {
        let finished = run(arguments).exits(2);
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_mistyped_command_is_understood() {
    assert!(run(&["validat", "x.yaml"]).exits(2).stderr.contains("validate"));
}

#[test]
fn every_listed_plugin_can_be_described() {
    let list = run(&["list", "--json"]).exits(0).json();
    let plugins = list.as_array().expect("a list");
    assert!(!plugins.is_empty());
    for plugin in plugins {
        let (kind, id) = (plugin["kind"].as_str().expect("a kind"), plugin["id"].as_str().expect("an id"));
        let manual = run(&["describe", kind, id]).exits(0).stdout;
        assert!(manual.contains("## Parameters"), "{manual}");
        assert!(manual.contains(plugin["origin"]["file"].as_str().expect("a file")), "{manual}");
        assert!(run(&["describe", kind, id, "--json"]).exits(0).json()["schema"].is_object());
    }
}

#[test]
fn singular_and_plural_of_a_kind_mean_the_same() {
    assert_eq!(run(&["list", "prober"]).exits(0).stdout, run(&["list", "probers"]).exits(0).stdout);
}

#[test]
fn an_unknown_plugin_is_answered_with_the_nearest_one() {
    let finished = run(&["describe", "prober", "fil-mask"]).exits(2);
    assert!(finished.stderr.contains("fill-mask"), "{}", finished.stderr);
}

#[test]
fn the_schema_is_json_of_an_object() {
    assert_eq!(run(&["schema"]).exits(0).json()["type"], "object");
}

#[test]
fn doctor_never_shows_a_token() {
    let mut command = lmprobe(&["doctor"]);
    let finished = Finished::of(command.env("HF_TOKEN", "hf_secret").env("HF_HUB_OFFLINE", "1")).exits(0);
    assert!(!finished.stdout.contains("hf_secret"));
    assert!(finished.stdout.contains("HF_HUB_OFFLINE"), "{}", finished.stdout);
    let set = run_with(&[("HF_TOKEN", "hf_secret"), ("LMPROBE_MY_KEY", "hidden")]);
    assert!(set["HF_TOKEN"] == "set" && set["LMPROBE_MY_KEY"] == "set", "{set}");
    assert!(run(&["doctor", "--json"]).exits(0).json()["threads"].is_number());
}

fn run_with(variables: &[(&str, &str)]) -> serde_json::Value {
    Finished::of(lmprobe(&["doctor", "--json"]).envs(variables.iter().copied())).exits(0).json()
}

#[test]
fn completions_exist_for_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).exits(0).stdout.contains("lmprobe"));
    }
}

#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let mut command = lmprobe(&["schema"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn results_of_a_folder_without_scores_say_how_to_get_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let finished = run(&["results", folder.path().to_str().expect("a name")]).exits(3);
    assert!(finished.stderr.contains("lmprobe run"), "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_run_file_that_is_not_there_is_wrong_usage() {
    for command in ["run", "validate", "plan"] {
        let finished = run(&[command, "no-such-file.yaml"]).exits(2);
        assert!(finished.stderr.contains("no-such-file.yaml"), "{}", finished.stderr);
    }
}

#[test]
fn colours_follow_the_flag() {
    let colored = run(&["--color", "always", "validate", "no-such-file.yaml"]).exits(2).stderr;
    let plain = run(&["--color", "never", "validate", "no-such-file.yaml"]).exits(2).stderr;
    assert!(colored.contains('\u{1b}') && !plain.contains('\u{1b}'));
}
