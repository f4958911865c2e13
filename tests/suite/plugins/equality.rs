//! The boundary changes no bit: example plugins against built-in twins on the same data.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, ParquetReader, SerReader};
use lmprobe_core::{
    CallContext, Cancel, EncoderSource, Isolation, Plan, PlanRequest, Quiet, RunOptions, Seed, Store, TokenRows, Tokenization, Want, run, table,
};
use lmprobe_registry::bridge::{DEFAULT_TIMEOUT, LibraryRequest, OfferedLibrary};
use lmprobe_registry::{LibraryPolicy, Models, Registry, Request, resolve};

use super::libraries::{Built, c_example, root, rust_example};
use super::{Run, twins};

/// Loads a library into the process of the tests.
pub(super) fn offered(built: &Built) -> OfferedLibrary {
    let pin = built.sha256.parse().expect("a hash");
    let request = LibraryRequest { path: built.path.clone(), pin, isolation: Isolation::InProcess, timeout: DEFAULT_TIMEOUT, direct: false };
    OfferedLibrary::load(&request).expect("the library is loaded")
}

/// The built-in plugins, their twins of the examples, and the examples.
pub(super) fn registry() -> Registry {
    let mut all = Registry::builtin().expect("built-in plugins").all().to_vec();
    all.extend([&twins::HASHED, &twins::NEAREST, &twins::SHARE_RIGHT, &twins::INFO_NCE]);
    let libraries = std::iter::once(rust_example()).chain(c_example()).map(offered).collect();
    Registry::from_registrations(all).and_then(|registry| registry.with_libraries(libraries)).expect("no name comes twice")
}

/// Every table of a folder, by file name.
fn tables(folder: &Path) -> HashMap<String, DataFrame> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (
                path.file_name().expect("a name").to_string_lossy().into_owned(),
                ParquetReader::new(File::open(&path).expect("a file")).finish().expect("a table"),
            )
        })
        .collect()
}

/// The one table with these labels, without the columns that say which cell it is.
fn of(tables: &HashMap<String, DataFrame>, labels: &[(&str, &str)]) -> DataFrame {
    let has = |frame: &DataFrame, column: &str, label: &str| {
        frame.column(column).ok().and_then(|column| column.str().ok()?.get(0).map(|found| found == label)).unwrap_or(false)
    };
    let found: Vec<&DataFrame> = tables.values().filter(|frame| labels.iter().all(|(column, label)| has(frame, column, label))).collect();
    assert_eq!(found.len(), 1, "{labels:?}");
    found[0].drop_many(["run", "job_id", "encoder", "adapt", "task", "prober", "baseline", "seed", "limit"])
}

#[test]
fn frames_equal_those_of_built_in_twins_bit_for_bit() {
    let scene = Run::new();
    let facts = std::fs::read_to_string(scene.facts()).expect("the facts");
    let rows: Vec<String> = facts
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{},{},{}", cells[0], cells[1], cells[2].split(" || ").next().unwrap_or_default())
        })
        .collect();
    std::fs::write(scene.path().join("facts.csv"), format!("subject,relation,object\n{}\n", rows.join("\n"))).expect("the file can be written");
    let training = format!("corpus: {}/data/minibio/rewire.txt, steps: 5, batch_size: 8, learning_rate: 1e-3, dropout: true", root().display());
    let file = scene.file(&format!(
        "name: twins\nseeds: [5]\n\
         encoders:\n  - {{use: bert, name: minibio, model: {}/data/minibio/model}}\n  - {{use: example/hashed, name: hashed}}\n  - twin-hashed\n\
         adapt:\n  - none\n  - {{use: example/info-nce, name: plugin, {training}}}\n  - {{use: twin-info-nce, name: twin, {training}}}\n\
         tasks:\n  - {{use: example/facts, path: facts.csv}}\n\
         probers:\n  - {{use: example/nearest, name: nearest}}\n  - twin-nearest\n  - fill-mask\n\
         baselines:\n  - frequency-prior\n  - {{use: example/frequency-prior, name: prior-of-plugin}}\n\
         metrics:\n  - {{use: example/share-right, k: 3, name: of-plugin}}\n  - {{use: twin-share-right, k: 3, name: of-twin}}\n{}\
         exclude:\n  - {{encoder: hashed, adapt: plugin}}\n  - {{encoder: hashed, adapt: twin}}\n  - {{encoder: twin-hashed, adapt: plugin}}\n  - {{encoder: twin-hashed, adapt: twin}}\n",
        root().display(),
        if c_example().is_some() { "  - {use: example-c/share-right, k: 3, name: of-c}\n" } else { "" },
    ));
    let registry = registry();
    let request = Request {
        path: Path::new(&file),
        overrides: &[],
        out: Some(&scene.path().join("out")),
        models: &Models::default(),
        libraries: &LibraryPolicy::default(),
    };
    let resolved = resolve(&registry, &request).unwrap_or_else(|invalid| panic!("{invalid}"));
    let plan = Plan::new(&resolved, PlanRequest::default()).expect("a plan");
    let store = Store::open(&resolved.folder).expect("a store");
    let options = RunOptions { command: Vec::new(), version: "test".into(), threads: 1 };
    let summary = run(&resolved, &plan, &store, &options, &Quiet, &Cancel::default()).expect("a run");
    assert_eq!(summary.failed, []);

    let predictions = tables(&scene.path().join("out/predictions"));
    for (encoder, adapt) in [("minibio", "none"), ("minibio", "plugin"), ("hashed", "none")] {
        let one = of(&predictions, &[("encoder", encoder), ("adapt", adapt), ("prober", "nearest")]);
        let other = of(&predictions, &[("encoder", encoder), ("adapt", adapt), ("prober", "twin-nearest")]);
        assert!(one.equals_missing(&other), "prober, {encoder} {adapt}");
        assert_eq!(one.height(), 40);
    }
    for prober in ["nearest", "fill-mask"] {
        let of_plugin = of(&predictions, &[("encoder", "hashed"), ("prober", prober)]);
        assert!(of_plugin.equals_missing(&of(&predictions, &[("encoder", "twin-hashed"), ("prober", prober)])), "encoder, {prober}");
        let trained = |adapt: &str| of(&predictions, &[("encoder", "minibio"), ("adapt", adapt), ("prober", prober)]);
        assert!(trained("plugin").equals_missing(&trained("twin")), "objective, {prober}");
    }
    let trained = of(&predictions, &[("encoder", "minibio"), ("adapt", "plugin"), ("prober", "nearest")]);
    assert!(!trained.equals_missing(&of(&predictions, &[("encoder", "minibio"), ("adapt", "none"), ("prober", "nearest")])), "training does something");
    let prior = |prober: &str| of(&predictions, &[("prober", prober)]);
    assert!(prior("frequency-prior").equals_missing(&prior("prior-of-plugin")), "the prior of the built-in plugin");

    let training = tables(&scene.path().join("out/training"));
    let losses = |adapt: &str| of(&training, &[("adapt", adapt)]);
    assert!(losses("plugin").equals_missing(&losses("twin")), "objective");
    assert_eq!(losses("plugin").height(), 5);

    // The metrics' labels differ, so that their numbers can be told apart; everything else must not.
    let scores = summary.scores.drop("metric").expect("a column");
    let names: Vec<String> = table::texts(&summary.scores, "metric").expect("names").into_iter().map(str::to_owned).collect();
    let of_metric = |name: &str| {
        let rows: Vec<u32> = (0..).zip(&names).filter(|(_, found)| *found == name).map(|(row, _)| row).collect();
        scores.take(&lmprobe_core::polars::prelude::UInt32Chunked::new("row".into(), rows)).expect("rows")
    };
    let twin = of_metric("of-twin");
    assert!(twin.height() > 30);
    for name in names.iter().filter(|name| *name != "of-twin") {
        assert!(of_metric(name).equals_missing(&twin), "metric {name}");
    }
}

#[test]
fn embeddings_equal_those_of_the_twin_bit_for_bit() {
    let registry = registry();
    let registration = registry.find(lmprobe_core::Kind::Encoder, "example/hashed").expect("the example");
    let lmprobe_core::Build::Encoder(build) = registration.build else { panic!("an encoder") };
    let params = serde_json::json!({"hidden": 16, "layers": 2, "vocab": 512, "lowercase": true});
    let ours = build(params, &lmprobe_core::BuildContext::default()).expect("an encoder").load(Seed(0)).expect("weights");
    let twin = twins::HashedSource::new().load(Seed(0)).expect("weights");
    let texts = ["Aspirin treats  [MASK] .", "", "naïve T cells — 37 °C", "a", "x"];
    let (tokens, expected) =
        (ours.tokenize(&texts, Tokenization::at_most(5)).expect("tokens"), twin.tokenize(&texts, Tokenization::at_most(5)).expect("tokens"));
    assert_eq!(tokens, expected);
    let want = Want {
        hidden: vec![0, 2, 1],
        hidden_rows: TokenRows::At(vec![3, 0]),
        attentions: true,
        pooled: true,
        mlm_logits: Some(TokenRows::At(vec![2, 0])),
        lm_logits: None,
    };
    let cx = CallContext::new(Seed(0), &Quiet, Cancel::default());
    let (output, expected) = (ours.encode(&tokens, &want, &cx).expect("outputs"), twin.encode(&tokens, &want, &cx).expect("outputs"));
    let bits = |tensor: &lmprobe_core::candle_core::Tensor| -> (Vec<usize>, Vec<u32>) {
        (tensor.dims().to_vec(), tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("floats").into_iter().map(f32::to_bits).collect())
    };
    for ((layer, one), (expected_layer, other)) in output.hidden.iter().zip(&expected.hidden) {
        assert_eq!((layer, bits(one)), (expected_layer, bits(other)));
    }
    for (one, other) in output.attentions.iter().flatten().zip(expected.attentions.iter().flatten()) {
        assert_eq!(bits(one), bits(other));
    }
    assert_eq!((output.hidden.len(), output.attentions.len()), (3, 2));
    assert_eq!(bits(output.pooled.as_ref().expect("wanted")), bits(expected.pooled.as_ref().expect("wanted")));
    assert_eq!(bits(output.mlm_logits.as_ref().expect("wanted")), bits(expected.mlm_logits.as_ref().expect("wanted")));
}
