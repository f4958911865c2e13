//! `lmprobe convert`, `describe model` and `fetch`.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

use std::path::Path;

use serde_json::Value;

use crate::array_files::safetensors;
use crate::embed::{Workspace, tiny};
use crate::program::{Finished, fixtures, lmprobe, run};

/// A copy of a fixture whose tensors were changed.
fn altered(workspace: &Workspace, name: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let folder = workspace.path(name);
    std::fs::create_dir(&folder).unwrap();
    for file in ["config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("bert/tiny-base").join(file), folder.join(file)).unwrap();
    }
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let mut header: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = Value::Object(header).to_string();
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_model_is_described() {
    let finished = run(&["describe", "model", &tiny("tiny-base"), "--hash"]).exits(0);
    for said in [
        "family            bert\n",
        "size              3 layers of width 48, 3 heads, ",
        "heads             pooler\n",
        "mask token        [MASK] (4)\n",
        "tensors of f32\n",
        "model.safetensors  ",
        "sha256 of the files  ",
        "cased (as tokenizer_config.json says)",
    ] {
        let squeezed = |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        assert!(squeezed(&finished.stdout).contains(&squeezed(said)), "{said}:\n{}", finished.stdout);
    }
    let json = run(&["describe", "model", &tiny("tiny-base"), "--json"]).exits(0).json();
    assert_eq!((&json["layers"], &json["hidden"], &json["pooler"], &json["mlm_head"]), (&3.into(), &48.into(), &true.into(), &false.into()));
    assert_eq!((&json["files_sha256"], &json["missing"]), (&Value::Null, &Value::Array(vec![])));
    let sizes: Vec<&Value> = json["files"].as_array().unwrap().iter().map(|file| &file["bytes"]).collect();
    assert!(!sizes.is_empty() && sizes.iter().all(|size| size.as_u64() > Some(0)), "{json}");
}

#[test]
fn tensors_that_do_not_fit_are_listed_and_end_with_3() {
    let workspace = Workspace::new();
    altered(&workspace, "missing", |header| {
        let tensor = header.remove("encoder.layer.1.output.dense.weight").unwrap();
        header.insert("encoder.layer.1.output.dens.weight".into(), tensor);
    });
    let finished = run(&["describe", "model", text(&workspace.path("missing"))]).exits(3);
    assert!(finished.stdout.contains("missing: 1 tensor\n  encoder.layer.1.output.dense.weight; the nearest name there is "), "{}", finished.stdout);
    assert!(finished.stdout.contains("stored but not used: 1 tensor\n"), "{}", finished.stdout);
    let json = run(&["describe", "model", text(&workspace.path("missing")), "--json"]).exits(3).json();
    assert_eq!(json["missing"][0]["name"], "encoder.layer.1.output.dense.weight");
    altered(&workspace, "misshapen", |header| {
        let tensor = header.get_mut("encoder.layer.1.intermediate.dense.weight").unwrap();
        tensor["shape"].as_array_mut().unwrap().reverse();
    });
    let finished = run(&["describe", "model", text(&workspace.path("misshapen"))]).exits(3);
    assert!(finished.stdout.contains("of another shape than config.json says: 1 tensor\n"), "{}", finished.stdout);
    let embedded = workspace.embed(text(&workspace.path("misshapen")), "texts.txt", "-o out.npy").exits(3);
    assert!(embedded.stderr.contains("encoder.layer.1.intermediate.dense.weight"), "{}", embedded.stderr);
}

#[test]
fn options_of_models_are_not_for_plugins() {
    let finished = run(&["describe", "prober", "fill-mask", "--hash"]).exits(2);
    assert!(finished.stderr.contains("--hash belongs to `describe model`, not to plugins"), "{}", finished.stderr);
    let finished = run(&["describe", "model", "./no-such-folder"]).exits(2);
    assert!(finished.stderr.contains("no-such-folder"), "{}", finished.stderr);
}

#[test]
fn a_converted_model_gives_the_same_vectors() {
    let workspace = Workspace::new();
    let convert = |out: &str, more: &[&str]| {
        let model = tiny("tiny-legacy");
        let arguments: Vec<&str> = ["convert", model.as_str(), out].into_iter().chain(more.iter().copied()).collect();
        Finished::of(lmprobe(&arguments).current_dir(workspace.path(".")))
    };
    let finished = convert("deep/model", &[]).exits(0);
    assert!(finished.stdout.contains("deep/model: ") && finished.stdout.contains("model.safetensors"), "{}", finished.stdout);
    for (model, out) in [(tiny("tiny-legacy").as_str(), "before.safetensors"), ("deep/model", "after.safetensors")] {
        workspace.embed(model, "texts.txt", &format!("-o {out} --pooling tokens --layers all")).exits(0);
    }
    let vectors = |name: &str| safetensors(&workspace.path(name)).0;
    assert_eq!(vectors("before.safetensors"), vectors("after.safetensors"));

    assert!(convert("deep/model", &[]).exits(2).stderr.contains("is there already; --force replaces a model folder"));
    workspace.write("deep/model/stale", "x");
    convert("deep/model", &["--force"]).exits(0);
    assert!(!workspace.path("deep/model/stale").exists());
    std::fs::create_dir(workspace.path("other")).unwrap();
    workspace.write("other/precious", "x");
    assert!(convert("other", &["--force"]).exits(2).stderr.contains("is not a model folder (it holds no `config.json`)"));
    let itself = Finished::of(lmprobe(&["convert", "deep/model", "deep/model", "--force"]).current_dir(workspace.path("."))).exits(2);
    assert!(itself.stderr.contains("is the model itself; write to another folder"), "{}", itself.stderr);
    assert_eq!(std::fs::read_dir(workspace.path("deep")).unwrap().count(), 1, "nothing is left beside the folder");
}

#[test]
fn fetch_prints_the_folder() {
    let finished = run(&["fetch", &tiny("tiny-mlm")]).exits(0);
    assert_eq!(finished.stdout, format!("{}\n", tiny("tiny-mlm")));
    run(&["--offline", "fetch", &tiny("tiny-mlm")]).exits(0);
}
