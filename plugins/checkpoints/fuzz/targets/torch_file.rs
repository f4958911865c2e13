//! Feeds arbitrary bytes to [`lmprobe_checkpoints::parse::torch_file`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = lmprobe_checkpoints::parse::torch_file(bytes.to_vec());
});
