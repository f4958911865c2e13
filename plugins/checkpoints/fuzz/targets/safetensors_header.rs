//! Feeds arbitrary bytes to [`lmprobe_checkpoints::parse::safetensors_header`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = lmprobe_checkpoints::parse::safetensors_header(bytes);
});
