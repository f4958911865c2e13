//! Trainings that are stopped or killed, and what scores of weights decide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lmprobe_core::candle_core::Tensor;
use lmprobe_core::serde_json::{Value, json};
use lmprobe_core::train::{LastBatch, Outcome, Signal, TrainingJob, TrainingParams, remove_states, train};
use lmprobe_core::{
    CallContext, Cancel, DevScore, Encoder, EncoderInfo, EncoderOutput, Error, Learner, Material, Needs, Objective, Quiet, Seed, Selection, TaskHead,
    TrainingBatch, Variable, Want,
};

use super::fixtures::{examples_of, load, model, objective, with_splits};
use super::properties::{recipe, with_dropout};

/// Every file below a folder, by its path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// How weights are scored in the place of the learner's own way.
type Rate = dyn Fn(&dyn Learner, &dyn Encoder, &CallContext<'_>) -> Result<Option<DevScore>, Error> + Send + Sync;

/// An objective whose weights are scored in another way.
struct Rated {
    inner: Arc<dyn Objective>,
    rate: Arc<Rate>,
}

impl Objective for Rated {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn needs_dev(&self) -> bool {
        self.inner.needs_dev()
    }

    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, seed: Seed) -> Result<Box<dyn Learner>, Error> {
        Ok(Box::new(RatedLearner { inner: self.inner.prepare(material, encoder, seed)?, rate: self.rate.clone() }))
    }
}

struct RatedLearner {
    inner: Box<dyn Learner>,
    rate: Arc<Rate>,
}

impl Learner for RatedLearner {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn batch(&self, examples: &[usize], seed: Seed) -> Result<TrainingBatch, Error> {
        self.inner.batch(examples, seed)
    }

    fn want(&self, batch: &TrainingBatch, index: usize, info: &EncoderInfo) -> Result<Want, Error> {
        self.inner.want(batch, index, info)
    }

    fn loss(&self, outputs: &[EncoderOutput], batch: &TrainingBatch, info: &EncoderInfo, dropout: Option<Seed>) -> Result<Tensor, Error> {
        self.inner.loss(outputs, batch, info, dropout)
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }

    fn variables(&self) -> Vec<Variable> {
        self.inner.variables()
    }

    fn head(&self) -> Result<Option<TaskHead>, Error> {
        self.inner.head()
    }

    fn selection(&self) -> Selection {
        self.inner.selection()
    }

    fn evaluate(&self, encoder: &dyn Encoder, cx: &CallContext<'_>) -> Result<Option<DevScore>, Error> {
        (self.rate)(self.inner.as_ref(), encoder, cx)
    }
}

/// Trains on the pairs of the fixture with weights that are scored in another way.
fn fit_rated(model: &Path, params: &Value, recipe: &TrainingParams, folder: &Path, cancel: &Cancel, rate: Arc<Rate>) -> Result<Outcome, Error> {
    let examples = with_splits(examples_of("nli/bert"), 4);
    let encoder = load(model);
    let objective = Rated { inner: objective(params), rate };
    let job = TrainingJob { encoder: encoder.as_ref(), objective: &objective, signal: Signal::Task(&examples), params: recipe, folder };
    train(&job, &CallContext::new(Seed(4), &Quiet, cancel.clone()))
}

#[test]
fn a_training_that_is_stopped_while_it_is_scored_goes_on_to_the_same_bits() {
    let model = with_dropout("nli/bert", 0.1);
    for (params, checkpoint_every) in [
        (json!({"max_length": 24}), None),
        (json!({"max_length": 24, "patience": 1}), Some(1)),
        (json!({"max_length": 24, "checkpoint": "last", "patience": 2}), None),
    ] {
        let recipe = TrainingParams { epochs: Some(4), checkpoint_every, ..recipe() };
        // Requests a stop when the weights are scored for the `at`-th time; the encoder's passes see it.
        let run = |folder: &Path, at: usize| {
            let (cancel, count) = (Cancel::default(), Arc::new(AtomicUsize::new(0)));
            let within = cancel.clone();
            let rate: Arc<Rate> = Arc::new(move |learner, encoder, cx| {
                if count.fetch_add(1, Ordering::SeqCst) + 1 == at {
                    within.request();
                }
                learner.evaluate(encoder, cx)
            });
            fit_rated(model.path(), &params, &recipe, folder, &cancel, rate)
        };
        let whole = tempfile::tempdir().unwrap();
        let expected = run(whole.path(), usize::MAX).unwrap();
        remove_states(whole.path()).unwrap();
        let epochs = expected.evaluations.height();
        assert!(epochs >= 2, "there is something to stop");
        let same = |found: &Outcome, folder: &Path, what: &str| {
            assert!(found.training.equals(&expected.training) && found.evaluations.equals(&expected.evaluations), "{params}, {what}: {:?}", found.evaluations);
            remove_states(folder).unwrap();
            assert!(files(folder) == files(whole.path()), "{params}, {what}: {:?}", files(folder).keys());
        };
        for at in 1..=epochs {
            let target = tempfile::tempdir().unwrap();
            assert!(matches!(run(target.path(), at), Err(Error::Cancelled)), "{params}");
            let states = files(target.path()).into_keys().filter(|path| path.ends_with("state.safetensors")).count();
            assert_eq!(states, 1, "what was learned is kept");
            same(&run(target.path(), usize::MAX).unwrap(), target.path(), &format!("stopped in evaluation {at}"));
        }
        // Stopped in every evaluation, and in its repetition.
        let target = tempfile::tempdir().unwrap();
        let mut stops = 0;
        let found = loop {
            match run(target.path(), if stops % 3 == 2 { 2 } else { 1 }) {
                Err(Error::Cancelled) => stops += 1,
                found => break found.unwrap(),
            }
            assert!(stops < 50, "it never ends");
            if stops == 2 * epochs {
                break run(target.path(), usize::MAX).unwrap();
            }
        };
        same(&found, target.path(), "stopped again and again");
    }
}

#[test]
fn what_a_killed_training_has_left_beside_its_final_model_is_gone_on_from() {
    let model = with_dropout("nli/bert", 0.1);
    let (params, recipe) = (json!({"max_length": 24}), TrainingParams { epochs: Some(3), ..recipe() });
    let own: Arc<Rate> = Arc::new(|learner, encoder, cx| learner.evaluate(encoder, cx));
    let run = |folder: &Path| fit_rated(model.path(), &params, &recipe, folder, &Cancel::default(), own.clone()).unwrap();
    let whole = tempfile::tempdir().unwrap();
    let expected = run(whole.path());
    remove_states(whole.path()).unwrap();
    assert!(files(whole.path()).keys().all(|path| path.starts_with("final")), "{:?}", files(whole.path()).keys());

    // Stopped within the second evaluation, then whole: state and best weights stay beside the final model until they are removed.
    let target = tempfile::tempdir().unwrap();
    let (cancel, count) = (Cancel::default(), AtomicUsize::new(0));
    let within = cancel.clone();
    let rate: Arc<Rate> = Arc::new(move |learner, encoder, cx| {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            within.request();
        }
        learner.evaluate(encoder, cx)
    });
    assert!(matches!(fit_rated(model.path(), &params, &recipe, target.path(), &cancel, rate), Err(Error::Cancelled)));
    for moment in ["the final model was not there", "the final model was there", "and again"] {
        let found = run(target.path());
        assert!(found.training.equals(&expected.training) && found.evaluations.equals(&expected.evaluations), "{moment}");
        let left = files(target.path());
        assert!(left.keys().any(|path| path.ends_with("state.safetensors")), "{moment}: {:?}", left.keys());
        assert_eq!(left[Path::new("final/model.safetensors")], files(whole.path())[Path::new("final/model.safetensors")], "{moment}");
    }
    // Killed while they were removed: the state is gone, the best weights are not.
    std::fs::create_dir_all(target.path().join("best")).unwrap();
    for entry in std::fs::read_dir(target.path()).unwrap().map(Result::unwrap).filter(|entry| entry.file_name().to_string_lossy().starts_with("state-")) {
        std::fs::remove_dir_all(entry.path()).unwrap();
    }
    remove_states(target.path()).unwrap();
    assert!(files(target.path()) == files(whole.path()), "{:?}", files(target.path()).keys());
    remove_states(&target.path().join("no such folder")).unwrap();
}

/// Scores in turn, whatever the weights are.
fn in_turn(scores: &'static [f64], higher_is_better: bool) -> Arc<Rate> {
    let count = AtomicUsize::new(0);
    Arc::new(move |_, _, _| {
        let value = scores[count.fetch_add(1, Ordering::SeqCst)];
        Ok(Some(DevScore { metric: "entity-f1".to_owned(), value, higher_is_better }))
    })
}

#[test]
fn patience_counts_no_epoch_in_which_nothing_was_learned_yet() {
    let epochs = |scores: &'static [f64], higher_is_better: bool| {
        let target = tempfile::tempdir().unwrap();
        let recipe = TrainingParams { epochs: Some(7), learning_rate: 0.0, ..recipe() };
        let params = json!({"max_length": 24, "patience": 2});
        fit_rated(&model("nli/bert"), &params, &recipe, target.path(), &Cancel::default(), in_turn(scores, higher_is_better)).unwrap().evaluations.height()
    };
    assert_eq!(epochs(&[0.0, 0.0, 0.0, 0.0, 0.5, 0.4, 0.3], true), 7, "three epochs without an entity do not count");
    assert_eq!(epochs(&[0.0, 0.0, 0.0, 0.5, 0.4, 0.3, 0.2], true), 6);
    assert_eq!(epochs(&[0.1, 0.0, 0.0, 0.5, 0.4, 0.3, 0.2], true), 3);
    assert_eq!(epochs(&[0.0; 7], false), 3, "an error of 0 is no bad one");
}

#[test]
fn the_weights_of_the_last_step_are_scored_wherever_it_stands() {
    let n = examples_of("nli/bert").train.height();
    for (last_batch, total) in [(LastBatch::Keep, recipe().steps_per_epoch(n) + 1), (LastBatch::Carry, recipe().steps_per_epoch(n) + 1)] {
        let target = tempfile::tempdir().unwrap();
        let recipe = TrainingParams { epochs: None, steps: Some(total), last_batch, ..recipe() };
        assert_eq!(recipe.epoch_ended(total, n), None, "the last step ends no epoch");
        let found =
            fit_rated(&model("nli/bert"), &json!({"max_length": 24}), &recipe, target.path(), &Cancel::default(), in_turn(&[0.1, 0.2, 0.3], true)).unwrap();
        let of = |name: &str| found.evaluations.column(name).unwrap().u64().unwrap().iter().flatten().collect::<Vec<_>>();
        assert_eq!((of("step").last(), of("epoch").last()), (Some(&total), Some(&2)));
        // The best are the last: nothing else was stored as final.
        let kept: Vec<bool> = found.evaluations.column("kept").unwrap().bool().unwrap().iter().flatten().collect();
        assert_eq!(kept, [true, true]);
    }
}
