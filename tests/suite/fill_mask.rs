//! `lmprobe fill-mask` on the tiny models of the fixtures.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::array_files::safetensors;
use crate::embed::tiny;
use crate::program::{fixtures, lmprobe, run};

const TEXT: &str = "The drug may treat [MASK] .";

#[test]
fn probabilities_are_the_softmax_of_the_reference_logits() {
    let (tensors, _) = safetensors(&fixtures().join("bert/tiny-mlm/expected.safetensors"));
    let logits = &tensors["mlm_logits"];
    let vocab = logits.shape[2];
    // The second text of the fixture: [CLS] the drug may treat [MASK] . [SEP]
    let start = (18 + 5) * vocab;
    let row: Vec<f64> = logits.f32_bits()[start..start + vocab].iter().map(|bits| f64::from(f32::from_bits(*bits))).collect();
    let sum: f64 = row.iter().map(|logit| logit.exp()).sum();
    let found = run(&["fill-mask", &tiny("tiny-mlm"), TEXT, "--json", "--top", "1000"]).exits(0).json();
    assert_eq!((&found["text"], &found["masks"][0]["position"]), (&TEXT.into(), &5.into()));
    let predictions = found["masks"][0]["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), vocab, "all entries, however many are asked for");
    let mut previous = f64::INFINITY;
    for prediction in predictions {
        let id = usize::try_from(prediction["id"].as_u64().unwrap()).unwrap();
        let (probability, log_probability) = (prediction["probability"].as_f64().unwrap(), prediction["log_probability"].as_f64().unwrap());
        assert!((log_probability - (row[id] - sum.ln())).abs() < 2e-4, "{prediction}");
        assert!((probability.ln() - log_probability).abs() < 1e-9 && log_probability <= previous, "{prediction}");
        previous = log_probability;
    }
    let total: f64 = predictions.iter().map(|prediction| prediction["probability"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-12, "{total}");
}

#[test]
fn every_mask_gets_a_table_with_the_sentence_filled_in() {
    let finished = run(&["fill-mask", &tiny("tiny-mlm"), "<mask> may cause [MASK] .", "--top", "2"]).exits(0);
    assert!(finished.stdout.starts_with("[MASK] may cause [MASK] ., mask 1 of 2\nrank  piece"), "{}", finished.stdout);
    assert!(finished.stdout.contains("\n[MASK] may cause [MASK] ., mask 2 of 2\n"), "{}", finished.stdout);
    assert!(finished.stdout.contains(" may cause [MASK] .\n") && finished.stdout.contains("[MASK] may cause "), "{}", finished.stdout);
    assert!(!finished.stdout.contains("##"), "{}", finished.stdout);
}

#[test]
fn other_texts_change_no_number() {
    let texts = [TEXT, "Hepatitis is a rare liver disease with high fever, acute pain and [MASK].", "[MASK]"];
    let alone: String = texts.iter().map(|text| run(&["fill-mask", &tiny("tiny-mlm"), text, "--json"]).exits(0).stdout).collect();
    let model = tiny("tiny-mlm");
    let arguments: Vec<&str> = ["fill-mask", &model, "--json"].into_iter().chain(texts).collect();
    assert_eq!(run(&arguments).exits(0).stdout, alone);
    let mut child = lmprobe(&["fill-mask", &model, "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(texts.join("\n\n").as_bytes()).expect("the program reads");
    assert_eq!(String::from_utf8(child.wait_with_output().expect("the program ends").stdout).unwrap(), alone);
    for line in alone.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["masks"].is_array());
    }
}

#[test]
fn what_cannot_be_filled_says_why() {
    for (model, text, said) in [
        ("tiny-mlm", "The drug may treat pain .", "no mask in `The drug may treat pain .`; write [MASK] where the model shall fill in"),
        ("tiny-base", TEXT, "`tiny-base` cannot fill masks: its checkpoint has no masked-language-model head; `lmprobe describe model` shows what it has"),
    ] {
        let finished = run(&["fill-mask", &tiny(model), text]).exits(2);
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        assert_eq!(finished.stdout, "");
    }
    let long = format!("{} [MASK]", "fever ".repeat(600));
    let finished = run(&["fill-mask", &tiny("tiny-mlm"), &long]).exits(2);
    assert!(finished.stderr.contains("has 1 masks, but the model sees 0; is it longer than"), "{}", finished.stderr);
}
