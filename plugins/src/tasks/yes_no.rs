//! Questions that are answered with yes, no or maybe.

use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFile, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::labelled_text;
use super::splits::{Notes, SplitPaths};
use super::yes_no_files::{self, Columns};

inventory::submit! {
    Registration {
        id: "yes-no",
        version: 1,
        build: Build::Task(&build),
        summary: "questions about a passage that are answered with yes, no or maybe: PubMedQA and BioASQ",
        manual: MANUAL,
        schema: &schema_of::<YesNoParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks questions about a passage that are answered with `yes` or `no`, and of PubMedQA with `maybe`.

## How
* PubMedQA is a JSON file of questions by their PubMed identifier. The pair is `QUESTION` and all `CONTEXTS`, joined by blanks: the setting
  that requires reasoning, without the long answer. The answer is `final_decision`.
* `path: ori_pqal.json` with `ids` takes the splits from a file of identifiers, one with `train`, `dev` and `test`, or one with ten `folds`
  and `test`: `fold: 0` then takes the first fold as development split and the others to learn from. Or `train`, `dev` and `test` are
  files of questions themselves.
* BioASQ is a TSV without header, with a name, a question, a passage and the answer in each line (a quote is text), or BioASQ's own JSON, of
  which the questions of the type `yesno` are asked, with their snippets joined by blanks; the others are counted.
* JSON Lines, also in a file that ends in `json`, and tables with a header hold `question` or `sentence1`, `passage` or `sentence2`, and `label`, as
  LinkBERT's do; `columns` names others. A passage of JSON Lines can be a list of texts.
* The labels are `maybe`, `no`, `yes` of PubMedQA and of JSON Lines that say `maybe`, else `no`, `yes`, unless `labels` lists them.
* Rows with one question belong together: those with one name in a table without header, else those with one text. Questions without
  any passage are asked without one and counted.

## Example
```yaml
tasks:
  - {use: yes-no, name: pubmedqa, path: ori_pqal.json, ids: pubmedqa_pqal_fold0_pmids.json}
  - {use: yes-no, name: bioasq, train: train.tsv, dev: dev.tsv, test: test.tsv}
```

## Reference
Jin et al. 2019, *PubMedQA: a dataset for biomedical research question answering*, <https://arxiv.org/abs/1909.06146>. Nentidis et al. 2020,
*Results of the seventh edition of the BioASQ challenge*, <https://arxiv.org/abs/2006.09174>.
";

/// Parameters of `yes-no`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct YesNoParams {
    /// Files of questions to learn from: `json`, `jsonl`, `tsv` or `csv`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of questions to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of questions to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// The questions of PubMedQA in one file, which `ids` splits.
    #[serde(default)]
    path: Option<ExistingFile>,
    /// Which questions of `path` are in which split.
    #[serde(default)]
    ids: Option<ExistingFile>,
    /// Which of the folds in `ids` is the development split, from 0.
    #[serde(default)]
    fold: Option<usize>,
    /// Columns of a header, or keys of JSON Lines, with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// The answers there are, in the order of a model's outputs; by default `maybe`, `no`, `yes`, or `no`, `yes`.
    #[serde(default)]
    labels: Vec<String>,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let YesNoParams { train, dev, test, path, ids, fold, columns, labels } = serde_json::from_value(params)?;
    labelled_text::check_declared(&labels)?;
    let given = SplitPaths::new(train, dev, test);
    let source = match (path, ids) {
        (Some(path), Some(ids)) if given.all().next().is_none() => Source::Listed { path, ids, fold },
        (Some(_), Some(_)) => return Err(Error::Config("`path` and files of single splits are both given; keep one".to_owned())),
        (None, None) if fold.is_none() => Source::Files(given.not_empty()?),
        _ => return Err(Error::Config("`path` and `ids` belong together: the questions, and which of them are in which split".to_owned())),
    };
    if columns.any() && matches!(source, Source::Listed { .. }) {
        return Err(Error::Config("`columns` is given, but `path` is a file of PubMedQA, whose keys are fixed; leave it out".to_owned()));
    }
    Ok(Arc::new(YesNo { source, columns, labels }))
}

/// Questions of files.
#[derive(Debug)]
struct YesNo {
    source: Source,
    columns: Columns,
    labels: Vec<String>,
}

/// Where the questions and their splits come from.
#[derive(Debug)]
enum Source {
    /// A file a split, or several.
    Files(SplitPaths),
    /// One file, and a list of identifiers.
    Listed { path: ExistingFile, ids: ExistingFile, fold: Option<usize> },
}

const PUBMEDQA: [&str; 3] = ["maybe", "no", "yes"];
const BIOASQ: [&str; 2] = ["no", "yes"];

impl Task for YesNo {
    fn problem(&self) -> Problem {
        Problem::SequenceClassification
    }

    fn has_training_split(&self) -> bool {
        match &self.source {
            Source::Files(paths) => !paths.train.is_empty(),
            Source::Listed { .. } => true,
        }
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let mut maybe = false;
        let (splits, paths) = match &self.source {
            Source::Files(paths) => {
                let splits = paths.read(cx, |path| {
                    let read = yes_no_files::read(path, &self.columns, &mut notes)?;
                    maybe |= read.maybe;
                    Ok(read.found)
                })?;
                (splits, paths.clone())
            }
            Source::Listed { path, ids, fold } => {
                maybe = true;
                let splits = yes_no_files::listed(path.as_ref(), ids.as_ref(), *fold, &mut notes)?;
                (splits, SplitPaths { test: vec![path.as_ref().to_owned()], ..SplitPaths::default() })
            }
        };
        paths.refuse_none(&splits, &notes)?;
        let usual: &[&str] = if maybe { &PUBMEDQA } else { &BIOASQ };
        let labels = if self.labels.is_empty() { usual.iter().map(|&label| label.to_owned()).collect() } else { self.labels.clone() };
        labelled_text::check(&labels, &splits)?;
        labelled_text::examples(self.problem(), &splits, labels, notes)
    }

    fn default_metrics(&self) -> Vec<String> {
        ["accuracy", "f1"].map(str::to_owned).into()
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::{Map, json};

    use super::super::splits::tests::{call, read, released, sizes, texts};
    use super::*;

    fn pubmedqa_of(pmids: &[&str], answer: &str) -> Vec<u8> {
        let question = json!({"QUESTION": "Does it?", "CONTEXTS": [" It does. ", "", "Or not."], "final_decision": answer, "LONG_ANSWER": "Secret."});
        serde_json::to_vec(&pmids.iter().map(|&pmid| (pmid.to_owned(), question.clone())).collect::<Map<_, _>>()).unwrap()
    }

    #[test]
    fn pubmedqa_asks_with_its_contexts_and_without_the_long_answer() {
        let examples = call("yes-no", &[("a.json", &pubmedqa_of(&["7"], "maybe"))], &json!({"test": "a.json"})).unwrap();
        assert_eq!((texts(&examples.examples, "text")[0].as_str(), texts(&examples.examples, "text_pair")[0].as_str()), ("Does it?", "It does. Or not."));
        assert_eq!((examples.labels, texts(&examples.examples, "cluster")), (PUBMEDQA.map(str::to_owned).to_vec(), vec!["7".to_owned()]));
    }

    #[test]
    fn a_list_of_identifiers_splits_a_file() {
        let questions = pubmedqa_of(&["1", "2", "3", "4"], "yes");
        let with = |ids: Value, fold: Value| {
            call("yes-no", &[("a.json", &questions), ("ids.json", ids.to_string().as_bytes())], &json!({"path": "a.json", "ids": "ids.json", "fold": fold}))
        };
        let plain = with(json!({"train": ["2"], "dev": [], "test": ["1"]}), json!(null)).unwrap();
        assert_eq!((sizes(&plain), texts(&plain.train, "example_id")), ((1, 0, 1), vec!["2".to_owned()]));
        assert_eq!(plain.notes, ["a.json: 2 questions are in no split and were left out (question `3`, question `4`)"]);
        let folds = json!({"folds": [["2"], ["3"], ["4"]], "test": ["1"]});
        let second = with(folds.clone(), json!(1)).unwrap();
        assert_eq!((texts(&second.train, "example_id"), texts(&second.dev, "example_id")), (vec!["2".to_owned(), "4".into()], vec!["3".to_owned()]));
        assert!(with(folds.clone(), json!(3)).unwrap_err().ends_with("ids.json has 3 folds; choose the development split with `fold`, from 0"));
        assert!(with(folds, json!(null)).unwrap_err().ends_with("ids.json has 3 folds; choose the development split with `fold`, from 0"));
        assert_eq!(with(json!({"train": ["9"], "dev": [], "test": []}), json!(null)).unwrap_err(), "ids.json: there is no question `9` in a.json");
        assert_eq!(with(json!({"train": ["1"], "dev": [], "test": ["1"]}), json!(null)).unwrap_err(), "ids.json: `1` is listed twice");
        assert_eq!(with(json!({"train": ["1"]}), json!(null)).unwrap_err(), "ids.json: there is no list of identifiers `test`");
    }

    #[test]
    fn bioasq_is_read_from_tables_and_from_its_own_form() {
        let tsv = "\u{feff}q1\tIs \"it?\tIt is.\tyes\r\nq1\tIs it?\tNo.\tno\r\n";
        let examples = call("yes-no", &[("a.tsv", tsv.as_bytes())], &json!({"train": "a.tsv"})).unwrap();
        assert_eq!(
            (texts(&examples.train, "example_id"), texts(&examples.train, "cluster")),
            (vec!["q1".to_owned(), "train:q1".into()], vec!["q1".to_owned(), "q1".into()])
        );
        assert_eq!((examples.labels.len(), texts(&examples.train, "text")[0].as_str()), (2, "Is \"it?"));
        let own = json!({"questions": [
            {"id": "a", "body": "Is it?", "type": "yesno", "exact_answer": "Yes", "snippets": [{"text": "One."}, {"text": "Two."}]},
            {"id": "b", "body": "Which?", "type": "factoid"},
            {"id": "c", "body": "And this?", "type": "yesno"},
        ]});
        let examples = call("yes-no", &[("a.json", own.to_string().as_bytes())], &json!({"test": "a.json"})).unwrap();
        assert_eq!(table::text_lists(&examples.examples, "golds").unwrap(), [vec!["yes".to_owned()], vec![]]);
        assert_eq!(table::optional_texts(&examples.examples, "text_pair").unwrap(), [Some("One. Two."), None]);
        assert_eq!(
            examples.notes,
            [
                "a.json: 1 questions of other types than `yesno` were left out (question `b`)",
                "a.json: 1 questions have no `exact_answer` (question `c`)",
                "a.json: 1 questions have no passage (question `c`)"
            ]
        );
    }

    #[test]
    fn every_malformed_input_says_what_is_wrong_and_where() {
        let message = |name: &str, content: &[u8]| call("yes-no", &[(name, content)], &json!({"test": name})).unwrap_err();
        assert_eq!(message("a.tsv", b"1\tq\tp\tmaybe\n"), "a.tsv:1: unknown label `maybe`; the labels are `no`, `yes`");
        assert_eq!(message("a.tsv", b"1\tq\tyes\n"), "a.tsv:1: 3 cells, expected 4 (`id`, `question`, `passage`, `label`)");
        assert_eq!(message("a.tsv", b"1\tq\xff"), "a.tsv:1: byte 0xff is not UTF-8; save the file as UTF-8");
        assert_eq!(message("a.tsv", b""), "a.tsv: the file is empty");
        assert_eq!(message("a.json", b" "), "a.json: the file is empty");
        assert!(message("a.json", b"{\n\"a\":").starts_with("a.json:2: expected JSON: EOF"));
        assert_eq!(message("a.json", b"[]"), "a.json: the file holds an array, expected questions by their identifier, or `questions`");
        assert_eq!(message("a.json", &pubmedqa_of(&["7"], "perhaps")), "a.json: question `7`: unknown label `perhaps`; the labels are `maybe`, `no`, `yes`");
        assert_eq!(message("a.json", b"{\"7\": {\"QUESTION\": \"a\", \"CONTEXTS\": []}}"), "a.json: question `7`: `final_decision` is no text");
        assert_eq!(message("a.tsv", b"1\tq\tp\tyes\n\t\t\t\n"), "a.tsv:2: `id` is empty");
        assert_eq!(message("a.json", b"{\"a\": 1}\n{\"a\": \n"), "a.json:2: expected one JSON object a line: EOF while parsing a value at line 1 column 6");
        let alone = call("yes-no", &[("a.json", b"{}")], &json!({"path": "a.json"})).unwrap_err();
        assert_eq!(alone, "`path` and `ids` belong together: the questions, and which of them are in which split");
    }

    #[test]
    fn rows_of_linkbert_are_read_from_an_object_a_line() {
        let row =
            |label: &str, second: &str| format!("{{\"id\": \"{label}-1\", \"sentence1\": \"Is it?\", \"sentence2\": {second}, \"label\": \"{label}\"}}\n");
        let two = row("yes", "\"It is.\"") + &row("no", "[\" It\", \"\", \"is not. \"]");
        let ask = |text: &str| call("yes-no", &[("train.json", text.as_bytes())], &json!({"test": "train.json"}));
        let examples = ask(&two).unwrap();
        assert_eq!((texts(&examples.examples, "text_pair"), examples.labels.len()), (vec!["It is.".to_owned(), "It is not.".into()], 2));
        assert_eq!(
            (texts(&examples.examples, "example_id"), texts(&examples.examples, "cluster")[1].as_str()),
            (vec!["yes-1".to_owned(), "no-1".into()], "Is it?")
        );
        assert_eq!(ask(&(two + &row("maybe", "\"Or not.\""))).unwrap().labels, PUBMEDQA);
        assert_eq!(sizes(&ask(&row("yes", "\"One row.\"")).unwrap()), (0, 0, 1));
        assert_eq!(ask(&row("yes", "[null]")).unwrap_err(), "train.json:1: item 1 of `sentence2` is null, expected a text");
        assert_eq!(ask(&row("yes", "\" \"")).unwrap_err(), "train.json:1: `sentence2` is empty");
        assert_eq!(ask(&row("yes", "[]")).unwrap().notes, ["train.json: 1 questions have no passage (line 1)"]);
    }

    #[test]
    fn columns_and_labels_can_be_named() {
        let tsv = "q\tp\tverdict\tn\nIs it?\tIt may be.\tmaybe\t7\n";
        let columns = json!({"question": "q", "passage": "p", "label": "verdict", "id": "n"});
        let with = |labels: Value| call("yes-no", &[("a.tsv", tsv.as_bytes())], &json!({"test": "a.tsv", "columns": columns, "labels": labels}));
        let examples = with(json!(["yes", "maybe"])).unwrap();
        assert_eq!((examples.labels, texts(&examples.examples, "text_pair")), (["yes", "maybe"].map(str::to_owned).to_vec(), vec!["It may be.".to_owned()]));
        assert_eq!(texts(&examples.examples, "example_id"), ["7"]);
        assert_eq!(with(json!(["yes", "yes"])).unwrap_err(), "`labels` names `yes` twice; every label stands there once");
        let header = call("yes-no", &[("a.tsv", b"id\tquestion\tpassage\tlabel\n1\tIs it?\tIt is.\tyes\n")], &json!({"test": "a.tsv"})).unwrap();
        assert_eq!((sizes(&header), texts(&header.examples, "text")), ((0, 0, 1), vec!["Is it?".to_owned()]));
        let bare = call("yes-no", &[("a.tsv", b"1\tq\tp\tmaybe\n")], &json!({"test": "a.tsv", "labels": ["maybe", "no", "yes"]})).unwrap();
        assert_eq!(bare.labels, PUBMEDQA);
        let fixed = call("yes-no", &[("a.json", &pubmedqa_of(&["7"], "yes"))], &json!({"test": "a.json", "columns": {"question": "q"}})).unwrap_err();
        assert_eq!(fixed, "a.json: `columns` names columns of tables and keys of JSON Lines; the file is one document, whose keys are fixed");
    }

    #[test]
    fn a_passage_of_the_wrong_type_is_an_error_and_a_missing_one_is_counted() {
        let pubmedqa = |contexts: Value| {
            let question = json!({"7": {"QUESTION": "Does it?", "CONTEXTS": contexts, "final_decision": "yes"}});
            call("yes-no", &[("a.json", question.to_string().as_bytes())], &json!({"test": "a.json"}))
        };
        assert_eq!(pubmedqa(json!([null, {}])).unwrap_err(), "a.json: question `7`: item 1 of `CONTEXTS` is null, expected a text");
        assert_eq!(pubmedqa(json!(["a", {}])).unwrap_err(), "a.json: question `7`: item 2 of `CONTEXTS` is an object, expected a text");
        assert_eq!(pubmedqa(json!([" "])).unwrap().notes, ["a.json: 1 questions have no passage (question `7`)"]);
        let bioasq = |key: &str, value: Value| {
            let mut question = json!({"id": "a", "body": "Is it?", "type": "yesno", "exact_answer": "yes", "snippets": [{"text": "It is."}]});
            question[key] = value;
            call("yes-no", &[("a.json", json!({"questions": [question]}).to_string().as_bytes())], &json!({"test": "a.json"}))
        };
        assert_eq!(bioasq("snippets", json!("not a list")).unwrap_err(), "a.json: question `a`: `snippets` is a text, expected an array");
        assert_eq!(bioasq("snippets", json!([{"text": "b"}, 5])).unwrap_err(), "a.json: question `a`: item 2 of `snippets` is a number, expected an object");
        assert_eq!(bioasq("snippets", json!([{"text": 5}])).unwrap_err(), "a.json: question `a`: `text` of item 1 of `snippets` is a number, expected a text");
        assert_eq!(bioasq("snippets", json!([{}])).unwrap_err(), "a.json: question `a`: item 1 of `snippets` has no `text`");
        assert_eq!(bioasq("exact_answer", json!([true])).unwrap_err(), "a.json: question `a`: `exact_answer` is a boolean, expected a text");
        assert_eq!(bioasq("type", json!(1)).unwrap_err(), "a.json: question `a`: `type` is a number, expected a text");
        assert_eq!(bioasq("snippets", json!(null)).unwrap().notes, ["a.json: 1 questions have no passage (question `a`)"]);
        let left_out = bioasq("type", json!("list")).unwrap_err();
        let expected =
            "a.json: there is no example, neither to learn from nor to ask; a.json: 1 questions of other types than `yesno` were left out (question `a`)";
        assert_eq!(left_out, expected);
        let none = call("yes-no", &[("a.json", b"{}")], &json!({"test": "a.json"})).unwrap_err();
        assert_eq!(none, "a.json: there is no example, neither to learn from nor to ask");
    }

    #[test]
    fn a_question_that_comes_twice_is_refused() {
        let question = "{\"QUESTION\": \"Does it?\", \"CONTEXTS\": [\"It does.\"], \"final_decision\": \"yes\"}";
        let text = format!("{{\"7\": {question},\n\"8\": {question},\n\"7\": {question}}}");
        let message = call("yes-no", &[("a.json", text.as_bytes())], &json!({"test": "a.json"})).unwrap_err();
        assert_eq!(message, "a.json:3: the key `7` comes twice; keep one");
    }

    #[test]
    fn the_splits_of_the_released_pubmedqa_are_the_shipped_lists() {
        let Some(path) = released("qa/pubmedqa") else { return };
        let lists = path.join("pubmedqa_pqal_fold0_pmids.json");
        let listed: Value = serde_json::from_slice(&std::fs::read(&lists).unwrap()).unwrap();
        let examples = read("yes-no", json!({"path": path.join("ori_pqal.json"), "ids": lists})).unwrap();
        assert_eq!((sizes(&examples), examples.notes), ((450, 50, 500), Vec::<String>::new()));
        for (split, frame) in [("train", &examples.train), ("dev", &examples.dev), ("test", &examples.examples)] {
            assert_eq!(json!(texts(frame, "example_id")), listed[split], "{split}");
        }
        let truth: Value = serde_json::from_slice(&std::fs::read(path.join("test_ground_truth.json")).unwrap()).unwrap();
        for (id, golds) in texts(&examples.examples, "example_id").iter().zip(table::text_lists(&examples.examples, "golds").unwrap()) {
            assert_eq!(json!(golds[0]), truth[id]);
        }
        let folds = path.join("pubmedqa_pqal_10folds_pmids.json");
        let fold = |fold: usize| read("yes-no", json!({"path": path.join("ori_pqal.json"), "ids": folds, "fold": fold})).unwrap();
        assert_eq!(sizes(&fold(9)), (450, 50, 500));
        assert_eq!(texts(&fold(0).dev, "example_id"), texts(&examples.dev, "example_id"));
    }
}
