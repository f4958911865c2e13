//! Every family of encoders against the reference implementation, on the fixtures of `tests/fixtures/encoders` (made by the `make.py`
//! there, in double precision).
#![expect(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use lmprobe_core::candle_core::{Device, Tensor};
use lmprobe_core::serde_json::{self, Value};
use lmprobe_core::{CallContext, Cancel, Dtype, Encoder, EncoderOutput, EncoderSource, Quiet, Seed, TokenBatch, TokenRows, Tokenization, Want};
use lmprobe_plugins::encoders::{bert::BERT, biogpt::BIOGPT, distilbert::DISTILBERT, gpt2::GPT2, roberta::ROBERTA};
use lmprobe_plugins::nn::blueprint::Family;
use lmprobe_plugins::nn::compute::Compute;
use lmprobe_plugins::nn::model_source::{Init, ModelOptions, ModelSource};
use lmprobe_plugins::nn::ops;
use lmprobe_plugins::nn::pre_norm::FinalNorm;

const FIXTURES: [(&str, &Family); 10] = [
    ("bert-one", &BERT),
    ("biogpt-base", &BIOGPT),
    ("biogpt-lm", &BIOGPT),
    ("distilbert-base", &DISTILBERT),
    ("distilbert-mlm", &DISTILBERT),
    ("gpt2-head1", &GPT2),
    ("gpt2-lm", &GPT2),
    ("gpt2-one", &GPT2),
    ("roberta-base", &ROBERTA),
    ("roberta-mlm", &ROBERTA),
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/encoders").join(name)
}

fn load(name: &str, family: &'static Family) -> Box<dyn Encoder> {
    ModelSource::new(family, ModelOptions::of(folder(name))).unwrap().load(Seed(0)).unwrap()
}

/// Both forms of a model: on a tape, and packed for inference.
fn forms(name: &str, family: &'static Family) -> [(&'static str, Box<dyn Encoder>); 2] {
    let source = ModelSource::new(family, ModelOptions::of(folder(name))).unwrap();
    [("taped", source.load(Seed(0)).unwrap()), ("packed", source.load_for_inference(Seed(0)).unwrap())]
}

struct Expected {
    json: Value,
    tensors: HashMap<String, Tensor>,
}

impl Expected {
    fn of(name: &str) -> Self {
        let json = std::fs::read_to_string(folder(name).join("expected.json")).unwrap();
        let tensors = lmprobe_core::candle_core::safetensors::load(folder(name).join("expected.safetensors"), &Device::Cpu).unwrap();
        Self { json: serde_json::from_str(&json).unwrap(), tensors }
    }

    fn texts(&self) -> &[Value] {
        self.json["texts"].as_array().unwrap()
    }

    /// The texts of the fixture as one packed batch, from the reference's own ids.
    fn batch(&self) -> TokenBatch {
        let ids =
            |entry: &Value, key: &str| -> Vec<u32> { entry[key].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect() };
        let mut batch = TokenBatch::default();
        for entry in self.texts() {
            let tokens = ids(entry, "input_ids");
            let n = tokens.len();
            batch.ids.extend(tokens);
            batch.type_ids.extend(ids(entry, "token_type_ids"));
            batch.special.extend(vec![false; n]);
            batch.word_ids.extend(vec![None; n]);
            batch.char_offsets.extend(vec![(0, 0); n]);
            batch.offsets.push(batch.ids.len());
            batch.truncated.push(false);
        }
        batch
    }
}

fn cx() -> CallContext<'static> {
    CallContext::new(Seed(0), &Quiet, Cancel::default())
}

fn everything(encoder: &dyn Encoder) -> Want {
    let info = encoder.info();
    Want {
        hidden: (0..=info.layers).collect(),
        attentions: true,
        pooled: info.pooler,
        mlm_logits: info.mlm_head.then_some(TokenRows::All),
        lm_logits: info.lm_head.then_some(TokenRows::All),
        ..Want::default()
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn logits(output: &EncoderOutput) -> Option<&Tensor> {
    output.mlm_logits.as_ref().or(output.lm_logits.as_ref())
}

/// Compares with a tolerance of `1e-5 (1 + |expected|)` and remembers the largest share of it.
struct Comparison {
    name: String,
    largest: f32,
}

impl Comparison {
    fn check(&mut self, what: &str, found: &Tensor, wanted: &Tensor) {
        assert_eq!(found.dims(), wanted.dims(), "{}: {what}", self.name);
        for (found, wanted) in values(found).iter().zip(values(wanted)) {
            let share = (found - wanted).abs() / (1e-5 * (1.0 + wanted.abs()));
            assert!(share <= 1.0, "{}: {what}: found {found}, expected {wanted}", self.name);
            self.largest = self.largest.max(share);
        }
    }
}

#[test]
fn hidden_states_attentions_and_logits_equal_the_reference_padded_and_unpadded() {
    for ((form, encoder), name) in FIXTURES.into_iter().flat_map(|(name, family)| forms(name, family).map(|form| (form, name))) {
        let expected = Expected::of(name);
        let batch = expected.batch();
        let want = everything(encoder.as_ref());
        let mut comparison = Comparison { name: format!("{name}, {form}"), largest: 0.0 };
        let together = encoder.encode(&batch, &want, &cx()).unwrap();
        for index in 0..batch.len() {
            let (range, n) = (batch.range(index), batch.sequence_len(index));
            let alone = encoder.encode(&batch.select(&[index]), &want, &cx()).unwrap();
            for (output, start, sequence) in [(&together, range.start, index), (&alone, 0, 0)] {
                let rows = |tensor: &Tensor| tensor.narrow(0, start, n).unwrap();
                let states: Vec<Tensor> = output.hidden.iter().map(|(_, state)| rows(state)).collect();
                let states = Tensor::stack(&states, 0).unwrap();
                comparison.check(&format!("hidden states of text {index}"), &states, &expected.tensors[&format!("hidden_states.{index}")]);
                comparison.check(&format!("padded hidden states of text {index}"), &states, &expected.tensors[&format!("padded.hidden_states.{index}")]);
                let attentions: Vec<&Tensor> = output.attentions.iter().map(|block| &block[sequence]).collect();
                comparison.check(
                    &format!("attentions of text {index}"),
                    &Tensor::stack(&attentions, 0).unwrap(),
                    &expected.tensors[&format!("attentions.{index}")],
                );
                if let Some(logits) = logits(output) {
                    comparison.check(&format!("logits of text {index}"), &rows(logits), &expected.tensors[&format!("logits.{index}")]);
                    comparison.check(&format!("padded logits of text {index}"), &rows(logits), &expected.tensors[&format!("padded.logits.{index}")]);
                }
                if let Some(pooled) = &output.pooled {
                    comparison.check(&format!("pooled text {index}"), &pooled.get(sequence).unwrap(), &expected.tensors[&format!("pooled.{index}")]);
                }
            }
            let stored = |what: &str| expected.tensors.contains_key(&format!("{what}.{index}"));
            assert_eq!((together.pooled.is_some(), logits(&together).is_some()), (stored("pooled"), stored("logits")), "{name}: parts");
        }
        println!("{name}, {form}: the largest difference is {:.2} of the tolerance 1e-5 (1 + |x|)", comparison.largest);
    }
}

/// The scalar whose gradients the fixture holds, as `expected.json` states it.
fn loss(encoder: &dyn Encoder, expected: &Expected) -> Tensor {
    let (batch, info) = (expected.batch(), encoder.info());
    let mut positions = Vec::new();
    let mut targets = Vec::new();
    for label in expected.json["labels"].as_array().unwrap() {
        let number = |index: usize| usize::try_from(label[index].as_u64().unwrap()).unwrap();
        positions.push(batch.offsets[number(0)] + number(1));
        targets.push(u32::try_from(number(2)).unwrap());
    }
    let rows = || TokenRows::At(positions.clone());
    let want =
        Want { hidden: vec![info.layers], pooled: info.pooler, mlm_logits: info.mlm_head.then(rows), lm_logits: info.lm_head.then(rows), ..Want::default() };
    let output = encoder.trainable().unwrap().forward(&batch, &want, None).unwrap();
    let weighted = |found: &Tensor, name: &str, divisor: f64| {
        let weights: Vec<&Tensor> = (0..batch.len()).map(|index| &expected.tensors[&format!("{name}.{index}")]).collect();
        let weights = if weights[0].rank() == 1 { Tensor::stack(&weights, 0) } else { Tensor::cat(&weights, 0) }.unwrap();
        ((found * weights).unwrap().sum_all().unwrap() / divisor).unwrap()
    };
    let mut loss = weighted(output.layer(info.layers).unwrap(), "weight_hidden", 100.0);
    if let Some(pooled) = &output.pooled {
        loss = (loss + weighted(pooled, "weight_pooled", 10.0)).unwrap();
    }
    if let Some(logits) = logits(&output) {
        let n = targets.len();
        let targets = Tensor::from_vec(targets, n, &Device::Cpu).unwrap();
        loss = (loss + ops::negative_log_likelihood(&ops::log_softmax(logits).unwrap(), &targets).unwrap()).unwrap();
    }
    loss
}

/// A gradient's name in the reference is that of the parameter there: with or without the family's prefix.
fn reference<'a>(expected: &'a Expected, name: &str) -> Option<&'a Tensor> {
    ["", "transformer.", "biogpt.", "roberta.", "distilbert.", "bert."].iter().find_map(|prefix| expected.tensors.get(&format!("grad.{prefix}{name}")))
}

#[test]
fn gradients_reach_every_variable_and_equal_the_reference() {
    for (name, family) in FIXTURES {
        let (encoder, expected) = (load(name, family), Expected::of(name));
        let scalar = loss(encoder.as_ref(), &expected);
        let wanted = expected.json["loss"].as_f64().unwrap();
        assert!((f64::from(scalar.to_scalar::<f32>().unwrap()) - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{name}: loss");
        let model = encoder.trainable().unwrap();
        model.backward(&scalar).unwrap();
        let gradients = model.gradients().lock().unwrap();
        let zero: Vec<&str> = expected.json["gradient_zero_but_for_rounding"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let variables = model.variables();
        let (mut worst, mut checked) = (0.0f32, 0);
        for (index, variable) in variables.iter().enumerate() {
            let wanted = reference(&expected, &variable.name).unwrap_or_else(|| panic!("{name}: no reference gradient for {}", variable.name));
            let found = gradients.to_vec(index).unwrap_or_else(|| panic!("{name}: no gradient reaches {}", variable.name));
            // GPT-2's linear maps are stored the other way round.
            let conv1d = name.starts_with("gpt2")
                && variable.name.ends_with(".weight")
                && (variable.name.contains("c_attn") || variable.name.contains("c_proj") || variable.name.contains("c_fc"));
            let wanted = if conv1d { wanted.t().unwrap().contiguous().unwrap() } else { wanted.clone() };
            assert_eq!(variable.var.dims(), wanted.dims(), "{name}: {}", variable.name);
            let wanted = values(&wanted);
            let largest = wanted.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let difference = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // The softmax ignores what is added to all keys alike: this gradient is 0 but for rounding, in the reference too.
            if largest < 1e-6 {
                assert!(zero.iter().any(|zero| zero.ends_with(&variable.name)), "{name}: the reference gradient of {} is 0", variable.name);
                assert!(difference < 1e-5, "{name}: {}", variable.name);
            } else {
                assert!(difference <= 1e-4 * largest, "{name}: gradient of {} differs by {difference} of {largest}", variable.name);
                worst = worst.max(difference / largest);
            }
            checked += 1;
        }
        assert_eq!(checked, expected.tensors.keys().filter(|key| key.starts_with("grad.")).count(), "{name}: every reference gradient has its variable");
        println!("{name}: {checked} gradients, the largest difference is {worst:.1e} of the tensor's largest entry");
    }
}

#[test]
fn what_is_saved_and_exported_is_loaded_to_the_same_bits() {
    for (name, family) in FIXTURES {
        let source = ModelSource::new(family, ModelOptions::of(folder(name))).unwrap();
        let (encoder, batch) = (source.load(Seed(0)).unwrap(), Expected::of(name).batch());
        let run = |encoder: &dyn Encoder| -> Vec<u32> {
            let output = encoder.encode(&batch, &everything(encoder), &cx()).unwrap();
            let tensors = output.hidden.iter().map(|(_, state)| state).chain(&output.pooled).chain(&output.mlm_logits).chain(&output.lm_logits);
            tensors.flat_map(values).map(f32::to_bits).collect()
        };
        let (saved, exported) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        encoder.trainable().unwrap().save(saved.path(), None).unwrap();
        source.export(exported.path()).unwrap();
        for copy in [saved.path(), exported.path()] {
            let again = source.at(copy).unwrap();
            assert_eq!(again.report().unused, Vec::<String>::new(), "{name}");
            assert_eq!(run(again.load(Seed(0)).unwrap().as_ref()), run(encoder.as_ref()), "{name}");
            let names = |folder: &Path| -> BTreeMap<String, Vec<usize>> {
                let tensors = lmprobe_core::candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
                tensors.into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec())).collect()
            };
            assert_eq!(names(copy), names(&folder(name)), "{name}: the names and shapes that transformers writes");
        }
    }
}

#[test]
fn the_final_norm_is_a_choice() {
    for (name, family) in FIXTURES.into_iter().filter(|(name, _)| name.starts_with("gpt2") || name.starts_with("biogpt")) {
        let expected = Expected::of(name);
        let batch = expected.batch().select(&[1]);
        let last = |final_norm: FinalNorm| {
            let encoder = ModelSource::new(family, ModelOptions { final_norm, ..ModelOptions::of(folder(name)) }).unwrap().load(Seed(0)).unwrap();
            let layer = encoder.info().layers;
            encoder.encode(&batch, &Want::layer(layer), &cx()).unwrap().layer(layer).unwrap().clone()
        };
        let mut comparison = Comparison { name: name.to_owned(), largest: 0.0 };
        comparison.check("after the norm", &last(FinalNorm::Always), &expected.tensors["last_hidden_state.1"]);
        comparison.check("before the norm", &last(FinalNorm::Never), &expected.tensors["before_final_norm.1"]);
        let as_hf4 = if name.starts_with("gpt2") { "last_hidden_state.1" } else { "before_final_norm.1" };
        comparison.check("as transformers 4", &last(FinalNorm::AsHf4), &expected.tensors[as_hf4]);
    }
}

/// A copy of a fixture with another configuration.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
    copy
}

#[test]
fn biogpts_facts_hold_one_by_one() {
    let expected = Expected::of("biogpt-lm");
    let facts = &expected.json["facts"];
    let tensors = lmprobe_core::candle_core::safetensors::load(folder("biogpt-lm").join("model.safetensors"), &Device::Cpu).unwrap();
    // Hidden state 0 of a single token is its embedding times the root of the width plus position row 2.
    let id = expected.texts()[0]["input_ids"][0].as_u64().unwrap();
    let word = values(&tensors["biogpt.embed_tokens.weight"].get(usize::try_from(id).unwrap()).unwrap());
    let position = values(&tensors["biogpt.embed_positions.weight"].get(2).unwrap());
    let encoder = load("biogpt-lm", &BIOGPT);
    let first = encoder.encode(&expected.batch().select(&[0]), &Want::layer(0), &cx()).unwrap();
    let scale = 32.0f32.sqrt();
    assert!((f64::from(scale) - facts["embedding_scale"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(facts["first_position_row"], 2);
    for ((found, word), position) in values(first.layer(0).unwrap()).iter().zip(&word).zip(&position) {
        assert!((found - (word * scale + position)).abs() < 1e-6);
    }
    // The configuration says 1e-12; the reference, and so this, uses 1e-5 whatever it says.
    assert_eq!((facts["layer_norm_eps_in_config"].as_f64(), facts["layer_norm_eps_used"].as_f64()), (Some(1e-12), Some(1e-5)));
    let other = changed("biogpt-lm", |config| config["layer_norm_eps"] = 0.1.into());
    let other = ModelSource::new(&BIOGPT, ModelOptions::of(other.path())).unwrap().load(Seed(0)).unwrap();
    let batch = expected.batch();
    let state = |encoder: &dyn Encoder| values(encoder.encode(&batch, &Want::layer(2), &cx()).unwrap().layer(2).unwrap());
    assert_eq!(state(other.as_ref()), state(encoder.as_ref()));
    // Without the scale the embeddings are taken as they are.
    let unscaled = changed("biogpt-lm", |config| config["scale_embedding"] = false.into());
    let unscaled = ModelSource::new(&BIOGPT, ModelOptions::of(unscaled.path())).unwrap().load(Seed(0)).unwrap();
    let first = unscaled.encode(&batch.select(&[0]), &Want::layer(0), &cx()).unwrap();
    assert!(values(first.layer(0).unwrap()).iter().zip(&word).zip(&position).all(|((found, word), position)| (found - (word + position)).abs() < 1e-6));
}

#[test]
fn gpt2s_facts_hold_one_by_one() {
    let expected = Expected::of("gpt2-lm");
    let batch = expected.batch();
    let tensors = lmprobe_core::candle_core::safetensors::load(folder("gpt2-lm").join("model.safetensors"), &Device::Cpu).unwrap();
    // Files hold linear maps as (inputs, outputs), the network as (outputs, inputs).
    let encoder = load("gpt2-lm", &GPT2);
    let variables = encoder.trainable().unwrap().variables();
    let c_fc = variables.iter().find(|variable| variable.name == "h.0.mlp.c_fc.weight").unwrap();
    assert_eq!((c_fc.var.dims(), tensors["transformer.h.0.mlp.c_fc.weight"].dims()), (&[128, 32][..], &[32, 128][..]));
    // The activation is the tanh form of GELU: another one gives other numbers.
    let state = |encoder: &dyn Encoder| values(encoder.encode(&batch, &Want::layer(2), &cx()).unwrap().layer(2).unwrap());
    let erf = changed("gpt2-lm", |config| config["activation_function"] = "gelu".into());
    let erf = ModelSource::new(&GPT2, ModelOptions::of(erf.path())).unwrap().load(Seed(0)).unwrap();
    let difference = state(erf.as_ref()).iter().zip(state(encoder.as_ref())).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 1e-4, "{difference}");
    // A token does not see what stands behind it.
    let whole = encoder.encode(&batch.select(&[1]), &Want::layer(2), &cx()).unwrap();
    let mut cut = batch.select(&[1]);
    for list in [&mut cut.ids, &mut cut.type_ids] {
        list.truncate(5);
    }
    (cut.offsets, cut.special, cut.word_ids, cut.char_offsets) = (vec![0, 5], vec![false; 5], vec![None; 5], vec![(0, 0); 5]);
    let part = encoder.encode(&cut, &Want::layer(2), &cx()).unwrap();
    let difference = values(part.layer(2).unwrap()).iter().zip(values(whole.layer(2).unwrap())).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn configurations_that_no_network_has_are_refused() {
    let message = |name: &str, family: &'static Family, key: &str, value: Value| {
        let copy = changed(name, |config| config[key] = value);
        ModelSource::new(family, ModelOptions::of(copy.path())).err().unwrap().to_string()
    };
    for (name, family, key, value, wanted) in [
        ("gpt2-lm", &GPT2, "n_head", 5.into(), "`n_embd` 32 is not a multiple of `n_head` 5"),
        ("biogpt-lm", &BIOGPT, "num_attention_heads", 5.into(), "`hidden_size` 32 is not a multiple of `num_attention_heads` 5"),
        ("roberta-mlm", &ROBERTA, "num_attention_heads", 0.into(), "`num_attention_heads` is 0"),
        ("distilbert-mlm", &DISTILBERT, "n_heads", 3.into(), "`dim` 32 is not a multiple of `n_heads` 3"),
        ("bert-one", &BERT, "hidden_act", "swish".into(), "`hidden_act` \"swish\" is not supported; gelu,"),
        ("gpt2-lm", &GPT2, "scale_attn_by_inverse_layer_idx", true.into(), "`scale_attn_by_inverse_layer_idx: true` is not supported"),
        ("gpt2-lm", &GPT2, "n_layer", "two".into(), "not a GPT-2 configuration: invalid type: string \"two\""),
        ("gpt2-lm", &GPT2, "n_positions", 1_099_511_627_776u64.into(), "`n_positions` is 1099511627776, which no model has"),
        ("bert-one", &BERT, "hidden_dropout_prob", 1.5.into(), "`hidden_dropout_prob` 1.5 is not in [0, 1)"),
    ] {
        let text = message(name, family, key, value);
        assert!(text.contains(wanted) && text.contains("config.json"), "{name} {key}: {text}");
    }
}

#[test]
fn what_a_network_does_not_have_is_not_given() {
    let encoder = load("gpt2-one", &GPT2);
    let batch = Expected::of("gpt2-one").batch();
    let message = |want: Want| encoder.encode(&batch, &want, &cx()).err().unwrap().to_string();
    assert!(message(Want { pooled: true, ..Want::default() }).contains("no pooler"));
    assert!(message(Want { mlm_logits: Some(TokenRows::All), ..Want::default() }).contains("no masked-language-model logits"));
    assert!(message(Want { lm_logits: Some(TokenRows::All), ..Want::default() }).contains("no causal-language-model head"));
    assert!(message(Want::layer(9)).contains("hidden state 9 was asked of a model with hidden states 0 to 1"));
    let long = encoder.tokenize(&["a b c d e f g h i j k l m n o p q r s t u v w x y z"], Tokenization::default()).unwrap();
    assert!(long.truncated[0] && long.ids.len() == encoder.info().max_length);
}

#[test]
fn what_is_wanted_of_some_tokens_has_the_bits_of_what_is_wanted_of_all() {
    for (name, family) in FIXTURES {
        let batch = Expected::of(name).batch();
        let positions = vec![batch.ids.len() - 1, 0, 3, 0];
        for packed in [true, false] {
            let source = ModelSource::new(family, ModelOptions::of(folder(name))).unwrap();
            let encoder = if packed { source.load_for_inference(Seed(0)).unwrap() } else { source.load(Seed(0)).unwrap() };
            let info = encoder.info().clone();
            let all = encoder.encode(&batch, &everything(encoder.as_ref()), &cx()).unwrap();
            let rows = || TokenRows::At(positions.clone());
            let mut wants = vec![
                Want::layer_at(info.layers, positions.clone()),
                Want { hidden: vec![info.layers, 0, 1], hidden_rows: rows(), attentions: true, pooled: info.pooler, ..Want::default() },
                Want { mlm_logits: info.mlm_head.then(rows), lm_logits: info.lm_head.then(rows), ..Want::default() },
            ];
            if info.pooler {
                wants.push(Want { pooled: true, ..Want::default() });
            }
            for want in wants {
                let some = encoder.encode(&batch, &want, &cx()).unwrap();
                assert_eq!(some.attentions.len(), if want.attentions { info.layers } else { 0 });
                for (layer, state) in &some.hidden {
                    let (found, expected) = (state.to_vec2::<f32>().unwrap(), all.layer(*layer).unwrap().to_vec2::<f32>().unwrap());
                    assert_eq!(found, positions.iter().map(|&position| expected[position].clone()).collect::<Vec<_>>(), "{name}: layer {layer}");
                }
                // Heads of a few rows go through another product than those of many.
                let near = |found: &[f32], expected: &[f32]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()));
                for (some, all) in [(&some.mlm_logits, &all.mlm_logits), (&some.lm_logits, &all.lm_logits)] {
                    if let (Some(some), Some(all)) = (some, all) {
                        let (found, expected) = (some.to_vec2::<f32>().unwrap(), all.to_vec2::<f32>().unwrap());
                        assert!(found.len() == positions.len() && found.iter().zip(&positions).all(|(row, &at)| near(row, &expected[at])), "{name}");
                    }
                }
                if let (Some(some), Some(all)) = (&some.pooled, &all.pooled) {
                    assert!(some.dims() == all.dims() && near(&values(some), &values(all)), "{name}");
                }
            }
            let refused = encoder.encode(&batch, &Want::layer_at(info.layers, vec![batch.ids.len()]), &cx()).unwrap_err().to_string();
            assert!(refused.contains("something was asked at position"), "{refused}");
        }
    }
}

#[test]
fn dropout_hangs_from_its_seed_and_lets_gradients_through() {
    for (name, family) in FIXTURES {
        let (encoder, batch) = (load(name, family), Expected::of(name).batch());
        let model = encoder.trainable().unwrap();
        let want = Want::layer(encoder.info().layers);
        let pass = |dropout: Option<Seed>| model.forward(&batch, &want, dropout).unwrap().hidden.remove(0).1;
        let first = pass(Some(Seed(1)));
        assert_eq!(values(&first), values(&pass(Some(Seed(1)))), "{name}");
        assert_ne!(values(&first), values(&pass(Some(Seed(2)))), "{name}");
        assert_ne!(values(&first), values(&pass(None)), "{name}");
        model.backward(&first.sqr().unwrap().sum_all().unwrap()).unwrap();
        let gradients = model.gradients().lock().unwrap();
        // The last hidden state hangs from everything but pooler and head.
        let outside = ["pooler.", "cls.", "lm_head.", "vocab_", "output_projection."];
        let variables = model.variables();
        for (index, variable) in variables.iter().enumerate().filter(|(_, variable)| !outside.iter().any(|start| variable.name.starts_with(start))) {
            assert!(gradients.get(index).is_some(), "{name}: no gradient reaches {}", variable.name);
        }
    }
}

#[test]
fn drawn_weights_hang_from_the_seed() {
    for (name, family) in FIXTURES {
        let source = ModelSource::new(family, ModelOptions { init: Init::Random, ..ModelOptions::of(folder(name)) }).unwrap();
        let drawn = |seed: u64| -> Vec<f32> {
            source.load(Seed(seed)).unwrap().trainable().unwrap().variables().iter().flat_map(|variable| values(variable.var.as_tensor())).collect()
        };
        assert_eq!(drawn(1), drawn(1), "{name}");
        assert_ne!(drawn(1), drawn(2), "{name}");
    }
}

/// An encoder built by its registered name, as a run file builds it.
fn registered(id: &str, params: Value) -> std::sync::Arc<dyn EncoderSource> {
    let registration = lmprobe_core::inventory::iter::<lmprobe_core::Registration>()
        .find(|registration| registration.id == id && registration.kind() == lmprobe_core::Kind::Encoder)
        .unwrap();
    let lmprobe_core::Build::Encoder(build) = registration.build else { unreachable!("it was chosen by its kind") };
    build(params, &lmprobe_core::BuildContext::default()).unwrap()
}

#[test]
fn biobert_and_linkbert_are_bert_with_what_is_known_of_them() {
    // A folder that says nothing of casing: transformers would lower-case it in silence.
    let silent = changed("bert-one", |_| {});
    std::fs::remove_file(silent.path().join("tokenizer_config.json")).unwrap();
    let model = silent.path().to_str().unwrap();
    let biobert = registered("biobert", serde_json::json!({"model": model}));
    assert!(!biobert.info().lowercase, "BioBERT is cased whatever the folder says");
    assert!(biobert.info().warnings.iter().any(|warning| warning.contains("is this BioBERT?")), "{:?}", biobert.info().warnings);
    let uncased = registered("biobert", serde_json::json!({"model": model, "casing": "uncased"}));
    assert!(uncased.info().warnings.iter().any(|warning| warning.contains("BioBERT is cased, but")), "{:?}", uncased.info().warnings);
    let linkbert = registered("linkbert", serde_json::json!({"model": folder("bert-one").to_str().unwrap()}));
    assert!(linkbert.info().warnings.iter().any(|warning| warning.contains("is this LinkBERT?")), "{:?}", linkbert.info().warnings);
    // The numbers are BERT's.
    let (batch, last) = (Expected::of("bert-one").batch(), load("bert-one", &BERT));
    let state = |encoder: &dyn Encoder| values(encoder.encode(&batch, &Want::layer(1), &cx()).unwrap().layer(1).unwrap());
    for source in [biobert, linkbert] {
        assert_eq!(state(source.load(Seed(0)).unwrap().as_ref()), state(last.as_ref()));
    }
}

#[test]
fn a_release_of_linkbert_with_the_wrong_casing_is_reported() {
    // The vocabulary of BioLinkBERT has 28 895 entries and is uncased; no weights are needed to see that the tokenizer is not.
    let copy = changed("bert-one", |config| config["vocab_size"] = 28_895.into());
    let source = registered("linkbert", serde_json::json!({"model": copy.path().to_str().unwrap(), "init": "random"}));
    assert_eq!(source.info().warnings, ["BioLinkBERT is uncased, but the tokenizer is cased (tokenizer_config.json)"]);
}

#[test]
fn a_packed_model_gives_each_sequence_its_bits_whatever_stands_beside_it_and_on_any_number_of_threads() {
    for (name, family) in FIXTURES {
        let [_, (_, encoder)] = forms(name, family);
        let expected = Expected::of(name).batch();
        // Several groups of sequences: 40 times the fixture's texts, in another order each time.
        let n = expected.len();
        let order: Vec<usize> = (0..40 * n).map(|at| (at * 7 + at / n) % n).collect();
        let many = expected.select(&order);
        let want = Want { hidden: vec![0, encoder.info().layers], attentions: true, pooled: encoder.info().pooler, ..Want::default() };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| encoder.encode(&many, &want, &cx()).unwrap())
        };
        let (one, three) = (run(1), run(3));
        let alone: Vec<EncoderOutput> = (0..n).map(|index| encoder.encode(&expected.select(&[index]), &want, &cx()).unwrap()).collect();
        let bits = |tensor: &Tensor| values(tensor).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        for (at, &index) in order.iter().enumerate() {
            let range = many.range(at);
            for layer in 0..2 {
                let rows = |output: &EncoderOutput| bits(&output.hidden[layer].1.narrow(0, range.start, range.len()).unwrap());
                assert_eq!(rows(&one), rows(&three), "{name}");
                assert_eq!(rows(&one), bits(&alone[index].hidden[layer].1), "{name}: sequence {at}");
            }
            for (block, attentions) in one.attentions.iter().enumerate() {
                assert_eq!(bits(&attentions[at]), bits(&alone[index].attentions[block][0]), "{name}: attentions of sequence {at}");
            }
        }
        assert!(encoder.trainable().is_none(), "what is packed cannot be trained");
    }
}

#[test]
fn bf16_is_close_to_f32_and_stays_with_an_adapted_checkpoint() {
    let compute = Compute { dtype: Dtype::Bf16, ..Compute::default() };
    for (name, family) in FIXTURES {
        let source = ModelSource::new(family, ModelOptions { compute, ..ModelOptions::of(folder(name)) }).unwrap();
        let exact = ModelSource::new(family, ModelOptions::of(folder(name))).unwrap().load_for_inference(Seed(0)).unwrap();
        let rounded = source.load_for_inference(Seed(0)).unwrap();
        assert_eq!((exact.info().dtype, rounded.info().dtype), (Dtype::F32, Dtype::Bf16));
        let tokens = exact.tokenize(&["Aspirin inhibits the aggregation of platelets.", "fever"], Tokenization::at_most(16)).unwrap();
        let states = [&exact, &rounded].map(|encoder| {
            let want = Want::layer(encoder.info().layers);
            encoder.encode(&tokens, &want, &cx()).unwrap().hidden[0].1.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
        let size = states[0].iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        let worst = states[0].iter().zip(&states[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / size;
        assert!(worst > 1e-6 && worst < 0.03, "{name}: {worst}");

        let adapted = tempfile::tempdir().unwrap();
        source.export(adapted.path()).unwrap();
        let reopened = source.at(adapted.path()).unwrap();
        assert_eq!((reopened.info().dtype, reopened.decided()), (Dtype::Bf16, source.decided()));
        let trained = reopened.load(Seed(0)).unwrap();
        let output = trained.trainable().unwrap().forward(&tokens, &Want::layer(trained.info().layers), None).unwrap();
        let trained = values(&output.hidden[0].1);
        let worst = states[1].iter().zip(&trained).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / size;
        assert!(worst < 0.03 && trained.iter().zip(&states[0]).any(|(a, b)| (a - b).abs() > 1e-6 * size), "{name}: {worst}");
    }
}
