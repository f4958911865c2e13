//! `lmprobe plugin`, `lmprobe new plugin`, and plugins in the other commands.

use std::path::Path;
use std::process::Command;

use super::Run;
use super::libraries::{Built, c_example, cargo_build, compile_c, root, rust_example};
use crate::program::{Finished, lmprobe, run};

#[test]
fn inspect_runs_nothing_and_shows_what_a_file_claims() {
    let built = rust_example();
    let path = built.path.display().to_string();
    let shown = run(&["plugin", "inspect", &path, "--json"]).exits(0).json();
    assert_eq!((shown["sha256"].as_str(), shown["abi"].as_str()), (Some(built.sha256.as_str()), Some("1.0")));
    assert!(shown["needed"].as_array().expect("a list").iter().any(|name| name.as_str().is_some_and(|name| name.starts_with("libc"))), "{shown}");
    assert!(run(&["plugin", "inspect", &path]).exits(0).stdout.contains("not covered by the sha256"));
    let other = root().join("README.md").display().to_string();
    let refused = run(&["plugin", "inspect", &other]).exits(2);
    assert!(refused.stderr.contains("README.md"), "{}", refused.stderr);
}

#[test]
fn what_pin_prints_is_what_a_run_file_takes() {
    let built = rust_example();
    let pinned = run(&["plugin", "pin", &built.path.display().to_string()]).exits(0);
    let scene = Run::new();
    let item = format!("plugins: [{}]\n", built.item(""));
    let file = scene.file(&super::misbehaviour::run_file(&scene, "error", "").replace(&item, &pinned.stdout));
    run(&["validate", &file]).exits(0);
    assert!(pinned.stderr.contains(&built.pinned()), "{}", pinned.stderr);
}

#[test]
fn list_and_describe_show_where_a_plugin_comes_from() {
    let built = rust_example();
    let listed = run(&["list", "--json", "--plugin", &built.pinned()]).exits(0).json();
    let plugin = listed.as_array().expect("a list").iter().find(|plugin| plugin["id"] == "example/nearest").expect("the prober");
    let library = &plugin["origin"]["library"];
    assert_eq!((library["sha256"].as_str(), library["isolation"].as_str()), (Some(built.sha256.as_str()), Some("in-process")));
    assert!(run(&["list", "probers", "--plugin", &built.pinned()]).exits(0).stdout.contains("[example 1.0.0, "));
    let described = run(&["describe", "metric", "example/share-right", "--plugin", &built.pinned()]).exits(0).stdout;
    for part in ["## How", "k: whole number, default 1, at least 1", &built.sha256, "plugin interface 1.0"] {
        assert!(described.contains(part), "{part}\n{described}");
    }
    let schema = run(&["schema", "--plugin", &built.pinned()]).exits(0).stdout;
    assert!(schema.contains("\"example/info-nce\""));
    let unpinned = run(&["list", "--plugin", &built.path.display().to_string()]).exits(2);
    assert!(unpinned.stderr.contains("has no pin"), "{}", unpinned.stderr);
}

#[test]
fn an_encoder_of_a_plugin_embeds_and_fills_masks() {
    let built = rust_example();
    let scene = Run::new();
    std::fs::write(scene.path().join("notes.txt"), "aspirin treats fever\na\n").expect("the file can be written");
    let out = scene.path().join("notes.parquet");
    let embedded = Finished::of(
        lmprobe(&["embed", "example/hashed", "--plugin", &built.pinned(), "--pooling", "mean"]).arg(scene.path().join("notes.txt")).arg("-o").arg(&out),
    );
    embedded.exits(0);
    assert!(std::fs::metadata(&out).expect("vectors").len() > 500);
    let filled = run(&["fill-mask", "example/hashed", "aspirin treats [MASK]", "--json", "--plugin", &built.pinned()]).exits(0).json();
    assert_eq!(filled["masks"][0]["predictions"].as_array().expect("predictions").len(), 10);
}

/// The metric that misbehaves needs a parameter and the task a file; both are given, and everything is well.
fn check(built: &Built, arguments: &[&str]) -> Finished {
    Finished::of(lmprobe(&["plugin", "check", &built.path.display().to_string(), "--json"]).args(arguments))
}

#[test]
fn the_examples_keep_the_rules() {
    let scene = Run::new();
    let facts = scene.path().join("facts.csv");
    std::fs::write(&facts, "subject,relation,object\naspirin,treats,fever\naspirin,treats,pain\np53,part of,\"a, b\"\n").expect("the file can be written");
    let params = format!("example/facts={{\"path\": {:?}}}", facts.display().to_string());
    let behaved = "example/misbehave={\"how\": \"stdout\"}";
    for more in [&[][..], &["--isolated"]] {
        let found = check(rust_example(), &[&["--params", &params, "--params", behaved], more].concat()).exits(0).json();
        let findings = found["findings"].as_array().expect("findings");
        assert!(findings.len() >= 18 && findings.iter().all(|finding| finding["outcome"] == "passed"), "{found}");
        for kind in ["encoder", "objective", "task", "prober", "metric"] {
            assert!(findings.iter().any(|finding| finding["component"].as_str().is_some_and(|name| name.starts_with(kind))), "{kind}: {found}");
        }
    }
    if let Some(built) = c_example() {
        let found = check(built, &[]).exits(0).json();
        assert!(found["findings"].as_array().expect("findings").iter().all(|finding| finding["outcome"] == "passed"), "{found}");
    }
    let lacking = check(rust_example(), &[]).exits(0).json();
    assert!(lacking.to_string().contains("it needs the parameter `path`"), "{lacking}");
}

#[test]
fn a_plugin_that_breaks_a_rule_fails_its_check() {
    let found = check(rust_example(), &["--params", "example/misbehave={\"how\": \"nan\"}"]).exits(3);
    assert!(found.json().to_string().contains("holds NaN"), "{}", found.stdout);
    let crashed = check(rust_example(), &["--params", "example/misbehave={\"how\": \"segfault\"}", "--isolated"]).exits(3);
    assert!(crashed.json().to_string().contains("SIGSEGV"), "{}", crashed.stdout);
}

#[test]
fn gradients_are_compared_with_differences() {
    let path = rust_example().path.display().to_string();
    let reports = run(&["plugin", "gradcheck", &path, "--json"]).exits(0).json();
    let reports = reports.as_array().expect("reports");
    assert_eq!(reports.len(), 2);
    for report in reports {
        assert_eq!(report["report"]["passed"], true, "{report}");
        assert!(report["report"]["largest"].as_f64().is_some_and(|largest| largest > 0.01) && report["report"]["probed"] == 9, "{report}");
    }
    run(&["plugin", "gradcheck", &path, "--objective", "example/none"]).exits(2);
}

#[test]
fn a_new_plugin_builds_and_keeps_the_rules_at_once() {
    let scene = Run::new();
    // One project a language is built; that the others have all their files is a test of the command itself.
    for (kind, id) in
        [("metric", "acme/accuracy"), ("prober", "acme/accuracy"), ("objective", "acme/accuracy"), ("task", "acme/accuracy"), ("encoder", "acme/accuracy")]
    {
        let folder = scene.path().join(kind);
        Finished::of(lmprobe(&["new", "plugin", "--kind", kind, id, "--dir"]).arg(&folder)).exits(0);
        let library = std::fs::read_to_string(folder.join("src/lib.rs")).expect("a crate");
        assert!(library.contains(&format!("{kind} \"acme/accuracy\" => ")), "{library}");
    }
    // All five in one crate cost one build.
    let folder = scene.path().join("metric");
    let mut modules = String::new();
    let mut components = String::new();
    for kind in ["metric", "prober", "objective", "task", "encoder"] {
        for line in std::fs::read_to_string(scene.path().join(kind).join("src/lib.rs")).expect("a crate").lines() {
            if line.starts_with("mod ") {
                modules.extend([line, "\n"]);
            } else if line.contains("=>") {
                components.extend([line, "\n"]);
            }
        }
        for entry in std::fs::read_dir(scene.path().join(kind).join("src")).expect("sources") {
            let entry = entry.expect("an entry");
            if entry.file_name() != "lib.rs" && kind != "metric" {
                std::fs::copy(entry.path(), folder.join("src").join(entry.file_name())).expect("a copy");
            }
        }
    }
    std::fs::write(folder.join("src/lib.rs"), format!("{modules}lmprobe_sdk::export_plugin! {{ name: \"acme\", components: [\n{components}] }}\n"))
        .expect("a crate");
    // The versions that are here already.
    std::fs::copy(root().join("tests/plugins/rust/Cargo.lock"), folder.join("Cargo.lock")).expect("a copy");
    let built = Built::copy_of(&cargo_build(&folder.join("Cargo.toml"), "libacme.so"));
    let found = check(&built, &[]).exits(0).json();
    assert!(found["findings"].as_array().expect("findings").iter().all(|finding| finding["outcome"] != "failed"), "{found}");

    let again = Finished::of(lmprobe(&["new", "plugin", "--kind", "metric", "acme", "--dir"]).arg(&folder)).exits(2);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
}

#[test]
fn a_new_plugin_in_c_builds_and_keeps_the_rules_at_once() {
    if c_example().is_none() {
        return;
    }
    let scene = Run::new();
    let folder = scene.path().join("acme");
    Finished::of(lmprobe(&["new", "plugin", "--kind", "metric", "--lang", "c", "acme", "--dir"]).arg(&folder)).exits(0);
    let made = Command::new("make").arg("-C").arg(&folder).output();
    let library = match made {
        Ok(made) => {
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            Built::copy_of(&folder.join("libacme.so"))
        }
        Err(_) => compile_c(&folder.join("plugin.c"), &["-I", &folder.display().to_string()]).expect("there is a compiler"),
    };
    check(&library, &[]).exits(0);
    let refused = run(&["new", "plugin", "--kind", "task", "--lang", "c", "acme"]).exits(2);
    assert!(refused.stderr.contains("there is no task in C to begin with"), "{}", refused.stderr);
    assert!(!Path::new("acme").exists());
}
