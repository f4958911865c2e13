//! The schema of a run file, for editors and for the check of its top level.

use lmprobe_core::train::{TaskShare, TrainingParams};
use lmprobe_core::{CellFilter, Kind, OutputFormat, Problem, RecipeDefaults, Registration, schema_of};
use serde_json::{Map, Value, json};

use crate::Registry;

/// JSON Schema of a plugin's parameters. For an objective the recipe of the training is among them, with the defaults the objective sets.
pub fn plugin_schema(registration: &Registration) -> Value {
    let own = own_schema(registration);
    if registration.kind() != Kind::Objective {
        return own;
    }
    let mut merged = objective_schema(registration, &Map::new(), None).expect("where nothing is written no preset can be unknown");
    if let Some(size) = merged["properties"].get_mut("training_size") {
        let one = size.clone();
        *size = json!({"description": one["description"], "default": one["default"], "anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": true}]});
    }
    merged
}

/// JSON Schema of an objective's parameters, recipe included, with the defaults it sets where the user wrote this.
///
/// # Errors
/// If the objective has no such preset.
pub(crate) fn objective_schema(registration: &Registration, written: &Map<String, Value>, problem: Option<Problem>) -> lmprobe_core::Result<Value> {
    let own = own_schema(registration);
    let defaults = match registration.recipe {
        None => Map::new(),
        Some(RecipeDefaults::Corpus(recipe)) => recipe().as_object().cloned().unwrap_or_default(),
        Some(RecipeDefaults::Task(preset)) => preset(written, problem)?,
    };
    let mut merged = training_schema(registration, &defaults);
    let mut required = merged["required"].as_array().cloned().unwrap_or_default();
    required.extend(own["required"].as_array().cloned().unwrap_or_default());
    if let (Some(all), Some(own)) = (merged["properties"].as_object_mut(), own["properties"].as_object()) {
        all.extend(own.iter().map(|(name, property)| (name.clone(), property.clone())));
        for (name, default) in &defaults {
            if let Some(property) = all.get_mut(name) {
                property["default"] = default.clone();
            }
        }
    }
    merged["required"] = Value::Array(required);
    Ok(merged)
}

/// Whether an objective learns from a task.
pub(crate) fn learns_from_a_task(registration: &Registration) -> bool {
    matches!(registration.recipe, Some(RecipeDefaults::Task(_)))
}

/// The schema of the parameters that a plugin's constructor gets: always a closed mapping.
pub(crate) fn own_schema(registration: &Registration) -> Value {
    let mut schema = (registration.schema)();
    if !schema.is_object() {
        schema = json!({});
    }
    schema["type"] = json!("object");
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    // A parameter nobody reads must not pass, even if the plugin forgot to say so.
    schema["additionalProperties"] = json!(false);
    schema
}

/// The schema of the recipe with an objective's defaults. What it learns from has none: a corpus must be named, and a task is found if there is only one.
fn training_schema(registration: &Registration, recipe: &Map<String, Value>) -> Value {
    let mut schema = schema_of::<TrainingParams>();
    let mut defaults = match serde_json::to_value(TrainingParams::default()) {
        Ok(Value::Object(defaults)) => defaults,
        _ => Map::new(),
    };
    defaults.remove("corpus");
    defaults.extend(recipe.clone());
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    if let Some(properties) = schema["properties"].as_object_mut() {
        if learns_from_a_task(registration) {
            properties.remove("corpus");
            if let Some(share) = schema_of::<TaskShare>()["properties"].as_object() {
                properties.extend(share.clone());
            }
        } else {
            required.push(json!("corpus"));
            properties["corpus"].as_object_mut().expect("a schema of a field is an object").remove("default");
        }
        for (name, property) in properties {
            if let Some(default) = defaults.get(name) {
                property["default"] = default.clone();
            }
        }
    }
    required.retain(|name| name.as_str().is_some_and(|name| !defaults.contains_key(name)));
    schema["required"] = Value::Array(required);
    schema["additionalProperties"] = json!(false);
    schema
}

/// Whether a key of an objective's item belongs to the recipe.
pub(crate) fn is_training_key(key: &str) -> bool {
    schema_of::<TrainingParams>()["properties"].get(key).is_some()
}

/// Whether a key of an objective's item says how much of a task is learned from.
pub(crate) fn is_share_key(key: &str) -> bool {
    schema_of::<TaskShare>()["properties"].get(key).is_some()
}

/// The schema of the top level, items left open: they are checked against their plugins one by one.
pub(crate) fn top_level() -> Value {
    let list = |description: &str| json!({"description": description, "type": "array"});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["encoders"],
        "properties": {
            "name": {"description": "The run's name, a folder name. Default: the file name without its ending.", "type": "string", "minLength": 1},
            "seeds": {
                "description": "Everything drawn at random is drawn once for each seed.",
                "type": "array", "items": {"type": "integer", "format": "uint64", "minimum": 0}, "minItems": 1, "uniqueItems": true, "default": [0]
            },
            "plugins": {"description": "Shared libraries whose components this file uses.", "type": "array", "items": crate::libraries::item_schema(), "default": []},
            "encoders": {"description": "Language models: model folders or plugins.", "type": "array", "minItems": 1},
            "adapt": {"description": "Trainings before probing; `none` is the encoder as it is.", "type": "array", "minItems": 1, "default": ["none"]},
            "tasks": list("Sets of questions."),
            "probers": list("Ways of asking."),
            "baselines": list("Probers that ask no model. Default: all that are registered."),
            "metrics": list("Numbers about answers. Default: those of the tasks."),
            "include": {"description": "Cells of the matrix to keep; all if empty.", "type": "array", "items": schema_of::<CellFilter>(), "default": []},
            "exclude": {"description": "Cells of the matrix to leave out.", "type": "array", "items": schema_of::<CellFilter>(), "default": []},
            "output": {
                "description": "Where the results go.", "type": "object", "additionalProperties": false, "default": {"dir": null, "formats": ["parquet"]},
                "properties": {
                    "dir": {"description": "The run folder, relative to the run file. Default: `runs/NAME` below the current folder.", "type": ["string", "null"], "minLength": 1, "default": null},
                    "formats": {
                        "description": "The formats of the result tables.",
                        "type": "array", "items": schema_of::<OutputFormat>(), "minItems": 1, "uniqueItems": true, "default": ["parquet"]
                    }
                }
            }
        }
    })
}

/// JSON Schema (draft 2020-12) of a whole run file with the parameters of every plugin.
pub fn run_schema(registry: &Registry) -> Value {
    let mut schema = top_level();
    let properties = &mut schema["properties"];
    properties["encoders"]["items"] = items(registry, Kind::Encoder, json!({"description": "A model folder.", "type": "string", "minLength": 1}));
    let adapt = json!({"description": "The encoder as it is, or an objective.", "enum": ids(registry, Kind::Objective, &["none"])});
    properties["adapt"]["items"] = items(registry, Kind::Objective, adapt);
    properties["tasks"]["items"] = items(registry, Kind::Task, by_name(registry, Kind::Task));
    properties["probers"]["items"] = items(registry, Kind::Prober, by_name(registry, Kind::Prober));
    properties["baselines"]["items"] = items(registry, Kind::Prober, by_name(registry, Kind::Prober));
    let (with_cutoff, _): (Vec<_>, Vec<_>) = registry.of(Kind::Metric).partition(|metric| own_schema(metric)["properties"].get("k").is_some());
    let with_cutoff = with_cutoff.iter().map(|metric| metric.id).collect::<Vec<_>>().join("|");
    let short = json!({"anyOf": [by_name(registry, Kind::Metric), {"description": "With a cutoff, `acc@10`.", "type": "string", "pattern": format!("^({with_cutoff})@[0-9]+$")}]});
    properties["metrics"]["items"] = items(registry, Kind::Metric, short);
    let mut whole = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "lmprobe run file"});
    if let (Value::Object(whole), Value::Object(schema)) = (&mut whole, schema) {
        whole.extend(schema);
    }
    whole
}

fn ids(registry: &Registry, kind: Kind, more: &[&str]) -> Vec<String> {
    more.iter().copied().chain(registry.of(kind).map(|registration| registration.id)).map(str::to_owned).collect()
}

/// A plugin by its name alone.
fn by_name(registry: &Registry, kind: Kind) -> Value {
    json!({"description": "The name of a plugin, all parameters at their defaults.", "enum": ids(registry, kind, &[])})
}

/// A list item: a short form or one of the plugins with its parameters.
fn items(registry: &Registry, kind: Kind, short: Value) -> Value {
    let plugins = registry.of(kind).map(|registration| {
        let mut schema = plugin_schema(registration);
        let mut properties = Map::new();
        properties.insert("use".to_owned(), json!({"const": registration.id}));
        properties.insert("name".to_owned(), json!({"description": "The label in the tables.", "type": "string", "minLength": 1}));
        if let Some(own) = schema["properties"].as_object() {
            properties.extend(own.clone());
        }
        schema["properties"] = Value::Object(properties);
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        schema["required"] = std::iter::once(json!("use")).chain(required).collect();
        schema["title"] = json!(registration.id);
        schema["description"] = json!(registration.summary);
        schema
    });
    json!({"oneOf": std::iter::once(short).chain(plugins).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn an_objective_has_the_recipe_among_its_parameters() {
        let schema = plugin_schema(&fixtures::CONTRASTIVE);
        assert_eq!(schema["properties"]["steps"]["default"], 150, "from the recipe");
        assert_eq!(schema["properties"]["batch_size"]["default"], 192, "from the recipe");
        assert_eq!(schema["properties"]["beta2"]["default"], 0.999, "from the general defaults");
        assert_eq!(schema["properties"]["temperature"]["default"], 0.04, "its own");
        assert_eq!(schema["required"], json!(["corpus"]));
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn the_run_schema_lists_every_plugin_once_and_has_no_reference() {
        let schema = run_schema(&fixtures::registry());
        let probers = schema["properties"]["probers"]["items"]["oneOf"].as_array().unwrap();
        assert_eq!(probers[0]["enum"], json!(["fill-mask", "mimic", "random-ranking"]));
        assert_eq!(probers[1]["properties"]["use"], json!({"const": "fill-mask"}));
        assert_eq!(probers[2]["required"], json!(["use", "layer"]));
        assert_eq!(schema["properties"]["metrics"]["items"]["oneOf"][0]["anyOf"][1]["pattern"], "^(acc)@[0-9]+$");
        assert!(!schema.to_string().contains("$ref"));
    }

    #[test]
    fn the_built_in_plugins_have_schemas_without_references() {
        let registry = Registry::builtin().unwrap();
        assert!(!run_schema(&registry).to_string().contains("$ref"));
    }

    #[test]
    fn no_parameter_of_a_built_in_plugin_has_a_reserved_name() {
        for registration in Registry::builtin().unwrap().all() {
            let schema = plugin_schema(registration);
            assert!(schema["properties"].get("use").or(schema["properties"].get("name")).is_none(), "{}", registration.id);
        }
    }

    #[test]
    fn recipes_name_only_keys_of_the_training() {
        for registration in Registry::builtin().unwrap().of(Kind::Objective) {
            let Some(RecipeDefaults::Corpus(recipe)) = registration.recipe else { continue };
            let Value::Object(recipe) = recipe() else { panic!("the recipe of `{}` is no mapping", registration.id) };
            for key in recipe.keys() {
                assert!(is_training_key(key), "{}: `{key}`", registration.id);
            }
        }
    }
}
