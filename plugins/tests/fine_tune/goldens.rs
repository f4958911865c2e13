//! Twenty steps of every case give what PyTorch gives.

use std::path::Path;

use lmprobe_core::serde_json::{self, Value, json};
use lmprobe_core::train::{Schedule, Signal, TrainingJob, TrainingParams, WeightDecayOn, train};
use lmprobe_core::{EncoderSource, Material, Problem, Seed, TokenBatch, TokenRows};
use lmprobe_plugins::nn::head::Head;

use super::fixtures::{cx, examples_of, folder, json as read, load, model, objective, problem_of, source};

/// Every case with the variant of its files: `-last-piece`, or nothing.
const CASES: [(&str, &str); 14] = [
    ("token-classification/bert", ""),
    ("token-classification/gpt2", ""),
    ("token-classification/gpt2", "-last-piece"),
    ("token-classification/biogpt", ""),
    ("token-classification/biogpt", "-last-piece"),
    ("token-classification/bert-biobert", ""),
    ("sequence-classification/bert", ""),
    ("nli/bert", ""),
    ("nli/gpt2", ""),
    ("nli/biogpt", ""),
    ("multi-label/bert", ""),
    ("regression/bert", ""),
    ("multiple-choice/bert", ""),
    ("span/bert", ""),
];

fn params(case: &str, variant: &str) -> Value {
    let biobert = case.ends_with("bert-biobert");
    let mut params = json!({
        "head": "keep", "checkpoint": "last", "max_length": 64, "pair_separator": "none",
        "label_position": if variant == "-last-piece" { "last" } else { "first" },
        "label_scheme": if biobert { "biobert" } else { "words" },
        "loss": if biobert { "sum" } else { "mean" },
    });
    if case == "span/bert" {
        params["max_length"] = 48.into();
        params["window_overlap"] = 16.into();
    }
    params
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn inputs_and_labels_are_those_of_transformers() {
    for (case, variant) in CASES {
        let encoder = load(&model(case));
        let examples = examples_of(case);
        let learner = objective(&params(case, variant)).prepare(&Material::Task(&examples), encoder.as_ref(), Seed(0)).unwrap();
        let expected = read(&folder().join("cases").join(case).join(format!("examples{variant}.json")));
        let expected = expected["examples"].as_array().unwrap();
        assert_eq!(learner.len(), expected.len(), "{case}{variant}");
        for (index, expected) in expected.iter().enumerate() {
            let batch = learner.batch(&[index], Seed(0)).unwrap();
            let what = format!("{case}{variant}, example {index}");
            let one = [expected.clone()];
            let sequences = expected["options"].as_array().map_or(&one[..], Vec::as_slice);
            assert_eq!(batch.inputs[0].len(), sequences.len(), "{what}");
            for (sequence, expected) in sequences.iter().enumerate() {
                assert_eq!(batch.inputs[0].sequence(sequence), numbers(&expected["input_ids"]), "{what}");
                if case.contains("/bert") {
                    assert_eq!(batch.inputs[0].type_ids[batch.inputs[0].range(sequence)], numbers(&expected["token_type_ids"]), "{what}");
                }
            }
            let labels = batch.targets["labels"].to_vec1::<u32>().unwrap();
            match problem_of(case) {
                Problem::TokenClassification => {
                    let all = expected["labels"].as_array().unwrap().iter().enumerate().filter_map(|(place, label)| Some((place, label.as_u64()?)));
                    let rows = batch.targets["rows"].to_vec1::<u32>().unwrap();
                    let found: Vec<(usize, u64)> = rows.iter().zip(&labels).map(|(&row, &label)| (row as usize, u64::from(label))).collect();
                    assert_eq!(found, all.collect::<Vec<_>>(), "{what}");
                }
                Problem::MultiLabel => assert_eq!(json!(labels), json!(flags(&expected["label"])), "{what}"),
                Problem::Regression => {
                    let found = f64::from(batch.targets["numbers"].to_vec1::<f32>().unwrap()[0]);
                    assert!((found - expected["label"].as_f64().unwrap()).abs() < 1e-6, "{what}");
                }
                Problem::ExtractiveQa => assert_eq!(json!(labels), json!([expected["start"], expected["end"]]), "{what}"),
                _ => assert_eq!(json!(labels), json!([expected["label"]]), "{what}"),
            }
        }
    }
}

fn flags(label: &Value) -> Vec<u32> {
    label.as_array().unwrap().iter().map(|flag| u32::from(flag.as_f64() == Some(1.0) || flag.as_bool() == Some(true))).collect()
}

/// The recipe of a fixture.
fn training(recipe: &Value) -> TrainingParams {
    TrainingParams {
        steps: recipe["steps"].as_u64(),
        batch_size: recipe["batch_size"].as_u64().unwrap(),
        shuffle: recipe["shuffle"].as_bool().unwrap(),
        learning_rate: recipe["learning_rate"].as_f64().unwrap(),
        schedule: serde_json::from_value::<Schedule>(recipe["schedule"].clone()).unwrap(),
        warmup_steps: recipe["warmup_steps"].as_u64().unwrap(),
        weight_decay: recipe["weight_decay"].as_f64().unwrap(),
        weight_decay_on: WeightDecayOn::Matrices,
        beta1: recipe["beta1"].as_f64().unwrap(),
        beta2: recipe["beta2"].as_f64().unwrap(),
        epsilon: recipe["epsilon"].as_f64().unwrap(),
        bias_correction: recipe["bias_correction"].as_bool().unwrap(),
        max_grad_norm: recipe["max_grad_norm"].as_f64(),
        dropout: true, // its rates are 0 in the fixtures
        ..TrainingParams::default()
    }
}

#[test]
fn losses_rates_norms_and_logits_are_those_of_torch() {
    for (case, variant) in CASES {
        let mut recipes = 0;
        for entry in std::fs::read_dir(folder().join("cases").join(case)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_plain = !name.ends_with("-last-piece") && !name.ends_with("-padded");
            if name.starts_with("expected") && (if variant.is_empty() { is_plain } else { name.ends_with(variant) }) {
                follows(case, variant, &path);
                recipes += 1;
            }
        }
        assert!(recipes > 0, "{case}{variant} has no recipe");
    }
}

fn follows(case: &str, variant: &str, path: &Path) {
    let what = path.strip_prefix(folder()).unwrap().display().to_string();
    let expected = read(path);
    let before = load(&model(case));
    compare(&what, &logits(case, variant, &model(case)), &expected["logits_before"], problem_of(case));
    let target = tempfile::tempdir().unwrap();
    let (objective, examples, recipe) = (objective(&params(case, variant)), examples_of(case), training(&expected["recipe"]));
    let job = TrainingJob { encoder: before.as_ref(), objective: objective.as_ref(), signal: Signal::Task(&examples), params: &recipe, folder: target.path() };
    let record = train(&job, &cx(0)).unwrap().training;
    let column = |name: &str| record.column(name).unwrap().f64().unwrap().iter().flatten().collect::<Vec<f64>>();
    let (losses, rates, norms) = (column("loss"), column("learning_rate"), column("grad_norm"));
    let steps = expected["steps"].as_array().unwrap();
    assert_eq!((steps.len(), losses.len()), (20, 20), "{what}");
    for (step, expected) in steps.iter().enumerate() {
        let of = |name: &str| expected[name].as_f64().unwrap();
        let close =
            |found: f64, expected: f64, tolerance: f64| assert!((found - expected).abs() <= tolerance, "{what}, step {step}: {found} is not {expected}");
        close(losses[step], of("loss"), 1e-4 + 1e-4 * of("loss").abs());
        close(rates[step], of("learning_rate"), 1e-9);
        close(norms[step], of("gradient_norm"), 1e-3 * of("gradient_norm").abs());
    }
    compare(&what, &logits(case, variant, &target.path().join("final")), &expected["logits_after"], problem_of(case));
}

/// The logits of the first two examples by the checkpoint of a folder: `(rows, labels)` of each sequence.
fn logits(case: &str, variant: &str, folder_of_model: &Path) -> Vec<Vec<Vec<f32>>> {
    let encoder = source(folder_of_model).load_for_inference(Seed(0)).unwrap();
    let stored = encoder.task_head().unwrap();
    let head = Head::of(stored, encoder.head_layout(stored.info.problem).unwrap(), encoder.info().hidden).unwrap();
    let examples = read(&folder().join("cases").join(case).join(format!("examples{variant}.json")));
    let one = |example: &Value| {
        let alone = [example.clone()];
        let mut tokens = TokenBatch::default();
        for sequence in example["options"].as_array().map_or(&alone[..], Vec::as_slice) {
            let ids = numbers(&sequence["input_ids"]);
            tokens.type_ids.extend(numbers(&sequence["token_type_ids"]));
            tokens.special.extend(vec![false; ids.len()]);
            tokens.word_ids.extend(vec![None; ids.len()]);
            tokens.char_offsets.extend(vec![(0, 0); ids.len()]);
            tokens.ids.extend(ids);
            tokens.offsets.push(tokens.ids.len());
            tokens.truncated.push(false);
        }
        let output = encoder.encode(&tokens, &head.want(&tokens, TokenRows::All, encoder.info()), &cx(0)).unwrap();
        head.logits(&output, encoder.info(), None).unwrap().to_vec2::<f32>().unwrap()
    };
    examples["examples"].as_array().unwrap().iter().take(2).map(one).collect()
}

/// Compares logits; those of options, and of the places of a span, less their mean.
fn compare(what: &str, found: &[Vec<Vec<f32>>], expected: &Value, problem: Problem) {
    let numbers = |row: &Value| row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect::<Vec<f64>>();
    assert_eq!(expected.as_array().unwrap().len(), found.len(), "{what}");
    for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
        let mut rows: Vec<Vec<f64>> = found.iter().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
        let expected: Vec<Vec<f64>> = match problem {
            Problem::TokenClassification | Problem::ExtractiveQa => expected.as_array().unwrap().iter().map(numbers).collect(),
            Problem::MultipleChoice => numbers(expected).into_iter().map(|option| vec![option]).collect(),
            _ => vec![numbers(expected)],
        };
        if matches!(problem, Problem::MultipleChoice | Problem::ExtractiveQa) {
            for column in 0..rows[0].len() {
                #[expect(clippy::cast_precision_loss, reason = "a few rows")]
                let mean = rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64;
                for row in &mut rows {
                    row[column] -= mean;
                }
            }
        }
        assert_eq!(rows.len(), expected.len(), "{what}");
        let worst = rows.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4, "{what}: logits differ by {worst}");
    }
}
