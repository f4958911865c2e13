//! Feeds bytes, many of them real libraries with mistakes, to the reader of stamps.

#![no_main]

use lmprobe_loader::Machine;
use lmprobe_loader::fuzzing::{Target, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The reader wants aligned memory, as every allocation of a file has.
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(whole);
    }
    // SAFETY: as many bytes are there.
    let aligned = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), bytes.len()) };
    for mach_o in [false, true] {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            if let Ok(image) = parse(aligned, Target { mach_o, machine }) {
                assert_eq!(image.abi.0, 1);
            }
        }
    }
});
