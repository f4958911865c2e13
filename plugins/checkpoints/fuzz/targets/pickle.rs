//! Feeds arbitrary bytes to [`lmprobe_checkpoints::parse::pickle`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = lmprobe_checkpoints::parse::pickle(bytes);
});
