//! Without a network: what the cache holds, and what is said about what it does not.

use std::net::TcpListener;

use lmprobe_hub::{Error, HubId};

use crate::folder::{Folder, id, model, refusal};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A listener that nobody may speak to; dropping it checks that.
struct Silence(TcpListener);

impl Silence {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        assert!(self.0.accept().is_err(), "a socket was opened");
    }
}

fn filled() -> Folder {
    let folder = Folder::new();
    folder.write(format!("snapshots/{COMMIT}/config.json"), "{}");
    folder.write(format!("snapshots/{COMMIT}/pytorch_model.bin"), "");
    folder.write("refs/main", COMMIT);
    folder.write("refs/refs/pr/7", COMMIT);
    folder
}

#[test]
fn a_cached_model_is_found_by_branch_commit_and_short_commit() {
    let (folder, silence) = (filled(), Silence::new());
    for hub in [
        folder.hub(&silence.url(), &[]).offline(true),
        folder.hub(&silence.url(), &[("HF_HUB_OFFLINE", "1")]),
        folder.hub(&silence.url(), &[("TRANSFORMERS_OFFLINE", "yes")]).offline(false),
    ] {
        assert!(hub.is_offline());
        assert_eq!(hub.cache(), folder.cache());
        assert_eq!(hub.endpoint(), silence.url());
        for revision in ["main", "refs/pr/7", COMMIT, &COMMIT[..7]] {
            let (snapshot, events) = model(&hub, &format!("org/name@{revision}"));
            let snapshot = snapshot.unwrap();
            assert_eq!(snapshot, hub.cached(&id(&format!("org/name@{revision}"))).unwrap());
            assert_eq!(snapshot.folder, folder.repo().join("snapshots").join(COMMIT));
            assert_eq!((snapshot.commit.as_str(), snapshot.repo.as_str()), (COMMIT, "org/name"));
            assert_eq!(snapshot.revision, revision);
            assert!(events.is_empty());
        }
    }
}

#[test]
fn looking_into_the_cache_needs_no_network_even_online() {
    let (folder, silence) = (filled(), Silence::new());
    let hub = folder.hub(&silence.url(), &[]);
    hub.cached(&id("org/name")).unwrap();
    let error = hub.cached(&id("org/other")).unwrap_err();
    assert!(error.to_string().contains("org/other"), "{error}");
}

#[test]
fn what_is_not_cached_is_named_with_the_folder_and_the_remedy() {
    let (folder, silence) = (filled(), Silence::new());
    let variables = [("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_CACHE", "/old/cache")];
    for text in ["org/other", "org/name@v2", &format!("org/name@{}", COMMIT.replace('0', "1"))] {
        let (error, texts) = refusal(&folder.hub(&silence.url(), &variables), text);
        assert!(matches!(error, Error::NotCached { .. }) && error.needs_network(), "{error:?}");
        let cache = folder.cache().display().to_string();
        for part in [id(text).repo.as_str(), id(text).revision(), &cache, "unset `HF_HUB_OFFLINE`", "HF_HUB_CACHE", "/old/cache"] {
            assert!(texts.contains(part), "{texts}");
        }
    }
    let (_, texts) = refusal(&folder.hub(&silence.url(), &[]).offline(true), "org/other");
    #[cfg(feature = "download")]
    assert!(texts.contains("--offline"), "{texts}");
    #[cfg(not(feature = "download"))]
    assert!(texts.contains("this build has no downloads") && texts.contains("feature `hub`"), "{texts}");
}

#[test]
fn an_incomplete_snapshot_names_what_is_missing() {
    let (folder, silence) = (Folder::new(), Silence::new());
    folder.write("refs/main", COMMIT);
    let snapshot = format!("snapshots/{COMMIT}");
    folder.write(format!("{snapshot}/config.json"), "{}");
    folder.write(
        format!("{snapshot}/model.safetensors.index.json"),
        r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#,
    );
    folder.write(format!("{snapshot}/model-00001-of-00002.safetensors"), "");
    let hub = folder.hub(&silence.url(), &[]).offline(true);
    let (error, texts) = refusal(&hub, "org/name");
    assert!(matches!(error, Error::Incomplete { .. }) && error.needs_network(), "{error:?}");
    assert!(texts.contains("model-00002-of-00002.safetensors") && !texts.contains("00001-of"), "{texts}");
    folder.write(format!("{snapshot}/model-00002-of-00002.safetensors"), "");
    hub.cached(&id("org/name")).unwrap();
}

#[test]
fn a_folder_with_unreadable_weights_only_says_so() {
    let (folder, silence) = (Folder::new(), Silence::new());
    folder.write(format!("snapshots/{COMMIT}/config.json"), "{}");
    folder.write(format!("snapshots/{COMMIT}/tf_model.h5"), "");
    let (error, texts) = refusal(&folder.hub(&silence.url(), &[]).offline(true), &format!("org/name@{COMMIT}"));
    assert!(matches!(error, Error::UnreadableFormat { .. }) && !error.needs_network(), "{error:?}");
    assert!(texts.contains("tf_model.h5") && texts.contains("convert"), "{texts}");
}

#[test]
fn fields_that_would_lead_out_of_the_cache_are_refused() {
    let (folder, silence) = (filled(), Silence::new());
    folder.write("../../outside/config.json", "{}");
    folder.write("../../outside/model.safetensors", "");
    for (repo, revision) in [("../outside", None), ("org/name", Some("../../../outside")), ("/etc", None), ("org/name", Some("/etc"))] {
        let hostile = HubId { repo: repo.to_owned(), revision: revision.map(str::to_owned) };
        for hub in [folder.hub(&silence.url(), &[]), folder.hub(&silence.url(), &[]).offline(true)] {
            assert!(matches!(hub.cached(&hostile), Err(Error::InvalidId { .. })));
            assert!(matches!(hub.model(&hostile, &mut |_| {}), Err(Error::InvalidId { .. })));
        }
    }
}

#[cfg(not(feature = "download"))]
#[test]
fn a_build_without_downloads_is_offline() {
    let (folder, silence) = (filled(), Silence::new());
    let hub = folder.hub(&silence.url(), &[]);
    assert!(hub.is_offline());
    model(&hub, "org/name").0.unwrap();
}
