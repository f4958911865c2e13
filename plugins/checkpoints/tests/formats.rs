//! One model in every format, and every kind of tensor that PyTorch saves.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use lmprobe_checkpoints::{Checkpoint, Dtype, Entry, Error, Format, write_safetensors};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/checkpoints").join(name)
}

/// Every value of a checkpoint; NaN never occurs in the fixtures.
fn values(checkpoint: &Checkpoint) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    checkpoint.entries().iter().map(|(name, entry)| (name.clone(), entry.shape.clone(), checkpoint.read_f32(name).unwrap())).collect()
}

fn twin() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    values(&Checkpoint::of_folder(&fixture("twin")).unwrap())
}

fn file_names(checkpoint: &Checkpoint) -> Vec<String> {
    checkpoint.files().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn message(result: Result<Checkpoint, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_twin_is_what_another_reader_of_safetensors_sees() {
    let bytes = std::fs::read(fixture("twin/model.safetensors")).unwrap();
    let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let twin = twin();
    assert_eq!((twin.len(), other.len()), (46, 46));
    for (name, shape, values) in twin {
        let tensor = other.tensor(&name).unwrap();
        assert_eq!(tensor.shape(), shape);
        assert_eq!(tensor.data(), values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    }
}

#[test]
fn every_format_equals_the_twin_bit_for_bit() {
    for (folder, format, files) in [
        ("zip", Format::Torch, &["pytorch_model.bin"][..]),
        ("legacy", Format::Torch, &["pytorch_model.bin"]),
        ("sharded-bin", Format::Torch, &["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]),
        ("sharded-safetensors", Format::Safetensors, &["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
    ] {
        let checkpoint = Checkpoint::of_folder(&fixture(folder)).unwrap();
        assert_eq!(checkpoint.format(), format, "{folder}");
        assert_eq!(file_names(&checkpoint), files, "{folder}");
        assert_eq!(values(&checkpoint), twin(), "{folder}");
    }
}

#[test]
fn half_precision_is_widened() {
    let checkpoint = Checkpoint::of_folder(&fixture("half")).unwrap();
    let rounded: Vec<_> =
        twin().into_iter().map(|(name, shape, values)| (name, shape, values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect())).collect();
    assert!(checkpoint.entries().values().all(|entry| entry.dtype == Dtype::F16));
    assert_eq!(values(&checkpoint), rounded);
}

#[test]
fn tensorflow_equals_the_twin_after_its_names_and_transposes() {
    let checkpoint = Checkpoint::of_folder(&fixture("tensorflow")).unwrap();
    assert_eq!(checkpoint.format().to_string(), "TensorFlow 1");
    assert_eq!(file_names(&checkpoint), ["model.ckpt-1000.index", "model.ckpt-1000.data-00000-of-00001"]);
    assert_eq!(checkpoint.skipped(), 5, "two moments of two variables, and the step");
    assert_eq!(checkpoint.file_of("bert/pooler/dense/bias").unwrap(), checkpoint.files()[1]);
    let mut read: Vec<_> = values(&checkpoint).into_iter().map(|(name, shape, values)| torch_of(&name, &shape, values)).collect();
    read.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(read, twin());
}

/// The name of a TensorFlow variable in PyTorch, and its value there.
fn torch_of(name: &str, shape: &[usize], values: Vec<f32>) -> (String, Vec<usize>, Vec<f32>) {
    let mut torch = name.replace("layer_", "layer.").replace('/', ".");
    for (from, to) in [
        ("cls.predictions.output_bias", "cls.predictions.bias"),
        ("output_weights", "weight"),
        ("output_bias", "bias"),
        ("gamma", "weight"),
        ("beta", "bias"),
        ("kernel", "weight"),
        ("_embeddings", "_embeddings.weight"),
    ] {
        if let Some(stem) = torch.strip_suffix(from) {
            torch = format!("{stem}{to}");
        }
    }
    if !name.ends_with("kernel") {
        return (torch, shape.to_vec(), values);
    }
    let [rows, columns] = *shape else { panic!("{name} is not a matrix") };
    (torch, vec![columns, rows], (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column))).map(|(r, c)| values[r * columns + c]).collect())
}

#[test]
fn tensorflow_is_opened_by_prefix_and_by_index() {
    let by_folder = Checkpoint::of_folder(&fixture("tensorflow")).unwrap();
    for name in ["tensorflow/model.ckpt-1000", "tensorflow/model.ckpt-1000.index"] {
        assert_eq!(Checkpoint::open(&fixture(name)).unwrap().entries(), by_folder.entries());
    }
}

#[test]
fn other_types_of_tensorflow_are_converted_or_left_out() {
    let checkpoint = Checkpoint::of_folder(&fixture("tensorflow-dtypes")).unwrap();
    let read = |name: &str| checkpoint.read_f32(name).unwrap();
    assert_eq!(read("half"), [f16::from_f32(0.1).to_f32(), -2.0]);
    assert_eq!(read("bfloat"), [0.100_097_656, -2.0]);
    assert_eq!(read("double"), [0.1, -2.0]);
    assert_eq!(read("scalar"), [2.5]);
    assert_eq!(checkpoint.skipped(), 1, "text");
    assert_eq!(checkpoint.entries()["int32"], Entry { dtype: Dtype::I32, shape: vec![2] });
    let message = message(Checkpoint::open(&fixture("tensorflow-dtypes/v1.ckpt")));
    assert!(message.contains("TensorFlow in its first format"), "{message}");
}

#[test]
fn windows_on_shared_memory_are_made_contiguous() {
    for file in ["unusual.bin", "unusual-legacy.bin", "protocol4.bin"] {
        let checkpoint = Checkpoint::open(&fixture("torch").join(file)).unwrap();
        let read = |name: &str| checkpoint.read_f32(name).unwrap();
        let numbers = |values: &[u8]| values.iter().map(|value| f32::from(*value)).collect::<Vec<_>>();
        assert_eq!(read("whole"), numbers(&(0..24).collect::<Vec<_>>()), "{file}");
        assert_eq!(read("transposed"), numbers(&(0..6).flat_map(|column| (0..4).map(move |row| row * 6 + column)).collect::<Vec<_>>()));
        assert_eq!(checkpoint.entries()["transposed"].shape, [6, 4]);
        assert_eq!(read("offset"), [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(read("every_third"), [1.0, 4.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0]);
        assert_eq!(read("permuted")[..6], [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]);
        assert_eq!(read("expanded"), [3.0; 10]);
        assert_eq!(read("scalar"), [2.5]);
        assert!(read("empty").is_empty());
        assert_eq!(read("parameter"), [1.0, -1.0]);
        assert_eq!(read("f64"), [0.1, f32::INFINITY]);
        assert_eq!(read("f16"), [f16::from_f32(0.1).to_f32(), -65504.0]);
        assert_eq!(read("bf16"), [bf16::from_f32(0.1).to_f32(), bf16::from_f32(-3e38).to_f32()]);
        let names: Vec<&str> = checkpoint.entries().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["bf16", "bool", "empty", "every_third", "expanded", "f16", "f64", "i64", "offset", "parameter", "permuted", "scalar", "transposed", "u8", "whole"]
        );
        let message = checkpoint.read_f32("i64").unwrap_err().to_string();
        assert!(message.contains("tensor `i64`: it holds numbers of type i64, not floating-point numbers"), "{message}");
        let message = checkpoint.read_f32("transpose").unwrap_err().to_string();
        assert!(message.ends_with("no tensor `transpose`; did you mean `transposed`?"), "{message}");
    }
}

#[test]
fn state_dicts_are_found_where_training_loops_put_them() {
    let nested = Checkpoint::open(&fixture("torch/nested.bin")).unwrap();
    assert_eq!(nested.entries().keys().collect::<Vec<_>>(), ["module.a"]);
    assert_eq!(nested.read_f32("module.a").unwrap(), [1.0, 2.0]);
    let metadata = Checkpoint::open(&fixture("torch/metadata.bin")).unwrap();
    assert_eq!(metadata.entries().keys().collect::<Vec<_>>(), ["bias", "weight"]);
    let newer = Checkpoint::open(&fixture("torch/rebuild-v3.bin")).unwrap();
    assert_eq!(newer.entries()["a"], Entry { dtype: Dtype::U16, shape: vec![2] });
    assert_eq!(newer.read_f32("b").unwrap(), [3.0]);
}

#[test]
fn folders_without_a_checkpoint_say_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let error = message(Checkpoint::of_folder(folder.path()));
    assert!(error.ends_with(
        "no checkpoint in this folder: none of `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.bin.index.json` \
         and no `*.ckpt.index` of TensorFlow"
    ));
    for name in ["tf_model.h5", "flax_model.msgpack", "model.onnx"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let error = message(Checkpoint::of_folder(folder.path()));
    assert!(error.ends_with("; `flax_model.msgpack`, `model.onnx`, `tf_model.h5` is there, but files of that kind are not read"), "{error}");
    for name in ["model.ckpt-1.index", "bert_model.ckpt.index"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let error = message(Checkpoint::of_folder(folder.path()));
    assert!(error.contains("several checkpoints in this folder: `bert_model.ckpt.index`, `model.ckpt-1.index`; keep one"), "{error}");
    assert!(message(Checkpoint::of_folder(&folder.path().join("none"))).contains("No such file"));
    assert!(message(Checkpoint::open(folder.path())).contains("this is a folder"));
}

#[test]
fn safetensors_come_before_the_others() {
    let folder = tempfile::tempdir().unwrap();
    for (from, name) in [("zip", "pytorch_model.bin"), ("twin", "model.safetensors")] {
        let before = Checkpoint::of_folder(folder.path()).ok().map(|checkpoint| checkpoint.format());
        assert_eq!(before, (from == "twin").then_some(Format::Torch));
        std::fs::copy(fixture(from).join(name), folder.path().join(name)).unwrap();
    }
    assert_eq!(Checkpoint::of_folder(folder.path()).unwrap().format(), Format::Safetensors);
}

#[test]
fn shards_that_do_not_fit_their_index_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| std::fs::copy(fixture("sharded-safetensors").join(name), folder.path().join(name)).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    let error = |text: &str| {
        std::fs::write(&index, text).unwrap();
        message(Checkpoint::of_folder(folder.path()))
    };
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    copy(first);
    let missing = error(&std::fs::read_to_string(fixture("sharded-safetensors/model.safetensors.index.json")).unwrap());
    assert!(missing.contains(&format!("it names the shard `{second}`, which is not there")), "{missing}");
    copy(second);
    let absent = error(&format!(r#"{{"weight_map": {{"nobody": "{first}"}}}}"#));
    assert!(absent.contains(first) && absent.contains("no tensor `nobody`"), "{absent}");
    std::fs::copy(folder.path().join(first), folder.path().join("b.safetensors")).unwrap();
    let name = "bert.embeddings.LayerNorm.bias";
    let twice = error(&format!(r#"{{"weight_map": {{"{name}": "{first}", "bert.pooler.dense.bias": "b.safetensors"}}}}"#));
    assert!(twice.contains("no tensor `bert.pooler.dense.bias`") || twice.contains(&format!("is in this shard and in `{first}`")), "{twice}");
    let twice = error(&format!(r#"{{"weight_map": {{"{name}": "{first}", "bert.embeddings.LayerNorm.weight": "b.safetensors"}}}}"#));
    assert!(twice.contains(&format!("is in this shard and in `{first}`")), "{twice}");
    let elsewhere = error(r#"{"weight_map": {"a": "../b.safetensors"}}"#);
    assert!(elsewhere.contains("only files in the folder of the index are read"), "{elsewhere}");
}

#[test]
fn files_of_other_kinds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"GGUF\x03", "a GGUF file"),
        (b"<!DOCTYPE html>", "a web page"),
        (&tar, "PyTorch before 0.1.10"),
        (b"hello", "not a file of `torch.save`"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = message(Checkpoint::of_folder(folder.path()));
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let source = Checkpoint::of_folder(&fixture("sharded-bin")).unwrap();
    let readers: Vec<_> = source.entries().iter().map(|(name, entry)| (name.clone(), entry.shape.clone(), || source.read_f32(name))).collect();
    let tensors: Vec<_> = readers.iter().map(|(name, shape, read)| (name.clone(), shape.clone(), read as lmprobe_checkpoints::ReadValues<'_>)).collect();
    write_safetensors(&path, &tensors).unwrap();
    assert_eq!(values(&Checkpoint::open(&path).unwrap()), twin());
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), 46);
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let other = folder.path().join("other");
    std::fs::write(&other, "").unwrap();
    let permissions = |path: &Path| path.metadata().unwrap().permissions();
    assert_eq!(permissions(&path), permissions(&other), "as readable as any other new file");
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, "old").unwrap();
    let (one, fails) = (|| Ok(vec![1.0]), || Err(Error::new(Path::new("source"), "gone")));
    let error = |name: &str, shape: &[usize], read: lmprobe_checkpoints::ReadValues<'_>| {
        write_safetensors(&path, &[("a".to_owned(), vec![1], &one), (name.to_owned(), shape.to_vec(), read)]).unwrap_err().to_string()
    };
    assert!(error("b", &[2], &one).ends_with("tensor `b` has the shape [2] but 1 values"));
    assert!(error("a", &[1], &one).ends_with("tensor `a` is there twice"));
    assert_eq!(error("b", &[1], &fails), "source: gone");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}
