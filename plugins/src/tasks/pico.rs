//! Who, what and with which outcome: the PICO elements of trial reports, word by word.

use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::labelled_text;
use super::splits::{Notes, SplitPaths};
use super::tagged_sentences::{self, Columns, OUTSIDE, Part, Reading, Tag};

inventory::submit! {
    Registration {
        id: "pico",
        version: 1,
        build: Build::Task(&build),
        summary: "EBM-PICO: which words of a trial report name participants, interventions and outcomes",
        manual: MANUAL,
        schema: &schema_of::<PicoParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks of each word of a report on a clinical trial whether it belongs to the participants (`PAR`), the interventions (`INT`) or the
outcomes (`OUT`).

## How
* Files are as those of `ner`: a word and its tag in each line, a blank line behind a sentence, or JSON Lines. `word_column`, `tag_column`
  and `columns` say where words and tags stand, and `labels` which tags may occur and what numbers in JSON Lines mean.
* The annotated passages are long, and where they end is a matter of taste, so words are scored, not passages: every `I-PAR` becomes
  `B-PAR`, an entity of its own, as in LinkBERT. How many words were changed is noted.

## Example
```yaml
tasks:
  - {use: pico, train: train.tsv, dev: dev.tsv, test: test.tsv}
```

## Reference
Nye et al. 2018, *A corpus with multi-level annotations of patients, interventions and outcomes to support language processing for medical
literature*, <https://arxiv.org/abs/1806.04185>. Gu et al. 2020, *BLURB*, <https://arxiv.org/abs/2007.15779>.
";

/// Parameters of `pico`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PicoParams {
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
    /// The tags that may occur in the files, such as `I-PAR`; by default all that do.
    #[serde(default)]
    labels: Vec<String>,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let params: PicoParams = serde_json::from_value(params)?;
    let paths = SplitPaths::new(params.train.clone(), params.dev.clone(), params.test.clone()).not_empty()?;
    params.columns.fit(&paths)?;
    labelled_text::check_declared(&params.labels)?;
    for label in &params.labels {
        let word = Tag::parse(label).and_then(of_a_word);
        word.map_err(|message| Error::Config(format!("`labels`: {message}")))?;
    }
    Ok(Arc::new(Pico { paths, params }))
}

/// Tagged sentences of files.
#[derive(Debug)]
struct Pico {
    paths: SplitPaths,
    params: PicoParams,
}

/// The tag of a word that is scored by itself.
fn of_a_word(tag: Tag) -> Result<Tag, String> {
    match tag.part {
        Part::Outside => Ok(tag),
        Part::Begin | Part::Inside if !tag.kind.is_empty() => Ok(Tag { part: Part::Begin, ..tag }),
        Part::Begin | Part::Inside | Part::End | Part::Single => Err(format!("`{}`; tags of PICO are `I-PAR`, `I-INT`, `I-OUT` and `O`", tag.text())),
    }
}

impl Task for Pico {
    fn problem(&self) -> Problem {
        Problem::TokenClassification
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let PicoParams { word_column, tag_column, columns, labels, .. } = &self.params;
        let reading = Reading { word_column: *word_column, tag_column: *tag_column, columns, documents: true, labels };
        let mut splits = self.paths.read(cx, |path| reading.sentences(path, &mut notes))?;
        let mut changed = 0;
        for sentence in splits.all_mut() {
            for tag in &mut sentence.content.tags {
                let word = of_a_word(tag.clone()).map_err(|message| sentence.place.error(format!("the sentence has the tag {message}")))?;
                changed += usize::from(*tag != word);
                *tag = word;
            }
        }
        notes.say(format!("{changed} tags `I-` were made `B-`, so that each word is scored by itself"));
        tagged_sentences::examples(&splits, self.labels()?, notes)
    }

    fn default_metrics(&self) -> Vec<String> {
        vec!["token-f1".to_owned()]
    }
}

impl Pico {
    /// The declared labels as they are for words that are scored by themselves; none if none are declared.
    fn labels(&self) -> Result<Vec<String>> {
        let mut labels: Vec<String> = Vec::new();
        for label in &self.params.labels {
            let word = Tag::parse(label).and_then(of_a_word).map_err(Error::Config)?.text();
            if !labels.contains(&word) {
                labels.push(word);
            }
        }
        if !labels.is_empty() && !labels.iter().any(|label| label == OUTSIDE) {
            labels.insert(0, OUTSIDE.to_owned());
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::table;
    use serde_json::json;

    use super::super::splits::tests::call;

    #[test]
    fn every_word_is_an_entity_of_its_own() {
        let examples = call("pico", &[("a.tsv", b"-DOCSTART-\tO\n\nadult\tI-PAR\nmen\tI-PAR\ntook\tO\nit\tI-INT\n")], &json!({"test": "a.tsv"})).unwrap();
        assert_eq!(table::text_lists(&examples.examples, "tags").unwrap(), [["B-PAR", "B-PAR", "O", "B-INT"]]);
        assert_eq!(examples.labels, ["O", "B-INT", "B-PAR"]);
        assert_eq!(examples.notes, ["3 tags `I-` were made `B-`, so that each word is scored by itself"]);
    }

    #[test]
    fn a_tag_without_type_is_refused() {
        let message = call("pico", &[("a.tsv", b"a\tO\n\nb\tO\nc\tI\n")], &json!({"test": "a.tsv"})).unwrap_err();
        assert_eq!(message, "a.tsv:3: the sentence has the tag `I`; tags of PICO are `I-PAR`, `I-INT`, `I-OUT` and `O`");
    }

    #[test]
    fn columns_keys_and_tags_can_be_named() {
        let conll = call("pico", &[("a.tsv", b"I-PAR x men\n")], &json!({"test": "a.tsv", "word_column": 3, "tag_column": 1})).unwrap();
        assert_eq!(table::text_lists(&conll.examples, "words").unwrap(), [["men"]]);
        let json_lines = "{\"w\": [\"men\", \"took\"], \"t\": [1, 0]}\n";
        let with = |labels: serde_json::Value| {
            let params = json!({"test": "a.json", "columns": {"words": "w", "tags": "t"}, "labels": labels});
            call("pico", &[("a.json", json_lines.as_bytes())], &params)
        };
        let examples = with(json!(["O", "I-PAR", "I-INT", "I-OUT"])).unwrap();
        assert_eq!(table::text_lists(&examples.examples, "tags").unwrap(), [["B-PAR", "O"]]);
        assert_eq!(examples.labels, ["O", "B-PAR", "B-INT", "B-OUT"]);
        assert_eq!(with(json!([])).unwrap_err(), "a.json:1: the tag 1 is a number; say what it means with `labels`, in the order of the numbers");
        assert_eq!(with(json!(["O", "I"])).unwrap_err(), "`labels`: `I`; tags of PICO are `I-PAR`, `I-INT`, `I-OUT` and `O`");
        assert_eq!(with(json!(["O", "O"])).unwrap_err(), "`labels` names `O` twice; every label stands there once");
    }
}
