//! `lmprobe new plugin`: a plugin that builds and runs at once, to be changed into one's own.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use lmprobe_core::Error;

use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::run_file::shown;

/// Arguments of `lmprobe new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the source of a plugin: a crate in Rust or a file in C
    Plugin(NewPluginArgs),
}

/// Arguments of `lmprobe new plugin`.
#[derive(Debug, Args)]
pub(crate) struct NewPluginArgs {
    /// What it is to be called: `vendor/name`, or `vendor` alone
    name: String,
    /// What it is to be
    #[arg(long)]
    kind: NewKind,
    /// The language
    #[arg(long, default_value = "rust")]
    lang: Language,
    /// The folder to write; it must not exist [default: the name, with `-` for `/`]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NewKind {
    Encoder,
    Objective,
    Task,
    Prober,
    Metric,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    C,
}

/// A file to write and its text.
type Text = (&'static str, &'static str);

macro_rules! texts {
    ($folder:literal: $($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../", $folder, "/", $name)))),*] };
}

/// The interface, as a crate of the new project: it builds without a registry that knows this program.
const ABI: &[Text] = texts!["core/abi/src": "arrow.rs", "codes.rs", "component.rs", "dlpack.rs", "error.rs", "host.rs", "layout.rs", "lib.rs", "operations.rs",
    "request.rs", "stamp.rs", "tensors.rs", "text.rs"];

/// The kit, likewise.
const SDK: &[Text] = texts!["core/sdk/src": "arrow.rs", "bits.rs", "boundary/arrow_export.rs", "boundary/arrow_import.rs", "boundary/buffer.rs", "boundary/dlpack.rs",
    "boundary/encoder_exports.rs", "boundary/exports.rs", "boundary/guard.rs", "boundary/host.rs", "boundary/host_side.rs", "boundary/mod.rs",
    "boundary/objective_exports.rs", "boundary/plugin.rs", "boundary/request.rs", "boundary/tensor_list.rs", "boundary/text.rs", "call.rs", "candle.rs", "column.rs",
    "component.rs", "encoder.rs", "error.rs", "export.rs", "host_encoder.rs", "lib.rs", "metric.rs", "objective.rs", "params.rs", "prober.rs", "rows.rs", "seed.rs",
    "table.rs", "task.rs", "tensor.rs", "tokens.rs"];

/// The header.
const HEADER: &str = include_str!("../../core/abi/include/lmprobe_plugin.h");

/// The example in C: a metric and an encoder.
const C_EXAMPLE: &str = include_str!("../../tests/plugins/c/example.c");

/// The example of a kind in Rust: its name, its type, its file first and then those it uses.
fn example(kind: NewKind) -> (&'static str, &'static str, &'static [Text]) {
    match kind {
        NewKind::Encoder => ("hashed", "hashed::Hashed", texts!["tests/plugins/rust/src": "hashed.rs", "hashed_model.rs"]),
        NewKind::Objective => ("info-nce", "objective::InfoNce", texts!["tests/plugins/rust/src": "objective.rs", "info_nce.rs"]),
        NewKind::Task => ("facts", "facts::Facts", texts!["tests/plugins/rust/src": "facts.rs"]),
        NewKind::Prober => ("nearest", "nearest::Nearest", texts!["tests/plugins/rust/src": "nearest.rs", "pools.rs"]),
        NewKind::Metric => ("share-right", "share_right::ShareRight", texts!["tests/plugins/rust/src": "share_right.rs"]),
    }
}

impl NewKind {
    fn word(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Objective => "objective",
            Self::Task => "task",
            Self::Prober => "prober",
            Self::Metric => "metric",
        }
    }
}

/// Runs the command.
pub(crate) fn execute(arguments: &NewArgs, console: Console) -> anyhow::Result<Exit> {
    let What::Plugin(arguments) = &arguments.what;
    let (vendor, component) = names(arguments)?;
    let folder = arguments.dir.clone().unwrap_or_else(|| PathBuf::from(arguments.name.replace('/', "-")));
    if folder.exists() {
        return Err(UsageError(format!("`{}` is there already; name another folder with --dir", folder.display())).into());
    }
    let files = match arguments.lang {
        Language::Rust => rust_files(arguments.kind, &vendor, &component),
        Language::C => c_files(arguments.kind, &vendor)?,
    };
    for (name, text) in files {
        write(&folder.join(name), &text)?;
    }
    let next = match arguments.lang {
        Language::Rust => format!("cargo build --release && lmprobe plugin check target/release/lib{}.so", vendor.replace('-', "_")),
        Language::C => format!("make && lmprobe plugin check lib{vendor}.so"),
    };
    console.note(&format!("wrote {}; next: cd {} && {next}", shown(&folder), folder.display()));
    Ok(Exit::Done)
}

/// Vendor and component: what the interface allows as names.
fn names(arguments: &NewPluginArgs) -> Result<(String, String), UsageError> {
    let (vendor, component) = arguments.name.split_once('/').unwrap_or((&arguments.name, arguments.kind.word()));
    let fits = |name: &str, more: &[char]| {
        let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        (1..=64).contains(&name.len()) && name.starts_with(allowed) && name.chars().all(|letter| allowed(letter) || more.contains(&letter))
    };
    if vendor == "builtin" {
        return Err(UsageError("the vendor `builtin` is reserved; choose a name of your own".into()));
    }
    if !fits(vendor, &['-']) || !fits(component, &['-', '.', '_']) {
        let message = format!(
            "`{}` cannot be a name; write `vendor/name` of a-z, 0-9 and `-`, beginning with a letter or a digit, such as `acme/accuracy`",
            arguments.name
        );
        return Err(UsageError(message));
    }
    // What begins with a digit is no name for a crate.
    if arguments.lang == Language::Rust && vendor.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(UsageError(format!("the vendor `{vendor}` begins with a digit, which no crate may; put a letter in front")));
    }
    Ok((vendor.to_owned(), component.to_owned()))
}

fn rust_files(kind: NewKind, vendor: &str, component: &str) -> Vec<(String, String)> {
    let (id, kind_path, texts) = example(kind);
    let renamed = |text: &str| text.replace(&format!("example/{id}"), &format!("{vendor}/{component}"));
    let mut files = vec![
        ("Cargo.toml".to_owned(), CARGO.replace("VENDOR", vendor).replace("VERSION", env!("CARGO_PKG_VERSION"))),
        (".gitignore".to_owned(), "/target\n".to_owned()),
        ("README.md".to_owned(), readme(kind, vendor, component, Language::Rust)),
    ];
    let modules: Vec<String> = texts.iter().map(|(name, _)| format!("mod {};\n", name.trim_end_matches(".rs"))).collect();
    let library = format!(
        "//! A plugin of lmprobe. What it offers stands below; `README.md` says how to build and use it.\n#![deny(unsafe_code)]\n\n{}\nlmprobe_sdk::export_plugin! {{\n    name: \"{vendor}\",\n    components: [\n        {} \"{vendor}/{component}\" => {kind_path};\n    ]\n}}\n",
        modules.concat(),
        kind.word()
    );
    files.push(("src/lib.rs".to_owned(), library));
    files.extend(texts.iter().map(|(name, text)| (format!("src/{name}"), renamed(text))));
    files.push(("lmprobe/abi/Cargo.toml".to_owned(), ABI_CARGO.replace("VERSION", env!("CARGO_PKG_VERSION"))));
    files.push(("lmprobe/sdk/Cargo.toml".to_owned(), SDK_CARGO.replace("VERSION", env!("CARGO_PKG_VERSION"))));
    files.extend(ABI.iter().map(|(name, text)| (format!("lmprobe/abi/src/{name}"), (*text).to_owned())));
    files.extend(SDK.iter().map(|(name, text)| (format!("lmprobe/sdk/src/{name}"), (*text).to_owned())));
    files
}

fn c_files(kind: NewKind, vendor: &str) -> Result<Vec<(String, String)>, UsageError> {
    if !matches!(kind, NewKind::Metric | NewKind::Encoder) {
        let message =
            format!("there is no {} in C to begin with; `--kind metric` writes the frame, and lmprobe_plugin.h says what a {} does", kind.word(), kind.word());
        return Err(UsageError(message));
    }
    let makefile = format!(
        "# `make` builds the plugin, `make check` has lmprobe check it.\nCFLAGS = -I. -std=c11 -O2 -Wall -Wextra -Werror -Werror=implicit-function-declaration\n\nlib{vendor}.so: plugin.c lmprobe_plugin.h\n\t$(CC) $(CFLAGS) -fvisibility=hidden -fPIC -shared -o $@ plugin.c -lm\n\n.PHONY: check clean\ncheck: lib{vendor}.so\n\tlmprobe plugin check lib{vendor}.so\n\nclean:\n\trm -f lib{vendor}.so\n"
    );
    Ok(vec![
        ("Makefile".to_owned(), makefile),
        ("plugin.c".to_owned(), C_EXAMPLE.replace("example-c", vendor)),
        ("lmprobe_plugin.h".to_owned(), HEADER.to_owned()),
        ("README.md".to_owned(), readme(kind, vendor, if kind == NewKind::Metric { "share-right" } else { "hashed" }, Language::C)),
    ])
}

fn readme(kind: NewKind, vendor: &str, component: &str, language: Language) -> String {
    let (build, library, begin) = match language {
        Language::Rust => {
            let (_, _, texts) = example(kind);
            ("cargo build --release".to_owned(), format!("target/release/lib{}.so", vendor.replace('-', "_")), format!("`src/{}`", texts[0].0))
        }
        Language::C => ("make".to_owned(), format!("lib{vendor}.so"), "`plugin.c`, which holds a metric and an encoder; keep what you need".to_owned()),
    };
    let list = match kind {
        NewKind::Encoder => "encoders",
        NewKind::Objective => "adapt",
        NewKind::Task => "tasks",
        NewKind::Prober => "probers",
        NewKind::Metric => "metrics",
    };
    format!(
        "# {vendor}\n\nA plugin of lmprobe with the {} `{vendor}/{component}`. It works as it is; make it yours in {begin}.\n\n```sh\n{build}\nlmprobe plugin check {library}\nlmprobe plugin pin {library}\n```\n\nThe last command prints the lines that list the plugin in a run file, beside\n\n```yaml\n{list}:\n  - {{use: {vendor}/{component}}}\n```\n",
        kind.word()
    )
}

const CARGO: &str = r#"[package]
name = "VENDOR"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[dependencies]
lmprobe-sdk = { path = "lmprobe/sdk" }

# The interface and the kit of lmprobe VERSION. They change with no later release in a way that matters here.
[workspace]
members = ["lmprobe/abi", "lmprobe/sdk"]
"#;

const ABI_CARGO: &str = r#"[package]
name = "lmprobe-abi"
version = "VERSION"
edition = "2024"
license = "Apache-2.0"
publish = false

[lints.rust]
non_camel_case_types = "allow"
"#;

const SDK_CARGO: &str = r#"[package]
name = "lmprobe-sdk"
version = "VERSION"
edition = "2024"
license = "Apache-2.0"
publish = false

[features]
arrow = ["dep:arrow-array", "dep:arrow-schema", "dep:arrow-data"]
candle = ["dep:candle-core"]

[dependencies]
lmprobe-abi = { path = "../abi" }
serde = { version = "1", features = ["derive"] }
serde_json = { version = "1", features = ["preserve_order", "float_roundtrip"] }
schemars = "1.2"
arrow-array = { version = "60", default-features = false, features = ["ffi"], optional = true }
arrow-schema = { version = "60", default-features = false, features = ["ffi"], optional = true }
arrow-data = { version = "60", default-features = false, features = ["ffi"], optional = true }
candle-core = { version = "0.11", default-features = false, optional = true }
"#;

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    fs::write(path, text).map_err(Error::io(path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The sources below a folder, relative to it.
    fn sources(folder: &Path, base: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, base, found);
            } else {
                found.insert(path.strip_prefix(base).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn a_new_project_gets_every_file_of_the_kit() {
        for (folder, texts) in [("core/abi/src", ABI), ("core/sdk/src", SDK)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            let mut found = BTreeSet::new();
            sources(&folder, &folder, &mut found);
            assert_eq!(texts.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(), found);
        }
    }

    #[test]
    fn names_are_those_the_loader_takes() {
        let parsed = |name: &str| names(&NewPluginArgs { name: name.into(), kind: NewKind::Metric, lang: Language::Rust, dir: None }).map_err(|error| error.0);
        assert_eq!(parsed("acme/accuracy").unwrap(), ("acme".into(), "accuracy".into()));
        assert_eq!(parsed("acme").unwrap(), ("acme".into(), "metric".into()));
        for (name, message) in
            [("builtin/x", "reserved"), ("Acme", "cannot be a name"), ("a/b/c", "cannot be a name"), ("9lives", "begins with a digit"), ("", "cannot be")]
        {
            assert!(parsed(name).unwrap_err().contains(message), "{name}");
        }
    }
}
