//! Run files with mistakes, and what a user reads about them.
//!
//! Every `tests/fixtures/broken/NN-name.yaml` is refused with the message in `NN-name.txt` beside it. A comment `# <- here`
//! marks the line the message must name. `LMPROBE_BLESS_MESSAGES=1 cargo test broken` writes the messages anew; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Finished, fixtures, lmprobe, run};

const MARK: &[u8] = b"# <- here";

fn folder() -> PathBuf {
    fixtures().join("broken")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder of broken run files");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

/// What a user in the folder of the file reads, without the place of this repository.
fn message(file: &Path) -> Finished {
    let mut command = lmprobe(&["validate", &name(file)]);
    let mut finished = Finished::of(command.current_dir(folder()).env_remove("LMPROBE_TEST_UNSET"));
    finished.stderr = finished.stderr.replace(env!("CARGO_MANIFEST_DIR"), "REPOSITORY");
    finished
}

fn marked_line(text: &[u8]) -> Option<usize> {
    let mark = text.windows(MARK.len()).position(|window| window == MARK)?;
    Some(text[..mark].split(|byte| *byte == b'\n').count())
}

fn problems(file: &Path) -> Vec<String> {
    let finished = message(file);
    let mut problems = Vec::new();
    // A model that only the network could give has a code of its own.
    let code = if name(file).starts_with("42-") { 5 } else { 2 };
    if finished.code != Some(code) {
        problems.push(format!("ends with {:?}", finished.code));
    }
    if !finished.stdout.is_empty() {
        problems.push(format!("writes results: {}", finished.stdout));
    }
    if finished.stderr.contains("panicked") {
        problems.push("panicked".to_owned());
    }
    if finished.stderr.lines().count() > 40 {
        problems.push(format!("says {} lines", finished.stderr.lines().count()));
    }
    if finished.stderr.lines().any(|line| line.chars().count() > 480) {
        problems.push("says a line too long to read".to_owned());
    }
    if finished.stderr.chars().any(|character| character.is_control() && character != '\n') {
        problems.push("says what a terminal would obey".to_owned());
    }
    if let Some(line) = marked_line(&fs::read(file).expect("the file")) {
        let place = format!("{}:{line}:", name(file));
        if !finished.stderr.contains(&place) {
            problems.push(format!("does not name {place}"));
        }
    }
    problems.extend(difference(&file.with_extension("txt"), &finished.stderr));
    problems.iter().map(|problem| format!("{}: {problem}\n{}", name(file), finished.stderr)).collect()
}

/// What differs from the message on record, which is written anew if that was asked for.
fn difference(record: &Path, message: &str) -> Option<String> {
    if std::env::var_os("LMPROBE_BLESS_MESSAGES").is_some() {
        fs::write(record, message).expect("the record can be written");
        return None;
    }
    let expected = fs::read_to_string(record).unwrap_or_default();
    (expected != message).then(|| format!("says something else than its record:\n{expected}\nnow:"))
}

#[test]
fn every_broken_run_file_is_refused_with_a_message_that_helps() {
    let files = files();
    assert!(files.len() >= 60, "{} files", files.len());
    let problems: Vec<String> = files.iter().flat_map(|file| problems(file)).collect();
    assert!(problems.is_empty(), "{} problems\n\n{}", problems.len(), problems.join("\n\n"));
}

#[test]
fn the_mistakes_are_there_for_machines_too() {
    let file = folder().join("02-unknown-parameter.yaml");
    let json = run(&["validate", "--json", file.to_str().expect("a path in UTF-8")]).exits(2).json();
    assert_eq!(json["valid"], false);
    assert_eq!(json["mistakes"][0]["line"], marked_line(&fs::read(&file).expect("the file")).expect("a mark"));
}

#[test]
fn overrides_that_make_no_sense_are_refused() {
    let file = folder().join("01-unknown-top-level-key.yaml");
    for (set, said) in [
        ("seeds", "no `=`"),
        ("=1", "key path"),
        ("encoders[7]=x", "out of range"),
        ("seeds[0].x=1", "cannot be set"),
        ("seeds=[1", "YAML"),
        ("seedz=[1]", "seedz"),
        ("probers[0].use=fil-mask", "cannot be set"),
    ] {
        let finished = run(&["validate", file.to_str().expect("a path in UTF-8"), "--set", set]).exits(2);
        assert!(finished.stderr.contains(said), "--set {set}: {}", finished.stderr);
    }
}
