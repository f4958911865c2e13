//! The arrows between the crates, and what the core must not know.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the workspace has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Which crates of this workspace each crate may use.
const ARROWS: [(&str, &[&str]); 12] = [
    ("lmprobe-core", &[]),
    ("lmprobe-abi", &[]),
    ("lmprobe-sdk", &["lmprobe-abi"]),
    ("lmprobe-loader", &["lmprobe-abi"]),
    ("lmprobe-bridge", &["lmprobe-abi", "lmprobe-core", "lmprobe-loader"]),
    ("lmprobe-kernels", &[]),
    ("lmprobe-checkpoints", &[]),
    ("lmprobe-scorers", &[]),
    ("lmprobe-hub", &[]),
    ("lmprobe-plugins", &["lmprobe-core", "lmprobe-checkpoints", "lmprobe-kernels", "lmprobe-scorers"]),
    // One line of the registry names the built-in crate, so that the linker keeps it.
    ("lmprobe-registry", &["lmprobe-bridge", "lmprobe-core", "lmprobe-hub", "lmprobe-plugins"]),
    ("lmprobe", &["lmprobe-core", "lmprobe-kernels", "lmprobe-plugins", "lmprobe-registry", "lmprobe-scorers"]),
];

/// What only the program may use: the terminal and the run file's syntax are not the core's or the plugins' business.
const PROGRAM_ONLY: [&str; 7] = ["clap", "indicatif", "miette", "signal-hook", "anyhow", "tracing-subscriber", "serde-saphyr"];

/// Direct dependencies of each package of the workspace, development dependencies left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let used = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"] != "dev");
            (text(&package["name"]), used.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let dependencies = dependencies();
    assert_eq!(dependencies.keys().cloned().collect::<BTreeSet<_>>(), ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect());
    for (name, allowed) in ARROWS {
        for used in dependencies[name].iter().filter(|used| used.starts_with("lmprobe")) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn the_core_and_the_plugins_know_no_terminal() {
    let dependencies = dependencies();
    for name in [
        "lmprobe-core",
        "lmprobe-plugins",
        "lmprobe-kernels",
        "lmprobe-checkpoints",
        "lmprobe-scorers",
        "lmprobe-hub",
        "lmprobe-abi",
        "lmprobe-sdk",
        "lmprobe-loader",
        "lmprobe-bridge",
    ] {
        let found: Vec<_> = PROGRAM_ONLY.iter().filter(|used| dependencies[name].contains(**used)).collect();
        assert!(found.is_empty(), "{name} must not use {found:?}");
    }
}

/// Calls `visit` with each Rust source below a folder.
fn sources(folder: &Path, visit: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn only_one_module_names_the_yaml_library() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut naming = Vec::new();
    sources(&root.join("registry/src"), &mut |path, text| {
        if text.lines().any(|line| line.contains("serde_saphyr") && !line.trim_start().starts_with("//")) {
            naming.push(path.file_name().unwrap().to_owned());
        }
    });
    assert_eq!(naming, ["yaml.rs"]);
}

/// Files and folders in which `unsafe` may stand.
const UNSAFE: [&str; 17] = [
    // The boundary to plugins in shared libraries: the kit's side,
    "core/abi/src/",
    "core/sdk/src/arrow.rs",
    "core/sdk/src/boundary/",
    "core/sdk/src/column.rs",
    "core/sdk/src/export.rs",
    // and the program's.
    "registry/bridge/src/callbacks.rs",
    "registry/bridge/src/native.rs",
    "registry/bridge/src/process/system.rs",
    "registry/bridge/src/standard_output.rs",
    "registry/bridge/src/table_export.rs",
    "registry/bridge/src/table_import.rs",
    "registry/bridge/src/tensor_crossing.rs",
    "registry/bridge/src/watch.rs",
    "registry/bridge/tests/",
    "registry/loader/",
    // The memory map, and the allocator of a test that counts.
    "plugins/checkpoints/src/mapped_file.rs",
    "plugins/checkpoints/tests/damage.rs",
];

#[test]
fn unsafe_stands_where_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut naming = BTreeSet::new();
    for folder in ["src", "core", "registry", "plugins/src", "plugins/tests", "plugins/checkpoints", "plugins/scorers"] {
        sources(&root.join(folder), &mut |path, text| {
            let code = |line: &&str| !line.trim_start().starts_with("//") && !line.trim_start().starts_with("#!");
            if text.lines().filter(code).any(|line| (line.contains("unsafe ") || line.contains("unsafe_code")) && !line.contains("deny(unsafe_code)")) {
                naming.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        });
    }
    let elsewhere: Vec<&String> = naming.iter().filter(|name| !UNSAFE.iter().any(|place| name.starts_with(place))).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let empty: Vec<&&str> = UNSAFE.iter().filter(|place| !naming.iter().any(|name| name.starts_with(**place))).collect();
    assert!(empty.is_empty(), "nothing unsafe is left in {empty:?}");
}

#[test]
fn files_have_no_names_that_say_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "core", "registry", "plugins/src", "plugins/checkpoints/src", "plugins/kernels/src", "plugins/scorers/src"] {
        sources(&root.join(folder), &mut |path, _| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert!(!["base", "utils", "common", "helpers", "types", "manager"].contains(&stem), "{} says nothing about what is in it", path.display());
        });
    }
}
