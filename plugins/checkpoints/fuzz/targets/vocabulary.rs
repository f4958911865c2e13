//! Feeds arbitrary bytes to the readers of [`lmprobe_checkpoints::vocabulary`].

#![no_main]

use std::path::Path;

use lmprobe_checkpoints::vocabulary::{MergesFormat, read_merges_txt, read_vocab_json, read_vocab_txt};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read_vocab_txt(Path::new("vocab.txt"), bytes);
    let _ = read_vocab_json(bytes);
    let _ = read_merges_txt(bytes, MergesFormat::Gpt2);
    let _ = read_merges_txt(bytes, MergesFormat::Fairseq);
});
