//! A small host, which enters the plugin as a real one does and holds every rule of the interface.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use lmprobe_abi::*;
use lmprobe_sdk::__private::{give_table, take_table, take_tensors, take_text};
use lmprobe_sdk::serde_json::Value;
use lmprobe_sdk::{Table, Tensor};

/// A call, as the host sees it.
#[derive(Default)]
pub struct HostCall {
    pub cancelled: AtomicBool,
    pub heard: Mutex<Vec<String>>,
    pub progress: Mutex<Vec<(String, u64, u64)>>,
    /// The encoder in slot 0.
    pub encoder: Option<Instance>,
}

impl HostCall {
    pub fn with_encoder(params: &str) -> Self {
        Self { encoder: Some(component("example/hashed").create(params).unwrap()), ..Self::default() }
    }

    pub fn raw(&self) -> *const lmprobe_call {
        ptr::from_ref(self).cast()
    }
}

fn seen<'a>(call: *const lmprobe_call) -> &'a HostCall {
    // SAFETY: every call of this host is a `HostCall` that is alive.
    unsafe { &*call.cast::<HostCall>() }
}

fn text<'a>(text: lmprobe_str) -> &'a str {
    // SAFETY: texts of the plugin are alive for the call, or as long as the process.
    std::str::from_utf8(if text.len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(text.ptr, text.len) } }).unwrap()
}

fn lend(text: &str) -> lmprobe_str {
    lmprobe_str { ptr: text.as_ptr(), len: text.len() }
}

unsafe extern "C" fn log(call: *const lmprobe_call, level: u32, message: lmprobe_str) {
    seen(call).heard.lock().unwrap().push(format!("{level} {}", text(message)));
}

unsafe extern "C" fn progress(call: *const lmprobe_call, phase: lmprobe_str, done: u64, total: u64) {
    seen(call).progress.lock().unwrap().push((text(phase).to_owned(), done, total));
}

unsafe extern "C" fn cancelled(call: *const lmprobe_call) -> i32 {
    i32::from(seen(call).cancelled.load(Ordering::Relaxed))
}

unsafe extern "C" fn seed(_: *const lmprobe_call) -> u64 {
    33
}

unsafe extern "C" fn threads(_: *const lmprobe_call) -> u32 {
    2
}

unsafe extern "C" fn encoder_describe(call: *const lmprobe_call, _: u32, json: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32 {
    let encoder = seen(call).encoder.as_ref().unwrap();
    // SAFETY: the arguments are passed on as they came.
    unsafe { encoder.component.describe.unwrap()(encoder.raw, json, error) }
}

unsafe extern "C" fn encoder_tokenize(
    call: *const lmprobe_call,
    _: u32,
    request: *const lmprobe_encode_req,
    tokens: *mut lmprobe_table,
    error: *mut lmprobe_error,
) -> i32 {
    let encoder = seen(call).encoder.as_ref().unwrap();
    // SAFETY: as in `encoder_describe`.
    unsafe { encoder.functions::<lmprobe_encoder_vt>().tokenize.unwrap()(encoder.raw, call, request, tokens, error) }
}

unsafe extern "C" fn encoder_encode(
    call: *const lmprobe_call,
    _: u32,
    request: *const lmprobe_encode_req,
    outputs: *mut lmprobe_tensors,
    error: *mut lmprobe_error,
) -> i32 {
    let encoder = seen(call).encoder.as_ref().unwrap();
    // SAFETY: as in `encoder_describe`.
    unsafe { encoder.functions::<lmprobe_encoder_vt>().encode.unwrap()(encoder.raw, call, request, outputs, error) }
}

unsafe extern "C" fn encoder_token(call: *const lmprobe_call, _: u32, id: u32, text: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32 {
    let encoder = seen(call).encoder.as_ref().unwrap();
    // SAFETY: as in `encoder_describe`.
    unsafe { encoder.functions::<lmprobe_encoder_vt>().token.unwrap()(encoder.raw, id, text, error) }
}

/// The host's functions; `record_input` is not offered.
static HOST: HostTable = HostTable(lmprobe_host {
    struct_size: size_of::<lmprobe_host>() as u32,
    abi_major: LMPROBE_ABI_MAJOR,
    abi_minor: LMPROBE_ABI_MINOR,
    host_version: lmprobe_str { ptr: b"test".as_ptr(), len: 4 },
    log: Some(log),
    progress: Some(progress),
    cancelled: Some(cancelled),
    seed: Some(seed),
    threads: Some(threads),
    record_input: None,
    encoder_describe: Some(encoder_describe),
    encoder_tokenize: Some(encoder_tokenize),
    encoder_encode: Some(encoder_encode),
    encoder_token: Some(encoder_token),
});

struct HostTable(lmprobe_host);

// SAFETY: the table is never written.
unsafe impl Sync for HostTable {}

/// What went wrong: status, message, path.
pub type Failure = (i32, String, String);

pub fn blank_error() -> lmprobe_error {
    // SAFETY: zero is what an error begins as.
    lmprobe_error { struct_size: size_of::<lmprobe_error>() as u32, ..unsafe { MaybeUninit::zeroed().assume_init() } }
}

/// Runs a function of the plugin and reads its error.
pub fn tried(function: impl FnOnce(*mut lmprobe_error) -> i32) -> Result<(), Failure> {
    let mut error = blank_error();
    let status = function(&raw mut error);
    // SAFETY: the texts are the caller's, and each is taken once.
    let (message, path) = unsafe { (take_text(error.message), take_text(error.path)) };
    if status == LMPROBE_OK { Ok(()) } else { Err((status, message, path)) }
}

/// The plugin, entered once.
pub fn plugin() -> &'static lmprobe_plugin {
    struct Entered(*const lmprobe_plugin);
    // SAFETY: the table of a plugin is never written.
    unsafe impl Send for Entered {}
    // SAFETY: as above.
    unsafe impl Sync for Entered {}
    static ENTERED: OnceLock<Entered> = OnceLock::new();
    let entered = ENTERED.get_or_init(|| {
        let mut plugin = ptr::null();
        // SAFETY: the arguments are what the interface says.
        tried(|error| unsafe { lmprobe_example_plugin::lmprobe_plugin_entry_v1(&raw const HOST.0, &raw mut plugin, error) }).unwrap();
        Entered(plugin)
    });
    // SAFETY: the table lives as long as the process.
    unsafe { &*entered.0 }
}

pub fn components() -> Vec<&'static lmprobe_component> {
    let plugin = plugin();
    // SAFETY: the plugin has as many components as it says, and they live as long as the process.
    (0..plugin.n_components).map(|index| unsafe { &**plugin.components.add(index) }).collect()
}

/// A component by its id.
#[derive(Clone, Copy)]
pub struct Component(pub &'static lmprobe_component);

pub fn component(id: &str) -> Component {
    Component(components().into_iter().find(|component| text(component.id) == id).unwrap())
}

impl Component {
    pub fn text(self, field: fn(&lmprobe_component) -> lmprobe_str) -> &'static str {
        text(field(self.0))
    }

    pub fn create(self, params: &str) -> Result<Instance, Failure> {
        let call = HostCall::default();
        let mut raw = ptr::null_mut();
        // SAFETY: call and texts are alive.
        let created = tried(|error| unsafe { self.0.create.unwrap()(call.raw(), lend(params), &raw mut raw, error) });
        assert_eq!(created.is_ok(), !raw.is_null(), "an instance is there if and only if it was created");
        created.map(|()| Instance { component: self.0, raw })
    }
}

/// An instance, destroyed at the end.
pub struct Instance {
    pub component: &'static lmprobe_component,
    pub raw: *mut lmprobe_instance,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        unsafe { self.component.destroy.unwrap()(self.raw) };
    }
}

impl Instance {
    /// The functions of its kind.
    pub fn functions<T>(&self) -> &'static T {
        // SAFETY: callers know the kind; the table lives as long as the process.
        unsafe { &*self.component.vtable.cast::<T>() }
    }

    pub fn describe(&self) -> Value {
        let mut json = empty_buf();
        // SAFETY: the instance is alive, and the buffer is ours.
        unsafe {
            tried(|error| self.component.describe.unwrap()(self.raw, &raw mut json, error)).unwrap();
            lmprobe_sdk::serde_json::from_str(&take_text(json)).unwrap()
        }
    }

    pub fn compute(&self, call: &HostCall, predictions: Table) -> Result<Table, Failure> {
        let mut input = give_table(predictions).unwrap();
        let mut rows = empty_table();
        // SAFETY: all arguments are alive and ours.
        let done = tried(|error| unsafe { self.functions::<lmprobe_metric_vt>().compute.unwrap()(self.raw, call.raw(), &raw mut input, &raw mut rows, error) });
        assert!(input.array.release.is_none(), "the plugin took its input");
        taken(done, rows)
    }

    pub fn run(&self, call: &HostCall, examples: Table, candidates: Table) -> Result<Table, Failure> {
        let (mut examples, mut candidates) = (give_table(examples).unwrap(), give_table(candidates).unwrap());
        let mut predictions = empty_table();
        // SAFETY: all arguments are alive and ours.
        let done = tried(|error| unsafe {
            let run = self.functions::<lmprobe_prober_vt>().run.unwrap();
            run(self.raw, call.raw(), &raw mut examples, &raw mut candidates, &raw mut predictions, error)
        });
        assert!(examples.array.release.is_none() && candidates.array.release.is_none(), "the plugin took its inputs");
        taken(done, predictions)
    }

    pub fn examples(&self, call: &HostCall) -> Result<(Table, Table), Failure> {
        let (mut examples, mut candidates) = (empty_table(), empty_table());
        // SAFETY: all arguments are alive and ours.
        let done = tried(|error| unsafe {
            self.functions::<lmprobe_task_vt>().examples.unwrap()(self.raw, call.raw(), &raw mut examples, &raw mut candidates, error)
        });
        Ok((taken(done.clone(), examples)?, taken(done, candidates)?))
    }

    pub fn value_and_grad(&self, call: &HostCall, inputs: &[(String, Tensor)], need_grad: u64) -> Result<(f64, Vec<(String, Tensor)>), Failure> {
        let given = lmprobe_sdk::__private::give_tensors(inputs.to_vec());
        let (mut value, mut gradients) = (0.0, empty_tensors());
        // SAFETY: all arguments are alive and ours; the inputs are lent, and freed below.
        unsafe {
            let done = tried(|error| {
                let function = self.functions::<lmprobe_objective_vt>().value_and_grad.unwrap();
                function(self.raw, call.raw(), given.len, given.items, need_grad, &raw mut value, &raw mut gradients, error)
            });
            drop(take_tensors(given).unwrap());
            done?;
            Ok((value, take_tensors(gradients).unwrap()))
        }
    }
}

fn taken(done: Result<(), Failure>, table: lmprobe_table) -> Result<Table, Failure> {
    if let Err(failure) = done {
        assert!(table.array.release.is_none(), "an output is untouched if the status is not 0");
        return Err(failure);
    }
    // SAFETY: the plugin handed the table over.
    Ok(unsafe { take_table(table) }.unwrap())
}

pub fn empty_table() -> lmprobe_table {
    // SAFETY: zero is an empty table.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

pub fn empty_tensors() -> lmprobe_tensors {
    lmprobe_tensors { items: ptr::null_mut(), len: 0, ctx: ptr::null_mut::<c_void>(), release: None }
}

pub fn empty_buf() -> lmprobe_buf {
    lmprobe_buf { ptr: ptr::null_mut(), len: 0, ctx: ptr::null_mut(), release: None }
}
