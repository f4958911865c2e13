//! `lmprobe predict` on tiny checkpoints that `transformers` wrote, against the logits it gave for them.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read has failed")]

use std::fs;

use serde_json::Value;

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
    let input =
        file(&folder, "questions.jsonl", &format!("{}\n", serde_json::json!({"id": "q1", "question": "What did the patient have ?", "context": context})));
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
