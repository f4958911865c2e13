//! Plugins in shared libraries: those a run file lists under `plugins`, and those a command line names.

use std::path::PathBuf;
use std::time::Duration;

use lmprobe_bridge::{DEFAULT_TIMEOUT, LibraryRequest, OfferedLibrary, Pin};
use lmprobe_core::{Isolation, LibraryOrigin, Origin, Result};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::Registry;
use crate::diagnostic::Report;
use crate::node::Node;
use crate::schema::{At, Checker};

/// Which shared libraries may be loaded.
#[derive(Debug, Clone, Default)]
pub struct LibraryPolicy {
    /// None at all: a file that lists one is refused.
    pub forbidden: bool,
    /// Also such whose SHA-256 nobody named; for development.
    pub unpinned: bool,
    /// The file itself is loaded instead of a copy of the bytes that were checked; for debuggers.
    pub direct: bool,
}

/// An item of `plugins`.
#[derive(Debug, Deserialize)]
struct Listed {
    path: PathBuf,
    sha256: Option<String>,
    isolation: Isolation,
    timeout: f64,
}

/// The schema of an item of `plugins`.
pub(crate) fn item_schema() -> Json {
    json!({
        "type": "object", "additionalProperties": false, "required": ["path"],
        "properties": {
            "path": {"description": "The shared library, relative to the run file.", "type": "string", "format": "existing-file"},
            "sha256": {"description": "The SHA-256 that the file must have; `lmprobe plugin pin FILE` prints it.", "type": ["string", "null"], "default": null},
            "isolation": {"description": "Where its code runs: in this process, or in one of its own, so that a crash fails a job and nothing else.", "enum": ["in-process", "process"], "default": "in-process"},
            "timeout": {
                "description": "With `isolation: process`: seconds a call may give no sign of life before it is ended.",
                "type": "number", "exclusiveMinimum": 0.0, "maximum": 31_536_000.0, "default": DEFAULT_TIMEOUT.as_secs()
            }
        }
    })
}

/// Reads the list and loads its libraries. The registry with their components, or `None` if something was reported.
pub(crate) fn load(registry: &Registry, policy: &LibraryPolicy, list: &Node, report: &mut Report) -> Option<Registry> {
    let before = report.len();
    if policy.forbidden && !list.items().is_empty() {
        let error = report.error(list.location, "plugins", "this file lists plugins, and `--no-plugins` forbids them");
        error.help("leave the option away, or run a file without plugins".to_owned());
        return None;
    }
    let schema = item_schema();
    let mut libraries = Vec::new();
    for (index, node) in list.items().iter().enumerate() {
        let key = format!("plugins[{index}]");
        let Some(value) = Checker::new(report).check(node, &schema, &At::root(&key)) else { continue };
        let Ok(Listed { path, sha256, isolation, timeout }) = serde_json::from_value(value) else { continue };
        let place = |name: &str| (node.get(name).map_or(node.location, |value| value.location), format!("{key}.{name}"));
        let pin = match sha256.as_deref().map(str::parse) {
            Some(Ok(pin)) => pin,
            Some(Err(error)) => {
                let (location, key) = place("sha256");
                let error: lmprobe_bridge::PinError = error;
                report.error(location, &key, error.to_string());
                continue;
            }
            None if policy.unpinned => Pin::Unpinned,
            None => {
                let message = format!("{key} has no `sha256`, so any file could stand in for it");
                let help = format!("`lmprobe plugin pin {}` prints the line; `--allow-unpinned-plugins` does without", path.display());
                report.error(node.location, &key, message).help(help);
                continue;
            }
        };
        let request = LibraryRequest { path, pin, isolation, timeout: Duration::from_secs_f64(timeout), direct: policy.direct };
        match OfferedLibrary::load(&request) {
            Ok(library) => libraries.push(library),
            Err(error) => {
                let (location, key) = place("path");
                report.error(location, &key, error.to_string());
            }
        }
    }
    if report.len() > before {
        return None;
    }
    match registry.with_libraries(libraries) {
        Ok(registry) => Some(registry),
        Err(error) => {
            report.error(list.location, "plugins", error.to_string());
            None
        }
    }
}

impl Registry {
    /// The registry with the components of libraries besides. A library that is already in it, or comes twice, is taken once.
    ///
    /// # Errors
    /// If two components of one kind have one name.
    pub fn with_libraries(&self, libraries: Vec<OfferedLibrary>) -> Result<Self> {
        let mut registrations = self.all().to_vec();
        for library in libraries {
            let sha256 = library.facts().sha256.clone();
            let known = registrations.iter().any(|other| matches!(&other.origin, Origin::Library { library, .. } if library.sha256 == sha256));
            if !known {
                registrations.extend(library.registrations()?);
            }
        }
        Self::from_registrations(registrations)
    }

    /// The libraries whose components are in the registry, each once.
    pub fn libraries(&self) -> Vec<LibraryOrigin> {
        let mut found: Vec<LibraryOrigin> = Vec::new();
        for registration in self.all() {
            if let Origin::Library { library, .. } = &registration.origin
                && !found.contains(library)
            {
                found.push(library.clone());
            }
        }
        found
    }
}

/// A library as a command line names it: `PATH@sha256:HEX`, or `PATH` where unpinned ones are allowed.
///
/// # Errors
/// What is wrong with it.
pub fn library_argument(text: &str, policy: &LibraryPolicy) -> std::result::Result<LibraryRequest, String> {
    let (path, pin) = match text.rsplit_once("@sha256:") {
        Some((path, hex)) => (path, hex.parse().map_err(|error: lmprobe_bridge::PinError| format!("`--plugin {text}`: {error}"))?),
        None if policy.unpinned => (text, Pin::Unpinned),
        None => {
            return Err(format!(
                "`--plugin {text}` has no pin; write `{text}@sha256:...` as `lmprobe plugin pin {text}` prints it, or add `--allow-unpinned-plugins`"
            ));
        }
    };
    if policy.forbidden {
        return Err("`--plugin` and `--no-plugins` exclude each other".to_owned());
    }
    Ok(LibraryRequest { path: PathBuf::from(path), pin, isolation: Isolation::InProcess, timeout: DEFAULT_TIMEOUT, direct: policy.direct })
}
