//! Relations between two things that a sentence names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, ExistingFolder, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::DataFile;
use super::labelled_text::{self, LabelledText};
use super::splits::{Found, Notes, PerSplit, Place, SplitPaths};
use super::template::listed;
use super::text_file;

inventory::submit! {
    Registration {
        id: "relation",
        version: 1,
        build: Build::Task(&build),
        summary: "relations between two marked things in a sentence: GAD, EU-ADR, ChemProt, DDI and your own",
        manual: MANUAL,
        schema: &schema_of::<RelationParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks of sentences in which two things are marked, `@GENE$` and `@DISEASE$`, which relation holds between them.

## How
* A TSV has a sentence and its label in each line, or a name, a sentence and a label; a first line that says `sentence` and `label` is a
  header. These are the files of BioBERT and of LinkBERT. A quote is text. A file without any line, such as `dev.tsv` of BioBERT's GAD, is
  noted and read as no examples.
* JSON Lines hold `text` (or `sentence`) and `label`, as SciBERT's ChemProt; `columns` names others.
* `path` is a folder with `train.tsv`, `dev.tsv` and `test.tsv`; with `fold: 3` it is the folder `3` in it. GAD and EU-ADR come in ten
  folds: list one task a fold.
* `format` says which labels there are: `gad` and `euadr` have `0` and `1`, `chemprot` has `CPR:3`, `CPR:4`, `CPR:5`, `CPR:6`, `CPR:9` and
  `false` (or `0`), `ddi` has `DDI-advise`, `DDI-effect`, `DDI-int`, `DDI-mechanism` and `DDI-false` (or `0`). Any other label is an error.
  With `auto` and `jsonl` they are those of all splits in byte order, or what `labels` declares.
* The label that says that no relation holds is `0`, or the one that contains `false`, unless `negative` names another.

## Example
```yaml
tasks:
  - {use: relation, name: gad-1, format: gad, path: re/GAD, fold: 1}
  - {use: relation, name: chemprot, train: train.jsonl, dev: dev.jsonl, test: test.jsonl}
```

## Reference
Bravo et al. 2015, *Extraction of relations between genes and diseases from text and large-scale data analysis*,
<https://doi.org/10.1186/s12859-015-0472-9>. Krallinger et al. 2017, *Overview of the BioCreative VI chemical-protein interaction track*.
";

/// Parameters of `relation`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RelationParams {
    /// Files of sentences to learn from: `tsv` or `jsonl`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of sentences to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of sentences to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// A folder with `train.tsv`, `dev.tsv` and `test.tsv`, instead of the three.
    #[serde(default)]
    path: Option<ExistingFolder>,
    /// The folder in `path` that holds the files, a number.
    #[serde(default)]
    fold: Option<u32>,
    /// Which labels there are.
    #[serde(default)]
    format: Format,
    /// Keys of JSON Lines with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// The labels, in the order of a model's outputs.
    #[serde(default)]
    labels: Vec<String>,
    /// The label that says that no relation holds.
    #[serde(default)]
    negative: Option<String>,
}

/// Which labels there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Format {
    /// Those of all splits.
    #[default]
    Auto,
    /// Genes and diseases: `0` and `1`.
    Gad,
    /// Genes, diseases and drugs: `0` and `1`.
    Euadr,
    /// Chemicals and proteins.
    Chemprot,
    /// Drugs that act on each other.
    Ddi,
    /// Those of all splits, from JSON Lines.
    Jsonl,
}

impl Format {
    /// The lists of labels that files of the format come with; none if it has no fixed list.
    fn labels(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Auto | Self::Jsonl => &[],
            Self::Gad | Self::Euadr => &[&["0", "1"]],
            Self::Chemprot => &[
                &["cpr:3", "cpr:4", "cpr:5", "cpr:6", "cpr:9", "false"],
                &["false", "CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9"],
                &["0", "CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9"],
            ],
            Self::Ddi => {
                &[&["DDI-false", "DDI-advise", "DDI-effect", "DDI-int", "DDI-mechanism"], &["0", "DDI-advise", "DDI-effect", "DDI-int", "DDI-mechanism"]]
            }
        }
    }
}

/// Where the parts of an example stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// The sentence; by default `text` or `sentence`.
    #[serde(default)]
    text: Option<String>,
    /// The label; by default `label`.
    #[serde(default)]
    label: Option<String>,
    /// The name of the example; by default `id` or `index`, if there is one.
    #[serde(default)]
    id: Option<String>,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: RelationParams = serde_json::from_value(params)?;
    let given = SplitPaths::new(params.train.clone(), params.dev.clone(), params.test.clone());
    let paths = match &params.path {
        Some(folder) if given.all().next().is_none() => in_folder(folder.as_ref(), params.fold),
        Some(_) => return Err(Error::Config("`path` and single files are both given; keep one".to_owned())),
        None if params.fold.is_some() => return Err(Error::Config("`fold` is given without `path`, the folder that holds the folds".to_owned())),
        None => given.not_empty()?,
    };
    Ok(Arc::new(Relation { paths, params }))
}

/// The files of a folder, or of a fold in it.
fn in_folder(folder: &Path, fold: Option<u32>) -> SplitPaths {
    let folder = fold.map_or_else(|| folder.to_owned(), |fold| folder.join(fold.to_string()));
    let file = |name: &str| -> Vec<PathBuf> { vec![folder.join(name)] };
    SplitPaths { train: file("train.tsv"), dev: file("dev.tsv"), test: file("test.tsv") }
}

/// Labelled sentences of files.
#[derive(Debug)]
struct Relation {
    paths: SplitPaths,
    params: RelationParams,
}

impl Task for Relation {
    fn problem(&self) -> Problem {
        Problem::SequenceClassification
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let splits = self.paths.read(cx, |path| self.read(path, &mut notes))?;
        let labels = self.labels(&splits)?;
        let negative = self.negative(&labels)?;
        let mut examples = labelled_text::examples(self.problem(), &splits, labels, notes)?;
        examples.negative = negative;
        Ok(examples)
    }

    fn default_metrics(&self) -> Vec<String> {
        ["f1", "accuracy"].map(str::to_owned).into()
    }
}

impl Relation {
    fn read(&self, path: &Path, notes: &mut Notes) -> Result<Vec<Found<LabelledText>>> {
        let columns = &self.params.columns;
        let file = match text_file::ending(path).as_str() {
            "tsv" => {
                let text = text_file::read(path)?;
                let Some((_, first)) = text_file::lines(&text).find(|(_, line)| !line.trim().is_empty()) else {
                    notes.say(format!("{}: the file is empty and gives no examples", path.display()));
                    return Ok(Vec::new());
                };
                let cells: Vec<String> = first.split('\t').map(|cell| cell.trim().to_lowercase()).collect();
                let header = cells.iter().any(|cell| cell == "sentence") && cells.iter().any(|cell| cell == "label");
                match cells.len() {
                    _ if header || columns.text.is_some() => DataFile::read_verbatim(path)?,
                    2 => DataFile::read_bare(path, &["sentence", "label"])?,
                    3 => DataFile::read_bare(path, &["index", "sentence", "label"])?,
                    n => return Err(Error::data(path, 1, format!("{n} columns, expected a sentence and a label, or a name, a sentence and a label"))),
                }
            }
            _ => DataFile::read(path)?,
        };
        let text = file.choose(columns.text.as_deref(), &["text", "sentence"], "text")?;
        let label = file.choose(columns.label.as_deref(), &["label"], "label")?;
        let id = file.choose_if_there(columns.id.as_deref(), &["id", "index"], "id")?;
        let found = file.rows.iter().map(|row| {
            Ok(Found {
                id: id.map(|id| row.filled(&file, id)).transpose()?,
                cluster: None,
                place: Place::line(path, row.line),
                content: LabelledText { text: row.filled(&file, text)?, text_pair: None, golds: vec![row.filled(&file, label)?.trim().to_owned()] },
            })
        });
        found.collect()
    }

    fn labels(&self, splits: &PerSplit<Vec<Found<LabelledText>>>) -> Result<Vec<String>> {
        let lists = self.params.format.labels();
        let (Some(first), true) = (lists.first(), self.params.labels.is_empty()) else {
            return labelled_text::labels(&self.params.labels, splits);
        };
        let fits = |list: &&&[&str]| splits.all().all(|example| example.content.golds.iter().all(|label| list.contains(&label.as_str())));
        // The list that holds all labels; else the one that holds the first of them, whose check then names the stranger.
        let begins = |list: &&&[&str]| splits.all().next().is_some_and(|example| example.content.golds.iter().all(|label| list.contains(&label.as_str())));
        let list = lists.iter().find(fits).or_else(|| lists.iter().find(begins)).unwrap_or(first);
        let list: Vec<String> = list.iter().map(|&label| label.to_owned()).collect();
        labelled_text::check(&list, splits)?;
        Ok(list)
    }

    /// The label that says that no relation holds, if there is one.
    fn negative(&self, labels: &[String]) -> Result<Option<String>> {
        if let Some(negative) = &self.params.negative {
            if !labels.contains(negative) {
                return Err(Error::Config(format!("`negative` is `{negative}`; the labels are {}", listed(labels))));
            }
            return Ok(Some(negative.clone()));
        }
        let candidates: Vec<&String> = labels.iter().filter(|label| *label == "0" || label.to_lowercase().contains("false")).collect();
        match candidates.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            many => Err(Error::Config(format!("{} could each say that no relation holds; name one with `negative`", listed(many)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::json;

    use super::super::splits::tests::{call, read, released, sizes, texts};
    use super::*;

    #[test]
    fn the_files_of_biobert_are_read_as_released() {
        let files: &[(&str, &[u8])] = &[
            ("re/2/train.tsv", b"A \"quoted @GENE$ in @DISEASE$.\t1\r\nNo @GENE$.\t0\r\n"),
            ("re/2/dev.tsv", b""),
            ("re/2/test.tsv", b"\xef\xbb\xbfindex\tsentence\tlabel\n0\tSome @GENE$.\t1\n"),
        ];
        let examples = call("relation", files, &json!({"path": "re", "fold": 2, "format": "gad"})).unwrap();
        assert_eq!((sizes(&examples), examples.negative.as_deref()), ((2, 0, 1), Some("0")));
        assert_eq!(texts(&examples.train, "text"), ["A \"quoted @GENE$ in @DISEASE$.", "No @GENE$."]);
        assert_eq!(
            (texts(&examples.train, "example_id"), texts(&examples.examples, "example_id")),
            (vec!["train-1".into(), "train-2".into()], vec!["0".to_owned()])
        );
        assert_eq!(examples.notes, ["re/2/dev.tsv: the file is empty and gives no examples"]);
    }

    #[test]
    fn a_name_in_front_and_either_spelling_of_the_labels_are_read() {
        let examples =
            call("relation", &[("a.tsv", b"1.T1\t@DRUG$ a\tDDI-false\n1.T2\t@DRUG$ b\tDDI-int\n")], &json!({"test": "a.tsv", "format": "ddi"})).unwrap();
        assert_eq!(texts(&examples.examples, "example_id"), ["1.T1", "1.T2"]);
        assert_eq!((examples.labels.len(), examples.negative.as_deref()), (5, Some("DDI-false")));
        let chemprot = |label: &str| call("relation", &[("a.tsv", format!("a\t{label}\n").as_bytes())], &json!({"test": "a.tsv", "format": "chemprot"}));
        assert_eq!(chemprot("CPR:9").unwrap().negative.as_deref(), Some("false"));
        assert_eq!(chemprot("cpr:9").unwrap().labels[0], "cpr:3");
        assert_eq!(chemprot("0").unwrap().labels[0], "0");
        assert_eq!(chemprot("CPR:1").unwrap_err(), "a.tsv:1: unknown label `CPR:1`; the labels are `cpr:3`, `cpr:4`, `cpr:5`, `cpr:6`, `cpr:9`, `false`");
    }

    #[test]
    fn json_lines_give_their_own_labels_and_name_strange_ones() {
        let train = "{\"text\": \"a\", \"label\": \"AGONIST\", \"metadata\": []}\n{\"text\": \"b\", \"label\": \"PRODUCT-OF\"}\n";
        let test = "{\"text\": \"c\", \"label\": \"INHIBITOR\"}\n";
        let files: &[(&str, &[u8])] = &[("train.jsonl", train.as_bytes()), ("test.jsonl", test.as_bytes())];
        let examples = call("relation", files, &json!({"train": "train.jsonl", "test": "test.jsonl"})).unwrap();
        assert_eq!((examples.labels, examples.negative), (["AGONIST", "INHIBITOR", "PRODUCT-OF"].map(str::to_owned).to_vec(), None));
        assert_eq!(examples.notes, ["no training example has the label `INHIBITOR`, which held-out examples have"]);
        let named =
            call("relation", files, &json!({"test": "test.jsonl", "columns": {"text": "label", "label": "text"}, "labels": ["c"], "negative": "c"})).unwrap();
        assert_eq!((texts(&named.examples, "text"), named.negative.as_deref()), (vec!["INHIBITOR".to_owned()], Some("c")));
    }

    #[test]
    fn every_malformed_input_says_what_is_wrong_and_where() {
        let message = |content: &[u8], params: Value| call("relation", &[("a.tsv", content)], &params).unwrap_err();
        let plain = |content: &[u8]| message(content, json!({"test": "a.tsv"}));
        assert_eq!(plain(b"a\t1\nb\n"), "a.tsv:2: 1 cells, expected 2 (`sentence`, `label`)");
        assert_eq!(plain(b"a\n"), "a.tsv:1: 1 columns, expected a sentence and a label, or a name, a sentence and a label");
        assert_eq!(plain(b"index\tsentence\tlabel\n0\ta\n"), "a.tsv:2: 2 cells, expected 3 as in the header (`index`, `sentence`, `label`)");
        assert_eq!(plain(b"a\t1\n \t1\n"), "a.tsv:2: `sentence` is empty");
        assert_eq!(plain(b"a\t0\nb\t1\nc\t3\n"), "a.tsv:1: the labels are `0`, `1`, `3`, but `2` never occurs; declare all with `labels`");
        assert_eq!(plain(b"a\xff\t0\n"), "a.tsv:1: byte 0xff is not UTF-8; save the file as UTF-8");
        assert_eq!(message(b"a\t2\n", json!({"test": "a.tsv", "format": "gad"})), "a.tsv:1: unknown label `2`; the labels are `0`, `1`");
        assert_eq!(plain(b"a\t0\nb\tnot false\n"), "`0`, `not false` could each say that no relation holds; name one with `negative`");
        assert_eq!(message(b"a\t0\n", json!({"test": "a.tsv", "negative": "x"})), "`negative` is `x`; the labels are `0`");
        assert_eq!(message(b"", json!({"test": "a.tsv", "fold": 1})), "`fold` is given without `path`, the folder that holds the folds");
        assert!(message(b"", json!({"test": "a.tsv"})).ends_with("there is no example, neither to learn from nor to ask"));
        let both = call("relation", &[("re/a.tsv", b"")], &json!({"test": "re/a.tsv", "path": "re"})).unwrap_err();
        assert_eq!(both, "`path` and single files are both given; keep one");
    }

    #[test]
    fn the_released_sets_have_their_published_counts() {
        let Some(path) = released("re") else { return };
        let gad = read("relation", json!({"path": path.join("GAD"), "fold": 1, "format": "gad"})).unwrap();
        let positive = table::text_lists(&gad.examples, "golds").unwrap().iter().filter(|golds| golds[0] == "1").count();
        assert_eq!((sizes(&gad), positive), ((4796, 0, 534), 281));
        assert_eq!(gad.notes.len(), 1, "{:?}", gad.notes);
        for fold in 1..=10 {
            let euadr = read("relation", json!({"path": path.join("euadr"), "fold": fold, "format": "euadr"})).unwrap();
            assert_eq!(sizes(&euadr).0 + sizes(&euadr).2, 355);
        }
        let chemprot = |split: &str| path.join("chemprot-scibert").join(split);
        let params = json!({"train": chemprot("train.jsonl"), "dev": chemprot("dev.jsonl"), "test": chemprot("test.jsonl")});
        let chemprot = read("relation", params).unwrap();
        assert_eq!((sizes(&chemprot), chemprot.labels.len(), chemprot.negative), ((4169, 2427, 3469), 13, None));
    }
}
