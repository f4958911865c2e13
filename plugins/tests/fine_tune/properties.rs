//! What must hold whatever the numbers are.

use std::path::Path;
use std::sync::Mutex;

use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::serde_json::{Value, json};
use lmprobe_core::train::{Outcome, Signal, TrainingJob, TrainingParams, train};
use lmprobe_core::{
    Build, BuildContext, CallContext, Cancel, Encoder, EncoderSource, Error, Examples, Material, Problem, Progress, Quiet, Seed, check_predictions, table,
};
use lmprobe_scorers::answers::{AnswerCounts, Match};
use lmprobe_scorers::entities::{EntityCounts, Scheme};

use super::fixtures::{cx, examples_of, labelled, load, model, objective, questions, source, tagged, task, task_head, with_splits};

/// A case of each problem, by decoders too.
const CASES: [&str; 8] = [
    "token-classification/bert",
    "token-classification/biogpt",
    "nli/bert",
    "nli/gpt2",
    "multi-label/bert",
    "regression/bert",
    "multiple-choice/bert",
    "span/bert",
];

/// Short sequences, so that there are windows.
fn params() -> Value {
    json!({"max_length": 24, "max_query_length": 8})
}

pub(super) fn recipe() -> TrainingParams {
    TrainingParams { epochs: Some(3), batch_size: 4, learning_rate: 1e-3, ..TrainingParams::default() }
}

fn fit(encoder: &dyn Encoder, params: &Value, examples: &Examples, recipe: &TrainingParams, folder: &Path, cx: &CallContext<'_>) -> Result<Outcome, Error> {
    let objective = objective(params);
    let job = TrainingJob { encoder, objective: objective.as_ref(), signal: Signal::Task(examples), params: recipe, folder };
    train(&job, cx)
}

fn ask(folder: &Path, examples: &Examples) -> DataFrame {
    let encoder = source(folder).load_for_inference(Seed(0)).unwrap();
    probe(encoder.as_ref(), examples).unwrap()
}

fn probe(encoder: &dyn Encoder, examples: &Examples) -> Result<DataFrame, Error> {
    let predictions = task_head().probe(&[encoder], examples, &cx(0))?;
    check_predictions(&predictions, examples, "task-head").unwrap();
    Ok(predictions)
}

#[test]
fn development_scores_are_those_of_the_answers_of_the_kept_checkpoint() {
    for case in CASES {
        let examples = with_splits(examples_of(case), 6);
        let target = tempfile::tempdir().unwrap();
        let encoder = load(&model(case));
        let outcome = fit(encoder.as_ref(), &params(), &examples, &recipe(), target.path(), &cx(1)).unwrap();
        assert_eq!(outcome.evaluations.height(), 3, "{case}: one an epoch");
        let kept: Vec<bool> = outcome.evaluations.column("kept").unwrap().bool().unwrap().iter().flatten().collect();
        let values: Vec<f64> = outcome.evaluations.column("value").unwrap().f64().unwrap().iter().flatten().collect();
        let best = values[kept.iter().rposition(|kept| *kept).unwrap()];
        // The test split holds the development examples under other names.
        let score = score(&ask(&target.path().join("final"), &examples), examples.problem);
        assert!((score - best).abs() < 1e-6, "{case}: {score} is not {best}");
    }
}

fn score(predictions: &DataFrame, problem: Problem) -> f64 {
    let lists = |name: &str| table::text_lists(predictions, name).unwrap();
    let pairs = || lists("golds").into_iter().zip(lists("predictions"));
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let n = predictions.height() as f64;
    match problem {
        Problem::TokenClassification => {
            let mut counts = lmprobe_scorers::Counts::default();
            pairs().for_each(|(golds, found)| counts += EntityCounts::of(&golds, &found, Scheme::Conlleval).unwrap().total());
            counts.f1()
        }
        Problem::MultiLabel => {
            let (mut correct, mut all) = (0u32, 0u32);
            for (golds, found) in pairs() {
                correct += u32::try_from(golds.iter().filter(|gold| found.contains(gold)).count()).unwrap();
                all += u32::try_from(golds.len() + found.len()).unwrap();
            }
            2.0 * f64::from(correct) / f64::from(all)
        }
        Problem::Regression => {
            let targets = table::optional_reals(predictions, "target").unwrap();
            let found = table::optional_reals(predictions, "prediction").unwrap();
            targets.iter().zip(found).map(|(target, found)| (target.unwrap() - found.unwrap()).powi(2)).sum::<f64>() / n
        }
        Problem::ExtractiveQa => {
            let mut counts = AnswerCounts::default();
            pairs().for_each(|(golds, found)| counts.add(Match::of(&found[0], &golds)));
            counts.f1()
        }
        _ => f64::from(u32::try_from(pairs().filter(|(golds, found)| golds == found).count()).unwrap()) / n,
    }
}

/// What a message shows of a column.
fn cells(column: &lmprobe_core::polars::prelude::Column) -> String {
    (0..column.len()).map(|row| format!("{:?}", column.get(row).unwrap())).collect::<Vec<_>>().join("; ")
}

#[test]
fn answers_do_not_depend_on_what_is_asked_beside_them_or_on_threads() {
    for case in CASES {
        let examples = with_splits(examples_of(case), 6);
        let target = tempfile::tempdir().unwrap();
        fit(load(&model(case)).as_ref(), &json!({"max_length": 24, "max_query_length": 8, "checkpoint": "last"}), &examples, &recipe(), target.path(), &cx(1))
            .unwrap();
        let encoder = source(&target.path().join("final")).load_for_inference(Seed(0)).unwrap();
        let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let all = pool(3).install(|| probe(encoder.as_ref(), &examples).unwrap());
        assert!(all.equals_missing(&pool(1).install(|| probe(encoder.as_ref(), &examples).unwrap())), "{case}: threads");
        for row in 0..examples.examples.height() {
            let alone = Examples { examples: examples.examples.slice(i64::try_from(row).unwrap(), 1), ..examples.clone() };
            let found = probe(encoder.as_ref(), &alone).unwrap();
            let expected = all.slice(i64::try_from(row).unwrap(), 1);
            for column in found.columns() {
                let same = column.equals_missing(expected.column(column.name()).unwrap());
                assert!(same, "{case}: row {row}, {:?} is not {:?}", cells(column), cells(expected.column(column.name()).unwrap()));
            }
        }
    }
}

#[test]
fn a_stored_checkpoint_opened_for_training_answers_as_for_inference() {
    for case in CASES {
        let examples = with_splits(examples_of(case), 4);
        let target = tempfile::tempdir().unwrap();
        fit(load(&model(case)).as_ref(), &params(), &examples, &recipe(), target.path(), &cx(2)).unwrap();
        let folder = target.path().join("final");
        let (packed, taped) = (ask(&folder, &examples), probe(load(&folder).as_ref(), &examples).unwrap());
        if examples.problem == Problem::Regression {
            let values = |frame: &DataFrame| table::optional_reals(frame, "prediction").unwrap();
            assert!(values(&packed).iter().zip(values(&taped)).all(|(a, b)| (a.unwrap() - b.unwrap()).abs() < 1e-4), "{case}");
        } else {
            assert_eq!(table::text_lists(&packed, "predictions").unwrap(), table::text_lists(&taped, "predictions").unwrap(), "{case}");
        }
    }
}

#[test]
fn training_size_0_stores_the_encoder_with_a_fresh_head() {
    for case in CASES {
        let mut examples = with_splits(examples_of(case), 4);
        examples.train = examples.train.head(Some(0));
        let target = tempfile::tempdir().unwrap();
        let outcome = fit(load(&model(case)).as_ref(), &params(), &examples, &recipe(), target.path(), &cx(3)).unwrap();
        assert_eq!((outcome.training.height(), outcome.evaluations.height()), (0, 0), "{case}");
        let folder = target.path().join("final");
        assert_eq!(ask(&folder, &examples).height(), 4, "{case}");
        let (before, after) = (load(&model(case)), load(&folder));
        let values = |encoder: &dyn Encoder| -> Vec<Vec<f32>> {
            let variables = encoder.trainable().unwrap().variables();
            variables.iter().map(|variable| variable.var.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        assert_eq!(values(before.as_ref()), values(after.as_ref()), "{case}: the encoder stays");
        let of = |encoder: &dyn Encoder| encoder.task_head().unwrap().tensors[0].1.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_ne!(of(before.as_ref()), of(after.as_ref()), "{case}: the head is drawn");
    }
}

/// Asks to stop behind a step.
struct StopAfter(usize, Cancel);

impl Progress for StopAfter {
    fn job_started(&self, _: usize, _: usize, _: &str) {}
    fn advanced(&self, phase: &str, done: usize, _: usize) {
        if phase == "steps" && done == self.0 {
            self.1.request();
        }
    }
    fn job_finished(&self, _: usize, _: &str, _: Option<&str>, _: bool) {}
    fn warning(&self, _: &str) {}
}

/// Dropout, so that draws count too: the fixtures have none of their own.
pub(super) fn with_dropout(case: &str, rate: f64) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model(case)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, target.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = target.path().join("config.json");
    let mut config = super::fixtures::json(&path);
    for (key, value) in config.as_object_mut().unwrap() {
        if key.contains("dropout") || key.ends_with("_pdrop") {
            *value = rate.into();
        }
    }
    std::fs::write(&path, config.to_string()).unwrap();
    target
}

#[test]
fn a_stopped_training_goes_on_to_the_same_bits() {
    for case in ["token-classification/bert", "nli/gpt2", "span/bert"] {
        let model = with_dropout(case, 0.1);
        let examples = with_splits(examples_of(case), 4);
        let whole = tempfile::tempdir().unwrap();
        let expected = fit(load(model.path()).as_ref(), &params(), &examples, &recipe(), whole.path(), &cx(4)).unwrap();
        let target = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        let stop = StopAfter(4, cancel.clone());
        let stopped = fit(load(model.path()).as_ref(), &params(), &examples, &recipe(), target.path(), &CallContext::new(Seed(4), &stop, cancel));
        assert!(matches!(stopped, Err(Error::Cancelled)), "{case}");
        let found =
            fit(load(model.path()).as_ref(), &params(), &examples, &recipe(), target.path(), &CallContext::new(Seed(4), &Quiet, Cancel::default())).unwrap();
        assert!(found.training.equals(&expected.training) && found.evaluations.equals(&expected.evaluations), "{case}");
        let bytes = |folder: &Path| std::fs::read(folder.join("final/model.safetensors")).unwrap();
        assert_eq!(bytes(target.path()), bytes(whole.path()), "{case}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let refused = |params: Value| {
        let Build::Objective(build) = super::fixtures::registration("fine-tune").build else { panic!("not an objective") };
        build(params, &BuildContext::default()).err().map(|error| error.to_string())
    };
    for position in ["last", "mean"] {
        let message = refused(json!({"label_scheme": "biobert", "label_position": position})).unwrap();
        assert!(message.starts_with(&format!("`label_position: {position}` does not go with `label_scheme: biobert`")), "{message}");
    }
    for position in ["auto", "first"] {
        assert_eq!(refused(json!({"label_scheme": "biobert", "label_position": position})), None);
    }
    assert_eq!(
        refused(json!({"window_overlap": 16, "window_step": 32})).unwrap(),
        "`window_overlap` 16 and `window_step` 32 are both set, and say the same in two ways: remove one of them"
    );
}

#[test]
fn the_labels_of_biobert_are_read_where_they_are_learned() {
    let examples = examples_of("token-classification/gpt2");
    let encoder = load(&model("token-classification/gpt2"));
    let position = |params: Value| {
        let learner = objective(&params).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0)).unwrap();
        learner.head().unwrap().unwrap().settings["label_position"].as_str().unwrap().to_owned()
    };
    assert_eq!(position(json!({"checkpoint": "last", "label_scheme": "biobert"})), "first");
    assert_eq!(position(json!({"checkpoint": "last"})), "last", "a causal model has seen the whole word");
}

#[test]
fn a_model_without_a_class_for_spans_says_so_before_it_is_loaded() {
    for (case, problem, fits) in [
        ("nli/biogpt", Problem::ExtractiveQa, false),
        ("nli/biogpt", Problem::TokenClassification, true),
        ("nli/gpt2", Problem::ExtractiveQa, true),
        ("nli/bert", Problem::ExtractiveQa, true),
    ] {
        assert_eq!(source(&model(case)).check_head(problem).is_ok(), fits, "{case}, {problem}");
    }
}

/// Notes of preparing to learn from examples.
fn notes(case: &str, params: &Value, examples: &Examples) -> Vec<String> {
    let encoder = load(&model(case));
    objective(params).prepare(&Material::Task(examples), encoder.as_ref(), Seed(0)).unwrap().notes()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn no_word_of_a_long_sentence_is_lost_or_learned_twice() {
    let long = words(&"The patient had acute hepatitis . ".repeat(12)).into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
    let tags = vec!["O".to_owned(); long.len()];
    let examples = task(Problem::TokenClassification, tagged(&[(long.clone(), tags)]), words("B I O"));
    let params = json!({"max_length": 16, "checkpoint": "last"});
    let case = "token-classification/bert";
    assert_eq!(notes(case, &params, &examples), ["1 of 1 training sentences are longer than 16 tokens and were split into windows"]);
    let encoder = load(&model(case));
    let learner = objective(&params).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0)).unwrap();
    let batch = learner.batch(&[0], Seed(0)).unwrap();
    assert_eq!(batch.targets["labels"].dims(), [long.len()], "each word once");
    assert!(batch.inputs[0].len() > 5 && (0..batch.inputs[0].len()).all(|window| batch.inputs[0].sequence_len(window) <= 16));
    let cut = json!({"max_length": 16, "checkpoint": "last", "long_inputs": "cut"});
    let found = notes(case, &cut, &examples);
    assert!(found[0].ends_with("were cut"), "{found:?}");
    let lost = "words of training sentences stand behind the cut: they are not learned from, and asked about they have the tag `O`";
    assert!(found[1].ends_with(lost), "{found:?}");
    let learner = objective(&cut).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0)).unwrap();
    let n_labels = learner.batch(&[0], Seed(0)).unwrap().targets["labels"].dims()[0];
    assert_eq!(found[1], format!("{} {lost}", long.len() - n_labels));
}

#[test]
fn words_without_pieces_keep_their_place() {
    let case = "token-classification/bert";
    // The tokenizer drops control characters.
    let sentence = vec!["The".to_owned(), "\u{1}".to_owned(), "patient".to_owned()];
    let nothing = vec!["\u{1}".to_owned()];
    let frame = tagged(&[(sentence, words("O B O")), (nothing, words("B"))]);
    let mut examples = task(Problem::TokenClassification, frame, words("B I O"));
    let found = notes(case, &json!({"checkpoint": "last", "max_length": 64}), &examples);
    assert_eq!(
        found,
        [
            "2 words of training sentences have no piece in the vocabulary: they are not learned from, and asked about they have the tag `O`",
            "1 of 2 training examples were left out: sentences without tags or without pieces"
        ]
    );
    examples.examples = examples.train.clone();
    examples.train = examples.train.head(Some(0));
    let predictions = probe(load(&model(case)).as_ref(), &examples).unwrap();
    let tags = table::text_lists(&predictions, "predictions").unwrap();
    assert_eq!((tags[0].len(), tags[0][1].as_str(), &tags[1]), (3, "O", &words("O")));
    let pieces = table::text_lists(&predictions, "pieces").unwrap();
    assert_eq!((pieces[0].first().unwrap().as_str(), pieces[0].last().unwrap().as_str(), pieces[1].len()), ("[CLS]", "[SEP]", 0));
    assert_eq!(table::text_lists(&predictions, "piece_predictions").unwrap()[0].len(), pieces[0].len());
}

#[test]
fn a_head_with_a_label_for_every_piece_says_what_is_right_of_each() {
    let known = (words("The patient had hepatitis ."), words("O O O B O"));
    let frame = tagged(&[known, (words("The fever"), Vec::new())]);
    let examples = with_splits(task(Problem::TokenClassification, frame, words("B I O")), 2);
    let encoder = load(&model("token-classification/bert"));
    for (scheme, there) in [("biobert", true), ("words", false)] {
        let target = tempfile::tempdir().unwrap();
        let params = json!({"max_length": 48, "label_scheme": scheme, "checkpoint": "last"});
        fit(encoder.as_ref(), &params, &examples, &recipe(), target.path(), &cx(0)).unwrap();
        let predictions = ask(&target.path().join("final"), &examples);
        assert_eq!(predictions.column("piece_golds").is_ok(), there, "{scheme}");
        if there {
            let (golds, found) = (table::text_lists(&predictions, "piece_golds").unwrap(), table::text_lists(&predictions, "piece_predictions").unwrap());
            assert_eq!((golds[0].len(), golds[1].len()), (found[0].len(), 0), "of the second sentence nothing is known");
            let without: Vec<&String> = golds[0].iter().filter(|label| *label != "X").collect();
            assert_eq!(without, ["[CLS]", "O", "O", "O", "B", "O", "[SEP]"]);
        }
    }
}

#[test]
fn long_pairs_are_split_or_cut_and_counted() {
    let long = "The patient had acute hepatitis . ".repeat(8);
    let frame = labelled(&[(&long, Some("The patient had fever ."), vec!["neutral".to_owned()]), ("The patient .", None, vec![])]);
    let examples = task(Problem::SequenceClassification, frame, words("entailment contradiction neutral"));
    for case in ["nli/bert", "nli/gpt2", "nli/biogpt"] {
        let found = notes(case, &json!({"checkpoint": "last", "max_length": 32}), &examples);
        let left_out = "1 of 2 training examples were left out: texts without a gold";
        assert_eq!(found, ["1 of 2 training texts are longer than 32 tokens and were split into windows", left_out], "{case}");
        let found = notes(case, &json!({"checkpoint": "last", "max_length": 32, "long_inputs": "cut"}), &examples);
        assert_eq!(found, ["1 of 2 training texts were longer than 32 tokens and were cut", left_out], "{case}");
        let encoder = load(&model(case));
        let learner =
            objective(&json!({"checkpoint": "last", "max_length": 32, "long_inputs": "cut"})).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0));
        assert_eq!(learner.unwrap().batch(&[0], Seed(0)).unwrap().inputs[0].sequence_len(0), 32, "{case}: cut to the limit, separator included");
    }
}

#[test]
fn gpt2_separates_pairs_by_its_own_token_unless_told_not_to() {
    let frame = labelled(&[("The patient .", Some("The patient ."), vec!["neutral".to_owned()])]);
    let examples = task(Problem::SequenceClassification, frame, words("entailment contradiction neutral"));
    let encoder = load(&model("nli/gpt2"));
    let ids = |params: Value| {
        let learner = objective(&params).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0)).unwrap();
        let settings = learner.head().unwrap().unwrap().settings;
        (learner.batch(&[0], Seed(0)).unwrap().inputs[0].ids.clone(), settings["pair_separator"].as_str().unwrap().to_owned())
    };
    let (with, separator) = ids(json!({"checkpoint": "last"}));
    let (without, none) = ids(json!({"checkpoint": "last", "pair_separator": "none"}));
    assert_eq!((separator.as_str(), none.as_str()), ("end-of-text", "none"));
    let half = without.len() / 2;
    assert_eq!(with, [&without[..half], &[406], &without[half..]].concat());
    let bert = load(&model("nli/bert"));
    let learner = objective(&json!({"checkpoint": "last"})).prepare(&Material::Task(&examples), bert.as_ref(), Seed(0)).unwrap();
    assert_eq!(learner.head().unwrap().unwrap().settings["pair_separator"], "none", "the tokenizer separates texts itself");
}

#[test]
fn answers_are_learned_only_where_they_stand() {
    let question = ("Which drug ?".to_owned(), "Aspirin reduced the fever.".to_owned(), vec![("fever".to_owned(), 3)]);
    let examples = task(Problem::ExtractiveQa, questions(&[question]), Vec::new());
    let refused = objective(&json!({})).prepare(&Material::Task(&examples), load(&model("span/bert")).as_ref(), Seed(0));
    let message = refused.err().unwrap().to_string();
    assert_eq!(message, "the answer \"fever\" of question `train-0` does not stand at character 3 of its context");
}

#[test]
fn questions_of_which_no_answer_is_known_are_not_learned_from_and_counted() {
    let question = |answers: &[(&str, u64)]| {
        let answers = answers.iter().map(|(text, start)| ((*text).to_owned(), *start)).collect();
        ("Which drug ?".to_owned(), "Aspirin reduced the fever.".to_owned(), answers)
    };
    let examples = task(Problem::ExtractiveQa, questions(&[question(&[("Aspirin", 0)]), question(&[]), question(&[("", 0)])]), Vec::new());
    let learner =
        objective(&json!({"max_length": 48, "checkpoint": "last"})).prepare(&Material::Task(&examples), load(&model("span/bert")).as_ref(), Seed(0)).unwrap();
    assert_eq!(learner.len(), 2, "the known one, and the one that has no answer");
    let said = "1 of 3 training examples were left out: questions of which no answer is known that stands in the context";
    assert!(learner.notes().iter().any(|note| note == said), "{:?}", learner.notes());
}

#[test]
fn no_answer_is_possible_only_after_learning_from_such_questions() {
    let answered = ("Which drug ?".to_owned(), "Aspirin reduced the fever.".to_owned(), vec![("Aspirin".to_owned(), 0)]);
    let unanswered = ("Which gene ?".to_owned(), "Aspirin reduced the fever.".to_owned(), vec![(String::new(), 0)]);
    let unknown = ("Which cell ?".to_owned(), "Aspirin reduced the fever.".to_owned(), vec![]);
    for (rows, possible) in [(vec![answered.clone()], false), (vec![answered.clone(), unknown], false), (vec![answered, unanswered], true)] {
        let examples = with_splits(task(Problem::ExtractiveQa, questions(&rows), Vec::new()), 1);
        let target = tempfile::tempdir().unwrap();
        fit(load(&model("span/bert")).as_ref(), &json!({"max_length": 48}), &examples, &recipe(), target.path(), &cx(0)).unwrap();
        let predictions = table::text_lists(&ask(&target.path().join("final"), &examples), "predictions").unwrap();
        assert_eq!(predictions[0].contains(&String::new()), possible);
    }
}

#[test]
fn a_head_of_another_task_is_refused() {
    let case = "token-classification/bert";
    let frame = tagged(&[(words("The patient"), words("O B-Disease"))]);
    let mut examples = task(Problem::TokenClassification, frame, words("B-Disease I-Disease O"));
    let encoder = load(&model(case));
    let kept = objective(&json!({"head": "keep"})).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0));
    let message = kept.err().unwrap().to_string();
    assert_eq!(
        message,
        "`head: keep`: the head of the checkpoint has the labels `B`, `I`, `O`, the task `B-Disease`, `I-Disease`, `O`; `head: fresh` draws a new one"
    );
    examples.examples = examples.train.clone();
    examples.train = examples.train.head(Some(0));
    let message = probe(encoder.as_ref(), &examples).unwrap_err().to_string();
    assert!(message.contains("the head has `B`, `I`, `O`; the task has `B-Disease`, `I-Disease`, `O`"), "{message}");
    let message = probe(encoder.as_ref(), &with_splits(examples_of("nli/bert"), 2)).unwrap_err().to_string();
    assert_eq!(message, "the head of the checkpoint is for token-classification tasks, this is a sequence-classification task");
}

/// Keeps what is said.
#[derive(Default)]
struct Said {
    warnings: Mutex<Vec<String>>,
    found: Mutex<Vec<String>>,
}

impl Progress for Said {
    fn job_started(&self, _: usize, _: usize, _: &str) {}
    fn advanced(&self, _: &str, _: usize, _: usize) {}
    fn job_finished(&self, _: usize, _: &str, _: Option<&str>, _: bool) {}
    fn warning(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_owned());
    }
    fn found(&self, message: &str) {
        self.found.lock().unwrap().push(message.to_owned());
    }
}

#[test]
fn a_checkpoint_of_another_program_is_asked_in_a_stated_way() {
    let examples = with_splits(examples_of("nli/bert"), 2);
    let said = Said::default();
    let encoder = load(&model("nli/bert"));
    task_head().probe(&[encoder.as_ref()], &examples, &CallContext::new(Seed(0), &said, Cancel::default())).unwrap();
    let found = said.warnings.into_inner().unwrap();
    assert!(found.len() == 1 && found[0].starts_with("the checkpoint does not say how the inputs of its head were made: windows of 64 tokens"), "{found:?}");
}

#[test]
fn windows_without_an_answer_can_be_left_out() {
    let examples = examples_of("span/bert");
    let encoder = load(&model("span/bert"));
    let spans = |most: Option<usize>| -> (Vec<u32>, Vec<String>) {
        let params = json!({"max_length": 48, "window_overlap": 16, "checkpoint": "last", "windows_without_answer": most});
        let learner = objective(&params).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0)).unwrap();
        let all: Vec<usize> = (0..learner.len()).collect();
        (learner.batch(&all, Seed(0)).unwrap().targets["labels"].to_vec1().unwrap(), learner.notes())
    };
    let ((all, said), (held, said_held)) = (spans(None), spans(Some(0)));
    let (n, empty) = (all.len() / 2, all.chunks(2).filter(|span| *span == [0, 0]).count());
    assert!(0 < empty && empty < n, "the fixture has windows of both kinds");
    assert_eq!(held, all.chunks(2).filter(|span| *span != [0, 0]).flatten().copied().collect::<Vec<_>>());
    assert_eq!(said_held[said.len()..], [format!("{empty} of {n} windows of contexts are not learned from: they do not hold the answer")]);
}

#[test]
fn without_development_examples_the_last_weights_are_kept() {
    let examples = examples_of("nli/bert");
    let target = tempfile::tempdir().unwrap();
    let outcome = fit(load(&model("nli/bert")).as_ref(), &params(), &examples, &recipe(), target.path(), &cx(0)).unwrap();
    assert_eq!(outcome.evaluations.height(), 0);
    let found = notes("nli/bert", &params(), &examples);
    assert!(found.last().unwrap().starts_with("there is no development example with a gold"), "{found:?}");
}

#[test]
fn training_ends_when_patience_does() {
    let examples = with_splits(examples_of("nli/bert"), 4);
    let target = tempfile::tempdir().unwrap();
    // Nothing moves, so nothing gets better.
    let recipe = TrainingParams { epochs: Some(9), learning_rate: 0.0, weight_decay: 0.0, ..recipe() };
    let patient = json!({"max_length": 24, "patience": 2});
    let said = Said::default();
    let cx = CallContext::new(Seed(0), &said, Cancel::default());
    let outcome = fit(load(&model("nli/bert")).as_ref(), &patient, &examples, &recipe, target.path(), &cx).unwrap();
    assert_eq!(outcome.evaluations.height(), 3, "the first and two that are no better");
    let found = said.found.into_inner().unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[0].starts_with("after epoch 1 the development score `accuracy` is ") && found[0].ends_with(", the best so far"), "{}", found[0]);
    assert_eq!(found[1].replace("epoch 2", "epoch 1") + ", the best so far", found[0]);
}
