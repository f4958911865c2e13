//! Questions from any file of facts.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFile, ExistingFiles, Origin, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::{DataFile, Row};
use super::pool::{Candidates, PoolBuilder, Question};
use super::template::{Template, Templates, listed};

inventory::submit! {
    Registration {
        id: "cloze",
        version: 1,
        build: Build::Task(&build),
        summary: "questions from any CSV, TSV or JSON Lines file of facts, LAMA and BioLAMA included",
        manual: MANUAL,
        schema: &schema_of::<ClozeParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks for the objects of facts (subject, relation, object) from files of your own, or from LAMA and BioLAMA as released.

## How
* A row is a fact. CSV and TSV hold several objects in a cell, separated by `separator`; JSON Lines hold an array, and a text there
  is one object. The key `obj_aliases` of BioLAMA adds right answers.
* Columns are found by name: the subject in `subject` or `sub_label`, the relation in `relation`, `predicate_id` or `rel`, the objects in
  `objects`, `obj_labels`, `obj_label` or `object`. `columns` names others.
* Rows of one subject and relation are one question with all their objects; how many rows were merged is a warning. The question is
  called `RELATION:SUBJECT`, or what the column `columns: {id: ...}` holds in its first row.
* The prompt is the relation's template with the subject for `[X]` and one `[Y]` where the object stands. `templates` is a file with the
  columns `relation` and `template` (LAMA's `relations.jsonl` too); `template` is one text for all relations. A relation without
  either is asked as `[X] relation in words [Y] .`, with a warning.
* `candidates: tails` answers from all objects of the question's relation, `relation` from its subjects and objects, `global` from
  those of all relations. Names are compared letter by letter.
* `where` keeps the rows whose cells have the given values. It chooses the questions and their right answers but **not** the
  candidates: subsets of one file are answered from the same pool and can be compared.

## Example
```yaml
tasks:
  - {use: cloze, name: held-back, path: facts.csv, templates: prompts.csv, where: {split: held_back}}
  - {use: cloze, name: biolama, path: [biolama/*/test.jsonl], templates: biolama/manual.jsonl}
```

## Reference
Petroni et al. 2019, *Language models as knowledge bases?*, <https://arxiv.org/abs/1909.01066>. Sung et al. 2021, *Can language
models be biomedical knowledge bases?*, <https://arxiv.org/abs/2109.07154>.
";

/// Parameters of `cloze`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClozeParams {
    /// Files of facts: `csv`, `tsv` or `jsonl`.
    path: ExistingFiles,
    /// Columns with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// What stands between the objects in a cell of a CSV or TSV file.
    #[serde(default = "bars")]
    #[schemars(length(min = 1))]
    separator: String,
    /// File of templates with the columns `relation` and `template`, one `[X]` and one `[Y]` in each.
    #[serde(default)]
    templates: Option<ExistingFile>,
    /// One template for all relations, with one `[X]` and one `[Y]`.
    #[serde(default)]
    template: Option<String>,
    /// Which names compete for an answer.
    #[serde(default = "default_candidates")]
    candidates: Candidates,
    /// Columns and the values that rows must have there to be asked. Candidates come from all rows.
    #[serde(default, rename = "where")]
    filter: BTreeMap<String, String>,
}

/// Where the parts of a fact stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// The subject; by default `subject` or `sub_label`.
    #[serde(default)]
    subject: Option<String>,
    /// The relation; by default `relation`, `predicate_id` or `rel`.
    #[serde(default)]
    relation: Option<String>,
    /// The objects; by default `objects`, `obj_labels`, `obj_label` or `object`.
    #[serde(default)]
    objects: Option<String>,
    /// The name of a question; by default it is made of relation and subject.
    #[serde(default)]
    id: Option<String>,
}

fn bars() -> String {
    " || ".to_owned()
}

fn default_candidates() -> Candidates {
    Candidates::Tails
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: ClozeParams = serde_json::from_value(params)?;
    if params.path.0.is_empty() {
        return Err(Error::Config("`path` names no file".to_owned()));
    }
    if params.separator.is_empty() {
        return Err(Error::Config("`separator` is empty; leave it out for ` || `".to_owned()));
    }
    let template = match (&params.template, &params.templates) {
        (Some(_), Some(_)) => return Err(Error::Config("`template` and `templates` are both given; keep one".to_owned())),
        (Some(text), None) => Some(Template::parse(text).map_err(|message| Error::Config(format!("`template`: {message}")))?),
        (None, _) => None,
    };
    Ok(Arc::new(Cloze { params, template }))
}

/// The questions of files of facts.
#[derive(Debug)]
struct Cloze {
    params: ClozeParams,
    template: Option<Template>,
}

impl Task for Cloze {
    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut pools = PoolBuilder::new(self.params.candidates);
        let mut asked = Asked::default();
        let mut seen_values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for path in &self.params.path.0 {
            cx.check_cancelled()?;
            let file = DataFile::read(path)?;
            let layout = Layout::new(&file, &self.params)?;
            for row in &file.rows {
                let fact = layout.fact(&file, row)?;
                pools.add(&fact.relation, &fact.subject, &fact.objects);
                if self.keeps(&file, row, &mut seen_values)? {
                    asked.add(fact, &file, row);
                }
            }
        }
        if asked.questions.is_empty() {
            let seen: Vec<String> = seen_values.iter().map(|(column, values)| format!("`{column}` holds {}", first_of(values))).collect();
            return Err(Error::Config(format!("`where` keeps no row; {}", seen.join("; "))));
        }
        if asked.merged > 0 {
            cx.warn(format!("{} rows repeat the subject and relation of an earlier row; their objects were joined into one question", asked.merged));
        }
        pools.examples(&self.questions(asked.questions, cx)?)
    }

    fn default_metrics(&self) -> Vec<String> {
        ["acc@1", "acc@5", "acc@10", "mrr"].map(str::to_owned).into()
    }
}

impl Cloze {
    /// Whether a row is asked. Notes the values that the columns of the filter have.
    fn keeps<'a>(&'a self, file: &DataFile, row: &Row, seen: &mut BTreeMap<&'a str, BTreeSet<String>>) -> Result<bool> {
        let mut keeps = true;
        for (column, wanted) in &self.params.filter {
            let value = row.text(file, column)?;
            keeps &= value == *wanted;
            seen.entry(column).or_default().insert(value);
        }
        Ok(keeps)
    }

    /// Fills the templates.
    fn questions(&self, asked: Vec<AskedFact>, cx: &CallContext<'_>) -> Result<Vec<Question>> {
        let relations: BTreeSet<&str> = asked.iter().map(|asked| asked.fact.relation.as_str()).collect();
        let templates = match (&self.template, &self.params.templates) {
            (Some(template), _) => relations.iter().map(|&relation| (relation.to_owned(), template.clone())).collect(),
            (None, Some(path)) => Templates::read(path.as_ref(), "template")?.for_relations(&relations, cx),
            (None, None) => Templates::default().for_relations(&relations, cx),
        };
        let mut questions = Vec::with_capacity(asked.len());
        for AskedFact { fact, path, line } in asked {
            let prompt = templates[&fact.relation].fill(&fact.subject).map_err(|message| Error::data(path, line, message))?;
            let id = fact.id.unwrap_or_else(|| format!("{}:{}", fact.relation, fact.subject));
            questions.push(Question { id, relation: fact.relation, subject: fact.subject, prompt, golds: fact.objects });
        }
        Ok(questions)
    }
}

/// The facts that are asked, one a subject and relation.
#[derive(Debug, Default)]
struct Asked {
    questions: Vec<AskedFact>,
    index: HashMap<(String, String), usize>,
    /// Rows that were joined with an earlier one.
    merged: usize,
}

/// A fact and where it stands.
#[derive(Debug)]
struct AskedFact {
    fact: Fact,
    path: PathBuf,
    line: usize,
}

impl Asked {
    fn add(&mut self, fact: Fact, file: &DataFile, row: &Row) {
        match self.index.entry((fact.relation.clone(), fact.subject.clone())) {
            Entry::Occupied(earlier) => {
                self.merged += 1;
                let objects = &mut self.questions[*earlier.get()].fact.objects;
                for object in fact.objects {
                    if !objects.contains(&object) {
                        objects.push(object);
                    }
                }
            }
            Entry::Vacant(place) => {
                place.insert(self.questions.len());
                self.questions.push(AskedFact { fact, path: file.path.clone(), line: row.line });
            }
        }
    }
}

/// A row of a file.
#[derive(Debug)]
struct Fact {
    id: Option<String>,
    relation: String,
    subject: String,
    /// Distinct.
    objects: Vec<String>,
}

/// Which columns of a file are which part of a fact.
#[derive(Debug)]
struct Layout<'a> {
    subject: &'a str,
    relation: &'a str,
    objects: &'a str,
    id: Option<&'a str>,
    separator: &'a str,
}

impl<'a> Layout<'a> {
    fn new(file: &DataFile, params: &'a ClozeParams) -> Result<Self> {
        let find = |given: &'a Option<String>, usual: &[&'static str], what: &str| file.choose(given.as_deref(), usual, what);
        for column in params.filter.keys() {
            file.column(&[column.as_str()], "filter `where`")?;
        }
        Ok(Self {
            subject: find(&params.columns.subject, &["subject", "sub_label"], "subject")?,
            relation: find(&params.columns.relation, &["relation", "predicate_id", "rel"], "relation")?,
            objects: find(&params.columns.objects, &["objects", "obj_labels", "obj_label", "object"], "objects")?,
            id: params.columns.id.as_deref().map(|name| file.column(&[name], "id")).transpose()?,
            separator: &params.separator,
        })
    }

    fn fact(&self, file: &DataFile, row: &Row) -> Result<Fact> {
        let mut objects = Vec::new();
        match row.cells.get(self.objects) {
            Some(value @ Value::Array(_)) => collect(file, row, value, &mut objects)?,
            _ if file.has_lists => objects.push(row.filled(file, self.objects)?),
            _ => objects.extend(row.filled(file, self.objects)?.split(self.separator).map(|object| object.trim().to_owned())),
        }
        if file.has_lists
            && let Some(aliases) = row.cells.get("obj_aliases")
        {
            collect(file, row, aliases, &mut objects)?;
        }
        if objects.is_empty() || objects.iter().any(|object| object.trim().is_empty()) {
            return Err(file.error(row, format!("`{}` holds an empty object", self.objects)));
        }
        let mut seen = BTreeSet::new();
        objects.retain(|object| seen.insert(object.clone()));
        Ok(Fact {
            id: self.id.map(|column| row.filled(file, column)).transpose()?,
            relation: row.filled(file, self.relation)?,
            subject: row.filled(file, self.subject)?,
            objects,
        })
    }
}

/// The texts of an array, and of arrays in it: the aliases of BioLAMA are one array an object.
fn collect(file: &DataFile, row: &Row, value: &Value, objects: &mut Vec<String>) -> Result<()> {
    match value {
        Value::String(text) => objects.push(text.clone()),
        Value::Array(items) => items.iter().try_for_each(|item| collect(file, row, item, objects))?,
        other => return Err(file.error(row, format!("an object is {other}, expected a text"))),
    }
    Ok(())
}

/// Some of many values, for a message.
fn first_of(values: &BTreeSet<String>) -> String {
    let shown: Vec<&String> = values.iter().take(10).collect();
    let rest = values.len() - shown.len();
    if rest == 0 { listed(&shown) } else { format!("{} and {rest} more values", listed(&shown)) }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Cancel, Quiet, Seed, table};
    use polars::prelude::DataFrame;
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "tests write the parameters at the call")]
    /// What `cloze` says to files of the given names and contents.
    fn call(files: &[(&str, &str)], params: Value) -> Result<(Examples, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            paths.push(path);
        }
        let mut all = json!({"path": paths});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        if let Some(templates) = all.get_mut("templates") {
            paths.pop();
            *templates = json!(folder.path().join(templates.as_str().unwrap()));
            all["path"] = json!(paths); // the last file holds the templates
        }
        let cx = CallContext::new(Seed(1), &Quiet, Cancel::default());
        let examples = build(all, &BuildContext::default())?.examples(&cx)?;
        table::EXAMPLES.check(&examples.examples, "task").unwrap();
        table::CANDIDATES.check(&examples.candidates, "task").unwrap();
        Ok((examples, cx.warnings()))
    }

    fn message(files: &[(&str, &str)], params: Value) -> String {
        let message = call(files, params).unwrap_err().to_string();
        message.rsplit_once("/f.").map_or(message.clone(), |(_, rest)| format!("f.{rest}")) // without the temporary folder
    }

    fn column(frame: &DataFrame, name: &str) -> Vec<String> {
        table::texts(frame, name).unwrap().into_iter().map(str::to_owned).collect()
    }

    const FACTS: &str =
        "subject,relation,objects,split\naspirin,may_treat,pain || fever,shown\ninsulin,may_treat,diabetes,held_back\nliver,part_of,abdomen,held_back\n";

    #[test]
    fn a_table_of_facts_becomes_questions() {
        let (examples, warnings) =
            call(&[("f.csv", FACTS), ("t.csv", "relation,template\nmay_treat,[X] treats [Y] .\n")], json!({"templates": "t.csv"})).unwrap();
        assert_eq!(column(&examples.examples, "example_id"), ["may_treat:aspirin", "may_treat:insulin", "part_of:liver"]);
        assert_eq!(column(&examples.examples, "prompt"), ["aspirin treats [Y] .", "insulin treats [Y] .", "liver part of [Y] ."]);
        assert_eq!(table::text_lists(&examples.examples, "golds").unwrap(), [vec!["pain", "fever"], vec!["diabetes"], vec!["abdomen"]]);
        assert_eq!(column(&examples.candidates, "pool"), ["may_treat", "may_treat", "may_treat", "part_of"]);
        assert_eq!(column(&examples.candidates, "name"), ["diabetes", "fever", "pain", "abdomen"]);
        assert_eq!(warnings, ["no template for `part_of`; asked in the relation's own words, `[X] part of [Y] .`"]);
    }

    #[test]
    fn a_filter_chooses_questions_but_not_candidates() {
        let (examples, _) = call(&[("f.csv", FACTS)], json!({"where": {"split": "held_back", "relation": "may_treat"}, "template": "[X] : [Y]"})).unwrap();
        assert_eq!(column(&examples.examples, "prompt"), ["insulin : [Y]"]);
        assert_eq!(column(&examples.candidates, "name"), ["diabetes", "fever", "pain"]);
        assert_eq!(message(&[("f.csv", FACTS)], json!({"where": {"split": "test"}})), "`where` keeps no row; `split` holds `held_back`, `shown`");
        assert_eq!(
            message(&[("f.csv", FACTS)], json!({"where": {"fold": "1"}})),
            "f.csv:1: no column for the filter `where`: looked for `fold`; the columns are `subject`, `relation`, `objects`, `split`"
        );
    }

    #[test]
    fn lama_is_read_as_released_and_its_repeated_facts_are_joined() {
        let lama = concat!(
            "{\"uuid\": \"u1\", \"obj_label\": \"Rome\", \"sub_label\": \"Nero\", \"predicate_id\": \"P20\", \"evidences\": []}\n",
            "{\"uuid\": \"u2\", \"obj_label\": \"Rome\", \"sub_label\": \"Nero\", \"predicate_id\": \"P20\", \"evidences\": []}\n",
            "{\"uuid\": \"u3\", \"obj_label\": \"Italy\", \"sub_label\": \"Nero\", \"predicate_id\": \"P20\", \"evidences\": []}\n",
        );
        let relations =
            "{\"relation\": \"P20\", \"template\": \"[X] died in [Y] .\", \"label\": \"place of death\"}\n{\"relation\": \"P1\", \"template\": \"[X] [Y]\"}";
        let params = json!({"templates": "relations.jsonl", "columns": {"id": "uuid"}});
        let (examples, warnings) = call(&[("f.jsonl", lama), ("relations.jsonl", relations)], params).unwrap();
        assert_eq!(column(&examples.examples, "example_id"), ["u1"]);
        assert_eq!(column(&examples.examples, "prompt"), ["Nero died in [Y] ."]);
        assert_eq!(table::text_lists(&examples.examples, "golds").unwrap(), [vec!["Rome", "Italy"]]);
        assert_eq!(warnings, ["2 rows repeat the subject and relation of an earlier row; their objects were joined into one question"]);
    }

    #[test]
    fn biolama_is_read_as_released_and_aliases_are_right_answers() {
        let biolama = "{\"uuid\": \"u\", \"sub_label\": \"ALS\", \"sub_aliases\": [], \"obj_labels\": [\"SOD1\", \"FUS\"], \"obj_aliases\": [[\"IPOA\", \"SOD1\"], []], \"predicate_id\": \"P2293\"}\n";
        let (examples, _) = call(&[("f.jsonl", biolama)], json!({"template": "[X] has a genetic association with [Y] ."})).unwrap();
        assert_eq!(table::text_lists(&examples.examples, "golds").unwrap(), [vec!["SOD1", "FUS", "IPOA"]]);
        assert_eq!(column(&examples.candidates, "name"), ["FUS", "IPOA", "SOD1"]);
    }

    #[test]
    fn separators_and_column_names_are_free_and_files_add_up() {
        let first = "drug\trel\tuse\n5\" gauze\ttreats\tcut;  burn;cut\n";
        let second = "{\"drug\": \"balm\", \"rel\": \"treats\", \"use\": \"itch; burn\"}\n"; // a text in JSON is one object
        let params = json!({"separator": ";", "columns": {"subject": "drug", "objects": "use"}, "candidates": "global", "template": "[X] [Y]"});
        let (examples, warnings) = call(&[("a.tsv", first), ("b.jsonl", second)], params).unwrap();
        assert_eq!(table::text_lists(&examples.examples, "golds").unwrap(), [vec!["cut", "burn"], vec!["itch; burn"]]);
        assert_eq!(column(&examples.candidates, "name"), ["5\" gauze", "balm", "burn", "cut", "itch; burn"]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_column_that_is_not_found_says_how_to_name_it() {
        assert_eq!(
            message(&[("f.csv", "drug,relation,objects\na,b,c\n")], json!({})),
            "f.csv:1: no column for the subject: looked for `subject`, `sub_label`; the columns are `drug`, `relation`, `objects`; name yours with `columns: {subject: ...}`"
        );
    }

    #[test]
    fn every_malformed_row_names_file_and_line() {
        let csv = |row: &str| message(&[("f.csv", &format!("subject,relation,objects\na,r,x\n{row}\n"))], json!({}));
        assert_eq!(csv("b,r,"), "f.csv:3: `objects` is empty");
        assert_eq!(csv("b,r,x || "), "f.csv:3: `objects` holds an empty object");
        assert_eq!(csv(" ,r,x"), "f.csv:3: `subject` is empty");
        assert_eq!(csv("b[Y],r,x"), "f.csv:3: the subject \"b[Y]\" holds `[Y]`, which marks the object in a prompt; rename it");
        let json = |row: &str| message(&[("f.jsonl", &format!("{{\"subject\": \"a\", \"rel\": \"r\", \"object\": \"x\"}}\n{row}\n"))], json!({}));
        assert_eq!(json("{\"subject\": \"b\", \"rel\": \"r\"}"), "f.jsonl:2: there is no `object`; the row has `subject`, `rel`");
        assert_eq!(json("{\"subject\": \"b\", \"rel\": \"r\", \"object\": []}"), "f.jsonl:2: `object` holds an empty object");
        assert_eq!(json("{\"subject\": \"b\", \"rel\": \"r\", \"object\": [null]}"), "f.jsonl:2: an object is null, expected a text");
    }

    #[test]
    fn parameters_that_contradict_each_other_are_refused() {
        let message = |params: Value| build(params, &BuildContext::default()).err().unwrap().to_string();
        assert_eq!(message(json!({"path": []})), "`path` names no file");
        assert_eq!(message(json!({"path": ["f.csv"], "template": "[X] [Y]", "templates": "t.csv"})), "`template` and `templates` are both given; keep one");
        assert_eq!(message(json!({"path": ["f.csv"], "template": "[X]"})), "`template`: the template \"[X]\" holds `[Y]` 0 times, expected once");
    }

    #[test]
    fn identifiers_from_a_column_must_be_unique() {
        let message = message(&[("f.csv", "subject,relation,objects,id\na,r,x,1\nb,r,x,1\n")], json!({"columns": {"id": "id"}}));
        assert!(message.contains("two questions have the identifier `1`"), "{message}");
    }

    #[test]
    fn minibio_is_read() {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/minibio");
        let params = json!({"path": [data.join("facts.csv")], "templates": data.join("prompts.csv"), "where": {"split": "held_back"}});
        let cx = CallContext::new(Seed(1), &Quiet, Cancel::default());
        let examples = build(params, &BuildContext::default()).unwrap().examples(&cx).unwrap();
        assert!(examples.examples.height() > 0);
        assert_eq!(cx.warnings(), Vec::<String>::new());
    }
}
