//! Damaged and hostile files: an error that says so, never a panic, never more than 64 MiB.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use lmprobe_checkpoints::{Checkpoint, Result, parse};

/// Counts what each thread holds, and its peak.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "a global allocator is an unsafe trait")]
// SAFETY: every call is passed on to the system's allocator unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMIT: isize = 64 << 20;

/// Runs something and asserts that it took no more than the limit.
fn bounded<T>(run: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    PEAK.set(before);
    let result = run();
    let peak = PEAK.get() - before;
    assert!(peak < LIMIT, "{peak} bytes");
    result
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/checkpoints").join(name)
}

/// Opens a checkpoint and reads all that is in it.
fn read_all(path: &Path) -> Result<usize> {
    bounded(|| {
        let checkpoint = Checkpoint::open(path)?;
        let readable = checkpoint.entries().iter().filter(|(_, entry)| entry.dtype.is_readable());
        readable.map(|(name, _)| checkpoint.read_f32(name).map(|values| values.len())).sum()
    })
}

/// A copy of fixtures that can be damaged; `name` is the file to open.
struct Copy {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Copy {
    fn of(folder: &str, names: &[&'static str]) -> Self {
        let copy = Self { folder: tempfile::tempdir().unwrap(), name: names[0] };
        for name in names {
            std::fs::copy(fixture(folder).join(name), copy.folder.path().join(name)).unwrap();
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What happens with other bytes in one of the files.
    fn with(&self, name: &str, bytes: &[u8]) -> Result<usize> {
        std::fs::write(self.path(name), bytes).unwrap();
        read_all(&self.path(self.name))
    }
}

/// A parser and the bytes of a fixture that it reads.
struct Case {
    name: &'static str,
    parse: fn(&[u8]) -> Result<usize>,
    bytes: Vec<u8>,
}

/// Every parser with a fixture small enough to damage it everywhere.
fn cases() -> Vec<Case> {
    fn safetensors(bytes: &[u8]) -> Result<usize> {
        bounded(|| parse::safetensors_header(bytes)).map(|tensors| tensors.len())
    }
    fn torch(bytes: &[u8]) -> Result<usize> {
        bounded(|| parse::torch_file(bytes.to_vec())).map(|tensors| tensors.len())
    }
    fn index(bytes: &[u8]) -> Result<usize> {
        bounded(|| parse::tensorflow_index(bytes)).map(|tensors| tensors.len())
    }
    [
        ("twin/model.safetensors", safetensors as fn(&[u8]) -> Result<usize>),
        ("torch/unusual.bin", torch),
        ("torch/protocol4.bin", torch),
        ("torch/unusual-legacy.bin", torch),
        ("legacy/pytorch_model.bin", torch),
        ("tensorflow/model.ckpt-1000.index", index),
    ]
    .map(|(name, parse)| Case { name, parse, bytes: std::fs::read(fixture(name)).unwrap() })
    .into()
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for Case { name, parse, bytes } in cases() {
        (parse)(&bytes).unwrap();
        for length in 0..bytes.len() {
            assert!((parse)(&bytes[..length]).is_err(), "{name} cut to {length} of {}", bytes.len());
        }
    }
}

#[test]
fn a_cut_off_file_on_the_disk_is_refused() {
    let bundle = ["model.ckpt-1000.index", "model.ckpt-1000.data-00000-of-00001"];
    for (copy, name) in [
        (Copy::of("twin", &["model.safetensors"]), "model.safetensors"),
        (Copy::of("zip", &["pytorch_model.bin"]), "pytorch_model.bin"),
        (Copy::of("tensorflow", &bundle), bundle[0]),
        (Copy::of("tensorflow", &bundle), bundle[1]),
    ] {
        let bytes = std::fs::read(copy.path(name)).unwrap();
        copy.with(name, &bytes).unwrap();
        // The last eight bytes of the data of TensorFlow are the step of the optimizer, which nobody reads.
        for length in (0..bytes.len() - 8).step_by(97) {
            assert!(copy.with(name, &bytes[..length]).is_err(), "{name} cut to {length} of {}", bytes.len());
        }
    }
}

#[test]
fn flipped_bits_are_found_or_harmless() {
    for Case { name, parse, bytes } in cases() {
        let (mut refused, mut tried) = (0, 0);
        for place in (0..bytes.len()).filter(|place| *place < 1024 || *place + 256 > bytes.len() || place % 61 == 0) {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                tried += 1;
                refused += usize::from((parse)(&damaged).is_err());
            }
        }
        println!("{name}: {refused} of {tried} flipped bits refused");
        // A checksum covers all of an index but its padding; elsewhere values and names may change unseen.
        assert!(!name.starts_with("tensorflow") || refused + 8 * 48 > tried, "{name}");
    }
}

#[test]
fn flipped_bits_of_values_are_found_where_there_are_checksums() {
    for (folder, names, flipped) in [
        ("tensorflow", &["model.ckpt-1000.index", "model.ckpt-1000.data-00000-of-00001"][..], "model.ckpt-1000.data-00000-of-00001"),
        ("zip", &["pytorch_model.bin"], "pytorch_model.bin"),
    ] {
        let names: Vec<&'static str> = names.to_vec();
        let copy = Copy::of(folder, &names);
        let bytes = std::fs::read(copy.path(flipped)).unwrap();
        // Where the first values of the word embeddings are in the file.
        let twin = Checkpoint::of_folder(&fixture("twin")).unwrap().read_f32("bert.embeddings.word_embeddings.weight").unwrap();
        let start: Vec<u8> = twin[..4].iter().flat_map(|value| value.to_le_bytes()).collect();
        let place = bytes.windows(start.len()).position(|window| window == start).unwrap();
        for bit in 0..8 * start.len() {
            let mut damaged = bytes.clone();
            damaged[place + bit / 8] ^= 1 << (bit % 8);
            let error = copy.with(flipped, &damaged).unwrap_err().to_string();
            assert!(error.contains("word_embeddings") && error.contains("not have their checksum"), "{error}");
        }
    }
}

/// A safetensors file with this header and so many bytes of values.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let entry = |dtype: &str, shape: &str, offsets: &str| format!(r#"{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#);
    let huge = u64::MAX.to_string();
    for (bytes, expected) in [
        (vec![0; 7], "it has 7 bytes, a header needs 8"),
        ([&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat(), "claims 9223372036854775808 bytes of a file of 10"),
        ([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "claims 18446744073709551615 bytes"),
        (safetensors("abcd", 0), "expected value"),
        (safetensors(r#"{"a": {}}"#, 0), "missing field `dtype`"),
        (safetensors(&entry("F31", "[1]", "[0, 4]"), 4), "the dtype `F31` is not known"),
        (safetensors(&entry("F32", "[1]", "[0, 4]"), 3), "its bytes 0..4 are not among the 3 of the file"),
        (safetensors(&entry("F32", "[1]", "[4, 0]"), 4), "its bytes 4..0 are not among the 4"),
        (safetensors(&entry("F32", "[1]", &format!("[0, {huge}]")), 4), "are not among the 4"),
        (safetensors(&entry("F32", "[2]", "[0, 4]"), 4), "its shape [2] of f32 takes 8 bytes, but it has 4"),
        (safetensors(&entry("F32", &format!("[{huge}, 2]"), "[0, 4]"), 4), "more values than can be counted"),
        (safetensors(&entry("F32", "[-1]", "[0, 4]"), 4), "invalid value"),
        (safetensors(&entry("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]"), 4), "a shape of at most 8 dimensions"),
        (safetensors(&format!("{{{0}, {0}}}", r#""a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}"#), 0), "`a` is there twice"),
        (safetensors(&"[".repeat(100_000), 0), "invalid type"),
        (safetensors(&format!(r#"{{"__metadata__": {}"#, "[".repeat(100_000)), 0), "EOF while parsing a list"),
    ] {
        let error = bounded(|| parse::safetensors_header(&bytes)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn long_headers_are_refused_unread() {
    let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
    let length = (64_u64 << 20) + 1;
    // A sparse file: it has the length but no bytes on the disk.
    std::fs::write(file.path(), length.to_le_bytes()).unwrap();
    file.as_file().set_len(length + 8).unwrap();
    let error = read_all(file.path()).unwrap_err().to_string();
    assert!(error.contains("its header has 67108865 bytes, more than the 67108864 that are read"), "{error}");
}

#[test]
fn pickles_that_call_anything_are_refused_by_name() {
    for (pickle, expected) in [
        (&b"\x80\x02cos\nsystem\nU\x04true\x85R."[..], "the pickle asks to call `os.system`: files that run code are not read"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "asks to call `builtins.eval`"),
        (b"\x80\x02ctorch\nload\n.", "asks to call `torch.load`"),
        (b"\x80\x02c__builtin__\ngetattr\n.", "asks to call `__builtin__.getattr`"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "asks to call `torch._utils._rebuild_tensor_v2.__globals__`"),
        (b"\x80\x02(ios\nsystem\n.", "damaged or not a state dict (opcode 0x69 at byte 3 of the pickle)"),
        (b"\x80\x02}.", ""),
        (b"\x80\x02].", "what was pickled is not a dictionary of tensors"),
        (b"\x80\x01}.", "the pickle has protocol 1; 2 to 5 are read"),
        (b"\x80\x02R.", "takes a value that it never made"),
        (b"\x80\x02(R.", "takes a value that it never made"),
        (b"\x80\x02h\x05.", "asks for memo 5, which it never set"),
        (b"\x80\x02t.", "goes back to a mark that it never set"),
        (b"\x80\x02}(Nu.", "a key but no value"),
        (b"\x80\x02]NNs.", "sets items of something that is not a dictionary"),
        (b"\x80\x02}Na.", "appends to something that is not a list"),
        (b"\x80\x02NN\x85R.", "calls something that is not a function"),
        (b"\x80\x02ctorch\nSize\n)R.", "calls Size with 0 arguments"),
        (b"\x80\x02U\x03abcQ.", "something that is not a storage"),
        (b"\x80\x02X\xff\xff\xff\xffabc", "4294967295 more were expected at byte 7; the file is cut off"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "more were expected at byte 11"),
        (b"\x80\x02ctorch\nFlo", "ends within a name"),
    ] {
        match bounded(|| parse::pickle(pickle)) {
            Ok(tensors) => assert!(expected.is_empty() && tensors.is_empty()),
            Err(error) => assert!(!expected.is_empty() && error.message().contains(expected), "{error}"),
        }
    }
}

#[test]
fn no_small_pickle_takes_much_memory_or_stack() {
    let million = 1_000_000;
    let repeat = |start: &[u8], piece: &[u8], end: &[u8]| [b"\x80\x04", start, &piece.repeat(million), end].concat();
    for (pickle, expected) in [
        (repeat(b"", b"]", b"."), "longer than 524288 steps"),
        (repeat(b"N", b"\x85", b"."), "longer than 524288 steps"),
        (repeat(b"", b"(", b"."), "longer than 524288 steps"),
        (repeat(b"N", b"\x94", b"."), "longer than 524288 steps"),
        (repeat(b"N", b"2", b"."), "longer than 524288 steps"),
        // A list inside itself, and lists of lists of lists, are values like others.
        (b"\x80\x02]q\x00h\x00a.".to_vec(), "not a dictionary of tensors"),
        ([&b"\x80\x02N"[..], &b"\x85".repeat(500_000), b"."].concat(), "not a dictionary of tensors"),
        // A dictionary that is its own state dict.
        (b"\x80\x02}q\x00U\x05modelh\x00s.".to_vec(), "lies in more than 4 others"),
        // A long list copied again and again.
        (
            [&b"\x80\x02](NN\x86"[..], &b"2".repeat(100_000), b"eq\x00", &b"ccollections\nOrderedDict\nh\x00\x85R".repeat(1000), b"."].concat(),
            "longer than 524288 steps",
        ),
    ] {
        let error = bounded(|| parse::pickle(&pickle)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

/// The pickle of one tensor with these numbers, each a `BININT`.
fn tensor_pickle(count: i32, offset: i32, shape: &[i32], stride: &[i32]) -> Vec<u8> {
    let number = |value: &i32| [&b"J"[..], &value.to_le_bytes()].concat();
    let tuple = |values: &[i32]| [b"(".to_vec(), values.iter().flat_map(number).collect(), b"t".to_vec()].concat();
    [
        &b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu"[..],
        &number(&count),
        b"tQ",
        &number(&offset),
        &tuple(shape),
        &tuple(stride),
        b"\x89Nt",
        b"Rs.",
    ]
    .concat()
}

#[test]
fn tensors_outside_their_storage_are_refused() {
    assert_eq!(parse::pickle(&tensor_pickle(6, 0, &[2, 3], &[3, 1])).unwrap()["a"].shape, [2, 3]);
    assert_eq!(parse::pickle(&tensor_pickle(1, 0, &[1000, 1000], &[0, 0])).unwrap()["a"].shape, [1000, 1000]);
    for (pickle, expected) in [
        (tensor_pickle(6, 1, &[2, 3], &[3, 1]), "reaches beyond its 6 stored values"),
        (tensor_pickle(6, 0, &[2, 3], &[4, 1]), "reaches beyond its 6 stored values"),
        (tensor_pickle(6, 0, &[i32::MAX, i32::MAX, i32::MAX], &[1, 1, 1]), "more values than can be counted"),
        (tensor_pickle(6, 0, &[i32::MAX, i32::MAX], &[0, 0]), "it repeats 6 stored values"),
        (tensor_pickle(6, 0, &[5000, 5000], &[0, 0]), "it repeats 6 stored values to 25000000"),
        (tensor_pickle(6, 0, &[i32::MAX, i32::MAX], &[i32::MAX, i32::MAX]), "reaches beyond its 6 stored values"),
        (tensor_pickle(-1, 0, &[1], &[1]), "the pickle has a size of -1"),
        (tensor_pickle(6, -1, &[1], &[1]), "the pickle has a size of -1"),
        (tensor_pickle(6, 0, &[-1], &[1]), "the pickle has a size of -1"),
        (tensor_pickle(6, 0, &[1], &[-1]), "the pickle has a size of -1"),
        (tensor_pickle(6, 0, &[1, 1], &[1]), "of shape [1, 1] with strides [1]"),
        (tensor_pickle(6, 0, &[1; 9], &[1; 9]), "9 dimensions; 8 are read"),
    ] {
        let error = bounded(|| parse::pickle(&pickle)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

/// One entry of a zip archive.
struct ZipEntry<'a> {
    name: &'a str,
    method: u16,
    bytes: &'a [u8],
    /// The uncompressed size that the directory claims.
    claims: u32,
}

/// An archive with right checksums (of what is stored) and whatever sizes.
fn zip(entries: &[ZipEntry<'_>]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    let n_entries = u16::try_from(entries.len()).unwrap().to_le_bytes();
    for entry in entries {
        let offset = u32::try_from(archive.len()).unwrap().to_le_bytes();
        let stored = u32::try_from(entry.bytes.len()).unwrap().to_le_bytes();
        let name = u16::try_from(entry.name.len()).unwrap().to_le_bytes();
        let common =
            [&[20, 0, 0, 0][..], &entry.method.to_le_bytes(), &[0; 4], &crc32(entry.bytes).to_le_bytes(), &stored, &entry.claims.to_le_bytes(), &name, &[0; 2]]
                .concat();
        archive.extend([b"PK\x03\x04", &common[..], entry.name.as_bytes(), entry.bytes].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &common[..], &[0; 10], &offset, entry.name.as_bytes()].concat());
    }
    let [start, length] = [archive.len(), directory.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes());
    [&archive[..], &directory, b"PK\x05\x06\0\0\0\0", &n_entries, &n_entries, &length, &start, &[0; 2]].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))))
}

#[test]
fn archives_that_lie_are_refused() {
    fn entry<'a>(name: &'a str, bytes: &'a [u8]) -> ZipEntry<'a> {
        ZipEntry { name, method: 0, bytes, claims: u32::try_from(bytes.len()).unwrap() }
    }
    let pickle = tensor_pickle(2, 0, &[2], &[1]);
    let values: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let (model, data) = ("m/data.pkl", "m/data/0");
    assert_eq!(parse::torch_file(zip(&[entry(model, &pickle), entry(data, &values)])).unwrap()["a"].shape, [2]);
    for (archive, expected) in [
        (zip(&[entry(model, &pickle), ZipEntry { method: 8, ..entry(data, &values) }]), "compressed entries are refused: a few bytes can claim gigabytes"),
        (zip(&[ZipEntry { method: 8, claims: u32::MAX - 1, ..entry(model, b"\x03\x00") }]), "compressed entries are refused"),
        (zip(&[entry(model, &pickle), ZipEntry { claims: u32::MAX - 1, ..entry(data, &values) }]), "claims 4294967294 bytes"),
        (zip(&[entry(model, &pickle), ZipEntry { claims: 4, ..entry(data, &values) }]), "claims 4 bytes"),
        (zip(&[entry(model, &pickle)]), "tensor `a`: its storage `0` of 8 bytes is missing"),
        (zip(&[entry(model, &pickle), entry(data, &values[..4])]), "its storage `0` of 8 bytes has 4"),
        (zip(&[entry(data, &values)]), "has no `data.pkl`"),
        (zip(&[entry(model, &pickle), entry("m/byteorder", b"big"), entry(data, &values)]), "byte order `big`; only `little` is read"),
        (zip(&[entry(model, &pickle), entry(data, &values), entry(data, &values)]), "two entries of one name"),
        (zip(&[entry(model, b"\x80\x02cos\nsystem\n."), entry(data, &values)]), "asks to call `os.system`"),
    ] {
        let error = bounded(|| parse::torch_file(archive)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

#[test]
fn a_directory_of_many_entries_is_refused() {
    let names: Vec<String> = (0..60_000).map(|number| format!("m/data/{number:0>60}")).collect();
    let archive = zip(&names.iter().map(|name| ZipEntry { name, method: 0, bytes: b"", claims: 0 }).collect::<Vec<_>>());
    let error = bounded(|| parse::torch_file(archive)).unwrap_err();
    assert!(error.message().contains("it is longer than 4194304 bytes"), "{error}");
}

#[test]
fn indices_of_tensorflow_that_lie_are_refused() {
    let index = std::fs::read(fixture("tensorflow/model.ckpt-1000.index")).unwrap();
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = index.clone();
        change(&mut bytes);
        bounded(|| parse::tensorflow_index(&bytes)).unwrap_err().to_string()
    };
    let end = index.len();
    let message = error(&|bytes| bytes[end - 1] ^= 1);
    assert!(message.contains("does not end with the mark of a table"), "{message}");
    let message = error(&|bytes| bytes[40] ^= 1);
    assert!(message.contains("does not have its checksum"), "{message}");
    let message = error(&|bytes| bytes[end - 48..end - 8].fill(0xff));
    assert!(message.contains("more than 64 bits"), "{message}");
    // The footer begins with two handles, each of two varints; the second leads to the index block.
    let second = end - 48 + index[end - 48..].iter().enumerate().filter(|(_, byte)| **byte < 0x80).nth(1).unwrap().0 + 1;
    let message = error(&|bytes| bytes[second..second + 6].copy_from_slice(b"\xff\xff\x7f\xff\xff\x7f"));
    assert!(message.contains("a block of 2097151 bytes at 2097151 is not inside the 1961 of the file"), "{message}");
    let message = error(&Vec::clear);
    assert!(message.contains("cut off"), "{message}");

    let copy = Copy::of("tensorflow", &["model.ckpt-1000.index"]);
    let message = read_all(&copy.path("model.ckpt-1000.index")).unwrap_err().to_string();
    assert!(message.contains("`model.ckpt-1000.data-00000-of-00001`, which is not there"), "{message}");
}

/// A number of seven bits per byte.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// One record of a block: bytes shared with the key before, the rest of the key, and the value.
fn record(shared: usize, rest: &[u8], value: &[u8]) -> Vec<u8> {
    [&varint(shared), &varint(rest.len()), &varint(value.len()), rest, value].concat()
}

/// A sorted table with these data blocks (compression, records), whose checksums are right.
fn table(blocks: &[(u8, Vec<u8>)]) -> Vec<u8> {
    fn append(table: &mut Vec<u8>, kind: u8, records: &[u8]) -> Vec<u8> {
        let start = table.len();
        let contents = [records, &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
        let crc = crc32c::crc32c(&[&contents[..], &[kind]].concat());
        table.extend([&contents[..], &[kind], &crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()].concat());
        [varint(start), varint(contents.len())].concat()
    }
    let mut table = Vec::new();
    let mut index = Vec::new();
    for (number, (kind, records)) in blocks.iter().enumerate() {
        let handle = append(&mut table, *kind, records);
        index.extend(record(0, &[u8::try_from(number).unwrap()], &handle));
    }
    let mut footer = append(&mut table, 0, &[]);
    footer.extend(append(&mut table, 0, &index));
    footer.resize(40, 0);
    [&table[..], &footer, &0xdb47_7524_8b80_fb57_u64.to_le_bytes()].concat()
}

#[test]
fn tables_with_right_checksums_are_not_believed_either() {
    let header = record(0, b"", &[8, 1]);
    // A variable `a`: f32, shape [2], eight bytes at 0.
    let variable = [8, 1, 18, 4, 18, 2, 8, 2, 40, 8];
    let good = table(&[(0, [header.clone(), record(0, b"a", &variable)].concat())]);
    assert_eq!(parse::tensorflow_index(&good).unwrap()["a"].shape, [2]);
    // Each name is one byte longer than the one before, and shares all of it.
    let long_names = [record(0, &b"b".repeat(4000), b""), record(4000, b"c", b"")].concat();
    let growing = [header.clone(), long_names, (0..120).flat_map(|more| record(4001 + more, b"c", b"")).collect()].concat();
    let mut many = header.clone();
    for number in 0..10_000_u32 {
        // Names of 4 000 bytes for a dozen bytes of file.
        let end = [&number.to_be_bytes()[..], b"bbbbbb"].concat();
        many.extend(if number == 0 { record(0, &[&b"b".repeat(3990)[..], &end].concat(), b"") } else { record(3990, &end, b"") });
    }
    for (table, expected) in [
        (table(&[(0, record(0, b"a", &variable))]), "it has no header"),
        (table(&[]), "it has no header"),
        (table(&[(1, header.clone())]), "is compressed, which TensorFlow does not do"),
        (table(&[(0, [header.clone(), record(1, b"a", b"")].concat())]), "a name shares 1 bytes with one of 0"),
        (table(&[(0, [header.clone(), record(0, b"b", &variable), record(0, b"a", &variable)].concat())]), "its names are not in order"),
        (table(&[(0, header.clone()), (0, header.clone())]), "its names are not in order"),
        (table(&[(0, growing)]), "longer or more names than a model"),
        (table(&[(0, many)]), "longer or more names than a model"),
        (table(&[(0, [header.clone(), record(0, b"a", &[&variable[..], &[58, 0]].concat())].concat())]), "variable `a`: it is partitioned into slices"),
        (table(&[(0, [header.clone(), record(0, b"a", &[8, 1, 18, 4, 18, 2, 8])].concat())]), "4 bytes are expected where 3 are left"),
        (table(&[(0, [header.clone(), record(0, b"a", &[11])].concat())]), "a message has a field of kind 3"),
        (table(&[(0, [header, record(0, b"\xff", &variable)].concat())]), "a name that is not UTF-8"),
    ] {
        let error = bounded(|| parse::tensorflow_index(&table)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

#[test]
fn headers_of_many_tensors_are_refused() {
    let entries: Vec<String> = (0..60_000).map(|number| format!(r#""{number}":{{"dtype":"U8","shape":[0,1,1,1,1,1,1,1],"data_offsets":[0,0]}}"#)).collect();
    let error = bounded(|| parse::safetensors_header(&safetensors(&format!("{{{}}}", entries.join(",")), 0))).unwrap_err();
    assert!(error.message().contains("it has more than 50000 tensors"), "{error}");
    let most = bounded(|| parse::safetensors_header(&safetensors(&format!("{{{}}}", entries[..50_000].join(",")), 0))).unwrap();
    assert_eq!(most.len(), 50_000);
}
