//! What a plugin offers.

use core::ffi::c_void;

use crate::{lmprobe_buf, lmprobe_call, lmprobe_error, lmprobe_host, lmprobe_str};

/// A component that was created with parameters. Only the plugin knows what is in it.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_instance {
    _opaque: [u8; 0],
}

/// One encoder, prober, objective, task or metric.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_component {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `LMPROBE_KIND_*`; a host skips kinds it does not know.
    pub kind: u32,
    /// `vendor/name`; the vendor is the plugin's name.
    pub id: lmprobe_str,
    /// Semantic version of the behaviour: the major is raised when the same parameters give other numbers.
    pub version: lmprobe_str,
    /// One line, for lists.
    pub summary: lmprobe_str,
    /// JSON Schema (2020-12) of the parameters, an object without references, at most 256 KiB.
    pub params_schema: lmprobe_str,
    /// `LMPROBE_CAP_*`.
    pub caps: u64,
    /// Creates an instance. `params` are a JSON object, complete and checked against the schema; paths are absolute.
    pub create:
        Option<unsafe extern "C" fn(call: *const lmprobe_call, params: lmprobe_str, instance: *mut *mut lmprobe_instance, error: *mut lmprobe_error) -> i32>,
    /// Destroys an instance, once.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut lmprobe_instance)>,
    /// What the instance is or needs, as JSON.
    pub describe: Option<unsafe extern "C" fn(instance: *mut lmprobe_instance, json: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32>,
    /// `lmprobe_encoder_vt`, `lmprobe_prober_vt`, `lmprobe_objective_vt`, `lmprobe_task_vt` or `lmprobe_metric_vt`, by the kind.
    pub vtable: *const c_void,
    /// The manual in Markdown: what it does, how, an example, a reference. May be empty.
    pub manual: lmprobe_str,
    /// A JSON object or empty. `families`: the `model_type` values an encoder reads. `recipe`: defaults an objective sets for its training.
    pub facts: lmprobe_str,
}

/// What a shared library offers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_plugin {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Major version of the interface it was built against.
    pub abi_major: u16,
    /// Minor version of the interface it was built against.
    pub abi_minor: u16,
    /// The vendor of all its components.
    pub name: lmprobe_str,
    /// Its own version.
    pub version: lmprobe_str,
    /// SPDX expression.
    pub license: lmprobe_str,
    /// Compiler and kit, for bug reports.
    pub build_info: lmprobe_str,
    /// Number of components.
    pub n_components: usize,
    /// The components.
    pub components: *const *const lmprobe_component,
    /// Called once when the program ends, if it ends in order. May be null.
    pub shutdown: Option<unsafe extern "C" fn()>,
}

/// The type of the one function symbol of a plugin, `lmprobe_plugin_entry_v1`. The result lives as long as the process.
pub type entry = unsafe extern "C" fn(host: *const lmprobe_host, plugin: *mut *const lmprobe_plugin, error: *mut lmprobe_error) -> i32;
