//! One item of a list: which plugin it means, whether its parameters are right, and the plugin built.

use std::path::PathBuf;

use lmprobe_core::{BuildContext, Component, Kind, Origin, Registration, contained};
use serde_json::Value as Json;

use crate::diagnostic::{Location, Report};
use crate::node::{Key, Node, Value, join};
use crate::registry::Unknown;
use crate::run_schema::own_schema;
use crate::schema::{At, Checker};
use crate::suggestion::{nearest, quoted};
use crate::{Models, Registry, paths};

/// What every step of the resolution needs.
pub(crate) struct Context<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) report: &'a mut Report,
    pub(crate) build: BuildContext,
    pub(crate) models: &'a Models,
}

/// An item whose plugin is known.
#[derive(Clone)]
pub(crate) struct Item {
    /// `probers[0]`.
    pub(crate) key: String,
    /// Where it stands.
    pub(crate) location: Location,
    /// The plugin.
    pub(crate) registration: &'static Registration,
    /// The label, if the file gives one.
    pub(crate) name: Option<String>,
    /// The parameters, a mapping.
    pub(crate) params: Node,
}

/// Parameters that are right and complete.
pub(crate) struct Params {
    pub(crate) values: Json,
    pub(crate) paths: Vec<(String, PathBuf)>,
}

impl Item {
    /// What the item is called if the file does not say: a model by its folder or hub id, everything else by its plugin.
    pub(crate) fn default_label(&self, cx: &Context<'_>) -> String {
        if self.registration.kind() == Kind::Encoder
            && let Some(model) = self.params.get("model")
            && let Some(text) = model.as_str()
            && let Ok(path) = paths::absolute(text, cx.report.folder(model.location))
            && let Some(label) = if path.is_dir() { path.file_name().map(|name| name.to_string_lossy().into_owned()) } else { Models::label(text) }
        {
            return label;
        }
        self.registration.id.to_owned()
    }

    /// Checks the parameters against a schema of the plugin.
    pub(crate) fn check(&self, schema: &Json, cx: &mut Context<'_>) -> Option<Params> {
        let registration = self.registration;
        let mut checker = Checker::new(cx.report);
        checker.models = Some(cx.models);
        checker.manual = Some(format!("`lmprobe describe {} {}` lists all parameters", registration.kind().word(), registration.id));
        let values = checker.check(&self.params, schema, &At::root(&self.key))?;
        Some(Params { values, paths: checker.paths })
    }

    /// Checks the parameters and builds the plugin; whatever the constructor says is a mistake of the item.
    pub(crate) fn built<T>(
        &self,
        cx: &mut Context<'_>,
        build: impl FnOnce(&'static Registration, Json, &BuildContext) -> lmprobe_core::Result<T>,
    ) -> Option<(Params, T)> {
        let params = self.check(&own_schema(self.registration), cx)?;
        let plugin = contained(&self.origin(), || build(self.registration, params.values.clone(), &cx.build));
        Some((params, self.checked(plugin, cx)?))
    }

    /// The plugin in messages about a panic of it.
    pub(crate) fn origin(&self) -> String {
        format!("{} `{}`", self.registration.kind().word(), self.registration.id)
    }

    /// A constructor's result, its error reported.
    pub(crate) fn checked<T>(&self, plugin: lmprobe_core::Result<T>, cx: &mut Context<'_>) -> Option<T> {
        plugin
            .map_err(|error| {
                cx.report.error(self.location, &self.key, format!("cannot set up {} `{}`: {error}", self.registration.kind().word(), self.registration.id));
                if matches!(error, lmprobe_core::Error::Device(_)) {
                    cx.report.lacks_device();
                }
            })
            .ok()
    }

    /// The item as the plan knows it.
    pub(crate) fn component(&self, label: String, params: Params) -> Component {
        let Registration { id, version, origin, .. } = self.registration;
        let (library, component_version) = match origin {
            Origin::Builtin { .. } => (None, None),
            Origin::Library { library, component_version } => (Some(library.clone()), Some(component_version.clone())),
        };
        let (kind, id) = (self.registration.kind(), (*id).to_owned());
        Component { kind, id, version: *version, library, component_version, label, params: params.values, paths: params.paths }
    }
}

/// Finds out which plugin an item means. `None` is reported.
pub(crate) fn read(cx: &mut Context<'_>, kind: Kind, node: &Node, key: &str) -> Option<Item> {
    let item = |registration, name, params| Some(Item { key: key.to_owned(), location: node.location, registration, name, params });
    match &node.value {
        Value::String(text) => {
            let empty = Node { value: Value::Map(Vec::new()), location: node.location };
            match (cx.registry.find(kind, text), kind) {
                (Ok(registration), _) => item(registration, None, empty),
                (Err(_), Kind::Encoder) => model_folder(cx, text, node, key),
                (Err(unknown), Kind::Metric) if text.contains('@') => metric_with_cutoff(cx, text, node, key, &unknown),
                (Err(unknown), _) => {
                    report_unknown(cx.report, node.location, key, &unknown);
                    None
                }
            }
        }
        Value::Map(entries) => {
            let name = label(cx, node, key);
            let Some(plugin) = node.get("use") else {
                let ids = cx.registry.of(kind).map(|registration| registration.id);
                let known = format!("known {}: {}", kind.plural(), quoted(ids));
                cx.report
                    .error(node.location, &join(key, "use"), format!("`use` is missing: it names the {}", kind.word()))
                    .label("begin the item with `use: NAME`".to_owned())
                    .help(known);
                return None;
            };
            let key = join(key, "use");
            let Some(id) = plugin.as_str() else {
                cx.report.error(plugin.location, &key, format!("expected the name of a {}, found {}", kind.word(), plugin.describe()));
                return None;
            };
            match cx.registry.find(kind, id) {
                Ok(registration) => {
                    let params = entries.iter().filter(|(key, _)| !matches!(key.text.as_str(), "use" | "name")).cloned().collect();
                    item(registration, name, Node { value: Value::Map(params), location: node.location })
                }
                Err(unknown) => {
                    report_unknown(cx.report, plugin.location, &key, &unknown);
                    None
                }
            }
        }
        _ => {
            cx.report.error(
                node.location,
                key,
                format!("expected the name of a {} or a mapping that begins with `use`, found {}", kind.word(), node.describe()),
            );
            None
        }
    }
}

/// The label that an item gives itself.
pub(crate) fn label(cx: &mut Context<'_>, node: &Node, key: &str) -> Option<String> {
    let name = node.get("name")?;
    let schema = serde_json::json!({"type": "string", "minLength": 1});
    let value = Checker::new(cx.report).check(name, &schema, &At::root(&join(key, "name")))?;
    value.as_str().map(str::to_owned)
}

pub(crate) fn report_unknown(report: &mut Report, location: Location, key: &str, unknown: &Unknown) {
    let error = report.error(location, key, unknown.message()).label(unknown.hint());
    if unknown.id().contains('/') {
        error.help("a name with a vendor is of a plugin: list its shared library under `plugins`".to_owned());
    }
}

/// An encoder given as a folder: the family is read from the model's own configuration.
fn model_folder(cx: &mut Context<'_>, text: &str, node: &Node, key: &str) -> Option<Item> {
    let folder = match cx.models.locate(text, cx.report.folder(node.location)) {
        Ok(folder) => folder,
        Err(problem) => {
            let ids = cx.registry.of(Kind::Encoder).map(|registration| registration.id);
            let label = problem.meant.as_deref().or_else(|| nearest(text, ids)).map(|meant| format!("did you mean `{meant}`?"));
            cx.report.error(node.location, key, problem.message).label(label).help(problem.help);
            return None;
        }
    };
    let family = match family(&folder) {
        Ok(family) => family,
        Err(message) => {
            cx.report.error(node.location, key, message).help("a model folder holds `config.json`, the weights and the tokenizer".to_owned());
            return None;
        }
    };
    let Some(registration) = cx.registry.of(Kind::Encoder).find(|registration| registration.families.contains(&family.as_str())) else {
        let mut known: Vec<&str> = cx.registry.of(Kind::Encoder).flat_map(|registration| registration.families).copied().collect();
        known.sort_unstable();
        cx.report.error(node.location, key, format!("no encoder reads models of the family `{family}`")).label(format!("known families: {}", quoted(known)));
        return None;
    };
    let model = (Key { text: "model".to_owned(), location: node.location }, node.clone());
    let params = Node { value: Value::Map(vec![model]), location: node.location };
    Some(Item { key: key.to_owned(), location: node.location, registration, name: None, params })
}

/// The `model_type` of a model folder. TensorFlow releases of BERT have a `bert_config.json` that does not say it.
fn family(folder: &std::path::Path) -> Result<String, String> {
    let path = folder.join("config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return if folder.join("bert_config.json").is_file() {
                Ok("bert".to_owned())
            } else {
                Err(format!("`{}` is not a model folder: it holds no `config.json`", folder.display()))
            };
        }
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let config: Json = serde_json::from_str(&text).map_err(|error| format!("{} is not valid JSON: {error}", path.display()))?;
    config["model_type"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{} does not say what the model is: `model_type` is missing; name the encoder with `use`", path.display()))
}

/// A metric given as `acc@10`.
fn metric_with_cutoff(cx: &mut Context<'_>, text: &str, node: &Node, key: &str, unknown: &Unknown) -> Option<Item> {
    let (id, cutoff) = text.split_once('@')?;
    let registration = match cx.registry.find(Kind::Metric, id) {
        Ok(registration) => registration,
        Err(Unknown::OtherKind { .. }) => {
            report_unknown(cx.report, node.location, key, unknown);
            return None;
        }
        Err(unknown) => {
            report_unknown(cx.report, node.location, key, &unknown);
            return None;
        }
    };
    if own_schema(registration)["properties"].get("k").is_none() {
        cx.report.error(node.location, key, format!("the metric `{id}` has no cutoff")).label(format!("write `{id}`"));
        return None;
    }
    let Ok(k) = cutoff.parse::<u64>() else {
        cx.report.error(node.location, key, format!("`{cutoff}` is not a cutoff")).label(format!("expected a whole number, such as `{id}@10`"));
        return None;
    };
    let k = (Key { text: "k".to_owned(), location: node.location }, Node { value: Value::Int(k.into()), location: node.location });
    let params = Node { value: Value::Map(vec![k]), location: node.location };
    Some(Item { key: key.to_owned(), location: node.location, registration, name: None, params })
}
