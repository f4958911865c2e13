//! `tests/plugins/c/example.c`, called through the loader: what it says, what it computes, and that it frees what it makes.
//!
//! Numbers are computed here a second time from their definitions, or small enough to check by hand.
#![cfg(all(target_os = "linux", not(miri)))]
#![expect(clippy::unwrap_used, reason = "a test that cannot build the plugin has failed")]
#![expect(clippy::print_stdout, reason = "a test that cannot run says so")]

use std::ffi::{CStr, CString, c_void};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use lmprobe_abi::{
    ArrowArray, ArrowSchema, LMPROBE_ENCODE_CUT_LEFT, LMPROBE_ENCODE_PIECES, lmprobe_call, lmprobe_encode_req, lmprobe_host, lmprobe_instance, lmprobe_str,
    lmprobe_table,
};
use lmprobe_loader::tensor_check::Values;
use lmprobe_loader::{Component, ErrorSlot, ForeignError, Library, LoadRequest, Operations, OwnedBuf, OwnedTable, OwnedTensors, Pin, load};

/// The call is a null pointer for a call that runs, and dangling for one that was cancelled.
unsafe extern "C" fn cancelled(call: *const lmprobe_call) -> i32 {
    i32::from(!call.is_null())
}

struct Shared(lmprobe_host);
// SAFETY: nothing in it is ever written.
unsafe impl Sync for Shared {}

static HOST: Shared = Shared(lmprobe_host {
    struct_size: 104,
    abi_major: 1,
    abi_minor: 0,
    host_version: lmprobe_str { ptr: b"test".as_ptr(), len: 4 },
    log: None,
    progress: None,
    cancelled: Some(cancelled),
    seed: None,
    threads: None,
    record_input: None,
    encoder_describe: None,
    encoder_tokenize: None,
    encoder_encode: None,
    encoder_token: None,
});

/// `LMPROBE_TEST_CFLAGS` adds options: with `-fsanitize=address,undefined` run the test program under `LD_PRELOAD` of `cc -print-file-name=libasan.so`.
fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<&'static Library>> = OnceLock::new();
    *LIBRARY.get_or_init(|| {
        if !["cc", "make"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())) {
            println!("skipped: there is no `cc` or no `make` to build the plugin with");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let output = Command::new("make")
            .arg("-C")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/c"))
            .arg(format!("OUT={}", folder.path().display()))
            .arg(format!("CFLAGS={}", std::env::var("LMPROBE_TEST_CFLAGS").unwrap_or_default()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = folder.path().join("libexample_c.so");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        Some(load(&LoadRequest::new(&path, Pin::Unpinned), &HOST.0).unwrap_or_else(|error| panic!("{error}")))
    })
}

fn text(text: &str) -> lmprobe_str {
    lmprobe_str { ptr: text.as_ptr(), len: text.len() }
}

/// An instance that is destroyed once.
struct Instance {
    component: &'static Component,
    raw: *mut lmprobe_instance,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: made by this component, and used by nobody else.
        unsafe { (self.component.destroy)(self.raw) };
    }
}

fn create(id: &str, params: &str) -> Option<Result<Instance, (i32, ForeignError)>> {
    let component = library()?.components.iter().find(|component| component.id == id).unwrap();
    let (mut raw, mut error) = (ptr::null_mut(), ErrorSlot::new());
    // SAFETY: as the interface asks.
    let status = unsafe { (component.create)(ptr::null(), text(params), &raw mut raw, error.as_mut_ptr()) };
    Some(if status == 0 { Ok(Instance { component, raw }) } else { Err((status, error.read())) })
}

fn described(instance: &Instance) -> String {
    let (mut json, mut error) = (OwnedBuf::new(), ErrorSlot::new());
    // SAFETY: as the interface asks.
    let status = unsafe { (instance.component.describe.unwrap())(instance.raw, json.as_mut_ptr(), error.as_mut_ptr()) };
    assert_eq!(status, 0);
    json.text(1 << 16).unwrap()
}

static RELEASED: AtomicUsize = AtomicUsize::new(0);

/// The table `predictions` as far as the metric reads it.
struct Predictions {
    names: [CString; 2],
    relation_offsets: Vec<i64>,
    relation_bytes: Vec<u8>,
    ranks: Vec<i64>,
    bits: Vec<u8>,
    relation_buffers: [*const c_void; 3],
    rank_buffers: [*const c_void; 2],
    root_buffers: [*const c_void; 1],
    schemas: Vec<ArrowSchema>,
    arrays: Vec<ArrowArray>,
    schema_list: Vec<*mut ArrowSchema>,
    array_list: Vec<*mut ArrowArray>,
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: made below; the cells belong to the array.
    unsafe { (*schema).release = None };
    RELEASED.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: made below. Names are freed with it, so the schema must not be read afterwards.
    unsafe { (*array).release = None };
    RELEASED.fetch_add(1, Ordering::Relaxed);
}

fn schema(format: &'static CStr, name: *const std::ffi::c_char) -> ArrowSchema {
    ArrowSchema {
        format: format.as_ptr(),
        name,
        metadata: ptr::null(),
        flags: 2,
        n_children: 0,
        children: ptr::null_mut(),
        dictionary: ptr::null_mut(),
        release: Some(release_schema),
        private_data: ptr::null_mut(),
    }
}

fn array(length: usize, buffers: &mut [*const c_void]) -> ArrowArray {
    ArrowArray {
        length: i64::try_from(length).unwrap(),
        null_count: 0,
        offset: 0,
        n_buffers: i64::try_from(buffers.len()).unwrap(),
        n_children: 0,
        buffers: buffers.as_mut_ptr(),
        children: ptr::null_mut(),
        dictionary: ptr::null_mut(),
        release: Some(release_array),
        private_data: ptr::null_mut(),
    }
}

/// The table, and what it points to, which must live as long.
fn predictions(rows: &[(&str, Option<i64>)], rank_format: &'static CStr) -> (Box<Predictions>, OwnedTable) {
    let mut relation_offsets = vec![0];
    let (mut relation_bytes, mut bits) = (Vec::new(), vec![0u8; rows.len() / 8 + 1]);
    for (row, (relation, rank)) in rows.iter().enumerate() {
        relation_bytes.extend_from_slice(relation.as_bytes());
        relation_offsets.push(i64::try_from(relation_bytes.len()).unwrap());
        bits[row / 8] |= u8::from(rank.is_some()) << (row % 8);
    }
    let mut made = Box::new(Predictions {
        names: [c"relation".into(), c"rank".into()],
        relation_offsets,
        relation_bytes,
        ranks: rows.iter().map(|row| row.1.unwrap_or(-7)).collect(),
        bits,
        relation_buffers: [ptr::null(); 3],
        rank_buffers: [ptr::null(); 2],
        root_buffers: [ptr::null()],
        schemas: Vec::new(),
        arrays: Vec::new(),
        schema_list: Vec::new(),
        array_list: Vec::new(),
    });
    let it = &mut *made;
    it.relation_buffers = [ptr::null(), it.relation_offsets.as_ptr().cast(), it.relation_bytes.as_ptr().cast()];
    it.rank_buffers = [it.bits.as_ptr().cast(), it.ranks.as_ptr().cast()];
    it.schemas = vec![schema(c"U", it.names[0].as_ptr()), schema(rank_format, it.names[1].as_ptr())];
    it.arrays = vec![array(rows.len(), &mut it.relation_buffers), array(rows.len(), &mut it.rank_buffers)];
    it.arrays[1].null_count = -1;
    it.schema_list = it.schemas.iter_mut().map(ptr::from_mut).collect();
    it.array_list = it.arrays.iter_mut().map(ptr::from_mut).collect();
    let root = ArrowSchema { n_children: 2, children: it.schema_list.as_mut_ptr(), ..schema(c"+s", c"".as_ptr()) };
    let cells = ArrowArray { n_children: 2, children: it.array_list.as_mut_ptr(), ..array(rows.len(), &mut it.root_buffers) };
    // SAFETY: made just before, and released by nobody else.
    let table = unsafe { OwnedTable::from_raw(lmprobe_table { schema: root, array: cells }) };
    (made, table)
}

/// A checked table, read by column.
struct Table<'a>(&'a lmprobe_table, usize);

impl Table<'_> {
    fn names(&self) -> Vec<String> {
        // SAFETY: the table was checked.
        (0..usize::try_from(self.0.schema.n_children).unwrap())
            .map(|column| unsafe { CStr::from_ptr((**self.0.schema.children.add(column)).name) }.to_str().unwrap().to_owned())
            .collect()
    }

    fn buffer<T: Copy>(&self, name: &str, format: &CStr, buffer: usize, len: usize) -> Vec<T> {
        let column = self.names().iter().position(|found| found == name).unwrap();
        // SAFETY: the table was checked, and the format says what is in the buffer.
        unsafe {
            assert_eq!(CStr::from_ptr((**self.0.schema.children.add(column)).format), format, "{name}");
            let values = *(**self.0.array.children.add(column)).buffers.add(buffer);
            std::slice::from_raw_parts(values.cast::<T>(), len).to_vec()
        }
    }

    fn reals(&self, name: &str) -> Vec<f64> {
        self.buffer(name, c"g", 1, self.1)
    }

    fn counts(&self, name: &str) -> Vec<i64> {
        self.buffer(name, c"l", 1, self.1)
    }

    fn flags(&self, name: &str) -> Vec<bool> {
        let bits: Vec<u8> = self.buffer(name, c"b", 1, self.1.div_ceil(8));
        (0..self.1).map(|row| bits[row / 8] >> (row % 8) & 1 == 1).collect()
    }

    fn texts(&self, name: &str) -> Vec<Option<String>> {
        let offsets: Vec<i64> = self.buffer(name, c"U", 1, self.1 + 1);
        let bytes: Vec<u8> = self.buffer(name, c"U", 2, usize::try_from(offsets[self.1]).unwrap());
        let bits: Vec<u8> = self.buffer(name, c"U", 0, self.1.div_ceil(8));
        let cell = |row: usize| String::from_utf8(bytes[usize::try_from(offsets[row]).unwrap()..usize::try_from(offsets[row + 1]).unwrap()].to_vec()).unwrap();
        (0..self.1).map(|row| (bits[row / 8] >> (row % 8) & 1 == 1).then(|| cell(row))).collect()
    }
}

fn compute(metric: &Instance, input: &mut OwnedTable, rows: &mut OwnedTable, call: *const lmprobe_call) -> Result<usize, (i32, ForeignError)> {
    let Operations::Metric(functions) = metric.component.operations else { panic!("a metric") };
    let mut error = ErrorSlot::new();
    // SAFETY: as the interface asks.
    let status = unsafe { (functions.compute.unwrap())(metric.raw, call, input.as_mut_ptr(), rows.as_mut_ptr(), error.as_mut_ptr()) };
    if status == 0 { Ok(rows.check().unwrap()) } else { Err((status, error.read())) }
}

/// As `wilson` in `core/src/statistics.rs`.
fn wilson(hits: f64, n: f64) -> (f64, f64) {
    let z = 1.959_963_984_540_054_f64;
    let p = hits / n;
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[test]
fn the_plugin_says_what_it_is() {
    let Some(library) = library() else { return };
    assert_eq!((library.name.as_str(), library.license.as_str(), library.changed_floating_point), ("example-c", "Apache-2.0", false));
    let ids: Vec<_> = library.components.iter().map(|component| (component.kind.name(), component.id.as_str())).collect();
    assert_eq!(ids, [("metric", "example-c/share-right"), ("encoder", "example-c/hashed")]);
    assert_eq!(library.components[0].schema["properties"]["k"]["minimum"], 1);
    assert!(library.components.iter().all(|component| component.manual.starts_with("# What it ") && component.schema["additionalProperties"] == false));
}

#[test]
fn the_parameter_is_read_where_it_stands() {
    let name = |params: &str| {
        create("example-c/share-right", params).map(|made| made.map(|metric| described(&metric)).map_err(|(status, error)| (status, error.path)))
    };
    let Some(ten) = name(r#"{"k":10}"#) else { return };
    assert_eq!(ten.unwrap(), r#"{"name":"share-right@10"}"#);
    assert_eq!(name(r#" { "a" : [ { "k" : 2 } , "\"k\": 4" ] , "k" : 3 } "#).unwrap().unwrap(), r#"{"name":"share-right@3"}"#);
    assert_eq!(name(r#"{"k":18446744073709551615}"#).unwrap().unwrap(), r#"{"name":"share-right@18446744073709551615"}"#);
    for wrong in
        ["", "{}", r#"{"k":0}"#, r#"{"k":-1}"#, r#"{"k":"1"}"#, r#"{"k":1.5}"#, r#"{"k":1e3}"#, r#"{"k":18446744073709551616}"#, r#"{"k"#, r#"{"k":"#, "{\"\\"]
    {
        assert_eq!(name(wrong).unwrap(), Err((1, "/k".to_owned())), "{wrong}");
    }
}

#[test]
fn shares_and_intervals_are_those_of_the_definition() {
    let Some(metric) = create("example-c/share-right", r#"{"k":2}"#) else { return };
    let metric = metric.map_err(|error| error.1).unwrap();
    // Within 2: cures 2 of 4, causes 1 of 2, together 3 of 6.
    let rows = [("cures", Some(1)), ("causes", Some(3)), ("cures", Some(2)), ("cures", None), ("causes", Some(2)), ("cures", Some(9))];
    let (_kept, mut input) = predictions(&rows, c"l");
    assert_eq!(input.check(), Ok(6));
    let (mut output, released) = (OwnedTable::new(), RELEASED.load(Ordering::Relaxed));
    assert_eq!(compute(&metric, &mut input, &mut output, ptr::null()), Ok(3));
    assert!(input.is_empty()); // the plugin released it
    assert!(RELEASED.load(Ordering::Relaxed) >= released + 2);
    let raw = output.into_raw();
    let table = Table(&raw, 3);
    assert_eq!(table.names(), ["metric", "aggregate", "relation", "value", "ci_low", "ci_high", "ci_method", "n", "unit", "higher_is_better"]);
    let some = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned())).to_vec();
    assert_eq!(table.texts("metric"), some(["share-right@2"; 3]));
    assert_eq!(table.texts("aggregate"), some(["micro", "relation", "relation"]));
    assert_eq!(table.texts("relation"), [None, Some("causes".to_owned()), Some("cures".to_owned())]);
    assert_eq!(table.reals("value"), [0.5, 0.5, 0.5]);
    assert_eq!(table.counts("n"), [6, 2, 4]);
    let intervals: Vec<(f64, f64)> = table.reals("ci_low").into_iter().zip(table.reals("ci_high")).collect();
    assert_eq!(intervals, [wilson(3.0, 6.0), wilson(1.0, 2.0), wilson(2.0, 4.0)]); // to the last bit
    assert_eq!(table.texts("ci_method"), some(["wilson"; 3]));
    assert_eq!(table.texts("unit"), some(["fraction"; 3]));
    assert_eq!(table.flags("higher_is_better"), [true; 3]);
    // SAFETY: given away just before.
    drop(unsafe { OwnedTable::from_raw(raw) });
}

#[test]
fn intervals_equal_to_the_last_bit_for_many_counts() {
    let Some(metric) = create("example-c/share-right", r#"{"k":1}"#) else { return };
    let metric = metric.map_err(|error| error.1).unwrap();
    let rows: Vec<(String, Option<i64>)> = (1..=40usize)
        .flat_map(|n| (0..=n).flat_map(move |hits| (0..n).map(move |question| (format!("{n:02}-{hits:02}"), (question < hits).then_some(1)))))
        .collect();
    let borrowed: Vec<(&str, Option<i64>)> = rows.iter().map(|row| (row.0.as_str(), row.1)).collect();
    let (_kept, mut input) = predictions(&borrowed, c"l");
    let mut output = OwnedTable::new();
    let count = compute(&metric, &mut input, &mut output, ptr::null()).unwrap();
    let raw = output.into_raw();
    let table = Table(&raw, count);
    let expected: Vec<(f64, f64)> = (1..=40u32).flat_map(|n| (0..=n).map(move |hits| wilson(hits.into(), n.into()))).collect();
    let found: Vec<(f64, f64)> = table.reals("ci_low").into_iter().zip(table.reals("ci_high")).skip(1).collect();
    assert_eq!(found, expected);
    // SAFETY: given away just before.
    drop(unsafe { OwnedTable::from_raw(raw) });
}

#[test]
fn a_metric_that_fails_leaves_its_tables() {
    let Some(metric) = create("example-c/share-right", r#"{"k":1}"#) else { return };
    let metric = metric.map_err(|error| error.1).unwrap();
    let fails = |rows: &[(&str, Option<i64>)], format, call| {
        let ((_kept, mut input), mut output) = (predictions(rows, format), OwnedTable::new());
        let (status, error) = compute(&metric, &mut input, &mut output, call).unwrap_err();
        assert!(output.is_empty() && !input.is_empty());
        (status, error.message, error.path)
    };
    let (status, message, path) = fails(&[("a", Some(1))], c"g", ptr::null());
    assert_eq!((status, message.as_str(), path.as_str()), (2, "there is no column `rank` of whole numbers", "rank"));
    assert_eq!(fails(&[], c"l", ptr::null()).1, "the predictions have no row, so there is nothing to average");
    assert_eq!(fails(&[("a", Some(1))], c"l", ptr::dangling()), (3, "no message".to_owned(), String::new()));
}

/// As `word_id` in the plugin: FNV-1a into the ids that are not reserved.
fn word(word: &str) -> u32 {
    let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    8 + u32::try_from(hash % 504).unwrap()
}

fn request() -> lmprobe_encode_req {
    lmprobe_encode_req {
        struct_size: 112,
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

/// Sequence, id, type, start, end, special, truncated of each token.
type Token = (i64, i64, i64, i64, i64, bool, bool);

fn tokenize(encoder: &Instance, texts: &[&str], pairs: Option<&[&str]>, max_len: u32, flags: u32) -> Result<Vec<Token>, (i32, String)> {
    let Operations::Encoder(functions) = encoder.component.operations else { panic!("an encoder") };
    let texts: Vec<lmprobe_str> = texts.iter().map(|one| text(one)).collect();
    let pairs: Option<Vec<lmprobe_str>> = pairs.map(|pairs| pairs.iter().map(|one| text(one)).collect());
    let request =
        lmprobe_encode_req { n_texts: texts.len(), texts: texts.as_ptr(), pairs: pairs.as_ref().map_or(ptr::null(), Vec::as_ptr), max_len, flags, ..request() };
    let (mut output, mut error) = (OwnedTable::new(), ErrorSlot::new());
    // SAFETY: as the interface asks.
    let status = unsafe { (functions.tokenize.unwrap())(encoder.raw, ptr::null(), &raw const request, output.as_mut_ptr(), error.as_mut_ptr()) };
    if status != 0 {
        return Err((status, error.read().message));
    }
    let rows = output.check().unwrap();
    let raw = output.into_raw();
    let table = Table(&raw, rows);
    let [sequence, id, type_id, start, end] = ["sequence", "id", "type_id", "start", "end"].map(|name| table.counts(name));
    let (special, truncated) = (table.flags("special"), table.flags("truncated"));
    let tokens = (0..rows).map(|at| (sequence[at], id[at], type_id[at], start[at], end[at], special[at], truncated[at])).collect();
    // SAFETY: given away just before.
    drop(unsafe { OwnedTable::from_raw(raw) });
    Ok(tokens)
}

fn hashed() -> Option<Instance> {
    Some(create("example-c/hashed", "{}")?.map_err(|error| error.1).unwrap())
}

#[test]
fn words_are_hashed_and_the_mask_is_not() {
    let Some(encoder) = hashed() else { return };
    assert_eq!(word(""), 8 + 149); // 0xcbf29ce484222325 is 149 modulo 504
    let id = |text: &str| i64::from(word(text));
    let tokens = tokenize(&encoder, &[" naïve  [MASK]\t", ""], None, 0, 0).unwrap();
    assert_eq!(
        tokens,
        [
            (0, 1, 0, 0, 0, true, false),
            (0, id("naïve"), 0, 1, 6, false, false), // characters, not bytes
            (0, 4, 0, 8, 14, false, false),
            (0, 2, 0, 0, 0, true, false),
            (1, 1, 0, 0, 0, true, false),
            (1, 2, 0, 0, 0, true, false),
        ]
    );
    let ids = |tokens: Vec<Token>| tokens.into_iter().map(|token| (token.1, token.2)).collect::<Vec<_>>();
    let pair = ids(tokenize(&encoder, &["a b"], Some(&["c"]), 0, 0).unwrap());
    assert_eq!(pair, [(1, 0), (id("a"), 0), (id("b"), 0), (2, 0), (id("c"), 1), (2, 1)]);
    assert_eq!(ids(tokenize(&encoder, &["a b"], None, 0, LMPROBE_ENCODE_PIECES).unwrap()), [(id("a"), 0), (id("b"), 0)]);
    assert!(tokenize(&encoder, &[], None, 0, 0).unwrap().is_empty());
}

#[test]
fn long_texts_lose_one_end() {
    let Some(encoder) = hashed() else { return };
    let id = |text: &str| i64::from(word(text));
    let ids = |texts: &[&str], pairs: Option<&[&str]>, max_len, flags| {
        let tokens = tokenize(&encoder, texts, pairs, max_len, flags).unwrap();
        assert!(tokens.iter().all(|token| token.6));
        tokens.into_iter().map(|token| token.1).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["a b c d"], None, 4, 0), [1, id("a"), id("b"), 2]);
    assert_eq!(ids(&["a b c d"], None, 4, LMPROBE_ENCODE_CUT_LEFT), [1, id("c"), id("d"), 2]);
    assert_eq!(ids(&["a b c d"], Some(&["e f"]), 6, 0), [1, id("a"), id("b"), 2, id("e"), 2]); // as the longer part loses first
    assert_eq!(ids(&["a"], Some(&["b c d"]), 5, LMPROBE_ENCODE_CUT_LEFT), [1, id("a"), 2, id("d"), 2]);
    let long = "w ".repeat(600);
    assert_eq!(ids(&[&long], None, 0, 0).len(), 512);
    assert_eq!(tokenize(&encoder, &["a"], None, 2, 0), Err((1, "a sequence of 2 tokens has no room for a word".to_owned())));
}

#[test]
fn the_encoder_says_what_it_is_and_what_its_ids_mean() {
    let Some(encoder) = hashed() else { return };
    assert_eq!(described(&encoder), r#"{"layers":2,"hidden":16,"heads":2,"vocab":512,"max_length":512,"mask":{"text":"[MASK]","id":4},"pooler":true}"#);
    let Operations::Encoder(functions) = encoder.component.operations else { panic!("an encoder") };
    assert!(functions.load.is_none());
    for (id, expected) in [(1, "[CLS]"), (2, "[SEP]"), (4, "[MASK]"), (3, ""), (100, ""), (u32::MAX, "")] {
        let (mut found, mut error) = (OwnedBuf::new(), ErrorSlot::new());
        // SAFETY: as the interface asks.
        assert_eq!(unsafe { (functions.token.unwrap())(encoder.raw, id, found.as_mut_ptr(), error.as_mut_ptr()) }, 0);
        assert_eq!(found.text(16).unwrap(), expected);
    }
}

fn encode(encoder: &Instance, offsets: &[u64], ids: &[u32], layers: &[u32], want: u64, call: *const lmprobe_call) -> Result<OwnedTensors, (i32, String)> {
    let Operations::Encoder(functions) = encoder.component.operations else { panic!("an encoder") };
    let request = lmprobe_encode_req {
        want,
        n_layers: u32::try_from(layers.len()).unwrap(),
        layers: layers.as_ptr(),
        n_sequences: offsets.len().saturating_sub(1),
        offsets: if offsets.is_empty() { ptr::null() } else { offsets.as_ptr() },
        ids: ids.as_ptr(),
        ..request()
    };
    let (mut outputs, mut error) = (OwnedTensors::new(), ErrorSlot::new());
    // SAFETY: as the interface asks.
    let status = unsafe { (functions.encode.unwrap())(encoder.raw, call, &raw const request, outputs.as_mut_ptr(), error.as_mut_ptr()) };
    if status == 0 {
        return Ok(outputs);
    }
    assert!(outputs.is_empty());
    Err((status, error.read().message))
}

/// As `embedding` in the plugin.
fn embedding(id: u32, dim: u64) -> f32 {
    let mut x = u64::from(id) * 1_000_003 + dim;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = u32::try_from((x ^ (x >> 31)) >> 40).unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "24 bits fit a float exactly")]
    let value = (f64::from(bits) / 16_777_216.0 * 2.0 - 1.0) as f32;
    value
}

fn floats<'a>(values: &Values<'a>) -> &'a [f32] {
    match values {
        Values::F32(values) => values,
        other => panic!("{other:?}"),
    }
}

#[test]
fn states_attentions_and_pooled_are_those_of_the_definition() {
    let Some(encoder) = hashed() else { return };
    let (offsets, ids) = ([0, 3, 5], [1u32, 100, 2, 1, 2]);
    let outputs = encode(&encoder, &offsets, &ids, &[2, 0], 1 | 2 | 4, ptr::null()).unwrap();
    let views = outputs.views().unwrap();
    let shapes: Vec<(&str, &[usize])> = views.iter().map(|(name, view)| (name.as_str(), view.shape.as_slice())).collect();
    assert_eq!(shapes, [("hidden_states", &[2, 5, 16][..]), ("attentions", &[2, 2 * 9 + 2 * 4]), ("pooled", &[2, 16])]);

    let first: Vec<Vec<f32>> = ids.iter().map(|id| (0..16).map(|dim| embedding(*id, dim)).collect()).collect();
    let layer = |before: &[Vec<f32>]| -> Vec<Vec<f32>> {
        let mean = |start: usize, end: usize, dim: usize| {
            let sum: f64 = (start..end).map(|at| f64::from(before[at][dim])).sum();
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the mean is rounded, by definition")]
            let mean = (sum / (end - start) as f64) as f32;
            mean
        };
        let of = |at: usize| if at < 3 { (0, 3) } else { (3, 5) };
        (0..5).map(|at| (0..16).map(|dim| 0.5 * before[at][dim] + 0.5 * mean(of(at).0, of(at).1, dim)).collect()).collect()
    };
    let last = layer(&layer(&first));
    let expected: Vec<f32> = last.iter().chain(&first).flatten().copied().collect(); // in the order of the request: layer 2, layer 0
    assert_eq!(floats(&views[0].1.values), expected);
    let block = [[1.0f32 / 3.0; 18].as_slice(), &[0.5; 8]].concat();
    assert_eq!(floats(&views[1].1.values), [block.clone(), block].concat());
    assert_eq!(floats(&views[2].1.values), [last[0].clone(), last[3].clone()].concat());
    assert!(expected.iter().all(|value| (-1.0..1.0).contains(value)));
}

#[test]
fn batching_changes_nothing() {
    let Some(encoder) = hashed() else { return };
    let alone = encode(&encoder, &[0, 2], &[9, 10], &[1, 2], 1, ptr::null()).unwrap();
    let together = encode(&encoder, &[0, 3, 5], &[50, 60, 70, 9, 10], &[1, 2], 1, ptr::null()).unwrap();
    let (alone, together) = (alone.views().unwrap(), together.views().unwrap());
    let (alone, together) = (floats(&alone[0].1.values), floats(&together[0].1.values));
    assert_eq!((&alone[..32], &alone[32..]), (&together[48..80], &together[80 + 48..]));
}

#[test]
fn requests_that_cannot_be_met_fail() {
    let Some(encoder) = hashed() else { return };
    let fails = |offsets: &[u64], ids: &[u32], layers: &[u32], want, call| encode(&encoder, offsets, ids, layers, want, call).unwrap_err();
    assert_eq!(fails(&[0, 1], &[1], &[], 8, ptr::null()), (4, "hidden states, attentions and the pooler's output are all there is".to_owned()));
    assert_eq!(fails(&[0, 1], &[1], &[3], 1, ptr::null()), (2, "there is no layer 3; the last one is 2".to_owned()));
    assert_eq!(fails(&[0, 1], &[512], &[0], 1, ptr::null()), (2, "there is no id 512; the last one is 511".to_owned()));
    assert_eq!(fails(&[0, 1, 1], &[1], &[0], 1, ptr::null()), (2, "sequence 1 has no tokens".to_owned()));
    assert_eq!(fails(&[], &[], &[0], 1, ptr::null()), (2, "texts are to be tokenized before they are encoded".to_owned()));
    assert_eq!(fails(&[0, 1], &[1], &[0], 1, ptr::dangling()), (3, "no message".to_owned()));
    let none = encode(&encoder, &[0], &[], &[0], 1 | 2 | 4, ptr::null()).unwrap();
    assert!(none.views().unwrap().iter().all(|(_, view)| view.is_empty()));
}
