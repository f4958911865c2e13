//! Reads the tables of a plugin and checks every rule that can be checked without calling it again.

use lmprobe_abi::{LMPROBE_ABI_MAJOR, lmprobe_component, lmprobe_plugin, lmprobe_str};
use serde_json::Value;

use crate::error::{ContentsFault, Refusal};
use crate::foreign_text::copied;
use crate::library::Shutdown;
use crate::{Component, ComponentKind, Operations, Prefixed, prefix_copy};

const MOST_COMPONENTS: usize = 4096;
/// Of names, versions and lines for lists.
const LINE_BYTES: usize = 4096;
/// Of schemas and facts.
const JSON_BYTES: usize = 256 << 10;
const MANUAL_BYTES: usize = 1 << 20;

/// What the tables of a plugin say.
#[derive(Debug)]
pub struct Offer {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: String,
    pub(crate) build_info: String,
    pub(crate) components: Vec<Component>,
    pub(crate) skipped: Vec<u32>,
    pub(crate) shutdown: Option<Shutdown>,
}

/// Copies and checks the tables of a plugin.
///
/// # Errors
/// If anything in them breaks a rule. Then nothing of the plugin is to be used.
///
/// # Safety
/// `plugin` points to a table whose pointers, where they are not null, point to what the interface says, as many as it says.
pub unsafe fn walk(plugin: *const lmprobe_plugin) -> Result<Offer, Refusal> {
    let here = |fault| Refusal::Contents { place: "it".to_owned(), fault };
    // SAFETY: the caller promises the table and everything it points to.
    unsafe {
        let table = prefix_copy(plugin).map_err(|error| here(error.into()))?;
        if table.abi_major != LMPROBE_ABI_MAJOR {
            return Err(here(ContentsFault::Major { found: table.abi_major }));
        }
        let name = line("name", table.name).map_err(here)?;
        check_vendor(&name).map_err(here)?;
        let version = filled("version", table.version).map_err(here)?;
        let license = line("license", table.license).map_err(here)?;
        let build_info = line("build_info", table.build_info).map_err(here)?;
        if table.n_components > MOST_COMPONENTS {
            return Err(here(ContentsFault::Count { found: table.n_components, limit: MOST_COMPONENTS }));
        }
        if table.components.is_null() && table.n_components > 0 {
            return Err(here(ContentsFault::Null { field: "components" }));
        }
        let mut offer = Offer { name, version, license, build_info, components: Vec::new(), skipped: Vec::new(), shutdown: table.shutdown };
        let mut numbers = Vec::new();
        for number in 0..table.n_components {
            let component = table.components.add(number).read_unaligned();
            match read_component(component, &offer.name) {
                Ok(Read::Known(component)) => {
                    offer.components.push(*component);
                    numbers.push(number);
                }
                Ok(Read::Unknown(kind)) => offer.skipped.push(kind),
                Err(Faulty { id, fault }) => {
                    let place = if id.is_empty() { format!("component {number}") } else { format!("component {number} (`{id}`)") };
                    return Err(Refusal::Contents { place, fault });
                }
            }
        }
        refuse_duplicates(&offer.components, &numbers)?;
        Ok(offer)
    }
}

enum Read {
    Known(Box<Component>),
    Unknown(u32),
}

struct Faulty {
    /// As far as it is known.
    id: String,
    fault: ContentsFault,
}

impl<E: Into<ContentsFault>> From<E> for Faulty {
    fn from(fault: E) -> Self {
        Self { id: String::new(), fault: fault.into() }
    }
}

/// # Safety
/// As [`walk`], for one component.
unsafe fn read_component(component: *const lmprobe_component, vendor: &str) -> Result<Read, Faulty> {
    if component.is_null() {
        return Err(ContentsFault::Null { field: "component" }.into());
    }
    // SAFETY: the caller promises the table and everything it points to.
    unsafe {
        let table = prefix_copy(component)?;
        let Some(kind) = ComponentKind::from_number(table.kind) else {
            return Ok(Read::Unknown(table.kind));
        };
        let id = line("id", table.id)?;
        check_id(&id, vendor)?;
        match rest_of_component(&table, kind, id.clone()) {
            Ok(component) => Ok(Read::Known(Box::new(component))),
            Err(fault) => Err(Faulty { id, fault }),
        }
    }
}

/// # Safety
/// As [`walk`], for one component.
unsafe fn rest_of_component(table: &lmprobe_component, kind: ComponentKind, id: String) -> Result<Component, ContentsFault> {
    // SAFETY: the caller promises the table and everything it points to.
    unsafe {
        let version = filled("version", table.version)?;
        let summary = line("summary", table.summary)?;
        let manual = copied(table.manual, MANUAL_BYTES).map_err(|why| ContentsFault::Text { field: "manual", why })?;
        let schema = schema(&copied(table.params_schema, JSON_BYTES).map_err(|why| ContentsFault::Text { field: "params_schema", why })?)?;
        let Facts { families, recipe } = facts(&copied(table.facts, JSON_BYTES).map_err(|why| ContentsFault::Text { field: "facts", why })?)?;
        let create = table.create.ok_or(ContentsFault::Null { field: "create" })?;
        let destroy = table.destroy.ok_or(ContentsFault::Null { field: "destroy" })?;
        if table.vtable.is_null() {
            return Err(ContentsFault::Null { field: "vtable" });
        }
        let operations = operations(table.vtable, kind)?;
        Ok(Component { kind, id, version, summary, manual, schema, families, recipe, caps: table.caps, create, destroy, describe: table.describe, operations })
    }
}

/// # Safety
/// `table` points to the table of functions of the kind.
unsafe fn operations(table: *const std::ffi::c_void, kind: ComponentKind) -> Result<Operations, ContentsFault> {
    /// # Safety
    /// As of [`prefix_copy`].
    unsafe fn read<T: Prefixed>(table: *const std::ffi::c_void) -> Result<T, ContentsFault> {
        // SAFETY: the caller promises a table of this kind.
        Ok(unsafe { prefix_copy(table.cast::<T>()) }?)
    }
    let required = |functions: &[(&'static str, bool)]| match functions.iter().find(|(_, there)| !there) {
        Some((function, _)) => Err(ContentsFault::Function { function, kind: kind.name() }),
        None => Ok(()),
    };
    // SAFETY: the caller promises a table of this kind.
    unsafe {
        Ok(match kind {
            ComponentKind::Encoder => {
                let table: lmprobe_abi::lmprobe_encoder_vt = read(table)?;
                required(&[("tokenize", table.tokenize.is_some()), ("encode", table.encode.is_some())])?;
                Operations::Encoder(table)
            }
            ComponentKind::Prober => {
                let table: lmprobe_abi::lmprobe_prober_vt = read(table)?;
                required(&[("run", table.run.is_some())])?;
                Operations::Prober(table)
            }
            ComponentKind::Objective => {
                let table: lmprobe_abi::lmprobe_objective_vt = read(table)?;
                required(&[
                    ("prepare", table.prepare.is_some()),
                    ("batch", table.batch.is_some()),
                    ("destroy_examples", table.destroy_examples.is_some()),
                    ("value_and_grad", table.value_and_grad.is_some()),
                ])?;
                Operations::Objective(table)
            }
            ComponentKind::Task => {
                let table: lmprobe_abi::lmprobe_task_vt = read(table)?;
                required(&[("examples", table.examples.is_some())])?;
                Operations::Task(table)
            }
            ComponentKind::Metric => {
                let table: lmprobe_abi::lmprobe_metric_vt = read(table)?;
                required(&[("compute", table.compute.is_some())])?;
                Operations::Metric(table)
            }
        })
    }
}

/// # Safety
/// As [`copied`].
unsafe fn line(field: &'static str, text: lmprobe_str) -> Result<String, ContentsFault> {
    // SAFETY: the caller promises the bytes.
    unsafe { copied(text, LINE_BYTES) }.map_err(|why| ContentsFault::Text { field, why })
}

/// # Safety
/// As [`copied`].
unsafe fn filled(field: &'static str, text: lmprobe_str) -> Result<String, ContentsFault> {
    // SAFETY: the caller promises the bytes.
    let text = unsafe { line(field, text) }?;
    if text.is_empty() { Err(ContentsFault::Empty { field }) } else { Ok(text) }
}

/// A part of an id: 1 to 64 characters, of which the first is a letter or a digit.
fn is_name(text: &str, others: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    matches!(text.as_bytes(), [first, rest @ ..] if plain(first) && rest.len() < 64 && rest.iter().all(|byte| plain(byte) || others.contains(byte)))
}

fn check_vendor(name: &str) -> Result<(), ContentsFault> {
    if !is_name(name, b"-") {
        return Err(ContentsFault::Vendor { found: name.to_owned() });
    }
    if name == "builtin" { Err(ContentsFault::Reserved) } else { Ok(()) }
}

fn check_id(id: &str, vendor: &str) -> Result<(), ContentsFault> {
    let found = id.to_owned();
    let Some((owner, name)) = id.split_once('/') else { return Err(ContentsFault::Id { found }) };
    if !is_name(owner, b"-") || !is_name(name, b"._-") {
        return Err(ContentsFault::Id { found });
    }
    // `builtin/...` fails here, too: no plugin has that name.
    if owner != vendor {
        return Err(ContentsFault::Namespace { found, vendor: vendor.to_owned() });
    }
    Ok(())
}

fn refuse_duplicates(components: &[Component], numbers: &[usize]) -> Result<(), Refusal> {
    let mut seen = std::collections::HashMap::new();
    for (component, number) in components.iter().zip(numbers) {
        if let Some(first) = seen.insert((component.kind, component.id.as_str()), *number) {
            let fault = ContentsFault::Duplicate { first, kind: component.kind.name(), id: component.id.clone() };
            return Err(Refusal::Contents { place: format!("component {number}"), fault });
        }
    }
    Ok(())
}

fn schema(text: &str) -> Result<Value, ContentsFault> {
    let fault = |why: String| ContentsFault::Json { field: "params_schema", why };
    let schema: Value = serde_json::from_str(text).map_err(|error| fault(format!("it is not JSON: {error}")))?;
    if !schema.is_object() {
        return Err(fault("it is not a JSON object".to_owned()));
    }
    match reference(&schema) {
        Some(key) => Err(fault(format!("it has a `{key}`; write out what it refers to"))),
        None => Ok(schema),
    }
}

/// Finds a key that refers to another place, perhaps on the network.
fn reference(value: &Value) -> Option<&str> {
    match value {
        Value::Array(items) => items.iter().find_map(reference),
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match key.as_str() {
            "$ref" | "$dynamicRef" | "$recursiveRef" => Some(key.as_str()),
            _ => reference(value),
        }),
        _ => None,
    }
}

#[derive(Default)]
struct Facts {
    families: Vec<String>,
    recipe: Option<Value>,
}

/// Facts of a later minor are left alone.
fn facts(text: &str) -> Result<Facts, ContentsFault> {
    let fault = |why: &str| ContentsFault::Json { field: "facts", why: why.to_owned() };
    if text.is_empty() {
        return Ok(Facts::default());
    }
    let value: Value = serde_json::from_str(text).map_err(|error| fault(&format!("it is not JSON: {error}")))?;
    let Value::Object(mut fields) = value else { return Err(fault("it is not a JSON object")) };
    let families = match fields.remove("families") {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(fault("`families` is not a list of texts")),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(fault("`families` is not a list of texts")),
    };
    match fields.remove("recipe") {
        Some(recipe) if !recipe.is_object() => Err(fault("`recipe` is not an object")),
        recipe => Ok(Facts { families, recipe }),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::ptr;

    use lmprobe_abi::{lmprobe_call, lmprobe_error, lmprobe_instance, lmprobe_metric_vt, lmprobe_table};

    use super::*;

    unsafe extern "C" fn create(_: *const lmprobe_call, _: lmprobe_str, _: *mut *mut lmprobe_instance, _: *mut lmprobe_error) -> i32 {
        0
    }
    unsafe extern "C" fn destroy(_: *mut lmprobe_instance) {}
    unsafe extern "C" fn compute(_: *mut lmprobe_instance, _: *const lmprobe_call, _: *mut lmprobe_table, _: *mut lmprobe_table, _: *mut lmprobe_error) -> i32 {
        0
    }

    fn text(text: &'static str) -> lmprobe_str {
        lmprobe_str { ptr: text.as_ptr(), len: text.len() }
    }

    static METRIC: lmprobe_metric_vt = lmprobe_metric_vt { struct_size: 16, reserved: 0, compute: Some(compute) };

    fn component() -> lmprobe_component {
        lmprobe_component {
            struct_size: 144,
            kind: 5,
            id: text("acme/share"),
            version: text("1.0.0"),
            summary: text("a share"),
            params_schema: text(r#"{"type":"object"}"#),
            caps: 0,
            create: Some(create),
            destroy: Some(destroy),
            describe: None,
            vtable: (&raw const METRIC).cast::<c_void>(),
            manual: text(""),
            facts: lmprobe_str { ptr: ptr::null(), len: 0 },
        }
    }

    fn read(change: impl FnOnce(&mut lmprobe_plugin), components: &[lmprobe_component]) -> Result<Offer, String> {
        let pointers: Vec<*const lmprobe_component> = components.iter().map(ptr::from_ref).collect();
        let mut plugin = lmprobe_plugin {
            struct_size: 96,
            abi_major: 1,
            abi_minor: 0,
            name: text("acme"),
            version: text("0.1"),
            license: text("MIT"),
            build_info: text(""),
            n_components: pointers.len(),
            components: pointers.as_ptr(),
            shutdown: None,
        };
        change(&mut plugin);
        // SAFETY: every pointer is to a static or to a local of this function.
        unsafe { walk(&raw const plugin) }.map_err(|refusal| refusal.to_string())
    }

    fn refused(change: impl FnOnce(&mut lmprobe_component)) -> String {
        let mut changed = component();
        change(&mut changed);
        read(|_| {}, &[changed]).unwrap_err()
    }

    #[test]
    fn a_component_is_copied() {
        let facts = r#"{"families":["bert"],"recipe":{"epochs":1},"later":[]}"#;
        let offer = read(|_| {}, &[lmprobe_component { caps: 1 << 40, facts: text(facts), ..component() }]).unwrap();
        let found = &offer.components[0];
        assert_eq!((found.id.as_str(), found.kind, found.caps), ("acme/share", ComponentKind::Metric, 1 << 40));
        assert_eq!((found.families.as_slice(), found.recipe.as_ref().unwrap()["epochs"].as_u64()), (&["bert".to_owned()][..], Some(1)));
        assert_eq!((offer.name.as_str(), offer.version.as_str(), offer.license.as_str()), ("acme", "0.1", "MIT"));
    }

    #[test]
    fn unknown_kinds_are_skipped_and_listed() {
        let offer = read(|_| {}, &[lmprobe_component { kind: 6, vtable: ptr::null(), ..component() }, component()]).unwrap();
        assert_eq!((offer.skipped, offer.components.len()), (vec![6], 1));
    }

    #[test]
    fn texts_of_the_plugin_follow_their_rules() {
        for (name, message) in [
            ("", "it has the name ``; a name is 1 to 64 of a-z, 0-9 and `-`, and begins with a letter or a digit"),
            ("Acme", "it has the name `Acme`; a name is 1 to 64 of a-z, 0-9 and `-`, and begins with a letter or a digit"),
            ("-a", "it has the name `-a`; a name is 1 to 64 of a-z, 0-9 and `-`, and begins with a letter or a digit"),
            ("builtin", "it has the name `builtin`, which is reserved; choose a name of your own"),
        ] {
            assert_eq!(read(|plugin| plugin.name = text(name), &[]).unwrap_err(), message);
        }
        assert_eq!(read(|plugin| plugin.version = text(""), &[]).unwrap_err(), "it has an empty `version`");
        let not_utf8: &'static [u8] = b"ab\xff";
        let found = read(|plugin| plugin.license = lmprobe_str { ptr: not_utf8.as_ptr(), len: 3 }, &[]).unwrap_err();
        assert_eq!(found, "it has an unreadable `license`: byte 2 is not UTF-8");
        let found = read(|plugin| plugin.name = lmprobe_str { ptr: ptr::null(), len: 4 }, &[]).unwrap_err();
        assert_eq!(found, "it has an unreadable `name`: its pointer is null, but it has 4 bytes");
        let found = read(|plugin| plugin.name.len = usize::MAX, &[]).unwrap_err();
        assert_eq!(found, format!("it has an unreadable `name`: it has {} bytes; 4096 is the most", usize::MAX));
    }

    #[test]
    fn the_list_of_components_is_bounded() {
        assert_eq!(read(|plugin| plugin.n_components = 5000, &[]).unwrap_err(), "it has 5000 components; 4096 is the most");
        let found = read(
            |plugin| {
                plugin.components = ptr::null();
                plugin.n_components = 1;
            },
            &[],
        );
        assert_eq!(found.unwrap_err(), "it has a null `components`");
        let null = [ptr::null::<lmprobe_component>()];
        let found = read(
            |plugin| {
                plugin.components = null.as_ptr();
                plugin.n_components = 1;
            },
            &[],
        );
        assert_eq!(found.unwrap_err(), "component 0 has a null `component`");
    }

    #[test]
    fn ids_lie_in_the_namespace_of_the_plugin() {
        let rule = "an id is `vendor/name`, the name 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or a digit";
        for id in ["", "acme", "acme/", "/share", "acme/Share", "acme/a b", "acme/a/b", "Acme/share", "acme/.a"] {
            assert_eq!(refused(|component| component.id = text(id)), format!("component 0 has the id `{id}`; {rule}"));
        }
        let message = "which is not in the plugin's own namespace `acme/`";
        assert_eq!(refused(|component| component.id = text("other/share")), format!("component 0 has the id `other/share`, {message}"));
        assert_eq!(refused(|component| component.id = text("builtin/acc")), format!("component 0 has the id `builtin/acc`, {message}"));
        let twice = read(|_| {}, &[lmprobe_component { kind: 9, ..component() }, component(), component()]).unwrap_err();
        assert_eq!(twice, "component 2 has the same kind and id as component 1: metric `acme/share`");
    }

    #[test]
    fn functions_that_are_needed_are_there() {
        assert_eq!(refused(|component| component.create = None), "component 0 (`acme/share`) has a null `create`");
        assert_eq!(refused(|component| component.destroy = None), "component 0 (`acme/share`) has a null `destroy`");
        assert_eq!(refused(|component| component.vtable = ptr::null()), "component 0 (`acme/share`) has a null `vtable`");
        let empty = [40u64, 0, 0, 0, 0]; // as large as the largest table of 1.0, every function null
        for (kind, name, function) in
            [(1, "encoder", "tokenize"), (2, "prober", "run"), (3, "objective", "prepare"), (4, "task", "examples"), (5, "metric", "compute")]
        {
            let found = refused(|component| {
                component.kind = kind;
                component.vtable = empty.as_ptr().cast();
            });
            assert_eq!(found, format!("component 0 (`acme/share`) has no function `{function}`, which every {name} has"));
        }
    }

    #[test]
    fn schemas_are_objects_without_references() {
        let schema = |schema| refused(|component| component.params_schema = text(schema));
        let fault = "component 0 (`acme/share`) has an invalid `params_schema`: it";
        assert_eq!(schema(""), format!("{fault} is not JSON: EOF while parsing a value at line 1 column 0"));
        assert_eq!(schema("[]"), format!("{fault} is not a JSON object"));
        assert_eq!(schema(r#"{"properties":{"a":[{"$ref":"http://x"}]}}"#), format!("{fault} has a `$ref`; write out what it refers to"));
        let facts = |facts| refused(|component| component.facts = text(facts));
        let fault = "component 0 (`acme/share`) has an invalid `facts`: ";
        assert_eq!(facts("1"), format!("{fault}it is not a JSON object"));
        assert_eq!(facts(r#"{"families":"bert"}"#), format!("{fault}`families` is not a list of texts"));
        assert_eq!(facts(r#"{"families":[1]}"#), format!("{fault}`families` is not a list of texts"));
        assert_eq!(facts(r#"{"recipe":[]}"#), format!("{fault}`recipe` is not an object"));
        let long = " ".repeat((256 << 10) + 1);
        let found = refused(|component| component.params_schema = lmprobe_str { ptr: long.as_ptr(), len: long.len() });
        assert_eq!(found, "component 0 (`acme/share`) has an unreadable `params_schema`: it has 262145 bytes; 262144 is the most");
    }
}
