//! Writes the logits that the head of a checkpoint gives, one JSON object a line: what `tests/reference/compare_checkpoint.py` compares with the reference.
//!
//! ```text
//! head_logits MODEL WORDS.tsv N       a tagger: the first N sentences of a file with a word a line, `{"words", "logits"}`, a row a word
//! head_logits MODEL TEXTS.txt N       a classifier: the first N lines, `{"text", "logits"}`; a tab parts the texts of a pair
//! ```
//!
//! The model is a BERT. Its logits are those of `lmprobe_plugins::nn::head`, which training and the prober `task-head` use.

use std::error::Error;
use std::path::Path;

use lmprobe_core::serde_json::{Value, json};
use lmprobe_core::{CallContext, Cancel, Encoder, EncoderSource, Problem, Quiet, Seed, TokenRows, Tokenization};
use lmprobe_plugins::encoders::bert::BERT;
use lmprobe_plugins::nn::head::Head;
use lmprobe_plugins::nn::model_source::{ModelOptions, ModelSource};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, input, n] = arguments.as_slice() else {
        return Err("usage: head_logits MODEL WORDS.tsv|TEXTS.txt N".into());
    };
    let encoder = ModelSource::new(&BERT, ModelOptions::of(model))?.load_for_inference(Seed(0))?;
    let stored = encoder.task_head().ok_or("the checkpoint has no head for a task")?;
    let head = Head::of(stored, encoder.head_layout(stored.info.problem)?, encoder.info().hidden)?;
    let (text, n) = (std::fs::read_to_string(Path::new(input))?, n.parse()?);
    let lines: Vec<Value> = if stored.info.problem == Problem::TokenClassification {
        text.split("\n\n")
            .filter(|sentence| !sentence.trim().is_empty())
            .take(n)
            .map(|sentence| tagged(encoder.as_ref(), &head, sentence))
            .collect::<Result<_, _>>()?
    } else {
        text.lines().take(n).map(|line| classified(encoder.as_ref(), &head, line)).collect::<Result<_, _>>()?
    };
    for line in lines {
        #[expect(clippy::print_stdout, reason = "this is what the program is for")]
        {
            println!("{line}");
        }
    }
    Ok(())
}

/// The logits of each word's first piece.
fn tagged(encoder: &dyn Encoder, head: &Head, sentence: &str) -> Result<Value, Box<dyn Error>> {
    let words: Vec<&str> = sentence.lines().filter_map(|line| line.split('\t').next()).collect();
    let rows = logits(encoder, head, &words.join(" "), None)?;
    let tokens = encoder.tokenize(&[&words.join(" ")], Tokenization::default())?;
    let mut start = 0;
    let mut of_words = Vec::with_capacity(words.len());
    for word in &words {
        let first = (0..tokens.ids.len()).find(|&position| !tokens.special[position] && tokens.char_offsets[position].0 == start);
        of_words.push(rows[first.ok_or_else(|| format!("`{word}` has no piece of its own"))?].clone());
        start += u32::try_from(word.chars().count())? + 1;
    }
    Ok(json!({"words": words, "logits": of_words}))
}

fn classified(encoder: &dyn Encoder, head: &Head, line: &str) -> Result<Value, Box<dyn Error>> {
    let (text, pair) = line.split_once('\t').map_or((line, None), |(text, pair)| (text, Some(pair)));
    let rows = logits(encoder, head, text, pair)?;
    let mut object = json!({"text": text, "logits": rows[0]});
    if let Some(pair) = pair {
        object["pair"] = json!(pair);
    }
    Ok(object)
}

/// `(tokens, labels)` of a tagger, else `(1, labels)`.
fn logits(encoder: &dyn Encoder, head: &Head, text: &str, pair: Option<&str>) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let tokens = encoder.tokenize_pairs(&[(text, pair)], Tokenization::default())?;
    let output = encoder.encode(&tokens, &head.want(&tokens, TokenRows::All, encoder.info()), &CallContext::new(Seed(0), &Quiet, Cancel::default()))?;
    Ok(head.answers(&output, encoder.info())?.to_vec2()?)
}
