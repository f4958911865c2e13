//! Feeds tables to the check: formats, lengths, offsets and cells are arbitrary, buffers are as long as the lengths say. What is accepted is read.

#![no_main]

use std::ffi::{CString, c_void};
use std::ptr;

use lmprobe_abi::{ArrowArray, ArrowSchema, lmprobe_table};
use lmprobe_loader::table_check::{check, count_nulls};

unsafe extern "C" fn release_schema(_: *mut ArrowSchema) {}
unsafe extern "C" fn release_array(_: *mut ArrowArray) {}

#[derive(Default)]
struct Memory<'a> {
    bytes: &'a [u8],
    words: Vec<Box<[u64]>>,
    names: Vec<CString>,
    buffers: Vec<Box<[*const c_void]>>,
    schemas: Vec<Box<ArrowSchema>>,
    arrays: Vec<Box<ArrowArray>>,
    schema_lists: Vec<Box<[*mut ArrowSchema]>>,
    array_lists: Vec<Box<[*mut ArrowArray]>>,
}

impl Memory<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().map_or((0, self.bytes), |(first, rest)| (*first, rest));
        self.bytes = rest;
        first
    }

    /// Memory of `len` bytes, rounded up to words, filled by `value`.
    fn filled(&mut self, len: usize, mut value: impl FnMut(&mut Self, usize) -> u8) -> *const c_void {
        let mut words = vec![0u64; len.div_ceil(8)].into_boxed_slice();
        for at in 0..len {
            let byte = u64::from(value(self, at));
            words[at / 8] |= byte << (at % 8 * 8);
        }
        self.words.push(words);
        self.words[self.words.len() - 1].as_ptr().cast()
    }

    fn text(&mut self, text: Vec<u8>) -> *const std::ffi::c_char {
        self.names.push(CString::new(text.into_iter().take_while(|byte| *byte != 0).collect::<Vec<_>>()).unwrap());
        self.names[self.names.len() - 1].as_ptr()
    }

    /// Offsets that mostly grow, and the largest of them. What lies beyond cannot be found, so all lie within.
    fn offsets(&mut self, count: usize, wide: bool) -> (*const c_void, usize) {
        let (mut value, mut largest) = (0i64, 0i64);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let step = self.byte();
            value += match step {
                250..=254 => -3,
                255 => -40,
                step => i64::from(step % 5),
            };
            largest = largest.max(value);
            if wide { bytes.extend(value.to_le_bytes()) } else { bytes.extend(i32::try_from(value).unwrap().to_le_bytes()) }
        }
        (self.filled(bytes.len(), |_, at| bytes[at]), usize::try_from(largest).unwrap())
    }

    fn column(&mut self, rows: usize, depth: usize) -> (*mut ArrowSchema, *mut ArrowArray) {
        let choice = self.byte();
        let format = ["U", "u", "l", "g", "i", "f", "b", "+L", "+l", "vu"][usize::from(choice) % 10];
        let rows = if depth == 0 && self.byte() == 255 { rows + 1 } else { rows };
        let offset = usize::from(self.byte() % 11);
        let end = rows + offset;
        let bits = if self.byte() % 2 == 0 { ptr::null() } else { self.filled(end.div_ceil(8), |memory, _| memory.byte()) };
        let mut buffers = vec![bits];
        let mut children = None;
        match format {
            "U" | "u" => {
                let (offsets, bytes) = self.offsets(end + 1, format == "U");
                let data = self.filled(bytes, |memory, _| match memory.byte() {
                    ascii @ 0..=127 => ascii,
                    byte if byte % 3 == 0 => 0xc3, // often followed by what makes it a character
                    byte => 0x80 | byte,
                });
                buffers.extend([offsets, data]);
            }
            "+L" | "+l" => {
                let (offsets, items) = self.offsets(end + 1, format == "+L");
                let items = items.saturating_sub(usize::from(self.byte() == 255));
                buffers.push(offsets);
                children = Some(self.column(items, depth + 1)).filter(|_| depth < 2);
            }
            "b" => buffers.push(self.filled(end.div_ceil(8), |memory, _| memory.byte())),
            "i" | "f" => buffers.push(self.filled(4 * end, |_, _| 0)),
            _ => buffers.push(self.filled(8 * end, |_, _| 0)),
        }
        let wrong = self.byte();
        if wrong == 1 {
            buffers.pop();
        } else if wrong == 2 {
            let last = buffers.len() - 1;
            buffers[last] = ptr::null();
        }
        let null_count = match self.byte() {
            0..=127 => -1,
            byte => i64::from(byte - 128),
        };
        let length = if wrong == 3 { -1 } else { i64::try_from(rows).unwrap() };
        let offset = if wrong == 4 { i64::MAX } else { i64::try_from(offset).unwrap() };
        let name = (0..usize::from(self.byte() % 3)).map(|_| self.byte()).collect();
        self.node(format, name, (length, offset, null_count), buffers, children.into_iter().collect())
    }

    fn node(
        &mut self,
        format: &str,
        name: Vec<u8>,
        (length, offset, null_count): (i64, i64, i64),
        buffers: Vec<*const c_void>,
        children: Vec<(*mut ArrowSchema, *mut ArrowArray)>,
    ) -> (*mut ArrowSchema, *mut ArrowArray) {
        let (format, name) = (self.text(format.into()), self.text(name));
        let n_children = i64::try_from(children.len()).unwrap();
        let (schemas, arrays): (Vec<_>, Vec<_>) = children.into_iter().unzip();
        self.schema_lists.push(schemas.into_boxed_slice());
        self.array_lists.push(arrays.into_boxed_slice());
        self.buffers.push(buffers.into_boxed_slice());
        let list = self.schema_lists.len() - 1;
        let (dictionary, metadata, private_data) = (ptr::null_mut(), ptr::null(), ptr::null_mut());
        let children = self.schema_lists[list].as_mut_ptr();
        let schema = ArrowSchema { format, name, metadata, flags: 2, n_children, children, dictionary, release: Some(release_schema), private_data };
        let (n_buffers, buffers) = (i64::try_from(self.buffers[list].len()).unwrap(), self.buffers[list].as_mut_ptr());
        let (children, dictionary) = (self.array_lists[list].as_mut_ptr(), ptr::null_mut());
        let release: Option<unsafe extern "C" fn(*mut ArrowArray)> = Some(release_array);
        let array = ArrowArray { length, null_count, offset, n_buffers, n_children, buffers, children, dictionary, release, private_data };
        self.schemas.push(Box::new(schema));
        self.arrays.push(Box::new(array));
        let last = self.schemas.len() - 1;
        (&raw mut *self.schemas[last], &raw mut *self.arrays[last])
    }
}

/// Reads every cell the way a library does that trusts the table.
unsafe fn read(schema: &ArrowSchema, array: &ArrowArray) -> usize {
    unsafe {
        let format = std::ffi::CStr::from_ptr(schema.format).to_bytes();
        let buffer = |at: usize| *array.buffers.add(at);
        let (length, offset) = (usize::try_from(array.length).unwrap(), usize::try_from(array.offset).unwrap());
        let offset_at = |wide: bool, at: usize| {
            let value = if wide { *buffer(1).cast::<i64>().add(at) } else { i64::from(*buffer(1).cast::<i32>().add(at)) };
            usize::try_from(value).unwrap()
        };
        let mut seen = 0;
        assert!((0..=array.length).contains(&array.null_count));
        for cell in offset..offset + length {
            if !buffer(0).is_null() {
                seen += usize::from(*buffer(0).cast::<u8>().add(cell / 8));
            }
            match format {
                b"U" | b"u" => {
                    let (start, end) = (offset_at(format == b"U", cell), offset_at(format == b"U", cell + 1));
                    if end > start {
                        let bytes = std::slice::from_raw_parts(buffer(2).cast::<u8>().add(start), end - start);
                        seen += std::str::from_utf8(bytes).unwrap().chars().count();
                    }
                }
                b"+L" | b"+l" => {
                    let (start, end) = (offset_at(format == b"+L", cell), offset_at(format == b"+L", cell + 1));
                    let items = &**array.children;
                    assert!(start <= end && end <= usize::try_from(items.length).unwrap());
                }
                b"b" => seen += usize::from(*buffer(1).cast::<u8>().add(cell / 8)),
                b"i" | b"f" => seen += usize::try_from(*buffer(1).cast::<u32>().add(cell)).unwrap(),
                _ => seen += usize::try_from(*buffer(1).cast::<u64>().add(cell)).unwrap(),
            }
        }
        if array.n_children == 1 {
            seen += read(&**schema.children, &**array.children);
        }
        seen
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut memory = Memory { bytes, ..Memory::default() };
    let (rows, columns) = (usize::from(memory.byte() % 20), usize::from(memory.byte() % 5));
    let children: Vec<_> = (0..columns).map(|_| memory.column(rows, 0)).collect();
    let root = memory.byte();
    let length = if root == 1 { i64::MAX } else { i64::try_from(rows).unwrap() };
    let (schema, array) = memory.node("+s", Vec::new(), (length, 0, if root == 2 { 1 } else { 0 }), vec![ptr::null()], children);
    // SAFETY: made just before; what is accepted is what this target reads.
    unsafe {
        let mut table = lmprobe_table { schema: ptr::read(schema), array: ptr::read(array) };
        if check(&table).is_ok() {
            count_nulls(&mut table);
            for column in 0..columns {
                std::hint::black_box(read(&**table.schema.children.add(column), &**table.array.children.add(column)));
            }
        }
    }
});
