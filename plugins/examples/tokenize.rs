//! Writes the ids of texts, one JSON array a line: what `tests/reference/tokenization.py` compares with the reference.
//!
//! ```text
//! tokenize FOLDER word-piece|gpt2|roberta|bio-gpt TEXTS.jsonl PAIR_LIMIT
//! ```
//!
//! Each line of `TEXTS.jsonl` is `[text, null]` or `[first, second]`. Pairs are cut to `PAIR_LIMIT` tokens, texts are not cut.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use lmprobe_core::Tokenization;
use lmprobe_core::serde_json;
use lmprobe_plugins::nn::tokenizer::{Casing, TextTokenizer, TokenizerKind};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, kind, texts, pair_limit] = arguments.as_slice() else {
        return Err("usage: tokenize FOLDER word-piece|gpt2|roberta|bio-gpt TEXTS.jsonl PAIR_LIMIT".into());
    };
    let kind = match kind.as_str() {
        "word-piece" => TokenizerKind::WordPiece,
        "gpt2" => TokenizerKind::Gpt2,
        "roberta" => TokenizerKind::Roberta,
        "bio-gpt" => TokenizerKind::BioGpt,
        other => return Err(format!("unknown kind `{other}`").into()),
    };
    let pair_limit: usize = pair_limit.parse()?;
    let tokenizer = TextTokenizer::of_folder(Path::new(folder), kind, Casing::Auto)?;
    let rows: Vec<(String, Option<String>)> = std::fs::read_to_string(texts)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;

    let start = Instant::now();
    let (mut n_tokens, mut ids) = (0, Vec::with_capacity(rows.len()));
    for (first, second) in &rows {
        let limit = if second.is_some() { pair_limit } else { usize::MAX };
        let batch = tokenizer.encode(&[(first, second.as_deref())], Tokenization::default(), limit)?;
        n_tokens += batch.ids.len();
        ids.push(batch.ids);
    }
    let elapsed_s = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = n_tokens as f64 / elapsed_s;
    eprintln!("{rate:.0} tokens/s");

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for ids in ids {
        writeln!(out, "{}", serde_json::to_string(&ids)?)?;
    }
    Ok(out.flush()?)
}
