//! The whole boundary, driven by a small host.

mod host;

use std::ptr;
use std::sync::atomic::Ordering;

use host::{Failure, HostCall, component, components, empty_buf, empty_table, empty_tensors, tried};
use lmprobe_abi::*;
use lmprobe_sdk::__private::{give_table, take_table, take_tensors, take_text};
use lmprobe_sdk::serde_json::{Value, json};
use lmprobe_sdk::{CandidateRows, Column, ExampleRow, ExampleRows, Table, Tensor};

const FACTS: &[(&str, &str, &[&str])] = &[
    ("aspirin", "treats", &["pain", "fever"]),
    ("ibuprofen", "treats", &["pain"]),
    ("insulin", "treats", &["diabetes"]),
    ("smoking", "causes", &["cancer"]),
    ("rest", "treats", &["nothing listed"]),
];

fn questions() -> (Table, Table) {
    let (mut examples, mut candidates) = (ExampleRows::new(), CandidateRows::new());
    for &(subject, relation, golds) in FACTS {
        examples.push(ExampleRow {
            example_id: format!("{relation}/{subject}"),
            relation: relation.to_owned(),
            subject: subject.to_owned(),
            prompt: format!("{subject} {relation} [Y]"),
            golds: golds.iter().map(|&gold| gold.to_owned()).collect(),
            pool: relation.to_owned(),
        });
        for &gold in golds.iter().filter(|gold| !gold.contains("listed")) {
            candidates.push(relation, gold);
        }
    }
    (examples.into_table().unwrap(), candidates.into_table().unwrap())
}

fn predictions() -> Table {
    let (examples, candidates) = questions();
    component("example/frequency-prior").create("{}").unwrap().run(&HostCall::default(), examples, candidates).unwrap()
}

#[test]
fn the_plugin_says_what_it_offers() {
    let ids: Vec<(u32, &str)> = components().iter().map(|&known| (known.kind, host::Component(known).text(|known| known.id))).collect();
    let expected = [
        (LMPROBE_KIND_METRIC, "example/share-right"),
        (LMPROBE_KIND_PROBER, "example/frequency-prior"),
        (LMPROBE_KIND_PROBER, "example/nearest"),
        (LMPROBE_KIND_OBJECTIVE, "example/info-nce"),
        (LMPROBE_KIND_TASK, "example/facts"),
        (LMPROBE_KIND_ENCODER, "example/hashed"),
        (LMPROBE_KIND_METRIC, "example/misbehave"),
    ];
    assert_eq!(ids, expected);
    for known in components().into_iter().map(host::Component) {
        let schema: Value = lmprobe_sdk::serde_json::from_str(known.text(|known| known.params_schema)).unwrap();
        assert_eq!((&schema["type"], schema["additionalProperties"].as_bool()), (&json!("object"), Some(false)), "{schema}");
        assert!(!schema.to_string().contains("$ref"), "{schema}");
        assert_eq!(known.0.struct_size as usize, size_of::<lmprobe_component>());
    }
    assert_eq!(component("example/info-nce").text(|known| known.facts), r#"{"recipe":{"steps":20,"batch_size":8}}"#);
    assert_eq!(component("example/hashed").text(|known| known.facts), r#"{"families":["hashed"]}"#);
    assert_eq!(lmprobe_example_plugin::LMPROBE_STAMP, lmprobe_stamp::CURRENT);
}

#[test]
fn instances_describe_themselves() {
    let described = |id: &str| component(id).create("{}").unwrap().describe();
    assert_eq!(described("example/share-right"), json!({"name": "share-right@1"}));
    assert_eq!(described("example/frequency-prior")["needs"]["encoders"], 0);
    assert_eq!(described("example/nearest")["needs"]["layers"], json!([-1]));
    assert_eq!(described("example/hashed")["mask"], json!({"text": "[MASK]", "id": 4}));
    let objective = described("example/info-nce");
    assert_eq!((&objective["inputs"], &objective["want"]["hidden"]), (&json!(2), &json!([-1])));
    assert_eq!(objective["sample"][0][1], json!({"name": "offsets.0", "shape": [3], "values": [0, 2, 3], "dtype": "i64"}));
}

#[test]
fn parameters_that_cannot_be_honoured_are_errors() {
    let failed = |id: &str, params: &str| component(id).create(params).map(drop).unwrap_err();
    let (status, message, path) = failed("example/share-right", r#"{"k": 0}"#);
    assert_eq!((status, message.as_str(), path.as_str()), (LMPROBE_CONFIG, "`k` is 0, expected at least 1", "/k"));
    let (status, message, _) = failed("example/share-right", r#"{"n": 1}"#);
    assert!(status == LMPROBE_CONFIG && message.contains("unknown field `n`"), "{message}");
}

#[test]
fn a_metric_reads_what_a_prober_writes() {
    let metric = component("example/share-right").create(r#"{"k": 1}"#).unwrap();
    let rows = metric.compute(&HostCall::default(), predictions()).unwrap();
    // treats: pain first, then diabetes and fever; right for aspirin and ibuprofen, of 4. causes: 1 of 1.
    assert_eq!(rows.texts("aggregate").unwrap().iter().collect::<Vec<_>>(), ["micro", "relation", "relation"]);
    assert_eq!(rows.numbers::<f64>("value").unwrap().values(), [3.0 / 5.0, 1.0, 0.5]);
    assert_eq!(rows.numbers::<i64>("n").unwrap().values(), [5, 1, 4]);
    let relations = rows.texts("relation").unwrap();
    assert_eq!([relations.optional(0), relations.optional(1)], [None, Some("causes")]);
}

#[test]
fn a_prober_keeps_the_order_of_the_examples() {
    let table = predictions();
    assert_eq!(table.texts("subject").unwrap().iter().collect::<Vec<_>>(), FACTS.iter().map(|fact| fact.0).collect::<Vec<_>>());
    assert_eq!(table.numbers::<i64>("rank").unwrap().iter().collect::<Vec<_>>(), [Some(1), Some(1), Some(2), Some(1), None]);
    let lists = table.text_lists("predictions").unwrap();
    assert_eq!(lists.get(2).iter().collect::<Vec<_>>(), ["pain", "diabetes", "fever"]);
    assert_eq!(table.number_lists::<f64>("scores").unwrap().get(2).values(), [0.5, 0.25, 0.25]); // of 4 questions
}

#[test]
fn a_prober_asks_the_encoder_of_the_host() {
    let (examples, candidates) = questions();
    let call = HostCall::with_encoder("{}");
    let nearest = component("example/nearest").create("{}").unwrap();
    let table = nearest.run(&call, examples, candidates).unwrap();
    assert_eq!(table.numbers::<i64>("n_candidates").unwrap().values(), [3, 3, 3, 1, 3]);
    let scores = table.number_lists::<f64>("scores").unwrap();
    assert!((0..5).all(|row| scores.get(row).values().is_sorted_by(|a, b| a >= b)));
    assert_eq!(call.progress.lock().unwrap()[..], [("questions".to_owned(), 5, 5), ("candidates".to_owned(), 4, 4)]);
}

#[test]
fn a_layer_that_does_not_exist_is_an_error_of_the_prober() {
    let (examples, candidates) = questions();
    let nearest = component("example/nearest").create(r#"{"layer": 9}"#).unwrap();
    let (status, message, _) = nearest.run(&HostCall::with_encoder("{}"), examples, candidates).unwrap_err();
    assert!(status == LMPROBE_CONFIG && message.contains("layer 9 does not exist"), "{message}");
}

#[test]
fn a_request_to_stop_ends_the_call() {
    let call = HostCall::with_encoder("{}");
    call.cancelled.store(true, Ordering::Relaxed);
    for id in ["example/nearest", "example/frequency-prior"] {
        let (examples, candidates) = questions();
        assert_eq!(component(id).create("{}").unwrap().run(&call, examples, candidates).unwrap_err().0, LMPROBE_CANCELLED);
    }
}

#[test]
fn a_task_reads_its_file_and_names_what_is_wrong_in_it() {
    let folder = std::env::temp_dir().join(format!("lmprobe-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let examples = |name: &str, text: &str| -> Result<(Table, Table), Failure> {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let task = component("example/facts").create(&json!({"path": path}).to_string()).unwrap();
        assert_eq!(task.describe(), json!({"default_metrics": ["example/share-right"]}));
        task.examples(&HostCall::default())
    };
    let good = "subject,relation,object\naspirin,treats,pain\ninsulin,treats,\"diabetes, type 1\"\naspirin,treats,fever\naspirin,treats,pain\n";
    let (questions, candidates) = examples("good.csv", good).unwrap();
    assert_eq!(questions.texts("example_id").unwrap().iter().collect::<Vec<_>>(), ["treats/aspirin", "treats/insulin"]);
    assert_eq!(questions.texts("prompt").unwrap().get(0), "aspirin treats [Y]");
    assert_eq!(questions.text_lists("golds").unwrap().get(0).iter().collect::<Vec<_>>(), ["pain", "fever"]);
    assert_eq!(candidates.texts("name").unwrap().iter().collect::<Vec<_>>(), ["diabetes, type 1", "fever", "pain"]);
    let wrong = |name: &str, text: &str| examples(name, text).unwrap_err().1;
    assert!(wrong("short.csv", "subject,relation,object\naspirin,treats\n").ends_with("short.csv:2: 2 cells, expected 3"));
    assert!(wrong("header.csv", "a,b,c\n").contains("header.csv:1: the header is `a,b,c`"));
    assert!(wrong("empty.csv", "subject,relation,object\naspirin,,pain\n").contains("empty.csv:2: `relation` is empty"));
    std::fs::remove_dir_all(&folder).unwrap();
    let gone = component("example/facts").create(&json!({"path": folder.join("good.csv")}).to_string()).unwrap();
    assert_eq!(gone.examples(&HostCall::default()).unwrap_err().0, LMPROBE_IO);
}

#[test]
fn an_encoder_runs_texts_and_sequences_alike() {
    let encoder = component("example/hashed").create(r#"{"hidden": 4, "vocab": 32}"#).unwrap();
    let functions = encoder.functions::<lmprobe_encoder_vt>();
    let call = HostCall::default();
    let lent = |text: &'static str| lmprobe_str { ptr: text.as_ptr(), len: text.len() };
    let absent = lmprobe_str { ptr: ptr::null(), len: 0 };
    let (texts, pairs) = ([lent("Aspirin helps [MASK]"), lent("gout")], [absent, lent("a longer text")]);
    let layers = [2u32, 0];
    // SAFETY: zeros are an empty request; what it points to is alive.
    let mut request: lmprobe_encode_req = unsafe { std::mem::zeroed() };
    request.struct_size = size_of::<lmprobe_encode_req>() as u32;
    request.n_texts = 2;
    request.texts = texts.as_ptr();
    request.pairs = pairs.as_ptr();
    request.max_len = 6;
    request.want = LMPROBE_WANT_HIDDEN_STATES | LMPROBE_WANT_ATTENTIONS | LMPROBE_WANT_POOLED | LMPROBE_WANT_MLM_LOGITS;
    request.n_layers = 2;
    request.layers = layers.as_ptr();
    // SAFETY: all arguments are alive and ours.
    let (tokens, by_text) = unsafe {
        tried(|error| functions.load.unwrap()(encoder.raw, call.raw(), error)).unwrap();
        let mut tokens = empty_table();
        tried(|error| functions.tokenize.unwrap()(encoder.raw, call.raw(), &raw const request, &raw mut tokens, error)).unwrap();
        let mut outputs = empty_tensors();
        tried(|error| functions.encode.unwrap()(encoder.raw, call.raw(), &raw const request, &raw mut outputs, error)).unwrap();
        (take_table(tokens).unwrap(), take_tensors(outputs).unwrap())
    };
    // [CLS] aspirin helps [MASK] [SEP], then [CLS] gout [SEP] a longer [SEP] of which one word was cut.
    let ids: Vec<i64> = tokens.numbers::<i64>("id").unwrap().values().to_vec();
    assert_eq!((ids[0], ids[3], ids[4], ids[5], ids.len()), (1, 4, 2, 1, 11));
    assert_eq!(tokens.numbers::<i64>("sequence").unwrap().values(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(tokens.numbers::<i64>("type_id").unwrap().values()[5..], [0, 0, 0, 1, 1, 1]);
    assert_eq!((tokens.flags("truncated").unwrap().get(0), tokens.flags("truncated").unwrap().get(5)), (Some(false), Some(true)));
    assert_eq!((tokens.numbers::<i64>("start").unwrap().get(2), tokens.numbers::<i64>("end").unwrap().get(2)), (Some(8), Some(13)));
    let shapes: Vec<(&str, &[usize])> = by_text.iter().map(|(name, tensor)| (name.as_str(), tensor.shape())).collect();
    let cells = 2 * (5 * 5 + 6 * 6);
    assert_eq!(shapes, [("offsets", &[3][..]), ("hidden_states", &[2, 11, 4]), ("attentions", &[2, cells]), ("pooled", &[2, 4]), ("mlm_logits", &[11, 32])]);
    // The same as packed sequences, with logits of one row.
    let ids: Vec<u32> = ids.iter().map(|&id| u32::try_from(id).unwrap()).collect();
    let (offsets, rows) = ([0u64, 5, 11], [3u64]);
    request.n_sequences = 2;
    request.offsets = offsets.as_ptr();
    request.ids = ids.as_ptr();
    request.flags = LMPROBE_ENCODE_SOME_ROWS;
    request.n_rows = 1;
    request.rows = rows.as_ptr();
    // SAFETY: as above.
    let by_ids = unsafe {
        let mut outputs = empty_tensors();
        tried(|error| functions.encode.unwrap()(encoder.raw, call.raw(), &raw const request, &raw mut outputs, error)).unwrap();
        take_tensors(outputs).unwrap()
    };
    assert_eq!(by_ids[0].1.as_f32s().unwrap(), by_text[1].1.as_f32s().unwrap());
    assert_eq!(by_ids[3].1.as_f32s().unwrap(), &by_text[4].1.as_f32s().unwrap()[3 * 32..4 * 32]);
    let token = |id: u32| {
        let mut token = empty_buf();
        // SAFETY: as above.
        unsafe {
            tried(|error| functions.token.unwrap()(encoder.raw, id, &raw mut token, error)).unwrap();
            take_text(token)
        }
    };
    assert_eq!([token(1), token(9), token(32)], ["[CLS]", "w9", ""]);
    request.max_len = 2;
    let mut tokens = empty_table();
    // SAFETY: as above.
    let failed = tried(|error| unsafe { functions.tokenize.unwrap()(encoder.raw, call.raw(), &raw const request, &raw mut tokens, error) });
    assert_eq!(failed.unwrap_err().0, LMPROBE_CONFIG);
}

#[test]
fn an_objective_prepares_batches_and_differentiates() {
    let objective = component("example/info-nce").create("{}").unwrap();
    let functions = objective.functions::<lmprobe_objective_vt>();
    let call = HostCall::with_encoder(r#"{"hidden": 4}"#);
    let texts = Table::new().with("text", Column::texts(["aspirin helps against pain", "too short", "insulin lowers the sugar in blood"])).unwrap();
    // SAFETY: all arguments are alive and ours.
    unsafe {
        let (mut texts, mut examples, mut report) = (give_table(texts).unwrap(), ptr::null_mut(), empty_buf());
        tried(|error| functions.prepare.unwrap()(objective.raw, call.raw(), &raw mut texts, &raw mut examples, &raw mut report, error)).unwrap();
        assert!(texts.array.release.is_none());
        let report: Value = lmprobe_sdk::serde_json::from_str(&take_text(report)).unwrap();
        assert_eq!(report, json!({"examples": 2, "notes": ["1 of 3 lines have fewer than 4 words and were left out"]}));
        let (mut inputs, mut targets) = (empty_table(), empty_tensors());
        let mut batch = |chosen: &[u64]| {
            tried(|error| functions.batch.unwrap()(examples, call.raw(), chosen.len(), chosen.as_ptr(), &raw mut inputs, &raw mut targets, error))
        };
        assert!(batch(&[2]).unwrap_err().1.contains("there is no example 2"));
        batch(&[1, 0]).unwrap();
        let inputs = take_table(inputs).unwrap();
        assert!(take_tensors(targets).unwrap().is_empty());
        // insulin lowers the | sugar in blood, aspirin helps | against pain, each with two special tokens.
        assert_eq!(inputs.numbers::<i64>("input").unwrap().values(), [[0; 9].as_slice(), &[1; 9]].concat());
        assert_eq!(inputs.numbers::<i64>("sequence").unwrap().values(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
        functions.destroy_examples.unwrap()(examples);
    }
}

#[test]
fn the_gradient_equals_differences_of_values() {
    let objective = component("example/info-nce").create(r#"{"temperature": 0.5}"#).unwrap();
    let call = HostCall::default();
    let inputs = sample(&objective.describe()["sample"][0]);
    let (value, gradients) = objective.value_and_grad(&call, &inputs, 0b0101).unwrap();
    assert_eq!(gradients.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hidden_states.0", "hidden_states.1"]);
    assert!(value > 0.0);
    for (name, gradient) in gradients {
        let index = inputs.iter().position(|(known, _)| *known == name).unwrap();
        // Under an interpreter a few cells must do.
        let step = if cfg!(miri) { 4 } else { 1 };
        for (cell, &slope) in gradient.as_f32s().unwrap().iter().enumerate().step_by(step) {
            let moved = |step: f32| {
                let mut inputs = inputs.clone();
                let mut values = inputs[index].1.as_f32s().unwrap().to_vec();
                values[cell] += step;
                inputs[index].1 = Tensor::f32s(inputs[index].1.shape(), values).unwrap();
                objective.value_and_grad(&call, &inputs, 0).unwrap().0
            };
            let difference = (moved(1.0 / 1_024.0) - moved(-1.0 / 1_024.0)) * 512.0;
            assert!((difference - f64::from(slope)).abs() < 1e-5, "{name}[{cell}]: {slope} is not {difference}");
        }
    }
}

#[test]
fn a_missing_input_of_a_loss_is_named() {
    let objective = component("example/info-nce").create("{}").unwrap();
    let (status, message, path) = objective.value_and_grad(&HostCall::default(), &[], 0).unwrap_err();
    assert_eq!((status, path.as_str()), (LMPROBE_INPUT, "hidden_states.0"), "{message}");
}

#[test]
fn misbehaviour_is_contained() {
    let how = |how: &str| component("example/misbehave").create(&json!({"how": how}).to_string());
    let failure = |name: &str| how(name).unwrap().compute(&HostCall::default(), predictions()).unwrap_err();
    let (status, message, _) = failure("panic");
    assert_eq!(status, LMPROBE_PANIC);
    assert!(message.contains("panicked on request, at ") && message.contains("misbehave.rs:"), "{message}");
    let (status, message, _) = failure("panic-in-thread");
    assert!(status == LMPROBE_PANIC && message.contains("panicked on request in a thread"), "{message}");
    assert_eq!(failure("panic-payload-drops-panic").0, LMPROBE_PANIC);
    assert_eq!(failure("error"), (LMPROBE_INPUT, "failed on request".to_owned(), "rank".to_owned()));
    assert_eq!(how("panic-in-build").map(drop).unwrap_err().0, LMPROBE_PANIC);
    // The plugin goes on.
    assert_eq!(how("nan").unwrap().compute(&HostCall::default(), predictions()).unwrap().height(), 1);
}

#[test]
fn a_slow_call_stops_when_asked() {
    let slow = component("example/misbehave").create(r#"{"how": "slow"}"#).unwrap();
    let call = HostCall::default();
    call.cancelled.store(true, Ordering::Relaxed);
    assert_eq!(slow.compute(&call, predictions()).unwrap_err().0, LMPROBE_CANCELLED);
}

#[test]
fn a_table_without_its_columns_is_refused() {
    let metric = component("example/share-right").create("{}").unwrap();
    let table = Table::new().with("example_id", Column::texts(["a"])).unwrap();
    let (status, message, path) = metric.compute(&HostCall::default(), table).unwrap_err();
    assert_eq!((status, path.as_str()), (LMPROBE_INPUT, "relation"), "{message}");
}

/// A sample of `describe` as tensors.
fn sample(json: &Value) -> Vec<(String, Tensor)> {
    let tensor = |tensor: &Value| {
        let shape: Vec<usize> = tensor["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
        let values = tensor["values"].as_array().unwrap().iter();
        let made = match tensor.get("dtype") {
            None => Tensor::f32s(shape, values.map(|value| value.as_f64().unwrap() as f32).collect::<Vec<_>>()),
            Some(_) => Tensor::i64s(shape, values.map(|value| value.as_i64().unwrap()).collect::<Vec<_>>()),
        };
        (tensor["name"].as_str().unwrap().to_owned(), made.unwrap())
    };
    json.as_array().unwrap().iter().map(tensor).collect()
}
