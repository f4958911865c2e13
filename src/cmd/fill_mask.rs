//! `lmprobe fill-mask`: what a masked language model puts in the place of a mask.

use std::fmt::Write;
use std::io::{self, BufRead, IsTerminal};
use std::num::NonZeroUsize;

use clap::Args;
use lmprobe_core::{CallContext, Cancel, Encoder, EncoderInfo, Error, MaskToken, Quiet, Seed, Tokenization, Want};
use serde_json::{Value, json};

use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::models::{ComputeIn, ReadAs};
use crate::pieces::Pieces;
use crate::report::text_table::TextTable;
use crate::threads;

/// How masks may be written, whatever the model calls its own.
const WRITTEN: [&str; 2] = ["[MASK]", "<mask>"];

/// Arguments of `lmprobe fill-mask`.
#[derive(Debug, Args)]
pub(crate) struct FillMaskArgs {
    /// The model: a folder or a hub id
    model: String,
    /// Texts with one or more masks; `[MASK]` and `<mask>` both stand for the model's own mask token. Without texts, lines of standard input
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// How many fillings to show for each mask
    #[arg(long, value_name = "N", default_value = "10")]
    top: NonZeroUsize,
    /// Print one JSON object a text and line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read_as: ReadAs,
    #[command(flatten)]
    compute: ComputeIn,
    /// Worker threads [default: as `lmprobe run`]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Runs the command.
pub(crate) fn execute(arguments: &FillMaskArgs, console: Console) -> anyhow::Result<Exit> {
    lmprobe_kernels::simd_from_environment().map_err(UsageError)?;
    threads::arrange(arguments.threads);
    if arguments.texts.is_empty() && io::stdin().is_terminal() {
        return Err(UsageError("no text; write one behind the model, such as \"Aspirin treats [MASK].\", or pipe lines in".into()).into());
    }
    let model = arguments.read_as.open(&arguments.model, arguments.compute.dtype.as_deref(), console)?;
    check(&model.label, model.source.info())?;
    let encoder = model.source.load_for_inference(Seed(0))?;
    for warning in &encoder.info().warnings {
        console.warning(warning);
    }
    let filler = Filler::new(encoder.as_ref(), arguments.top.get())?;
    let show = |text: &str| -> anyhow::Result<()> {
        let answer = filler.fill(text)?;
        if arguments.json { console.result(&format!("{}\n", filler.json(&answer))) } else { console.result(&filler.tables(&answer)) }
    };
    for text in &arguments.texts {
        show(text)?;
    }
    if arguments.texts.is_empty() {
        for (number, line) in (1..).zip(io::stdin().lock().lines()) {
            let line = line.map_err(|error| Error::data("standard input", number, error.to_string()))?;
            if !line.trim().is_empty() {
                show(&line)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Whether the model can fill masks.
fn check(label: &str, info: &EncoderInfo) -> Result<(), UsageError> {
    let refuse = |message: String| Err(UsageError(format!("`{label}` cannot fill masks: {message}")));
    if info.causal {
        return refuse("it is a causal language model, which sees nothing behind a gap; use a masked language model such as BERT".into());
    }
    if !info.mlm_head {
        let hint = if info.family == "biobert" { " (BioBERT v1.1 was released without one, v1.2 has it)" } else { "" };
        return refuse(format!("its checkpoint has no masked-language-model head{hint}; `lmprobe describe model` shows what it has"));
    }
    if info.mask.is_none() {
        return refuse("its tokenizer has no mask token".into());
    }
    Ok(())
}

/// A text whose masks were filled.
struct Filled {
    /// With the model's own mask token.
    text: String,
    masks: Vec<FilledMask>,
}

struct FilledMask {
    /// Position among the tokens of the text, special ones included.
    position: usize,
    /// The best first: id and log-probability.
    predictions: Vec<(u32, f64)>,
}

struct Filler<'a> {
    encoder: &'a dyn Encoder,
    mask: MaskToken,
    pieces: Pieces<'a>,
    top: usize,
}

impl<'a> Filler<'a> {
    fn new(encoder: &'a dyn Encoder, top: usize) -> anyhow::Result<Self> {
        let mask = encoder.info().mask.clone().ok_or_else(|| UsageError("the model's tokenizer has no mask token".into()))?;
        Ok(Self { encoder, mask, pieces: Pieces::of(encoder)?, top })
    }

    /// Asks the model about one text. Texts go through the model one by one, so none can change another's numbers.
    fn fill(&self, text: &str) -> anyhow::Result<Filled> {
        let text = WRITTEN.iter().fold(text.to_owned(), |text, written| text.replace(written, &self.mask.text));
        let n_written = text.matches(&self.mask.text).count();
        if n_written == 0 {
            return Err(UsageError(format!("no mask in `{text}`; write {} where the model shall fill in", self.mask.text)).into());
        }
        let tokens = self.encoder.tokenize(&[&text], Tokenization::default())?;
        let positions: Vec<usize> = (0..tokens.ids.len()).filter(|&position| tokens.ids[position] == self.mask.id).collect();
        if positions.len() != n_written {
            let longest = self.encoder.info().max_length;
            let message = format!("`{text}` has {n_written} masks, but the model sees {}; is it longer than {longest} tokens?", positions.len());
            return Err(UsageError(message).into());
        }
        let quiet = Quiet;
        let cx = CallContext::new(Seed(0), &quiet, Cancel::default());
        let output = self.encoder.encode(&tokens, &Want::mlm_at(positions.clone()), &cx)?;
        let rows = output.mlm_logits()?.to_vec2::<f32>().map_err(Error::from)?; // (masks, vocab)
        let masks = positions.iter().zip(rows).map(|(&position, logits)| FilledMask { position, predictions: best(&logits, self.top) }).collect();
        Ok(Filled { text, masks })
    }

    /// A table for each mask.
    fn tables(&self, filled: &Filled) -> String {
        let n = filled.masks.len();
        let mut text = String::new();
        for (nth, mask) in filled.masks.iter().enumerate() {
            let which = if n == 1 { String::new() } else { format!(", mask {} of {n}", nth + 1) };
            let _ = writeln!(text, "{}{which}", filled.text);
            let mut table = TextTable::new(["rank", "piece", "probability (%)", "log-probability", "sentence"]);
            for (rank, &(id, log_probability)) in mask.predictions.iter().enumerate() {
                let piece = self.pieces.text(id);
                let sentence = self.sentence(&filled.text, nth, &piece);
                let percent = format!("{:.3}", log_probability.exp() * 100.0);
                table.push(vec![(rank + 1).to_string(), piece.trim().to_owned(), percent, format!("{log_probability:.4}"), sentence]);
            }
            text.push_str(&table.plain());
            text.push('\n');
        }
        text
    }

    /// The text with its `nth` mask filled. A piece that begins a word brings its own blank, which is dropped where there is one.
    fn sentence(&self, text: &str, nth: usize, piece: &str) -> String {
        let Some((at, mask)) = text.match_indices(&self.mask.text).nth(nth) else { return text.to_owned() };
        let (before, behind) = (&text[..at], &text[at + mask.len()..]);
        let piece = if before.is_empty() || before.ends_with(char::is_whitespace) { piece.trim_start() } else { piece };
        format!("{before}{piece}{behind}")
    }

    fn json(&self, filled: &Filled) -> Value {
        let masks = filled.masks.iter().map(|mask| {
            let predictions = mask.predictions.iter().map(|&(id, log_probability)| {
                json!({"token": self.pieces.raw(id), "id": id, "probability": log_probability.exp(), "log_probability": log_probability})
            });
            json!({"position": mask.position, "predictions": predictions.collect::<Vec<_>>()})
        });
        json!({"text": filled.text, "masks": masks.collect::<Vec<_>>()})
    }
}

/// The highest logits with their log-probabilities; of equal ones the smaller id first.
fn best(logits: &[f32], top: usize) -> Vec<(u32, f64)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - f64::from(largest)).exp()).sum();
    let normaliser = f64::from(largest) + sum.ln();
    let mut order: Vec<u32> = (0..).take(logits.len()).collect();
    let at = |id: u32| logits[id as usize];
    order.sort_by(|&a, &b| at(b).total_cmp(&at(a)).then(a.cmp(&b)));
    order.into_iter().take(top).map(|id| (id, f64::from(at(id)) - normaliser)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        let best = best(&[0.0, 2.0f32.ln(), 0.0, 4.0f32.ln()], 3); // 1 : 2 : 1 : 4
        assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 1, 0]);
        for ((_, log_probability), expected) in best.iter().zip([0.5, 0.25, 0.125]) {
            assert!((log_probability.exp() - expected).abs() < 1e-7, "{log_probability}");
        }
    }
}
