//! A worker for `benches/interleave.py`: prints `ready`, then for each line `go` on its standard input does its work once and prints `SECONDS CHECKSUM`.
//!
//! ```text
//! worker encode MODEL TEXTS N f32|bf16 [BATCH]       hidden states of N texts, tokenized before; BATCH sequences a call in file order, else passes by length
//! worker train MODEL drop|nodrop f32|bf16            a step on 32 sequences of 48 tokens: forward, contrastive loss, backward, AdamW
//! worker rewire MODEL CORPUS PAIRS drop|nodrop f32|bf16   the same with the objective `contrastive` and the first PAIRS lines of a corpus
//! worker probe MODEL MEDLAMA f32|bf16                the prober `contrastive` on the full set of MedLAMA, tokenization and search included
//! worker nearest QUESTIONS CANDIDATES WIDTH          the ten nearest candidates of each question, and the rank of the right one
//! worker pairs MODEL CORPUS PAIRS OUT                writes what `rewire` trains on, for a peer
//! worker medlama MEDLAMA OUT                         writes what `probe` asks, for a peer
//! ```
//! `RAYON_NUM_THREADS` sets the number of threads. What the checksums are is said beside the functions; a peer prints the same.
#![expect(clippy::print_stdout, reason = "the protocol is lines on the standard output")]

use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lmprobe_core::candle_core::Tensor;
use lmprobe_core::serde_json::{Value, json};
use lmprobe_core::train::{AdamW, Schedule, TrainingParams};
use lmprobe_core::{
    Build, BuildContext, CallContext, Cancel, Constructor, Encoder, EncoderOutput, Examples, Kind, Learner, Material, Objective, Quiet, Seed, TokenBatch,
    Tokenization, TrainingBatch, Want, table,
};
use lmprobe_plugins::nn::ops;
use lmprobe_plugins::nn::values::with as with_values;
use lmprobe_plugins::probers::nearest::{Index, Nearness, Vectors};
use lmprobe_registry::Registry;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["encode", model, texts, n, dtype, batch @ ..] => encode(model, texts, n.parse()?, dtype, batch.first().map(|size| size.parse()).transpose()?),
        ["train", model, dropout, dtype] => train(model, dropout, dtype),
        ["rewire", model, corpus, pairs, dropout, dtype] => rewire(model, corpus, pairs.parse()?, dropout, dtype),
        ["probe", model, medlama, dtype] => probe(model, medlama, dtype),
        ["nearest", questions, candidates, width] => nearest(questions.parse()?, candidates.parse()?, width.parse()?),
        ["pairs", model, corpus, pairs, out] => write_pairs(model, corpus, pairs.parse()?, out),
        ["medlama", medlama, out] => write_medlama(medlama, out),
        _ => Err("unknown arguments: the head of benches/worker/main.rs lists them".into()),
    }
}

/// Answers each `go` with the time and the checksum of `work`.
fn serve(mut work: impl FnMut() -> Result<f64>) -> Result<()> {
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        if line?.trim() == "quit" {
            break;
        }
        let start = Instant::now();
        let checksum = work()?;
        println!("{:.6} {checksum:.6}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn context() -> CallContext<'static> {
    CallContext::new(Seed(33), &Quiet, Cancel::default())
}

/// A component by its name in the run file.
fn component<T: ?Sized + 'static>(kind: Kind, id: &str, params: &Value, choose: impl Fn(&Build) -> Option<Constructor<T>>) -> Result<Arc<T>> {
    let registration = Registry::builtin()?.find(kind, id).map_err(|unknown| format!("{unknown:?}"))?;
    let build = choose(&registration.build).ok_or("a component of another kind")?;
    Ok(build(params.clone(), &BuildContext::default())?)
}

fn encoder(model: &str, dtype: &str, training: bool) -> Result<Box<dyn Encoder>> {
    let params = json!({"model": Path::new(model).canonicalize()?, "dtype": dtype});
    let source = component(Kind::Encoder, "bert", &params, |build| if let Build::Encoder(build) = build { Some(*build) } else { None })?;
    Ok(if training { source.load(Seed(33))? } else { source.load_for_inference(Seed(33))? })
}

fn lines(path: &str, n: usize) -> Result<Vec<String>> {
    let lines: Vec<String> = std::fs::read_to_string(path)?.lines().take(n).map(|line| line.trim().to_owned()).collect();
    if lines.len() < n {
        return Err(format!("{path} has {} lines, {n} were asked for", lines.len()).into());
    }
    Ok(lines)
}

/// The sum of the absolute values of the last hidden state at each first token.
fn encode(model: &str, texts: &str, n: usize, dtype: &str, batch: Option<usize>) -> Result<()> {
    let encoder = encoder(model, dtype, false)?;
    let texts = lines(texts, n)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = encoder.tokenize(&texts, Tokenization::at_most(128))?;
    let groups: Vec<Vec<usize>> = match batch {
        Some(size) => (0..n).collect::<Vec<_>>().chunks(size).map(<[usize]>::to_vec).collect(),
        None => tokens.groups(8_192),
    };
    let want = Want::layer(encoder.info().layers);
    serve(|| {
        let mut sum = 0.0;
        for group in &groups {
            let pass = tokens.select(group);
            let output = encoder.encode(&pass, &want, &context())?;
            let state = output.layer(encoder.info().layers)?; // (tokens, hidden)
            let hidden = encoder.info().hidden;
            sum +=
                with_values(state, |values| Ok(pass.offsets.iter().take(pass.len()).map(|&first| absolute(&values[first * hidden..][..hidden])).sum::<f64>()))?;
        }
        Ok(sum)
    })
}

fn absolute(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value.abs())).sum()
}

/// A model in training, with its optimiser.
struct Trainee {
    encoder: Box<dyn Encoder>,
    adamw: AdamW,
    params: TrainingParams,
    dropout: bool,
}

impl Trainee {
    fn new(model: &str, dropout: &str, dtype: &str) -> Result<Self> {
        let encoder = encoder(model, dtype, true)?;
        let model = encoder.trainable().ok_or("a built-in encoder can be trained")?;
        let params = TrainingParams { learning_rate: 1e-5, schedule: Schedule::Constant, max_grad_norm: None, ..TrainingParams::default() };
        Ok(Self { adamw: AdamW::new(&model.variables()), encoder, params, dropout: dropout == "drop" })
    }

    /// One step; the checksum is the loss before it.
    fn step(&mut self, inputs: &[TokenBatch], wants: &[Want], loss: impl Fn(&[EncoderOutput]) -> Result<Tensor>) -> Result<f64> {
        let model = self.encoder.trainable().ok_or("a built-in encoder can be trained")?;
        let seed = Seed(33).at(self.adamw.step);
        let pass = |(index, (input, want))| model.forward(input, want, self.dropout.then(|| seed.at(index as u64)));
        let outputs = inputs.iter().zip(wants).enumerate().map(pass).collect::<lmprobe_core::Result<Vec<_>>>()?;
        let loss = loss(&outputs)?;
        drop(outputs);
        let value = f64::from(loss.to_scalar::<f32>()?);
        model.backward(&loss)?;
        drop(loss);
        let mut gradients = model.gradients().lock().map_err(|_| "a pass has failed")?;
        self.adamw.update(&model.variables(), &gradients, &self.params, self.params.learning_rate, 1.0)?;
        gradients.clear();
        Ok(value)
    }
}

/// The cross-entropy of the cosines between the mean vectors of 16 sequences and those of 16 others, times 20.
fn train(model: &str, dropout: &str, dtype: &str) -> Result<()> {
    let mut trainee = Trainee::new(model, dropout, dtype)?;
    let (n, length) = (32usize, 48usize);
    let ids = (0..n * length).map(|index| u32::try_from(index * 7919 % 30_000)).collect::<std::result::Result<Vec<_>, _>>()?;
    let offsets: Vec<usize> = (0..=n).map(|index| index * length).collect();
    let tokens = n * length;
    let batch = TokenBatch {
        ids,
        type_ids: vec![0; tokens],
        special: vec![false; tokens],
        word_ids: vec![None; tokens],
        char_offsets: vec![(0, 0); tokens],
        offsets: offsets.clone(),
        truncated: vec![false; n],
    };
    let layer = trainee.encoder.info().layers;
    let targets = Tensor::arange(0u32, 16, &lmprobe_core::candle_core::Device::Cpu)?;
    serve(|| {
        trainee.step(std::slice::from_ref(&batch), &[Want::layer(layer)], |outputs| {
            let mean = ops::sequence_mean(outputs[0].layer(layer)?, &offsets)?; // (32, hidden)
            let unit = mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?;
            let cosines = (unit.narrow(0, 0, 16)?.matmul(&unit.narrow(0, 16, 16)?.t()?)? * 20.0)?; // (16, 16)
            Ok(ops::negative_log_likelihood(&ops::log_softmax(&cosines)?, &targets)?)
        })
    })
}

fn contrastive_objective() -> Result<Arc<dyn Objective>> {
    component(Kind::Objective, "contrastive", &json!({}), |build| if let Build::Objective(build) = build { Some(*build) } else { None })
}

/// The pairs made of the first lines of a corpus, and the batch of all of them.
fn pairs(encoder: &dyn Encoder, corpus: &str, n: usize) -> Result<(Box<dyn Learner>, TrainingBatch)> {
    let learner = contrastive_objective()?.prepare(&Material::Texts(&lines(corpus, n)?), encoder, Seed(33))?;
    let batch = learner.batch(&(0..learner.len()).collect::<Vec<_>>(), Seed(33))?;
    Ok((learner, batch))
}

fn rewire(model: &str, corpus: &str, n: usize, dropout: &str, dtype: &str) -> Result<()> {
    let mut trainee = Trainee::new(model, dropout, dtype)?;
    let (learner, batch) = pairs(trainee.encoder.as_ref(), corpus, n)?;
    let info = trainee.encoder.info().clone();
    let wants = (0..batch.inputs.len()).map(|index| learner.want(&batch, index, &info)).collect::<lmprobe_core::Result<Vec<_>>>()?;
    serve(|| trainee.step(&batch.inputs, &wants, |outputs| Ok(learner.loss(outputs, &batch, &info, None)?)))
}

fn write_pairs(model: &str, corpus: &str, n: usize, out: &str) -> Result<()> {
    let (_, batch) = pairs(encoder(model, "f32", false)?.as_ref(), corpus, n)?;
    let sequences = |tokens: &TokenBatch| (0..tokens.len()).map(|index| tokens.sequence(index).to_vec()).collect::<Vec<_>>();
    Ok(std::fs::write(out, json!({"a": sequences(&batch.inputs[0]), "b": sequences(&batch.inputs[1])}).to_string())?)
}

fn medlama(folder: &str) -> Result<Examples> {
    let params = json!({"path": Path::new(folder).canonicalize()?, "strip_markers": false});
    let task = component(Kind::Task, "medlama", &params, |build| if let Build::Task(build) = build { Some(*build) } else { None })?;
    Ok(task.examples(&context())?)
}

/// The share of questions whose answer is among the ten nearest candidates.
fn probe(model: &str, folder: &str, dtype: &str) -> Result<()> {
    let (encoder, examples) = (encoder(model, dtype, false)?, medlama(folder)?);
    let prober = component(Kind::Prober, "contrastive", &json!({}), |build| if let Build::Prober(build) = build { Some(*build) } else { None })?;
    serve(|| {
        let predictions = prober.probe(&[encoder.as_ref()], &examples, &context())?;
        let ranks = predictions.column("rank")?.u64()?;
        let hits = ranks.iter().flatten().filter(|&rank| rank <= 10).count();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand questions")]
        let share = hits as f64 / ranks.len() as f64;
        Ok(share)
    })
}

/// Numbers between -1/2 and 1/2 that any language can repeat: a hash of the index in 32 bits over `2^32`, less 1/2.
fn scattered(n: usize, first: usize) -> Vec<f32> {
    let number = |index: usize| {
        #[expect(clippy::cast_possible_truncation, reason = "a hash modulo 2^32")]
        let mut hash = (index as u32).wrapping_mul(2_654_435_761);
        hash = (hash ^ (hash >> 15)).wrapping_mul(2_246_822_519);
        hash ^= hash >> 13;
        #[expect(clippy::cast_possible_truncation, reason = "rounded to f32")]
        let number = (f64::from(hash) / 4_294_967_296.0 - 0.5) as f32;
        number
    };
    (first..first + n).map(number).collect()
}

/// The mean index of the nearest candidates.
fn nearest(questions: usize, candidates: usize, width: usize) -> Result<()> {
    let vectors = Vectors { width, values: scattered(candidates * width, 0) };
    let asked = Vectors { width, values: scattered(questions * width, candidates * width) };
    let (all, rows): (Vec<usize>, Vec<usize>) = ((0..candidates).collect(), (0..questions).collect());
    let golds: Vec<Vec<usize>> = rows.iter().map(|&row| vec![row % candidates]).collect();
    serve(|| {
        let answers = Index::new(&vectors, &all, Nearness::L2).search(&asked, &rows, &golds);
        #[expect(clippy::cast_precision_loss, reason = "a few thousand candidates")]
        let mean = answers.iter().map(|answer| answer.best[0].0 as f64).sum::<f64>() / questions as f64;
        Ok(mean)
    })
}

fn write_medlama(folder: &str, out: &str) -> Result<()> {
    let examples = medlama(folder)?;
    let prompts: Vec<String> = table::texts(&examples.examples, "prompt")?.iter().map(|prompt| prompt.replacen("[Y]", "[MASK]", 1)).collect();
    let content = json!({
        "questions": prompts,
        "golds": table::text_lists(&examples.examples, "golds")?,
        "candidates": table::texts(&examples.candidates, "name")?,
    });
    Ok(std::fs::write(out, content.to_string())?)
}
