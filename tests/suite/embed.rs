//! `lmprobe embed`: every format holds the same vectors, and no vector depends on how it was computed.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::array_files::{Array, npy, parquet, safetensors, vectors};
use crate::program::{Finished, fixtures, lmprobe};

const TEXTS: &str = "fever\nThe drug may treat [MASK] .\n\nHepatitis is a rare liver disease with high fever, acute pain and [MASK].\r\n\
                     Néphritis hépatomA 肝病 β-cell; 25% quinine!\n  acute nephritis  \nanti-hyperten[MASK] dose:\t10 mg/kg  [MASK]";

pub(crate) fn tiny(name: &str) -> String {
    fixtures().join("bert").join(name).to_str().expect("UTF-8").to_owned()
}

/// A folder to embed in, with `texts.txt`.
pub(crate) struct Workspace(tempfile::TempDir);

impl Workspace {
    pub(crate) fn new() -> Self {
        let workspace = Self(tempfile::tempdir().expect("a folder"));
        workspace.write("texts.txt", TEXTS);
        workspace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("the file can be written");
    }

    /// Runs `lmprobe embed MODEL INPUT` with more arguments, which are split at blanks.
    pub(crate) fn embed(&self, model: &str, input: &str, more: &str) -> Finished {
        let arguments: Vec<&str> = ["embed", model, input].into_iter().chain(more.split_whitespace()).collect();
        Finished::of(lmprobe(&arguments).current_dir(self.0.path()))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.0.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).expect("a file")).expect("JSON")
    }
}

#[test]
fn every_format_holds_the_same_pooled_vectors() {
    for (pooling, layers, n_layers) in [("cls", "-1", 1), ("mean", "all", 3), ("mean-words --skip-empty", "0,-1", 2), ("max", "1", 1), ("last", "2,0", 2)] {
        let workspace = Workspace::new();
        for ending in ["parquet", "safetensors", "npy"] {
            workspace.embed(&tiny("tiny-mlm"), "texts.txt", &format!("-o out.{ending} --pooling {pooling} --layers {layers}")).exits(0);
        }
        let n = if pooling.contains("skip") { 6 } else { 7 };
        let (tensors, metadata) = safetensors(&workspace.path("out.safetensors"));
        let expected = &tensors["embeddings"];
        let shape = if n_layers == 1 { vec![n, 32] } else { vec![n, n_layers, 32] };
        assert_eq!(expected.shape, shape);
        assert_eq!(metadata["pooling"], pooling.split(' ').next().expect("a word"));
        let array = npy(&workspace.path("out.npy"));
        assert_eq!((array.shape.clone(), array.f32_bits()), (shape, expected.f32_bits()));
        let frame = parquet(&workspace.path("out.parquet"));
        assert_eq!(vectors(&frame).f32_bits(), expected.f32_bits());
        assert_eq!(frame.get_column_names(), ["index", "layer", "embedding"]);
        if n == 6 {
            let index: Vec<i64> = frame.column("index").unwrap().u64().unwrap().iter().step_by(n_layers).map(|n| i64::try_from(n.unwrap()).unwrap()).collect();
            assert_eq!(index, [0, 1, 3, 4, 5, 6], "the third line is empty");
            assert_eq!((tensors["index"].i64s(), npy(&workspace.path("out.npy.index.npy")).i64s()), (index.clone(), index));
        }
    }
}

#[test]
fn every_format_holds_the_same_vector_of_each_token() {
    let workspace = Workspace::new();
    for ending in ["parquet", "safetensors", "npy", "jsonl"] {
        workspace.embed(&tiny("tiny-mlm"), "texts.txt", &format!("-o out.{ending} --pooling tokens --layers 1,-1 --max-length 18")).exits(0);
    }
    let (tensors, _) = safetensors(&workspace.path("out.safetensors"));
    let (offsets, ids) = (tensors["offsets"].i64s(), tensors["ids"].i64s());
    let n = ids.len();
    assert_eq!((offsets.len(), offsets[0], usize::try_from(offsets[7]).unwrap()), (8, 0, n));
    assert_eq!(tensors["embeddings"].shape, [n, 2, 32]);
    assert_eq!(tensors["special"].bytes.iter().map(|special| u32::from(*special)).sum::<u32>(), 14, "[CLS] and [SEP] of seven texts");
    assert_eq!(npy(&workspace.path("out.npy")).f32_bits(), tensors["embeddings"].f32_bits());
    assert_eq!(npy(&workspace.path("out.npy.offsets.npy")).i64s(), offsets);
    let frame = parquet(&workspace.path("out.parquet"));
    assert_eq!(vectors(&frame).f32_bits(), tensors["embeddings"].f32_bits());
    assert_eq!(
        frame.get_column_names(),
        ["index", "token_index", "token", "id", "word", "start", "end", "special", "layer", "embedding"],
        "a row a token and layer"
    );
    let column: Vec<i64> = frame.column("id").unwrap().u32().unwrap().iter().step_by(2).map(|id| i64::from(id.unwrap())).collect();
    assert_eq!(column, ids);
    let layers: Vec<i32> = frame.column("layer").unwrap().i32().unwrap().iter().take(4).map(Option::unwrap).collect();
    assert_eq!(layers, [1, 2, 1, 2]);
    let words = frame.column("word").unwrap();
    assert_eq!(words.null_count(), 28, "special tokens belong to no word");

    // The rounded numbers of the lines.
    let lines = std::fs::read_to_string(workspace.path("out.jsonl")).unwrap();
    let values: Vec<f64> = lines.lines().flat_map(line_values).collect();
    let exact = tensors["embeddings"].f32_bits();
    assert_eq!(values.len(), exact.len());
    for (value, bits) in values.iter().zip(exact) {
        assert!((value - f64::from(f32::from_bits(bits))).abs() <= 5.0001e-7);
    }
}

/// All numbers of a line of features, by token, layer and dimension.
fn line_values(line: &str) -> Vec<f64> {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let features = line["features"].as_array().expect("features").iter();
    let layers = features.flat_map(|feature| feature["layers"].as_array().expect("layers"));
    layers.flat_map(|layer| layer["values"].as_array().expect("values")).map(|value| value.as_f64().expect("a number")).collect()
}

#[test]
fn how_texts_go_through_the_model_changes_no_byte() {
    let workspace = Workspace::new();
    // The matrix library takes another path for very small products, whose last bits differ: in a model of width 32 those of passes of up to
    // eight tokens, in one of width 384 none.
    let long: Vec<&str> = TEXTS.lines().filter(|line| line.len() > 30).collect();
    let lines: Vec<String> = (0..60).map(|n| long.iter().cycle().skip(n * 3).take(1 + n % 4).copied().collect::<Vec<_>>().join(" ; ")).collect();
    workspace.write("many.txt", lines.join("\n") + "\n");
    let whole = |more: &str| {
        workspace.embed(&tiny("tiny-mlm"), "many.txt", &format!("-o out.safetensors --force --pooling tokens --layers all {more}")).exits(0);
        std::fs::read(workspace.path("out.safetensors")).expect("the output")
    };
    let expected = whole("");
    for more in ["--batch-tokens 1", "--batch-tokens 64", "--batch-size 1", "--batch-size 7 --batch-tokens 8192", "--threads 1", "--threads 2"] {
        assert!(whole(more) == expected, "{more} changes the output");
    }
    // Each line by itself, in the other direction.
    workspace.embed(&tiny("tiny-mlm"), "many.txt", "-o all.npy").exits(0);
    let all = npy(&workspace.path("all.npy")).f32_bits();
    workspace.write("many.txt", lines.iter().rev().cloned().collect::<Vec<_>>().join("\n"));
    workspace.embed(&tiny("tiny-mlm"), "many.txt", "-o reversed.npy").exits(0);
    let reversed = npy(&workspace.path("reversed.npy")).f32_bits();
    assert_eq!(all.chunks(32).rev().collect::<Vec<_>>().concat(), reversed);
    for (n, line) in lines.iter().enumerate().step_by(20) {
        workspace.write("one.txt", line);
        workspace.embed(&tiny("tiny-mlm"), "one.txt", "-o one.npy --force").exits(0);
        assert_eq!(npy(&workspace.path("one.npy")).f32_bits(), all[n * 32..(n + 1) * 32], "line {n}");
    }
}

/// What transformers computed for a fixture.
struct Reference {
    /// Texts, and the second texts of pairs.
    texts: Vec<(String, Option<String>)>,
    tokens: Vec<Vec<String>>,
    /// `(layers, texts, 18, hidden)`.
    states: Array,
}

impl Reference {
    fn of(model: &str) -> Self {
        let folder = fixtures().join("bert").join(model);
        let json: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let texts = json["texts"].as_array().unwrap();
        let tokens = |text: &Value| text["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap().to_owned()).collect();
        let pair = |text: &Value| (text["text"].as_str().unwrap().to_owned(), text["pair"].as_str().map(str::to_owned));
        let (mut tensors, _) = safetensors(&folder.join("expected.safetensors"));
        Self { texts: texts.iter().map(pair).collect(), tokens: texts.iter().map(tokens).collect(), states: tensors.remove("hidden_states").unwrap() }
    }
}

#[test]
fn jsonl_is_what_extract_features_writes() {
    for (model, n_layers) in [("tiny-mlm", 2i64), ("tiny-base", 3), ("tiny-legacy", 2)] {
        let Reference { texts, tokens, states } = Reference::of(model);
        let workspace = Workspace::new();
        let lines: Vec<String> = texts.iter().map(|(text, pair)| pair.as_ref().map_or_else(|| text.clone(), |pair| format!("{text} ||| {pair}"))).collect();
        workspace.write("lines.txt", lines.join("\n") + "\n");
        let finished = workspace.embed(&tiny(model), "lines.txt", "--format jsonl --layers -1,-2").exits(0);
        let hidden = states.shape[3];
        let values = states.f32_bits();
        for (n, line) in finished.stdout.lines().enumerate() {
            assert!(
                line.starts_with(&format!("{{\"linex_index\": {n}, \"features\": [{{\"token\": \"[CLS]\", \"layers\": [{{\"index\": -1, \"values\": [")),
                "{line}"
            );
            let json: Value = serde_json::from_str(line).unwrap();
            let features = json["features"].as_array().unwrap();
            let found: Vec<&str> = features.iter().map(|feature| feature["token"].as_str().unwrap()).collect();
            assert_eq!(found, tokens[n]);
            for (position, feature) in features.iter().enumerate() {
                for layer in feature["layers"].as_array().unwrap() {
                    let at = usize::try_from(layer["index"].as_i64().unwrap() + n_layers + 1).unwrap();
                    let start = ((at * texts.len() + n) * 18 + position) * hidden;
                    for (value, bits) in layer["values"].as_array().unwrap().iter().zip(&values[start..start + hidden]) {
                        let (value, expected) = (value.as_f64().unwrap(), f64::from(f32::from_bits(*bits)));
                        assert!((value - expected).abs() <= 1e-4 + 1e-4 * expected.abs(), "{model} line {n} token {position}: {value}, expected {expected}");
                    }
                }
            }
        }
        assert_eq!(finished.stdout.lines().count(), 6);
    }
}

#[test]
fn texts_come_from_every_kind_of_file() {
    let workspace = Workspace::new();
    let rows = [("fever", "acute pain"), ("a \"rare\", acute\ndisease", "liver"), ("", "kidney")];
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let table: String = rows.iter().map(|(a, b)| [&quoted(a), ",7,", &quoted(b), "\r\n"].concat()).collect();
    workspace.write("in.csv", format!("\u{feff}text,n,other\r\n{table}"));
    let lines: String = rows.iter().map(|(a, b)| serde_json::json!({"text": a, "other": b, "n": 7}).to_string() + "\n\n").collect();
    workspace.write("in.jsonl", lines);
    let column = |name: &str, values: Vec<&str>| polars::prelude::Column::new(name.into(), values);
    let columns = vec![column("other", rows.map(|row| row.1).to_vec()), column("text", rows.map(|row| row.0).to_vec())];
    let mut frame = polars::prelude::DataFrame::new(3, columns).unwrap();
    polars::prelude::ParquetWriter::new(std::fs::File::create(workspace.path("in.parquet")).unwrap()).finish(&mut frame).unwrap();
    let mut found = Vec::new();
    for input in ["in.csv", "in.jsonl", "in.parquet"] {
        workspace.embed(&tiny("tiny-mlm"), input, "-o single.npy --force").exits(0);
        workspace.embed(&tiny("tiny-mlm"), input, "-o pair.parquet --force --pair-column other --with-text").exits(0);
        let frame = parquet(&workspace.path("pair.parquet"));
        for (name, expected) in [("text", rows.map(|row| row.0)), ("pair", rows.map(|row| row.1))] {
            let texts: Vec<&str> = frame.column(name).unwrap().str().unwrap().iter().map(Option::unwrap).collect();
            assert_eq!(texts, expected, "{input}");
        }
        found.push((npy(&workspace.path("single.npy")).bytes, vectors(&frame).bytes));
    }
    assert!(found.iter().all(|vectors| *vectors == found[0]), "the kind of file changes the vectors");
}

#[test]
fn a_quote_in_a_table_of_tabs_is_a_character() {
    let workspace = Workspace::new();
    let rows = [("\"acute\" pain", "liver"), ("\"fever", "kidney\""), ("5\" incision", "\"\""), ("\"", "a, b")];
    let table: String = rows.iter().map(|(a, b)| [a, "\t7\t", b, "\r\n"].concat()).collect();
    workspace.write("in.tsv", format!("\u{feff}text\tn\tother\r\n{table}"));
    workspace.embed(&tiny("tiny-mlm"), "in.tsv", "-o pair.parquet --pair-column other --with-text").exits(0);
    let frame = parquet(&workspace.path("pair.parquet"));
    for (name, expected) in [("text", rows.map(|row| row.0)), ("pair", rows.map(|row| row.1))] {
        let texts: Vec<&str> = frame.column(name).unwrap().str().unwrap().iter().map(Option::unwrap).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn standard_input_is_a_text_file() {
    let workspace = Workspace::new();
    workspace.embed(&tiny("tiny-mlm"), "texts.txt", "-o file.npy --limit 4").exits(0);
    let mut child = lmprobe(&["embed", &tiny("tiny-mlm"), "-", "-o", "pipe.npy", "--limit", "4"])
        .current_dir(workspace.path("."))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(TEXTS.as_bytes()).expect("the program reads");
    assert!(child.wait().expect("the program ends").success());
    let (file, pipe) = (npy(&workspace.path("file.npy")), npy(&workspace.path("pipe.npy")));
    assert_eq!(file.shape, [4, 32]);
    assert_eq!(file, pipe);
}

#[test]
fn what_was_cut_and_left_out_is_counted() {
    let workspace = Workspace::new();
    let finished = workspace.embed(&tiny("tiny-mlm"), "texts.txt", "-o out.parquet --max-length 8 --skip-empty").exits(0);
    assert!(finished.stderr.contains("cut: 3 of 6 texts were longer than 8 tokens\nleft out: 1 empty texts\n"), "{}", finished.stderr);
    let summary = workspace.json("out.parquet.json");
    assert_eq!((&summary["texts"], &summary["truncated"], &summary["skipped_empty"]), (&6.into(), &3.into(), &1.into()), "{summary}");
    assert_eq!(summary["layers"], serde_json::json!([2]));
    assert_eq!(summary["arrays"]["embedding"]["shape"], serde_json::json!([6, 32]));
    assert_eq!(summary["model"]["files_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(workspace.names(), ["out.parquet", "out.parquet.json", "texts.txt"], "nothing else is left");
}

#[test]
fn an_input_without_texts_gives_an_output_without_vectors() {
    let workspace = Workspace::new();
    workspace.write("none.txt", "");
    for ending in ["parquet", "safetensors", "npy", "jsonl"] {
        workspace.embed(&tiny("tiny-base"), "none.txt", &format!("-o out.{ending} --pooling tokens --layers -1")).exits(0);
    }
    assert_eq!(npy(&workspace.path("out.npy")).shape, [0, 48]);
    assert_eq!(npy(&workspace.path("out.npy.offsets.npy")).i64s(), [0]);
    assert_eq!(safetensors(&workspace.path("out.safetensors")).0["embeddings"].shape, [0, 48]);
    assert_eq!(parquet(&workspace.path("out.parquet")).height(), 0);
    assert_eq!(std::fs::read(workspace.path("out.jsonl")).unwrap(), b"");
}
