//! Typed parameters of plugins: a JSON Schema from the type, and path types the host resolves and hashes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The JSON Schema of a parameter type, inlined, without references.
///
/// Defaults, ranges and descriptions of the type's fields stand in it; the run file is checked against it.
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// What kind of path a parameter is, read from the `format` of its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A file that must exist.
    File,
    /// A folder that must exist.
    Folder,
    /// One or more files, globs allowed, that must exist.
    Files,
    /// A model: a folder that must exist, or a hub id that the host turns into the folder of its snapshot.
    Model,
}

impl PathKind {
    /// The kind that a schema's `format` names.
    pub fn from_format(format: &str) -> Option<Self> {
        match format {
            "existing-file" => Some(Self::File),
            "existing-folder" => Some(Self::Folder),
            "existing-files" => Some(Self::Files),
            "model" => Some(Self::Model),
            _ => None,
        }
    }
}

macro_rules! path_type {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub PathBuf);

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "format": $format})
            }
        }
    };
}

path_type!(
    /// A file that exists. Relative paths are relative to the run file; the file's content is part of the job's identity.
    ExistingFile,
    "existing-file"
);
path_type!(
    /// A folder that exists. Relative paths are relative to the run file; its content is part of the job's identity.
    ExistingFolder,
    "existing-folder"
);

path_type!(
    /// A model: a folder (relative paths are relative to the run file) or a hub id, `org/name` or `org/name@revision`. The plugin is given the
    /// folder; what it reads there is part of the job's identity.
    ModelFolder,
    "model"
);

/// Files that exist: one path or a list, each of which may be a glob. Globs expand in byte order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExistingFiles(pub Vec<PathBuf>);

impl JsonSchema for ExistingFiles {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ExistingFiles".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "array"], "items": {"type": "string"}, "format": "existing-files"})
    }
}
