//! Texts with one label or any number of labels.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::{DataFile, Row};
use super::labelled_text::{self, LabelledText};
use super::splits::{Found, Notes, Place, SplitPaths};

inventory::submit! {
    Registration {
        id: "classification",
        version: 1,
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
* Several labels stand in one cell, separated by `separator`, or in an array of JSON Lines.
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
    /// The labels, in the order of a model's outputs.
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
    let paths = SplitPaths::new(params.train.clone(), params.dev.clone(), params.test.clone()).not_empty()?;
    Ok(Arc::new(Classification { paths, params }))
}

/// Labelled texts of files.
#[derive(Debug)]
struct Classification {
    paths: SplitPaths,
    params: ClassificationParams,
}

/// The hallmarks in the order of the flags of the released files.
const HALLMARKS: [&str; 10] = [
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
];

impl Task for Classification {
    fn problem(&self) -> Problem {
        if self.params.multi_label || self.params.format == Format::Hoc { Problem::MultiLabel } else { Problem::SequenceClassification }
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let splits = self.paths.read(cx, |path| match self.params.format {
            Format::Columns => self.rows(path),
            Format::Hoc => abstracts(path),
        })?;
        let labels = match self.params.format {
            Format::Columns => labelled_text::labels(&self.params.labels, &splits)?,
            Format::Hoc => HALLMARKS.map(str::to_owned).to_vec(),
        };
        if let Some(negative) = self.params.negative.as_ref().filter(|negative| !labels.contains(negative)) {
            return Err(Error::Config(format!("`negative` is `{negative}`; the labels are {}", super::template::listed(&labels))));
        }
        let mut examples = labelled_text::examples(self.problem(), &splits, labels, Notes::default())?;
        examples.negative.clone_from(&self.params.negative);
        Ok(examples)
    }

    fn default_metrics(&self) -> Vec<String> {
        let names: &[&str] = if self.problem() == Problem::MultiLabel { &["label-cells-f1"] } else { &["accuracy", "f1"] };
        names.iter().map(|&name| name.to_owned()).collect()
    }
}

impl Classification {
    fn rows(&self, path: &Path) -> Result<Vec<Found<LabelledText>>> {
        let file = DataFile::read_verbatim(path)?;
        let columns = &self.params.columns;
        let text = file.choose(columns.text.as_deref(), &["text", "sentence"], "text")?;
        let pair = file.choose_if_there(columns.text_pair.as_deref(), &["text_pair"], "text_pair")?;
        let label = file.choose(columns.label.as_deref(), &["label", "labels"], "label")?;
        let id = file.choose_if_there(columns.id.as_deref(), &["id", "index"], "id")?;
        let cluster = file.choose_if_there(columns.cluster.as_deref(), &[], "cluster")?;
        let found = file.rows.iter().map(|row| {
            let golds = self.golds(&file, row, label)?;
            if golds.len() != 1 && self.problem() == Problem::SequenceClassification {
                return Err(file.error(row, format!("{} labels, expected one; say `multi_label: true` if a text can have several or none", golds.len())));
            }
            Ok(Found {
                id: id.map(|id| row.filled(&file, id)).transpose()?,
                cluster: cluster.map(|cluster| row.filled(&file, cluster)).transpose()?,
                place: Place::line(path, row.line),
                content: LabelledText { text: row.filled(&file, text)?, text_pair: pair.map(|pair| row.filled(&file, pair)).transpose()?, golds },
            })
        });
        found.collect()
    }

    fn golds(&self, file: &DataFile, row: &Row, column: &str) -> Result<Vec<String>> {
        let mut golds: Vec<String> = Vec::new();
        let mut add = |label: &str| {
            if !golds.iter().any(|gold| gold == label) {
                golds.push(label.to_owned());
            }
        };
        match row.cells.get(column) {
            Some(Value::Array(labels)) => {
                for label in labels {
                    match label {
                        Value::String(label) if !label.trim().is_empty() => add(label.trim()),
                        Value::Number(label) => add(&label.to_string()),
                        other => return Err(file.error(row, format!("a label is {other}, expected a text"))),
                    }
                }
            }
            _ if self.params.multi_label => {
                let cell = row.text(file, column)?;
                cell.split(&self.params.separator).map(str::trim).filter(|label| !label.is_empty()).for_each(add);
            }
            _ => add(row.filled(file, column)?.trim()),
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
        golds.extend(marks.into_iter().map(|mark| HALLMARKS[mark].to_owned()));
        golds.sort();
        golds.dedup();
    }
    Ok(found)
}

/// The numbers of the hallmarks that `0_0,1_1,...,9_0` says are there.
fn hallmarks(text: &str) -> Result<Vec<usize>, String> {
    let flags: Vec<&str> = text.trim().split(',').collect();
    if flags.len() != HALLMARKS.len() {
        return Err(format!("`labels` holds {} flags, expected {}, `0_0,1_1,...,9_0`", flags.len(), HALLMARKS.len()));
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
