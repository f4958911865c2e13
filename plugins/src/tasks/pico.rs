//! Who, what and with which outcome: the PICO elements of trial reports, word by word.

use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::splits::{Notes, SplitPaths};
use super::tagged_sentences::{self, Part, Reading};

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
* Files are as those of `ner`: a word and its tag in each line, a blank line behind a sentence, or JSON Lines.
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
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let PicoParams { train, dev, test } = serde_json::from_value(params)?;
    Ok(Arc::new(Pico { paths: SplitPaths::new(train, dev, test).not_empty()? }))
}

/// Tagged sentences of files.
#[derive(Debug)]
struct Pico {
    paths: SplitPaths,
}

impl Task for Pico {
    fn problem(&self) -> Problem {
        Problem::TokenClassification
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let mut notes = Notes::default();
        let reading = Reading { word_column: None, tag_column: None, documents: true, labels: &[] };
        let mut splits = self.paths.read(cx, |path| reading.sentences(path, &mut notes))?;
        let mut changed = 0;
        for sentence in splits.all_mut() {
            for tag in &mut sentence.content.tags {
                let (fits, part) = match tag.part {
                    Part::Outside => continue,
                    Part::Begin | Part::Inside => (!tag.kind.is_empty(), tag.part),
                    Part::End | Part::Single => (false, tag.part),
                };
                if !fits {
                    return Err(sentence.place.error(format!("the sentence has the tag `{}`; tags of PICO are `I-PAR`, `I-INT`, `I-OUT` and `O`", tag.text())));
                }
                changed += usize::from(part == Part::Inside);
                tag.part = Part::Begin;
            }
        }
        notes.say(format!("{changed} tags `I-` were made `B-`, so that each word is scored by itself"));
        tagged_sentences::examples(&splits, Vec::new(), notes)
    }

    fn default_metrics(&self) -> Vec<String> {
        vec!["token-f1".to_owned()]
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
}
