//! Questions whose answers stand in a context.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, Origin, Problem, Registration, Result, Seed, Task, schema_of, table};
use lmprobe_scorers::bioasq_transform::question_of_snippet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::question_file::{Columns, Form, Question};
use super::splits::{self, Found, Notes, PerSplit, SplitPaths};

inventory::submit! {
    Registration {
        id: "extractive-qa",
        version: 2,
        build: Build::Task(&build),
        summary: "questions whose answers stand in a context: SQuAD, BioASQ, MRQA, COVID-QA",
        manual: MANUAL,
        schema: &schema_of::<ExtractiveQaParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks questions about a context that holds the answer, word for word, or, in SQuAD 2.0, does not answer the question.

## How
* `json` files are those of SQuAD: `data`, `paragraphs`, `qas`, with `is_impossible` in version 2.0. `jsonl` files, and `json` files with
  an object a line, are those of MRQA, with a header line and `detected_answers`, of which the first place counts, or LinkBERT's, with `id`,
  `question`, `context` and `answers`. `columns` names other keys of an object a line. Its answers may be objects with `text` and
  `answer_start`, one object with these two as lists, or texts without a place, each of which is taken where it stands first.
* `is_impossible: true` says that the context does not answer a question; to say so is then right. A question that has no answers without
  saying so is one of which nothing is known: it is counted, asked, and neither learned from nor scored.
* Places are counted in characters. An answer that does not stand where the file says is looked for, and the nearest place is taken: by how
  much answers were moved is counted. Blanks, tabs and line ends are alike: an answer that differs from the context only in these is taken
  as the context has it, and counted. Blanks around an answer are no part of it. A question none of whose answers is in the context is left
  out and counted.
* Questions of a document belong together: `document_id`, the title of the article, or the context; of an object a line the key that
  `columns: {document: ...}` names, or the context.
* `format: bioasq` expects BioASQ's factoid questions in the form of SQuAD, a paragraph a snippet: the name of a question is 24 hexadecimal
  digits, and `_` and three digits number its snippets. Snippets of a question belong together, and the metric `bioasq` judges the question.
  What any snippet of a question names as an answer is right in all of them. Snippets that hold no answer are asked and scored, and not
  learned from, which is counted: `answer-f1` judges each snippet and counts them as wrong.
* `path` instead of splits: whole documents are drawn for the test and the development split, `test_share` and `dev_share` of them, by
  `split_seed`. `split_by: question` draws questions, and contexts to learn from are then asked about as well.
* `max_train` learns from that many questions, drawn by `split_seed`.

## Example
```yaml
tasks:
  - {use: extractive-qa, name: squad, train: train-v1.1.json, test: dev-v1.1.json, max_train: 20000}
  - {use: extractive-qa, name: covid-qa, path: covidqa.json, test_share: 0.2, dev_share: 0.1, split_seed: 1}
```

## Reference
Rajpurkar et al. 2016, *SQuAD*, <https://arxiv.org/abs/1606.05250>, and 2018, <https://arxiv.org/abs/1806.03822>. Fisch et al. 2019, *MRQA 2019
shared task*, <https://arxiv.org/abs/1910.09753>. Möller et al. 2020, *COVID-QA*, <https://aclanthology.org/2020.nlpcovid19-acl.18>.
";

/// Parameters of `extractive-qa`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExtractiveQaParams {
    /// Files of questions to learn from: `json` or `jsonl`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of questions to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of questions to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// Files without splits, which are then drawn.
    #[serde(default)]
    path: ExistingFiles,
    /// What the questions are.
    #[serde(default)]
    format: Format,
    /// Keys of an object a line with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// What is drawn whole for a split of `path`.
    #[serde(default)]
    split_by: SplitBy,
    /// Share of `path` that is asked.
    #[serde(default = "fifth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    test_share: f64,
    /// Share of `path` that recipes are chosen by.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    dev_share: f64,
    /// The seed of what is drawn here; the same in all runs, so that they are asked the same.
    #[serde(default)]
    split_seed: u64,
    /// How many questions to learn from at most.
    #[serde(default)]
    #[schemars(range(min = 1))]
    max_train: Option<usize>,
}

/// What the questions are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Format {
    /// Each is judged by itself.
    #[default]
    Single,
    /// Those of BioASQ, one for each snippet.
    Bioasq,
}

/// What is drawn whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum SplitBy {
    /// All questions of a document.
    #[default]
    Document,
    /// A question.
    Question,
}

fn fifth() -> f64 {
    0.2
}

fn tenth() -> f64 {
    0.1
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: ExtractiveQaParams = serde_json::from_value(params)?;
    let paths = SplitPaths::new(params.train.clone(), params.dev.clone(), params.test.clone());
    let given = paths.all().next().is_some();
    if given && !params.path.0.is_empty() {
        return Err(Error::Config("`path` and files of single splits are both given; keep one".to_owned()));
    }
    let paths = if params.path.0.is_empty() { paths.not_empty()? } else { paths };
    let (test, dev) = (params.test_share, params.dev_share);
    if !(test >= 0.0 && dev >= 0.0 && test + dev <= 1.0) {
        return Err(Error::Config(format!("`test_share` {test} and `dev_share` {dev} must not be negative, and together at most 1")));
    }
    Ok(Arc::new(ExtractiveQa { paths, params }))
}

/// Questions of files.
#[derive(Debug)]
struct ExtractiveQa {
    paths: SplitPaths,
    params: ExtractiveQaParams,
}

impl Task for ExtractiveQa {
    fn problem(&self) -> Problem {
        Problem::ExtractiveQa
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty() || !self.params.path.0.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let bioasq = self.params.format == Format::Bioasq;
        let form = Form { columns: self.params.columns.clone(), keep_strangers: bioasq };
        let together = SplitPaths { train: self.params.path.0.clone(), ..SplitPaths::default() };
        let source = if together.train.is_empty() { &self.paths } else { &together };
        let mut splits = source.read(cx, |path| form.read(path, &mut notes))?;
        source.refuse_none(&splits, &notes)?;
        if !together.train.is_empty() {
            splits = self.drawn(splits.train, &mut notes);
        }
        if bioasq {
            named_as_bioasq(&splits)?;
            splits.train.retain(|snippet| {
                let holds = snippet.content.golds.is_empty() || !snippet.content.starts.is_empty();
                if !holds {
                    notes.count("snippets to learn from were left out: none of their answers is in the context", &snippet.place);
                }
                holds
            });
            share_answers(&mut splits.dev, &mut notes);
            share_answers(&mut splits.test, &mut notes);
        }
        if let Some(most) = self.params.max_train.filter(|&most| most < splits.train.len()) {
            notes.say(format!("{most} of {} questions to learn from were drawn with the seed {}", splits.train.len(), self.params.split_seed));
            let kept = first_drawn(splits.train.len(), Seed(self.params.split_seed).child("max_train"), most);
            splits.train = splits.train.into_iter().enumerate().filter(|(row, _)| kept.contains(row)).map(|(_, question)| question).collect();
        }
        splits::examples(self.problem(), &splits, Vec::new(), notes, |rows| {
            let golds: Vec<&Vec<String>> = rows.iter().map(|row| &row.golds).collect();
            let starts: Vec<Vec<u64>> = rows.iter().map(|row| row.starts.clone()).collect();
            vec![
                table::text_column("question", rows.iter().map(|row| Some(row.text.as_str()))),
                table::text_column("context", rows.iter().map(|row| Some(row.context.as_str()))),
                table::texts_column("golds", &golds),
                table::counts_column("starts", &starts),
            ]
        })
    }

    fn default_metrics(&self) -> Vec<String> {
        let names: &[&str] = if self.params.format == Format::Bioasq { &["answer-f1", "bioasq"] } else { &["answer-f1"] };
        names.iter().map(|&name| name.to_owned()).collect()
    }
}

impl ExtractiveQa {
    /// Splits questions without splits.
    fn drawn(&self, all: Vec<Found<Question>>, notes: &mut Notes) -> PerSplit<Vec<Found<Question>>> {
        let (mut units, mut known) = (Vec::new(), HashSet::new());
        let unit = |row: usize, question: &Found<Question>| match (self.params.split_by, &question.cluster) {
            (SplitBy::Document, Some(document)) => document.clone(),
            (SplitBy::Document, None) | (SplitBy::Question, _) => row.to_string(),
        };
        for (row, question) in all.iter().enumerate() {
            let unit = unit(row, question);
            if known.insert(unit.clone()) {
                units.push(unit);
            }
        }
        Seed(self.params.split_seed).child("splits").random().shuffle(&mut units);
        let (test, dev) = (share(self.params.test_share, units.len()), share(self.params.dev_share, units.len()));
        let test_units: HashSet<&String> = units.iter().take(test).collect();
        let dev_units: HashSet<&String> = units.iter().skip(test).take(dev).collect();
        let mut splits = PerSplit::<Vec<Found<Question>>>::default();
        for (row, question) in all.into_iter().enumerate() {
            let unit = unit(row, &question);
            let split = if test_units.contains(&unit) {
                &mut splits.test
            } else if dev_units.contains(&unit) {
                &mut splits.dev
            } else {
                &mut splits.train
            };
            split.push(question);
        }
        let noun = if self.params.split_by == SplitBy::Document { "documents" } else { "questions" };
        let [train, dev, test] = splits.each().map(|(name, questions)| format!("{} questions in {name}", questions.len()));
        notes.say(format!("{} {noun} were split with the seed {}: {train}, {dev}, {test}", units.len(), self.params.split_seed));
        splits
    }
}

/// A share of `n`, rounded.
fn share(share: f64, n: usize) -> usize {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in [0, 1] of a number of questions")]
    let part = (share * n as f64).round() as usize;
    part
}

/// Which of `n` rows are drawn.
fn first_drawn(n: usize, seed: Seed, most: usize) -> HashSet<usize> {
    let mut rows: Vec<usize> = (0..n).collect();
    seed.random().shuffle(&mut rows);
    rows.into_iter().take(most).collect()
}

/// Gives every snippet the right answers of all snippets of its question. Questions whose answers stand in no snippet are counted.
fn share_answers(snippets: &mut [Found<Question>], notes: &mut Notes) {
    let mut questions: HashMap<String, Vec<usize>> = HashMap::new();
    let mut order = Vec::new();
    for (row, snippet) in snippets.iter().enumerate() {
        let question = snippet.cluster.clone().unwrap_or_default();
        let rows = questions.entry(question.clone()).or_default();
        if rows.is_empty() {
            order.push(question);
        }
        rows.push(row);
    }
    for rows in order.iter().map(|question| &questions[question]) {
        let mut all: Vec<String> = Vec::new();
        for gold in rows.iter().flat_map(|&row| &snippets[row].content.golds).filter(|gold| !gold.is_empty()) {
            if !all.contains(gold) {
                all.push(gold.clone());
            }
        }
        if all.is_empty() {
            continue;
        }
        if rows.iter().all(|&row| snippets[row].content.starts.is_empty()) {
            notes.count("questions have their answer in none of their snippets and cannot be answered", &snippets[rows[0]].place);
        }
        for &row in rows {
            let golds = &mut snippets[row].content.golds;
            // To say that there is none is not right where the question has an answer.
            golds.retain(|gold| !gold.is_empty());
            let others: Vec<String> = all.iter().filter(|gold| !golds.contains(gold)).cloned().collect();
            golds.extend(others);
        }
    }
}

/// Refuses questions whose cluster was not found in a name of BioASQ.
fn named_as_bioasq(splits: &PerSplit<Vec<Found<Question>>>) -> Result<()> {
    for question in splits.all() {
        if question.id.as_deref().and_then(question_of_snippet).is_none() {
            return Err(question.place.error("a name of BioASQ has 24 hexadecimal digits, `_` and three digits"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::splits::tests::{call, read, released, sizes, texts};
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "tests write the questions at the call")]
    fn squad(context: &str, asked: Value) -> Vec<u8> {
        json!({"version": "2.0", "data": [{"title": "Flu", "paragraphs": [{"context": context, "qas": asked}]}]}).to_string().into_bytes()
    }

    fn ask(content: &[u8]) -> Result<Examples, String> {
        call("extractive-qa", &[("a.json", content)], &json!({"test": "a.json"}))
    }

    fn answers(examples: &Examples) -> (Vec<Vec<String>>, Vec<Vec<u64>>) {
        (table::text_lists(&examples.examples, "golds").unwrap(), table::count_lists(&examples.examples, "starts").unwrap())
    }

    #[test]
    fn places_are_counted_in_characters() {
        let content = squad(
            "Fièvre à 39 °C, dit-il.",
            json!([
                {"id": "a", "question": " How hot? ", "answers": [{"text": "39 °C", "answer_start": 9}, {"text": "39 °C", "answer_start": 9}, {"text": "39", "answer_start": 9}]},
                {"id": "b", "question": "Who?", "is_impossible": true, "answers": [], "plausible_answers": []},
            ]),
        );
        let examples = ask(&content).unwrap();
        assert_eq!(answers(&examples), (vec![vec!["39 °C".to_owned(), "39".into()], vec![String::new()]], vec![vec![9, 9], vec![]]));
        assert_eq!(
            (texts(&examples.examples, "question")[0].as_str(), texts(&examples.examples, "cluster")),
            ("How hot?", vec!["Flu".to_owned(), "Flu".into()])
        );
        assert!(examples.notes.is_empty(), "{:?}", examples.notes);
    }

    #[test]
    fn answers_are_moved_to_the_nearest_place_and_strangers_left_out() {
        let one = |id: &str, text: &str, start: u64| json!({"id": id, "question": "?", "answers": [{"text": text, "answer_start": start}]});
        let content = squad("ab ab ab", json!([one("a", "ab", 2), one("b", "ab", 7), one("c", "x", 0), one("d", "ab", 99), {"id": "e", "question": "?"}]));
        let examples = ask(&content).unwrap();
        assert_eq!(
            (texts(&examples.examples, "example_id"), answers(&examples).1),
            (["a", "b", "d", "e"].map(str::to_owned).to_vec(), vec![vec![3], vec![6], vec![6], vec![]])
        );
        assert_eq!(
            examples.notes,
            [
                "a.json: 1 answers were moved by +1 to where the context has them (question `a`)",
                "a.json: 1 answers were moved by -1 to where the context has them (question `b`)",
                "a.json: 1 questions were left out: none of their answers is in the context (question `c`)",
                "a.json: 1 answers were moved by -93 to where the context has them (question `d`)",
                "a.json: 1 questions have no answer and are not marked `is_impossible`: nothing is known of their gold (question `e`)",
            ]
        );
    }

    #[test]
    fn snippets_of_a_question_of_bioasq_belong_together() {
        let question = "51406e6223fec90375000009";
        let content = squad("A B", json!([{"id": format!("{question}_000"), "question": "?"}, {"id": format!("{question}_001"), "question": "?"}]));
        let examples = call("extractive-qa", &[("a.json", &content)], &json!({"test": "a.json", "format": "bioasq"})).unwrap();
        assert_eq!(texts(&examples.examples, "cluster"), [question, question]);
        let other = squad("A B", json!([{"id": "q1", "question": "?"}]));
        let message = call("extractive-qa", &[("a.json", &other)], &json!({"test": "a.json", "format": "bioasq"})).unwrap_err();
        assert_eq!(message, "a.json: question `q1`: a name of BioASQ has 24 hexadecimal digits, `_` and three digits");
    }

    #[test]
    fn only_what_is_marked_has_no_answer_and_of_the_rest_nothing_is_known() {
        let content = squad(
            "IL-2 binds",
            json!([
                {"id": "a", "question": "?", "is_impossible": true, "answers": []},
                {"id": "b", "question": "?", "answers": []},
                {"id": "c", "question": "?"},
                {"id": "d", "question": "?", "is_impossible": false, "answers": null},
                {"id": "e", "question": "?", "is_impossible": true, "answers": [{"text": "IL-2", "answer_start": 0}]},
            ]),
        );
        let examples = ask(&content).unwrap();
        let none = vec![String::new()];
        assert_eq!(answers(&examples).0, [none.clone(), vec![], vec![], vec![], none]);
        assert!(answers(&examples).1.iter().all(Vec::is_empty));
        assert_eq!(
            examples.notes,
            [
                "a.json: 3 questions have no answer and are not marked `is_impossible`: nothing is known of their gold (question `b`, question `c`, question `d`)",
                "a.json: 1 questions are marked `is_impossible` and have answers, which were left out (question `e`)",
            ]
        );
    }

    #[test]
    fn an_answer_with_other_blanks_than_the_context_is_kept() {
        let content = squad("binds\n  TCF 4.", json!([{"id": "a", "question": "?", "answers": [{"text": "binds TCF 4", "answer_start": 0}]}]));
        let examples = ask(&content).unwrap();
        assert_eq!(answers(&examples), (vec![vec!["binds\n  TCF 4".to_owned()]], vec![vec![0]]));
        assert_eq!(examples.notes, ["a.json: 1 answers stand in their context with other blanks and were taken from it (question `a`)"]);
    }

    #[test]
    fn snippets_without_the_answer_are_asked_and_not_learned_from() {
        let question = |number: u32| format!("{number:024x}");
        let snippet = |number: u32, snippet: u32, context: &str, answers: &[&str]| {
            let answers: Vec<Value> = answers.iter().map(|text| json!({"text": text, "answer_start": 0})).collect();
            json!({"context": context, "qas": [{"id": format!("{}_{snippet:03}", question(number)), "question": "?", "answers": answers}]})
        };
        let paragraphs = [
            snippet(1, 0, "TP53 binds", &["TP53"]),
            snippet(1, 1, "tumor protein 53", &["tumor protein 53"]),
            snippet(1, 2, "nothing here", &["TP53"]),
            snippet(2, 0, "nothing here", &["leptin"]),
            snippet(3, 0, "nothing is known", &[]),
        ];
        let content = json!({"data": [{"title": "BioASQ", "paragraphs": paragraphs}]}).to_string().into_bytes();
        let read = |split: &str| call("extractive-qa", &[("a.json", &content)], &json!({split: "a.json", "format": "bioasq"})).unwrap();
        let test = read("test");
        let owned = |golds: &[&str]| golds.iter().map(|&gold| gold.to_owned()).collect::<Vec<_>>();
        let (tp53, leptin) = (owned(&["TP53", "tumor protein 53"]), owned(&["leptin"]));
        let golds = vec![tp53.clone(), owned(&["tumor protein 53", "TP53"]), tp53, leptin, vec![]];
        assert_eq!(answers(&test), (golds, vec![vec![0], vec![0], vec![], vec![], vec![]]));
        let unknown =
            format!("a.json: 1 questions have no answer and are not marked `is_impossible`: nothing is known of their gold (question `{}_000`)", question(3));
        let lost = format!("a.json: 1 questions have their answer in none of their snippets and cannot be answered (question `{}_000`)", question(2));
        assert_eq!(test.notes, [unknown.clone(), lost]);
        let train = read("train");
        assert_eq!(texts(&train.train, "example_id"), [(1, 0), (1, 1), (3, 0)].map(|(number, snippet)| format!("{}_{snippet:03}", question(number))));
        let left_out = format!(
            "a.json: 2 snippets to learn from were left out: none of their answers is in the context (question `{}_002`, question `{}_000`)",
            question(1),
            question(2)
        );
        assert_eq!(train.notes, [unknown, left_out]);
    }

    const MRQA: &str = concat!(
        "{\"header\": {\"dataset\": \"x\"}}\r\n",
        "{\"context\": \"ab cd\", \"qas\": [{\"qid\": \"q\", \"question\": \"? \", \"answers\": [\"cd\"], \"detected_answers\": [{\"text\": \"cd\", \"char_spans\": [[3, 4]]}]}]}\r\n",
    );

    #[test]
    fn json_lines_are_those_of_mrqa_or_of_linkbert_whatever_the_file_is_called() {
        let linkbert = "\u{feff}{\"id\": \"q\", \"question\": \"?\", \"context\": \"ab cd\", \"answers\": {\"answer_start\": [3], \"text\": [\"cd\"]}}\n";
        for (content, name) in [(MRQA, "a.jsonl"), (linkbert, "a.jsonl"), (MRQA, "train.json"), (linkbert, "train.json")] {
            let examples = call("extractive-qa", &[(name, content.as_bytes())], &json!({"test": name})).unwrap();
            assert_eq!((answers(&examples), texts(&examples.examples, "example_id")), ((vec![vec!["cd".to_owned()]], vec![vec![3]]), vec!["q".to_owned()]));
            assert_eq!((texts(&examples.examples, "question"), texts(&examples.examples, "cluster")), (vec!["?".to_owned()], vec!["ab cd".to_owned()]));
        }
        let one_line = squad("ab cd", json!([{"id": "q", "question": "?", "answers": [{"text": "cd", "answer_start": 3}]}]));
        assert!(!one_line.contains(&b'\n'));
        assert_eq!(answers(&ask(&one_line).unwrap()).1, [[3]]);
    }

    #[test]
    fn columns_name_other_keys() {
        let answers_of = |written: &str| {
            let content = format!("{{\"key\": 7, \"q\": \"?\", \"passage\": \"ab cd\", \"spans\": {written}, \"pmid\": \"12\"}}\n");
            let columns = json!({"question": "q", "context": "passage", "answers": "spans", "id": "key", "document": "pmid"});
            call("extractive-qa", &[("a.json", content.as_bytes())], &json!({"test": "a.json", "columns": columns}))
        };
        for written in ["[\"cd\"]", "\"cd\"", "[{\"text\": \"cd\", \"answer_start\": 3}]", "{\"text\": [\"cd\"], \"answer_start\": [3]}"] {
            let examples = answers_of(written).unwrap();
            assert_eq!(answers(&examples), (vec![vec!["cd".to_owned()]], vec![vec![3]]), "{written}");
            assert_eq!((texts(&examples.examples, "example_id"), texts(&examples.examples, "cluster")), (vec!["7".to_owned()], vec!["12".to_owned()]));
            assert!(examples.notes.is_empty(), "{:?}", examples.notes);
        }
        assert_eq!(
            answers_of("[7]").unwrap_err(),
            "a.json:1: question `7`: `spans` holds a number; expected objects with `text` and `answer_start`, or an object with these two as lists, or texts"
        );
        let named = |name: &str, content: &str| {
            call("extractive-qa", &[(name, content.as_bytes())], &json!({"test": name, "columns": {"answers": "gold"}})).unwrap_err()
        };
        let row = "{\"question\": \"?\", \"context\": \"ab\", \"golds\": [\"ab\"]}";
        assert_eq!(named("a.jsonl", row), "a.jsonl:1: no column for the answers: looked for `gold`; the keys are `question`, `context`, `golds`");
        assert_eq!(
            named("a.json", "{\"data\": []}"),
            "a.json: `columns` names keys of objects that stand one a line, and the first line of this file is none that has them"
        );
    }

    #[test]
    fn every_malformed_input_says_what_is_wrong_and_where() {
        let message = |content: &[u8]| ask(content).unwrap_err();
        assert_eq!(message(b""), "a.json: the file is empty");
        assert_eq!(message(b"{\"a\": \"\xff\"}"), "a.json:1: byte 0xff is not UTF-8; save the file as UTF-8");
        assert_eq!(message(b"{}"), "a.json: there is no array `data`; expected SQuAD's `data`, `paragraphs` and `qas`");
        assert_eq!(message(b"{\"data\": []}"), "a.json: there is no example, neither to learn from nor to ask");
        assert_eq!(message(&squad("a", json!([{"question": "?"}]))), "a.json: article 1: a question has no `id`");
        let broken = squad("a", json!([{"id": 7, "question": "?", "answers": [{"text": "a", "answer_start": -1}]}]));
        assert_eq!(message(&broken), "a.json: question `7`: an answer needs a `text` and an `answer_start`, a whole number");
        let typed = |answers: Value| message(&squad("a", json!([{"id": "q", "question": "?", "answers": answers}])));
        let expected = "; expected objects with `text` and `answer_start`, or an object with these two as lists, or texts";
        assert_eq!(typed(json!(7)), format!("a.json: question `q`: `answers` is a number{expected}"));
        assert_eq!(typed(json!([null])), format!("a.json: question `q`: `answers` holds null{expected}"));
        assert_eq!(typed(json!({"text": ["a"]})), format!("a.json: question `q`: `answers` is an object without both{expected}"));
        assert_eq!(typed(json!([{"text": " ", "answer_start": 0}])), "a.json: question `q`: an answer needs a `text` and an `answer_start`, a whole number");
        let marked = squad("a", json!([{"id": "q", "question": "?", "is_impossible": "true"}]));
        assert_eq!(message(&marked), "a.json: question `q`: `is_impossible` is a text, expected true or false");
        let lines = |content: &str| call("extractive-qa", &[("a.jsonl", content.as_bytes())], &json!({"test": "a.jsonl"})).unwrap_err();
        let uneven = "{\"id\": \"q\", \"question\": \"?\", \"context\": \"a\", \"answers\": {\"answer_start\": [], \"text\": [\"a\"]}}";
        assert_eq!(lines(uneven), "a.jsonl:1: question `q`: `answers` holds 1 texts and 0 places");
        assert_eq!(lines("{\"header\": 1}\n{\"context\": \"a\", \"qas\": 1}"), "a.jsonl:2: `qas` is no array");
        assert_eq!(
            lines(&MRQA.replace("[{\"text\"", "{\"text\"").replace("]]}]", "]]}")),
            "a.jsonl:2: question `q`: `detected_answers` is an object, expected an array of objects with `text` and `char_spans`"
        );
        let parameters = |params: Value| call("extractive-qa", &[("a.json", b"{}")], &params).unwrap_err();
        assert_eq!(
            parameters(json!({"path": ["x"], "test_share": 0.8, "dev_share": 0.3})),
            "`test_share` 0.8 and `dev_share` 0.3 must not be negative, and together at most 1"
        );
        assert_eq!(parameters(json!({"path": ["x"], "test": "a.json"})), "`path` and files of single splits are both given; keep one");
    }

    #[test]
    fn fewer_questions_to_learn_from_keep_their_order() {
        let asked: Vec<Value> = (0..9).map(|id| json!({"id": id, "question": "?", "answers": [{"text": "a", "answer_start": 0}]})).collect();
        let content = squad("a", json!(asked));
        let with = |seed: u64| call("extractive-qa", &[("a.json", &content)], &json!({"train": "a.json", "max_train": 4, "split_seed": seed})).unwrap();
        let (first, again, other) = (texts(&with(1).train, "example_id"), texts(&with(1).train, "example_id"), texts(&with(2).train, "example_id"));
        assert!(first.len() == 4 && first.is_sorted() && first == again && first != other, "{first:?} {other:?}");
        assert_eq!(with(1).notes, ["4 of 9 questions to learn from were drawn with the seed 1"]);
    }

    #[test]
    fn the_released_covid_qa_is_moved_as_counted_and_split_by_whole_documents() {
        let Some(path) = released("qa/covidqa_200423.json") else { return };
        let examples = read("extractive-qa", json!({"path": [path]})).unwrap();
        let (train, dev, test) = sizes(&examples);
        assert_eq!(train + dev + test, 1380);
        for (n, by) in [(196, "-1"), (28, "+3"), (10, "+2")] {
            let said = format!(": {n} answers were moved by {by} ");
            assert!(examples.notes.iter().any(|note| note.contains(&said)), "{said}: {:?}", examples.notes);
        }
        assert_eq!(examples.notes.len(), 4, "{:?}", examples.notes);
        let documents = |frame| texts(frame, "cluster").into_iter().collect::<HashSet<_>>();
        let (train, dev, test) = (documents(&examples.train), documents(&examples.dev), documents(&examples.examples));
        assert_eq!((train.len(), dev.len(), test.len()), (68, 10, 20)); // of 98: 0.2 are 19.6, 0.1 are 9.8
        assert!(train.is_disjoint(&test) && train.is_disjoint(&dev) && dev.is_disjoint(&test));
    }
}
