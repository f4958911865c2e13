//! Components whose code runs in this process: requests become calls of the plugin's functions.

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lmprobe_abi::{
    LMPROBE_CANCELLED, LMPROBE_CAP_CONCURRENT, LMPROBE_CONFIG, LMPROBE_ENCODE_SOME_ROWS, LMPROBE_INPUT, LMPROBE_IO, LMPROBE_OK, LMPROBE_OOM, LMPROBE_PANIC,
    LMPROBE_UNSUPPORTED, lmprobe_call, lmprobe_encode_req, lmprobe_error, lmprobe_examples, lmprobe_instance, lmprobe_str, lmprobe_table,
};
use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::{Error, Result};
use lmprobe_loader::{Component, ErrorSlot, Library, Operations, OwnedBuf, OwnedTable, OwnedTensors, floating_point};
use serde_json::Value;

use crate::callbacks::CallFrame;
use crate::instance::{Instance, Services};
use crate::request::{NamedTensor, Request, Response, Sequences, Texts};
use crate::tensor_crossing::{self, borrowed, lend};
use crate::watch::{Entrance, Watched};
use crate::{table_export, table_import};

/// A library that may be called.
pub(crate) struct Native {
    pub(crate) library: &'static Library,
    /// A panic of it was seen: what it computes from then on is not to be trusted.
    panicked: AtomicBool,
    told_of_floating_point: AtomicBool,
}

impl Native {
    pub(crate) fn new(library: &'static Library) -> Self {
        Self { library, panicked: AtomicBool::new(false), told_of_floating_point: AtomicBool::new(library.changed_floating_point) }
    }
}

/// A created component.
pub(crate) struct NativeInstance {
    native: &'static Native,
    component: &'static Component,
    instance: *mut lmprobe_instance,
    prepared: Mutex<HashMap<u64, Prepared>>,
    next_examples: AtomicU64,
    /// Held during calls, unless the component is concurrent.
    turn: Mutex<()>,
    entrances: Mutex<HashMap<&'static str, Entrance>>,
}

/// Examples that an objective keeps.
#[derive(Clone, Copy)]
struct Prepared(*mut lmprobe_examples);

// SAFETY: by the rules of the interface any function may be called on any thread, one after another on one instance; `turn` sees to that unless the component
// says that it needs no such care.
unsafe impl Send for NativeInstance {}
// SAFETY: as above.
unsafe impl Sync for NativeInstance {}
// SAFETY: as above.
unsafe impl Send for Prepared {}

/// The longest text or JSON of a plugin in bytes.
const MOST_TEXT: usize = 64 << 20;

/// A table for a plugin to take; what it leaves is released here.
fn exported(frame: &DataFrame) -> Result<OwnedTable> {
    let table = table_export::export(frame)?;
    // SAFETY: it was just made, and its functions are those of `table_export`.
    Ok(unsafe { OwnedTable::from_raw(table) })
}

/// What a message calls a function of a component.
fn origin_of(library: &Library, component: &Component, function: &str) -> String {
    format!("plugin `{}`, `{function}` of {} `{}`", library.name, component.kind, component.id)
}

impl NativeInstance {
    /// Creates a component. `params` are complete and checked against its schema.
    ///
    /// # Errors
    /// Whatever the plugin says.
    pub(crate) fn create(native: &'static Native, component: &'static Component, params: &Value, services: &dyn Services) -> Result<Self> {
        let mut created = Self {
            native,
            component,
            instance: ptr::null_mut(),
            prepared: Mutex::default(),
            next_examples: AtomicU64::new(1),
            turn: Mutex::default(),
            entrances: Mutex::default(),
        };
        let params = params.to_string();
        let mut instance: *mut lmprobe_instance = ptr::null_mut();
        created.enter("create", services, |call, error| {
            // SAFETY: the component's own function, with texts and places that live for the call.
            unsafe { (component.create)(call, borrowed(&params), &raw mut instance, error) }
        })?;
        if instance.is_null() {
            return Err(Error::plugin(origin_of(native.library, component, "create"), "it succeeded but gave no instance"));
        }
        created.instance = instance;
        Ok(created)
    }

    fn entrance(&self, function: &'static str) -> Entrance {
        let mut entrances = self.entrances.lock().unwrap_or_else(PoisonError::into_inner);
        *entrances.entry(function).or_insert_with(|| Entrance::new(&origin_of(self.native.library, self.component, function)))
    }

    /// Calls a function of the plugin: in its turn, watched, with the processor's control register kept, its status and error understood.
    fn enter(&self, function: &'static str, services: &dyn Services, call: impl FnOnce(*const lmprobe_call, *mut lmprobe_error) -> i32) -> Result<()> {
        let entrance = self.entrance(function);
        let origin = entrance.origin();
        if self.native.panicked.load(Ordering::SeqCst) {
            return Err(Error::plugin(origin, "it is not called any more, because this plugin has panicked before in this process"));
        }
        let _turn: Option<MutexGuard<'_, ()>> =
            (self.component.caps & LMPROBE_CAP_CONCURRENT == 0).then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        let mut error = ErrorSlot::new();
        let (status, changed) = entrance.enter(|watched: &Watched| {
            let frame = CallFrame { services, watched };
            floating_point::guarded(|| call(frame.pointer(), error.as_mut_ptr()))
        });
        if changed && !self.native.told_of_floating_point.swap(true, Ordering::SeqCst) {
            let message = format!("{origin}: it changed how the processor rounds (was it built with -ffast-math?); that was undone");
            services.log(lmprobe_abi::LMPROBE_LOG_WARN, &message);
        }
        if status == LMPROBE_OK {
            return Ok(());
        }
        let error = error.read();
        let message = if error.path.is_empty() { error.message } else { format!("{}: {}", error.path, error.message) };
        Err(match status {
            LMPROBE_CANCELLED if services.is_cancelled() => Error::Cancelled,
            LMPROBE_PANIC => {
                self.native.panicked.store(true, Ordering::SeqCst);
                Error::Panic { origin: origin.to_owned(), message }
            }
            LMPROBE_UNSUPPORTED => Error::Unsupported(format!("{origin}: {message}")),
            LMPROBE_CONFIG if function == "create" => Error::Config(message),
            LMPROBE_CONFIG | LMPROBE_INPUT | LMPROBE_IO => Error::plugin(origin, message),
            LMPROBE_OOM => Error::plugin(origin, format!("out of memory: {message}")),
            LMPROBE_CANCELLED => Error::plugin(origin, format!("it stopped though nobody asked it to: {message}")),
            other => Error::plugin(origin, format!("status {other}: {message}")),
        })
    }

    /// Calls a function that fills a table.
    fn table(
        &self,
        function: &'static str,
        name: &'static str,
        services: &dyn Services,
        call: impl FnOnce(*const lmprobe_call, *mut lmprobe_table, *mut lmprobe_error) -> i32,
    ) -> Result<DataFrame> {
        let mut out = OwnedTable::new();
        self.enter(function, services, |frame, error| call(frame, out.as_mut_ptr(), error))?;
        table_import::import(&mut out, name, self.entrance(function).origin())
    }

    /// Copies owned tensors.
    fn tensors(&self, function: &'static str, tensors: &OwnedTensors) -> Result<Vec<NamedTensor>> {
        tensor_crossing::copies(tensors).map_err(|error| Error::plugin(self.entrance(function).origin(), error.to_string()))
    }

    fn unsupported(&self, function: &'static str) -> Error {
        Error::Unsupported(format!("{} is not offered", origin_of(self.native.library, self.component, function)))
    }

    fn json(&self, function: &'static str, buf: &OwnedBuf) -> Result<Value> {
        let origin = self.entrance(function).origin();
        let text = buf.text(MOST_TEXT).map_err(|error| Error::plugin(origin, format!("its JSON cannot be read: {error}")))?;
        serde_json::from_str(if text.is_empty() { "{}" } else { &text }).map_err(|error| Error::plugin(origin, format!("its JSON is malformed: {error}")))
    }

    fn describe(&self, services: &dyn Services) -> Result<Value> {
        let Some(describe) = self.component.describe else { return Ok(Value::Object(serde_json::Map::new())) };
        let mut json = OwnedBuf::new();
        // SAFETY: the component's own function on its live instance.
        self.enter("describe", services, |_, error| unsafe { describe(self.instance, json.as_mut_ptr(), error) })?;
        self.json("describe", &json)
    }

    fn prepared(&self, examples: u64, function: &'static str) -> Result<Prepared> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.get(&examples).copied().ok_or_else(|| Error::plugin(origin_of(self.native.library, self.component, function), "there are no such examples"))
    }
}

impl Instance for NativeInstance {
    fn call(&self, request: Request, services: &dyn Services) -> Result<Response> {
        let function = request.function();
        let instance = self.instance;
        // SAFETY of the calls below: each is the component's own function on its live instance, with tables, requests and places that live for the call. Input
        // tables are owned: what the plugin leaves is released after the call.
        match (request, &self.component.operations) {
            (Request::Describe, _) => self.describe(services).map(Response::Json),
            (Request::Load, Operations::Encoder(encoder)) => {
                let Some(load) = encoder.load else { return Ok(Response::Nothing) };
                // SAFETY: see above.
                self.enter(function, services, |call, error| unsafe { load(instance, call, error) })?;
                Ok(Response::Nothing)
            }
            (Request::Token(id), Operations::Encoder(encoder)) => {
                let Some(token) = encoder.token else { return Ok(Response::Text(String::new())) };
                let mut text = OwnedBuf::new();
                // SAFETY: see above.
                self.enter(function, services, |_, error| unsafe { token(instance, id, text.as_mut_ptr(), error) })?;
                let text =
                    text.text(MOST_TEXT).map_err(|error| Error::plugin(self.entrance(function).origin(), format!("its text cannot be read: {error}")))?;
                Ok(Response::Text(text))
            }
            (Request::Tokenize(texts), Operations::Encoder(encoder)) => {
                let tokenize = encoder.tokenize.ok_or_else(|| self.unsupported(function))?;
                let views = TextViews::new(&texts);
                let request = views.request(&texts);
                // SAFETY: see above.
                self.table(function, "tokens", services, |call, out, error| unsafe { tokenize(instance, call, &raw const request, out, error) })
                    .map(Response::Table)
            }
            (Request::Encode(sequences), Operations::Encoder(encoder)) => {
                let encode = encoder.encode.ok_or_else(|| self.unsupported(function))?;
                let request = sequence_request(&sequences);
                let mut out = OwnedTensors::new();
                // SAFETY: see above.
                self.enter(function, services, |call, error| unsafe { encode(instance, call, &raw const request, out.as_mut_ptr(), error) })?;
                self.tensors(function, &out).map(Response::Tensors)
            }
            (Request::Probe { examples, candidates }, Operations::Prober(prober)) => {
                let run = prober.run.ok_or_else(|| self.unsupported(function))?;
                let mut examples = exported(&examples)?;
                let mut candidates = exported(&candidates)?;
                self.table(function, "predictions", services, |call, out, error| {
                    // SAFETY: see above.
                    unsafe { run(instance, call, examples.as_mut_ptr(), candidates.as_mut_ptr(), out, error) }
                })
                .map(Response::Table)
            }
            (Request::Compute { predictions }, Operations::Metric(metric)) => {
                let compute = metric.compute.ok_or_else(|| self.unsupported(function))?;
                let mut predictions = exported(&predictions)?;
                // SAFETY: see above.
                self.table(function, "metric rows", services, |call, out, error| unsafe { compute(instance, call, predictions.as_mut_ptr(), out, error) })
                    .map(Response::Table)
            }
            (Request::Examples, Operations::Task(task)) => {
                let examples = task.examples.ok_or_else(|| self.unsupported(function))?;
                let (mut asked, mut candidates) = (OwnedTable::new(), OwnedTable::new());
                self.enter(function, services, |call, error| {
                    // SAFETY: see above.
                    unsafe { examples(instance, call, asked.as_mut_ptr(), candidates.as_mut_ptr(), error) }
                })?;
                let origin = self.entrance(function).origin();
                Ok(Response::Tables(table_import::import(&mut asked, "examples", origin)?, table_import::import(&mut candidates, "candidates", origin)?))
            }
            (Request::Prepare { texts }, Operations::Objective(objective)) => {
                let prepare = objective.prepare.ok_or_else(|| self.unsupported(function))?;
                let mut texts = exported(&texts)?;
                let (mut examples, mut report): (*mut lmprobe_examples, _) = (ptr::null_mut(), OwnedBuf::new());
                self.enter(function, services, |call, error| {
                    // SAFETY: see above.
                    unsafe { prepare(instance, call, texts.as_mut_ptr(), &raw mut examples, report.as_mut_ptr(), error) }
                })?;
                if examples.is_null() {
                    return Err(Error::plugin(self.entrance(function).origin(), "it succeeded but gave no examples"));
                }
                let id = self.next_examples.fetch_add(1, Ordering::SeqCst);
                self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Prepared(examples));
                Ok(Response::Prepared { examples: id, report: self.json(function, &report)? })
            }
            (Request::Batch { examples, chosen }, Operations::Objective(objective)) => {
                let batch = objective.batch.ok_or_else(|| self.unsupported(function))?;
                let Prepared(examples) = self.prepared(examples, function)?;
                let mut targets = OwnedTensors::new();
                let inputs = self.table(function, "training inputs", services, |call, out, error| {
                    // SAFETY: see above; the examples are destroyed by `Forget` or with the instance.
                    unsafe { batch(examples, call, chosen.len(), chosen.as_ptr(), out, targets.as_mut_ptr(), error) }
                })?;
                Ok(Response::Batch { inputs, targets: self.tensors(function, &targets)? })
            }
            (Request::Forget { examples }, Operations::Objective(_)) => {
                let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(&examples);
                if let Some(prepared) = prepared {
                    self.destroy_examples(prepared);
                }
                Ok(Response::Nothing)
            }
            (Request::ValueAndGrad { inputs, need_grad }, Operations::Objective(objective)) => {
                let value_and_grad = objective.value_and_grad.ok_or_else(|| self.unsupported(function))?;
                let lent = lend(&inputs);
                let (mut value, mut gradients) = (0.0, OwnedTensors::new());
                self.enter(function, services, |call, error| {
                    // SAFETY: see above; the inputs are lent for the call.
                    unsafe { value_and_grad(instance, call, lent.items.len(), lent.items.as_ptr(), need_grad, &raw mut value, gradients.as_mut_ptr(), error) }
                })?;
                Ok(Response::Gradient { value, gradients: self.tensors(function, &gradients)? })
            }
            _ => Err(self.unsupported(function)),
        }
    }
}

impl NativeInstance {
    fn destroy_examples(&self, Prepared(examples): Prepared) {
        let Operations::Objective(objective) = &self.component.operations else { return };
        // After a panic of the plugin nothing of it is called, at the price of its memory.
        if let (Some(destroy), false) = (objective.destroy_examples, self.native.panicked.load(Ordering::SeqCst)) {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: made by `prepare`, and removed from the map so that nobody uses or destroys them again.
            self.entrance("destroy_examples").enter(|_| floating_point::guarded(|| unsafe { destroy(examples) }));
        }
    }
}

impl Drop for NativeInstance {
    fn drop(&mut self) {
        let prepared: Vec<Prepared> = self.prepared.get_mut().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, prepared)| prepared).collect();
        for prepared in prepared {
            self.destroy_examples(prepared);
        }
        if !self.instance.is_null() && !self.native.panicked.load(Ordering::SeqCst) {
            // SAFETY: made by `create`; this is the only place that destroys it.
            self.entrance("destroy").enter(|_| floating_point::guarded(|| unsafe { (self.component.destroy)(self.instance) }));
        }
    }
}

/// Texts as a request holds them.
struct TextViews {
    texts: Vec<lmprobe_str>,
    pairs: Vec<lmprobe_str>,
}

impl TextViews {
    fn new(texts: &Texts) -> Self {
        // A second text that is not there is null.
        let second = |text: &String| if text.is_empty() { lmprobe_str { ptr: ptr::null(), len: 0 } } else { borrowed(text) };
        Self { texts: texts.texts.iter().map(|text| borrowed(text)).collect(), pairs: texts.pairs.iter().map(second).collect() }
    }

    fn request(&self, texts: &Texts) -> lmprobe_encode_req {
        lmprobe_encode_req {
            n_texts: self.texts.len(),
            texts: self.texts.as_ptr(),
            pairs: if self.pairs.is_empty() { ptr::null() } else { self.pairs.as_ptr() },
            max_len: texts.max_length,
            flags: texts.flags,
            ..empty_request()
        }
    }
}

fn sequence_request(sequences: &Sequences) -> lmprobe_encode_req {
    let rows = sequences.rows.as_deref();
    lmprobe_encode_req {
        want: sequences.want,
        n_layers: u32::try_from(sequences.layers.len()).unwrap_or(u32::MAX),
        layers: sequences.layers.as_ptr(),
        n_sequences: sequences.offsets.len().saturating_sub(1),
        offsets: sequences.offsets.as_ptr(),
        ids: sequences.ids.as_ptr(),
        type_ids: sequences.type_ids.as_ptr(),
        n_rows: rows.map_or(0, <[u64]>::len),
        rows: rows.map_or(ptr::null(), <[u64]>::as_ptr),
        flags: if rows.is_some() { LMPROBE_ENCODE_SOME_ROWS } else { 0 },
        ..empty_request()
    }
}

fn empty_request() -> lmprobe_encode_req {
    lmprobe_encode_req {
        struct_size: u32::try_from(size_of::<lmprobe_encode_req>()).expect("a request is small"),
        reserved: 0,
        want: 0,
        n_texts: 0,
        texts: ptr::null(),
        pairs: ptr::null(),
        max_len: 0,
        n_layers: 0,
        layers: ptr::null(),
        n_sequences: 0,
        offsets: ptr::null(),
        ids: ptr::null(),
        type_ids: ptr::null(),
        n_rows: 0,
        rows: ptr::null(),
        flags: 0,
        reserved2: 0,
    }
}
