//! What a call over the plugin boundary costs: the example metrics in Rust and C, in this process, with 1 and with 1 000 rows.
//!
//! `cargo bench --workspace --bench boundary`; the bounds are 20 us and 200 us.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use lmprobe_bridge::{DEFAULT_TIMEOUT, LibraryRequest, OfferedLibrary, Pin};
use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, Series};
use lmprobe_core::{Build, BuildContext, CallContext, Cancel, Isolation, Kind, Metric, Quiet, Seed, table};

/// Answers as a prober gives them.
fn predictions(n: u64) -> DataFrame {
    let column = |name: &str, value: &dyn Fn(u64) -> String| Series::new(name.into(), (0..n).map(value).collect::<Vec<_>>());
    let names: Vec<Vec<String>> = (0..n).map(|row| (0..10).map(|place| format!("candidate {row} {place}")).collect()).collect();
    let golds: Vec<Vec<String>> = (0..n).map(|row| vec![format!("candidate {row} 0")]).collect();
    table::frame_of(vec![
        column("example_id", &|row| format!("question {row}")),
        column("relation", &|row| format!("relation {}", row % 19)),
        column("subject", &|row| format!("subject {row}")),
        table::texts_column("golds", &golds),
        Series::new("rank".into(), (0..n).map(|row| (row % 5 != 4).then_some(row % 7 + 1)).collect::<Vec<_>>()),
        Series::new("n_candidates".into(), vec![10u64; usize::try_from(n).unwrap()]),
        table::texts_column("predictions", &names),
        table::reals_column("scores", &(0..n).map(|_| (0..10).map(|place| f64::from(-place)).collect()).collect::<Vec<_>>()),
    ])
    .unwrap()
}

/// The example plugins, built as they would be shipped, in a folder that only its owner may write to.
fn libraries(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    let manifest = root.join("tests/plugins/rust/Cargo.toml");
    let built = Command::new(env!("CARGO")).args(["build", "--release", "--quiet", "--manifest-path"]).arg(manifest).env("CARGO_TARGET_DIR", &target).status();
    assert!(built.unwrap().success());
    let place = |file: &Path, name: &str| {
        let path = folder.join(name);
        fs::copy(file, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    let mut libraries = vec![("rust", place(&target.join("release/liblmprobe_example_plugin.so"), "libexample.so"))];
    let c = folder.join("c.so");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-O2", "-fvisibility=hidden", "-shared", "-fPIC", "-I"])
        .arg(root.join("core/abi/include"))
        .arg("-o")
        .arg(&c)
        .arg(root.join("tests/plugins/c/example.c"))
        .arg("-lm")
        .status();
    if compiled.is_ok_and(|status| status.success()) {
        libraries.push(("c", place(&c, "libexample_c.so")));
    }
    libraries
}

fn metric(path: PathBuf) -> Arc<dyn Metric> {
    let request = LibraryRequest { path, pin: Pin::Unpinned, isolation: Isolation::InProcess, timeout: DEFAULT_TIMEOUT, direct: false };
    let registrations = OfferedLibrary::load(&request).unwrap().registrations().unwrap();
    let registration = registrations.iter().find(|registration| registration.kind() == Kind::Metric && registration.id.ends_with("/share-right")).unwrap();
    let Build::Metric(build) = registration.build else { unreachable!("its kind says so") };
    build(serde_json::json!({"k": 3}), &BuildContext::default()).unwrap()
}

fn calls(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    for (language, path) in libraries(folder.path()) {
        let metric = metric(path);
        for n in [1, 1_000] {
            let predictions = predictions(n);
            criterion.bench_function(&format!("metric in {language}, {n} rows"), |bencher| {
                let cx = CallContext::new(Seed(0), &Quiet, Cancel::default());
                bencher.iter(|| metric.compute(&predictions, &cx).unwrap());
            });
        }
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
