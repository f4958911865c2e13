//! Baseline: what is most frequent in the training split.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Encoder, Error, Examples, Needs, Origin, Prober, Problem, Registration, Result, schema_of, table};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::labelled_predictions::{Answer, AnsweredPredictions, LabelledPredictions, ScoredPredictions, TaggedPredictions};

inventory::submit! {
    Registration {
        id: "majority",
        version: 1,
        build: Build::Prober(&build),
        summary: "baseline: the most frequent label of the training split (asks no model)",
        manual: MANUAL,
        schema: &schema_of::<MajorityParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Answers every example of a task with labels by what is most frequent in the task's training split, without looking at the example
further than said below: what a model scores above it, it has learned from the text. It asks no model and never sees the gold of what
is asked. It learns from the whole training split, whatever share the models of the run learn from.

## How

| problem | answer | probability |
|---|---|---|
| sequence classification | the most frequent label | shares of the training examples |
| multi-label | the labels of more than half of the training examples | shares of the training examples |
| multiple choice | the most frequent letter among those of the question | shares of the training examples, of these letters |
| regression | the mean of the training targets | |
| token classification | each word's most frequent tag; `O` for a word that the training split does not have | share of the word's occurrences; of all words for an unknown one |
| extractive question answering | the sentence of the context that has most words of the question | 1 |

Among equally frequent labels or tags the first in byte order is taken. Training examples without gold are not counted. A task without
training example is an error, except for questions about a context, where nothing is counted.

**Words with tags: it is a lookup of words, and stronger than calling every word `O`**, which scores 0: names that the training split
has are found again. Words are compared letter by letter. A tag `I-X` that continues no `B-X` or `I-X` becomes `B-X` where the task has
such a tag; its probability stays that of the tag that was looked up.

Sentences of a context end at a line break, and at `.`, `!` or `?` with a blank behind it. Words are runs of letters and digits in lower
case; each word of the question counts once. The first of equally good sentences is taken; if none has a word of the question it is the
first sentence. An empty context has the empty answer.

## Example
```yaml
baselines: [majority]
```

## Reference
The majority class is the usual lower bar of classification. The lookup of words is the baseline of the CoNLL-2003 shared task (Tjong Kim
Sang and De Meulder 2003) without its entities of several words; the best sentence is the sliding-window baseline of SQuAD (Rajpurkar et
al. 2016, <https://arxiv.org/abs/1606.05250>) without its search within the sentence.
";

/// The baseline has no parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MajorityParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let MajorityParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(Majority))
}

/// Answers by what is most frequent.
#[derive(Debug)]
struct Majority;

impl Prober for Majority {
    fn needs(&self) -> Needs {
        Needs { problems: &Problem::LABELLED, ..Needs::nothing() }
    }

    fn probe(&self, _: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        cx.check_cancelled()?;
        match examples.problem {
            Problem::SequenceClassification | Problem::MultiLabel | Problem::MultipleChoice => labels(examples),
            Problem::Regression => numbers(examples),
            Problem::TokenClassification => tags(examples),
            Problem::ExtractiveQa => sentences(examples),
            Problem::Cloze => Err(Error::Unsupported("`majority` asks about tasks with labels, and a cloze has none; `frequency-prior` is its like".into())),
        }
    }
}

/// The error of a training split in which there is nothing to count.
fn nothing_known(examples: &Examples) -> Error {
    let all = examples.train.height();
    let what = if all == 0 { "has no example".to_owned() } else { format!("has {all} examples, none of which has a gold") };
    Error::Config(format!("`majority` counts what is frequent in the training split, which {what}; leave this baseline out or give the task a training file"))
}

fn labels(examples: &Examples) -> Result<DataFrame> {
    let golds = table::text_lists(&examples.train, "golds")?;
    let empty_is_gold = examples.problem == Problem::MultiLabel;
    let known = golds.iter().filter(|golds| empty_is_gold || !golds.is_empty()).count();
    if known == 0 {
        return Err(nothing_known(examples));
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for golds in &golds {
        let golds: HashSet<&str> = golds.iter().map(String::as_str).collect();
        for label in golds {
            *counts.entry(label).or_default() += 1;
        }
    }
    let mut builder = LabelledPredictions::new(examples)?;
    for row in 0..examples.examples.height() {
        let here: Vec<usize> = builder.labels(row).iter().map(|label| counts.get(label.as_str()).copied().unwrap_or(0)).collect();
        builder.push(match examples.problem {
            Problem::MultiLabel => here.iter().map(|&count| share(count, known)).collect(),
            _ => match here.iter().sum() {
                0 => vec![share(1, here.len()); here.len()],
                all => here.iter().map(|&count| share(count, all)).collect(),
            },
        })?;
    }
    builder.finish()
}

fn numbers(examples: &Examples) -> Result<DataFrame> {
    let targets: Vec<f64> = table::optional_reals(&examples.train, "target")?.into_iter().flatten().collect();
    if targets.is_empty() {
        return Err(nothing_known(examples));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
    let mean = targets.iter().sum::<f64>() / targets.len() as f64;
    let mut builder = ScoredPredictions::new(examples);
    (0..examples.examples.height()).for_each(|_| builder.push(mean));
    builder.finish()
}

/// The tag of a word outside all entities.
const OUTSIDE: &str = "O";

fn tags(examples: &Examples) -> Result<DataFrame> {
    let (words, tags) = (table::text_lists(&examples.train, "words")?, table::text_lists(&examples.train, "tags")?);
    let mut counts: HashMap<&str, BTreeMap<&str, usize>> = HashMap::new();
    let (mut outside, mut all) = (0, 0);
    // A sentence of which nothing is known has no tags.
    for (word, tag) in words.iter().zip(&tags).flat_map(|(words, tags)| words.iter().zip(tags)) {
        *counts.entry(word.as_str()).or_default().entry(tag.as_str()).or_default() += 1;
        outside += usize::from(tag == OUTSIDE);
        all += 1;
    }
    if all == 0 {
        return Err(nothing_known(examples));
    }
    let lookup: HashMap<&str, (&str, f64)> = counts.iter().map(|(word, tags)| (*word, most_frequent(tags))).collect();
    let unknown = (OUTSIDE, share(outside, all));
    let mut builder = TaggedPredictions::new(examples);
    for words in table::text_lists(&examples.examples, "words")? {
        let (mut tags, scores): (Vec<String>, Vec<f64>) =
            words.iter().map(|word| lookup.get(word.as_str()).unwrap_or(&unknown)).map(|(tag, share)| ((*tag).to_owned(), *share)).unzip();
        begin_entities(&mut tags, &examples.labels);
        builder.push(tags, scores);
    }
    builder.finish()
}

/// The most frequent tag, the first by bytes among equals, and its share.
fn most_frequent<'a>(tags: &BTreeMap<&'a str, usize>) -> (&'a str, f64) {
    let (tag, count) = tags.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0))).expect("a word of the table has a tag");
    (tag, share(*count, tags.values().sum()))
}

/// Lets an entity begin with `B` where its first tag is `I`, if the task has such a tag.
fn begin_entities(tags: &mut [String], labels: &[String]) {
    for place in 0..tags.len() {
        let Some(kind) = tags[place].strip_prefix('I').filter(|kind| kind.is_empty() || kind.starts_with('-')) else { continue };
        let (begin, inside) = (format!("B{kind}"), &tags[place]);
        let continues = place > 0 && (tags[place - 1] == begin || tags[place - 1] == *inside);
        if !continues && labels.contains(&begin) {
            tags[place] = begin;
        }
    }
}

fn sentences(examples: &Examples) -> Result<DataFrame> {
    let questions = table::texts(&examples.examples, "question")?;
    let contexts = table::texts(&examples.examples, "context")?;
    let mut builder = AnsweredPredictions::new(examples);
    for (question, context) in questions.into_iter().zip(contexts) {
        let (text, byte) = best_sentence(question, context);
        let start = context[..byte].chars().count() as u64;
        builder.push(vec![Answer { text: text.to_owned(), score: 1.0, start, start_logit: 0.0, end_logit: 0.0 }]);
    }
    builder.finish()
}

/// The sentence of the context with most words of the question, and the byte where it begins.
fn best_sentence<'a>(question: &str, context: &'a str) -> (&'a str, usize) {
    let wanted: HashSet<String> = words_of(question).collect();
    let mut best = ("", 0, None);
    for (sentence, byte) in sentences_of(context) {
        let found = words_of(sentence).filter(|word| wanted.contains(word)).collect::<HashSet<_>>().len();
        if best.2.is_none_or(|most| found > most) {
            best = (sentence, byte, Some(found));
        }
    }
    (best.0, best.1)
}

/// Runs of letters and digits in lower case.
fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Sentences without the blanks around them, and the byte where each begins.
fn sentences_of(text: &str) -> Vec<(&str, usize)> {
    let mut sentences = Vec::new();
    let mut begin = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        let end = place + character.len_utf8();
        let ends = match characters.peek() {
            None => true,
            Some((_, next)) => character == '\n' || matches!(character, '.' | '!' | '?') && next.is_whitespace(),
        };
        if ends {
            let sentence = &text[begin..end];
            let byte = begin + (sentence.len() - sentence.trim_start().len());
            if !sentence.trim().is_empty() {
                sentences.push((sentence.trim(), byte));
            }
            begin = end;
        }
    }
    sentences
}

#[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Cancel, Quiet, Seed, check_predictions};

    use super::super::labelled_predictions::fixture::{choice_task, labelled_task, owned, question_task, scored_task, tagged_task};
    use super::*;

    fn attempt(examples: &Examples) -> Result<DataFrame> {
        Majority.probe(&[], examples, &CallContext::new(Seed(1), &Quiet, Cancel::default()))
    }

    fn probe(examples: &Examples) -> DataFrame {
        let predictions = attempt(examples).unwrap();
        check_predictions(&predictions, examples, "prober `majority`").unwrap();
        predictions
    }

    fn predicted(frame: &DataFrame) -> Vec<Vec<String>> {
        table::text_lists(frame, "predictions").unwrap()
    }

    #[test]
    fn the_most_frequent_training_label_answers_everything() {
        let train = ["yes", "no", "yes", "", "maybe"];
        let frame = probe(&labelled_task(Problem::SequenceClassification, &train, &["no", "maybe"], &["maybe", "no", "yes"]));
        assert_eq!(predicted(&frame).concat(), ["yes", "yes"]);
        assert_eq!(table::real_lists(&frame, "scores").unwrap()[0], [0.25, 0.25, 0.5]);
        // The order of the labels decides nothing.
        let tied = probe(&labelled_task(Problem::SequenceClassification, &["yes", "no"], &["no"], &["yes", "no"]));
        assert_eq!(predicted(&tied).concat(), ["no"]);
    }

    #[test]
    fn labels_of_more_than_half_of_the_texts_are_given() {
        let frame = probe(&labelled_task(Problem::MultiLabel, &["a b", "a", "b c", "a b", ""], &["c"], &["a", "b", "c"]));
        assert_eq!(predicted(&frame), [owned(&["a", "b"])]); // 3, 3 and 1 of 5
        assert_eq!(table::real_lists(&frame, "scores").unwrap(), [[0.6, 0.6, 0.2]]);
    }

    #[test]
    fn letters_that_a_question_does_not_have_are_not_chosen() {
        let (three, two): (&[&str], &[&str]) = (&["x", "y", "z"], &["x", "y"]);
        let frame = probe(&choice_task(&[(three, "C"), (three, "C"), (three, "B")], &[(three, "A"), (two, "A")], &["A", "B", "C"]));
        assert_eq!(predicted(&frame).concat(), ["C", "B"]);
        assert_eq!(table::real_lists(&frame, "scores").unwrap(), [vec![0.0, 1.0 / 3.0, 2.0 / 3.0], vec![0.0, 1.0]]);
        let none = probe(&choice_task(&[(three, "C")], &[(two, "A")], &["A", "B", "C"]));
        assert_eq!((predicted(&none).concat(), table::real_lists(&none, "scores").unwrap()), (owned(&["A"]), vec![vec![0.5, 0.5]]));
    }

    #[test]
    fn numbers_are_the_mean_of_those_known() {
        let frame = probe(&scored_task(&[Some(1.0), None, Some(4.0)], &[Some(0.0), None]));
        assert_eq!(table::optional_reals(&frame, "prediction").unwrap(), [Some(2.5), Some(2.5)]);
    }

    #[test]
    fn words_have_their_most_frequent_tag() {
        let train = [("TP53 gene binds TP53", "B I O B"), ("gene gene TP53", "O I O"), ("untagged", "")];
        let examples = tagged_task(&train, &[("the TP53 gene", "O B I"), ("gene tp53 untagged", "O B O")], &["B", "I", "O"]);
        let frame = probe(&examples);
        // TP53 is B in 2 of 3, gene is I in 2 of 3; an entity cannot begin with I; 3 of 7 words are O.
        assert_eq!(predicted(&frame), [owned(&["O", "B", "I"]), owned(&["B", "O", "O"])]);
        assert_eq!(table::real_lists(&frame, "scores").unwrap()[1], [2.0 / 3.0, 3.0 / 7.0, 3.0 / 7.0]);
    }

    #[test]
    fn an_entity_begins_with_b_only_where_the_task_has_it() {
        let begun = |tags: &[&str], labels: &[&str]| {
            let mut tags = owned(tags);
            begin_entities(&mut tags, &owned(labels));
            tags
        };
        assert_eq!(begun(&["I-X", "I-X", "O", "I-Y", "I-X"], &["B-X", "I-X", "B-Y", "I-Y", "O"]), ["B-X", "I-X", "O", "B-Y", "B-X"]);
        assert_eq!(begun(&["I-PAR", "O"], &["I-PAR", "O"]), ["I-PAR", "O"]);
        assert_eq!(begun(&["B", "I", "Inside"], &["B", "I", "O", "Bnside"]), ["B", "I", "Inside"]);
    }

    #[test]
    fn the_sentence_with_most_words_of_the_question_answers_it() {
        let context = "β-Catenin is a protein. It binds p53 in the cell! Where it binds DNA is unknown";
        let frame = probe(&question_task(&[("Where does p53 bind in a cell?", context, &["x"]), ("Why?", context, &[]), ("Why?", " ", &[])]));
        assert_eq!(predicted(&frame).concat(), ["It binds p53 in the cell!", "β-Catenin is a protein.", ""]);
        assert_eq!(table::count_lists(&frame, "starts").unwrap().concat(), [24, 0, 0]); // characters: β is one
        assert_eq!(context.chars().skip(24).take(25).collect::<String>(), "It binds p53 in the cell!");
    }

    #[test]
    fn sentences_end_where_a_blank_follows_and_at_line_breaks() {
        let texts = |text| sentences_of(text).into_iter().map(|(sentence, byte)| (sentence.to_owned(), byte)).collect::<Vec<_>>();
        let expected = [("A 0.5 mg dose.", 0), ("Title", 16), ("e.g.", 22), ("this?", 27)].map(|(sentence, byte)| (sentence.to_owned(), byte));
        assert_eq!(texts("A 0.5 mg dose.  Title\ne.g. this?"), expected);
        assert!(texts(" \n ").is_empty() && texts("").is_empty());
    }

    #[test]
    fn a_task_without_training_examples_is_refused() {
        let said = |examples: &Examples| attempt(examples).unwrap_err().to_string();
        let empty = [
            labelled_task(Problem::SequenceClassification, &[], &["a"], &["a"]),
            labelled_task(Problem::MultiLabel, &[], &["a"], &["a"]),
            choice_task(&[], &[(&["x"], "A")], &["A"]),
            scored_task(&[], &[Some(1.0)]),
            tagged_task(&[], &[("a", "O")], &["O"]),
        ];
        for examples in &empty {
            assert!(said(examples).contains("training split, which has no example"), "{}", examples.problem);
        }
        let unknown = labelled_task(Problem::SequenceClassification, &["", ""], &["a"], &["a"]);
        assert!(said(&unknown).contains("has 2 examples, none of which has a gold"));
    }
}
