//! Where a model is: a folder, or a snapshot in the cache of the hub; and one model opened without a run file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lmprobe_core::{EncoderSource, PathKind, Registration, contained};
use lmprobe_hub::{Event, Hub, HubId};
use serde_json::Value as Json;

use crate::diagnostic::{Invalid, Location, Report};
use crate::item::{self, Context};
use crate::node::{Key, Node, Value, join};
use crate::paths::{self, Problem};
use crate::run_schema::own_schema;
use crate::{Registry, yaml};

/// Finds the folders of models: local ones, and those of the hub.
#[derive(Default)]
pub struct Models {
    hub: Option<HubAccess>,
    /// What was found so far: one model is asked for several times while a run file is read.
    found: Mutex<Found>,
}

/// The folder of each hub id, or why there is none and whether the network is to blame.
type Found = HashMap<String, Result<PathBuf, (String, bool)>>;

/// The hub, and whether models may be downloaded from it.
struct HubAccess {
    hub: Hub,
    downloads: bool,
    events: Mutex<Box<dyn FnMut(Event) + Send>>,
}

/// A model that one command asked for.
pub struct OpenModel {
    /// The encoder that reads it.
    pub registration: &'static Registration,
    /// The model, not loaded.
    pub source: Arc<dyn EncoderSource>,
    /// The parameters, defaults included.
    pub params: Json,
    /// The model folder.
    pub folder: PathBuf,
    /// What the user called it: the folder's name, or the hub id without its owner and revision.
    pub label: String,
}

/// A model as a command line names it.
#[derive(Debug, Clone, Copy)]
pub struct ModelRequest<'a> {
    /// A folder or a hub id.
    pub model: &'a str,
    /// The encoder to read it with; empty reads the family from the model's own configuration.
    pub family: Option<&'a str>,
    /// Parameters of the encoder, `KEY=VALUE` each.
    pub params: &'a [String],
    /// The parameter `dtype`, which outranks what `params` says of it.
    pub dtype: Option<&'a str>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cache = self.hub.as_ref().map(|access| (access.hub.cache(), access.downloads));
        formatter.debug_struct("Models").field("hub", &cache).finish_non_exhaustive()
    }
}

impl Models {
    /// Local folders, and models that the hub's cache holds. Nothing is downloaded.
    pub fn cached(hub: Hub) -> Self {
        Self::new(hub, false, Box::new(|_| {}))
    }

    /// Local folders, and models of the hub, which are downloaded where the cache does not hold them; `events` hears of it.
    pub fn downloaded(hub: Hub, events: Box<dyn FnMut(Event) + Send>) -> Self {
        Self::new(hub, true, events)
    }

    fn new(hub: Hub, downloads: bool, events: Box<dyn FnMut(Event) + Send>) -> Self {
        Self { hub: Some(HubAccess { hub, downloads, events: Mutex::new(events) }), found: Mutex::default() }
    }

    /// Mistakes that are all of one kind: a model is not here and cannot be had because the network is not to be used, or fails.
    pub(crate) fn explain(&self, invalid: Invalid) -> Invalid {
        let missing: Vec<String> =
            self.found().values().filter_map(|found| found.as_ref().err()).filter(|(_, network)| *network).map(|(message, _)| message.clone()).collect();
        let lacks_network = invalid.diagnostics.iter().all(|diagnostic| missing.iter().any(|missing| diagnostic.help.as_ref() == Some(missing)));
        Invalid { lacks_network, ..invalid }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of a model. What lies beside the run file outranks the hub.
    pub(crate) fn locate(&self, text: &str, base: &Path) -> Result<PathBuf, Problem> {
        let problem = match paths::resolve(PathKind::Model, text, base) {
            Err(problem) if problem.missing => problem,
            resolved => return resolved,
        };
        let (Some(access), Ok(id)) = (&self.hub, HubId::parse(text)) else { return Err(problem) };
        let mut found = self.found();
        let model = found.entry(text.to_owned()).or_insert_with(|| {
            let snapshot = if access.downloads {
                let mut events = access.events.lock().unwrap_or_else(PoisonError::into_inner);
                access.hub.model(&id, &mut **events)
            } else {
                access.hub.cached(&id)
            };
            snapshot.map(|snapshot| snapshot.folder).map_err(|error| (error.to_string(), error.needs_network()))
        });
        match model {
            Ok(folder) => Ok(folder.clone()),
            Err((hub, _)) => {
                let message = format!("{}, and none of that name from the hub", problem.message);
                Err(Problem { message, help: Some(hub.clone()), ..problem })
            }
        }
    }

    /// What a model of the hub is called if nobody says: its id without owner and revision.
    pub(crate) fn label(text: &str) -> Option<String> {
        HubId::parse(text).ok().and_then(|id| id.repo.rsplit('/').next().map(str::to_owned))
    }
}

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The model is not there, or a parameter is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The model's files are incomplete or malformed.
    #[error(transparent)]
    Model(#[from] lmprobe_core::Error),
}

/// Opens one model without a run file: relative paths are relative to the current folder. No weight is read, and that the files fit the
/// network is not checked: [`EncoderSource::check`] does that.
///
/// # Errors
/// All mistakes at once, as for a run file; or that the model's files are malformed.
pub fn open_model(registry: &Registry, models: &Models, request: &ModelRequest<'_>) -> Result<OpenModel, OpenError> {
    let mut report = Report::default();
    let base = std::env::current_dir().unwrap_or_default();
    match read(registry, models, request, &base, &mut report) {
        Some(opened) if report.len() == 0 => Ok(opened?),
        _ => {
            debug_assert!(report.len() > 0, "a model was refused without a reason");
            Err(models.explain(report.into_invalid()).into())
        }
    }
}

fn read(registry: &Registry, models: &Models, request: &ModelRequest<'_>, base: &Path, report: &mut Report) -> Option<lmprobe_core::Result<OpenModel>> {
    let source = report.add_source("the command line", request.model, base);
    let location = Location { length: request.model.chars().count(), ..Location::start(source) };
    let text = |text: &str| Node { value: Value::String(text.to_owned()), location };
    let mut cx = Context { registry, report, build: lmprobe_core::BuildContext { base: base.to_owned() }, models };
    let node = match request.family {
        None => text(request.model),
        Some(family) => {
            let entry = |key: &str, value: &str| (Key { text: key.to_owned(), location }, text(value));
            Node { value: Value::Map(vec![entry("use", family), entry("model", request.model)]), location }
        }
    };
    let mut item = item::read(&mut cx, lmprobe_core::Kind::Encoder, &node, "model")?;
    let params = request.params.iter().map(|param| ("--param", param.clone()));
    let dtype = request.dtype.map(|dtype| ("--dtype", format!("dtype={dtype}")));
    for (option, param) in params.chain(dtype) {
        let source = cx.report.add_source(option, param.clone(), base);
        let location = Location { length: param.chars().count(), ..Location::start(source) };
        let Some((key, value)) = param.split_once('=') else {
            cx.report.error(location, "", format!("`{param}` has no `=`")).help("write KEY=VALUE, such as `casing=cased`".to_owned());
            continue;
        };
        let before = param.chars().count() - value.chars().count();
        match yaml::parse_value(value, source, before) {
            Ok(value) => {
                if let Value::Map(entries) = &mut item.params.value {
                    entries.retain(|(name, _)| name.text != key.trim());
                    entries.push((Key { text: key.trim().to_owned(), location }, value));
                }
            }
            Err((location, message)) => {
                cx.report.error(location, &join("model", key), message);
            }
        }
    }
    let lmprobe_core::Build::Encoder(build) = item.registration.build else { return None };
    let label = item.default_label(&cx);
    let params = item.check(&own_schema(item.registration), &mut cx)?;
    let folder = params.paths.iter().find(|(pointer, _)| pointer == "/model").map(|(_, path)| path.clone()).unwrap_or_default();
    let opened = contained(&item.origin(), || build(params.values.clone(), &cx.build)).map(|source| OpenModel {
        registration: item.registration,
        source,
        params: params.values,
        folder,
        label,
    });
    Some(opened)
}
