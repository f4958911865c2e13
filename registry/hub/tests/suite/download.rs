//! A download that goes well, and what it leaves.

use std::fs;

use lmprobe_hub::Event;

use crate::fake_hub::{COMMIT, FakeHub, weights};
use crate::folder::{Folder, model};

#[test]
fn a_fresh_download_leaves_the_layout_of_the_standard_cache() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let (snapshot, events) = model(&folder.hub(&hub.url, &[]), "org/name");
    let snapshot = snapshot.unwrap();
    assert_eq!(snapshot.folder, folder.repo().join("snapshots").join(COMMIT));
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());

    let fetched = hub.state().files.iter().filter(|file| file.name != "README.md").cloned().collect::<Vec<_>>();
    let mut expected = vec!["models--org--name/refs/main".to_owned()];
    for file in &fetched {
        let (name, etag) = (&file.name, file.etag());
        expected.push(format!(".locks/models--org--name/{etag}.lock"));
        expected.push(format!("models--org--name/blobs/{etag}"));
        expected.push(format!("models--org--name/snapshots/{COMMIT}/{name} -> ../../blobs/{etag}"));
    }
    expected.sort();
    assert_eq!(folder.tree(), expected);
    assert_eq!(fs::read_to_string(folder.repo().join("refs/main")).unwrap(), COMMIT);

    let whole = weights().len() as u64;
    let large = "model.safetensors".to_owned();
    assert!(events.contains(&Event::Start { file: large.clone(), bytes: Some(whole) }));
    assert!(events.contains(&Event::Progress { file: large.clone(), received: whole }));
    assert_eq!(events.last(), Some(&Event::Done { file: large }));
}

#[test]
fn a_second_call_asks_for_the_commit_only_and_a_pinned_commit_for_nothing() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    let first = model(&user, "org/name").0.unwrap();
    hub.take_log();

    let (second, events) = model(&user, "org/name");
    assert_eq!(second.unwrap(), first);
    assert!(events.is_empty());
    let log = hub.take_log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].path, "/api/models/org/name/revision/main");

    let pinned = model(&user, &format!("org/name@{COMMIT}")).0.unwrap();
    assert_eq!(pinned.folder, first.folder);
    assert!(hub.take_log().is_empty());
}

#[test]
fn a_pinned_commit_leaves_no_reference() {
    for revision in [COMMIT, &COMMIT[..8]] {
        let (hub, folder) = (FakeHub::start(), Folder::new());
        model(&folder.hub(&hub.url, &[]), &format!("org/name@{revision}")).0.unwrap();
        assert!(!folder.repo().join("refs").exists());
    }
}

#[test]
fn a_revision_with_a_slash_is_encoded_and_noted_in_a_folder() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    model(&folder.hub(&hub.url, &[]), "org/name@refs/pr/5").0.unwrap();
    assert_eq!(hub.take_log()[0].path, "/api/models/org/name/revision/refs%2Fpr%2F5");
    assert_eq!(fs::read_to_string(folder.repo().join("refs/refs/pr/5")).unwrap(), COMMIT);
}

#[test]
fn a_new_commit_shares_the_blobs_that_did_not_change() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    model(&user, "org/name").0.unwrap();
    hub.remove("vocab.txt");
    hub.add("vocab.txt", b"[PAD]\nnew\n", false);
    let next = COMMIT.replace('0', "f");
    hub.state().commit.clone_from(&next);
    hub.take_log();

    let (snapshot, events) = model(&user, "org/name");
    assert_eq!(snapshot.unwrap().commit, next);
    let fetched: Vec<_> = events.iter().filter(|event| matches!(event, Event::Done { .. })).collect();
    assert_eq!(fetched, [&Event::Done { file: "vocab.txt".to_owned() }]);
    assert!(hub.take_log().iter().all(|request| request.server == "hub"));
    assert_eq!(fs::read_to_string(folder.repo().join("refs/main")).unwrap(), next);
}

#[test]
fn shards_are_those_of_the_index() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.remove("model.safetensors");
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    hub.add("model.safetensors.index.json", index, false);
    hub.add("model-00001-of-00002.safetensors", b"one", true);
    hub.add("model-00002-of-00002.safetensors", b"two", true);
    hub.add("model-00003-of-00003.safetensors", b"not named", true);
    hub.add("pytorch_model.bin", b"another kind", true);
    let snapshot = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    let mut names: Vec<_> = fs::read_dir(&snapshot.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "vocab.txt"]);
}

#[test]
fn a_tensorflow_release_is_fetched_with_its_own_config() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.remove("model.safetensors");
    hub.remove("config.json");
    for name in ["bert_config.json", "model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001", "model.ckpt-9.meta"] {
        hub.add(name, name.as_bytes(), name.contains("data"));
    }
    let user = folder.hub(&hub.url, &[]);
    let snapshot = model(&user, "org/name").0.unwrap();
    assert!(snapshot.folder.join("bert_config.json").is_file());
    assert!(snapshot.folder.join("model.ckpt-9.data-00000-of-00001").is_file());
    assert!(!snapshot.folder.join("model.ckpt-9.meta").exists());
    model(&user.offline(true), "org/name").0.unwrap();
}

#[test]
fn a_renamed_repository_is_followed() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let snapshot = model(&folder.hub(&hub.url, &[]), "old/name").0.unwrap();
    assert!(snapshot.folder.starts_with(folder.cache().join("models--old--name")));
    assert_eq!(fs::read(snapshot.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn an_etag_of_another_form_is_accepted() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.state().answers.push(("resolve/0123456789abcdef0123456789abcdef01234567/vocab.txt", 200, "etag: \"5f-1\"\r\n".into()));
    let snapshot = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    assert!(folder.repo().join("blobs/5f-1").is_file() && snapshot.folder.join("vocab.txt").is_file());
}

#[test]
fn the_token_goes_to_the_hub_only() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    model(&folder.hub(&hub.url, &[("HF_TOKEN", "hf_secret")]), "org/name").0.unwrap();
    let log = hub.take_log();
    assert!(log.iter().any(|request| request.server == "cdn"));
    for request in log {
        let expected = (request.server == "hub").then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
    let hidden = folder.hub(&hub.url, &[("HF_TOKEN", "hf_secret")]);
    assert!(!format!("{hidden:?}").contains("secret"));
}

#[test]
fn without_a_token_none_is_sent() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let variables = [("HF_TOKEN", "hf_secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
    model(&folder.hub(&hub.url, &variables), "org/name").0.unwrap();
    assert!(hub.take_log().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_tokenizer_missing_from_a_pinned_commit_is_fetched() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    let pinned = format!("org/name@{COMMIT}");
    let snapshot = model(&user, &pinned).0.unwrap();
    fs::remove_file(snapshot.folder.join("vocab.txt")).unwrap();
    model(&user, &pinned).0.unwrap();
    assert!(snapshot.folder.join("vocab.txt").is_file());
}
