//! BERT against the reference implementation, on the fixtures of `tests/fixtures/bert` (made by the `make.py` there).
#![expect(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use lmprobe_core::candle_core::{Device, Tensor};
use lmprobe_core::serde_json::Value;
use lmprobe_core::train::{AdamW, Schedule, TrainingParams};
use lmprobe_core::{CallContext, Cancel, Encoder, EncoderSource, Quiet, Seed, TokenBatch, TokenRows, Tokenization, Want};
use lmprobe_plugins::encoders::bert::BERT;
use lmprobe_plugins::nn::model_source::{Init, ModelOptions, ModelSource};
use lmprobe_plugins::nn::ops;
use lmprobe_plugins::nn::tokenizer::Casing;

const FIXTURES: [&str; 3] = ["tiny-mlm", "tiny-base", "tiny-legacy"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/bert").join(name)
}

fn source(name: &str) -> ModelSource {
    ModelSource::new(&BERT, ModelOptions::of(folder(name))).unwrap()
}

fn load(name: &str) -> Box<dyn Encoder> {
    source(name).load(Seed(0)).unwrap()
}

fn write(path: &std::path::Path, tensors: &BTreeMap<String, Tensor>) {
    let tensors: HashMap<&str, Tensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    lmprobe_core::candle_core::safetensors::save(&tensors, path).unwrap();
}

fn cx() -> CallContext<'static> {
    CallContext::new(Seed(0), &Quiet, Cancel::default())
}

struct Expected {
    json: Value,
    tensors: HashMap<String, Tensor>,
}

impl Expected {
    fn of(name: &str) -> Self {
        let json = std::fs::read_to_string(folder(name).join("expected.json")).unwrap();
        let tensors = lmprobe_core::candle_core::safetensors::load(folder(name).join("expected.safetensors"), &Device::Cpu).unwrap();
        Self { json: lmprobe_core::serde_json::from_str(&json).unwrap(), tensors }
    }

    fn ids(entry: &Value, key: &str) -> Vec<u32> {
        entry[key].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
    }

    /// The texts of the fixture as one packed batch, from the reference's own ids.
    fn batch(&self) -> TokenBatch {
        let mut batch = TokenBatch::default();
        for entry in self.json["texts"].as_array().unwrap() {
            let ids = Self::ids(entry, "input_ids");
            let n = ids.len();
            batch.ids.extend(ids);
            batch.type_ids.extend(Self::ids(entry, "token_type_ids"));
            batch.special.extend(vec![false; n]);
            batch.word_ids.extend(vec![None; n]);
            batch.char_offsets.extend(vec![(0, 0); n]);
            batch.offsets.push(batch.ids.len());
            batch.truncated.push(false);
        }
        batch
    }
}

/// Largest difference over numbers, as a share of the tolerance `1e-5 (1 + |expected|)`.
fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / (1e-5 * (1.0 + b.abs()))).fold(0.0, f32::max)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn everything(encoder: &dyn Encoder) -> Want {
    let info = encoder.info();
    Want { hidden: (0..=info.layers).collect(), attentions: true, pooled: info.pooler, mlm_logits: info.mlm_head.then_some(TokenRows::All), ..Want::default() }
}

#[test]
fn hidden_states_attentions_and_heads_equal_the_reference() {
    let forms = |name: &str| [source(name).load(Seed(0)).unwrap(), source(name).load_for_inference(Seed(0)).unwrap()];
    for (name, encoder) in FIXTURES.into_iter().flat_map(|name| forms(name).map(|encoder| (name, encoder))) {
        let expected = Expected::of(name);
        let batch = expected.batch();
        let output = encoder.encode(&batch, &everything(encoder.as_ref()), &cx()).unwrap();
        let mut seen = 0.0f32;
        let mut check = |what: String, found: &Tensor, wanted: &Tensor| {
            assert_eq!(found.dims(), wanted.dims(), "{name}: {what}");
            let share = worst(&values(found), &values(wanted));
            assert!(share <= 1.0, "{name}: {what} differs by {share} tolerances");
            seen = seen.max(share);
        };
        for index in 0..batch.len() {
            let (range, n) = (batch.range(index), batch.sequence_len(index));
            for (layer, state) in &output.hidden {
                let wanted = expected.tensors["hidden_states"].get(*layer).unwrap().get(index).unwrap().narrow(0, 0, n).unwrap();
                check(format!("hidden state {layer} of text {index}"), &state.narrow(0, range.start, n).unwrap(), &wanted);
            }
            for (layer, blocks) in output.attentions.iter().enumerate() {
                let wanted = expected.tensors["attentions"].get(layer).unwrap().get(index).unwrap().narrow(1, 0, n).unwrap().narrow(2, 0, n).unwrap();
                check(format!("attention {layer} of text {index}"), &blocks[index], &wanted.contiguous().unwrap());
            }
            if let Some(logits) = &output.mlm_logits {
                let wanted = expected.tensors["mlm_logits"].get(index).unwrap().narrow(0, 0, n).unwrap();
                check(format!("logits of text {index}"), &logits.narrow(0, range.start, n).unwrap(), &wanted);
            }
        }
        if let Some(pooled) = &output.pooled {
            check("pooled".into(), pooled, &expected.tensors["pooled"]);
        }
        println!("{name}: the largest difference is {seen:.2} of the tolerance 1e-5 (1 + |x|)");
    }
}

#[test]
fn a_packed_batch_equals_single_sentences() {
    for name in FIXTURES {
        let (encoder, expected) = (load(name), Expected::of(name));
        let batch = expected.batch();
        let want = Want::layer(encoder.info().layers);
        let together = values(encoder.encode(&batch, &want, &cx()).unwrap().layer(want.hidden[0]).unwrap());
        let hidden = encoder.info().hidden;
        for index in 0..batch.len() {
            let alone = values(encoder.encode(&batch.select(&[index]), &want, &cx()).unwrap().layer(want.hidden[0]).unwrap());
            let range = batch.range(index);
            assert!(worst(&alone, &together[range.start * hidden..range.end * hidden]) <= 1.0, "{name}: text {index}");
        }
    }
}

/// The scalar whose gradients the fixture holds, as `expected.json` states it.
fn loss(name: &str, encoder: &dyn Encoder, expected: &Expected) -> Tensor {
    let batch = expected.batch();
    let model = encoder.trainable().unwrap();
    if name == "tiny-base" {
        let want = Want { hidden: vec![encoder.info().layers], pooled: true, ..Want::default() };
        let output = model.forward(&batch, &want, None).unwrap();
        let weights: Vec<Tensor> =
            (0..batch.len()).map(|index| expected.tensors["weight_hidden"].get(index).unwrap().narrow(0, 0, batch.sequence_len(index)).unwrap()).collect();
        let hidden = (output.layer(encoder.info().layers).unwrap() * Tensor::cat(&weights, 0).unwrap()).unwrap().sum_all().unwrap();
        let pooled = (output.pooled.unwrap() * &expected.tensors["weight_pooled"]).unwrap().sum_all().unwrap();
        return ((hidden / 100.0).unwrap() + (pooled / 10.0).unwrap()).unwrap();
    }
    let labels = expected.tensors["labels"].to_vec2::<i64>().unwrap();
    let (mut positions, mut targets) = (Vec::new(), Vec::new());
    for (index, labels) in labels.iter().enumerate() {
        for (label, position) in labels.iter().zip(batch.range(index)) {
            if let Ok(label) = u32::try_from(*label) {
                positions.push(position);
                targets.push(label);
            }
        }
    }
    let n = targets.len();
    let output = model.forward(&batch, &Want::mlm_at(positions), None).unwrap();
    let log_probabilities = ops::log_softmax(output.mlm_logits().unwrap()).unwrap();
    ops::negative_log_likelihood(&log_probabilities, &Tensor::from_vec(targets, n, &Device::Cpu).unwrap()).unwrap()
}

fn reference_name(name: &str, mlm: bool) -> String {
    if mlm && !name.starts_with("cls.") { format!("bert.{name}") } else { name.to_owned() }
}

#[test]
fn gradients_reach_every_variable_and_equal_the_reference() {
    for name in FIXTURES {
        let (encoder, expected) = (load(name), Expected::of(name));
        let scalar = loss(name, encoder.as_ref(), &expected);
        let wanted = values(&expected.tensors["loss"])[0];
        assert!((scalar.to_scalar::<f32>().unwrap() - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{name}: loss");
        let model = encoder.trainable().unwrap();
        model.backward(&scalar).unwrap();
        let gradients = model.gradients().lock().unwrap();
        let mut checked = 0;
        for (index, variable) in model.variables().into_iter().enumerate() {
            let key = format!("grad.{}", reference_name(&variable.name, encoder.info().mlm_head));
            let Some(wanted) = expected.tensors.get(&key) else {
                assert!(variable.name.starts_with("pooler."), "{name}: no reference gradient for {}", variable.name);
                continue;
            };
            let found = gradients.to_vec(index).unwrap_or_else(|| panic!("{name}: no gradient reaches {}", variable.name));
            let wanted = values(wanted);
            let largest = wanted.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            // The softmax ignores what is added to all keys alike: this gradient is 0 but for rounding, in the reference too.
            if variable.name.ends_with("key.bias") {
                assert!(largest < 1e-5 && found.iter().all(|value| value.abs() < 1e-5), "{name}: {}", variable.name);
            } else {
                assert!(largest > 1e-4, "{name}: the reference gradient of {} is 0", variable.name);
                let difference = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(difference <= 1e-4 * largest, "{name}: gradient of {} differs by {difference} of {largest}", variable.name);
            }
            checked += 1;
        }
        let references = expected.tensors.keys().filter(|key| key.starts_with("grad.")).count();
        assert_eq!(checked, references, "{name}: every reference gradient has its variable");
    }
}

#[test]
fn ten_optimiser_steps_equal_torch() {
    let golden = lmprobe_core::candle_core::safetensors::load(folder("adamw.safetensors"), &Device::Cpu).unwrap();
    let column = |name: &str| golden[name].to_vec1::<f64>().unwrap();
    let (encoder, expected) = (load("tiny-mlm"), Expected::of("tiny-mlm"));
    let params = TrainingParams { learning_rate: 1e-3, warmup_steps: 3, schedule: Schedule::Linear, ..TrainingParams::default() };
    let variables = encoder.trainable().unwrap().variables();
    let mut adamw = AdamW::new(&variables);
    for step in 0..10 {
        let scalar = loss("tiny-mlm", encoder.as_ref(), &expected);
        let value = f64::from(scalar.to_scalar::<f32>().unwrap());
        assert!((value - column("losses")[step]).abs() < 1e-4, "step {step}: loss {value}, expected {}", column("losses")[step]);
        let model = encoder.trainable().unwrap();
        model.backward(&scalar).unwrap();
        let mut gradients = model.gradients().lock().unwrap();
        let norm = gradients.norm();
        assert!((norm - column("grad_norms")[step]).abs() < 1e-3, "step {step}: norm {norm}");
        let rate = params.learning_rate_at(step as u64, 10);
        assert!((rate - column("lrs")[step]).abs() < 1e-12, "step {step}: rate {rate}");
        adamw.update(&variables, &gradients, &params, rate, (1.0 / (norm + 1e-6)).min(1.0)).unwrap();
        gradients.clear();
    }
    let finals: BTreeMap<&String, &Tensor> = golden.iter().filter(|(name, _)| name.starts_with("p.")).collect();
    assert_eq!(finals.len(), 4);
    for (name, wanted) in finals {
        let short = name.trim_start_matches("p.").trim_start_matches("bert.");
        let variable = variables.iter().find(|variable| variable.name == short).unwrap();
        let difference = values(variable.var.as_tensor()).iter().zip(values(wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 5e-6, "{name} differs by {difference}");
    }
}

#[test]
fn tokenization_equals_the_reference() {
    for name in FIXTURES {
        let (encoder, expected) = (load(name), Expected::of(name));
        let entries = expected.json["texts"].as_array().unwrap().iter().chain(expected.json["tokenizer_only"].as_array().unwrap());
        let mut compared = 0;
        for entry in entries.filter(|entry| entry["pair"].is_null()) {
            let text = entry["text"].as_str().unwrap();
            let batch = encoder.tokenize(&[text], Tokenization::default()).unwrap();
            let wanted = Expected::ids(entry, "input_ids");
            let kept = wanted.len().min(encoder.info().max_length);
            assert_eq!(batch.ids[..kept - 1], wanted[..kept - 1], "{name}: {text:?}");
            compared += 1;
        }
        assert!(compared >= 10, "{name}: {compared} texts");
    }
}

#[test]
fn casing_and_capabilities_are_read_from_the_folder() {
    let info = |name: &str| source(name).info().clone();
    let (mlm, base, legacy) = (info("tiny-mlm"), info("tiny-base"), info("tiny-legacy"));
    assert!(mlm.lowercase && !base.lowercase && !legacy.lowercase);
    assert_eq!((mlm.mlm_head, mlm.pooler), (true, false));
    assert_eq!((base.mlm_head, base.pooler), (false, true));
    assert_eq!((legacy.mlm_head, legacy.pooler), (true, true));
    assert!(legacy.warnings[0].contains("taken as cased"), "{:?}", legacy.warnings);
}

#[test]
fn what_is_saved_is_loaded_to_the_same_bits() {
    for name in FIXTURES {
        let (encoder, batch) = (load(name), Expected::of(name).batch());
        let saved = tempfile::tempdir().unwrap();
        encoder.trainable().unwrap().save(saved.path(), None).unwrap();
        let again = source(name).at(saved.path()).unwrap();
        assert_eq!(again.info().lowercase, encoder.info().lowercase, "{name}");
        let again = again.load(Seed(0)).unwrap();
        let run = |encoder: &dyn Encoder| {
            let output = encoder.encode(&batch, &everything(encoder), &cx()).unwrap();
            output.hidden.iter().map(|(_, state)| state).chain(&output.pooled).chain(&output.mlm_logits).flat_map(values).map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(run(encoder.as_ref()), run(again.as_ref()), "{name}");
    }
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder("tiny-mlm")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = copy.path().join("model.safetensors");
    let mut tensors: BTreeMap<String, Tensor> = lmprobe_core::candle_core::safetensors::load(&path, &Device::Cpu).unwrap().into_iter().collect();
    let removed = tensors.remove("bert.encoder.layer.1.output.dense.bias").unwrap();
    let message = |tensors: &BTreeMap<String, Tensor>| {
        write(&path, tensors);
        ModelSource::new(&BERT, ModelOptions::of(copy.path())).unwrap().load(Seed(0)).err().unwrap().to_string()
    };
    let text = message(&tensors);
    assert!(text.contains("tensor `encoder.layer.1.output.dense.bias` missing; the nearest name there is `bert.encoder.layer."), "{text}");
    // A name that nothing uses is nearer than any that is used.
    let mut misspelt = tensors.clone();
    misspelt.insert("bert.encoder.layer.1.output.dens.bias".into(), removed.clone());
    assert!(message(&misspelt).contains("the nearest name there is `bert.encoder.layer.1.output.dens.bias`"));
    tensors.insert("bert.encoder.layer.1.output.dense.bias".into(), removed.narrow(0, 0, 5).unwrap());
    let text = message(&tensors);
    assert!(text.contains("tensor `bert.encoder.layer.1.output.dense.bias` has shape [5], `config.json` says [32]"), "{text}");
}

#[test]
fn drawn_weights_hang_from_the_seed() {
    let source = ModelSource::new(&BERT, ModelOptions { init: Init::Random, ..ModelOptions::of(folder("tiny-mlm")) }).unwrap();
    let word = |seed: u64| values(source.load(Seed(seed)).unwrap().trainable().unwrap().variables()[0].var.as_tensor());
    let drawn = word(1);
    assert_eq!(drawn, word(1));
    assert_ne!(drawn, word(2));
    assert!(drawn[..32].iter().all(|&value| value == 0.0), "the padding row is 0");
    let spread = (drawn[32..].iter().map(|value| value * value).sum::<f32>() / 3_648.0).sqrt();
    assert!((spread - 0.02).abs() < 0.002, "standard deviation {spread}");
}

#[test]
fn info_nce_and_its_gradient_equal_torch() {
    let json: Value = lmprobe_core::serde_json::from_str(&std::fs::read_to_string(folder("infonce.json")).unwrap()).unwrap();
    let rows = |value: &Value| -> Vec<f32> {
        let rows = value.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
        #[expect(clippy::cast_possible_truncation, reason = "the arithmetic under test is f32")]
        rows.map(|number| number.as_f64().unwrap() as f32).collect()
    };
    let var = |name: &str| lmprobe_core::candle_core::Var::from_vec(rows(&json[name]), (3, 3), &Device::Cpu).unwrap();
    let (a, b) = (var("A"), var("B"));
    let golden = &json["gradient"];
    let loss = lmprobe_plugins::objectives::contrastive::info_nce(a.as_tensor(), b.as_tensor(), golden["tau"].as_f64().unwrap(), 0.0).unwrap();
    assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - golden["loss"].as_f64().unwrap()).abs() < 1e-6);
    let gradients = loss.backward().unwrap();
    for (var, name) in [(&a, "dA"), (&b, "dB")] {
        let (found, wanted) = (values(gradients.get(var.as_tensor()).unwrap()), rows(&golden[name]));
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{name}: {found:?}, expected {wanted:?}");
    }
}

#[test]
fn long_beginnings_keep_their_mask_and_faithful_ones_lose_it() {
    let encoder = load("tiny-mlm");
    let texts = vec!["a b c d e f g h i j k l m n o p q r s t u v w x y z ".repeat(4)];
    let build = |params: &str| {
        let registration = lmprobe_core::inventory::iter::<lmprobe_core::Registration>()
            .find(|registration| registration.id == "contrastive" && registration.kind() == lmprobe_core::Kind::Objective)
            .unwrap();
        let lmprobe_core::Build::Objective(build) = registration.build else { unreachable!("it was chosen by its kind") };
        build(lmprobe_core::serde_json::from_str(params).unwrap(), &lmprobe_core::BuildContext::default()).unwrap()
    };
    let mask = encoder.info().mask.clone().unwrap().id;
    for (params, kept) in [("{\"max_length\": 12}", true), ("{\"max_length\": 12, \"faithful\": true}", false)] {
        let source = build(params).prepare(&lmprobe_core::Material::Texts(&texts), encoder.as_ref(), Seed(1)).unwrap();
        let batch = source.batch(&[0], Seed(0)).unwrap();
        assert!(batch.inputs[0].ids.len() <= 12);
        assert_eq!(batch.inputs[0].ids.contains(&mask), kept, "{params}");
        assert_eq!(source.notes().iter().any(|note| note.contains("lost their mask")), !kept);
    }
}

#[test]
fn a_decoder_that_tying_leaves_unused_is_reported() {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "vocab.txt", "model.safetensors"] {
        std::fs::copy(folder("tiny-legacy").join(name), copy.path().join(name)).unwrap();
    }
    let path = copy.path().join("model.safetensors");
    let warnings = || {
        let options = ModelOptions { casing: Casing::Cased, ..ModelOptions::of(copy.path()) };
        ModelSource::new(&BERT, options).unwrap().load(Seed(0)).unwrap().info().warnings.clone()
    };
    assert_eq!(warnings(), Vec::<String>::new());
    let mut tensors: BTreeMap<String, Tensor> = lmprobe_core::candle_core::safetensors::load(&path, &Device::Cpu).unwrap().into_iter().collect();
    let decoder = (&tensors["cls.predictions.decoder.weight"] + 1.0).unwrap();
    tensors.insert("cls.predictions.decoder.weight".into(), decoder);
    write(&path, &tensors);
    assert!(warnings()[0].contains("the word embeddings are used"), "{:?}", warnings());
}
