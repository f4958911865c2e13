//! Texts with one label or any number of labels.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use lmprobe_scorers::label_cells::HALLMARKS_OF_CANCER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::{DataFile, Row};
use super::label_flags;
use super::labelled_text::{self, LabelledText};
use super::splits::{Found, Notes, Place, SplitPaths};

inventory::submit! {
    Registration {
        id: "classification",
        version: 2,
        build: Build::Task(&build),
        summary: "texts with labels from any CSV, TSV or JSON Lines file; the Hallmarks of Cancer as released",
        manual: MANUAL,
        schema: &schema_of::<ClassificationParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks for the label of a text or a pair of texts; with `multi_label: true` for all labels that it has, which may be none.

## How
* Files are CSV, TSV (a quote is text) with a header, or JSON Lines. Columns are found by name: `text` or `sentence`, `text_pair`, `label`
  or `labels`, `id` or `index`; `columns` names others, and with `cluster` a column that says what belongs together.
* Several labels stand in one cell, separated by `separator`, or in an array of JSON Lines, where none may come twice.
* With `multi_label: true` these are flags if every row has as many, two at least, and all are 0 or 1, as `[0, 0, 1]` of LinkBERT. `labels` says
  what they stand for; ten flags without `labels` are the hallmarks of cancer in LinkBERT's order, and a note says so.
* The labels are those of all splits in byte order, unless `labels` lists them. Labels that are numbers and leave one out are an error:
  most likely a class has no example, and `labels` must declare it.
* `format: hoc` reads the Hallmarks of Cancer: `labels` as `0_0,1_1,...,9_0`, `sentence`, `index` as `PMID_s0`. The sentences of an
  abstract are joined by blanks in the order of the file, and the abstract has every label that one of them has.

## Example
```yaml
tasks:
  - {use: classification, name: hoc, format: hoc, train: train.tsv, dev: dev.tsv, test: test.tsv}
  - {use: classification, name: triage, train: notes.csv, test: later.csv, columns: {text: note, label: ward}}
```

## Reference
Baker et al. 2016, *Automatic semantic classification of scientific literature according to the hallmarks of cancer*,
<https://doi.org/10.1093/bioinformatics/btv585>.
";

/// Parameters of `classification`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClassificationParams {
    /// Files of texts to learn from: `csv`, `tsv` or `jsonl`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of texts to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of texts to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// How the files are laid out.
    #[serde(default)]
    format: Format,
    /// Columns with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// Whether a text can have several labels or none; `hoc` always can.
    #[serde(default)]
    multi_label: bool,
    /// What stands between the labels in a cell.
    #[serde(default = "comma")]
    #[schemars(length(min = 1))]
    separator: String,
    /// The labels, in the order of a model's outputs, and of the flags if the files hold flags.
    #[serde(default)]
    labels: Vec<String>,
    /// The label that says that nothing is there.
    #[serde(default)]
    negative: Option<String>,
}

/// How files are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Format {
    /// A row is an example.
    #[default]
    Columns,
    /// A row is a sentence of an abstract: the Hallmarks of Cancer.
    Hoc,
}

/// Where the parts of an example stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// The text; by default `text` or `sentence`.
    #[serde(default)]
    text: Option<String>,
    /// The second text of a pair; by default `text_pair`, if there is one.
    #[serde(default)]
    text_pair: Option<String>,
    /// The label or labels; by default `label` or `labels`.
    #[serde(default)]
    label: Option<String>,
    /// The name of the example; by default `id` or `index`, if there is one.
    #[serde(default)]
    id: Option<String>,
    /// What the example belongs to; by default itself.
    #[serde(default)]
    cluster: Option<String>,
}

fn comma() -> String {
    ",".to_owned()
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: ClassificationParams = serde_json::from_value(params)?;
    if params.separator.is_empty() {
        return Err(Error::Config("`separator` is empty; leave it out for `,`".to_owned()));
    }
    if params.format == Format::Hoc && !params.labels.is_empty() {
        return Err(Error::Config("`labels` are fixed with `format: hoc`; leave them out".to_owned()));
    }
    labelled_text::check_declared(&params.labels)?;
    let paths = SplitPaths::new(params.train.clone(), params.dev.clone(), params.test.clone()).not_empty()?;
    Ok(Arc::new(Classification { paths, params }))
}

/// Labelled texts of files.
#[derive(Debug)]
struct Classification {
    paths: SplitPaths,
    params: ClassificationParams,
}

impl Task for Classification {
    fn problem(&self) -> Problem {
        if self.params.multi_label || self.params.format == Format::Hoc { Problem::MultiLabel } else { Problem::SequenceClassification }
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        // What flags stand for, of which some may be raised nowhere.
        let mut flags: Option<Vec<String>> = None;
        let splits = self.paths.read(cx, |path| match self.params.format {
            Format::Columns => self.rows(path, &mut flags, &mut notes),
            Format::Hoc => abstracts(path),
        })?;
        let labels = match self.params.format {
            Format::Columns => labelled_text::labels(flags.as_ref().unwrap_or(&self.params.labels), &splits)?,
            Format::Hoc => HALLMARKS_OF_CANCER.map(str::to_owned).to_vec(),
        };
        if let Some(negative) = self.params.negative.as_ref().filter(|negative| !labels.contains(negative)) {
            return Err(Error::Config(format!("`negative` is `{negative}`; the labels are {}", super::template::listed(&labels))));
        }
        let mut examples = labelled_text::examples(self.problem(), &splits, labels, notes)?;
        examples.negative.clone_from(&self.params.negative);
        Ok(examples)
    }

    fn default_metrics(&self) -> Vec<String> {
        let names: &[&str] = if self.problem() == Problem::MultiLabel { &["label-cells-f1"] } else { &["accuracy", "f1"] };
        names.iter().map(|&name| name.to_owned()).collect()
    }
}

impl Classification {
    /// The texts of a file; `flags` becomes what its flags stand for, if it has any.
    fn rows(&self, path: &Path, flags: &mut Option<Vec<String>>, notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
        let file = DataFile::read_verbatim(path)?;
        let columns = &self.params.columns;
        let text = file.choose(columns.text.as_deref(), &["text", "sentence"], "text")?;
        let pair = file.choose_if_there(columns.text_pair.as_deref(), &["text_pair"], "text_pair")?;
        let label = file.choose(columns.label.as_deref(), &["label", "labels"], "label")?;
        let id = file.choose_if_there(columns.id.as_deref(), &["id", "index"], "id")?;
        let cluster = file.choose_if_there(columns.cluster.as_deref(), &[], "cluster")?;
        let cells = file.rows.iter().map(|row| self.items(&file, row, label)).collect::<Result<Vec<_>>>()?;
        let names = if self.params.multi_label { label_flags::names(&file, label, &cells, &self.params.labels, notes)? } else { None };
        let found = file.rows.iter().zip(cells).map(|(row, items)| {
            let golds = match &names {
                Some(names) => label_flags::raised(names, &items),
                None => self.golds(&file, row, label, items)?,
            };
            Ok(Found {
                id: row.optional(&file, id)?,
                cluster: row.optional(&file, cluster)?,
                place: Place::line(path, row.line),
                content: LabelledText { text: row.filled(&file, text)?, text_pair: row.optional(&file, pair)?, golds },
            })
        });
        let found = found.collect();
        *flags = names.or_else(|| flags.take());
        found
    }

    /// What stands in the cell of the labels, item by item.
    fn items(&self, file: &DataFile, row: &Row, column: &str) -> Result<Vec<String>> {
        match row.cells.get(column) {
            Some(Value::Array(labels)) => {
                let item = |label: &Value| match label {
                    Value::String(label) if !label.trim().is_empty() => Ok(label.trim().to_owned()),
                    Value::Number(label) => Ok(label.to_string()),
                    other => Err(file.error(row, format!("a label is {other}, expected a text"))),
                };
                labels.iter().map(item).collect()
            }
            _ if self.params.multi_label => {
                let cell = row.text(file, column)?;
                Ok(cell.split(&self.params.separator).map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect())
            }
            _ => Ok(vec![row.filled(file, column)?.trim().to_owned()]),
        }
    }

    /// The labels of a row, of which an array must not name one twice.
    fn golds(&self, file: &DataFile, row: &Row, column: &str, items: Vec<String>) -> Result<Vec<String>> {
        if items.len() != 1 && self.problem() == Problem::SequenceClassification {
            return Err(file.error(row, format!("{} labels, expected one; say `multi_label: true` if a text can have several or none", items.len())));
        }
        let mut golds: Vec<String> = Vec::new();
        for item in items {
            if !golds.contains(&item) {
                golds.push(item);
            } else if matches!(row.cells.get(column), Some(Value::Array(_))) {
                return Err(file.error(row, format!("the label `{item}` comes twice; flags are 0 or 1, and as many in every row")));
            }
        }
        Ok(golds)
    }
}

/// The abstracts of the Hallmarks of Cancer.
fn abstracts(path: &Path) -> Result<Vec<Found<LabelledText>>> {
    let file = DataFile::read_verbatim(path)?;
    for column in ["labels", "sentence", "index"] {
        file.column(&[column], column)?;
    }
    let mut found: Vec<Found<LabelledText>> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for row in &file.rows {
        let sentence = row.filled(&file, "sentence")?;
        let name = row.filled(&file, "index")?;
        let Some((pmid, _)) = name.trim().rsplit_once("_s") else {
            return Err(file.error(row, format!("`index` is `{name}`, expected a document and a sentence, `12345_s0`")));
        };
        let marks = hallmarks(&row.filled(&file, "labels")?).map_err(|message| file.error(row, message))?;
        let place = *index.entry(pmid.to_owned()).or_insert(found.len());
        if place == found.len() {
            let content = LabelledText { text: sentence, text_pair: None, golds: Vec::new() };
            found.push(Found { id: Some(pmid.to_owned()), cluster: Some(pmid.to_owned()), place: Place::line(path, row.line), content });
        } else {
            let text = &mut found[place].content.text;
            text.push(' ');
            text.push_str(&sentence);
        }
        let golds = &mut found[place].content.golds;
        golds.extend(marks.into_iter().map(|mark| HALLMARKS_OF_CANCER[mark].to_owned()));
        golds.sort();
        golds.dedup();
    }
    Ok(found)
}

/// The numbers of the hallmarks that `0_0,1_1,...,9_0` says are there.
fn hallmarks(text: &str) -> Result<Vec<usize>, String> {
    let flags: Vec<&str> = text.trim().split(',').collect();
    if flags.len() != HALLMARKS_OF_CANCER.len() {
        return Err(format!("`labels` holds {} flags, expected {}, `0_0,1_1,...,9_0`", flags.len(), HALLMARKS_OF_CANCER.len()));
    }
    let mut there = Vec::new();
    for (number, flag) in flags.into_iter().enumerate() {
        match flag.split_once('_') {
            Some((label, "0")) if label == number.to_string() => {}
            Some((label, "1")) if label == number.to_string() => there.push(number),
            _ => return Err(format!("`labels` holds `{flag}` where `{number}_0` or `{number}_1` was expected")),
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::json;

    use super::super::splits::tests::{call, read, released, sizes, texts};
    use super::*;

    fn golds(examples: &Examples) -> Vec<Vec<String>> {
        table::text_lists(&examples.examples, "golds").unwrap()
    }

    #[test]
    fn one_label_a_row_comes_from_any_kind_of_file() {
        let csv = "\u{feff}id,text,label\r\na,\"one, two\",x\r\nb,three,y\r\n";
        let examples = call("classification", &[("a.csv", csv.as_bytes())], &json!({"test": "a.csv"})).unwrap();
        assert_eq!((texts(&examples.examples, "text"), examples.labels.len()), (vec!["one, two".to_owned(), "three".into()], 2));
        let tsv = "note\tward\tnext\n5\" cut\tB\tc\n";
        let params = json!({"test": "a.tsv", "labels": ["B", "A"], "negative": "A", "columns": {"text": "note", "label": "ward", "text_pair": "next", "cluster": "next"}});
        let examples = call("classification", &[("a.tsv", tsv.as_bytes())], &params).unwrap();
        assert_eq!(
            (golds(&examples), examples.labels, examples.negative.as_deref()),
            (vec![vec!["B".to_owned()]], vec!["B".into(), "A".to_owned()], Some("A"))
        );
        assert_eq!((texts(&examples.examples, "text_pair"), texts(&examples.examples, "cluster")), (vec!["c".to_owned()], vec!["c".to_owned()]));
    }

    #[test]
    fn several_labels_stand_in_a_cell_or_in_an_array() {
        let tsv = "text\tlabels\na\tx; y;x\nb\t\n";
        let examples = call("classification", &[("a.tsv", tsv.as_bytes())], &json!({"test": "a.tsv", "multi_label": true, "separator": ";"})).unwrap();
        assert_eq!((golds(&examples), examples.labels), (vec![vec!["x".to_owned(), "y".into()], vec![]], vec!["x".to_owned(), "y".into()]));
        let json = "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n";
        let with = |many: bool| call("classification", &[("a.jsonl", json.as_bytes())], &json!({"test": "a.jsonl", "multi_label": many}));
        assert_eq!(golds(&with(true).unwrap()), [["x", "y"]]);
        assert_eq!(with(false).unwrap_err(), "a.jsonl:1: 2 labels, expected one; say `multi_label: true` if a text can have several or none");
    }

    #[test]
    fn flags_of_linkbert_are_the_labels_in_their_order() {
        let three = "{\"id\": \"a\", \"sentence\": \"s\", \"label\": [0, 0, 1]}\n{\"id\": \"b\", \"sentence\": \"t\", \"label\": [1, 0, 1]}\n{\"id\": \"c\", \"sentence\": \"u\", \"label\": [0, 0, 0]}\n";
        let with = |labels: Value| call("classification", &[("a.json", three.as_bytes())], &json!({"test": "a.json", "multi_label": true, "labels": labels}));
        let examples = with(json!(["x", "y", "z"])).unwrap();
        assert_eq!(golds(&examples), [vec!["z"], vec!["x", "z"], vec![]]);
        assert_eq!((examples.labels, examples.notes), (["x", "y", "z"].map(str::to_owned).to_vec(), Vec::<String>::new()));
        assert_eq!(with(json!([])).unwrap_err(), "a.json:1: `label` holds 3 flags, 0 or 1; say with `labels` what they stand for, in their order");
        assert_eq!(with(json!(["x", "y"])).unwrap_err(), "a.json:1: `label` holds 3 flags, 0 or 1, but `labels` names 2");
        let one = call("classification", &[("a.json", three.as_bytes())], &json!({"test": "a.json"})).unwrap_err();
        assert_eq!(one, "a.json:1: 3 labels, expected one; say `multi_label: true` if a text can have several or none");
        let cells =
            call("classification", &[("a.tsv", b"text\tlabel\na\t0,1\nb\t1,1\n")], &json!({"test": "a.tsv", "multi_label": true, "labels": ["x", "y"]}));
        assert_eq!(golds(&cells.unwrap()), [vec!["y"], vec!["x", "y"]]);
    }

    #[test]
    fn ten_flags_are_the_hallmarks_and_all_of_them_are_labels() {
        let ten = "{\"sentence\": \"s\", \"label\": [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]}\n";
        let examples = call("classification", &[("a.json", ten.as_bytes())], &json!({"test": "a.json", "multi_label": true})).unwrap();
        assert_eq!((golds(&examples), examples.labels.len()), (vec![vec!["inducing angiogenesis".to_owned()]], 10));
        assert_eq!(examples.notes, ["a.json: `label` holds ten flags, which were read as the hallmarks of cancer; with `labels` they are others"]);
    }

    #[test]
    fn an_array_that_is_no_flags_names_no_label_twice() {
        let message = |rows: &str| call("classification", &[("a.jsonl", rows.as_bytes())], &json!({"test": "a.jsonl", "multi_label": true})).unwrap_err();
        let uneven = "{\"text\": \"a\", \"label\": [1, 0]}\n{\"text\": \"b\", \"label\": [0, 0, 1]}\n";
        assert_eq!(message(uneven), "a.jsonl:2: the label `0` comes twice; flags are 0 or 1, and as many in every row");
        let missing = "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"text_pair\": \"c\", \"label\": \"x\"}\n";
        assert_eq!(message(missing), "a.jsonl:1: there is no `text_pair`, which other rows have; the row has `text`, `label`");
    }

    #[test]
    fn a_label_is_declared_once() {
        let message = call("classification", &[("a.tsv", b"text\tlabel\na\tx\n")], &json!({"test": "a.tsv", "labels": ["x", "x", "y"]})).unwrap_err();
        assert_eq!(message, "`labels` names `x` twice; every label stands there once");
    }

    const HOC: &str = "labels\tsentence\tindex\n0_0,1_0,2_0,3_0,4_0,5_0,6_1,7_0,8_0,9_0\tVessels grow .\t7_s0\n0_1,1_0,2_0,3_0,4_0,5_0,6_0,7_0,8_0,9_0\tOther .\t8_s0\n0_0,1_0,2_0,3_0,4_0,5_0,6_1,7_1,8_0,9_0\tCells live .\t7_s1\n";

    #[test]
    fn the_sentences_of_an_abstract_are_joined_and_so_are_their_labels() {
        let examples = call("classification", &[("a.tsv", HOC.as_bytes())], &json!({"test": "a.tsv", "format": "hoc"})).unwrap();
        assert_eq!(texts(&examples.examples, "text"), ["Vessels grow . Cells live .", "Other ."]);
        assert_eq!(golds(&examples), [vec!["inducing angiogenesis", "resisting cell death"], vec!["activating invasion and metastasis"]]);
        assert_eq!((texts(&examples.examples, "cluster"), examples.labels.len()), (vec!["7".to_owned(), "8".into()], 10));
    }

    #[test]
    fn every_malformed_input_says_what_is_wrong_and_where() {
        let message = |content: &[u8], params: Value| call("classification", &[("a.tsv", content)], &params).unwrap_err();
        let plain = |content: &[u8]| message(content, json!({"test": "a.tsv"}));
        assert_eq!(plain(b"text\tlabel\na\t0\nb\t2\n"), "a.tsv:2: the labels are `0`, `2`, but `1` never occurs; declare all with `labels`");
        assert_eq!(plain(b"text\tlabel\na\t\n"), "a.tsv:2: `label` is empty");
        assert_eq!(plain(b"text\tlabel\na\n"), "a.tsv:2: 1 cells, expected 2 as in the header (`text`, `label`)");
        assert_eq!(plain(b"text\tlabel\na\tx\n\t\n"), "a.tsv:3: `label` is empty");
        assert_eq!(plain(b""), "a.tsv: the file is empty");
        assert_eq!(plain(b"text\tlabel\n\xffa\tb\n"), "a.tsv:2: byte 0xff is not UTF-8; save the file as UTF-8");
        assert_eq!(message(b"text\tlabel\na\tb\n", json!({"test": "a.tsv", "labels": ["c"]})), "a.tsv:2: unknown label `b`; the labels are `c`");
        let hoc = |row: &str| message(format!("labels\tsentence\tindex\n{row}\n").as_bytes(), json!({"test": "a.tsv", "format": "hoc"}));
        assert_eq!(hoc("0_0,1_0\ta\t1_s0"), "a.tsv:2: `labels` holds 2 flags, expected 10, `0_0,1_1,...,9_0`");
        assert_eq!(hoc("0_0,1_0,3_0,3_0,4_0,5_0,6_0,7_0,8_0,9_0\ta\t1_s0"), "a.tsv:2: `labels` holds `3_0` where `2_0` or `2_1` was expected");
        assert_eq!(hoc("0_0\ta\t1"), "a.tsv:2: `index` is `1`, expected a document and a sentence, `12345_s0`");
        assert_eq!(message(b"", json!({"test": "a.tsv", "format": "hoc", "labels": ["x"]})), "`labels` are fixed with `format: hoc`; leave them out");
    }

    #[test]
    fn the_released_hallmarks_have_their_published_counts() {
        let Some(path) = released("doc/HoC") else { return };
        let at = |split: &str| path.join(split);
        let hoc = read("classification", json!({"format": "hoc", "train": at("train.tsv"), "dev": at("dev.tsv"), "test": at("test.tsv")})).unwrap();
        assert_eq!((sizes(&hoc), hoc.notes), ((1295, 186, 371), Vec::<String>::new()));
    }
}
