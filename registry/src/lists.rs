//! The lists of a run file: encoders, adaptations, tasks, probers, baselines and metrics.

use std::collections::HashSet;

use lmprobe_core::train::{TaskShare, TrainingParams};
use lmprobe_core::{Adaptation, Build, EncoderItem, Kind, LearnedTask, MetricItem, Needs, Objective, ProberItem, Recipe, Registration, TaskItem};
use serde_json::{Map, Value as Json};

use crate::diagnostic::{Location, Report};
use crate::item::{Context, Item, Params, label, read};
use crate::node::{Node, Value};
use crate::run_schema::{is_share_key, is_training_key, learns_from_a_task, objective_schema, own_schema};
use crate::suggestion::quoted;

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

/// Every registered prober that asks no model and can be asked about one of the tasks, with its defaults. What cannot be built without parameters is not among them.
pub(crate) fn default_baselines(cx: &mut Context<'_>, location: Location, tasks: &[Entry<TaskItem>]) -> Vec<Entry<ProberItem>> {
    // A task that could not be read may be of any kind.
    let asked = |needs: &Needs| tasks.iter().any(|task| task.built.as_ref().is_none_or(|task| needs.problems.contains(&task.task.problem())));
    default_probers_where(cx, location, "baselines", &|needs| needs.encoders == 0 && asked(needs))
}

/// Every registered prober that reads what fine-tuning leaves, with its defaults.
pub(crate) fn default_probers(cx: &mut Context<'_>, location: Location) -> Vec<Entry<ProberItem>> {
    default_probers_where(cx, location, "probers", &|needs| needs.task_head)
}

fn default_probers_where(cx: &mut Context<'_>, location: Location, list: &str, wanted: &dyn Fn(&Needs) -> bool) -> Vec<Entry<ProberItem>> {
    let mut found = Vec::new();
    for registration in cx.registry.of(Kind::Prober) {
        let params = Node { value: Value::Map(Vec::new()), location };
        let item = Item { key: list.to_owned(), location, registration, name: None, params };
        let mark = cx.report.len();
        let built = prober(cx, &item, registration.id.to_owned());
        cx.report.truncate(mark);
        if let Some(prober) = built.filter(|prober| wanted(&prober.prober.needs())) {
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

/// Reads `adapt`. An item with several training sizes becomes as many adaptations.
pub(crate) fn adaptations(cx: &mut Context<'_>, list: &Node, tasks: &[Entry<TaskItem>]) -> Vec<Entry<Adaptation>> {
    let mut found = Vec::new();
    for (index, node) in list.items().iter().enumerate() {
        let key = format!("adapt[{index}]");
        if !trains(node) {
            let (label, built) = untouched(cx, node, &key);
            found.push(Entry { key, location: node.location, label, built });
            continue;
        }
        let Some(item) = read(cx, Kind::Objective, node, &key) else {
            found.push(Entry { key, location: node.location, label: node.get("name").and_then(Node::as_str).map(str::to_owned), built: None });
            continue;
        };
        let label = item.name.clone().unwrap_or_else(|| item.registration.id.to_owned());
        for (label, item) in sizes(item, label) {
            let built = adaptation(cx, &item, label.clone(), tasks);
            found.push(Entry { key: key.clone(), location: node.location, label: Some(label), built });
        }
    }
    found
}

/// The item once for each of its training sizes, labelled by it if they are a list.
fn sizes(item: Item, label: String) -> Vec<(String, Item)> {
    let size = item.params.get("training_size").filter(|_| learns_from_a_task(item.registration)).cloned();
    match size {
        Some(Node { value: Value::Seq(sizes), .. }) if !sizes.is_empty() => sizes
            .into_iter()
            .map(|size| {
                let mut item = item.clone();
                let label = format!("{label}-{}", size.to_json());
                if let Value::Map(entries) = &mut item.params.value {
                    for (_, value) in entries.iter_mut().filter(|(key, _)| key.text == "training_size") {
                        *value = size.clone();
                    }
                }
                (label, item)
            })
            .collect(),
        _ => vec![(label, item)],
    }
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

fn adaptation(cx: &mut Context<'_>, item: &Item, label: String, tasks: &[Entry<TaskItem>]) -> Option<Adaptation> {
    let registration = item.registration;
    let given = |key: &str| item.params.entry(key).filter(|(_, value)| value.value != Value::Null);
    // The preset of a recipe may depend on the kind of task; which task that is, the item says or the run has only one.
    let named = given("task").and_then(|(_, task)| task.as_str());
    let task = learns_from_a_task(registration).then(|| task_of(tasks, named)).flatten();
    let problem = task.and_then(|task| tasks[task].built.as_ref()).map(|task| task.task.problem());
    let written = item.params.to_json().as_object().cloned().unwrap_or_default();
    let schema = item.checked(objective_schema(registration, &written, problem), cx);
    let mut schema = schema?;
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
    // The same holds of the two ways to say how long the warm-up is.
    if given("warmup_steps").is_some() && given("warmup_share").is_none() {
        schema["properties"]["warmup_share"]["default"] = Json::Null;
    }
    let Params { values: Json::Object(values), paths } = item.check(&schema, cx)? else { return None };
    if values.get("steps").is_none_or(Json::is_null) && values.get("epochs").is_none_or(Json::is_null) {
        cx.report.error(item.location, &item.key, "neither `steps` nor `epochs` is set").label("one of them says how long to train".to_owned());
        return None;
    }
    let own_keys = own_schema(registration);
    let only = |wanted: &dyn Fn(&str) -> bool| -> Map<String, Json> {
        values.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let own = only(&|key| own_keys["properties"].get(key).is_some());
    let params = serde_json::from_value::<TrainingParams>(Json::Object(only(&is_training_key))).map_err(Into::into);
    let share = serde_json::from_value::<TaskShare>(Json::Object(only(&is_share_key))).map_err(Into::into);
    let objective = match registration.build {
        Build::Objective(build) => build(Json::Object(own), &cx.build),
        _ => Err(other_kind(registration)),
    };
    let (params, share, objective) = (item.checked(params, cx), item.checked(share, cx), item.checked(objective, cx));
    let (params, share, objective) = (params?, share?, objective?);
    let learned = if learns_from_a_task(registration) {
        let task = learned_task(cx, item, tasks, objective.as_ref())?;
        if share.training_size > 0.0 {
            has_training_split(cx, item, tasks[task].built.as_ref()?)?;
        }
        Some(LearnedTask { task, share })
    } else {
        None
    };
    let component = item.component(label.clone(), Params { values: Json::Object(values), paths });
    Some(Adaptation { label, recipe: Some(Recipe { component, objective, params, learned }) })
}

/// The task of this label; without one, the only labelled task of the run.
fn task_of(tasks: &[Entry<TaskItem>], label: Option<&str>) -> Option<usize> {
    if let Some(label) = label {
        return tasks.iter().position(|task| task.label.as_deref() == Some(label));
    }
    let learnable = |task: &Entry<TaskItem>| task.built.as_ref().is_none_or(|task| task.task.problem() != lmprobe_core::Problem::Cloze);
    let mut found = (0..tasks.len()).filter(|&task| learnable(&tasks[task]));
    found.next().filter(|_| found.next().is_none())
}

/// The task that an objective learns from. `None` is reported, here or where the task is wrong.
fn learned_task(cx: &mut Context<'_>, item: &Item, tasks: &[Entry<TaskItem>], objective: &dyn Objective) -> Option<usize> {
    let id = item.registration.id;
    let key = format!("{}.task", item.key);
    let problems = objective.needs().problems;
    let able = |task: &Entry<TaskItem>| task.built.as_ref().is_some_and(|task| problems.contains(&task.task.problem()));
    let labels: Vec<&str> = tasks.iter().filter(|task| able(task)).filter_map(|task| task.label.as_deref()).collect();
    let (location, label) = match item.params.entry("task").filter(|(_, value)| value.value != Value::Null) {
        Some((_, node)) => (node.location, node.as_str()),
        None => (item.location, None),
    };
    let known = if labels.is_empty() {
        "no task of this run has labels to learn from".to_owned()
    } else {
        format!("it can learn from {}", quoted(labels.iter().copied()))
    };
    let Some(task) = task_of(tasks, label) else {
        match label {
            Some(label) => {
                let hint = crate::suggestion::hint(label, labels.iter().copied(), "tasks it can learn from");
                cx.report.error(location, &key, format!("no task has the label `{label}`")).label(hint);
            }
            None => {
                cx.report.error(location, &key, format!("objective `{id}` learns from a task, and `task` does not say which")).label(known);
            }
        }
        return None;
    };
    let problem = tasks[task].built.as_ref()?.task.problem();
    if !problems.contains(&problem) {
        let label = tasks[task].label.as_deref().unwrap_or_default();
        cx.report.error(location, &key, format!("objective `{id}` cannot learn from task `{label}`, which is a {problem} task")).label(known);
        return None;
    }
    Some(task)
}

/// Reports a task without anything to learn from.
fn has_training_split(cx: &mut Context<'_>, item: &Item, task: &TaskItem) -> Option<()> {
    if task.task.has_training_split() {
        return Some(());
    }
    let (location, key) = match item.params.entry("task").filter(|(_, value)| value.value != Value::Null) {
        Some((_, node)) => (node.location, format!("{}.task", item.key)),
        None => (item.location, item.key.clone()),
    };
    let message = format!("objective `{}` learns from task `{}`, which has no training split", item.registration.id, task.component.label);
    cx.report
        .error(location, &key, message)
        .label("give the task something to learn from, `train`".to_owned())
        .help("`training_size: 0` learns nothing: the encoder as it is with a fresh head".to_owned());
    None
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixtures::Workspace;

    const TUNED: &str = "encoders: [model]\ntasks: [tags]\nadapt: [{use: tune}]\n";

    #[test]
    fn a_run_that_learns_from_a_task_asks_the_head_and_has_its_metrics_and_baselines() {
        let run = Workspace::new().resolve_labelled(TUNED).map_err(|invalid| invalid.to_string()).unwrap();
        let learned = run.adapt[0].learned().unwrap();
        assert_eq!((learned.task, learned.share.training_size, run.adapt[0].label.as_str()), (0, 100.0, "tune"));
        assert_eq!(run.probers.iter().map(|item| item.component.id.as_str()).collect::<Vec<_>>(), ["head"]);
        assert_eq!(run.baselines.iter().map(|item| item.component.id.as_str()).collect::<Vec<_>>(), ["majority"], "not the baselines of other tasks");
        assert_eq!(run.metrics.iter().map(|item| item.component.id.as_str()).collect::<Vec<_>>(), ["spans"]);
    }

    #[test]
    fn a_list_of_sizes_is_a_training_each() {
        let text = TUNED.replace("{use: tune}", "none, {use: tune, name: ft, training_size: [0, 12.5, 100]}");
        let run = Workspace::new().resolve_labelled(&text).map_err(|invalid| invalid.to_string()).unwrap();
        let sizes: Vec<_> = run.adapt.iter().map(|adapt| (adapt.label.as_str(), adapt.learned().map(|learned| learned.share.training_size))).collect();
        assert_eq!(sizes, [("none", None), ("ft-0", Some(0.0)), ("ft-12.5", Some(12.5)), ("ft-100", Some(100.0))]);
        assert_eq!(run.adapt[2].recipe.as_ref().unwrap().component.params["training_size"], json!(12.5));
        let mistakes = Workspace::new().labelled_mistakes(&TUNED.replace("{use: tune}", "{use: tune, training_size: [10, 101]}"));
        assert!(mistakes.starts_with("run.yaml:3:41: adapt[0].training_size: 101 is above the maximum 100"), "{mistakes}");
    }

    #[test]
    fn a_preset_sets_defaults_and_the_user_replaces_them() {
        let of = |more: &str| {
            let run =
                Workspace::new().resolve_labelled(&TUNED.replace("use: tune", &format!("use: tune{more}"))).map_err(|invalid| invalid.to_string()).unwrap();
            let recipe = run.adapt[0].recipe.as_ref().unwrap();
            (recipe.params.epochs, recipe.params.steps, recipe.params.learning_rate, recipe.component.params["max_length"].clone())
        };
        assert_eq!(of(""), (Some(2), None, 5e-5, json!(null)));
        assert_eq!(of(", preset: long"), (Some(10), None, 0.5, json!(512)), "the preset knows the kind of task");
        assert_eq!(of(", preset: long, steps: 7, max_length: 9"), (None, Some(7), 0.5, json!(9)));
        let mistakes = Workspace::new().labelled_mistakes(&TUNED.replace("use: tune", "use: tune, preset: lnog"));
        assert_eq!(mistakes, "run.yaml:3:9: adapt[0]: cannot set up objective `tune`: there is no preset `lnog`");
    }

    #[test]
    fn a_task_without_a_training_split_is_learned_from_by_size_0_only() {
        let text = |adapt: &str| format!("encoders: [model]\ntasks: [{{use: tags, name: asked, train: false}}]\nadapt: [{{use: tune{adapt}}}]\n");
        let mistakes = |adapt: &str| Workspace::new().labelled_mistakes(&text(adapt));
        let message = "objective `tune` learns from task `asked`, which has no training split; give the task something to learn from, `train`; \
                       `training_size: 0` learns nothing: the encoder as it is with a fresh head";
        assert_eq!(mistakes(""), format!("run.yaml:3:9: adapt[0]: {message}"));
        assert_eq!(mistakes(", training_size: [0, 10, 100]"), format!("run.yaml:3:9: adapt[0]: {message}"), "once for all sizes");
        assert_eq!(mistakes(", task: asked"), format!("run.yaml:3:27: adapt[0].task: {message}"));
        let run = Workspace::new().resolve_labelled(&text(", training_size: 0")).map_err(|invalid| invalid.to_string()).unwrap();
        assert_eq!(run.adapt.len(), 1);
    }

    #[test]
    fn an_encoder_that_can_have_no_such_head_is_refused() {
        let workspace = Workspace::new();
        workspace.write("bare/config.json", r#"{"model_type": "bert", "layers": 2, "head": true, "no_tagger": true}"#);
        let mistakes = workspace.labelled_mistakes(&TUNED.replace("[model]", "[model, bare]"));
        let message =
            "run.yaml:3:9: adapt[0]: objective `tune` cannot train encoder `bare`: there is no head for a token-classification task; it can train `model`";
        assert!(mistakes.starts_with(message), "{mistakes}");
    }

    #[test]
    fn the_task_that_is_learned_from_is_named_where_there_are_several() {
        let two =
            "encoders: [model]\ntasks: [tags, {use: tags, name: more}, {use: facts, facts: facts.csv}]\nprobers: [head, fill-mask]\nadapt: [{use: tune}]\n";
        let mistakes = |text: &str| Workspace::new().labelled_mistakes(text);
        assert_eq!(
            mistakes(two),
            "run.yaml:4:9: adapt[0].task: objective `tune` learns from a task, and `task` does not say which; it can learn from `tags`, `more`"
        );
        assert_eq!(
            mistakes(&two.replace("use: tune", "use: tune, task: mroe")),
            "run.yaml:4:27: adapt[0].task: no task has the label `mroe`; did you mean `more`?"
        );
        let cloze = mistakes(&two.replace("use: tune", "use: tune, task: facts"));
        assert!(
            cloze.starts_with("run.yaml:4:27: adapt[0].task: objective `tune` cannot learn from task `facts`, which is a cloze task; it can learn from"),
            "{cloze}"
        );
        let run = Workspace::new()
            .resolve_labelled(&two.replace("use: tune", "use: tune, task: more").replace("tags, {", "{"))
            .map_err(|invalid| invalid.to_string());
        assert_eq!(run.unwrap().adapt[0].learned().unwrap().task, 0);
        assert!(mistakes("encoders: [model]\nadapt: [{use: tune}]\n").contains("no task of this run has labels to learn from"));
        let corpus = mistakes(&TUNED.replace("use: tune", "use: tune, corpus: corpus.txt"));
        assert!(corpus.contains("adapt[0].corpus: unknown key `corpus`"), "{corpus}");
    }
}
