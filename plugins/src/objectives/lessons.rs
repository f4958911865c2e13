//! Labelled examples as a head learns from them: inputs, and what is right.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{Device, Tensor};
use lmprobe_core::{Error, Problem, Result, Seed, Targets, TaskHeadInfo, TokenBatch, TokenRows, TrainingBatch, table};
use polars::prelude::DataFrame;

use crate::nn::inputs::model_inputs::ModelInputs;
use crate::nn::inputs::questions::Questions;
use crate::nn::inputs::sentences::Sentences;
use crate::nn::inputs::settings::{InputSettings, LabelScheme};
use crate::nn::losses::{Reduction, binary_cross_entropy, choice_cross_entropy, cross_entropy, group_means, span_cross_entropy, squared_error};

/// What a head learns from, item by item: an example, or a window of a question's context.
pub(super) struct Lessons {
    tokens: TokenBatch,
    items: Vec<Item>,
    /// What was left out.
    pub(super) notes: Vec<String>,
}

/// A thing to learn.
struct Item {
    /// Its sequences.
    sequences: Range<usize>,
    gold: Gold,
}

/// What is right.
enum Gold {
    /// Labels of tokens.
    Tokens(Vec<LabelledTokens>),
    /// The label of a text.
    Class(u32),
    /// For each label 1 or 0.
    Flags(Vec<u32>),
    /// A number.
    Number(f32),
    /// Which of the options, each with the number of its windows.
    Choice(u32, Vec<usize>),
    /// First and last token.
    Span([u32; 2]),
}

/// Tokens whose mean logits have a label: one, or the pieces of a word.
struct LabelledTokens {
    sequence: usize,
    places: Range<usize>,
    label: u32,
}

/// Places of labels by name.
struct LabelIds<'a>(HashMap<&'a str, u32>);

impl LabelIds<'_> {
    fn of(&self, label: &str) -> Result<u32> {
        self.0.get(label).copied().ok_or_else(|| Error::Unsupported(format!("the head has no label `{label}`")))
    }
}

impl Lessons {
    /// Puts inputs and golds of the training examples together. `letters` are the names of choices; `empty` says which windows of a context are learned from that do
    /// not hold the answer.
    ///
    /// # Errors
    /// If a gold is none of the labels or not in its context.
    pub(super) fn new(
        frame: &DataFrame,
        inputs: ModelInputs,
        settings: &InputSettings,
        head: &TaskHeadInfo,
        letters: &[String],
        empty: EmptyWindows,
    ) -> Result<Self> {
        let ids = LabelIds(head.labels.iter().zip(0u32..).map(|(label, id)| (label.as_str(), id)).collect());
        let n = frame.height();
        let (tokens, golds, what) = match inputs {
            ModelInputs::Sentences(sentences) => {
                let golds = tagged(frame, &sentences, settings, &ids)?;
                (sentences.tokens, golds, "sentences without tags or without pieces")
            }
            ModelInputs::Texts(texts) => {
                let golds = texts.sequences.into_iter().zip(of_texts(frame, head.problem, head.labels.len(), &ids)?);
                let golds = golds.filter_map(|(sequences, gold)| Some(Item { sequences, gold: gold? })).collect();
                (texts.tokens, golds, "texts without a gold")
            }
            ModelInputs::Choices(choices) => {
                let golds = table::text_lists(frame, "golds")?;
                let names = table::texts(frame, "example_id")?;
                let mut items = Vec::new();
                for ((options, golds), name) in choices.options.iter().zip(&golds).zip(names) {
                    let windows = &choices.texts.sequences[options.clone()];
                    let (Some(letter), [first, .., last] | [first @ last]) = (golds.first(), windows) else { continue };
                    let chosen = letters.iter().position(|known| known == letter).filter(|chosen| *chosen < options.len());
                    let chosen =
                        chosen.ok_or_else(|| Error::Unsupported(format!("question `{name}` has {} choices and the answer `{letter}`", options.len())))?;
                    let gold = Gold::Choice(small(chosen), windows.iter().map(ExactSizeIterator::len).collect());
                    items.push(Item { sequences: first.start..last.end, gold });
                }
                (choices.texts.tokens, items, "questions without an answer")
            }
            ModelInputs::Questions(questions) => {
                let Spans { items, windows_left_out, unknown } = spans(frame, &questions, empty)?;
                let all = windows_left_out + items.len();
                let mut notes = Vec::new();
                if unknown > 0 {
                    notes.push(format!("{unknown} of {n} training examples were left out: questions of which no answer is known that stands in the context"));
                }
                if windows_left_out > 0 {
                    notes.push(format!("{windows_left_out} of {all} windows of contexts are not learned from: they do not hold the answer"));
                }
                return Ok(Self { tokens: questions.tokens, items, notes });
            }
        };
        let left_out = n - golds.len();
        let notes = if left_out > 0 { vec![format!("{left_out} of {n} training examples were left out: {what}")] } else { Vec::new() };
        Ok(Self { tokens, items: golds, notes })
    }

    /// Number of items.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The batch of some items.
    ///
    /// # Errors
    /// If the memory for it is not there.
    pub(super) fn batch(&self, chosen: &[usize]) -> Result<TrainingBatch> {
        let mut tokens = TokenBatch::default();
        let (mut rows, mut ends, mut options, mut labels, mut numbers) = (Vec::new(), vec![0u32], vec![0u32], Vec::new(), Vec::new());
        for &item in chosen {
            let Item { sequences, gold } = &self.items[item];
            let first = tokens.len();
            sequences.clone().for_each(|sequence| tokens.push_from(&self.tokens, sequence));
            let end = |ends: &[u32], n: usize| ends[ends.len() - 1] + small(n);
            match gold {
                Gold::Tokens(labelled) => {
                    for LabelledTokens { sequence, places, label } in labelled {
                        let begin = tokens.offsets[first + sequence - sequences.start];
                        rows.extend(places.clone().map(|place| small(begin + place)));
                        ends.push(small(rows.len()));
                        labels.push(*label);
                    }
                    continue;
                }
                Gold::Class(label) => labels.push(*label),
                Gold::Flags(flags) => labels.extend(flags),
                Gold::Number(number) => numbers.push(*number),
                Gold::Choice(answer, windows) => {
                    labels.push(*answer);
                    for &windows in windows {
                        ends.push(end(&ends, windows));
                    }
                    options.push(end(&options, windows.len()));
                    continue;
                }
                Gold::Span(span) => labels.extend(span),
            }
            ends.push(end(&ends, sequences.len()));
        }
        let counts = |values: Vec<u32>| Tensor::from_vec(values.clone(), values.len(), &Device::Cpu);
        let n = numbers.len();
        let targets = Targets::from([
            ("rows".into(), counts(rows)?),
            ("ends".into(), counts(ends)?),
            ("options".into(), counts(options)?),
            ("labels".into(), counts(labels)?),
            ("numbers".into(), Tensor::from_vec(numbers, n, &Device::Cpu)?),
        ]);
        Ok(TrainingBatch { inputs: vec![tokens], targets })
    }

    /// The tokens of a batch whose logits are compared with a label: all where a softmax runs over them.
    ///
    /// # Errors
    /// If a target is missing.
    pub(super) fn rows(&self, batch: &TrainingBatch) -> Result<TokenRows> {
        Ok(match self.items.first().map(|item| &item.gold) {
            Some(Gold::Tokens(_)) => TokenRows::At(places(batch, "rows")?),
            _ => TokenRows::All,
        })
    }

    /// The loss of a batch whose logits these are.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub(super) fn loss(&self, logits: &Tensor, batch: &TrainingBatch, reduction: Reduction) -> Result<Tensor> {
        let labels = &batch.targets["labels"];
        let ends = places(batch, "ends")?;
        let first = self.items.first().ok_or_else(|| Error::Unsupported("there is nothing to learn from".into()))?;
        match &first.gold {
            Gold::Tokens(_) | Gold::Class(_) => cross_entropy(&group_means(logits, &ends)?, labels, reduction),
            Gold::Flags(_) => binary_cross_entropy(&group_means(logits, &ends)?, labels, reduction),
            Gold::Number(_) => squared_error(&group_means(logits, &ends)?, &batch.targets["numbers"], reduction),
            Gold::Choice(..) => choice_cross_entropy(&group_means(logits, &ends)?, &places(batch, "options")?, &labels.to_vec1()?, reduction),
            Gold::Span(_) => {
                let spans: Vec<[u32; 2]> = labels.to_vec1::<u32>()?.chunks_exact(2).map(|span| [span[0], span[1]]).collect();
                span_cross_entropy(logits, &batch.inputs[0].offsets, &spans, reduction)
            }
        }
    }
}

/// A target as places.
fn places(batch: &TrainingBatch, name: &str) -> Result<Vec<usize>> {
    Ok(batch.targets[name].to_vec1::<u32>()?.into_iter().map(|place| place as usize).collect())
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a batch has fewer than 2^32 tokens")
}

fn tagged(frame: &DataFrame, sentences: &Sentences, settings: &InputSettings, ids: &LabelIds<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (sentence, tags) in sentences.examples.iter().zip(table::text_lists(frame, "tags")?) {
        if tags.is_empty() {
            continue;
        }
        let mut labelled = Vec::new();
        match settings.label_scheme {
            LabelScheme::Words => {
                for (placed, tag) in sentence.words.iter().zip(&tags) {
                    if let Some(placed) = placed {
                        labelled.push(LabelledTokens { sequence: placed.sequence, places: placed.read(settings.label_position), label: ids.of(tag)? });
                    }
                }
            }
            LabelScheme::Biobert => {
                for token in sentences.tokens_of(sentence) {
                    let label = settings.label_scheme.token_label(token.kind, &tags).expect("every token has a label in this scheme");
                    labelled.push(LabelledTokens { sequence: token.sequence, places: token.place..token.place + 1, label: ids.of(label)? });
                }
            }
        }
        if !labelled.is_empty() {
            items.push(Item { sequences: sentence.sequences.clone(), gold: Gold::Tokens(labelled) });
        }
    }
    Ok(items)
}

/// The gold of each text, if it is known.
fn of_texts(frame: &DataFrame, problem: Problem, n_labels: usize, ids: &LabelIds<'_>) -> Result<Vec<Option<Gold>>> {
    if problem == Problem::Regression {
        #[expect(clippy::cast_possible_truncation, reason = "models compute in f32")]
        let number = |target: Option<f64>| target.map(|target| Gold::Number(target as f32));
        return Ok(table::optional_reals(frame, "target")?.into_iter().map(number).collect());
    }
    let golds = table::text_lists(frame, "golds")?;
    let gold = |golds: &Vec<String>| {
        if problem != Problem::MultiLabel {
            return golds.first().map(|label| Ok(Gold::Class(ids.of(label)?))).transpose();
        }
        let mut flags = vec![0; n_labels];
        for label in golds {
            flags[ids.of(label)? as usize] = 1;
        }
        Ok(Some(Gold::Flags(flags)))
    };
    golds.iter().map(gold).collect()
}

/// Which windows of a context are learned from that do not hold the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct EmptyWindows {
    /// How many of each question; all if empty.
    pub(super) most: Option<usize>,
    /// What they are drawn from.
    pub(super) seed: Seed,
}

impl EmptyWindows {
    /// Whether each window of a question is learned from, given its span. A question without an answer in any window keeps one, or it would not be learned from.
    fn chosen(self, question: &str, spans: &[(usize, usize)]) -> Vec<bool> {
        let Some(most) = self.most else { return vec![true; spans.len()] };
        let (mut empty, held): (Vec<usize>, Vec<usize>) = (0..spans.len()).partition(|&window| spans[window] == (0, 0));
        // The name keeps the choice the same in every share of the questions.
        self.seed.child(question).random().shuffle(&mut empty);
        empty.truncate(if held.is_empty() { most.max(1) } else { most });
        let mut chosen = vec![false; spans.len()];
        empty.into_iter().chain(held).for_each(|window| chosen[window] = true);
        chosen
    }
}

/// What is learned from questions.
struct Spans {
    /// Windows with their spans.
    items: Vec<Item>,
    /// Windows without the answer that are not learned from.
    windows_left_out: usize,
    /// Questions of which no answer is known that stands in the context.
    unknown: usize,
}

fn spans(frame: &DataFrame, questions: &Questions, empty: EmptyWindows) -> Result<Spans> {
    let names = table::texts(frame, "example_id")?;
    let contexts = table::texts(frame, "context")?;
    let (golds, starts) = (table::text_lists(frame, "golds")?, table::count_lists(frame, "starts")?);
    let mut spans = Spans { items: Vec::new(), windows_left_out: 0, unknown: 0 };
    for (index, question) in questions.examples.iter().enumerate() {
        let answer = match (golds[index].first().map(String::as_str), starts[index].first()) {
            (Some(""), _) => None,
            (Some(text), Some(&start)) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let length = text.chars().count();
                if !contexts[index].chars().skip(start).take(length).eq(text.chars()) {
                    return Err(Error::Unsupported(format!(
                        "the answer {text:?} of question `{}` does not stand at character {start} of its context",
                        names[index]
                    )));
                }
                Some(start..start + length)
            }
            (None, _) | (_, None) => {
                spans.unknown += 1;
                continue;
            }
        };
        let places = question.spans(answer.as_ref());
        let chosen = empty.chosen(names[index], &places);
        for ((sequence, (first, last)), chosen) in question.sequences.clone().zip(places).zip(chosen) {
            if chosen {
                spans.items.push(Item { sequences: sequence..sequence + 1, gold: Gold::Span([small(first), small(last)]) });
            } else {
                spans.windows_left_out += 1;
            }
        }
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question of six windows, of which the third and fourth hold the answer.
    const SPANS: [(usize, usize); 6] = [(0, 0), (0, 0), (9, 9), (4, 4), (0, 0), (0, 0)];

    fn chosen(most: impl Into<Option<usize>>, question: &str, spans: &[(usize, usize)]) -> Vec<bool> {
        EmptyWindows { most: most.into(), seed: Seed(1) }.chosen(question, spans)
    }

    #[test]
    fn windows_with_the_answer_stay_and_as_many_others_as_wanted() {
        assert_eq!(chosen(None, "a", &SPANS), [true; 6]);
        assert_eq!(chosen(0, "a", &SPANS), [false, false, true, true, false, false]);
        for most in 1..4 {
            let chosen = chosen(most, "a", &SPANS);
            assert!(chosen[2] && chosen[3]);
            assert_eq!(chosen.iter().filter(|chosen| **chosen).count(), 2 + most);
        }
        assert_eq!(chosen(9, "a", &SPANS), [true; 6]);
    }

    #[test]
    fn which_others_depends_on_the_question_and_no_other_question() {
        let first = |n: usize| -> Vec<usize> { (0..n).map(|id| chosen(1, &id.to_string(), &SPANS).iter().position(|chosen| *chosen).unwrap()).collect() };
        assert_eq!(first(50), first(100)[..50]);
        assert!((0..2).all(|window| first(100).contains(&window)), "always the same window");
    }

    #[test]
    fn a_question_without_an_answer_keeps_a_window() {
        assert_eq!(chosen(0, "a", &[(0, 0)]), [true]);
        assert_eq!(chosen(0, "a", &[(0, 0); 3]).iter().filter(|chosen| **chosen).count(), 1);
        assert_eq!(chosen(2, "a", &[(0, 0); 3]).iter().filter(|chosen| **chosen).count(), 2);
    }
}
