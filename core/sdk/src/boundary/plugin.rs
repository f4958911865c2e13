//! The tables of a plugin, and its entry.

use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::OnceLock;

use lmprobe_abi as abi;
use serde_json::{Value, json};

use crate::boundary::guard::{guarded, install_hook};
use crate::boundary::{encoder_exports, exports, host, objective_exports, text};
use crate::{Component, Encoder, Error, Metric, Objective, Prober, Result, Task, schema_of};

const MAX_SCHEMA_BYTES: usize = 256 * 1024;

/// What `export_plugin!` says of a plugin.
#[derive(Debug)]
pub struct Declaration {
    /// The vendor of all components.
    pub name: &'static str,
    /// Version of the crate.
    pub version: &'static str,
    /// SPDX expression of the crate.
    pub license: &'static str,
    /// The components.
    pub components: Vec<Offer>,
}

/// A component that a plugin offers.
#[derive(Debug)]
pub struct Offer {
    id: &'static str,
    component: abi::lmprobe_component,
    schema: String,
    facts: String,
}

/// Where a plugin keeps its tables as long as the process.
#[derive(Debug, Default)]
pub struct PluginCell(OnceLock<Kept>);

#[derive(Debug)]
struct Kept(Result<&'static abi::lmprobe_plugin>);

// SAFETY: the tables are never written, and all they point to lives as long as the process.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl PluginCell {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

/// Whether an id is `vendor/name` with this vendor, in lower-case letters, digits and hyphens.
pub const fn in_namespace(id: &str, vendor: &str) -> bool {
    let (id, vendor) = (id.as_bytes(), vendor.as_bytes());
    if vendor.is_empty() || id.len() <= vendor.len() + 1 || id[vendor.len()] != b'/' {
        return false;
    }
    let mut index = 0;
    while index < id.len() {
        let expected = index >= vendor.len() || id[index] == vendor[index];
        let allowed = index == vendor.len() || matches!(id[index], b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !expected || !allowed {
            return false;
        }
        index += 1;
    }
    true
}

/// The body of the one exported function.
///
/// # Safety
/// The arguments are what the interface says of `lmprobe_plugin_entry_v1`.
pub unsafe fn enter(
    cell: &'static PluginCell,
    declare: fn() -> Declaration,
    host: *const abi::lmprobe_host,
    plugin: *mut *const abi::lmprobe_plugin,
    error: *mut abi::lmprobe_error,
) -> i32 {
    install_hook();
    // SAFETY: the caller holds what is asked for.
    unsafe {
        guarded(error, || {
            host::enter(host)?;
            let Kept(tables) = cell.0.get_or_init(|| Kept(tables(declare())));
            let tables: &'static abi::lmprobe_plugin = tables.clone()?;
            plugin.write(tables);
            Ok(())
        })
    }
}

/// Makes the tables. They are leaked once: the interface says that they live as long as the process.
fn tables(declaration: Declaration) -> Result<&'static abi::lmprobe_plugin> {
    let mut ids = HashSet::new();
    let mut components: Vec<*const abi::lmprobe_component> = Vec::new();
    for offer in &declaration.components {
        if !in_namespace(offer.id, declaration.name) {
            return Err(Error::internal(format!("the id `{}` is not `{}/` and a name in lower-case letters, digits and hyphens", offer.id, declaration.name)));
        }
        if !ids.insert((offer.component.kind, offer.id)) {
            return Err(Error::internal(format!("the id `{}` comes twice", offer.id)));
        }
        if offer.schema.len() > MAX_SCHEMA_BYTES {
            return Err(Error::internal(format!("the schema of `{}` has {} bytes, at most {MAX_SCHEMA_BYTES} are allowed", offer.id, offer.schema.len())));
        }
    }
    for Offer { component, schema, facts, .. } in declaration.components {
        let component = abi::lmprobe_component { params_schema: text::lend(schema.leak()), facts: text::lend(facts.leak()), ..component };
        components.push(Box::leak(Box::new(component)));
    }
    let components: &'static [_] = components.leak();
    Ok(Box::leak(Box::new(abi::lmprobe_plugin {
        struct_size: size::<abi::lmprobe_plugin>(),
        abi_major: abi::LMPROBE_ABI_MAJOR,
        abi_minor: abi::LMPROBE_ABI_MINOR,
        name: text::lend(declaration.name),
        version: text::lend(declaration.version),
        license: text::lend(declaration.license),
        build_info: text::lend(concat!("rustc, lmprobe-sdk ", env!("CARGO_PKG_VERSION"))),
        n_components: components.len(),
        components: components.as_ptr(),
        shutdown: None,
    })))
}

#[expect(clippy::cast_possible_truncation, reason = "tables have few hundred bytes")]
const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

/// The function that describes a component of some kind.
type Describe = unsafe extern "C" fn(*mut abi::lmprobe_instance, *mut abi::lmprobe_buf, *mut abi::lmprobe_error) -> i32;

fn offer<C: Component>(id: &'static str, kind: u32, describe: Describe, vtable: *const c_void, facts: Option<Value>) -> Offer {
    let component = abi::lmprobe_component {
        struct_size: size::<abi::lmprobe_component>(),
        kind,
        id: text::lend(id),
        version: text::lend(C::VERSION),
        summary: text::lend(C::SUMMARY),
        params_schema: text::lend(""),
        caps: C::CAPS.0,
        create: Some(exports::create::<C>),
        destroy: Some(exports::destroy::<C>),
        describe: Some(describe),
        vtable,
        manual: text::lend(C::MANUAL),
        facts: text::lend(""),
    };
    Offer { id, component, schema: schema_of::<C::Params>().to_string(), facts: facts.map_or_else(String::new, |facts| facts.to_string()) }
}

/// One table of functions for each component.
struct Functions<C>(C);

impl<C: Metric> Functions<C> {
    const METRIC: abi::lmprobe_metric_vt =
        abi::lmprobe_metric_vt { struct_size: size::<abi::lmprobe_metric_vt>(), reserved: 0, compute: Some(exports::compute::<C>) };
}

impl<C: Prober> Functions<C> {
    const PROBER: abi::lmprobe_prober_vt = abi::lmprobe_prober_vt { struct_size: size::<abi::lmprobe_prober_vt>(), reserved: 0, run: Some(exports::run::<C>) };
}

impl<C: Task> Functions<C> {
    const TASK: abi::lmprobe_task_vt =
        abi::lmprobe_task_vt { struct_size: size::<abi::lmprobe_task_vt>(), reserved: 0, examples: Some(exports::examples::<C>) };
}

impl<C: Objective> Functions<C> {
    const OBJECTIVE: abi::lmprobe_objective_vt = abi::lmprobe_objective_vt {
        struct_size: size::<abi::lmprobe_objective_vt>(),
        reserved: 0,
        prepare: Some(objective_exports::prepare::<C>),
        batch: Some(objective_exports::batch::<C>),
        destroy_examples: Some(objective_exports::destroy_examples::<C>),
        value_and_grad: Some(objective_exports::value_and_grad::<C>),
    };
}

impl<C: Encoder> Functions<C> {
    const ENCODER: abi::lmprobe_encoder_vt = abi::lmprobe_encoder_vt {
        struct_size: size::<abi::lmprobe_encoder_vt>(),
        reserved: 0,
        tokenize: Some(encoder_exports::tokenize::<C>),
        encode: Some(encoder_exports::encode::<C>),
        load: Some(encoder_exports::load::<C>),
        token: Some(encoder_exports::token::<C>),
    };
}

/// Offers a metric.
pub fn metric<C: Metric>(id: &'static str) -> Offer {
    let vtable: &'static abi::lmprobe_metric_vt = &Functions::<C>::METRIC;
    offer::<C>(id, abi::LMPROBE_KIND_METRIC, exports::describe_metric::<C>, (&raw const *vtable).cast(), None)
}

/// Offers a prober.
pub fn prober<C: Prober>(id: &'static str) -> Offer {
    let vtable: &'static abi::lmprobe_prober_vt = &Functions::<C>::PROBER;
    offer::<C>(id, abi::LMPROBE_KIND_PROBER, exports::describe_prober::<C>, (&raw const *vtable).cast(), None)
}

/// Offers a task.
pub fn task<C: Task>(id: &'static str) -> Offer {
    let vtable: &'static abi::lmprobe_task_vt = &Functions::<C>::TASK;
    offer::<C>(id, abi::LMPROBE_KIND_TASK, exports::describe_task::<C>, (&raw const *vtable).cast(), None)
}

/// Offers an objective.
pub fn objective<C: Objective>(id: &'static str) -> Offer {
    let vtable: &'static abi::lmprobe_objective_vt = &Functions::<C>::OBJECTIVE;
    let facts = C::recipe().map(|recipe| json!({"recipe": recipe}));
    offer::<C>(id, abi::LMPROBE_KIND_OBJECTIVE, exports::describe_objective::<C>, (&raw const *vtable).cast(), facts)
}

/// Offers an encoder.
pub fn encoder<C: Encoder>(id: &'static str) -> Offer {
    let vtable: &'static abi::lmprobe_encoder_vt = &Functions::<C>::ENCODER;
    let facts = (!C::FAMILIES.is_empty()).then(|| json!({"families": C::FAMILIES}));
    offer::<C>(id, abi::LMPROBE_KIND_ENCODER, exports::describe_encoder::<C>, (&raw const *vtable).cast(), facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_vendor() {
        assert!(in_namespace("acme/share-right", "acme"));
        for bad in ["share-right", "acme/", "acme", "acmes/x", "acme/x/y", "acme/X", "acme x"] {
            assert!(!in_namespace(bad, "acme"), "{bad}");
        }
        assert!(!in_namespace("/x", ""));
    }
}
