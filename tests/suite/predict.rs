//! `lmprobe predict` on tiny checkpoints that `transformers` wrote, against the logits it gave for them.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read has failed")]

use std::fs;

use serde_json::{Value, json};

use crate::program::{fixtures, run};

fn case(name: &str) -> (String, Value) {
    let folder = fixtures().join("fine-tune/cases").join(name);
    let expected: Value = serde_json::from_slice(&fs::read(folder.join("expected-corrected-linear.json")).unwrap()).unwrap();
    (folder.join("model").to_str().unwrap().to_owned(), expected["logits_before"].clone())
}

fn data(name: &str) -> String {
    fixtures().join("fine-tune").join(name).to_str().unwrap().to_owned()
}

/// A file in a folder that lives as long as the test.
fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn softmax(logits: &Value) -> Vec<f64> {
    let values: Vec<f64> = logits.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap().exp()).collect();
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|value| value / sum).collect()
}

#[track_caller]
fn close(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-4, "{found} is not {expected}");
}

/// A copy of a tagger's checkpoint with another configuration.
fn configured(folder: &tempfile::TempDir, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let (source, target) = (fixtures().join("fine-tune/cases/token-classification").join(name).join("model"), folder.path().join("model"));
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
    let path = target.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
    target.to_str().unwrap().to_owned()
}

/// A list of labels as a configuration holds it.
fn labels(config: &mut Value, names: [&str; 3]) {
    config["id2label"] = json!({"0": names[0], "1": names[1], "2": names[2]});
    config["label2id"] = json!({names[0]: 0, names[1]: 1, names[2]: 2});
}

/// The settings that `preset: biobert` leaves in a checkpoint.
fn biobert_settings() -> Value {
    json!({"problem": "token-classification", "settings": {
        "max_length": 64, "long_inputs": "window", "window_overlap": null, "window_step": null, "max_query_length": 64, "max_answer_length": 30, "n_best": 20,
        "null_threshold": 0.0, "label_position": "first", "label_scheme": "biobert", "segments": true, "pair_separator": "none", "unanswerable": false, "outside": "O"
    }})
}

#[test]
fn a_head_of_biobert_answers_with_the_tags_of_words() {
    let folder = tempfile::tempdir().unwrap();
    let model = configured(&folder, "bert-biobert", |config| config["lmprobe"] = biobert_settings());
    let found = run(&["predict", &model, &data("ner/train.tsv"), "--format", "conll"]).exits(0).stdout;
    let tags: Vec<&str> = found.lines().filter_map(|line| Some(line.split_once('\t')?.1)).collect();
    let gold = fs::read_to_string(data("ner/train.tsv")).unwrap();
    assert_eq!(tags.len(), gold.lines().filter(|line| !line.trim().is_empty()).count());
    assert!(tags.iter().all(|tag| ["B", "I", "O"].contains(tag)), "{tags:?}");
    let objects = lines(&run(&["predict", &model, &file(&folder, "a.txt", "Aspirin reduced fever.\n")]).exits(0).stdout);
    assert_eq!(objects.len(), 1);
}

#[test]
fn entities_are_read_from_tags_only() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(&folder, "a.txt", "Aspirin reduced fever.\n");
    let model = configured(&folder, "bert", |config| labels(config, ["LABEL_0", "LABEL_1", "LABEL_2"]));
    let refused = run(&["predict", &model, &input]).exits(2);
    assert!(
        refused.stderr.contains("no entities can be read from the labels `LABEL_0`, `LABEL_1`, `LABEL_2` of the head: tags are `O`, and"),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.stdout, "");
    let raw = run(&["predict", &model, &input, "--format", "conll"]).exits(0).stdout;
    assert!(raw.starts_with("Aspirin\tLABEL_"), "{raw}");
    // Whatever it says of a word, each is an entity of its own or none.
    let model = configured(&folder, "bert", |config| labels(config, ["U-X", "U-Y", "O"]));
    let tagged = run(&["predict", &model, &input, "--format", "conll"]).exits(0).stdout;
    let expected: Vec<&str> = tagged.lines().filter(|line| line.contains("\tU-")).collect();
    let found = lines(&run(&["predict", &model, &input]).exits(0).stdout);
    let found: Vec<String> = found[0]["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entity| format!("{}\tU-{}", entity["text"].as_str().unwrap(), entity["type"].as_str().unwrap()))
        .collect();
    assert_eq!(found, expected);
}

/// The place and the text of each annotation.
fn annotations(path: &std::path::Path) -> Vec<(usize, usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let annotation = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [kind, start, end] = cells[1].split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!((kind, cells.len()), ("Entity", 3), "{line}");
        (start.parse().unwrap(), end.parse().unwrap(), cells[2].to_owned())
    };
    text.lines().map(annotation).collect()
}

#[test]
fn annotations_have_places_in_a_document_that_is_there() {
    let (model, _) = case("token-classification/bert");
    let folder = tempfile::tempdir().unwrap();
    let texts = ["Aspirin reduced naïve fever.", "The patient had acute hepatitis (hepatitis B)."];
    let out = folder.path().join("out.ann");
    let write = |input: &str, more: &[&str]| run(&[&["predict", &model, input, "-o", out.to_str().unwrap(), "--force"], more].concat()).exits(0);
    let documents = [format!("{}\n{}\n", texts[0], texts[1]), format!("\u{feff}{}\r\n{}\r\n", texts[0], texts[1])];
    let mut counts = Vec::new();
    for document in &documents {
        write(&file(&folder, "in.txt", document), &[]);
        let found = annotations(&out);
        for (start, end, text) in &found {
            assert_eq!(document.chars().skip(*start).take(end - start).collect::<String>(), *text);
        }
        counts.push(found.len());
    }
    assert!(counts[0] > 0 && counts[0] == counts[1], "{counts:?}");
    assert!(!folder.path().join("out.txt").exists(), "plain text is a document itself");

    let objects: String = texts.map(|text| json!({"text": text.replace(' ', "\n")}).to_string() + "\n").concat();
    let input = file(&folder, "in.jsonl", &objects);
    let said = write(&input, &[]).stderr;
    assert!(said.contains("; the texts are in ") && said.contains("out.txt"), "{said}");
    let document = fs::read_to_string(folder.path().join("out.txt")).unwrap();
    assert_eq!(document, documents[0]);
    let found = annotations(&out);
    assert_eq!(found.len(), counts[0]);
    for (start, end, text) in &found {
        assert_eq!(document.chars().skip(*start).take(end - start).collect::<String>(), *text);
    }

    fs::remove_file(&out).unwrap();
    let there = run(&["predict", &model, &input, "-o", out.to_str().unwrap()]).exits(2).stderr;
    assert!(there.contains("out.txt is there already; --force replaces it") && !out.exists(), "{there}");
    let nowhere = run(&["predict", &model, &input, "--format", "brat"]).exits(2).stderr;
    let message =
        "in.jsonl: annotations stand off from a text, and this input is no plain text: name a file with -o, and the texts are written beside it as .txt";
    assert!(nowhere.contains(message), "{nowhere}");
    let itself = run(&["predict", &model, &input, "--format", "brat", "-o", folder.path().join("x.txt").to_str().unwrap()]).exits(2).stderr;
    assert!(itself.contains("x.txt: the texts are written as .txt beside the annotations; end their file in .ann"), "{itself}");
}

#[test]
fn tables_keep_their_rows_and_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = case("sequence-classification/bert");
    let input = file(&folder, "in.tsv", "id\ttext\nx1\t\"acute pain\nx2\tfever\"\n");
    let ids = |arguments: &[&str]| -> Vec<Value> {
        let stdout = run(&[&["predict", model.as_str()], arguments].concat()).exits(0).stdout;
        lines(&stdout).into_iter().map(|mut object| object["id"].take()).collect()
    };
    assert_eq!(ids(&[&input]), ["x1", "x2"]);
    assert_eq!(ids(&[&file(&folder, "in.csv", "pmid,text\n7,fever\n"), "--id-column", "pmid"]), ["7"]);
    assert_eq!(ids(&[&file(&folder, "in.jsonl", "{\"pmid\": 7, \"text\": \"fever\"}\n"), "--id-column", "pmid"]), [7]);
    assert_eq!(ids(&[&file(&folder, "plain.csv", "text\nfever\n")]), [1 + 1], "the line");
    let missing = run(&["predict", &model, &input, "--id-column", "pmid"]).exits(3).stderr;
    assert!(missing.contains("in.tsv: no column `pmid`; there are `id`, `text`"), "{missing}");
    let lines_of_text = run(&["predict", &model, &file(&folder, "in.txt", "fever\n"), "--id-column", "pmid"]).exits(2).stderr;
    assert!(lines_of_text.contains("--id-column names a column, but"), "{lines_of_text}");

    let column = |name: &str, values: Vec<i64>| polars::prelude::Column::new(name.into(), values);
    let text = polars::prelude::Column::new("text".into(), ["fever", "pain"]);
    let mut frame = polars::prelude::DataFrame::new(2, vec![column("id", vec![12, 11]), text]).unwrap();
    let path = folder.path().join("in.parquet");
    polars::prelude::ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut frame).unwrap();
    assert_eq!(ids(&[path.to_str().unwrap()]), [12, 11]);
}

#[test]
fn a_table_given_to_a_tagger_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = case("token-classification/bert");
    let input = file(&folder, "in.tsv", "pmid\ttext\n123\tAspirin reduced fever.\n");
    let refused = run(&["predict", &model, &input]).exits(3).stderr;
    assert!(
        refused.contains("in.tsv:1: this is the header of a table: read its texts with `--column text`; if `text` is a word, name the file .conll"),
        "{refused}"
    );
    let objects = lines(&run(&["predict", &model, &input, "--column", "text", "--id-column", "pmid"]).exits(0).stdout);
    assert_eq!((&objects[0]["id"], &objects[0]["text"]), (&json!("123"), &json!("Aspirin reduced fever.")));
}

#[test]
fn a_table_of_choices_is_as_wide_as_the_widest_question() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = case("multiple-choice/bert");
    let questions =
        [json!({"id": "a\tb", "question": "What ?", "choices": ["fever", "pain"]}), json!({"question": "Who ?", "options": {"A": "x", "B": "y", "C": "z"}})];
    let input = file(&folder, "in.jsonl", &questions.map(|question| format!("{question}\n")).concat());
    let table = run(&["predict", &model, &input, "--format", "tsv"]).exits(0).stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["id", "prediction", "A", "B", "C"]);
    assert_eq!((rows.len(), rows[1].len(), rows[1][0], rows[1][4], rows[2][0], rows[2].len()), (3, 5, "a\\tb", "", "2", 5));
}

#[test]
fn tags_of_words_are_those_of_transformers() {
    let (model, logits) = case("token-classification/bert");
    let found = run(&["predict", &model, &data("ner/train.tsv"), "--format", "conll"]).exits(0).stdout;
    let examples: Value = serde_json::from_slice(&fs::read(fixtures().join("fine-tune/cases/token-classification/bert/examples.json")).unwrap()).unwrap();
    let gold = fs::read_to_string(data("ner/train.tsv")).unwrap();
    assert_eq!(found.lines().count(), gold.trim_end().lines().count() + 1, "a line a word, a blank line behind each sentence");
    for (sentence, example) in found.split("\n\n").take(2).zip(examples["examples"].as_array().unwrap()) {
        let row = usize::from(!example["input_ids"].eq(&examples["examples"][0]["input_ids"]));
        let first_pieces = example["labels"].as_array().unwrap().iter().enumerate().filter(|(_, label)| **label != -100);
        let expected: Vec<&str> = first_pieces
            .map(|(position, _)| {
                let probabilities = softmax(&logits[row][position]);
                ["B", "I", "O"][(0..3).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap()]
            })
            .collect();
        let tags: Vec<&str> = sentence.lines().map(|line| line.split_once('\t').unwrap().1).collect();
        assert_eq!(tags, expected, "{sentence}");
    }
}

#[test]
fn entities_have_places_in_their_text() {
    let (model, _) = case("token-classification/bert");
    let folder = tempfile::tempdir().unwrap();
    let texts = "Aspirin reduced fever.\nThe patient had acute hepatitis (hepatitis B).\n";
    let input = file(&folder, "texts.txt", texts);
    let objects = lines(&run(&["predict", &model, &input]).exits(0).stdout);
    assert_eq!(objects.len(), 2);
    let entities: Vec<(usize, &Value)> =
        objects.iter().enumerate().flat_map(|(row, object)| object["entities"].as_array().unwrap().iter().map(move |entity| (row, entity))).collect();
    assert!(!entities.is_empty(), "a random head finds something: {objects:?}");
    let place = |entity: &Value, key: &str| usize::try_from(entity[key].as_u64().unwrap()).unwrap();
    for (row, entity) in &entities {
        let text = texts.lines().nth(*row).unwrap();
        assert_eq!(text[place(entity, "start")..place(entity, "end")], *entity["text"].as_str().unwrap());
        assert!((0.0..=1.0).contains(&entity["score"].as_f64().unwrap()));
    }
    // The same as stand-off annotations of the whole document.
    let out = folder.path().join("texts.ann");
    run(&["predict", &model, &input, "-o", out.to_str().unwrap()]).exits(0);
    let annotations = fs::read_to_string(out).unwrap();
    assert_eq!(annotations.lines().count(), entities.len());
    for (line, (_, entity)) in annotations.lines().zip(&entities) {
        let cells: Vec<&str> = line.split('\t').collect();
        let place: Vec<usize> = cells[1].split(' ').skip(1).map(|place| place.parse().unwrap()).collect();
        assert_eq!((texts[place[0]..place[1]].to_owned(), cells[2]), (cells[2].to_owned(), entity["text"].as_str().unwrap()));
    }
}

#[test]
fn labels_choices_and_answers_have_the_probabilities_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let (model, logits) = case("sequence-classification/bert");
    let texts: Vec<String> = fs::read_to_string(data("relation/train.tsv")).unwrap().lines().map(|line| line.split_once('\t').unwrap().0.to_owned()).collect();
    let input = file(&folder, "texts.txt", &texts.join("\n"));
    let objects = lines(&run(&["predict", &model, &input]).exits(0).stdout);
    assert_eq!(objects.len(), texts.len());
    for (object, logits) in objects.iter().zip(logits.as_array().unwrap()) {
        let expected = softmax(logits);
        close(&object["scores"]["0"], expected[0]);
        close(&object["scores"]["1"], expected[1]);
        assert_eq!(object["label"], if expected[0] >= expected[1] { "0" } else { "1" });
    }
    let table = run(&["predict", &model, &input, "--format", "tsv"]).exits(0).stdout;
    assert!(table.starts_with("id\tprediction\t0\t1\n1\t"), "{table}");

    let (model, logits) = case("multiple-choice/bert");
    let objects = lines(&run(&["predict", &model, &data("multiple-choice/train.jsonl")]).exits(0).stdout);
    for (object, logits) in objects.iter().zip(logits.as_array().unwrap()) {
        for (letter, expected) in ["A", "B", "C", "D"].iter().zip(softmax(logits)) {
            close(&object["scores"][letter], expected);
        }
    }

    let (model, _) = case("span/bert");
    let context = "The patient had acute hepatitis with high fever .";
    let input = file(&folder, "questions.jsonl", &format!("{}\n", json!({"id": "q1", "question": "What did the patient have ?", "context": context})));
    let objects = lines(&run(&["predict", &model, &input]).exits(0).stdout);
    let answers = objects[0]["answers"].as_array().unwrap();
    assert_eq!((objects[0]["id"].as_str(), &objects[0]["answer"]), (Some("q1"), &answers[0]["text"]));
    for answer in answers {
        let start = usize::try_from(answer["start"].as_u64().unwrap()).unwrap();
        assert!(context[start..].starts_with(answer["text"].as_str().unwrap()), "{answer}");
    }
    let sum: f64 = answers.iter().map(|answer| answer["score"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
}

#[test]
fn other_inputs_and_threads_change_no_answer() {
    let (model, _) = case("token-classification/bert");
    let folder = tempfile::tempdir().unwrap();
    let texts = ["Aspirin reduced fever.", "The patient had acute hepatitis with high fever .", "x"];
    let together = run(&["predict", &model, &file(&folder, "all.txt", &texts.join("\n")), "--threads", "1"]).exits(0).stdout;
    assert_eq!(run(&["predict", &model, &file(&folder, "all.txt", &texts.join("\n")), "--threads", "3"]).exits(0).stdout, together);
    for (text, line) in texts.iter().zip(lines(&together)) {
        let alone = lines(&run(&["predict", &model, &file(&folder, "one.txt", text)]).exits(0).stdout);
        assert_eq!(alone[0]["entities"], line["entities"]);
    }
    let limited = run(&["predict", &model, &file(&folder, "all.txt", &texts.join("\n")), "--limit", "2"]).exits(0).stdout;
    assert!(together.starts_with(&limited) && limited.lines().count() == 2);
}

#[test]
fn what_cannot_be_answered_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = case("token-classification/bert");
    let plain = fixtures().join("bert/tiny-base");
    let headless = run(&["predict", plain.to_str().unwrap(), "x.txt"]).exits(2);
    assert!(headless.stderr.contains("`tiny-base` has no head for a task"), "{}", headless.stderr);
    let format = run(&["predict", &model, "x.txt", "--format", "tsv"]).exits(2);
    assert!(format.stderr.contains("the format tsv does not fit a token-classification head"), "{}", format.stderr);
    let ending = run(&["predict", &model, "x.txt", "-o", "x.docx"]).exits(2);
    assert!(ending.stderr.contains("x.docx: cannot tell the format from the ending"), "{}", ending.stderr);
    run(&["predict", &model, "there-is-no.txt"]).exits(3);
    let empty = run(&["predict", &model, &file(&folder, "empty.txt", "")]).exits(3);
    assert!(empty.stderr.contains("empty.txt"), "{}", empty.stderr);
    let there = file(&folder, "there.jsonl", "kept");
    let refused = run(&["predict", &model, &file(&folder, "a.txt", "a\n"), "-o", &there]).exits(2);
    assert!(refused.stderr.contains("is there already; --force replaces it"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&there).unwrap(), "kept");
}
