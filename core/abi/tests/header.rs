//! The header in C is what the crate says, and compiles; the layout is the frozen one.
//!
//! `LMPROBE_BLESS=1` writes both files anew; of a released layout only additions may follow from that.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use lmprobe_abi::layout::LAYOUT;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header_file() -> PathBuf {
    root().join("include/lmprobe_plugin.h")
}

/// cbindgen skips byte strings and knows no static assertions.
const MAGIC: &str = r#"
#define LMPROBE_STAMP_MAGIC { 'L', 'M', 'P', 'A', 'B', 'I', 0, 1 }

#if defined(__APPLE__)
#define LMPROBE_STAMP_SECTION "__DATA,__lmprobe_abi"
#else
#define LMPROBE_STAMP_SECTION ".lmprobe_abi"
#endif

#ifdef __cplusplus
#define LMPROBE_EXPORTED extern "C" __attribute__((visibility("default")))
#else
#define LMPROBE_EXPORTED extern __attribute__((visibility("default")))
#endif

/* Defines the stamp; write it once, at the top level of one file. */
#define LMPROBE_DEFINE_STAMP \
  LMPROBE_EXPORTED const struct lmprobe_stamp LMPROBE_STAMP __attribute__((section(LMPROBE_STAMP_SECTION))); \
  const struct lmprobe_stamp LMPROBE_STAMP = \
    { LMPROBE_STAMP_MAGIC, sizeof(struct lmprobe_stamp), LMPROBE_ABI_MAJOR, LMPROBE_ABI_MINOR };

/* The one exported function; declared here so that it can be defined anywhere. */
#define LMPROBE_DECLARE_ENTRY \
  LMPROBE_EXPORTED int32_t lmprobe_plugin_entry_v1( \
    const struct lmprobe_host *host, const struct lmprobe_plugin **plugin, struct lmprobe_error *error);
"#;

fn generated() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    config.after_includes = Some(MAGIC.to_owned());
    config.trailer = Some(frozen());
    let bindings = cbindgen::Builder::new().with_crate(root()).with_config(config).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).unwrap()
}

/// The same assertions as in the crate.
fn frozen() -> String {
    let mut text = String::from(
        "/* The layout of 1.0, frozen. */\n#ifdef __cplusplus\n#define LMPROBE_FROZEN(condition) static_assert(condition, #condition)\n#else\n#define LMPROBE_FROZEN(condition) _Static_assert(condition, #condition)\n#endif\n",
    );
    for (name, size, fields) in LAYOUT {
        writeln!(text, "LMPROBE_FROZEN(sizeof(struct {name}) == {size});").unwrap();
        for (field, offset) in *fields {
            writeln!(text, "LMPROBE_FROZEN(offsetof(struct {name}, {field}) == {offset});").unwrap();
        }
    }
    text + "#undef LMPROBE_FROZEN\n"
}

fn compare(path: &Path, expected: &str) {
    if std::env::var_os("LMPROBE_BLESS").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{} is not what the crate says; LMPROBE_BLESS=1 writes it anew", path.display());
}

#[test]
fn the_header_is_what_the_crate_says() {
    compare(&header_file(), &generated());
}

#[test]
fn the_layout_is_the_frozen_one() {
    let mut text = String::new();
    for (name, size, fields) in LAYOUT {
        writeln!(text, "{name} {size}").unwrap();
        for (field, offset) in *fields {
            writeln!(text, "  {offset:3} {field}").unwrap();
        }
    }
    compare(&root().join("tests/layout-1.0.txt"), &text);
}

#[test]
fn the_header_compiles_as_c11_and_as_cpp17() {
    let folder = std::env::temp_dir().join(format!("lmprobe-abi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = "#include \"lmprobe_plugin.h\"\nLMPROBE_DEFINE_STAMP\nLMPROBE_DECLARE_ENTRY\n";
    for (compiler, standard, language, file) in [("cc", "-std=c11", "c", "plugin.c"), ("c++", "-std=c++17", "c++", "plugin.cpp")] {
        let path = folder.join(file);
        std::fs::write(&path, source).unwrap();
        let output = Command::new(compiler)
            .args([standard, "-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
            .arg(root().join("include"))
            .arg(&path)
            .output()
            .unwrap_or_else(|error| panic!("`{compiler}` is needed to check the header: {error}"));
        assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
