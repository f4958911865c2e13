//! What the hub refuses, and what is refused of the hub.

use std::fs;

use lmprobe_hub::{Denial, Error, Missing};

use crate::fake_hub::{COMMIT, FakeHub};
use crate::folder::{Folder, refusal};

/// The error when requests whose path contains `path` are answered so.
fn answered(path: &'static str, status: u16, headers: &str, variables: &[(&str, &str)]) -> (Error, String) {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.state().answers.push((path, status, headers.to_owned()));
    let (error, texts) = refusal(&folder.hub(&hub.url, variables), "org/name@v1");
    assert!(texts.contains("org/name") && texts.contains(&hub.url), "{texts}");
    assert!(!texts.contains("hub text") && !texts.contains("secret"), "{texts}");
    assert!(!error.needs_network());
    (error, texts)
}

#[test]
fn a_refused_user_learns_what_is_lacking() {
    let token: &[_] = &[("HF_TOKEN", "hf_secret")];
    for (path, status, headers, variables, expected, text) in [
        ("/api/", 401, "", &[][..], Denial::NoToken, "set `HF_TOKEN`"),
        ("/api/", 401, "", token, Denial::TokenRefused, "expired"),
        ("/api/", 403, "", token, Denial::TokenRefused, "may not read it"),
        ("/resolve/", 403, "x-error-code: GatedRepo\r\n", token, Denial::Gated, "accept its licence at http"),
        ("/resolve/", 401, "x-error-code: GatedRepo\r\n", &[], Denial::Gated, "accept its licence at http"),
    ] {
        let (error, texts) = answered(path, status, headers, variables);
        let Error::Unauthorized { denial, status: found, .. } = error else { panic!("{error:?}") };
        assert_eq!((denial, found), (expected, status));
        assert!(texts.contains(text), "{texts}");
    }
}

#[test]
fn what_the_hub_does_not_have_is_told_apart() {
    let repo = || Missing::Repo("org/name".into());
    let revision = Missing::Revision { repo: "org/name".into(), revision: "v1".into() };
    let file = Missing::File { repo: "org/name".into(), file: "vocab.txt".into() };
    for (path, status, headers, expected, text) in [
        ("/api/", 404, "x-error-code: RepoNotFound\r\n", repo(), "spelling"),
        ("/api/", 401, "x-error-code: RepoNotFound\r\n", repo(), "private"),
        ("/api/", 404, "", repo(), "spelling"),
        ("/api/", 404, "x-error-code: RevisionNotFound\r\n", revision, "branch"),
        ("vocab.txt", 404, "x-error-code: EntryNotFound\r\n", file, "vocab.txt"),
    ] {
        let (error, texts) = answered(path, status, headers, &[]);
        let Error::NotFound { missing, .. } = error else { panic!("{error:?}") };
        assert_eq!(missing, expected);
        assert!(texts.contains(text), "{texts}");
    }
}

#[test]
fn a_repository_without_a_model_lists_what_it_has() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.remove("model.safetensors");
    hub.add("tf_model.h5", b"", true);
    hub.add("flax_model.msgpack", b"", true);
    let user = folder.hub(&hub.url, &[]);
    let (error, texts) = refusal(&user, "org/name");
    assert!(matches!(error, Error::UnreadableFormat { .. }), "{error:?}");
    assert!(texts.contains("tf_model.h5") && texts.contains("flax_model.msgpack") && texts.contains("convert"), "{texts}");
    hub.remove("config.json");
    let (error, texts) = refusal(&user, "org/name");
    assert!(matches!(error, Error::NoConfig { .. }), "{error:?}");
    assert!(texts.contains("config.json") && texts.contains("tf_model.h5"), "{texts}");
    assert!(!folder.cache().exists(), "nothing is fetched of what cannot be used");
}

#[test]
fn hostile_names_lead_nowhere() {
    for name in ["../../../evil", "/etc/passwd", "a/../../evil", "..\\evil", "a\u{1b}[2Jb"] {
        let (hub, folder) = (FakeHub::start(), Folder::new());
        hub.state().extra_names.push(name.to_owned());
        let (error, texts) = refusal(&folder.hub(&hub.url, &[]), "org/name");
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
        assert!(texts.contains("file name") && !texts.contains('\u{1b}'), "{texts}");
        assert!(!folder.cache().exists());
    }
}

#[test]
fn hostile_shards_commits_and_etags_lead_nowhere() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.remove("model.safetensors");
    hub.add("model.safetensors.index.json", br#"{"weight_map": {"a": "../../../evil"}}"#, false);
    let (error, _) = refusal(&folder.hub(&hub.url, &[]), "org/name");
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");

    let hub = FakeHub::start();
    hub.state().commit = "../../../../evil".to_owned();
    let (error, _) = refusal(&folder.hub(&hub.url, &[]), "org/name");
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");

    for header in ["etag: \"../../evil\"\r\n", "", "x-repo-commit: ../../evil\r\n", "location: file:///etc/passwd\r\n"] {
        let (hub, folder) = (FakeHub::start(), Folder::new());
        let status = if header.starts_with("location") { 302 } else { 200 };
        hub.state().answers.push(("vocab.txt", status, header.to_owned()));
        let (error, texts) = refusal(&folder.hub(&hub.url, &[]), "org/name");
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
        assert!(texts.contains(&hub.url), "{texts}");
        assert!(!folder.tree().iter().any(|path| path.contains("evil")));
    }
    let outside = folder.cache().parent().unwrap().to_owned();
    let names: Vec<_> = fs::read_dir(outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["hub"]);
}

#[test]
fn another_commit_than_the_pinned_one_is_refused() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.state().commit = COMMIT.replace('0', "f");
    let (error, _) = refusal(&folder.hub(&hub.url, &[]), &format!("org/name@{COMMIT}"));
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}
