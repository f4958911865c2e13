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
        version: 2,
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
* A TSV has a sentence and its label in each line, or a name, a sentence and a label; a first line that says `label`, and `text` or
  `sentence`, is a header, and so is one with names that `columns` gives. These are the files of BioBERT and of LinkBERT. A quote is text.
  A file without any line, such as `dev.tsv` of BioBERT's GAD, is noted and read as no examples.
* JSON Lines hold `text` (or `sentence`) and `label`, as SciBERT's ChemProt; `columns` names others.
* Intervals resample, and shares of the training examples keep whole, what belongs together: the column that `columns: {cluster: ...}` names;
  else the document in names of DDI (`DDI-DrugBank.d481` of `DDI-DrugBank.d481.s0.p0`) and of ChemProt (`10047461` of
  `10047461.T13.T57`); else examples with one sentence.
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
    /// Columns of a header, or keys of JSON Lines, with other names than the usual ones.
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
    /// What the example belongs to; by default the document that its name says, else its sentence.
    #[serde(default)]
    cluster: Option<String>,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: RelationParams = serde_json::from_value(params)?;
    labelled_text::check_declared(&params.labels)?;
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

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let splits = self.paths.read(cx, |path| self.read(path, &mut notes))?;
        self.paths.refuse_none(&splits, &notes)?;
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
        let file = match text_file::ending(path).as_str() {
            "tsv" => {
                if text_file::read(path)?.lines().all(text_file::is_blank) {
                    notes.say(format!("{}: the file is empty and gives no examples", path.display()));
                    return Ok(Vec::new());
                }
                DataFile::read_table(path, &|line, cells| self.layout(cells).map_err(|message| Error::data(path, line, message)))?
            }
            _ => DataFile::read(path)?,
        };
        let columns = &self.params.columns;
        let text = file.choose(columns.text.as_deref(), &TEXT, "text")?;
        let label = file.choose(columns.label.as_deref(), &[LABEL], "label")?;
        let id = file.choose_if_there(columns.id.as_deref(), &ID, "id")?;
        let cluster = file.choose_if_there(columns.cluster.as_deref(), &[], "cluster")?;
        let found = file.rows.iter().map(|row| {
            let id = row.optional(&file, id)?;
            let text = row.filled(&file, text)?;
            let document = id.as_deref().and_then(document_of).map(str::to_owned);
            Ok(Found {
                cluster: row.optional(&file, cluster)?.or(document).or_else(|| Some(text.clone())),
                id,
                place: Place::line(path, row.line),
                content: LabelledText { text, text_pair: None, golds: vec![row.filled(&file, label)?.trim().to_owned()] },
            })
        });
        found.collect()
    }

    /// What the columns of a TSV are, by the cells of its first line; none if that is a header.
    fn layout(&self, cells: &[&str]) -> Result<Option<&'static [&'static str]>, String> {
        let Columns { text, label, id, cluster } = &self.params.columns;
        let says = |named: &Option<String>, usual: &[&str]| match named {
            Some(named) => cells.iter().any(|cell| cell.trim() == named),
            None => cells.iter().any(|cell| usual.contains(&cell.trim().to_lowercase().as_str())),
        };
        if text.is_some() || (says(text, &TEXT) && says(label, &[LABEL])) {
            return Ok(None);
        }
        let is_name = |cell: &str| {
            let usual = cell.to_lowercase();
            usual == LABEL
                || TEXT.contains(&usual.as_str())
                || ID.contains(&usual.as_str())
                || [label, id, cluster].into_iter().flatten().any(|named| named == cell)
        };
        if let Some(name) = cells.iter().map(|cell| cell.trim()).find(|cell| is_name(cell)) {
            let expected = "a header says `label`, and `text` or `sentence`; name other columns with `columns`";
            return Err(format!("`{name}` is the name of a column, but the line is no header: {expected}"));
        }
        match cells.len() {
            2 => Ok(Some(&["sentence", "label"])),
            3 => Ok(Some(&["index", "sentence", "label"])),
            n => Err(format!("{n} columns, expected a sentence and a label, or a name, a sentence and a label")),
        }
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

/// The usual names of columns.
const TEXT: [&str; 2] = ["text", "sentence"];
const LABEL: &str = "label";
const ID: [&str; 2] = ["id", "index"];

/// The document that the name of an example says: what stands before the sentence and the pair, `.s0.p0`, of DDI, or before the entities,
/// `.T13.T57`, of ChemProt.
fn document_of(id: &str) -> Option<&str> {
    let (rest, last) = id.trim().rsplit_once('.')?;
    let document = if is_numbered(last, 'p') {
        let (document, sentence) = rest.rsplit_once('.')?;
        is_numbered(sentence, 's').then_some(document)?
    } else if is_numbered(last, 'T') {
        rest.rsplit_once('.').filter(|(_, first)| is_numbered(first, 'T')).map_or(rest, |(document, _)| document)
    } else {
        is_numbered(last, 's').then_some(rest)?
    };
    (!document.is_empty()).then_some(document)
}

fn is_numbered(part: &str, letter: char) -> bool {
    part.strip_prefix(letter).is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
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
    fn a_header_is_no_example() {
        let labels = |tsv: &str, params: Value| call("relation", &[("a.tsv", tsv.as_bytes())], &params).map(|examples| (sizes(&examples).2, examples.labels));
        let plain = || json!({"test": "a.tsv"});
        let two = Ok((2, vec!["0".to_owned(), "1".to_owned()]));
        assert_eq!(labels("text\tlabel\na\t0\nb\t1\n", plain()), two);
        assert_eq!(labels("id\ttext\tlabel\n7\ta\t0\n8\tb\t1\n", plain()), two);
        assert_eq!(labels("label\tsentence\n0\ta\n1\tb\n", plain()), two);
        assert_eq!(labels("text\tclass\na\t0\nb\t1\n", json!({"test": "a.tsv", "columns": {"label": "class"}})), two);
        assert_eq!(labels("passage\tclass\na\t0\nb\t1\n", json!({"test": "a.tsv", "columns": {"text": "passage", "label": "class"}})), two);
        let refused = "the name of a column, but the line is no header: a header says `label`, and `text` or `sentence`; name other columns with `columns`";
        assert_eq!(labels("passage\tLabel\na\t0\nb\t1\n", plain()).unwrap_err(), format!("a.tsv:1: `Label` is {refused}"));
        let class = json!({"test": "a.tsv", "columns": {"label": "class"}});
        assert_eq!(labels("passage\tclass\na\t0\nb\t1\n", class).unwrap_err(), format!("a.tsv:1: `class` is {refused}"));
        assert_eq!(labels("text\tclass\na\t0\nb\t1\n", plain()).unwrap_err(), format!("a.tsv:1: `text` is {refused}"));
    }

    #[test]
    fn documents_and_equal_sentences_stay_together() {
        let clusters = |tsv: &str| texts(&call("relation", &[("a.tsv", tsv.as_bytes())], &json!({"test": "a.tsv"})).unwrap().examples, "cluster");
        let ddi = "DDI-DrugBank.d481.s0.p0\ta\t0\nDDI-DrugBank.d481.s1.p2\tb\t1\nDDI-MedLine.d7.s0.p0\tc\t1\n";
        assert_eq!(clusters(ddi), ["DDI-DrugBank.d481", "DDI-DrugBank.d481", "DDI-MedLine.d7"]);
        assert_eq!(clusters("10047461.T13.T57\ta\t0\n10047461.T1.T57\tb\t1\n"), ["10047461", "10047461"]);
        // Numbers, or no names at all, say nothing: what is left is the sentence.
        assert_eq!(clusters("0\ta b\t0\n1\ta b\t1\n2\tc\t1\n"), ["a b", "a b", "c"]);
        assert_eq!(clusters("a b\t0\na b\t1\nc\t1\n"), ["a b", "a b", "c"]);
        let named = "text\tlabel\tpaper\na\t0\tx\nb\t1\tx\n";
        let named = call("relation", &[("a.tsv", named.as_bytes())], &json!({"test": "a.tsv", "columns": {"cluster": "paper"}})).unwrap();
        assert_eq!(texts(&named.examples, "cluster"), ["x", "x"]);
    }

    #[test]
    fn only_the_ids_of_ddi_and_chemprot_say_a_document() {
        for other in ["7", "a.b", "s0.p0", ".s0.p0", "x.p0", "x.t1", "x.s", "PMC.1"] {
            assert_eq!(document_of(other), None, "{other}");
        }
        assert_eq!((document_of("x.s3"), document_of("1.T1")), (Some("x"), Some("1")));
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
        let empty = "a.tsv: there is no example, neither to learn from nor to ask; a.tsv: the file is empty and gives no examples";
        assert_eq!(message(b"", json!({"test": "a.tsv"})), empty);
        assert_eq!(plain(b"a\t1\n\t\n"), "a.tsv:2: `sentence` is empty");
        assert_eq!(plain(b"a\t1\rb\t0\r"), "a.tsv:1: a carriage return stands inside the line; save the file with lines that end in LF or CRLF");
        let twice = message(b"a\tx\n", json!({"test": "a.tsv", "labels": ["x", "y", "x"]}));
        assert_eq!(twice, "`labels` names `x` twice; every label stands there once");
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
