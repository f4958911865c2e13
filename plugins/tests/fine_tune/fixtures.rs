//! The models and data of `tests/fixtures/fine-tune` (its README says what they are).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, Series};
use lmprobe_core::serde_json::{self, Map, Value};
use lmprobe_core::{
    Build, BuildContext, CallContext, Cancel, Encoder, EncoderSource, Examples, Objective, Prober, Problem, Quiet, Registration, Seed, Splits, check_examples,
    table,
};
use lmprobe_plugins::encoders::{bert::BERT, biogpt::BIOGPT, gpt2::GPT2};
use lmprobe_plugins::nn::model_source::{ModelOptions, ModelSource};

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/fine-tune")
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

pub(crate) fn model(case: &str) -> PathBuf {
    folder().join("cases").join(case).join("model")
}

/// The model of a folder, by its family.
pub(crate) fn source(model: &Path) -> ModelSource {
    let config = json(&model.join("config.json"));
    let family = match config["model_type"].as_str().unwrap() {
        "bert" => &BERT,
        "gpt2" => &GPT2,
        "biogpt" => &BIOGPT,
        other => panic!("no family for `{other}`"),
    };
    ModelSource::new(family, ModelOptions::of(model)).unwrap()
}

pub(crate) fn load(model: &Path) -> Box<dyn Encoder> {
    source(model).load(Seed(0)).unwrap()
}

pub(crate) fn cx(seed: u64) -> CallContext<'static> {
    CallContext::new(Seed(seed), &Quiet, Cancel::default())
}

pub(crate) fn registration(id: &str) -> &'static Registration {
    // The crate that registers must be linked: `source` names it.
    lmprobe_core::inventory::iter::<Registration>().find(|registration| registration.id == id).unwrap()
}

pub(crate) fn objective(params: &Value) -> Arc<dyn Objective> {
    let Build::Objective(build) = registration("fine-tune").build else { panic!("not an objective") };
    build(params.clone(), &BuildContext::default()).unwrap()
}

pub(crate) fn task_head() -> Arc<dyn Prober> {
    let Build::Prober(build) = registration("task-head").build else { panic!("not a prober") };
    build(Value::Object(Map::new()), &BuildContext::default()).unwrap()
}

/// What a case learns from.
pub(crate) fn problem_of(case: &str) -> Problem {
    match case.split('/').next().unwrap() {
        "token-classification" => Problem::TokenClassification,
        "sequence-classification" | "nli" => Problem::SequenceClassification,
        "multi-label" => Problem::MultiLabel,
        "regression" => Problem::Regression,
        "multiple-choice" => Problem::MultipleChoice,
        "span" => Problem::ExtractiveQa,
        other => panic!("no problem for `{other}`"),
    }
}

/// The task of a case: its data as the training split.
pub(crate) fn examples_of(case: &str) -> Examples {
    let problem = problem_of(case);
    let data = json(&folder().join("cases").join(case).join("examples.json"))["data"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(folder().join(&data)).unwrap();
    let train = match data.as_str() {
        "ner/train.tsv" | "ner-typed/train.tsv" => sentences(&text),
        "relation/train.tsv" => {
            let rows: Vec<(&str, &str)> = text.lines().map(|line| line.split_once('\t').unwrap()).collect();
            labelled(&rows.iter().map(|(text, label)| (*text, None, vec![(*label).to_owned()])).collect::<Vec<_>>())
        }
        "nli/train.jsonl" => {
            let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let row = |row: &Value| [&row["sentence1"], &row["sentence2"], &row["gold_label"]].map(|value| value.as_str().unwrap().to_owned());
            let rows: Vec<[String; 3]> = rows.iter().map(row).collect();
            labelled(&rows.iter().map(|[first, second, label]| (first.as_str(), Some(second.as_str()), vec![label.clone()])).collect::<Vec<_>>())
        }
        "multi-label/train.tsv" => documents(&text, &model_labels(case)),
        "similarity/train.tsv" => {
            let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split('\t').collect()).collect();
            let mut columns = frame_head(rows.len());
            columns.push(table::text_column("text", rows.iter().map(|row| Some(row[1]))));
            columns.push(table::text_column("text_pair", rows.iter().map(|row| Some(row[2]))));
            columns.push(Series::new("target".into(), rows.iter().map(|row| row[3].parse::<f64>().unwrap()).collect::<Vec<_>>()));
            table::frame_of(columns).unwrap()
        }
        "multiple-choice/train.jsonl" => {
            let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let choices: Vec<Vec<String>> =
                rows.iter().map(|row| ["A", "B", "C", "D"].map(|letter| row["options"][letter].as_str().unwrap().to_owned()).to_vec()).collect();
            let golds: Vec<Vec<String>> = rows.iter().map(|row| vec![row["answer_idx"].as_str().unwrap().to_owned()]).collect();
            let mut columns = frame_head(rows.len());
            columns.push(table::text_column("text", rows.iter().map(|row| row["question"].as_str())));
            columns.push(table::texts_column("choices", &choices));
            columns.push(table::texts_column("golds", &golds));
            table::frame_of(columns).unwrap()
        }
        "squad/train.json" => squad(&text),
        other => panic!("no reader for `{other}`"),
    };
    task(problem, train, labels_of(case, problem))
}

/// A task with these training examples and no others.
pub(crate) fn task(problem: Problem, train: DataFrame, labels: Vec<String>) -> Examples {
    let nothing = train.head(Some(0));
    let examples = Examples::labelled(problem, Splits { train, dev: nothing.clone(), test: nothing }, labels).unwrap();
    check_examples(&examples, "the fixture").unwrap();
    examples
}

/// The same with the first `n` examples of the training split as development and test examples under other names.
pub(crate) fn with_splits(mut examples: Examples, n: usize) -> Examples {
    let renamed = |split: &str| {
        let mut frame = examples.train.head(Some(n));
        let ids: Vec<String> = (0..frame.height()).map(|row| format!("{split}-{row}")).collect();
        frame.replace("example_id", Series::new("example_id".into(), ids).into()).unwrap();
        frame
    };
    (examples.dev, examples.examples) = (renamed("dev"), renamed("test"));
    check_examples(&examples, "the fixture").unwrap();
    examples
}

fn model_labels(case: &str) -> Vec<String> {
    let config = json(&model(case).join("config.json"));
    let labels: BTreeMap<usize, String> =
        config["id2label"].as_object().unwrap().iter().map(|(id, label)| (id.parse().unwrap(), label.as_str().unwrap().to_owned())).collect();
    labels.into_values().collect()
}

fn labels_of(case: &str, problem: Problem) -> Vec<String> {
    match problem {
        Problem::MultipleChoice => ["A", "B", "C", "D"].map(str::to_owned).to_vec(),
        Problem::Regression | Problem::ExtractiveQa | Problem::Cloze => Vec::new(),
        _ => model_labels(case).into_iter().filter(|label| !["[PAD]", "X", "[CLS]", "[SEP]"].contains(&label.as_str())).collect(),
    }
}

fn frame_head(n: usize) -> Vec<Series> {
    let ids: Vec<String> = (0..n).map(|row| format!("train-{row}")).collect();
    ["example_id", "cluster"].map(|name| table::text_column(name, ids.iter().map(|id| Some(id.as_str())))).to_vec()
}

/// Sentences of words with tags.
pub(crate) fn tagged(sentences: &[(Vec<String>, Vec<String>)]) -> DataFrame {
    let mut columns = frame_head(sentences.len());
    columns.push(table::texts_column("words", &sentences.iter().map(|(words, _)| words.clone()).collect::<Vec<_>>()));
    columns.push(table::texts_column("tags", &sentences.iter().map(|(_, tags)| tags.clone()).collect::<Vec<_>>()));
    table::frame_of(columns).unwrap()
}

/// Texts or pairs with labels.
pub(crate) fn labelled(rows: &[(&str, Option<&str>, Vec<String>)]) -> DataFrame {
    let mut columns = frame_head(rows.len());
    columns.push(table::text_column("text", rows.iter().map(|(text, ..)| Some(*text))));
    columns.push(table::text_column("text_pair", rows.iter().map(|(_, second, _)| *second)));
    columns.push(table::texts_column("golds", &rows.iter().map(|(.., golds)| golds.clone()).collect::<Vec<_>>()));
    table::frame_of(columns).unwrap()
}

/// A question, its context, and answers with their places; an empty answer has none.
pub(crate) type Question = (String, String, Vec<(String, u64)>);

/// Questions about contexts.
pub(crate) fn questions(rows: &[Question]) -> DataFrame {
    let mut columns = frame_head(rows.len());
    columns.push(table::text_column("question", rows.iter().map(|(question, ..)| Some(question.as_str()))));
    columns.push(table::text_column("context", rows.iter().map(|(_, context, _)| Some(context.as_str()))));
    columns
        .push(table::texts_column("golds", &rows.iter().map(|(.., answers)| answers.iter().map(|(text, _)| text.clone()).collect()).collect::<Vec<Vec<_>>>()));
    columns.push(table::counts_column(
        "starts",
        &rows.iter().map(|(.., answers)| answers.iter().filter(|(text, _)| !text.is_empty()).map(|(_, start)| *start).collect()).collect::<Vec<Vec<_>>>(),
    ));
    table::frame_of(columns).unwrap()
}

fn sentences(text: &str) -> DataFrame {
    let mut all = Vec::new();
    for sentence in text.split("\n\n").filter(|sentence| !sentence.trim().is_empty()) {
        let rows = sentence.lines().filter(|line| !line.is_empty()).map(|line| line.split_once('\t').unwrap());
        all.push(rows.map(|(word, tag)| (word.to_owned(), tag.to_owned())).unzip());
    }
    tagged(&all)
}

/// Sentences of a document joined; a label of any is one of the document.
fn documents(text: &str, labels: &[String]) -> DataFrame {
    let mut all: Vec<(String, Vec<&str>, Vec<bool>)> = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let document = fields[2].split_once('_').unwrap().0;
        if all.last().is_none_or(|(last, ..)| last != document) {
            all.push((document.to_owned(), Vec::new(), vec![false; labels.len()]));
        }
        let (_, sentences, flags) = all.last_mut().unwrap();
        sentences.push(fields[1]);
        fields[0].split(',').zip(flags).for_each(|(label, flag)| *flag |= label.ends_with("_1"));
    }
    let texts: Vec<String> = all.iter().map(|(_, sentences, _)| sentences.join(" ")).collect();
    let golds = all.iter().map(|(.., flags)| labels.iter().zip(flags).filter(|(_, flag)| **flag).map(|(label, _)| label.clone()).collect());
    labelled(&texts.iter().zip(golds).map(|(text, golds)| (text.as_str(), None, golds)).collect::<Vec<_>>())
}

fn squad(text: &str) -> DataFrame {
    let json: Value = serde_json::from_str(text).unwrap();
    let mut rows = Vec::new();
    for paragraph in json["data"].as_array().unwrap().iter().flat_map(|article| article["paragraphs"].as_array().unwrap()) {
        for question in paragraph["qas"].as_array().unwrap() {
            let answers = question["answers"].as_array().unwrap().iter();
            let answers = answers.map(|answer| (answer["text"].as_str().unwrap().to_owned(), answer["answer_start"].as_u64().unwrap())).collect();
            rows.push((question["question"].as_str().unwrap().to_owned(), paragraph["context"].as_str().unwrap().to_owned(), answers));
        }
    }
    questions(&rows)
}
