//! Feeds arbitrary bytes to [`lmprobe_checkpoints::parse::tensorflow_index`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = lmprobe_checkpoints::parse::tensorflow_index(bytes);
});
