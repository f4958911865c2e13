//! A shared library as plugins of this program.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lmprobe_core::{
    Build, BuildContext, EncoderSource, Error, Isolation, Kind, LibraryOrigin, Metric, Objective, Origin, Prober, RecipeDefaults, Registration, Result, Seed,
    Task,
};
use lmprobe_loader::{ComponentKind, Library, LoadRequest, Options, Pin, Via, inspect};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::encoder::PluginEncoderSource;
use crate::gradient_check::GradientReport;
use crate::host_services::Kept;
use crate::instance::{Instance, Services};
use crate::metric::PluginMetric;
use crate::native::{Native, NativeInstance};
use crate::objective::PluginObjective;
use crate::prober::PluginProber;
use crate::process::{ChildCommand, ComponentFactory, RemoteLibrary};
use crate::request::{Request, Response};
use crate::task::PluginTask;
use crate::{callbacks, gradient_check, standard_output};

/// How a library is loaded.
#[derive(Debug, Clone)]
pub struct LibraryRequest {
    /// The file.
    pub path: PathBuf,
    /// What its bytes must be.
    pub pin: Pin,
    /// Where its code runs.
    pub isolation: Isolation,
    /// In a process of its own: how long a call may give no sign of life.
    pub timeout: Duration,
    /// Whether the file itself is loaded instead of a copy of the bytes that were checked: for debuggers.
    pub direct: bool,
}

/// The silence after which a call in a process of its own is ended, unless the user says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

impl LibraryRequest {
    fn load_request(&self) -> LoadRequest {
        let via = if self.direct { Via::Path } else { Via::default() };
        LoadRequest { via, ..LoadRequest::new(&self.path, self.pin) }
    }
}

/// What a library says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LibraryFacts {
    /// The vendor of its components.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// SPDX expression.
    pub license: String,
    /// Compiler and kit.
    pub build_info: String,
    /// Version of the interface it was built against, `1.0`.
    pub abi: String,
    /// The file, without symbolic links.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its components.
    pub components: Vec<ComponentFacts>,
    /// Kinds of components that this program does not know.
    pub skipped: Vec<u32>,
}

/// What a component says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComponentFacts {
    /// Its kind.
    pub kind: Kind,
    /// `vendor/name`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// One line.
    pub summary: String,
    /// The manual.
    pub manual: String,
    /// JSON Schema of its parameters.
    pub schema: Value,
    /// `model_type` values an encoder reads.
    pub families: Vec<String>,
    /// Defaults an objective sets for its training.
    pub recipe: Option<Value>,
    /// `LMPROBE_CAP_*`.
    pub caps: u64,
}

/// The kind as the core names it.
fn core_kind(kind: ComponentKind) -> Kind {
    match kind {
        ComponentKind::Encoder => Kind::Encoder,
        ComponentKind::Prober => Kind::Prober,
        ComponentKind::Objective => Kind::Objective,
        ComponentKind::Task => Kind::Task,
        ComponentKind::Metric => Kind::Metric,
    }
}

/// The kind as the interface numbers it.
fn number(kind: Kind) -> u32 {
    match kind {
        Kind::Encoder => lmprobe_abi::LMPROBE_KIND_ENCODER,
        Kind::Prober => lmprobe_abi::LMPROBE_KIND_PROBER,
        Kind::Objective => lmprobe_abi::LMPROBE_KIND_OBJECTIVE,
        Kind::Task => lmprobe_abi::LMPROBE_KIND_TASK,
        Kind::Metric => lmprobe_abi::LMPROBE_KIND_METRIC,
    }
}

impl LibraryFacts {
    fn of(library: &Library) -> Self {
        let components = library.components.iter().map(|component| ComponentFacts {
            kind: core_kind(component.kind),
            id: component.id.clone(),
            version: component.version.clone(),
            summary: component.summary.clone(),
            manual: component.manual.clone(),
            schema: component.schema.clone(),
            families: component.families.clone(),
            recipe: component.recipe.clone(),
            caps: component.caps,
        });
        Self {
            name: library.name.clone(),
            version: library.version.clone(),
            license: library.license.clone(),
            build_info: library.build_info.clone(),
            abi: format!("{}.{}", library.abi.0, library.abi.1),
            path: library.path.clone(),
            sha256: library.sha256.clone(),
            components: components.collect(),
            skipped: library.skipped.clone(),
        }
    }
}

/// A library that was loaded, wherever its code runs.
pub struct OfferedLibrary {
    facts: LibraryFacts,
    pinned: bool,
    code: Code,
}

/// Where the code of a library runs.
enum Code {
    Here(&'static Native),
    Elsewhere(RemoteLibrary),
}

impl OfferedLibrary {
    /// Loads a library. With [`Isolation::Process`] nothing of it runs in this process.
    ///
    /// # Errors
    /// If the file is refused, or its process fails.
    pub fn load(request: &LibraryRequest) -> Result<Self> {
        let pinned = request.pin != Pin::Unpinned;
        match request.isolation {
            Isolation::InProcess => {
                let native = native(request)?;
                Ok(Self { facts: LibraryFacts::of(native.library), pinned, code: Code::Here(native) })
            }
            Isolation::Process => {
                let inspection = inspect(&request.path, Options::default()).map_err(|error| Error::Config(error.to_string()))?;
                let name = inspection.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                // The child checks the very file that was pinned; of one that was not, that it is still the one seen here.
                let pin = if pinned { request.pin.to_string() } else { inspection.sha256.clone() };
                let program = std::env::current_exe().map_err(Error::io("the program's own file"))?;
                let mut command = ChildCommand::new(program).arg("plugin-host").arg(&inspection.path).arg(pin);
                if request.direct {
                    command = command.arg("--direct");
                }
                let facts: LibraryFacts = serde_json::from_value(RemoteLibrary::new(command.clone(), name, request.timeout).describe()?)?;
                Ok(Self { code: Code::Elsewhere(RemoteLibrary::new(command, facts.name.clone(), request.timeout)), facts, pinned })
            }
        }
    }

    /// What the library says of itself.
    pub fn facts(&self) -> &LibraryFacts {
        &self.facts
    }

    fn isolation(&self) -> Isolation {
        match self.code {
            Code::Here(_) => Isolation::InProcess,
            Code::Elsewhere(_) => Isolation::Process,
        }
    }

    /// Creates a component and asks what it is. Parameters are complete.
    fn create(&self, index: usize, params: &Value) -> Result<(Box<dyn Instance>, Kept, Value)> {
        let facts = &self.facts.components[index];
        let kept = Kept::default();
        let instance: Box<dyn Instance> = match &self.code {
            Code::Here(native) => {
                let component = &native.library.components[index];
                Box::new(kept.outside(Seed(0), &[], |services| NativeInstance::create(native, component, params, services))?)
            }
            Code::Elsewhere(remote) => Box::new(kept.outside(Seed(0), &[], |services| remote.create_with(number(facts.kind), &facts.id, params, services))?),
        };
        let described = kept.outside(Seed(0), &[], |services| instance.call(Request::Describe, services))?;
        let Response::Json(description) = described else { return Err(Error::plugin(&*facts.id, "it described itself as something else")) };
        Ok((instance, kept, description))
    }

    /// An encoder of the library.
    pub(crate) fn encoder(&self, index: usize, params: &Value) -> Result<PluginEncoderSource> {
        let (instance, kept, description) = self.create(index, params)?;
        PluginEncoderSource::new(&self.facts.components[index].id, instance, kept, description)
    }

    /// An objective of the library.
    pub(crate) fn objective(&self, index: usize, params: &Value) -> Result<PluginObjective> {
        let (instance, kept, description) = self.create(index, params)?;
        PluginObjective::new(&self.facts.components[index].id, instance, kept, description)
    }

    /// A task of the library.
    pub(crate) fn task(&self, index: usize, params: &Value) -> Result<PluginTask> {
        let (instance, kept, description) = self.create(index, params)?;
        PluginTask::new(&self.facts.components[index].id, instance, kept, description)
    }

    /// A prober of the library.
    pub(crate) fn prober(&self, index: usize, params: &Value) -> Result<PluginProber> {
        let (instance, kept, description) = self.create(index, params)?;
        PluginProber::new(&self.facts.components[index].id, instance, kept, description)
    }

    /// A metric of the library.
    pub(crate) fn metric(&self, index: usize, params: &Value) -> Result<PluginMetric> {
        let (instance, kept, description) = self.create(index, params)?;
        PluginMetric::new(&self.facts.components[index].id, instance, kept, description)
    }

    /// The parameters that were given and the defaults of the others.
    ///
    /// # Errors
    /// The name of a parameter that is missing.
    pub fn complete(&self, component: &ComponentFacts, given: Option<&Value>) -> std::result::Result<Value, String> {
        crate::conformance::complete(&component.schema, given)
    }

    /// Compares the gradients of an objective with differences of its values. `params` are complete.
    ///
    /// # Errors
    /// If there is no such objective, it gives no sample, or it fails.
    pub fn gradcheck(&self, id: &str, params: &Value) -> Result<Vec<GradientReport>> {
        let found = self.facts.components.iter().position(|component| component.kind == Kind::Objective && component.id == id);
        let index = found.ok_or_else(|| Error::Config(format!("`{}` has no objective `{id}`", self.facts.path.display())))?;
        gradient_check::of_objective(&self.objective(index, params)?, id)
    }

    /// The library's components as registrations, which live as long as the process: so does the library.
    ///
    /// # Errors
    /// If a component's version does not begin with a number.
    pub fn registrations(self) -> Result<Vec<&'static Registration>> {
        let library: &'static Self = Box::leak(Box::new(self));
        (0..library.facts.components.len()).map(|index| library.registration(index)).collect()
    }

    fn registration(&'static self, index: usize) -> Result<&'static Registration> {
        let (facts, component) = (&self.facts, &self.facts.components[index]);
        let major = component.version.split('.').next().and_then(|major| major.parse().ok());
        let version = major.ok_or_else(|| {
            Error::Config(format!("plugin `{}`: the version `{}` of `{}` is not one like `1.0.0`", facts.path.display(), component.version, component.id))
        })?;
        let origin = LibraryOrigin {
            name: facts.name.clone(),
            version: facts.version.clone(),
            abi: facts.abi.clone(),
            path: facts.path.clone(),
            sha256: facts.sha256.clone(),
            pinned: self.pinned,
            isolation: self.isolation(),
        };
        let families: Vec<&'static str> = component.families.iter().map(String::as_str).collect();
        let recipe = component.recipe.as_ref().map(|recipe| RecipeDefaults::Corpus(Box::leak(Box::new(|| recipe.clone()))));
        Ok(Box::leak(Box::new(Registration {
            id: &component.id,
            version,
            build: self.build(index),
            summary: &component.summary,
            manual: &component.manual,
            schema: Box::leak(Box::new(|| component.schema.clone())),
            families: Box::leak(families.into_boxed_slice()),
            recipe,
            origin: Origin::Library { library: origin, component_version: component.version.clone() },
        })))
    }

    fn build(&'static self, index: usize) -> Build {
        match self.facts.components[index].kind {
            Kind::Encoder => {
                Build::Encoder(Box::leak(Box::new(
                    move |params: Value, _: &BuildContext| Ok(Arc::new(self.encoder(index, &params)?) as Arc<dyn EncoderSource>),
                )))
            }
            Kind::Objective => {
                Build::Objective(Box::leak(Box::new(
                    move |params: Value, _: &BuildContext| Ok(Arc::new(self.objective(index, &params)?) as Arc<dyn Objective>),
                )))
            }
            Kind::Task => Build::Task(Box::leak(Box::new(move |params: Value, _: &BuildContext| Ok(Arc::new(self.task(index, &params)?) as Arc<dyn Task>)))),
            Kind::Prober => {
                Build::Prober(Box::leak(Box::new(move |params: Value, _: &BuildContext| Ok(Arc::new(self.prober(index, &params)?) as Arc<dyn Prober>))))
            }
            Kind::Metric => {
                Build::Metric(Box::leak(Box::new(move |params: Value, _: &BuildContext| Ok(Arc::new(self.metric(index, &params)?) as Arc<dyn Metric>))))
            }
        }
    }
}

/// Loads a library into this process. One file has one state in it, however often it is named.
fn native(request: &LibraryRequest) -> Result<&'static Native> {
    static LOADED: Mutex<Vec<&'static Native>> = Mutex::new(Vec::new());
    standard_output::protect()?;
    let library = lmprobe_loader::load(&request.load_request(), callbacks::host()).map_err(|error| Error::Config(error.to_string()))?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(native) = loaded.iter().find(|native| std::ptr::eq(native.library, library)) {
        return Ok(native);
    }
    let native: &'static Native = Box::leak(Box::new(Native::new(library)));
    loaded.push(native);
    Ok(native)
}

/// Serves one library to the parent process, over standard input and output: what the hidden command `plugin-host` does.
///
/// # Errors
/// If the parent went away or sent something malformed.
pub fn serve(path: &Path, pin: Pin, direct: bool) -> Result<()> {
    crate::watch::in_child();
    let request = LibraryRequest { path: path.to_owned(), pin, isolation: Isolation::InProcess, timeout: DEFAULT_TIMEOUT, direct };
    crate::process::serve(&LocalFactory { request })
}

/// What the child makes components with.
struct LocalFactory {
    request: LibraryRequest,
}

impl ComponentFactory for LocalFactory {
    fn describe(&self) -> Result<Value> {
        Ok(serde_json::to_value(LibraryFacts::of(native(&self.request)?.library))?)
    }

    fn create(&self, kind: u32, id: &str, params: &Value, services: &dyn Services) -> Result<Box<dyn Instance>> {
        let native = native(&self.request)?;
        let component = native.library.components.iter().find(|component| number(core_kind(component.kind)) == kind && component.id == id);
        let component = component.ok_or_else(|| Error::plugin(&*native.library.name, format!("there is no component `{id}`")))?;
        Ok(Box::new(NativeInstance::create(native, component, params, services)?))
    }
}
