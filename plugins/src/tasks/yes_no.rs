//! Questions that are answered with yes, no or maybe.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFile, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data_file::DataFile;
use super::labelled_text::{self, LabelledText};
use super::splits::{Found, Notes, PerSplit, Place, SplitPaths};
use super::text_file;

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
* The labels are `maybe`, `no`, `yes` of PubMedQA, else `no`, `yes`. Rows with one question belong together.

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
    /// Files of questions to learn from: `json` or `tsv`.
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
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let YesNoParams { train, dev, test, path, ids, fold } = serde_json::from_value(params)?;
    let given = SplitPaths::new(train, dev, test);
    let source = match (path, ids) {
        (Some(path), Some(ids)) if given.all().next().is_none() => Source::Listed { path, ids, fold },
        (Some(_), Some(_)) => return Err(Error::Config("`path` and files of single splits are both given; keep one".to_owned())),
        (None, None) if fold.is_none() => Source::Files(given.not_empty()?),
        _ => return Err(Error::Config("`path` and `ids` belong together: the questions, and which of them are in which split".to_owned())),
    };
    Ok(Arc::new(YesNo { source }))
}

/// Questions of files.
#[derive(Debug)]
struct YesNo {
    source: Source,
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

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let mut maybe = false;
        let splits = match &self.source {
            Source::Files(paths) => paths.read(cx, |path| {
                let (found, pubmedqa) = read(path, &mut notes)?;
                maybe |= pubmedqa;
                Ok(found)
            })?,
            Source::Listed { path, ids, fold } => {
                maybe = true;
                listed(path.as_ref(), ids.as_ref(), *fold, &mut notes)?
            }
        };
        let labels: &[&str] = if maybe { &PUBMEDQA } else { &BIOASQ };
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        labelled_text::check(&labels, &splits)?;
        labelled_text::examples(self.problem(), &splits, labels, notes)
    }

    fn default_metrics(&self) -> Vec<String> {
        ["accuracy", "f1"].map(str::to_owned).into()
    }
}

/// The questions of a file, and whether it is one of PubMedQA.
fn read(path: &Path, notes: &mut Notes) -> Result<(Vec<Found<LabelledText>>, bool)> {
    if text_file::ending(path) != "json" {
        return Ok((bioasq_table(path)?, false));
    }
    match text_file::json(path)? {
        Value::Object(document) => match document.get("questions") {
            Some(Value::Array(questions)) => Ok((bioasq(path, questions, notes)?, false)),
            _ => Ok((document.iter().map(|(pmid, question)| pubmedqa(path, pmid, question)).collect::<Result<_>>()?, true)),
        },
        other => {
            Err(Error::data(path, None, format!("the file holds {}, expected questions by their identifier, or `questions`", text_file::json_kind(&other))))
        }
    }
}

/// The questions of PubMedQA in the splits that a list gives.
fn listed(path: &Path, ids: &Path, fold: Option<usize>, notes: &mut Notes) -> Result<PerSplit<Vec<Found<LabelledText>>>> {
    let Value::Object(questions) = text_file::json(path)? else {
        return Err(Error::data(path, None, "expected an object of questions by their identifier"));
    };
    let mut used = HashSet::new();
    let splits = identifiers(ids, fold)?.map(|_, names| {
        let found = names.into_iter().map(|pmid| {
            let question = questions.get(&pmid).ok_or_else(|| Error::data(ids, None, format!("there is no question `{pmid}` in {}", path.display())))?;
            if !used.insert(pmid.clone()) {
                return Err(Error::data(ids, None, format!("`{pmid}` is listed twice")));
            }
            pubmedqa(path, &pmid, question)
        });
        found.collect::<Result<Vec<_>>>()
    })?;
    for pmid in questions.keys().filter(|pmid| !used.contains(*pmid)) {
        notes.count("questions are in no split and were left out", &Place::item(path, format!("question `{pmid}`")));
    }
    Ok(splits)
}

/// The identifiers of each split.
fn identifiers(path: &Path, fold: Option<usize>) -> Result<PerSplit<Vec<String>>> {
    let document = text_file::json(path)?;
    let list = |key: &str, value: &Value| -> Result<Vec<String>> {
        let items = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
        items.flatten().ok_or_else(|| Error::data(path, None, format!("there is no list of identifiers `{key}`")))
    };
    let test = list("test", &document["test"])?;
    let Some(folds) = document.get("folds") else {
        if fold.is_some() {
            return Err(Error::Config(format!("`fold` is given, but {} has no `folds`", path.display())));
        }
        return Ok(PerSplit { train: list("train", &document["train"])?, dev: list("dev", &document["dev"])?, test });
    };
    let folds = folds.as_array().into_iter().flatten().map(|fold| list("folds", fold)).collect::<Result<Vec<_>>>()?;
    let Some(fold) = fold.filter(|&fold| fold < folds.len()) else {
        return Err(Error::Config(format!("{} has {} folds; choose the development split with `fold`, from 0", path.display(), folds.len())));
    };
    let train = folds.iter().enumerate().filter(|&(index, _)| index != fold).flat_map(|(_, names)| names.clone()).collect();
    Ok(PerSplit { train, dev: folds[fold].clone(), test })
}

/// A question of PubMedQA.
fn pubmedqa(path: &Path, pmid: &str, question: &Value) -> Result<Found<LabelledText>> {
    let place = Place::item(path, format!("question `{pmid}`"));
    let text = |key: &str| question[key].as_str().map(str::trim).filter(|text| !text.is_empty()).ok_or_else(|| place.error(format!("`{key}` is no text")));
    let Value::Array(contexts) = &question["CONTEXTS"] else { return Err(place.error("`CONTEXTS` is no array")) };
    let content = LabelledText {
        text: text("QUESTION")?.to_owned(),
        text_pair: joined(contexts.iter().map(Value::as_str)),
        golds: vec![text("final_decision")?.to_owned()],
    };
    Ok(Found { id: Some(pmid.to_owned()), cluster: Some(pmid.to_owned()), place, content })
}

/// Texts joined by blanks, those that are blank left out.
fn joined<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let texts: Vec<&str> = texts.flatten().map(str::trim).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

fn bioasq_table(path: &Path) -> Result<Vec<Found<LabelledText>>> {
    let file = DataFile::read_bare(path, &["id", "question", "passage", "label"])?;
    let found = file.rows.iter().map(|row| {
        let id = row.filled(&file, "id")?;
        let content = LabelledText {
            text: row.filled(&file, "question")?,
            text_pair: Some(row.filled(&file, "passage")?),
            golds: vec![row.filled(&file, "label")?.trim().to_owned()],
        };
        Ok(Found { id: Some(id.clone()), cluster: Some(id), place: Place::line(path, row.line), content })
    });
    found.collect()
}

/// The questions of BioASQ's own form that are answered with yes or no.
fn bioasq(path: &Path, questions: &[Value], notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
    let mut found = Vec::new();
    for (number, question) in (1..).zip(questions) {
        let empty = Map::new();
        let question = question.as_object().unwrap_or(&empty);
        let text = |key: &str| question.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let place = Place::item(path, text("id").map_or_else(|| format!("question {number}"), |id| format!("question `{id}`")));
        let (Some(id), Some(body)) = (text("id"), text("body")) else {
            return Err(place.error("there is no `id` or no `body`"));
        };
        if text("type") != Some("yesno") {
            notes.count("questions of other types than `yesno` were left out", &place);
            continue;
        }
        let answer = match question.get("exact_answer") {
            Some(Value::Array(answers)) => answers.first().and_then(Value::as_str),
            Some(Value::String(answer)) => Some(answer.as_str()),
            _ => None,
        };
        if answer.is_none() {
            notes.count("questions have no `exact_answer`", &place);
        }
        let snippets = question.get("snippets").and_then(Value::as_array).into_iter().flatten();
        let content = LabelledText {
            text: body.to_owned(),
            text_pair: joined(snippets.map(|snippet| snippet["text"].as_str())),
            golds: answer.map(|answer| answer.trim().to_lowercase()).into_iter().collect(),
        };
        found.push(Found { id: Some(id.to_owned()), cluster: Some(id.to_owned()), place, content });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::json;

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
            ["a.json: 1 questions of other types than `yesno` were left out (question `b`)", "a.json: 1 questions have no `exact_answer` (question `c`)"]
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
        let alone = call("yes-no", &[("a.json", b"{}")], &json!({"path": "a.json"})).unwrap_err();
        assert_eq!(alone, "`path` and `ids` belong together: the questions, and which of them are in which split");
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
