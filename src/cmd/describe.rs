//! `lmprobe describe`: the manual and the parameters of a plugin.

use std::fmt::Write;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use lmprobe_core::{Origin, Registration};
use lmprobe_registry::plugin_schema;
use serde_json::{Map, Value, json};

use crate::cmd::describe_model::{self, ModelArgs};
use crate::cmd::list::{KindName, origin};
use crate::console::Console;
use crate::exit::{Exit, UsageError};

/// Arguments of `lmprobe describe`.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The kind of plugin, or `model`
    kind: Subject,
    /// Its name in the run file; of a model its folder or hub id
    name: String,
    /// Print a JSON object; of a plugin with the JSON Schema of its parameters
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// What can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Plugin(KindName),
    Model,
}

impl ValueEnum for Subject {
    fn value_variants<'a>() -> &'a [Self] {
        use KindName::{Encoder, Metric, Objective, Prober, Task};
        const SUBJECTS: [Subject; 6] =
            [Subject::Plugin(Encoder), Subject::Plugin(Objective), Subject::Plugin(Task), Subject::Plugin(Prober), Subject::Plugin(Metric), Subject::Model];
        &SUBJECTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Plugin(kind) => kind.to_possible_value(),
            Self::Model => Some(PossibleValue::new("model").help("What a model folder holds")),
        }
    }
}

/// Runs the command.
pub(crate) fn execute(arguments: &DescribeArgs, console: Console) -> anyhow::Result<Exit> {
    let kind = match arguments.kind {
        Subject::Model => return describe_model::execute(&arguments.name, &arguments.model, arguments.json, console),
        Subject::Plugin(kind) => kind,
    };
    if let Some(option) = arguments.model.given() {
        return Err(UsageError(format!("{option} belongs to `describe model`, not to plugins")).into());
    }
    let registry = arguments.model.registry(console)?;
    let plugin = registry.find(kind.into(), &arguments.name).map_err(|unknown| UsageError(unknown.to_string()))?;
    let schema = plugin_schema(plugin);
    if arguments.json {
        console.json(&json!({
            "kind": plugin.kind().word(),
            "id": plugin.id,
            "version": plugin.version,
            "summary": plugin.summary,
            "manual": plugin.manual,
            "families": plugin.families,
            "origin": origin(plugin),
            "schema": schema,
        }))?;
    } else {
        console.result(&manual(plugin, &schema))?;
    }
    Ok(Exit::Done)
}

fn manual(plugin: &Registration, schema: &Value) -> String {
    let mut text = format!("{} `{}`: {}\n\n{}\n", plugin.kind().word(), plugin.id, plugin.summary, plugin.manual.trim());
    text.push_str("\n## Parameters\n\n");
    text.push_str(&parameters(schema));
    if !plugin.families.is_empty() {
        let _ = writeln!(text, "\nReads models whose `model_type` is {}.", plugin.families.join(", "));
    }
    let _ = match &plugin.origin {
        Origin::Builtin { file, line } => writeln!(text, "\nImplemented in {file}:{line}, version {}.", plugin.version),
        Origin::Library { library, component_version } => writeln!(
            text,
            "\nVersion {}, from the library {} {} (plugin interface {}):\n  path    {}\n  sha256  {}",
            component_version,
            library.name,
            library.version,
            library.abi,
            library.path.display(),
            library.sha256
        ),
    };
    text
}

/// One entry a parameter: `name: type, default, range`, and below what it is.
fn parameters(schema: &Value) -> String {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = String::new();
    for (name, parameter) in properties.iter().filter(|(name, _)| *name != "use") {
        let mut facts = vec![kind(parameter), default(parameter, required.contains(&name.as_str()))];
        facts.extend(range(parameter));
        let _ = writeln!(text, "{name}: {}", facts.join(", "));
        for line in parameter.get("description").and_then(Value::as_str).unwrap_or_default().lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    if text.is_empty() { "none\n".to_owned() } else { text }
}

fn kind(parameter: &Value) -> String {
    if let Some(format) = parameter.get("format").and_then(Value::as_str).and_then(path_kind) {
        return format.to_owned();
    }
    if let Some(choices) = choices(parameter) {
        return choices.join(" | ");
    }
    let word = |name: &str| match name {
        "integer" => "whole number".to_owned(),
        "boolean" => "true | false".to_owned(),
        "string" => "text".to_owned(),
        "array" => format!("list of {}", parameter.get("items").map_or_else(|| "anything".into(), kind)),
        "null" => "nothing".to_owned(),
        other => other.to_owned(),
    };
    match parameter.get("type") {
        Some(Value::String(name)) => word(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").map(word).collect::<Vec<_>>().join(" or "),
        _ => alternatives(parameter).unwrap_or_else(|| "anything".to_owned()),
    }
}

fn path_kind(format: &str) -> Option<&'static str> {
    use lmprobe_core::PathKind;
    PathKind::from_format(format).map(|kind| match kind {
        PathKind::File => "path of a file",
        PathKind::Folder => "path of a folder",
        PathKind::Model => "model folder or hub id",
        PathKind::Files => "path of a file, glob, or list of them",
    })
}

/// The values of an enumeration, however the schema writes it.
fn choices(parameter: &Value) -> Option<Vec<String>> {
    if let Some(value) = parameter.get("const") {
        return Some(vec![plain(value)]);
    }
    if let Some(values) = parameter.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter(|value| !value.is_null()).map(plain).collect());
    }
    let variants = parameter.get("oneOf").and_then(Value::as_array)?;
    variants.iter().map(choices).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}

fn alternatives(parameter: &Value) -> Option<String> {
    let variants = ["anyOf", "oneOf"].iter().find_map(|key| parameter.get(*key)).and_then(Value::as_array)?;
    let words: Vec<String> = variants.iter().filter(|variant| variant.get("type").and_then(Value::as_str) != Some("null")).map(kind).collect();
    Some(words.join(" or "))
}

fn default(parameter: &Value, required: bool) -> String {
    match parameter.get("default") {
        _ if required => "required".to_owned(),
        Some(Value::Null) | None => "optional".to_owned(),
        Some(value) => format!("default {}", plain(value)),
    }
}

fn range(parameter: &Value) -> Option<String> {
    let bounds = [("minimum", "at least"), ("exclusiveMinimum", "more than"), ("maximum", "at most"), ("exclusiveMaximum", "less than")];
    let number = |value: &Value| value.as_f64().map_or_else(|| plain(value), |number| number.to_string());
    let parts: Vec<String> = bounds.iter().filter_map(|(key, words)| parameter.get(*key).map(|value| format!("{words} {}", number(value)))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_says_type_default_range_and_meaning() {
        let schema = json!({"properties": {
            "use": {"const": "x"},
            "temperature": {"type": "number", "default": 0.04, "exclusiveMinimum": 0.0, "description": "Divides the similarities."},
            "path": {"type": "string", "format": "existing-file"},
            "pooling": {"oneOf": [{"const": "cls"}, {"enum": ["mean", "mask"]}], "default": "cls"},
            "layers": {"type": ["array", "null"], "items": {"type": "integer"}},
        }, "required": ["path"]});
        let expected = "\
temperature: number, default 0.04, more than 0
    Divides the similarities.
path: path of a file, required
pooling: cls | mean | mask, default cls
layers: list of whole number, optional
";
        assert_eq!(parameters(&schema), expected);
    }
}
