//! Checkpoints of a training: model folders in Hugging Face layout, and the state to go on from.
//!
//! `step-000050/` holds a published checkpoint; `state/` holds the newest weights and moments. Both appear by renaming a
//! finished folder, so a kill at any moment leaves either the old or the new one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::adamw::AdamW;
use crate::store::{REPLACED_CHECKPOINT, TEMPORARY_CHECKPOINT, sync_folder};
use crate::{Error, Result, TaskHead, Trainable, Variable};

/// Seconds after which the state is saved although no checkpoint is due, so that a kill never costs more.
pub(super) const RESCUE_INTERVAL_S: u64 = 120;

const STATE: &str = "state.safetensors";
const RECORD: &str = "training.parquet";
const EVALUATIONS: &str = "evaluations.parquet";

/// Variables and their optimiser: those of the encoder, or those of the head.
pub(super) struct Part<'a>(pub(super) &'a [Variable], pub(super) &'a mut AdamW);

/// A score at the end of an epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evaluation {
    pub(super) step: u64,
    pub(super) epoch: u64,
    pub(super) metric: String,
    pub(super) value: f64,
    /// Whether it was the best so far.
    pub(super) kept: bool,
}

/// What the training tables are made of.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) steps: Vec<u64>,
    pub(super) losses: Vec<f64>,
    pub(super) learning_rates: Vec<f64>,
    pub(super) grad_norms: Vec<f64>,
}

impl Record {
    pub(super) fn push(&mut self, step: u64, loss: f64, learning_rate: f64, grad_norm: f64) {
        self.steps.push(step);
        self.losses.push(loss);
        self.learning_rates.push(learning_rate);
        self.grad_norms.push(grad_norm);
    }
}

/// The step of the newest complete state, if there is one.
pub(super) fn newest(folder: &Path) -> Result<Option<u64>> {
    let mut newest = None;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    for entry in entries {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix("state-")).and_then(|step| step.parse().ok());
        newest = newest.max(step);
    }
    Ok(newest)
}

fn state_folder(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("state-{step:09}"))
}

/// Reads weights, moments and record of a state.
pub(super) fn restore(folder: &Path, step: u64, parts: [Part<'_>; 2], record: &mut Record) -> Result<()> {
    let folder = state_folder(folder, step);
    let path = folder.join(STATE);
    let mut tensors: HashMap<String, Tensor> = candle_core::safetensors::load(&path, &Device::Cpu)?;
    let mut take = |name: String| tensors.remove(&name).ok_or_else(|| Error::MissingTensors { path: path.clone(), names: vec![name], near: None });
    for Part(variables, optimiser) in parts {
        for (variable, moments) in variables.iter().zip(&mut optimiser.moments) {
            variable.var.set(&take(format!("weight.{}", variable.name))?.reshape(variable.var.shape())?.to_device(variable.var.device())?)?;
            moments.0 = take(format!("first.{}", variable.name))?.flatten_all()?.to_vec1()?;
            moments.1 = take(format!("second.{}", variable.name))?.flatten_all()?.to_vec1()?;
        }
        optimiser.step = step;
    }
    *record = Record::of_frame(&crate::store::read_parquet(&folder.join(RECORD))?)?;
    record.evaluations = Record::evaluations_of(&crate::store::read_parquet(&folder.join(EVALUATIONS))?)?;
    Ok(())
}

/// Saves the state, and a published checkpoint with its head if one is due. Older states go.
pub(super) fn save(folder: &Path, model: &dyn Trainable, parts: &[Part<'_>; 2], record: &Record, publish: Option<&Option<TaskHead>>) -> Result<()> {
    let step = parts[0].1.step;
    if let Some(head) = publish {
        publish_model(folder, model, head.as_ref(), step)?;
    }
    let target = state_folder(folder, step);
    in_place(folder, &target, |temporary| {
        let mut tensors = HashMap::new();
        for Part(variables, optimiser) in parts {
            for (variable, moments) in variables.iter().zip(&optimiser.moments) {
                tensors.insert(format!("weight.{}", variable.name), variable.var.as_tensor().clone());
                tensors.insert(format!("first.{}", variable.name), Tensor::from_slice(&moments.0, moments.0.len(), &Device::Cpu)?);
                tensors.insert(format!("second.{}", variable.name), Tensor::from_slice(&moments.1, moments.1.len(), &Device::Cpu)?);
            }
        }
        candle_core::safetensors::save(&tensors, temporary.join(STATE))?;
        // A binary table, not JSON: its reader would not give back every last bit of a float.
        crate::store::write_parquet(&temporary.join(EVALUATIONS), &record.evaluations_frame()?)?;
        crate::store::write_parquet(&temporary.join(RECORD), &record.clone().into_frame()?)
    })?;
    remove_states_but(folder, Some(&target))
}

/// Writes the final model. `best` is the step whose weights [`keep_best`] has kept, if those are the final ones. States and kept weights stay until the job is
/// recorded as finished: a process that is killed before that goes on from them.
pub(super) fn finish(folder: &Path, model: &dyn Trainable, head: Option<&TaskHead>, publish_at: Option<u64>, best: Option<u64>) -> Result<()> {
    if let Some(step) = publish_at {
        publish_model(folder, model, head, step)?;
    }
    let (kept, last) = (folder.join(BEST), folder.join("final"));
    match best {
        Some(_) => in_place(folder, &last, |temporary| copy_files(&kept, temporary))?,
        None => in_place(folder, &last, |temporary| model.save(temporary, head))?,
    }
    Ok(())
}

/// Removes what a finished training no longer needs, if it is there: its states, then the best weights so far. In this order, since a state may stand for a training
/// whose final weights are the best ones.
///
/// # Errors
/// If a folder cannot be removed.
pub fn remove_states(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    remove_states_but(folder, None)?;
    let kept = folder.join(BEST);
    if kept.exists() { remove_whole(folder, &kept) } else { Ok(()) }
}

/// The folder of the best weights so far.
const BEST: &str = "best";

/// Keeps the weights of an epoch as the best so far. A state from before this epoch stays valid: going on from it comes to the same epoch and the same weights.
pub(super) fn keep_best(folder: &Path, model: &dyn Trainable, head: Option<&TaskHead>) -> Result<()> {
    in_place(folder, &folder.join(BEST), |temporary| model.save(temporary, head))
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(Error::io(from))? {
        let path = entry.map_err(Error::io(from))?.path();
        let name = path.file_name().expect("an entry of a folder has a name");
        fs::copy(&path, to.join(name)).map_err(Error::io(&path))?;
    }
    Ok(())
}

fn publish_model(folder: &Path, model: &dyn Trainable, head: Option<&TaskHead>, step: u64) -> Result<()> {
    in_place(folder, &folder.join(format!("step-{step:06}")), |temporary| model.save(temporary, head))
}

fn remove_states_but(folder: &Path, keep: Option<&Path>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let is_state = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("state-"));
        if is_state && Some(path.as_path()) != keep {
            remove_whole(folder, &path)?;
        }
    }
    Ok(())
}

/// Removes a folder under another name: killed while the files go, a folder of the old one would look whole and lack half of it.
fn remove_whole(folder: &Path, path: &Path) -> Result<()> {
    let temporary = cleared(folder)?;
    fs::rename(path, &temporary).map_err(Error::io(path))?;
    fs::remove_dir_all(&temporary).map_err(Error::io(&temporary))
}

/// The name of the temporary folder, free to use. The run folder is locked, so one name is enough; a leftover of it is removed when the
/// folder is opened.
fn cleared(folder: &Path) -> Result<PathBuf> {
    let temporary = folder.join(TEMPORARY_CHECKPOINT);
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(Error::io(&temporary))?;
    }
    Ok(temporary)
}

/// Fills a temporary folder, makes it durable and renames it to `target`. A folder of that name is replaced.
fn in_place(folder: &Path, target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let temporary = cleared(folder)?;
    fs::create_dir(&temporary).map_err(Error::io(&temporary))?;
    fill(&temporary)?;
    for entry in fs::read_dir(&temporary).map_err(Error::io(&temporary))? {
        let path = entry.map_err(Error::io(&temporary))?.path();
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;
    }
    sync_folder(&temporary)?;
    if target.exists() {
        let replaced = folder.join(REPLACED_CHECKPOINT);
        if replaced.exists() {
            fs::remove_dir_all(&replaced).map_err(Error::io(&replaced))?;
        }
        fs::rename(target, &replaced).map_err(Error::io(target))?;
        fs::rename(&temporary, target).map_err(Error::io(target))?;
        fs::remove_dir_all(&replaced).map_err(Error::io(&replaced))?;
    } else {
        fs::rename(&temporary, target).map_err(Error::io(target))?;
    }
    sync_folder(folder)
}
