//! What fits together: labels of filters, and what probers and objectives ask of encoders.

use lmprobe_core::{Adaptation, CellFilter, EncoderItem, MetricItem, Needs, ProberItem, Problem, Recipe, TaskItem, fits};

use crate::diagnostic::Report;
use crate::lists::{Entry, labels};
use crate::node::{Node, Value};
use crate::suggestion::{hint, quoted};

/// The matrix of a run as far as it could be read.
pub(crate) struct Matrix<'a> {
    pub(crate) encoders: &'a [Entry<EncoderItem>],
    pub(crate) adapt: &'a [Entry<Adaptation>],
    pub(crate) tasks: &'a [Entry<TaskItem>],
    pub(crate) probers: &'a [Entry<ProberItem>],
    pub(crate) baselines: &'a [Entry<ProberItem>],
    pub(crate) metrics: &'a [Entry<MetricItem>],
    /// Empty if they could not be read.
    pub(crate) seeds: &'a [u64],
    pub(crate) include: &'a [CellFilter],
    pub(crate) exclude: &'a [CellFilter],
}

/// A cell; what is not known of it matches only a filter that does not ask.
struct Labels<'a> {
    encoder: Option<&'a str>,
    adapt: Option<&'a str>,
    task: Option<&'a str>,
    prober: Option<&'a str>,
    seed: u64,
}

impl Matrix<'_> {
    /// Reports labels in `include` and `exclude` that nothing has. Whether all are known.
    pub(crate) fn check_labels(&self, report: &mut Report, key: &str, filters: Option<&Node>) -> bool {
        let before = report.len();
        let lists = [("encoder", labels(self.encoders)), ("adapt", labels(self.adapt)), ("task", labels(self.tasks)), ("prober", labels(self.probers))];
        for (index, filter) in filters.map_or(&[][..], Node::items).iter().enumerate() {
            for (name, (known, complete)) in &lists {
                let Some(node) = filter.get(name) else { continue };
                // A label that could not be read may be the one that is meant.
                let Some(label) = node.as_str().filter(|label| *complete && !known.contains(label)) else { continue };
                let word = if *name == "adapt" { "adaptation" } else { name };
                let hint = hint(label, known.iter().copied(), "known labels");
                report.error(node.location, &format!("{key}[{index}].{name}"), format!("no {word} has the label `{label}`")).label(hint);
            }
            if let Some(node) = filter.get("seed")
                && let Value::Int(seed) = node.value
                && !self.seeds.is_empty()
                && !self.seeds.iter().any(|&known| i128::from(known) == seed)
            {
                let seeds = self.seeds.iter().map(u64::to_string).collect::<Vec<_>>();
                let label = format!("the seeds are {}", quoted(seeds.iter().map(String::as_str)));
                report.error(node.location, &format!("{key}[{index}].seed"), format!("{seed} is not a seed of the run")).label(label);
            }
        }
        report.len() == before
    }

    /// Reports what is listed and has no part in the run: probers and metrics that fit no task, tasks that nothing asks.
    pub(crate) fn check_parts(&self, report: &mut Report) {
        let problems: Option<Vec<Problem>> = self.tasks.iter().map(|task| Some(task.built.as_ref()?.task.problem())).collect();
        // A task that could not be read may be the one that fits.
        let Some(problems) = problems.filter(|problems| !problems.is_empty()) else { return };
        let tasks = || {
            let of = |task: &Entry<TaskItem>| task.built.as_ref().map(|task| format!("`{}` is a {} task", task.component.label, task.task.problem()));
            self.tasks.iter().filter_map(of).collect::<Vec<_>>().join(", ")
        };
        let words = |problems: &[Problem]| problems.iter().map(|problem| problem.word()).collect::<Vec<_>>().join(", ");
        for (entry, noun) in self.probers.iter().map(|entry| (entry, "prober")).chain(self.baselines.iter().map(|entry| (entry, "baseline"))) {
            let Some(prober) = &entry.built else { continue };
            let needs = prober.prober.needs();
            if !problems.iter().any(|problem| needs.problems.contains(problem)) {
                report
                    .error(entry.location, &entry.key, format!("{noun} `{}` can ask about none of the tasks", prober.component.id))
                    .label(format!("it asks about: {}", words(needs.problems)))
                    .help(tasks());
            }
        }
        for entry in self.metrics {
            let Some(metric) = &entry.built else { continue };
            if !problems.iter().any(|problem| metric.metric.problems().contains(problem)) {
                report
                    .error(entry.location, &entry.key, format!("metric `{}` can score none of the tasks", metric.component.id))
                    .label(format!("it scores: {}", words(metric.metric.problems())))
                    .help(tasks());
            }
        }
        for (index, entry) in self.tasks.iter().enumerate() {
            let Some(task) = &entry.built else { continue };
            let asked = (index, task.task.problem());
            let learned = self.adapt.iter().any(|adapt| adapt.built.as_ref().is_none_or(|adapt| adapt.learned().is_some_and(|learned| learned.task == index)));
            // A list that could not be read may hold what fits.
            let unread = self.encoders.is_empty() || self.adapt.is_empty() || self.probers.is_empty();
            let probed = unread
                || self.probers.iter().any(|prober| {
                    let Some(prober) = &prober.built else { return true };
                    self.adapt.iter().any(|adapt| {
                        let Some(adapt) = &adapt.built else { return true };
                        let one = |encoder: &Entry<EncoderItem>| {
                            encoder.built.as_ref().is_none_or(|encoder| fits(&prober.prober.needs(), asked, Some(adapt), Some(encoder.source.info())))
                        };
                        self.encoders.iter().any(one)
                    })
                });
            if !learned && !probed {
                report
                    .error(entry.location, &entry.key, format!("nothing asks about task `{}`, a {} task", task.component.label, asked.1))
                    .label("no prober of this run can, and no adaptation learns from it".to_owned())
                    .help("a head that fine-tuning has left is asked by the prober `task-head`".to_owned());
            }
        }
    }

    /// Reports every pair of prober and encoder, and of objective and encoder, that the run asks for and that cannot work.
    pub(crate) fn check_needs(&self, report: &mut Report) {
        for entry in self.probers {
            let Some(prober) = &entry.built else { continue };
            let needs = prober.prober.needs();
            let used = |encoder: &str| self.any(&|cell| cell.encoder == Some(encoder) && cell.prober == entry.label.as_deref());
            let what = Asking { verb: "ask", noun: "prober", id: &prober.component.id, filter: "prober", label: &prober.component.label };
            self.check_each(report, &|encoder: &EncoderItem| needs.unmet(encoder.source.info()), (&entry.key, entry.location), &what, &used);
        }
        let training_only = self.tasks.is_empty() || self.probers.is_empty();
        for entry in self.adapt {
            let Some(Adaptation { label, recipe: Some(Recipe { component, objective, learned, .. }) }) = &entry.built else { continue };
            let needs = Needs { trainable: true, ..objective.needs() };
            let used = |encoder: &str| training_only || self.any(&|cell| cell.encoder == Some(encoder) && cell.adapt == Some(label));
            let what = Asking { verb: "train", noun: "objective", id: &component.id, filter: "adapt", label };
            let problem = learned.as_ref().and_then(|learned| self.tasks[learned.task].built.as_ref()).map(|task| task.task.problem());
            let unmet = |encoder: &EncoderItem| {
                let mut unmet = needs.unmet(encoder.source.info());
                unmet.extend(problem.and_then(|problem| encoder.source.check_head(problem).err()).map(|error| error.to_string()));
                unmet
            };
            self.check_each(report, &unmet, (&entry.key, entry.location), &what, &used);
        }
    }

    fn check_each(
        &self,
        report: &mut Report,
        unmet: &dyn Fn(&EncoderItem) -> Vec<String>,
        (key, location): (&str, crate::diagnostic::Location),
        what: &Asking<'_>,
        used: &dyn Fn(&str) -> bool,
    ) {
        let encoders: Vec<&EncoderItem> = self.encoders.iter().filter_map(|encoder| encoder.built.as_ref()).collect();
        let able: Vec<&str> = encoders.iter().filter(|encoder| unmet(encoder).is_empty()).map(|encoder| encoder.component.label.as_str()).collect();
        for encoder in &encoders {
            let (unmet, name) = (unmet(encoder), encoder.component.label.as_str());
            if unmet.is_empty() || !used(name) {
                continue;
            }
            let Asking { verb, noun, id, filter, label } = what;
            let help = if able.is_empty() {
                format!("no encoder of this run fits; `lmprobe describe {noun} {id}` says what it needs")
            } else {
                format!("it can {verb} {}; leave this pair out with `exclude: [{{encoder: {name}, {filter}: {label}}}]`", quoted(able.iter().copied()))
            };
            report.error(location, key, format!("{noun} `{id}` cannot {verb} encoder `{name}`: {}", unmet.join("; "))).help(help);
        }
    }

    /// Whether the run has such a cell.
    fn any(&self, wanted: &dyn Fn(&Labels<'_>) -> bool) -> bool {
        for encoder in self.encoders {
            for adapt in self.adapt {
                for task in self.tasks {
                    for prober in self.probers {
                        if !Self::fit(encoder, adapt, task, prober, self.tasks) {
                            continue;
                        }
                        for &seed in self.seeds {
                            let cell = Labels {
                                encoder: encoder.label.as_deref(),
                                adapt: adapt.label.as_deref(),
                                task: task.label.as_deref(),
                                prober: prober.label.as_deref(),
                                seed,
                            };
                            if wanted(&cell) && self.chosen(&cell) {
                                return true;
                            }
                        }
                    }
                }
            }
        }
        false
    }

    /// Whether such a cell can be; what could not be read may fit.
    fn fit(encoder: &Entry<EncoderItem>, adapt: &Entry<Adaptation>, task: &Entry<TaskItem>, prober: &Entry<ProberItem>, tasks: &[Entry<TaskItem>]) -> bool {
        let (Some(encoder), Some(adapt), Some(asked), Some(prober)) = (&encoder.built, &adapt.built, &task.built, &prober.built) else { return true };
        let index = tasks.iter().position(|other| std::ptr::eq(other, task)).unwrap_or(usize::MAX);
        fits(&prober.prober.needs(), (index, asked.task.problem()), Some(adapt), Some(encoder.source.info()))
    }

    fn chosen(&self, cell: &Labels<'_>) -> bool {
        let is = |wanted: &Option<String>, label: Option<&str>| wanted.is_none() || wanted.as_deref() == label;
        let matches = |filter: &CellFilter| {
            is(&filter.encoder, cell.encoder)
                && is(&filter.adapt, cell.adapt)
                && is(&filter.task, cell.task)
                && is(&filter.prober, cell.prober)
                && filter.seed.is_none_or(|seed| seed == cell.seed)
        };
        (self.include.is_empty() || self.include.iter().any(matches)) && !self.exclude.iter().any(matches)
    }
}

/// Who asks, in words.
struct Asking<'a> {
    verb: &'a str,
    noun: &'a str,
    id: &'a str,
    filter: &'a str,
    label: &'a str,
}

#[cfg(test)]
mod tests {
    use crate::fixtures::Workspace;

    const FILE: &str = "encoders: [model, headless]\ntasks: [{use: facts, facts: facts.csv}]\nprobers:\n  - fill-mask\n  - {use: mimic, layer: 5}\n";

    #[test]
    fn a_pair_that_cannot_work_is_reported_before_any_weight_is_read() {
        assert_eq!(
            Workspace::new().mistakes(FILE),
            "run.yaml:4:5: probers[0]: prober `fill-mask` cannot ask encoder `headless`: it needs a masked-language-model head, which the checkpoint does \
             not have; it needs a mask token, which the tokenizer does not have; it can ask `model`; leave this pair out with `exclude: [{encoder: headless, prober: fill-mask}]`\n\
             run.yaml:5:5: probers[1]: prober `mimic` cannot ask encoder `headless`: layer 5 does not exist: the model has hidden states 0 to 2 (or -3 to -1); \
             it can ask `model`; leave this pair out with `exclude: [{encoder: headless, prober: mimic}]`"
        );
    }

    #[test]
    fn a_pair_that_no_cell_has_is_no_mistake() {
        let workspace = Workspace::new();
        assert_eq!(workspace.resolve(&format!("{FILE}exclude: [{{encoder: headless}}]\n")).encoders.len(), 2);
        assert_eq!(workspace.resolve(&format!("{FILE}include: [{{encoder: model}}, {{prober: mimic, encoder: model}}]\n")).probers.len(), 2);
        assert!(workspace.mistakes(&format!("{FILE}seeds: [1, 2]\nexclude: [{{encoder: headless, seed: 1}}]\n")).contains("cannot ask encoder `headless`"));
    }

    #[test]
    fn an_objective_that_asks_too_much_is_reported() {
        let mistakes = Workspace::new().mistakes("encoders: [headless]\nadapt: [{use: contrastive, corpus: corpus.txt, layer: 9}]\n");
        assert!(mistakes.starts_with("run.yaml:2:9: adapt[0]: objective `contrastive` cannot train encoder `headless`: layer 9 does not exist"), "{mistakes}");
        assert!(mistakes.ends_with("no encoder of this run fits; `lmprobe describe objective contrastive` says what it needs"), "{mistakes}");
    }

    #[test]
    fn a_filter_names_labels_that_exist() {
        let mistakes = Workspace::new().mistakes(&format!("{FILE}exclude:\n  - {{encoder: hedless, prober: zzz, seed: 5}}\n  - {{encodr: x}}\n"));
        assert_eq!(
            mistakes,
            "run.yaml:7:15: exclude[0].encoder: no encoder has the label `hedless`; did you mean `headless`?\n\
             run.yaml:7:32: exclude[0].prober: no prober has the label `zzz`; known labels: `fill-mask`, `mimic`\n\
             run.yaml:7:43: exclude[0].seed: 5 is not a seed of the run; the seeds are `0`\n\
             run.yaml:8:6: exclude[1].encodr: unknown key `encodr`; did you mean `encoder`?"
        );
    }

    #[test]
    fn what_fits_no_task_is_reported_and_what_nothing_asks_too() {
        let of = |text: &str| Workspace::new().labelled_mistakes(text);
        let prober = of("encoders: [model]\ntasks: [{use: facts, facts: facts.csv}]\nprobers: [fill-mask, head]\n");
        assert_eq!(
            prober,
            "run.yaml:3:22: probers[1]: prober `head` can ask about none of the tasks; it asks about: token-classification; `facts` is a cloze task"
        );
        let metric = of("encoders: [model]\ntasks: [{use: facts, facts: facts.csv}]\nprobers: [fill-mask]\nmetrics: [mrr, spans]\n");
        assert_eq!(metric, "run.yaml:4:16: metrics[1]: metric `spans` can score none of the tasks; it scores: token-classification; `facts` is a cloze task");
        let baseline = of("encoders: [model]\ntasks: [{use: facts, facts: facts.csv}]\nprobers: [fill-mask]\nbaselines: [majority]\n");
        assert!(baseline.starts_with("run.yaml:4:13: baselines[0]: baseline `majority` can ask about none of the tasks"), "{baseline}");
        let task = of("encoders: [model]\ntasks: [{use: facts, facts: facts.csv}, tags]\nprobers: [fill-mask]\n");
        assert!(task.starts_with("run.yaml:2:41: tasks[1]: nothing asks about task `tags`, a token-classification task"), "{task}");
    }

    #[test]
    fn a_head_is_asked_about_the_task_it_was_trained_on() {
        let text = "encoders: [model]\ntasks: [tags, {use: tags, name: other}]\nadapt: [{use: tune, task: tags}]\nprobers: [head]\n";
        let mistakes = Workspace::new().labelled_mistakes(text);
        assert!(mistakes.starts_with("run.yaml:2:15: tasks[1]: nothing asks about task `other`"), "{mistakes}");
    }
}
