//! The lists of a run file: encoders, adaptations, tasks, probers, baselines and metrics.

use std::collections::HashSet;

use lmprobe_core::train::TrainingParams;
use lmprobe_core::{Adaptation, Build, EncoderItem, Kind, MetricItem, ProberItem, Registration, TaskItem};
use serde_json::{Map, Value as Json};

use crate::diagnostic::{Location, Report};
use crate::item::{Context, Item, Params, label, read};
use crate::node::{Node, Value};
use crate::run_schema::{is_training_key, own_schema, plugin_schema};

/// An item of a list as far as it could be read.
pub(crate) struct Entry<T> {
    /// `probers[0]`.
    pub(crate) key: String,
    /// Where it stands.
    pub(crate) location: Location,
    /// Its label, if it is known even though the item may be wrong.
    pub(crate) label: Option<String>,
    /// The plugin, if nothing is wrong.
    pub(crate) built: Option<T>,
}

/// The plugins of a list in which nothing is wrong.
pub(crate) fn built<T>(entries: Vec<Entry<T>>) -> Option<Vec<T>> {
    entries.into_iter().map(|entry| entry.built).collect()
}

/// Reads a list. `make` builds a plugin and says under which label.
fn entries<T>(
    cx: &mut Context<'_>,
    kind: Kind,
    list: &Node,
    list_key: &str,
    mut make: impl FnMut(&mut Context<'_>, &Item, String) -> (String, Option<T>),
) -> Vec<Entry<T>> {
    let mut entries = Vec::new();
    for (index, node) in list.items().iter().enumerate() {
        let key = format!("{list_key}[{index}]");
        let (label, built) = match read(cx, kind, node, &key) {
            Some(item) => {
                let label = item.name.clone().unwrap_or_else(|| item.default_label(cx));
                let (label, built) = make(cx, &item, label);
                (Some(label), built)
            }
            None => (node.get("name").and_then(Node::as_str).map(str::to_owned), None),
        };
        entries.push(Entry { key, location: node.location, label, built });
    }
    entries
}

pub(crate) fn encoders(cx: &mut Context<'_>, list: &Node) -> Vec<Entry<EncoderItem>> {
    entries(cx, Kind::Encoder, list, "encoders", |cx, item, label| {
        let built = item.built(cx, |registration, params, context| match registration.build {
            Build::Encoder(build) => build(params, context).and_then(|source| source.check().map(|()| source)),
            _ => Err(other_kind(registration)),
        });
        (label.clone(), built.map(|(params, source)| EncoderItem::new(item.component(label, params), source)))
    })
}

pub(crate) fn tasks(cx: &mut Context<'_>, list: &Node) -> Vec<Entry<TaskItem>> {
    entries(cx, Kind::Task, list, "tasks", |cx, item, label| {
        let built = item.built(cx, |registration, params, context| match registration.build {
            Build::Task(build) => build(params, context),
            _ => Err(other_kind(registration)),
        });
        (label.clone(), built.map(|(params, task)| TaskItem { component: item.component(label, params), task }))
    })
}

pub(crate) fn probers(cx: &mut Context<'_>, list: &Node) -> Vec<Entry<ProberItem>> {
    entries(cx, Kind::Prober, list, "probers", |cx, item, label| {
        let built = prober(cx, item, label.clone());
        if let Some(prober) = &built {
            let (n_encoders, id) = (prober.prober.needs().encoders, item.registration.id);
            if n_encoders == 0 {
                cx.report.error(item.location, &item.key, format!("prober `{id}` asks no encoder")).label("list it under `baselines`".to_owned());
            } else if n_encoders > 1 {
                cx.report.error(item.location, &item.key, format!("prober `{id}` asks {n_encoders} encoders at once, and a run gives it one"));
            }
        }
        (label, built)
    })
}

pub(crate) fn baselines(cx: &mut Context<'_>, list: &Node) -> Vec<Entry<ProberItem>> {
    entries(cx, Kind::Prober, list, "baselines", |cx, item, label| {
        let built = prober(cx, item, label.clone());
        if built.as_ref().is_some_and(|prober| prober.prober.needs().encoders > 0) {
            let id = item.registration.id;
            cx.report
                .error(item.location, &item.key, format!("prober `{id}` asks an encoder, so it is no baseline"))
                .label("list it under `probers`".to_owned());
        }
        (label, built)
    })
}

/// Every registered prober that asks no model, with its defaults. What cannot be built without parameters is not among them.
pub(crate) fn default_baselines(cx: &mut Context<'_>, location: Location) -> Vec<Entry<ProberItem>> {
    let mut found = Vec::new();
    for registration in cx.registry.of(Kind::Prober) {
        let params = Node { value: Value::Map(Vec::new()), location };
        let item = Item { key: "baselines".to_owned(), location, registration, name: None, params };
        let mark = cx.report.len();
        let built = prober(cx, &item, registration.id.to_owned());
        cx.report.truncate(mark);
        if let Some(prober) = built.filter(|prober| prober.prober.needs().encoders == 0) {
            found.push(Entry { key: item.key, location, label: Some(registration.id.to_owned()), built: Some(prober) });
        }
    }
    found
}

fn prober(cx: &mut Context<'_>, item: &Item, label: String) -> Option<ProberItem> {
    let (params, prober) = item.built(cx, |registration, params, context| match registration.build {
        Build::Prober(build) => build(params, context),
        _ => Err(other_kind(registration)),
    })?;
    Some(ProberItem { component: item.component(label, params), prober })
}

pub(crate) fn metrics(cx: &mut Context<'_>, list: &Node) -> Vec<Entry<MetricItem>> {
    entries(cx, Kind::Metric, list, "metrics", metric)
}

/// The metrics that the tasks want, each once.
pub(crate) fn default_metrics(cx: &mut Context<'_>, tasks: &[Entry<TaskItem>]) -> Vec<Entry<MetricItem>> {
    let mut found: Vec<Entry<MetricItem>> = Vec::new();
    let mut seen = HashSet::new();
    for task in tasks {
        for name in task.built.as_ref().map_or_else(Vec::new, |task| task.task.default_metrics()) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let node = Node { value: Value::String(name), location: task.location };
            let (label, built) = read(cx, Kind::Metric, &node, &task.key).map_or((None, None), |item| {
                let (label, built) = metric(cx, &item, item.registration.id.to_owned());
                (Some(label), built)
            });
            if !found.iter().any(|metric| metric.label.is_some() && metric.label == label) {
                found.push(Entry { key: task.key.clone(), location: task.location, label, built });
            }
        }
    }
    found
}

/// A metric names itself (`acc@10`) unless the file does.
fn metric(cx: &mut Context<'_>, item: &Item, label: String) -> (String, Option<MetricItem>) {
    let built = item.built(cx, |registration, params, context| match registration.build {
        Build::Metric(build) => build(params, context),
        _ => Err(other_kind(registration)),
    });
    let Some((params, metric)) = built else { return (label, None) };
    let label = item.name.clone().unwrap_or_else(|| metric.name());
    (label.clone(), Some(MetricItem { component: item.component(label, params), metric }))
}

/// Whether an item of `adapt` trains; `none` does not.
pub(crate) fn trains(node: &Node) -> bool {
    node.as_str().or_else(|| node.get("use").and_then(Node::as_str)).is_none_or(|id| id != "none")
}

pub(crate) fn adaptations(cx: &mut Context<'_>, list: &Node) -> Vec<Entry<Adaptation>> {
    let mut found = Vec::new();
    for (index, node) in list.items().iter().enumerate() {
        let key = format!("adapt[{index}]");
        let (label, built) = if trains(node) {
            match read(cx, Kind::Objective, node, &key) {
                Some(item) => {
                    let label = item.name.clone().unwrap_or_else(|| item.registration.id.to_owned());
                    (Some(label.clone()), adaptation(cx, &item, label))
                }
                None => (node.get("name").and_then(Node::as_str).map(str::to_owned), None),
            }
        } else {
            untouched(cx, node, &key)
        };
        found.push(Entry { key, location: node.location, label, built });
    }
    found
}

/// The encoder as it is.
fn untouched(cx: &mut Context<'_>, node: &Node, key: &str) -> (Option<String>, Option<Adaptation>) {
    if let Value::Map(entries) = &node.value {
        for (name, _) in entries.iter().filter(|(name, _)| !matches!(name.text.as_str(), "use" | "name")) {
            cx.report
                .error(name.location, &format!("{key}.{}", name.text), format!("unknown key `{}`", name.text))
                .label("`none` has no parameters".to_owned());
        }
    }
    let label = label(cx, node, key).unwrap_or_else(|| "none".to_owned());
    (Some(label.clone()), Some(Adaptation { label, recipe: None }))
}

fn adaptation(cx: &mut Context<'_>, item: &Item, label: String) -> Option<Adaptation> {
    let mut schema = plugin_schema(item.registration);
    let given = |key: &str| item.params.entry(key).filter(|(_, value)| value.value != Value::Null);
    match (given("steps"), given("epochs")) {
        (Some((first, _)), Some((second, _))) => {
            let second = if first.location.offset < second.location.offset { second } else { first };
            let key = format!("{}.{}", item.key, second.text);
            cx.report.error(second.location, &key, "`steps` and `epochs` are both set").label("remove one of the two".to_owned());
            item.check(&schema, cx);
            return None;
        }
        // What the user says replaces what the objective's recipe says of the same thing.
        (None, Some(_)) => schema["properties"]["steps"]["default"] = Json::Null,
        (Some(_), None) => schema["properties"]["epochs"]["default"] = Json::Null,
        (None, None) => {}
    }
    let Params { values: Json::Object(values), paths } = item.check(&schema, cx)? else { return None };
    if values.get("steps").is_none_or(Json::is_null) && values.get("epochs").is_none_or(Json::is_null) {
        cx.report.error(item.location, &item.key, "neither `steps` nor `epochs` is set").label("one of them says how long to train".to_owned());
        return None;
    }
    let own_keys = own_schema(item.registration);
    let only = |wanted: &dyn Fn(&str) -> bool| -> Map<String, Json> {
        values.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let own = only(&|key| own_keys["properties"].get(key).is_some());
    let recipe = serde_json::from_value::<TrainingParams>(Json::Object(only(&is_training_key))).map_err(Into::into);
    let objective = match item.registration.build {
        Build::Objective(build) => build(Json::Object(own), &cx.build),
        _ => Err(other_kind(item.registration)),
    };
    let (recipe, objective) = (item.checked(recipe, cx), item.checked(objective, cx));
    let component = item.component(label.clone(), Params { values: Json::Object(values), paths });
    Some(Adaptation { label, recipe: Some((component, objective?, recipe?)) })
}

/// A look-up by kind gave a plugin of another kind; the registry rules it out.
fn other_kind(registration: &Registration) -> lmprobe_core::Error {
    lmprobe_core::Error::Config(format!("`{}` is a {}", registration.id, registration.kind().word()))
}

/// Labels name rows of tables, so each may stand for one thing only.
pub(crate) fn report_shared_labels<T>(report: &mut Report, entries: &[Entry<T>]) {
    for (index, entry) in entries.iter().enumerate() {
        let Some(label) = &entry.label else { continue };
        if let Some(first) = entries[..index].iter().find(|first| first.label.as_ref() == Some(label)) {
            let place = report.refer(first.location, entry.location);
            report
                .error(entry.location, &entry.key, format!("the label `{label}` is used twice, first in {place}"))
                .label("labels name the rows of the tables".to_owned())
                .help(format!("give one of them another label with `name: {label}-2`"));
        }
    }
}

/// The list that stands for a key that is not given.
pub(crate) fn list_of(texts: &[&str], location: Location) -> Node {
    let items = texts.iter().map(|text| Node { value: Value::String((*text).to_owned()), location }).collect();
    Node { value: Value::Seq(items), location }
}

/// The labels of a list; what has none is left out, so that whoever compares with them must know whether that happened.
pub(crate) fn labels<T>(entries: &[Entry<T>]) -> (Vec<&str>, bool) {
    (entries.iter().filter_map(|entry| entry.label.as_deref()).collect(), entries.iter().all(|entry| entry.label.is_some()))
}
