//! When the hub cannot be reached or the cache cannot be written.

use std::fs;
use std::net::TcpListener;

use lmprobe_hub::{Error, Event};

use crate::fake_hub::{COMMIT, FakeHub};
use crate::folder::{Folder, model, refusal};

/// An address at which nobody listens.
fn nowhere() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[test]
fn an_unreachable_hub_is_replaced_by_the_cache() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let first = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    hub.state().answers.push(("/api/", 503, String::new()));
    for url in [nowhere(), hub.url.clone()] {
        let (snapshot, events) = model(&folder.hub(&url, &[]), "org/name");
        assert_eq!(snapshot.unwrap(), first);
        let [Event::UsingCache { reason }] = events.as_slice() else { panic!("{events:?}") };
        assert!(reason.contains(&url), "{reason}");
    }
}

#[test]
fn a_pinned_commit_without_a_tokenizer_serves_when_the_hub_is_unreachable() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let snapshot = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    fs::remove_file(snapshot.folder.join("vocab.txt")).unwrap();
    let (again, events) = model(&folder.hub(&nowhere(), &[]), &format!("org/name@{COMMIT}"));
    assert_eq!(again.unwrap().folder, snapshot.folder);
    assert!(matches!(events.as_slice(), [Event::UsingCache { .. }]));
}

#[test]
fn a_login_page_counts_as_no_network() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    model(&user, "org/name").0.unwrap();
    hub.state().answers.push(("/api/", 200, "content-type: text/html\r\n".into()));
    assert!(matches!(model(&user, "org/name").1.as_slice(), [Event::UsingCache { .. }]));
}

#[test]
fn an_unreachable_hub_without_a_cached_model_is_an_error() {
    let folder = Folder::new();
    let url = nowhere();
    let (error, texts) = refusal(&folder.hub(&url, &[("HF_TOKEN", "hf_secret")]), "org/name");
    assert!(matches!(error, Error::Network { .. }) && error.needs_network(), "{error:?}");
    let cache = folder.cache().display().to_string();
    for part in [url.as_str(), "org/name", &cache, "HF_ENDPOINT"] {
        assert!(texts.contains(part), "{texts}");
    }
    assert!(!texts.contains("secret"), "{texts}");
}

#[test]
fn a_refusal_is_an_error_even_if_the_model_is_cached() {
    for (status, code) in [(401, ""), (403, "x-error-code: GatedRepo\r\n"), (404, "x-error-code: RepoNotFound\r\n")] {
        let (hub, folder) = (FakeHub::start(), Folder::new());
        let user = folder.hub(&hub.url, &[]);
        model(&user, "org/name").0.unwrap();
        hub.state().answers.push(("/api/", status, code.to_owned()));
        assert!(!refusal(&user, "org/name").0.needs_network());
        model(&user.offline(true), "org/name").0.unwrap();
    }
}

#[test]
fn a_cache_that_cannot_be_written_to_serves_what_it_has() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    model(&user, "org/name").0.unwrap();
    // Permissions do not stop a superuser; a file where a folder should be stops everyone.
    fs::remove_dir_all(folder.repo().join("refs")).unwrap();
    fs::write(folder.repo().join("refs"), "").unwrap();
    assert_eq!(model(&user, "org/name").0.unwrap().commit, COMMIT);
    assert_eq!(model(&user.offline(true), &format!("org/name@{COMMIT}")).0.unwrap().commit, COMMIT);
}

#[cfg(unix)]
#[test]
fn a_read_only_cache_serves_what_it_has() {
    use std::os::unix::fs::PermissionsExt;
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    model(&user, "org/name").0.unwrap();
    let set = |mode| {
        for path in ["", "refs", "blobs", "snapshots"] {
            fs::set_permissions(folder.repo().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    let online = model(&user, "org/name").0;
    let offline = model(&user.offline(true), "org/name").0;
    set(0o755);
    assert_eq!(online.unwrap(), offline.unwrap());
}

#[test]
fn a_cache_that_cannot_be_made_is_named() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    fs::write(folder.cache(), "a file").unwrap();
    let (error, texts) = refusal(&folder.hub(&hub.url, &[]), "org/name");
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(texts.contains(&folder.cache().display().to_string()), "{texts}");
}
