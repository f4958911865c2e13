//! Typed parameters: a JSON Schema from the type, and path types that the host resolves and hashes.

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

/// No parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_carry_their_format_and_schemas_have_no_references() {
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only the schema is looked at")]
        struct Params {
            /// The facts.
            path: ExistingFile,
            more: ExistingFiles,
        }
        let schema = schema_of::<Params>();
        assert_eq!(schema["properties"]["path"]["format"], "existing-file");
        assert_eq!(schema["properties"]["path"]["description"], "The facts.");
        assert_eq!(schema["properties"]["more"]["format"], "existing-files");
        assert!(!schema.to_string().contains("$ref") && schema.get("$schema").is_none());
    }
}
