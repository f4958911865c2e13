//! Times training steps of a model folder: `training_step FOLDER [STEPS] [SEQUENCES] [LENGTH] [dropout]`. A folder without weights draws them.
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::path::Path;
use std::time::Instant;

use lmprobe_core::candle_core::Tensor;
use lmprobe_core::train::{AdamW, TrainingParams};
use lmprobe_core::{EncoderSource, Result, Seed, TokenBatch, Want};
use lmprobe_plugins::encoders::bert::BERT;
use lmprobe_plugins::nn::model_source::{Init, ModelOptions, ModelSource};
use lmprobe_plugins::nn::ops;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().map_or("", String::as_str);
    let number = |index: usize, default: usize| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (steps, sequences, length) = (number(1, 10), number(2, 32), number(3, 48));
    let drops = arguments.iter().any(|argument| argument == "dropout");
    let init = if Path::new(folder).join("model.safetensors").is_file() { Init::Pretrained } else { Init::Random };
    let encoder = ModelSource::new(&BERT, ModelOptions { init, ..ModelOptions::of(folder) })?.load(Seed(0))?;
    let model = encoder.trainable().expect("it was loaded for training");
    let info = encoder.info();
    let ids: Vec<u32> = (0..sequences * length).map(|index| u32::try_from(index * 7919 % 25000 + 1000).unwrap_or(0)).collect();
    let n = ids.len();
    let tokens = TokenBatch {
        ids,
        type_ids: vec![0; n],
        special: vec![false; n],
        word_ids: vec![None; n],
        char_offsets: vec![(0, 0); n],
        offsets: (0..=sequences).map(|index| index * length).collect(),
        truncated: vec![false; sequences],
    };
    let (variables, params) = (model.variables(), TrainingParams::default());
    let mut adamw = AdamW::new(&variables);
    let want = Want::layer(info.layers);
    let mut best = [f64::INFINITY; 4];
    for step in 0..steps {
        let start = Instant::now();
        let output = model.forward(&tokens, &want, drops.then_some(Seed(step as u64)))?;
        let forward = start.elapsed().as_secs_f64();
        let means = ops::sequence_mean(output.layer(info.layers)?, &tokens.offsets)?;
        drop(output);
        let means = means.broadcast_div(&means.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let (questions, answers) = (means.narrow(0, 0, sequences / 2)?, means.narrow(0, sequences / 2, sequences / 2)?);
        let scores = (questions.matmul(&answers.t()?)? * 20.0)?;
        let targets = Tensor::arange(0, u32::try_from(sequences / 2).unwrap_or(0), scores.device())?;
        let loss = ops::negative_log_likelihood(&ops::log_softmax(&scores)?, &targets)?;
        model.backward(&loss)?;
        let value = loss.to_scalar::<f32>()?;
        drop((loss, scores, questions, answers, means));
        let backward = start.elapsed().as_secs_f64();
        let mut gradients = model.gradients().lock().expect("no thread has panicked");
        let norm = gradients.norm();
        adamw.update(&variables, &gradients, &params, 1e-5, (1.0 / norm).min(1.0))?;
        gradients.clear();
        let all = start.elapsed().as_secs_f64();
        let times = [forward, backward - forward, all - backward, all];
        best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
        println!("step {step}: loss {value:.5} norm {norm:.4} forward {:.3} backward {:.3} optimiser {:.3} all {:.3}", times[0], times[1], times[2], times[3]);
    }
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("best: forward {:.3} backward {:.3} optimiser {:.3} all {:.3}; {peak}", best[0], best[1], best[2], best[3]);
    Ok(())
}
