//! Run files and command lines that list plugins wrongly.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Run;
use super::libraries::{Built, c_example, compile_c, root, rust_example};
use super::misbehaviour::run_file;
use crate::program::{Finished, lmprobe, run};

/// Validates a run file in which the item of the library is another one.
#[track_caller]
fn refused(item: &str, arguments: &[&str], message: &str) {
    let scene = Run::new();
    let text = run_file(&scene, "error", "").replace(&rust_example().item(""), item);
    let file = scene.file(&text);
    let finished = Finished::of(lmprobe(&["validate", &file]).args(arguments)).exits(2);
    assert!(finished.stderr.contains(message), "{message}\n{}", finished.stderr);
    assert!(finished.stderr.contains("run.yaml:1:"), "{}", finished.stderr);
}

#[test]
fn a_library_needs_a_pin() {
    let path = rust_example().path.display().to_string();
    let item = format!("{{path: {path}}}");
    refused(&item, &[], "plugins[0] has no `sha256`, so any file could stand in for it");
    refused(&item, &[], &format!("`lmprobe plugin pin {path}` prints the line"));
    refused(&format!("{{path: {path}, sha256: abc}}"), &[], "a sha256 has 64 hexadecimal digits");
    refused(&format!("{{path: {path}, sha256: '{}'}}", "0".repeat(64)), &[], "if the change is wanted, pin the new one");
    let scene = Run::new();
    let file = scene.file(&run_file(&scene, "error", "").replace(&rust_example().item(""), &item));
    run(&["validate", &file, "--allow-unpinned-plugins"]).exits(0);
}

#[test]
fn the_flag_that_forbids_plugins_refuses_a_file_that_lists_one() {
    refused(&rust_example().item(""), &["--no-plugins"], "this file lists plugins, and `--no-plugins` forbids them");
    run(&["list", "--no-plugins", "--plugin", &rust_example().pinned()]).exits(2);
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let open = Built::copy_of(&rust_example().path);
    fs::set_permissions(&open.path, fs::Permissions::from_mode(0o666)).expect("permissions");
    refused(&open.item(""), &[], "en by everyone (mode 0666), so the file could be replaced");
}

#[test]
fn a_file_that_is_no_plugin_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("libnothing.so");
    fs::write(&path, "not a library").expect("the file can be written");
    let built = Built::copy_of(&path);
    refused(&built.item(""), &[], "libnothing.so");
    refused(&format!("{{path: {}/nowhere.so, sha256: {}}}", folder.path().display(), built.sha256), &[], "nowhere.so");
}

#[test]
fn wrong_keys_and_values_of_an_item_are_told() {
    refused(&rust_example().item(", isolation: jail"), &[], "expected one of: `in-process`, `process`");
    refused(&rust_example().item(", timeout: 0"), &[], "0 is not above 0");
    refused(&rust_example().item(", sha: x"), &[], "unknown key `sha`");
}

#[test]
fn a_component_of_a_plugin_that_is_not_listed_is_explained() {
    let scene = Run::new();
    let text = run_file(&scene, "error", "").replace(&format!("plugins: [{}]\n", rust_example().item("")), "");
    let finished = run(&["validate", &scene.file(&text)]).exits(2);
    assert!(finished.stderr.contains("a name with a vendor is of a plugin: list its shared library under `plugins`"), "{}", finished.stderr);
}

#[test]
fn a_plugins_schema_checks_its_parameters() {
    let scene = Run::new();
    let text = run_file(&scene, "error", "").replace("how: error", "how: eror").replace("name: good", "k: 0, kk: 1");
    let finished = run(&["validate", &scene.file(&text)]).exits(2);
    for message in ["unknown value `eror`; did you mean `error`?", "0 is below the minimum 1", "unknown key `kk`; did you mean `k`?"] {
        let (message, label) = message.split_once("; ").unwrap_or((message, ""));
        assert!(finished.stderr.contains(message) && finished.stderr.contains(label), "{message}\n{}", finished.stderr);
    }
}

#[test]
fn encoders_of_plugins_cannot_be_trained_and_that_is_said_first() {
    let scene = Run::new();
    let corpus = scene.path().join("corpus.txt");
    fs::write(&corpus, "one two three four five\n").expect("the file can be written");
    let text = run_file(&scene, "error", "") + &format!("adapt: [{{use: masked-lm, corpus: {}, epochs: 1}}]\n", corpus.display());
    let finished = run(&["validate", &scene.file(&text)]).exits(2);
    assert!(finished.stderr.contains("encoders of plugins run models but cannot train them"), "{}", finished.stderr);
}

#[test]
fn a_symbol_of_the_program_reaches_no_plugin() {
    // With a table of dynamic symbols a plugin's own functions could be replaced by the program's.
    let bytes = fs::read(env!("CARGO_BIN_EXE_lmprobe")).expect("the program");
    let file = object::read::File::parse(&*bytes).expect("an executable");
    let exported: Vec<String> = object::Object::dynamic_symbols(&file)
        .filter(object::ObjectSymbol::is_definition)
        .filter_map(|symbol| object::ObjectSymbol::name(&symbol).ok().map(str::to_owned))
        // What the C runtime and the standard library define in every executable.
        .filter(|name| !name.starts_with('_') && !["environ", "stdin", "stdout", "stderr"].contains(&name.as_str()) && !name.contains('@'))
        .collect();
    assert!(exported.is_empty(), "{exported:?}");
}

#[test]
fn the_example_in_c_is_loaded_too() {
    let Some(built) = c_example() else { return };
    let listed = run(&["list", "metrics", "--json", "--plugin", &built.pinned()]).exits(0).json();
    assert!(listed.as_array().expect("a list").iter().any(|plugin| plugin["id"] == "example-c/share-right"), "{listed}");
}

#[test]
fn two_libraries_with_one_name_are_refused_and_one_library_twice_is_one() {
    let twice = format!("{}, {}", rust_example().item(""), rust_example().item(""));
    let scene = Run::new();
    let item = rust_example().item("");
    run(&["validate", &scene.file(&run_file(&scene, "error", "").replace(&item, &twice))]).exits(0);
    let source = root().join("tests/plugins/c/example.c");
    let (Some(one), Some(other)) = (c_example(), compile_c(&source, &["-DOTHER_BYTES", "-g"])) else { return };
    assert_ne!(one.sha256, other.sha256);
    let both = format!("{item}, {}, {}", one.item(""), other.item(""));
    let finished = run(&["validate", &scene.file(&run_file(&scene, "error", "").replace(&item, &both))]).exits(2);
    assert!(finished.stderr.contains("two encoders are called `example-c/hashed`: "), "{}", finished.stderr);
}
