//! The top level of a run file.

use std::path::{Path, PathBuf};

use lmprobe_core::{BuildContext, CellFilter, OutputFormat, Resolved};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::diagnostic::{Invalid, Location, Report};
use crate::fit::Matrix;
use crate::item::Context;
use crate::lists::{self, Entry, built, report_shared_labels};
use crate::node::{Node, Value};
use crate::schema::{At, Checker};
use crate::{LibraryPolicy, Models, Registry, overrides, run_schema, yaml};

/// What to resolve.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The run file.
    pub path: &'a Path,
    /// Changes to it, `KEY=VALUE` each; a path among the values means the same as if it stood in the file.
    pub overrides: &'a [String],
    /// The run folder, relative to the current folder; outranks the file's.
    pub out: Option<&'a Path>,
    /// Finds models.
    pub models: &'a Models,
    /// Which shared libraries may be loaded.
    pub libraries: &'a LibraryPolicy,
}

/// Reads a run file, checks all of it and builds its plugins. No weight is read.
///
/// # Errors
/// All mistakes at once.
pub fn resolve(registry: &Registry, request: &Request<'_>) -> Result<Resolved, Invalid> {
    let mut report = Report::default();
    let resolved = read(registry, request, &mut report);
    let n_mistakes = report.len();
    match resolved {
        Some(resolved) if n_mistakes == 0 => Ok(resolved),
        _ => {
            debug_assert!(n_mistakes > 0, "a run file was refused without a reason");
            Err(request.models.explain(report.into_invalid()))
        }
    }
}

fn read(registry: &Registry, request: &Request<'_>, report: &mut Report) -> Option<Resolved> {
    let mut root = yaml::read_document(request.path, report)?;
    let base = report.folder(Location::start(0)).to_owned();
    root.report_defects("", report);
    overrides::apply(&mut root, request.overrides, &base, report);
    let Value::Map(entries) = &root.value else {
        report.error(root.location, "", format!("expected a mapping with `encoders`, `tasks` and `probers`, found {}", root.describe()));
        return None;
    };
    let (top, _) = Checker::new(report).object(&root, entries, &run_schema::top_level(), &At::root(""));
    let nothing = lists::list_of(&[], root.location);
    // Without its plugins most of a file would be called unknown.
    let registry = &crate::libraries::load(registry, request.libraries, root.get("plugins").unwrap_or(&nothing), report)?;
    let mut cx = Context { registry, report, build: BuildContext { base }, models: request.models };
    let lists = Lists::read(&mut cx, &root);
    let report = cx.report;
    lists.check_presence(report, &root);
    lists.check_labels(report);
    let seeds: Option<Vec<u64>> = field(&top, "seeds");
    let (include, exclude): (Option<Vec<CellFilter>>, Option<Vec<CellFilter>>) = (field(&top, "include"), field(&top, "exclude"));
    let matrix = Matrix {
        encoders: &lists.encoders,
        adapt: &lists.adapt,
        tasks: &lists.tasks,
        probers: &lists.probers,
        baselines: &lists.baselines,
        metrics: &lists.metrics,
        seeds: seeds.as_deref().unwrap_or_default(),
        include: include.as_deref().unwrap_or_default(),
        exclude: exclude.as_deref().unwrap_or_default(),
    };
    let known = ["include", "exclude"].map(|key| matrix.check_labels(report, key, root.get(key)));
    // With a mistake in a filter or in the seeds the matrix is not the one that is meant.
    if known == [true, true] && seeds.is_some() && include.is_some() && exclude.is_some() {
        matrix.check_parts(report);
        matrix.check_needs(report);
    }
    let name = name(report, &root, request.path, &top);
    let output = top.get("output")?;
    let folder = folder(request.out, &root, output, name.as_deref(), report)?;
    Some(Resolved {
        name: name?,
        seeds: seeds?,
        encoders: built(lists.encoders)?,
        adapt: built(lists.adapt)?,
        tasks: built(lists.tasks)?,
        probers: built(lists.probers)?,
        baselines: built(lists.baselines)?,
        metrics: built(lists.metrics)?,
        include: include?,
        exclude: exclude?,
        libraries: registry.libraries(),
        folder,
        formats: serde_json::from_value::<Vec<OutputFormat>>(output["formats"].clone()).ok()?,
        document: root.to_json(),
    })
}

/// A field of the top level, if it was right.
fn field<T: DeserializeOwned>(top: &Map<String, Json>, key: &str) -> Option<T> {
    serde_json::from_value(top.get(key)?.clone()).ok()
}

struct Lists {
    encoders: Vec<Entry<lmprobe_core::EncoderItem>>,
    adapt: Vec<Entry<lmprobe_core::Adaptation>>,
    tasks: Vec<Entry<lmprobe_core::TaskItem>>,
    probers: Vec<Entry<lmprobe_core::ProberItem>>,
    baselines: Vec<Entry<lmprobe_core::ProberItem>>,
    metrics: Vec<Entry<lmprobe_core::MetricItem>>,
    baselines_are_given: bool,
    trains: bool,
    /// Whether something is learned from a task, which brings its own way of asking.
    learns: bool,
}

impl Lists {
    fn read(cx: &mut Context<'_>, root: &Node) -> Self {
        let nothing = lists::list_of(&[], root.location);
        let none = lists::list_of(&["none"], root.location);
        let list = |key: &str| root.get(key).unwrap_or(&nothing);
        let encoders = lists::encoders(cx, list("encoders"));
        let adapt = root.get("adapt").unwrap_or(&none);
        let trains = adapt.items().iter().any(lists::trains);
        let tasks = lists::tasks(cx, list("tasks"));
        let adapt = lists::adaptations(cx, adapt, &tasks);
        // What could not be read may learn from a task.
        let learns = trains && adapt.iter().any(|entry| entry.built.as_ref().is_none_or(|adapt| adapt.learned().is_some()));
        let probers = match root.get("probers") {
            None if learns => lists::default_probers(cx, root.location),
            _ => lists::probers(cx, list("probers")),
        };
        let baselines = match root.get("baselines") {
            Some(list) => lists::baselines(cx, list),
            None if tasks.is_empty() => Vec::new(),
            None => lists::default_baselines(cx, root.location, &tasks),
        };
        let metrics = match root.get("metrics") {
            Some(list) => lists::metrics(cx, list),
            None => lists::default_metrics(cx, &tasks),
        };
        Self { encoders, adapt, tasks, probers, baselines, metrics, baselines_are_given: root.get("baselines").is_some(), trains, learns }
    }

    /// Only a run that trains can do without questions.
    fn check_presence(&self, report: &mut Report, root: &Node) {
        let given = |key: &str| root.get(key).is_some_and(|node| !node.items().is_empty());
        if self.trains && !given("tasks") && !given("probers") {
            return;
        }
        for (key, what) in [("tasks", "what is asked"), ("probers", "how it is asked")] {
            let (location, message) = match root.get(key) {
                None if key == "probers" && self.learns => continue,
                None => (root.location, format!("`{key}` is missing: it says {what}")),
                Some(node) if matches!(&node.value, Value::Seq(items) if items.is_empty()) => (node.location, format!("`{key}` is empty: it says {what}")),
                Some(_) => continue,
            };
            report.error(location, key, message).help("only a run that trains (`adapt`) and asks nothing can do without `tasks` and `probers`".to_owned());
        }
    }

    fn check_labels(&self, report: &mut Report) {
        report_shared_labels(report, &self.encoders);
        report_shared_labels(report, &self.adapt);
        report_shared_labels(report, &self.tasks);
        report_shared_labels(report, &self.probers);
        report_shared_labels(report, &self.baselines);
        report_shared_labels(report, &self.metrics);
        // Probers and baselines stand in one column of the tables.
        for prober in &self.probers {
            if let Some(baseline) = self.baselines.iter().find(|baseline| baseline.label.is_some() && baseline.label == prober.label) {
                let label = prober.label.as_deref().unwrap_or_default();
                let place = if self.baselines_are_given { format!(", in {}", report.refer(baseline.location, prober.location)) } else { String::new() };
                report
                    .error(prober.location, &prober.key, format!("the label `{label}` is also that of a baseline{place}"))
                    .help("give one of them another label with `name`".to_owned());
            }
        }
    }
}

/// The run's name, which is a folder name.
fn name(report: &mut Report, root: &Node, path: &Path, top: &Map<String, Json>) -> Option<String> {
    let given = root.get("name");
    let name = match given {
        Some(_) => top.get("name")?.as_str()?.to_owned(),
        None => path.file_stem()?.to_string_lossy().into_owned(),
    };
    let problem = if name.trim() != name || name.is_empty() {
        "begins or ends with a space"
    } else if name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|']) || name.contains(char::is_control) {
        "holds a character that is not for file names"
    } else if name.starts_with(['.', '-']) {
        "begins with a dot or a dash"
    } else if name.len() > 120 {
        "is longer than 120 bytes"
    } else {
        return Some(name);
    };
    let location = given.map_or(Location::start(0), |node| node.location);
    let what = if given.is_some() { "the name" } else { "the file's name, which is the run's as `name` is missing," };
    report.error(location, "name", format!("{what} cannot be that of a folder: `{name}` {problem}"));
    None
}

/// The run folder: of the command line, of the file, or below the current folder.
fn folder(out: Option<&Path>, root: &Node, output: &Json, name: Option<&str>, report: &mut Report) -> Option<PathBuf> {
    let dir = root.get("output").and_then(|output| output.get("dir"));
    let folder = match (out, output["dir"].as_str(), dir) {
        (Some(out), ..) => out.to_owned(),
        (None, Some(text), Some(dir)) => match crate::paths::absolute(text, report.folder(dir.location)) {
            Ok(folder) => folder,
            Err(problem) => {
                report.error(dir.location, "output.dir", problem.message).help(problem.help);
                return None;
            }
        },
        _ => Path::new("runs").join(name?),
    };
    match std::path::absolute(&folder) {
        Ok(folder) => Some(folder),
        Err(error) => {
            report.error(Location::start(0), "output.dir", format!("cannot make `{}` absolute: {error}", folder.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{Workspace, relative};

    const SMALL: &str = "encoders: [model]\ntasks: [{use: facts, facts: facts.csv}]\nprobers: [fill-mask]\n";

    fn labels<'a, T>(items: &'a [T], component: impl Fn(&'a T) -> &'a lmprobe_core::Component) -> Vec<&'a str> {
        items.iter().map(|item| component(item).label.as_str()).collect()
    }

    #[test]
    fn a_small_file_is_completed() {
        let workspace = Workspace::new();
        let run = workspace.resolve(SMALL);
        assert_eq!(run.name, "run");
        assert_eq!(run.seeds, [0]);
        assert_eq!(labels(&run.encoders, |item| &item.component), ["model"]);
        assert_eq!(run.encoders[0].component.params, json!({"model": workspace.path().join("model"), "max_length": null}));
        assert_eq!(relative(&run.encoders[0].component.paths, &workspace), [("/model".to_owned(), "model".to_owned())]);
        assert_eq!(run.adapt.iter().map(|adapt| adapt.label.as_str()).collect::<Vec<_>>(), ["none"]);
        assert_eq!(relative(&run.tasks[0].component.paths, &workspace), [("/facts".to_owned(), "facts.csv".to_owned())]);
        assert_eq!(labels(&run.probers, |item| &item.component), ["fill-mask"]);
        assert_eq!(labels(&run.baselines, |item| &item.component), ["random-ranking"], "every prober that asks no model");
        assert_eq!(labels(&run.metrics, |item| &item.component), ["acc@1", "mrr"], "the task's default metrics");
        assert_eq!(run.formats, [OutputFormat::Parquet]);
        assert_eq!(run.folder, std::env::current_dir().unwrap().join("runs/run"));
        assert_eq!(run.document["probers"], json!(["fill-mask"]));
    }

    #[test]
    fn a_large_file_is_read_as_written() {
        let workspace = Workspace::new();
        let run = workspace.resolve(
            "name: mine\nseeds: [3, 1]\nencoders:\n  - {use: bert, model: ./model, name: big}\n  - headless/\n\
             adapt:\n  - none\n  - {use: contrastive, name: rewired, corpus: '*.txt', epochs: 2, temperature: 1}\n\
             tasks:\n  - {use: facts, facts: facts.csv, where: {split: shown}}\n\
             probers:\n  - {name: mimic-1, layer: 1, use: mimic}\n  - fill-mask\n\
             baselines: []\nmetrics: [acc@10, {use: acc, k: 5, name: top5}, mrr]\n\
             exclude: [{encoder: headless, prober: fill-mask}]\noutput: {dir: out, formats: [csv, ipc]}\n",
        );
        assert_eq!(labels(&run.encoders, |item| &item.component), ["big", "headless"]);
        assert_eq!(labels(&run.metrics, |item| &item.component), ["acc@10", "top5", "mrr"]);
        assert_eq!(run.metrics[0].component.params, json!({"k": 10}));
        assert_eq!(run.tasks[0].component.params["where"], json!({"split": "shown"}));
        assert!(run.baselines.is_empty());
        assert_eq!(run.folder, workspace.path().join("out"));
        assert_eq!(run.formats, [OutputFormat::Csv, OutputFormat::Ipc]);
        assert_eq!(run.exclude[0].encoder.as_deref(), Some("headless"));
        let lmprobe_core::Recipe { component, params: recipe, .. } = run.adapt[1].recipe.as_ref().unwrap();
        assert_eq!((run.adapt[1].label.as_str(), component.id.as_str()), ("rewired", "contrastive"));
        assert_eq!((recipe.steps, recipe.epochs, recipe.batch_size), (None, Some(2), 192), "the user's `epochs` replaces the recipe's `steps`");
        assert_eq!(component.params["temperature"], json!(1.0));
        assert_eq!(component.params["corpus"], json!([workspace.path().join("corpus.txt")]));
        assert_eq!(relative(&component.paths, &workspace), [("/corpus/0".to_owned(), "corpus.txt".to_owned())]);
    }

    #[test]
    fn the_folder_of_the_command_line_outranks_the_file() {
        let workspace = Workspace::new();
        let run = workspace.resolve_with(SMALL, &["output.dir=there"], Some(Path::new("/elsewhere"))).ok().unwrap();
        assert_eq!(run.folder, Path::new("/elsewhere"));
        let run = workspace.resolve_with(SMALL, &["output.dir=there", "name=x"], None).ok().unwrap();
        assert_eq!((run.folder.as_path(), run.name.as_str()), (workspace.path().join("there").as_path(), "x"));
        assert_eq!(run.document["output"], json!({"dir": "there"}));
    }

    #[test]
    fn a_constructor_that_panics_is_a_mistake_of_its_item() {
        let mistakes = Workspace::new().mistakes(&SMALL.replace("fill-mask", "{use: fill-mask, steps: 14}"));
        let expected = "cannot set up prober `fill-mask`: prober `fill-mask` panicked: 14 steps are one too many; this is a bug of the plugin";
        assert!(mistakes.contains(expected), "{mistakes}");
    }

    #[test]
    fn every_mistake_of_a_file_comes_at_once() {
        let workspace = Workspace::new();
        assert_eq!(
            workspace.mistakes(
                "nmae: x\nseeds: [1, 1]\nencoders:\n  - org/name@main\n  - {use: brt, model: model}\n\
                 tasks:\n  - {use: facts, facts: fact.csv}\nprobers:\n  - {use: fill-mask, steps: 0, steps: 2}\n  - {use: fill-mask, name: b, steps: 13}\n  - {layer: 1}\n  - 3\n\
                 metrics: [acc@x, mrr@5, mmr]\noutput: {formats: [parket]}\n"
            ).replace(&format!("looked for {}", workspace.path().display()), "looked for ."),
            "run.yaml:1:1: nmae: unknown key `nmae`; did you mean `name`?\n\
             run.yaml:2:12: seeds[1]: `1` is given twice, first in line 2\n\
             run.yaml:4:5: encoders[0]: there is no model folder `org/name@main`; \
             looked for org/name@main\n\
             run.yaml:5:11: encoders[1].use: unknown encoder `brt`; did you mean `bert`?\n\
             run.yaml:7:25: tasks[0].facts: there is no file `fact.csv`; did you mean `facts.csv`?; looked for fact.csv\n\
             run.yaml:9:29: probers[0].steps: 0 is below the minimum 1\n\
             run.yaml:9:32: probers[0].steps: `steps` is given twice, first in line 9; remove one of the two\n\
             run.yaml:10:5: probers[1]: cannot set up prober `fill-mask`: 13 steps bring bad luck\n\
             run.yaml:11:5: probers[2].use: `use` is missing: it names the prober; begin the item with `use: NAME`; known probers: `fill-mask`, `mimic`, `random-ranking`\n\
             run.yaml:12:5: probers[3]: expected the name of a prober or a mapping that begins with `use`, found the number `3`\n\
             run.yaml:13:11: metrics[0]: `x` is not a cutoff; expected a whole number, such as `acc@10`\n\
             run.yaml:13:18: metrics[1]: the metric `mrr` has no cutoff; write `mrr`\n\
             run.yaml:13:25: metrics[2]: unknown metric `mmr`; known metrics: `acc`, `mrr`\n\
             run.yaml:14:20: output.formats[0]: unknown value `parket`; did you mean `parquet`?"
        );
    }

    #[test]
    fn what_is_required_is_missed() {
        let workspace = Workspace::new();
        let mistakes = workspace.mistakes("name: x\n");
        assert!(mistakes.contains("run.yaml:1:1: encoders: `encoders` is missing"), "{mistakes}");
        assert!(mistakes.contains("run.yaml:1:1: tasks: `tasks` is missing: it says what is asked; only a run that trains"), "{mistakes}");
        assert!(mistakes.contains("run.yaml:1:1: probers: `probers` is missing"), "{mistakes}");
        assert!(workspace.mistakes("encoders: []\ntasks:\nprobers: []\n").contains("run.yaml:1:11: encoders: expected at least 1 item: the list is empty"));
        assert!(workspace.mistakes("- a\n- b\n").starts_with("run.yaml:1:1: expected a mapping with `encoders`"));
        assert!(workspace.mistakes("just text\n").contains("found the text `just text`"));
    }

    #[test]
    fn a_run_that_trains_needs_no_questions() {
        let workspace = Workspace::new();
        let run = workspace.resolve("encoders: [model]\nadapt: [{use: contrastive, corpus: corpus.txt}]\n");
        assert!(run.tasks.is_empty() && run.probers.is_empty() && run.baselines.is_empty() && run.metrics.is_empty());
        assert_eq!(run.adapt[0].recipe.as_ref().unwrap().params.steps, Some(150), "from the objective's recipe");
        let half = workspace.mistakes("encoders: [model]\nadapt: [{use: contrastive, corpus: corpus.txt}]\nprobers: [fill-mask]\n");
        assert!(half.contains("tasks: `tasks` is missing"), "{half}");
    }

    #[test]
    fn exactly_one_of_steps_and_epochs_is_set() {
        let workspace = Workspace::new();
        let adapt = |more: &str| format!("{SMALL}adapt:\n  - {{use: contrastive, corpus: corpus.txt{more}}}\n");
        assert!(workspace.mistakes(&adapt(", steps: 1, epochs: 1")).contains("run.yaml:5:54: adapt[0].epochs: `steps` and `epochs` are both set; remove one"));
        assert!(workspace.mistakes(&adapt(", steps: ~")).contains("run.yaml:5:5: adapt[0]: neither `steps` nor `epochs` is set"));
        assert!(workspace.mistakes(&adapt(", temprature: 1")).contains("adapt[0].temprature: unknown key `temprature`; did you mean `temperature`?"));
        assert!(workspace.mistakes(&format!("{SMALL}adapt: [contrastive]\n")).contains("adapt[0].corpus: `corpus` is missing"));
        assert!(workspace.mistakes(&format!("{SMALL}adapt: [nnone]\n")).contains("unknown objective `nnone`"));
        assert!(
            workspace.mistakes(&format!("{SMALL}adapt: [{{use: none, steps: 1}}]\n")).contains("adapt[0].steps: unknown key `steps`; `none` has no parameters")
        );
    }

    #[test]
    fn labels_are_unique() {
        let workspace = Workspace::new();
        let mistakes = workspace.mistakes(
            "encoders:\n  - model\n  - {use: bert, model: model}\ntasks: [{use: facts, facts: facts.csv}]\nprobers: [{use: fill-mask, name: random-ranking}]\nmetrics: [acc@1, {use: acc, k: 1}]\n",
        );
        assert!(mistakes.contains("run.yaml:3:5: encoders[1]: the label `model` is used twice, first in line 2; labels name the rows of the tables; give one of them another label with `name: model-2`"), "{mistakes}");
        assert!(mistakes.contains("run.yaml:5:11: probers[0]: the label `random-ranking` is also that of a baseline"), "{mistakes}");
        assert!(mistakes.contains("run.yaml:6:18: metrics[1]: the label `acc@1` is used twice"), "{mistakes}");
    }

    #[test]
    fn probers_and_baselines_do_not_change_places() {
        let workspace = Workspace::new();
        let mistakes = workspace
            .mistakes("encoders: [model]\ntasks: [{use: facts, facts: facts.csv}]\nprobers: [{use: random-ranking, name: r}]\nbaselines: [fill-mask]\n");
        assert!(mistakes.contains("run.yaml:3:11: probers[0]: prober `random-ranking` asks no encoder; list it under `baselines`"), "{mistakes}");
        assert!(
            mistakes.contains("run.yaml:4:13: baselines[0]: prober `fill-mask` asks an encoder, so it is no baseline; list it under `probers`"),
            "{mistakes}"
        );
    }

    #[test]
    fn the_name_is_that_of_a_folder() {
        let workspace = Workspace::new();
        for name in ["a/b", "..", " x", "'a:b'", "-x", "'a\tb'"] {
            assert!(
                workspace
                    .mistakes(&format!("{SMALL}name: \"{}\"\n", name.trim_matches('\'').replace('\t', "\\t")))
                    .contains("run.yaml:4:7: name: the name cannot be that of a folder"),
                "{name}"
            );
        }
        assert!(workspace.mistakes(&format!("{SMALL}name: 2021\n")).contains("name: expected text, found the number `2021`; put it in quotes"));
    }

    #[test]
    fn a_model_folder_that_is_none_says_why() {
        let workspace = Workspace::new();
        workspace.write("empty/x.txt", "");
        workspace.write("broken/config.json", "{");
        workspace.write("untyped/config.json", "{}");
        workspace.write("alien/config.json", r#"{"model_type": "gpt9"}"#);
        workspace.write("damaged/config.json", r#"{"model_type": "roberta"}"#);
        let mistakes = workspace.mistakes(&SMALL.replace("[model]", "[empty, broken, untyped, alien, damaged, bert, {use: bert, model: org/x}, modle]"));
        for expected in [
            "run.yaml:1:12: encoders[0]: `empty` is not a model folder: it holds no `config.json`",
            "encoders[1]: broken/config.json is not valid JSON",
            "encoders[2]: untyped/config.json does not say what the model is: `model_type` is missing",
            "encoders[3]: no encoder reads models of the family `gpt9`; known families: `bert`, `roberta`",
            "encoders[4]: cannot set up encoder `bert`: damaged/config.json: `layers` is missing",
            "encoders[5].model: `model` is missing; expected a model folder or a hub id",
            "encoders[6].model: there is no model folder `org/x`",
            "encoders[7]: there is no model folder `modle`; did you mean `model`?",
        ] {
            assert!(mistakes.contains(expected), "{expected}\n---\n{mistakes}");
        }
    }

    #[test]
    fn a_mistake_in_an_override_is_named_there() {
        let workspace = Workspace::new();
        let invalid = workspace.resolve_with(SMALL, &["name=ok", "probers=[fill-msk]", "tasks[3].x=1"], None).err().unwrap();
        assert_eq!(
            invalid.to_string(),
            "--set:1:10: probers[0]: unknown prober `fill-msk`; did you mean `fill-mask`?\n--set:1:1: tasks: `[3]` is out of range: `tasks` has 1 item, counted from 0"
        );
        let source = &invalid.sources[invalid.diagnostics[0].source];
        assert_eq!((source.name.as_str(), &source.text[invalid.diagnostics[0].span.clone().unwrap()]), ("--set", "fill-msk"));
    }

    #[test]
    fn paths_in_an_included_file_are_relative_to_it() {
        let workspace = Workspace::new();
        workspace.write("common/tasks.yaml", "- use: facts\n  facts: here.csv\n");
        workspace.write("common/here.csv", "x");
        let text = "encoders: [model]\ntasks: !include common/tasks.yaml\nprobers: [fill-mask]\n";
        assert_eq!(relative(&workspace.resolve(text).tasks[0].component.paths, &workspace), [("/facts".to_owned(), "common/here.csv".to_owned())]);
        workspace.write("common/tasks.yaml", "- use: facts\n  facts: nowhere.csv\n");
        assert!(workspace.mistakes(text).starts_with("common/tasks.yaml:2:10: tasks[0].facts: there is no file `nowhere.csv`"));
    }

    #[test]
    fn the_run_schema_and_the_check_know_the_same_keys() {
        let top = run_schema::top_level();
        let keys: Vec<&str> = top["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["name", "seeds", "plugins", "encoders", "adapt", "tasks", "probers", "baselines", "metrics", "include", "exclude", "output"]);
    }
}
