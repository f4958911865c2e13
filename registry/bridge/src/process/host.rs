//! The program's end: a library whose instances live in children.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lmprobe_abi::{
    LMPROBE_KIND_ENCODER, LMPROBE_KIND_METRIC, LMPROBE_KIND_OBJECTIVE, LMPROBE_KIND_PROBER, LMPROBE_KIND_TASK, LMPROBE_LOG_DEBUG, LMPROBE_LOG_INFO,
    LMPROBE_LOG_WARN,
};
use lmprobe_core::{Error, Result};
use serde_json::Value;

use super::command::ChildCommand;
use super::exchange::{Process, Question, Refusal};
use super::wire::{Limits, ToChild};
use crate::{Instance, Request, Response, Services};

/// A library that is only ever loaded by children.
#[derive(Debug, Clone)]
pub struct RemoteLibrary {
    command: ChildCommand,
    name: String,
    silence_limit: Duration,
}

impl RemoteLibrary {
    /// `name` is the plugin's, for messages. A child that gives no sign of life for `silence_limit` during a call is ended.
    pub fn new(command: ChildCommand, name: String, silence_limit: Duration) -> Self {
        Self { command, name, silence_limit }
    }

    /// The library's description, of a child that is started for that.
    ///
    /// # Errors
    /// If the child cannot be started, or the library not be loaded, or it does not survive that.
    pub fn describe(&self) -> Result<Value> {
        let origin = format!("plugin `{}`", self.name);
        let mut process = self.start(&origin)?;
        match process.ask(ToChild::Describe, &self.question(&origin, "describe", &Nobody))? {
            Response::Json(value) => Ok(value),
            _ => Err(Error::plugin(origin, "answered `describe` with something else than a description")),
        }
    }

    /// Creates a component in a new child. Whoever needs the constructor's callbacks uses [`RemoteLibrary::create_with`]; here what it logs goes to the log of
    /// the program, and it cannot record files.
    ///
    /// # Errors
    /// Those of the constructor, or if the child cannot be started or does not survive.
    pub fn create(&self, component_kind: u32, component_id: &str, params: &Value) -> Result<RemoteInstance> {
        self.create_with(component_kind, component_id, params, &Nobody)
    }

    /// Creates a component in a new child; the constructor may use `services`.
    ///
    /// # Errors
    /// Those of the constructor, or if the child cannot be started or does not survive.
    pub fn create_with(&self, component_kind: u32, component_id: &str, params: &Value, services: &dyn Services) -> Result<RemoteInstance> {
        let instance = RemoteInstance {
            library: self.clone(),
            kind: component_kind,
            id: component_id.to_owned(),
            params: params.clone(),
            origin: format!("plugin `{}`: {} `{component_id}`", self.name, kind_name(component_kind)),
            state: Mutex::default(),
        };
        let process = instance.create(services)?;
        instance.state.lock().unwrap_or_else(PoisonError::into_inner).process = Some(process);
        Ok(instance)
    }

    fn start(&self, origin: &str) -> Result<Process> {
        Process::start(&self.command).map_err(|error| Error::plugin(origin, format!("its process cannot be started ({error}): {:?}", self.command)))
    }

    fn question<'a>(&self, origin: &'a str, function: &'static str, services: &'a dyn Services) -> Question<'a> {
        Question { services, origin, function, silence_limit: self.silence_limit }
    }
}

/// A component in a child. Calls from several threads wait for each other.
///
/// When the child dies, the call fails and the next one starts another child. Training examples that the dead one had prepared are lost.
pub struct RemoteInstance {
    library: RemoteLibrary,
    kind: u32,
    id: String,
    params: Value,
    /// Plugin and component, for messages.
    origin: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` when it failed; also during a call, so that a panic of the host does not leave half a conversation behind.
    process: Option<Process>,
    /// Whether weights were loaded, which a new child has to do again.
    is_loaded: bool,
    /// The process's numbers of prepared examples by those that were given out, which are never given out again.
    prepared: HashMap<u64, u64>,
    n_prepared: u64,
}

impl Instance for RemoteInstance {
    fn call(&self, mut request: Request, services: &dyn Services) -> Result<Response> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let process = state.process.take().and_then(|mut process| if process.has_ended() { None } else { Some(process) });
        if process.is_none() {
            state.prepared.clear();
        }
        let mut forgotten = None;
        match &mut request {
            Request::Batch { examples, .. } | Request::Forget { examples } if state.prepared.contains_key(examples) => {
                let given_out = mem::replace(examples, state.prepared[examples]);
                forgotten = Some(given_out).filter(|_| matches!(request, Request::Forget { .. }));
            }
            Request::Batch { examples, .. } => {
                state.process = process;
                let message = format!("the prepared examples {examples} are gone: the process that held them failed in an earlier call; prepare them again");
                return Err(Error::plugin(&self.origin, message));
            }
            // They went with their process.
            Request::Forget { .. } => {
                state.process = process;
                return Ok(Response::Nothing);
            }
            _ => {}
        }
        let mut process = match process {
            Some(process) => process,
            None => self.create_again(state.is_loaded && !matches!(request, Request::Load), services)?,
        };
        let is_load = matches!(request, Request::Load);
        let limits = Limits { seed: services.seed(), threads: services.threads() };
        let question = self.library.question(&self.origin, request.function(), services);
        let result = process.ask(ToChild::Call { request, limits }, &question);
        match result {
            Ok(mut response) => {
                state.process = Some(process);
                state.is_loaded |= is_load;
                if let Some(examples) = forgotten {
                    state.prepared.remove(&examples);
                }
                if let Response::Prepared { examples, .. } = &mut response {
                    let given_out = state.n_prepared;
                    state.n_prepared += 1;
                    state.prepared.insert(given_out, mem::replace(examples, given_out));
                }
                Ok(response)
            }
            Err(Refusal::Answered(error)) => {
                // What panicked is not called again.
                if !matches!(error, Error::Panic { .. }) {
                    state.process = Some(process);
                }
                Err(error)
            }
            Err(Refusal::Ended(error)) => Err(error),
        }
    }
}

impl RemoteInstance {
    /// A new child with the instance in it.
    fn create(&self, services: &dyn Services) -> Result<Process> {
        let mut process = self.library.start(&self.origin)?;
        let limits = Limits { seed: services.seed(), threads: services.threads() };
        let message = ToChild::Create { kind: self.kind, id: self.id.clone(), params: self.params.clone(), limits };
        process.ask(message, &self.library.question(&self.origin, "create", services))?;
        Ok(process)
    }

    /// After the first one failed.
    fn create_again(&self, load: bool, services: &dyn Services) -> Result<Process> {
        tracing::info!("{}: its process ended; another one is started", self.origin);
        let mut process = self.create(services)?;
        if load {
            let limits = Limits { seed: services.seed(), threads: services.threads() };
            process.ask(ToChild::Call { request: Request::Load, limits }, &self.library.question(&self.origin, "load", services))?;
        }
        Ok(process)
    }
}

impl fmt::Debug for RemoteInstance {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("RemoteInstance").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn kind_name(kind: u32) -> &'static str {
    match kind {
        LMPROBE_KIND_ENCODER => "encoder",
        LMPROBE_KIND_PROBER => "prober",
        LMPROBE_KIND_OBJECTIVE => "objective",
        LMPROBE_KIND_TASK => "task",
        LMPROBE_KIND_METRIC => "metric",
        _ => "component",
    }
}

/// Services where no job runs.
struct Nobody;

impl Services for Nobody {
    fn log(&self, level: u32, message: &str) {
        match level {
            LMPROBE_LOG_INFO => tracing::info!("{message}"),
            LMPROBE_LOG_DEBUG => tracing::debug!("{message}"),
            level if level <= LMPROBE_LOG_WARN => tracing::warn!("{message}"),
            _ => tracing::trace!("{message}"),
        }
    }

    fn progress(&self, _: &str, _: u64, _: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }

    fn seed(&self) -> u64 {
        0
    }

    fn threads(&self) -> u32 {
        1
    }

    fn record_input(&self, path: &str) -> Result<()> {
        Err(Error::Unsupported(format!("`{path}` cannot be recorded outside of a job; record it in the call that reads it")))
    }

    fn encoder(&self, slot: u32, _: Request) -> Result<Response> {
        Err(Error::Unsupported(format!("there is no encoder in slot {slot} outside of a job")))
    }
}
