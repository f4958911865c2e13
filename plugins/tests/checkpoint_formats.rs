//! One model in every format gives one and the same numbers, on the fixtures of `tests/fixtures/checkpoints` (written by PyTorch and
//! TensorFlow themselves, by the `make.py` there).
#![expect(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

use std::path::{Path, PathBuf};

use lmprobe_core::candle_core::{Device, Tensor};
use lmprobe_core::{CallContext, Cancel, Encoder, EncoderSource, Quiet, Seed, TokenRows, Tokenization, Want};
use lmprobe_plugins::encoders::bert::BERT;
use lmprobe_plugins::nn::model_source::{ModelOptions, ModelSource};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/checkpoints").join(name)
}

fn open(folder: &Path) -> ModelSource {
    ModelSource::new(&BERT, ModelOptions::of(folder)).unwrap()
}

/// The bits of the last hidden state, the pooled output and the logits of some texts.
fn bits(encoder: &dyn Encoder) -> Vec<u32> {
    let batch = encoder.tokenize(&["a b c", "b", "c a"], Tokenization::default()).unwrap();
    let want = Want { hidden: vec![encoder.info().layers], pooled: true, mlm_logits: Some(TokenRows::All), ..Want::default() };
    let output = encoder.encode(&batch, &want, &CallContext::new(Seed(0), &Quiet, Cancel::default())).unwrap();
    let tensors = output.hidden.iter().map(|(_, state)| state).chain(&output.pooled).chain(&output.mlm_logits);
    tensors.flat_map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()).map(f32::to_bits).collect()
}

fn load(name: &str) -> Box<dyn Encoder> {
    open(&folder(name)).load(Seed(0)).unwrap()
}

#[test]
fn every_format_loads_to_the_bits_of_its_twin() {
    let twin = bits(load("twin").as_ref());
    for name in ["sharded-safetensors", "zip", "legacy", "sharded-bin", "tensorflow"] {
        assert_eq!(bits(load(name).as_ref()), twin, "{name}");
    }
    // Half precision keeps eleven bits of each weight.
    let half = bits(load("half").as_ref());
    let difference = half.iter().zip(&twin).map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs()).fold(0.0, f32::max);
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

#[test]
fn the_report_says_what_a_file_holds() {
    let formats = ["twin", "zip", "tensorflow", "half"].map(|name| {
        let source = open(&folder(name));
        let report = source.report();
        (report.format.clone(), report.dtypes.clone(), report.unused.clone(), source.info().mlm_head, source.info().pooler)
    });
    let f32s = |n: usize| vec![("f32".to_owned(), n)];
    assert_eq!(
        formats[0],
        ("safetensors".to_owned(), f32s(46), vec!["cls.seq_relationship.bias".to_owned(), "cls.seq_relationship.weight".to_owned()], true, true)
    );
    assert_eq!((formats[1].0.as_str(), formats[2].0.as_str()), ("PyTorch", "TensorFlow 1"));
    assert_eq!(formats[2].2, ["cls/seq_relationship/output_bias", "cls/seq_relationship/output_weights"]);
    assert_eq!(formats[3].1, [("f16".to_owned(), formats[3].1[0].1)]);
}

#[test]
fn a_tensorflow_release_without_config_json_is_read_and_exported() {
    let release = tempfile::tempdir().unwrap();
    for name in ["bert_config.json", "vocab.txt", "model.ckpt-1000.index", "model.ckpt-1000.data-00000-of-00001"] {
        std::fs::copy(folder("tensorflow").join(name), release.path().join(name)).unwrap();
    }
    let source = open(release.path());
    let exported = tempfile::tempdir().unwrap();
    source.export(exported.path()).unwrap();
    let twin = bits(load("twin").as_ref());
    assert_eq!(bits(open(exported.path()).load(Seed(0)).unwrap().as_ref()), twin);
    // Nothing is lost: heads that the network does not use are exported with the rest, under today's names and transposed.
    let tensors = |folder: &Path| -> Vec<(String, Vec<f32>)> {
        let tensors = lmprobe_core::candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
        let mut tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors.into_iter().map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap())).collect()
    };
    let (found, wanted) = (tensors(exported.path()), tensors(&folder("twin")));
    let names = |tensors: &[(String, Vec<f32>)]| tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted));
    assert_eq!(found, wanted);
    let config = std::fs::read_to_string(exported.path().join("config.json")).unwrap();
    assert!(config.contains("\"model_type\": \"bert\""), "{config}");
}

#[test]
fn damaged_checkpoints_are_errors_that_name_the_file() {
    let message = |from: &str, name: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder(from)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let path = copy.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let source = ModelSource::new(&BERT, ModelOptions::of(copy.path()));
        source.and_then(|source| source.load(Seed(0)).map(|_| ())).err().unwrap().to_string()
    };
    for (from, name) in [
        ("twin", "model.safetensors"),
        ("zip", "pytorch_model.bin"),
        ("legacy", "pytorch_model.bin"),
        ("tensorflow", "model.ckpt-1000.index"),
        ("tensorflow", "model.ckpt-1000.data-00000-of-00001"),
        ("sharded-safetensors", "model-00002-of-00002.safetensors"),
        ("sharded-bin", "pytorch_model.bin.index.json"),
    ] {
        for damage in [(|bytes: &mut Vec<u8>| bytes.clear()) as fn(&mut Vec<u8>), |bytes| bytes.truncate(bytes.len() / 2)] {
            let text = message(from, name, &damage);
            assert!(text.contains(name), "{from}/{name}: {text}");
        }
    }
    // Formats with checksums notice a single flipped bit among the values.
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    for (from, name) in [("zip", "pytorch_model.bin"), ("tensorflow", "model.ckpt-1000.data-00000-of-00001")] {
        assert!(message(from, name, &flip).contains(name), "{from}");
    }
}
