//! The example plugins, built by the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where libraries of the tests are built: beside the program's own target folder, so that neither waits for the other's lock.
pub(super) fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugins")
}

/// A library in a folder of its own that only its owner may write to, as the loader wants it.
#[derive(Debug)]
pub(super) struct Built {
    _folder: tempfile::TempDir,
    /// The file.
    pub(super) path: PathBuf,
    /// Its SHA-256.
    pub(super) sha256: String,
}

impl Built {
    /// A private copy of a library.
    pub(super) fn copy_of(library: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
        let path = folder.path().join(library.file_name().expect("a name"));
        fs::copy(library, &path).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
        let sha256 = lmprobe_core::hash_path(&path).expect("a hash");
        Self { _folder: folder, path, sha256 }
    }

    /// As `--plugin` takes it.
    pub(super) fn pinned(&self) -> String {
        format!("{}@sha256:{}", self.path.display(), self.sha256)
    }

    /// An item of `plugins` in a run file.
    pub(super) fn item(&self, more: &str) -> String {
        format!("{{path: {}, sha256: \"{}\"{more}}}", self.path.display(), self.sha256)
    }
}

/// Builds a crate and gives the shared library it makes.
pub(super) fn cargo_build(manifest: &Path, library: &str) -> PathBuf {
    let target = target();
    // The variables that `cargo test` sets are about this project, not about the plugin's.
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}: {}", manifest.display(), String::from_utf8_lossy(&output.stderr));
    target.join("debug").join(library)
}

/// The example in Rust.
pub(super) fn rust_example() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| Built::copy_of(&cargo_build(&root().join("tests/plugins/rust/Cargo.toml"), "liblmprobe_example_plugin.so")))
}

/// Compiles a plugin of one C file; `None` where there is no C compiler.
pub(super) fn compile_c(source: &Path, more: &[&str]) -> Option<Built> {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libplugin.so");
    let output = Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-shared", "-fPIC", "-I"])
        .arg(root().join("core/abi/include"))
        .args(more)
        .arg("-o")
        .arg(&library)
        .arg(source)
        .arg("-lm")
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no C compiler `cc`");
        return None;
    };
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    Some(Built::copy_of(&library))
}

/// The example in C; `None` where there is no C compiler.
pub(super) fn c_example() -> Option<&'static Built> {
    static BUILT: OnceLock<Option<Built>> = OnceLock::new();
    BUILT.get_or_init(|| compile_c(&root().join("tests/plugins/c/example.c"), &[])).as_ref()
}
