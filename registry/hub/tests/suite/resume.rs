//! Downloads that are cut, damaged or continued.

use std::fs;

use lmprobe_hub::{Error, Event};

use crate::fake_hub::{COMMIT, FakeHub, RepoFile, weights};
use crate::folder::{Folder, model, refusal};

const LARGE: &str = "model.safetensors";

fn large(hub: &FakeHub) -> RepoFile {
    hub.state().files.iter().find(|file| file.name == LARGE).unwrap().clone()
}

/// The storage's requests for the large file.
fn ranges(hub: &FakeHub) -> Vec<Option<String>> {
    hub.take_log().into_iter().filter(|request| request.server == "cdn").map(|request| request.range).collect()
}

fn leave_part(folder: &Folder, etag: &str, bytes: &[u8]) -> std::path::PathBuf {
    let part = folder.repo().join("blobs").join(format!("{etag}.incomplete"));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, bytes).unwrap();
    part
}

#[test]
fn a_cut_download_continues_where_it_stopped() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    hub.state().cut_after = Some(100_000);
    let (error, texts) = refusal(&user, "org/name");
    assert!(matches!(error, Error::Network { .. }) && error.needs_network(), "{error:?}");
    assert!(texts.contains(LARGE) && texts.contains("100000 of 300000"), "{texts}");
    let part = folder.repo().join("blobs").join(format!("{}.incomplete", large(&hub).etag()));
    assert_eq!(fs::read(&part).unwrap(), weights()[..100_000]);
    assert!(!folder.repo().join("refs/main").exists(), "a cut commit is not noted");

    hub.take_log();
    hub.state().cut_after = None;
    let (snapshot, events) = model(&user, "org/name");
    assert_eq!(fs::read(snapshot.unwrap().folder.join(LARGE)).unwrap(), weights());
    assert_eq!(ranges(&hub), [Some("bytes=100000-".to_owned())]);
    assert!(events.contains(&Event::Progress { file: LARGE.to_owned(), received: 100_000 }));
    assert!(!part.exists());
}

#[test]
fn a_cut_update_leaves_the_commit_before_it_in_use() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    model(&user, "org/name").0.unwrap();
    hub.remove(LARGE);
    hub.add(LARGE, &weights()[4..], true);
    hub.state().commit = COMMIT.replace('0', "f");
    hub.state().cut_after = Some(1000);
    model(&user, "org/name").0.unwrap_err();
    assert_eq!(model(&user.offline(true), "org/name").0.unwrap().commit, COMMIT);
}

#[test]
fn a_part_that_is_whole_needs_no_bytes() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    leave_part(&folder, &large(&hub).etag(), &weights());
    model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    assert!(ranges(&hub).is_empty());
}

#[test]
fn a_part_that_is_too_long_or_wrong_is_fetched_again() {
    for part in [vec![1; 300_001], vec![1; 300_000], vec![1; 10]] {
        let (hub, folder) = (FakeHub::start(), Folder::new());
        leave_part(&folder, &large(&hub).etag(), &part);
        let snapshot = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
        assert_eq!(fs::read(snapshot.folder.join(LARGE)).unwrap(), weights(), "{}", part.len());
        assert_eq!(ranges(&hub).last(), Some(&None));
    }
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    leave_part(&folder, &large(&hub).etag(), &weights()[..5000]);
    hub.state().ignore_range = true;
    let snapshot = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    assert_eq!(fs::read(snapshot.folder.join(LARGE)).unwrap(), weights());
}

#[test]
fn damaged_files_are_deleted_and_named_with_both_checksums() {
    for (file, kind) in [(LARGE, "sha256"), ("vocab.txt", "git-sha1")] {
        let (hub, folder) = (FakeHub::start(), Folder::new());
        let user = folder.hub(&hub.url, &[]);
        hub.state().damaged = Some(file);
        let (error, texts) = refusal(&user, "org/name");
        let etag = hub.state().files.iter().find(|other| other.name == file).unwrap().etag();
        let Error::Checksum { expected, found, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*expected, format!("{kind} {etag}"));
        assert!(found.starts_with(kind) && found != expected);
        assert!(texts.contains(file) && texts.contains(&etag) && texts.contains(found), "{texts}");
        assert!(!error.needs_network());
        assert!(!folder.tree().iter().any(|path| path.contains(&etag) && path.contains("blobs")), "{:#?}", folder.tree());

        hub.state().damaged = None;
        model(&user, "org/name").0.unwrap();
    }
}

#[test]
fn a_damaged_continuation_is_repeated_once_from_the_beginning() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    leave_part(&folder, &large(&hub).etag(), &weights()[..5000]);
    hub.state().damaged = Some(LARGE);
    let (result, events) = model(&folder.hub(&hub.url, &[]), "org/name");
    assert!(matches!(result, Err(Error::Checksum { .. })));
    assert_eq!(ranges(&hub), [Some("bytes=5000-".to_owned()), None]);
    assert!(events.contains(&Event::Restarted { file: LARGE.to_owned() }));
}

#[test]
fn an_empty_file_is_fetched() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    hub.add("merges.txt", b"", false);
    let snapshot = model(&folder.hub(&hub.url, &[]), "org/name").0.unwrap();
    assert_eq!(fs::metadata(snapshot.folder.join("merges.txt")).unwrap().len(), 0);
}

#[test]
fn a_deleted_or_truncated_blob_is_fetched_again() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    let snapshot = model(&user, "org/name").0.unwrap();
    let blob = folder.repo().join("blobs").join(large(&hub).etag());
    fs::remove_file(&blob).unwrap();
    model(&user, "org/name").0.unwrap();
    assert_eq!(fs::read(snapshot.folder.join(LARGE)).unwrap(), weights());

    fs::remove_file(snapshot.folder.join(LARGE)).unwrap();
    fs::write(&blob, "short").unwrap();
    model(&user, "org/name").0.unwrap();
    assert_eq!(fs::read(snapshot.folder.join(LARGE)).unwrap(), weights());
}

#[test]
fn two_processes_fetch_a_file_once() {
    let (hub, folder) = (FakeHub::start(), Folder::new());
    let user = folder.hub(&hub.url, &[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| model(&user, "org/name").0.unwrap());
        }
    });
    assert_eq!(ranges(&hub), [None]);
}
