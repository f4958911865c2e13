//! Named entities, tagged word by word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::labelled_text;
use super::splits::{Found, Notes, PerSplit, SplitPaths};
use super::tagged_sentences::{self, Columns, OUTSIDE, Part, Reading, Sentence, Tag};

inventory::submit! {
    Registration {
        id: "ner",
        version: 1,
        build: Build::Task(&build),
        summary: "named entities: words with tags, from CoNLL columns or JSON Lines",
        manual: MANUAL,
        schema: &schema_of::<NerParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks for the named entities of sentences: a tag for each word says whether an entity begins there, goes on, or is not.

## How
* A file has a word and its tag in each line, separated by a tab or blanks, and a blank line behind a sentence. The word stands in the
  first column and the tag in the last; `word_column` and `tag_column` name others. JSON Lines, also in a file that ends in `json`, hold `tokens`
  (or `words`) and `ner_tags` (or `tags`), texts or numbers; `labels` says what the numbers mean, and `columns` names other keys.
* Tags are `B`, `I` and `O`, with or without a type, `B-protein`. `scheme: auto` looks at the tags of all files: with `E`, `S`, `L` or `U`
  they are `iobes` (also called BIOES and BILOU); with `I` at the beginning of entities, and `B` only between two that touch, they are
  `iob1`; else `iob2`. All are turned into IOB2. An `I` that follows no word of its entity becomes a `B`. What was changed is counted.
* Lines that begin with `-DOCSTART-` begin a document. Sentences of a document belong together: intervals resample documents.
  `split_documents: false` takes every sentence by itself.
* `types` renames types, merges those that get one name, and leaves out those that get none: `types: {DNA: gene, protein: gene, RNA: null}`.
* The labels are those of all splits with `O` first, unless `labels` lists the tags that may occur.

## Example
```yaml
tasks:
  - {use: ner, name: ncbi-disease, train: train.tsv, dev: devel.tsv, test: test.tsv}
```

## Reference
Tjong Kim Sang and De Meulder 2003, *Introduction to the CoNLL-2003 shared task*, <https://arxiv.org/abs/cs/0306050>. Lee et al. 2019,
*BioBERT*, <https://arxiv.org/abs/1901.08746>.
";

/// Parameters of `ner`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NerParams {
    /// Files of sentences to learn from.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of sentences to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of sentences to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// The column of the word, from 1; by default the first.
    #[serde(default)]
    #[schemars(range(min = 1))]
    word_column: Option<usize>,
    /// The column of the tag, from 1; by default the last.
    #[serde(default)]
    #[schemars(range(min = 1))]
    tag_column: Option<usize>,
    /// Keys of JSON Lines with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
    /// How the tags of the files mark entities.
    #[serde(default)]
    scheme: Scheme,
    /// The tags that may occur in the files; by default all that do.
    #[serde(default)]
    labels: Vec<String>,
    /// New names of entity types; a type without a new name, `null`, is left out. Types that are not named here stay.
    #[serde(default)]
    types: BTreeMap<String, Option<String>>,
    /// Whether `-DOCSTART-` lines begin documents that belong together.
    #[serde(default = "yes")]
    split_documents: bool,
}

/// How tags mark entities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Scheme {
    /// Found by looking at the tags.
    #[default]
    Auto,
    /// `B` begins an entity only where it touches one of its type.
    Iob1,
    /// `B` begins every entity.
    Iob2,
    /// `E` or `L` ends an entity, `S` or `U` is one of a single word.
    Iobes,
}

fn yes() -> bool {
    true
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: NerParams = serde_json::from_value(params)?;
    let paths = SplitPaths::new(params.train.clone(), params.dev.clone(), params.test.clone()).not_empty()?;
    params.columns.fit(&paths)?;
    labelled_text::check_declared(&params.labels)?;
    for label in &params.labels {
        Tag::parse(label).map_err(|message| Error::Config(format!("`labels`: {message}")))?;
    }
    Ok(Arc::new(Ner { paths, params }))
}

/// Tagged sentences of files.
#[derive(Debug)]
struct Ner {
    paths: SplitPaths,
    params: NerParams,
}

impl Task for Ner {
    fn problem(&self) -> Problem {
        Problem::TokenClassification
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let NerParams { word_column, tag_column, columns, labels, split_documents, .. } = &self.params;
        let reading = Reading { word_column: *word_column, tag_column: *tag_column, columns, documents: *split_documents, labels };
        let mut notes = Notes::default();
        let mut splits = self.paths.read(cx, |path| reading.sentences(path, &mut notes))?;
        let scheme = match self.params.scheme {
            Scheme::Auto => detected(&splits),
            declared => declared,
        };
        let mut changed = 0;
        for sentence in splits.all_mut() {
            changed += to_iob2(sentence, scheme, &mut notes)?;
        }
        if scheme != Scheme::Iob2 {
            notes.say(format!("the tags are of the scheme {}; {changed} of them were changed to make them IOB2", scheme.word()));
        }
        self.rename(&mut splits, &mut notes)?;
        tagged_sentences::examples(&splits, self.labels()?, notes)
    }

    fn default_metrics(&self) -> Vec<String> {
        vec!["entity-f1".to_owned()]
    }
}

impl Ner {
    /// Gives entities their new types.
    fn rename(&self, splits: &mut PerSplit<Vec<Found<Sentence>>>, notes: &mut Notes) -> Result<()> {
        let types = &self.params.types;
        let mut seen = BTreeSet::new();
        let mut dropped: BTreeMap<String, usize> = BTreeMap::new();
        for tag in splits.all_mut().flat_map(|sentence| &mut sentence.content.tags).filter(|tag| tag.part != Part::Outside) {
            let Some((old, new)) = types.get_key_value(&tag.kind) else { continue };
            seen.insert(old);
            if let Some(new) = new {
                tag.kind.clone_from(new);
            } else {
                *dropped.entry(old.clone()).or_default() += usize::from(tag.part == Part::Begin);
                *tag = Tag::outside();
            }
        }
        if let Some(missing) = types.keys().find(|name| !seen.contains(name)) {
            return Err(Error::Config(format!("`types`: no entity has the type `{missing}`")));
        }
        for (name, n) in dropped {
            notes.say(format!("{n} entities of the type `{name}` were left out, as `types` says"));
        }
        Ok(())
    }

    /// The declared labels as they are after every change; none if none are declared.
    fn labels(&self) -> Result<Vec<String>> {
        let mut labels: Vec<String> = Vec::new();
        let mut add = |label: String| {
            if !labels.contains(&label) {
                labels.push(label);
            }
        };
        for label in &self.params.labels {
            let mut tag = Tag::parse(label).map_err(Error::Config)?;
            if let Some(new) = self.params.types.get(&tag.kind) {
                let Some(new) = new else { continue };
                tag.kind.clone_from(new);
            }
            match tag.part {
                Part::Outside => {}
                Part::Begin | Part::Single => tag.part = Part::Begin,
                Part::Inside | Part::End => {
                    // What is inside can be the first that is left of an entity.
                    add(Tag { part: Part::Begin, kind: tag.kind.clone() }.text());
                    tag.part = Part::Inside;
                }
            }
            add(tag.text());
        }
        if !labels.is_empty() && !labels.iter().any(|label| label == OUTSIDE) {
            labels.insert(0, OUTSIDE.to_owned());
        }
        Ok(labels)
    }
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Iob1 => "iob1",
            Self::Iob2 => "iob2",
            Self::Iobes => "iobes",
        }
    }
}

/// Whether a word goes on with the entity of the word before it: neither is outside, and their types are the same.
fn touches(previous: Option<&Tag>, tag: &Tag) -> bool {
    previous.is_some_and(|previous| previous.part != Part::Outside && previous.kind == tag.kind)
}

/// The scheme that the tags look like.
fn detected(splits: &PerSplit<Vec<Found<Sentence>>>) -> Scheme {
    let (mut inside_begins, mut begin_is_needless) = (false, false);
    for sentence in splits.all() {
        let mut previous = None;
        for tag in &sentence.content.tags {
            match tag.part {
                Part::End | Part::Single => return Scheme::Iobes,
                Part::Inside => inside_begins |= !touches(previous, tag),
                Part::Begin => begin_is_needless |= !touches(previous, tag),
                Part::Outside => {}
            }
            previous = Some(tag);
        }
    }
    if inside_begins && !begin_is_needless { Scheme::Iob1 } else { Scheme::Iob2 }
}

/// Rewrites the tags of a sentence and says how many changed by the scheme; an `I` that stands wrong in its scheme is noted.
fn to_iob2(sentence: &mut Found<Sentence>, scheme: Scheme, notes: &mut Notes) -> Result<usize> {
    let mut changed = 0;
    let mut previous: Option<Tag> = None;
    for tag in &mut sentence.content.tags {
        let original = tag.clone();
        if scheme != Scheme::Iobes && matches!(tag.part, Part::End | Part::Single) {
            return Err(sentence.place.error(format!("the sentence has the tag `{}`, which is none of the scheme {}", tag.text(), scheme.word())));
        }
        let ended = previous.as_ref().is_some_and(|previous| matches!(previous.part, Part::End | Part::Single));
        let goes_on = touches(previous.as_ref(), tag) && !ended;
        match tag.part {
            Part::Outside | Part::Begin => {}
            Part::Single => tag.part = Part::Begin,
            Part::Inside | Part::End => tag.part = if goes_on { Part::Inside } else { Part::Begin },
        }
        let strays = matches!(original.part, Part::Inside | Part::End) && !goes_on && scheme != Scheme::Iob1;
        if strays {
            notes.count("tags inside an entity that did not begin were made its beginning", &sentence.place);
        }
        changed += usize::from(original.part != tag.part && !strays);
        previous = Some(original);
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::json;

    use super::super::splits::tests::{call, read, released, sizes, texts};
    use super::*;

    fn tags(examples: &Examples) -> Vec<Vec<String>> {
        table::text_lists(&examples.examples, "tags").unwrap()
    }

    fn ask(content: &str) -> Examples {
        call("ner", &[("a.tsv", content.as_bytes())], &json!({"test": "a.tsv"})).unwrap()
    }

    #[test]
    fn blank_lines_marks_of_other_systems_and_a_missing_end_change_nothing() {
        let plain = ask("Big\tO\nflu\tB\n\nNo\tO\n\n");
        let other = ask("\u{feff}Big O\r\nflu \t B\r\n\r\n\r\nNo\tO".replace("Big O", "Big\tO").as_str());
        assert_eq!(table::text_lists(&plain.examples, "words").unwrap(), [vec!["Big", "flu"], vec!["No"]]);
        assert_eq!((tags(&plain), tags(&other)), (vec![vec!["O".to_owned(), "B".into()], vec!["O".into()]], tags(&plain)));
        assert_eq!((plain.labels.as_slice(), plain.negative.as_deref()), (["O".to_owned(), "B".into()].as_slice(), Some("O")));
        assert_eq!(texts(&plain.examples, "example_id"), ["test-1", "test-2"]);
        assert_eq!(plain.notes, ["a.tsv: nothing says where documents begin; intervals take every sentence as a document of its own"]);
    }

    #[test]
    fn columns_are_separated_by_any_blanks_and_can_be_chosen() {
        let conll = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nsays  VBZ B-VP O\n\n-DOCSTART- 77\n\nFlu NN B-NP B-MISC\n";
        let examples = ask(conll);
        assert_eq!(tags(&examples), [vec!["B-ORG", "O"], vec!["B-MISC"]]);
        let clusters = texts(&examples.examples, "cluster");
        assert!(clusters[0].ends_with("a.tsv:1") && clusters[1] == "77", "{clusters:?}");
        assert!(examples.notes.is_empty());
        let chosen =
            call("ner", &[("a.txt", b"B-X x Paris\n")], &json!({"test": "a.txt", "word_column": 3, "tag_column": 1, "split_documents": false})).unwrap();
        assert_eq!((table::text_lists(&chosen.examples, "words").unwrap(), tags(&chosen)), (vec![vec!["Paris".to_owned()]], vec![vec!["B-X".to_owned()]]));
    }

    #[test]
    fn other_schemes_become_iob2_and_the_changes_are_counted() {
        let one = |tags: &str| format!("w\t{}\n", tags.replace(' ', "\nw\t"));
        let iobes = ask(&one("B-a E-a S-a O B-b I-b E-b"));
        assert_eq!(tags(&iobes), [["B-a", "I-a", "B-a", "O", "B-b", "I-b", "I-b"]]);
        assert_eq!(iobes.notes[1], "the tags are of the scheme iobes; 3 of them were changed to make them IOB2");
        assert_eq!(tags(&ask(&one("B-a L-a U-a O"))), [["B-a", "I-a", "B-a", "O"]]);
        let iob1 = ask(&one("I-a I-a B-a I-b O I-a"));
        assert_eq!(tags(&iob1), [["B-a", "I-a", "B-a", "B-b", "O", "B-a"]]);
        assert_eq!(iob1.notes[1], "the tags are of the scheme iob1; 3 of them were changed to make them IOB2");
        let repaired = ask(&one("B I O I"));
        assert_eq!(tags(&repaired), [["B", "I", "O", "B"]]);
        assert_eq!(repaired.notes[1], "a.tsv: 1 tags inside an entity that did not begin were made its beginning (line 1)");
        let strict = call("ner", &[("a.tsv", one("S-a").as_bytes())], &json!({"test": "a.tsv", "scheme": "iob2"})).unwrap_err();
        assert_eq!(strict, "a.tsv:1: the sentence has the tag `S-a`, which is none of the scheme iob2");
    }

    #[test]
    fn types_are_merged_and_left_out() {
        let params = json!({"test": "a.tsv", "types": {"DNA": "gene", "protein": "gene", "RNA": null}});
        let examples = call("ner", &[("a.tsv", b"a\tB-DNA\nb\tB-protein\nc\tB-RNA\nd\tI-RNA\ne\tB-cell\n")], &params).unwrap();
        assert_eq!(tags(&examples), [["B-gene", "B-gene", "O", "O", "B-cell"]]);
        assert_eq!(examples.labels, ["O", "B-cell", "B-gene"]);
        assert_eq!(examples.notes[1], "1 entities of the type `RNA` were left out, as `types` says");
        let message = call("ner", &[("a.tsv", b"a\tB-DNA\n")], &json!({"test": "a.tsv", "types": {"dna": null}})).unwrap_err();
        assert_eq!(message, "`types`: no entity has the type `dna`");
    }

    #[test]
    fn json_lines_hold_texts_or_numbers() {
        let texts = "{\"id\": \"7\", \"tokens\": [\"a\", \"b\"], \"ner_tags\": [\"B\", \"I\"]}\n";
        assert_eq!(tags(&call("ner", &[("a.jsonl", texts.as_bytes())], &json!({"test": "a.jsonl"})).unwrap()), [["B", "I"]]);
        let numbers = "{\"tokens\": [\"a\", \"b\"], \"tags\": [1, 0]}\n";
        let with = |labels: Value| call("ner", &[("a.jsonl", numbers.as_bytes())], &json!({"test": "a.jsonl", "labels": labels}));
        let examples = with(json!(["O", "B-x", "I-x"])).unwrap();
        assert_eq!((tags(&examples), examples.labels.len()), (vec![vec!["B-x".to_owned(), "O".into()]], 3));
        assert_eq!(with(json!([])).unwrap_err(), "a.jsonl:1: the tag 1 is a number; say what it means with `labels`, in the order of the numbers");
        assert_eq!(with(json!(["O"])).unwrap_err(), "a.jsonl:1: the tag 1 is none of the 1 `labels`, which count from 0");
        let uneven = call("ner", &[("a.jsonl", b"{\"tokens\": [\"a\"], \"tags\": []}")], &json!({"test": "a.jsonl"})).unwrap_err();
        assert_eq!(uneven, "a.jsonl:1: 1 words and 0 tags");
    }

    #[test]
    fn keys_can_be_named_and_a_file_of_lines_may_end_in_json() {
        let linkbert = "{\"tokens\": [\"a\"], \"ner_tags\": [\"B\"], \"id\": \"0\"}\n{\"tokens\": [\"b\"], \"ner_tags\": [\"O\"], \"id\": \"1\"}\n";
        let examples = call("ner", &[("train.json", linkbert.as_bytes())], &json!({"test": "train.json"})).unwrap();
        assert_eq!(
            (tags(&examples), texts(&examples.examples, "example_id")),
            (vec![vec!["B".to_owned()], vec!["O".into()]], vec!["0".to_owned(), "1".into()])
        );
        let own = "{\"w\": [\"a\"], \"t\": [\"B\"], \"n\": 7, \"paper\": \"x\"}\n";
        let params = json!({"test": "a.jsonl", "columns": {"words": "w", "tags": "t", "id": "n", "document": "paper"}});
        let examples = call("ner", &[("a.jsonl", own.as_bytes())], &params).unwrap();
        assert_eq!((tags(&examples), texts(&examples.examples, "example_id")), (vec![vec!["B".to_owned()]], vec!["7".to_owned()]));
        assert_eq!((texts(&examples.examples, "cluster"), examples.notes.len()), (vec!["x".to_owned()], 0));
        let message = call("ner", &[("a.tsv", b"a\tB\n")], &json!({"test": "a.tsv", "columns": {"tags": "t"}})).unwrap_err();
        assert_eq!(message, "`columns` names keys of JSON Lines, and no file is one; of other files `word_column` and `tag_column` say the columns");
        let late = "{\"tokens\": [\"a\"], \"tags\": [\"B\"]}\n{\"tokens\": [\"a\"], \"tags\": [\"B\"], \"document_id\": \"x\"}\n";
        let message = call("ner", &[("a.jsonl", late.as_bytes())], &json!({"test": "a.jsonl"})).unwrap_err();
        assert_eq!(message, "a.jsonl:1: there is no `document_id`, which other rows have; the row has `tokens`, `tags`");
    }

    #[test]
    fn every_malformed_line_is_named() {
        let message = |content: &[u8]| call("ner", &[("a.tsv", content)], &json!({"test": "a.tsv"})).unwrap_err();
        assert_eq!(message(b""), "a.tsv: the file is empty");
        assert_eq!(message(b"a\tO\nb\tO\tO\n"), "a.tsv:2: 3 columns, expected 2 as in line 1");
        assert_eq!(message(b"a\n"), "a.tsv:1: one column, expected a word and a tag");
        let mac = "a.tsv:1: a carriage return stands inside the line; save the file with lines that end in LF or CRLF";
        assert_eq!(message(b"a\tO\rb\tB\r"), mac);
        assert_eq!(message(b"a\tO\n\tO\n"), "a.tsv:2: the word is empty");
        assert_eq!(message(b"a\tO\n\xe9\tO\n"), "a.tsv:2: byte 0xe9 is not UTF-8; save the file as UTF-8");
        assert_eq!(message(b"a\tX-b\n"), "a.tsv:1: `X-b` is no tag; expected `O`, or `B`, `I`, `E`, `S`, `L` or `U`, alone or with `-TYPE` behind it");
        assert_eq!(message(b"a\tB-\n"), "a.tsv:1: `B-` is no tag; `O` has no type, and a hyphen has one behind it");
        let message = |params: Value| call("ner", &[("a.tsv", b"a\tB\n")], &params).unwrap_err();
        assert_eq!(message(json!({"test": "a.tsv", "labels": ["O", "B-x"]})), "a.tsv:1: unknown tag `B`; the tags are `O`, `B-x`");
        assert_eq!(message(json!({"test": "a.tsv", "labels": ["O", "B", "B"]})), "`labels` names `B` twice; every label stands there once");
        assert_eq!(message(json!({"test": "a.tsv", "tag_column": 3})), "a.tsv:1: there is no column 3 for the tag; the line has 2");
    }

    /// How many entities are asked for.
    fn entities(examples: &Examples) -> usize {
        tags(examples).iter().flatten().filter(|tag| tag.starts_with('B')).count()
    }

    #[test]
    fn the_released_sets_have_their_published_counts() {
        let Some(path) = released("ner") else { return };
        let at = |name: &str| path.join(name);
        let ncbi = |split: &str| at("NCBI-disease").join(split);
        let ncbi = read("ner", json!({"train": ncbi("train.tsv"), "dev": ncbi("devel.tsv"), "test": ncbi("test.tsv")})).unwrap();
        assert_eq!((sizes(&ncbi), entities(&ncbi), ncbi.labels.len()), ((5424, 923, 940), 960, 3));
        assert_eq!(ncbi.notes.len(), 3, "{:?}", ncbi.notes); // no documents in three files, and nothing else
        let merged = read("ner", json!({"test": at("JNLPBA-merged/test.tsv")})).unwrap();
        assert_eq!((sizes(&merged).2, entities(&merged)), (3856, 8662));
        assert_eq!((texts(&merged.examples, "cluster")[0].as_str(), merged.notes.len()), ("90092414", 0));
        let types = read("ner", json!({"dev": at("JNLPBA-types/devel.tsv"), "test": at("JNLPBA-types/test.tsv")})).unwrap();
        assert_eq!((sizes(&types), entities(&types), types.labels.len()), ((0, 1739, 3856), 8662, 11));
        for set in ["BC5CDR-chem", "BC2GM", "s800"] {
            let split = |split: &str| at(set).join(split);
            let read = read("ner", json!({"train": split("train.tsv"), "dev": split("devel.tsv"), "test": split("test.tsv")})).unwrap();
            assert!(sizes(&read).2 > 1000 && read.labels == ["O", "B", "I"], "{set}: {:?}", read.notes);
        }
    }
}
