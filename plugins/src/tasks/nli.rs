//! Whether one text follows from another.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::DataFile;
use super::labelled_text::{self, LabelledText};
use super::splits::{Found, Notes, PerSplit, Place, SplitPaths};

inventory::submit! {
    Registration {
        id: "nli",
        version: 1,
        build: Build::Task(&build),
        summary: "whether a hypothesis follows from a premise: MedNLI, RTE and your own pairs",
        manual: MANUAL,
        schema: &schema_of::<NliParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks of pairs of texts whether the second follows from the first: natural language inference, also called textual entailment.

## How
* `train`, `dev` and `test` are JSON Lines with `sentence1`, `sentence2` and `gold_label`, as MedNLI and SNLI are released, or TSV and CSV
  with a header, as RTE is: `index`, `sentence1`, `sentence2` (or `Sentence2`), and the label in `label` or `entailment`. `columns` names
  others. A quote in a TSV is text.
* The labels are `entailment`, `contradiction`, `neutral`, in this order; of files with `not_entailment` they are `entailment`,
  `not_entailment`. Any other label is an error, unless `labels` declares it. Rows with the label `-`, on which the annotators did not
  agree, are left out and counted.
* Pairs with one premise belong together: intervals resample premises, not pairs.

## Example
```yaml
tasks:
  - {use: nli, name: mednli, train: mli_train_v1.jsonl, dev: mli_dev_v1.jsonl, test: mli_test_v1.jsonl}
```

## Reference
Romanov and Shivade 2018, *Lessons from natural language inference in the clinical domain*, <https://arxiv.org/abs/1808.06752>. Wadden
et al. 2020, *Fact or fiction: verifying scientific claims*, <https://arxiv.org/abs/2004.14974>.
";

/// Parameters of `nli`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NliParams {
    /// Files of pairs to learn from: `jsonl`, `tsv` or `csv`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of pairs to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of pairs to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// Columns with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// The labels, in the order of a model's outputs; by default those of natural language inference.
    #[serde(default)]
    labels: Vec<String>,
}

/// Where the parts of a pair stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// The text that is given; by default `sentence1` or `premise`.
    #[serde(default)]
    premise: Option<String>,
    /// The text that may follow; by default `sentence2`, `Sentence2` or `hypothesis`.
    #[serde(default)]
    hypothesis: Option<String>,
    /// The label; by default `gold_label`, `label` or `entailment`.
    #[serde(default)]
    label: Option<String>,
    /// The name of the pair; by default `pairID`, `index` or `id`.
    #[serde(default)]
    id: Option<String>,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let NliParams { train, dev, test, columns, labels } = serde_json::from_value(params)?;
    labelled_text::check_declared(&labels)?;
    Ok(Arc::new(Nli { paths: SplitPaths::new(train, dev, test).not_empty()?, columns, labels }))
}

/// Pairs of files.
#[derive(Debug)]
struct Nli {
    paths: SplitPaths,
    columns: Columns,
    labels: Vec<String>,
}

/// What annotators who did not agree leave as label.
const NO_AGREEMENT: &str = "-";

impl Task for Nli {
    fn problem(&self) -> Problem {
        Problem::SequenceClassification
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let splits = self.paths.read(cx, |path| self.read(path, &mut notes))?;
        self.paths.refuse_none(&splits, &notes)?;
        let labels = if self.labels.is_empty() { usual_labels(&splits) } else { self.labels.clone() };
        labelled_text::check(&labels, &splits)?;
        labelled_text::examples(self.problem(), &splits, labels, notes)
    }

    fn default_metrics(&self) -> Vec<String> {
        ["accuracy", "f1"].map(str::to_owned).into()
    }
}

impl Nli {
    fn read(&self, path: &Path, notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
        let file = DataFile::read_verbatim(path)?;
        let columns = &self.columns;
        let premise = file.choose(columns.premise.as_deref(), &["sentence1", "premise"], "premise")?;
        let hypothesis = file.choose(columns.hypothesis.as_deref(), &["sentence2", "Sentence2", "hypothesis"], "hypothesis")?;
        let label = file.choose(columns.label.as_deref(), &["gold_label", "label", "entailment"], "label")?;
        let id = file.choose_if_there(columns.id.as_deref(), &["pairID", "index", "id"], "id")?;
        let mut found = Vec::with_capacity(file.rows.len());
        for row in &file.rows {
            let place = Place::line(path, row.line);
            let label = row.filled(&file, label)?.trim().to_owned();
            if label == NO_AGREEMENT && !self.labels.contains(&label) {
                notes.count("pairs with the label `-`, on which the annotators did not agree, were left out", &place);
                continue;
            }
            let premise = row.filled(&file, premise)?;
            found.push(Found {
                id: row.optional(&file, id)?,
                cluster: Some(premise.clone()),
                place,
                content: LabelledText { text: premise, text_pair: Some(row.filled(&file, hypothesis)?), golds: vec![label] },
            });
        }
        Ok(found)
    }
}

/// The labels of two classes if a pair has one that only these have, else those of three.
fn usual_labels(splits: &PerSplit<Vec<Found<LabelledText>>>) -> Vec<String> {
    let two = splits.all().any(|example| example.content.golds.iter().any(|label| label == "not_entailment"));
    let labels: &[&str] = if two { &["entailment", "not_entailment"] } else { &["entailment", "contradiction", "neutral"] };
    labels.iter().map(|&label| label.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::json;

    use super::super::splits::tests::{call, read, released, sizes, texts};

    const MEDNLI: &str = concat!(
        "{\"pairID\": \"p1\", \"gold_label\": \"neutral\", \"sentence1\": \"He sleeps.\", \"sentence2\": \"He dreams.\"}\n",
        "{\"pairID\": \"p2\", \"gold_label\": \"-\", \"sentence1\": \"He sleeps.\", \"sentence2\": \"He runs.\"}\n",
        "{\"pairID\": \"p3\", \"gold_label\": \"entailment\", \"sentence1\": \"He sleeps.\", \"sentence2\": \"He is not awake.\"}\n",
    );

    #[test]
    fn pairs_keep_their_order_of_labels_and_no_agreement_is_counted() {
        let examples = call("nli", &[("a.jsonl", MEDNLI.as_bytes())], &json!({"test": "a.jsonl"})).unwrap();
        assert_eq!(examples.labels, ["entailment", "contradiction", "neutral"]);
        assert_eq!(texts(&examples.examples, "example_id"), ["p1", "p3"]);
        assert_eq!(texts(&examples.examples, "cluster"), ["He sleeps.", "He sleeps."]);
        assert_eq!(texts(&examples.examples, "text_pair"), ["He dreams.", "He is not awake."]);
        assert_eq!(table::text_lists(&examples.examples, "golds").unwrap(), [["neutral"], ["entailment"]]);
        assert_eq!(examples.notes, ["a.jsonl: 1 pairs with the label `-`, on which the annotators did not agree, were left out (line 2)"]);
    }

    #[test]
    fn a_table_is_read_with_marks_of_other_systems_and_quotes_are_text() {
        let tsv = "\u{feff}index\tsentence1\tSentence2\tentailment\r\n0\tA 5\" cut.\tA cut.\tentailment\r\n1\tA cut.\tA \"burn\tnot_entailment\r\n";
        let examples = call("nli", &[("a.tsv", tsv.as_bytes())], &json!({"train": "a.tsv"})).unwrap();
        assert_eq!(examples.labels, ["entailment", "not_entailment"]);
        assert_eq!(texts(&examples.train, "text"), ["A 5\" cut.", "A cut."]);
        assert_eq!(texts(&examples.train, "text_pair"), ["A cut.", "A \"burn"]);
        assert_eq!(sizes(&examples), (2, 0, 0));
    }

    #[test]
    fn every_malformed_file_says_what_is_wrong_and_where() {
        let message = |name: &str, content: &[u8]| call("nli", &[(name, content)], &json!({"test": name})).unwrap_err();
        let header = "index\tsentence1\tsentence2\tlabel\n";
        let tsv = |rows: &str| message("a.tsv", (header.to_owned() + rows).as_bytes());
        assert_eq!(tsv("0\ta\tb\tmaybe\n"), "a.tsv:2: unknown label `maybe`; the labels are `entailment`, `contradiction`, `neutral`");
        assert_eq!(tsv("0\ta\tb\tneutral\n1\ta\tb\tnot_entailment\n"), "a.tsv:2: unknown label `neutral`; the labels are `entailment`, `not_entailment`");
        assert_eq!(tsv("0\ta\tb\n"), "a.tsv:2: 3 cells, expected 4 as in the header (`index`, `sentence1`, `sentence2`, `label`)");
        assert_eq!(tsv("0\ta\t \tneutral\n"), "a.tsv:2: `sentence2` is empty");
        assert_eq!(tsv(""), "a.tsv: the file has a header but no row");
        assert_eq!(message("a.tsv", b""), "a.tsv: the file is empty");
        assert_eq!(message("a.tsv", b"index\tsentence1\xff\n"), "a.tsv:1: byte 0xff is not UTF-8; save the file as UTF-8");
        assert_eq!(
            message("a.csv", b"a,sentence2,label\nx,y,neutral\n"),
            "a.csv:1: no column for the premise: looked for `sentence1`, `premise`; the columns are `a`, `sentence2`, `label`; name yours with `columns: {premise: ...}`"
        );
        assert_eq!(call("nli", &[], &json!({})).unwrap_err(), "neither `train` nor `test` names a file; give at least one of them");
    }

    #[test]
    fn a_file_that_gives_no_example_is_named_with_what_was_left_out() {
        let row = MEDNLI.lines().nth(1).unwrap();
        let message = call("nli", &[("a.jsonl", row.as_bytes()), ("b.jsonl", row.as_bytes())], &json!({"train": "b.jsonl", "test": "a.jsonl"})).unwrap_err();
        let left_out = "1 pairs with the label `-`, on which the annotators did not agree, were left out (line 1)";
        assert_eq!(message, format!("b.jsonl, a.jsonl: there is no example, neither to learn from nor to ask; b.jsonl: {left_out}; a.jsonl: {left_out}"));
    }

    #[test]
    fn what_only_some_pairs_have_and_labels_that_come_twice_are_refused() {
        let late = format!("{{\"gold_label\": \"neutral\", \"sentence1\": \"a\", \"sentence2\": \"b\"}}\n{MEDNLI}");
        let message = call("nli", &[("a.jsonl", late.as_bytes())], &json!({"test": "a.jsonl"})).unwrap_err();
        assert_eq!(message, "a.jsonl:1: there is no `pairID`, which other rows have; the row has `gold_label`, `sentence1`, `sentence2`");
        let message = call("nli", &[("a.jsonl", MEDNLI.as_bytes())], &json!({"test": "a.jsonl", "labels": ["neutral", "neutral"]})).unwrap_err();
        assert_eq!(message, "`labels` names `neutral` twice; every label stands there once");
    }

    #[test]
    fn declared_labels_and_columns_replace_the_usual_ones() {
        let csv = "claim,evidence,verdict\nx,y,-\nz,w,yes\n";
        let params = json!({"test": "a.csv", "labels": ["yes", "-"], "columns": {"premise": "evidence", "hypothesis": "claim", "label": "verdict"}});
        let examples = call("nli", &[("a.csv", csv.as_bytes())], &params).unwrap();
        assert_eq!((examples.labels.as_slice(), examples.notes.len()), (["yes".to_owned(), "-".to_owned()].as_slice(), 0));
        assert_eq!(texts(&examples.examples, "text"), ["y", "w"]);
    }

    #[test]
    fn the_released_fact_checks_have_their_counted_sizes() {
        let Some(path) = released("nli") else { return };
        let at = |name: &str| path.join(name);
        let scifact = read("nli", json!({"train": at("scifact-rte/train.tsv"), "test": at("scifact-rte/dev.tsv")})).unwrap();
        assert_eq!((sizes(&scifact), scifact.labels.len(), scifact.notes), ((564, 0, 209), 2, Vec::<String>::new()));
        let covid = |split: &str| at("covidfact-rte").join(split);
        let covid = read("nli", json!({"train": covid("train.tsv"), "dev": covid("dev.tsv"), "test": covid("test1.tsv")})).unwrap();
        assert_eq!(sizes(&covid), (3263, 419, 401));
    }
}
