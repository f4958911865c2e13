//! Where a model is: a folder, or a snapshot in the cache of the hub; and one model opened without a run file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lmprobe_core::{EncoderSource, PathKind, Registration};
use lmprobe_hub::{Event, Hub, HubId};
use serde_json::Value as Json;

use crate::diagnostic::{Invalid, Location, Report};
use crate::item::{self, Context};
use crate::node::{Key, Node, Value, join};
use crate::paths::{self, Problem};
use crate::{Registry, yaml};

/// Finds the folders of models: local ones, and those of the hub.
#[derive(Default)]
pub struct Models {
    hub: Option<HubAccess>,
    /// What was found so far: one model is asked for several times while a run file is read.
    found: Mutex<HashMap<String, Result<PathBuf, (String, bool)>>>,
}

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

    /// Whether a model could not be had because the network is not to be used, or fails.
    pub fn lacks_network(&self) -> bool {
        self.found.lock().is_ok_and(|found| found.values().any(|found| matches!(found, Err((_, true)))))
    }

    /// The folder of a model. What lies beside the run file outranks the hub.
    pub(crate) fn locate(&self, text: &str, base: &Path) -> Result<PathBuf, Problem> {
        let problem = match paths::resolve(PathKind::Model, text, base) {
            Err(problem) if problem.missing => problem,
            resolved => return resolved,
        };
        let (Some(access), Ok(id)) = (&self.hub, HubId::parse(text)) else { return Err(problem) };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
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
            Err((message, _)) => Err(Problem { message: format!("{}, and no model of the hub: {message}", problem.message), ..problem }),
        }
    }

    /// What a model of the hub is called if nobody says: its id without owner and revision.
    pub(crate) fn label(text: &str) -> Option<String> {
        HubId::parse(text).ok().and_then(|id| id.repo.rsplit('/').next().map(str::to_owned))
    }
}

/// Opens one model without a run file: relative paths are relative to the current folder. No weight is read.
///
/// # Errors
/// All mistakes at once, as for a run file.
pub fn open_model(registry: &Registry, models: &Models, request: &ModelRequest<'_>) -> Result<OpenModel, Invalid> {
    let mut report = Report::default();
    let base = std::env::current_dir().unwrap_or_default();
    let opened = read(registry, models, request, &base, &mut report);
    let n_mistakes = report.len();
    match opened {
        Some(opened) if n_mistakes == 0 => Ok(opened),
        _ => {
            debug_assert!(n_mistakes > 0, "a model was refused without a reason");
            Err(report.into_invalid())
        }
    }
}

fn read(registry: &Registry, models: &Models, request: &ModelRequest<'_>, base: &Path, report: &mut Report) -> Option<OpenModel> {
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
    for param in request.params {
        let source = cx.report.add_source("--param", param.clone(), base);
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
    let (params, source) = item.built(&mut cx, |_, params, build_cx| build(params, build_cx))?;
    let folder = params.paths.iter().find(|(pointer, _)| pointer == "/model").map(|(_, path)| path.clone()).unwrap_or_default();
    Some(OpenModel { registration: item.registration, source, params: params.values, folder, label })
}
