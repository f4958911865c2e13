//! MedLAMA: 19 relations of the UMLS, asked about by name.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFile, ExistingFolder, Origin, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::DataFile;
use super::pool::{Candidates, PoolBuilder, Question};
use super::template::{SUBJECT, Templates, listed};

inventory::submit! {
    Registration {
        id: "medlama",
        version: 1,
        build: Build::Task(&build),
        summary: "MedLAMA: 19 000 questions about 19 biomedical relations of the UMLS",
        manual: MANUAL,
        schema: &schema_of::<MedlamaParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks for the objects of facts from the UMLS (release 2021AA): 19 relations, 1 000 questions each, every question with one to
ten right answers that are mostly names of several word pieces. The hard subset leaves out questions whose subject gives
the answer away by its wording.

## How
`path` is the folder `medlama` of the released data; the data is under the UMLS licence and does not come with this program.

* `subset: full` reads `2021AA/RELATION_1000.csv`, `subset: hard` reads `2021AA/RELATION_N_hard.csv`, as released.
* The subject is `head_name`, the right answers are `tail_names`, separated by ` || `. An answer is right if it equals one of
  them letter by letter. A question is called `RELATION:CUI:NAME`.
* The prompt is the relation's template with the subject for `[X]`. A relation without a template is asked as
  `[X] relation in words [Y] .`, with a warning.
* `candidates: global` answers from all subjects and objects of all relations of the subset, `relation` from those of the
  question's relation, `tails` from the relation's objects. `relations` chooses what is asked, never what the global pool holds,
  so numbers of a relation do not change with it.
* Twelve subjects of `occurs_after` begin with the mark `[X]` of ICD-10, which looks like the place of the subject. It is left out
  of prompts; `strip_markers: false` leaves it in, as the original program does.

The frequency prior, an oracle that ignores the subject, answers 25.8 % at 1 and 56.3 % at 10 of the full set: read scores beside it.

## Example
```yaml
tasks:
  - {use: medlama, path: medlama, subset: hard, relations: [may_treat, may_prevent]}
```

## Reference
Meng et al. 2022, *Rewire-then-Probe: a contrastive recipe for probing biomedical knowledge of pre-trained language models*,
<https://arxiv.org/abs/2110.08173>.
Data: <https://github.com/cambridgeltl/medlama>.
";

/// Parameters of `medlama`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MedlamaParams {
    /// The folder that holds `2021AA/*.csv` and `prompts.csv`.
    path: ExistingFolder,
    /// Which questions.
    #[serde(default)]
    subset: Subset,
    /// Which templates of `prompts.csv`.
    #[serde(default)]
    prompt: Prompt,
    /// Own templates instead: a file with the columns `relation` (or `pid`) and `template`, one `[X]` and one `[Y]` in each.
    #[serde(default)]
    templates: Option<ExistingFile>,
    /// Which names compete for an answer.
    #[serde(default = "default_candidates")]
    candidates: Candidates,
    /// The relations to ask; all if empty.
    #[serde(default)]
    relations: Vec<String>,
    /// Whether the mark `[X]` in front of a subject is left out of the prompt.
    #[serde(default = "yes")]
    strip_markers: bool,
}

/// Which questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Subset {
    /// All 19 000.
    #[default]
    Full,
    /// The 15 329 whose subject does not give the answer away.
    Hard,
}

impl Subset {
    /// The relation, and how many questions the name promises, of a file that belongs to the subset.
    fn relation_of(self, file_stem: &str) -> Option<(&str, usize)> {
        let (relation, count) = match self {
            Self::Full => (file_stem.strip_suffix("_1000")?, "1000"),
            Self::Hard => file_stem.strip_suffix("_hard")?.rsplit_once('_')?,
        };
        Some((relation, count.parse().ok()?))
    }

    fn pattern(self) -> &'static str {
        match self {
            Self::Full => "RELATION_1000.csv",
            Self::Hard => "RELATION_N_hard.csv",
        }
    }
}

/// Which column of `prompts.csv`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Prompt {
    /// A sentence that a person wrote for the relation.
    #[default]
    Human,
    /// The relation's name between subject and object.
    Default,
}

impl Prompt {
    fn column(self) -> &'static str {
        match self {
            Self::Human => "human_prompt",
            Self::Default => "default_prompt",
        }
    }
}

fn default_candidates() -> Candidates {
    Candidates::Global
}

fn yes() -> bool {
    true
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    Ok(Arc::new(Medlama { params: serde_json::from_value(params)? }))
}

/// The questions of the released files.
#[derive(Debug)]
struct Medlama {
    params: MedlamaParams,
}

impl Task for Medlama {
    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let files = self.files()?;
        let known: BTreeSet<&str> = files.iter().map(|file| file.relation.as_str()).collect();
        let asked = self.asked(&known)?;
        let templates = self.templates(&known, cx)?.for_relations(&asked, cx);
        let mut pools = PoolBuilder::new(self.params.candidates);
        let mut questions = Vec::new();
        for file in &files {
            cx.check_cancelled()?;
            let facts = file.facts(cx)?;
            let template = templates.get(&file.relation);
            for fact in facts {
                pools.add(&file.relation, &fact.head, &fact.tails);
                let Some(template) = template else { continue };
                let prompt = template.fill(self.in_prompt(&fact.head)).map_err(|message| Error::data(&file.path, fact.line, message))?;
                let id = format!("{}:{}:{}", file.relation, fact.cui, fact.head);
                questions.push(Question { id, relation: file.relation.clone(), subject: fact.head, prompt, golds: fact.tails });
            }
        }
        pools.examples(&questions)
    }

    fn default_metrics(&self) -> Vec<String> {
        ["acc@1", "acc@5", "acc@10", "mrr"].map(str::to_owned).into()
    }
}

impl Medlama {
    /// The files of the subset, in byte order of the relations.
    fn files(&self) -> Result<Vec<RelationFile>> {
        let root = self.params.path.as_ref();
        let folder = root.join("2021AA");
        if !folder.is_dir() {
            return Err(Error::data(root, None, "there is no folder `2021AA` in it; `path` is the folder that holds `2021AA` and `prompts.csv`"));
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".csv"));
            if let Some((relation, promised)) = stem.and_then(|stem| self.params.subset.relation_of(stem)) {
                files.push(RelationFile { relation: relation.to_owned(), promised, path });
            }
        }
        if files.is_empty() {
            return Err(Error::data(folder, None, format!("no file is named like `{}`", self.params.subset.pattern())));
        }
        files.sort_by(|a, b| (&a.relation, &a.path).cmp(&(&b.relation, &b.path)));
        if let Some(pair) = files.windows(2).find(|pair| pair[0].relation == pair[1].relation) {
            return Err(Error::data(&pair[1].path, None, format!("a second file for the relation `{}`, besides {}", pair[0].relation, pair[0].path.display())));
        }
        Ok(files)
    }

    /// The relations to ask.
    fn asked<'a>(&self, known: &BTreeSet<&'a str>) -> Result<BTreeSet<&'a str>> {
        if self.params.relations.is_empty() {
            return Ok(known.clone());
        }
        let find = |name: &String| {
            known.get(name.as_str()).copied().ok_or_else(|| {
                let near = known.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                Error::Config(format!("unknown relation `{name}`{near} relations known: {}", listed(&known.iter().collect::<Vec<_>>())))
            })
        };
        self.params.relations.iter().map(find).collect()
    }

    fn templates(&self, known: &BTreeSet<&str>, cx: &CallContext<'_>) -> Result<Templates> {
        match &self.params.templates {
            Some(path) => {
                let templates = Templates::read(path.as_ref(), "template")?;
                templates.warn_of_strangers(path.as_ref(), known, cx);
                Ok(templates)
            }
            // The released file has a template for a relation without questions: strangers are no news here.
            None => Templates::read(&self.params.path.as_ref().join("prompts.csv"), self.params.prompt.column()),
        }
    }

    /// A subject as it stands in a prompt.
    fn in_prompt<'a>(&self, head: &'a str) -> &'a str {
        match head.strip_prefix(SUBJECT) {
            Some(rest) if self.params.strip_markers => rest.trim_start(),
            _ => head,
        }
    }
}

/// A file of questions.
#[derive(Debug)]
struct RelationFile {
    relation: String,
    /// How many questions the file's name promises.
    promised: usize,
    path: PathBuf,
}

/// A row of a file.
#[derive(Debug)]
struct Fact {
    line: usize,
    cui: String,
    head: String,
    tails: Vec<String>,
}

impl RelationFile {
    fn facts(&self, cx: &CallContext<'_>) -> Result<Vec<Fact>> {
        let file = DataFile::read(&self.path)?;
        for column in ["head_cui", "head_name", "rel", "tail_names", "tail_names_len"] {
            file.column(&[column], column)?;
        }
        if file.rows.len() != self.promised {
            cx.warn(format!("{}: {} questions, the file's name says {}", self.path.display(), file.rows.len(), self.promised));
        }
        let mut heads = BTreeSet::new();
        let mut facts = Vec::with_capacity(file.rows.len());
        for row in &file.rows {
            let relation = row.text(&file, "rel")?;
            if relation != self.relation {
                return Err(file.error(row, format!("`rel` is `{relation}`, expected `{}` as in the file's name", self.relation)));
            }
            let head = row.filled(&file, "head_name")?;
            if !heads.insert(head.clone()) {
                return Err(file.error(row, format!("a second question about `{head}`; a subject has one row a relation")));
            }
            let tails: Vec<String> = row.filled(&file, "tail_names")?.split(" || ").map(str::to_owned).collect();
            let promised = row.text(&file, "tail_names_len")?;
            if promised.parse() != Ok(tails.len()) {
                return Err(
                    file.error(row, format!("`tail_names` holds {} names, `tail_names_len` says {promised}; names are separated by ` || `", tails.len()))
                );
            }
            if tails.iter().any(|tail| tail.trim().is_empty()) {
                return Err(file.error(row, "`tail_names` holds an empty name"));
            }
            facts.push(Fact { line: row.line, cui: row.filled(&file, "head_cui")?, head, tails });
        }
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lmprobe_core::{Cancel, Quiet, Seed, table};
    use polars::prelude::DataFrame;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    const HEADER: &str = "head_cui,head_name,rel,tail_cuis_list,tail_names_list,tail_names,tail_cuis,tail_cuis_len,tail_names_len,avg_match,avg_rouge_l\n";

    /// A row as pandas writes it; the list columns are not read.
    fn row(cui: &str, head: &str, relation: &str, tails: &str, n: usize) -> String {
        format!("{cui},{head},{relation},\"['C1', 'C2']\",\"['a', \"\"b's\"\"]\",{tails},C1,{n},{n},0.0,0.0\n")
    }

    /// A folder with two relations, two questions each, one of them hard.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(
            &folder,
            "2021AA/soothes_1000.csv",
            &(HEADER.to_owned() + &row("C10", "balm", "soothes", "Itch || burn", 2) + &row("C11", "\"tea, green\"", "soothes", "thirst", 1)),
        );
        write(&folder, "2021AA/soothes_1_hard.csv", &(HEADER.to_owned() + &row("C11", "\"tea, green\"", "soothes", "thirst", 1)));
        write(
            &folder,
            "2021AA/comes_after_1000.csv",
            &(HEADER.to_owned() + &row("C20", "[X] scar", "comes_after", "burn", 1) + &row("C21", "balm", "comes_after", "Itch", 1)),
        );
        write(&folder, "2021AA/comes_after_1_hard.csv", &(HEADER.to_owned() + &row("C20", "[X] scar", "comes_after", "burn", 1)));
        write(
            &folder,
            "prompts.csv",
            "pid,default_prompt,human_prompt\nsoothes,[X] soothes [Y] .,[X] may soothe [Y] .\ncomes_after,[X] comes after [Y] .,[X] follows on [Y] .\nunused,[X] [Y],[X] [Y]",
        );
        folder
    }

    fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests write the parameters at the call")]
    fn call(path: &Path, params: Value) -> Result<(Examples, Vec<String>)> {
        let mut all = json!({"path": path});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let cx = CallContext::new(Seed(1), &Quiet, Cancel::default());
        let examples = build(all, &BuildContext::default()).unwrap().examples(&cx)?;
        table::EXAMPLES.check(&examples.examples, "task").unwrap();
        table::CANDIDATES.check(&examples.candidates, "task").unwrap();
        Ok((examples, cx.warnings()))
    }

    fn ask(folder: &TempDir, params: Value) -> Examples {
        call(folder.path(), params).unwrap().0
    }

    fn message(folder: &TempDir, params: Value) -> String {
        call(folder.path(), params).unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    fn column(frame: &DataFrame, name: &str) -> Vec<String> {
        table::texts(frame, name).unwrap().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_row_is_a_question_and_names_are_read_as_they_stand() {
        let examples = ask(&folder(), json!({})).examples;
        assert_eq!(column(&examples, "example_id"), ["comes_after:C20:[X] scar", "comes_after:C21:balm", "soothes:C10:balm", "soothes:C11:tea, green"]);
        assert_eq!(column(&examples, "subject"), ["[X] scar", "balm", "balm", "tea, green"]);
        assert_eq!(column(&examples, "prompt"), ["scar follows on [Y] .", "balm follows on [Y] .", "balm may soothe [Y] .", "tea, green may soothe [Y] ."]);
        assert_eq!(table::text_lists(&examples, "golds").unwrap(), [vec!["burn"], vec!["Itch"], vec!["Itch", "burn"], vec!["thirst"]]);
    }

    #[test]
    fn a_marker_stays_when_it_is_not_stripped() {
        let examples = ask(&folder(), json!({"strip_markers": false, "prompt": "default"})).examples;
        assert_eq!(column(&examples, "prompt")[0], "[X] scar comes after [Y] .");
    }

    #[test]
    fn the_hard_subset_is_the_files_named_so() {
        let examples = ask(&folder(), json!({"subset": "hard"}));
        assert_eq!(column(&examples.examples, "subject"), ["[X] scar", "tea, green"]);
        assert_eq!(column(&examples.candidates, "name"), ["[X] scar", "burn", "tea, green", "thirst"]);
    }

    #[test]
    fn the_global_pool_does_not_change_with_the_relations_that_are_asked() {
        let all = ask(&folder(), json!({}));
        let one = ask(&folder(), json!({"relations": ["soothes"]}));
        assert_eq!(column(&one.examples, "relation"), ["soothes", "soothes"]);
        assert_eq!(column(&one.candidates, "name"), ["Itch", "[X] scar", "balm", "burn", "tea, green", "thirst"]);
        assert_eq!(column(&one.candidates, "name"), column(&all.candidates, "name"));
        let tails = ask(&folder(), json!({"relations": ["soothes"], "candidates": "tails"}));
        assert_eq!(
            (column(&tails.candidates, "pool")[0].as_str(), column(&tails.candidates, "name")),
            ("soothes", ["Itch", "burn", "thirst"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn an_unknown_relation_suggests_a_known_one() {
        let message = message(&folder(), json!({"relations": ["soothe"]}));
        assert_eq!(message, "unknown relation `soothe`; did you mean `soothes`? relations known: `comes_after`, `soothes`");
    }

    #[test]
    fn own_templates_replace_the_released_ones_and_gaps_are_reported() {
        let folder = folder();
        write(&folder, "own.csv", "relation,template\nsoothes,[Y] is soothed by [X] .\nheals,[X] heals [Y] .\n");
        let (examples, warnings) = call(folder.path(), json!({"templates": folder.path().join("own.csv")})).unwrap();
        assert_eq!(column(&examples.examples, "prompt")[1..3], ["balm comes after [Y] .", "[Y] is soothed by balm ."]);
        assert!(warnings[0].ends_with("own.csv: templates for relations that are not in the data: `heals`"));
        assert_eq!(warnings[1], "no template for `comes_after`; asked in the relation's own words, `[X] comes after [Y] .`");
    }

    #[test]
    fn a_file_shorter_than_its_name_says_is_reported() {
        let warnings = call(folder().path(), json!({})).unwrap().1;
        assert!(warnings[0].ends_with("comes_after_1000.csv: 2 questions, the file's name says 1000"), "{warnings:?}");
        assert!(call(folder().path(), json!({"subset": "hard"})).unwrap().1.is_empty());
    }

    #[test]
    fn every_malformed_row_names_file_and_line() {
        let broken = |rows: &str| {
            let folder = folder();
            write(&folder, "2021AA/soothes_1000.csv", HEADER.to_owned() + rows);
            message(&folder, json!({}))
        };
        let good = row("C10", "balm", "soothes", "Itch", 1);
        let at = "2021AA/soothes_1000.csv:3: ";
        assert_eq!(
            broken(&(good.clone() + &row("C11", "tea", "soothes", "a || b", 3))),
            format!("{at}`tail_names` holds 2 names, `tail_names_len` says 3; names are separated by ` || `")
        );
        assert_eq!(broken(&(good.clone() + &row("C11", "", "soothes", "a", 1))), format!("{at}`head_name` is empty"));
        assert_eq!(broken(&(good.clone() + &row("C11", "tea", "soothes", "", 0))), format!("{at}`tail_names` is empty"));
        assert_eq!(broken(&(good.clone() + &row("C11", "tea", "soothes", "\"a || \"", 2))), format!("{at}`tail_names` holds an empty name"));
        assert_eq!(
            broken(&(good.clone() + &row("C12", "balm", "soothes", "b", 1))),
            format!("{at}a second question about `balm`; a subject has one row a relation")
        );
        assert_eq!(broken(&(good.clone() + &row("C11", "tea", "heals", "b", 1))), format!("{at}`rel` is `heals`, expected `soothes` as in the file's name"));
        assert_eq!(
            broken(&(good + &row("C11", "a[Y]", "soothes", "b", 1))),
            format!("{at}the subject \"a[Y]\" holds `[Y]`, which marks the object in a prompt; rename it")
        );
    }

    #[test]
    fn a_wrong_folder_says_what_belongs_there() {
        let folder = folder();
        write(&folder, "2021AA/soothes_1000.csv", "head_cui,head_name\nC1,balm\n");
        assert_eq!(message(&folder, json!({})), "2021AA/soothes_1000.csv:1: no column for the rel: looked for `rel`; the columns are `head_cui`, `head_name`");
        let empty = tempfile::tempdir().unwrap();
        assert!(message(&empty, json!({})).contains("there is no folder `2021AA` in it"));
        write(&empty, "2021AA/other.csv", "");
        assert_eq!(
            message(&empty, json!({"subset": "hard"})),
            "2021AA: no file is named like `RELATION_N_hard.csv`"
                .replace("2021AA", &empty.path().join("2021AA").display().to_string())
                .replace(&format!("{}/", empty.path().display()), "")
        );
    }

    /// The folder of the released data, where there is one.
    fn released() -> Option<PathBuf> {
        let given = std::env::var_os("LMPROBE_MEDLAMA").map(PathBuf::from);
        let path = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/medlama"));
        if path.is_dir() {
            return Some(path);
        }
        eprintln!("skipped: the released MedLAMA is not at {}; set LMPROBE_MEDLAMA to its folder", path.display());
        None
    }

    /// How many questions the registered frequency prior answers among its first `k` names.
    fn prior_hits(examples: &Examples, k: u64) -> f64 {
        let cx = CallContext::new(Seed(1), &Quiet, Cancel::default());
        let find = |id| inventory::iter::<Registration>().find(|registration| registration.id == id).unwrap().build;
        let (Build::Prober(prober), Build::Metric(metric)) = (find("frequency-prior"), find("acc")) else { panic!("registered as another kind") };
        let predictions = prober(json!({}), &BuildContext::default()).unwrap().probe(&[], examples, &cx).unwrap();
        let rows = metric(json!({"k": k}), &BuildContext::default()).unwrap().compute(&predictions, &cx).unwrap();
        let value = rows.column("value").unwrap().f64().unwrap().get(0).unwrap();
        (value * f64::from(u32::try_from(examples.examples.height()).unwrap())).round()
    }

    #[test]
    fn the_released_data_has_its_published_counts() {
        let Some(path) = released() else { return };
        let (full, warnings) = call(&path, json!({})).unwrap();
        assert_eq!((full.examples.height(), full.candidates.height()), (19_000, 22_923));
        assert!(warnings.is_empty(), "{warnings:?}");
        let mut answers = [0; 10];
        for golds in table::text_lists(&full.examples, "golds").unwrap() {
            answers[golds.len() - 1] += 1;
        }
        assert_eq!(answers, [9028, 3926, 2346, 1630, 763, 555, 313, 187, 143, 109]);
        let prompts = column(&full.examples, "prompt");
        assert!(prompts.iter().all(|prompt| !prompt.contains("[X]")));
        assert_eq!((prior_hits(&full, 1), prior_hits(&full, 10)), (4_896.0, 10_690.0));
        let marked = column(&call(&path, json!({"strip_markers": false})).unwrap().0.examples, "prompt");
        assert_eq!(marked.iter().filter(|prompt| prompt.contains("[X]")).count(), 12);

        let (hard, warnings) = call(&path, json!({"subset": "hard"})).unwrap();
        assert_eq!((hard.examples.height(), hard.candidates.height()), (15_329, 17_532));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!((prior_hits(&hard, 1), prior_hits(&hard, 10)), (4_194.0, 8_957.0));
    }

    #[test]
    fn the_pools_of_a_relation_of_the_released_data_have_their_published_sizes() {
        let Some(path) = released() else { return };
        let size = |candidates: &str, relation: &str| call(&path, json!({"candidates": candidates, "relations": [relation]})).unwrap().0.candidates.height();
        assert_eq!((size("relation", "may_treat"), size("tails", "may_treat")), (1_765, 765));
        assert_eq!((size("relation", "associated_morphology_of"), size("tails", "associated_morphology_of")), (3_585, 2_791));
    }
}
