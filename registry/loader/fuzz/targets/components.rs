//! Feeds tables of a plugin to the walk: sizes, kinds, functions and texts are arbitrary, pointers are null or to as much memory as they say.

#![no_main]

use std::ffi::c_void;
use std::ptr;

use lmprobe_abi::{lmprobe_component, lmprobe_plugin, lmprobe_str};
use lmprobe_loader::fuzzing::walk;
use lmprobe_loader::{Prefixed, prefix_copy};

/// Takes the input apart. Every text and table is an allocation of its own, of its exact size, so that reading further is found.
struct Input<'a> {
    bytes: &'a [u8],
    tables: Vec<Box<[u64]>>,
    texts: Vec<Box<[u8]>>,
}

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().map_or((0, self.bytes), |(first, rest)| (*first, rest));
        self.bytes = rest;
        first
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken.to_vec()
    }

    /// A text, often a plausible one.
    fn text(&mut self, plausible: &[&str]) -> lmprobe_str {
        let choice = usize::from(self.byte());
        let text = match choice {
            0 => return lmprobe_str { ptr: ptr::null(), len: usize::from(self.byte()) },
            1..=40 => {
                let len = usize::from(self.byte());
                self.take(len)
            }
            _ => plausible[choice % plausible.len()].as_bytes().to_vec(),
        };
        self.texts.push(text.into_boxed_slice());
        let text = &self.texts[self.texts.len() - 1];
        lmprobe_str { ptr: text.as_ptr(), len: text.len() }
    }

    /// A `struct_size`, and so many bytes, but four at least.
    fn sized(&mut self, plausible: u32) -> (u32, usize) {
        let size = match self.byte() {
            0 => u32::from(self.byte()),
            1 => plausible + 8 * u32::from(self.byte()),
            _ => plausible,
        };
        (size, usize::try_from(size).unwrap().max(8))
    }

    fn table<T: Prefixed>(&mut self, mut table: T, size: u32, bytes: usize) -> *const T {
        let mut words = vec![u64::MAX; bytes.div_ceil(8)].into_boxed_slice();
        let known = size_of::<T>().min(words.len() * 8);
        // SAFETY: every table begins with its size; both sides have as many bytes.
        unsafe {
            (&raw mut table).cast::<u32>().write(size);
            ptr::copy_nonoverlapping((&raw const table).cast::<u8>(), words.as_mut_ptr().cast::<u8>(), known);
        }
        self.tables.push(words);
        self.tables[self.tables.len() - 1].as_ptr().cast()
    }

    /// Functions: null, or not null and never called.
    fn functions(&mut self) -> *const c_void {
        let (size, bytes) = self.sized(40);
        let mask = self.byte();
        let mut words = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        for (index, word) in words.iter_mut().enumerate() {
            *word = if index > 0 && mask >> (index % 8) & 1 == 1 { 0x1000 } else { 0 };
        }
        words[0] = u64::from(size);
        self.tables.push(words);
        self.tables[self.tables.len() - 1].as_ptr().cast()
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Input { bytes, tables: Vec::new(), texts: Vec::new() };
    let count = usize::from(input.byte() % 6);
    let mut components: Vec<*const lmprobe_component> = Vec::new();
    for _ in 0..count {
        let flags = input.byte();
        // SAFETY: zero is a value of the table, and its functions are never called: any address that is not null will do.
        let mut table: lmprobe_component = unsafe { std::mem::zeroed() };
        table.kind = u32::from(input.byte() % 8);
        table.id = input.text(&["a/b", "a/c", "a/d-e_f.g", "b/a", "builtin/a", "a/B", "a"]);
        table.version = input.text(&["1.0.0", "1", ""]);
        table.summary = input.text(&["s", ""]);
        table.params_schema = input.text(&["{}", r#"{"type":"object"}"#, r#"{"$ref":""}"#, "[]", "{"]);
        table.manual = input.text(&["", "# What"]);
        table.facts = input.text(&["", "{}", r#"{"families":["a"]}"#, r#"{"recipe":{}}"#, r#"{"families":1}"#, "1"]);
        // SAFETY: an optional function is as large as an address.
        unsafe {
            table.create = std::mem::transmute::<usize, _>(usize::from(flags & 1 == 0) * 0x1000);
            table.destroy = std::mem::transmute::<usize, _>(usize::from(flags & 2 == 0) * 0x1000);
        }
        table.vtable = if flags & 4 == 0 { input.functions() } else { ptr::null() };
        let (size, bytes) = input.sized(144);
        components.push(if flags & 0xf0 == 0xf0 { ptr::null() } else { input.table(table, size, bytes) });
    }
    let components = components.into_boxed_slice();
    let flags = input.byte();
    let plugin = lmprobe_plugin {
        struct_size: 0,
        abi_major: if flags & 3 == 3 { 2 } else { 1 },
        abi_minor: u16::from(flags),
        name: input.text(&["a", "a", "b", "builtin", ""]),
        version: input.text(&["1", ""]),
        license: input.text(&["MIT", ""]),
        build_info: input.text(&["cc", ""]),
        n_components: if flags & 0x70 == 0x70 { usize::MAX } else { count },
        components: if flags & 0x0c == 0x0c { ptr::null() } else { components.as_ptr() },
        shutdown: None,
    };
    let (size, bytes) = input.sized(96);
    let plugin = input.table(plugin, size, bytes);
    // SAFETY: every pointer is null or to as much as its size says.
    unsafe {
        let _ = prefix_copy(plugin);
        let _ = walk(plugin);
    }
});
