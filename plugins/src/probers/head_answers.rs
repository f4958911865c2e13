//! What a head answers to examples: the same for the prober `task-head` and for development scores.

use lmprobe_core::{CallContext, Encoder, Error, Examples, Problem, Result, table};
use polars::prelude::{DataFrame, IntoColumn};

use super::labelled_predictions::{Answer, AnsweredPredictions, LabelledPredictions, ScoredPredictions, TaggedPredictions};
use crate::nn::answers::class_answers::{classes, flags, number, options};
use crate::nn::answers::logits::{Places, SequenceLogits};
use crate::nn::answers::span_answers::answers;
use crate::nn::answers::tag_answers::{TagAnswer, tag};
use crate::nn::head::Head;
use crate::nn::inputs::model_inputs::ModelInputs;
use crate::nn::inputs::settings::{InputSettings, LabelScheme};

/// The examples that a head is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The task; [`Examples::examples`] are asked.
    pub(crate) examples: &'a Examples,
    /// The same as inputs.
    pub(crate) inputs: &'a ModelInputs,
    /// How these were made.
    pub(crate) settings: &'a InputSettings,
}

/// Predictions, [`Problem::predictions_schema`], and what is to be said about them. `phase` names the examples where progress is shown.
///
/// # Errors
/// If the encoder fails or a stop was requested, or the head lacks a label of the task.
pub(crate) fn predictions(encoder: &dyn Encoder, head: &Head, asked: &Asked<'_>, phase: &str, cx: &CallContext<'_>) -> Result<(DataFrame, Vec<String>)> {
    let examples = asked.examples;
    let ask = |places: Places<'_>| SequenceLogits::of(encoder, head, asked.inputs.tokens(), places, phase, cx);
    let mut notes = Vec::new();
    let frame = match asked.inputs {
        ModelInputs::Sentences(sentences) => with_pieces(examples, tag(encoder, head, sentences, asked.settings, phase, cx)?, asked.settings.label_scheme)?,
        ModelInputs::Texts(texts) if examples.problem == Problem::Regression => {
            let logits = ask(Places::All)?;
            let mut table = ScoredPredictions::new(examples);
            texts.sequences.iter().for_each(|sequences| table.push(number(&logits, sequences)));
            table.finish()?
        }
        ModelInputs::Texts(texts) => {
            let logits = ask(Places::All)?;
            let order = order_of_task(head, &examples.labels)?;
            let mut table = LabelledPredictions::new(examples)?;
            for sequences in &texts.sequences {
                let of_head = if examples.problem == Problem::MultiLabel { flags(&logits, sequences) } else { classes(&logits, sequences) };
                table.push(order.iter().map(|&label| of_head[label]).collect())?;
            }
            table.finish()?
        }
        ModelInputs::Choices(choices) => {
            let logits = ask(Places::All)?;
            let mut table = LabelledPredictions::new(examples)?;
            for of_question in &choices.options {
                table.push(options(&logits, &choices.texts.sequences[of_question.clone()]))?;
            }
            table.finish()?
        }
        ModelInputs::Questions(questions) => {
            let logits = ask(Places::All)?;
            let mut table = AnsweredPredictions::new(examples);
            let mut unanswered = 0;
            for (question, context) in questions.examples.iter().zip(table::texts(&examples.examples, "context")?) {
                let (listed, nothing) = answers(question, context, &logits, asked.settings);
                unanswered += usize::from(nothing);
                let answer = |answer: crate::nn::answers::span_answers::SpanAnswer| Answer {
                    text: answer.text,
                    score: answer.score,
                    start: answer.start as u64,
                    start_logit: answer.start_logit,
                    end_logit: answer.end_logit,
                };
                table.push(listed.into_iter().map(answer).collect());
            }
            if unanswered > 0 {
                let n = questions.examples.len();
                notes.push(format!("{unanswered} of {n} {phase} have a context without any span that could be an answer: the answer is empty"));
            }
            table.finish()?
        }
    };
    Ok((frame, notes))
}

/// The table of tags, with the columns `pieces` and `piece_predictions` behind those of the schema, and `piece_golds` where every piece has a label.
fn with_pieces(examples: &Examples, answers: Vec<TagAnswer>, scheme: LabelScheme) -> Result<DataFrame> {
    let mut table = TaggedPredictions::new(examples);
    let (mut pieces, mut labels, mut golds) = (Vec::new(), Vec::new(), Vec::new());
    for (answer, tags) in answers.into_iter().zip(table::text_lists(&examples.examples, "tags")?) {
        // Of a sentence without tags nothing is known of its pieces either.
        let kinds = answer.piece_kinds.iter().filter(|_| !tags.is_empty());
        golds.push(kinds.filter_map(|kind| scheme.token_label(*kind, &tags).map(str::to_owned)).collect::<Vec<_>>());
        table.push(answer.tags, answer.scores);
        pieces.push(answer.pieces);
        labels.push(answer.piece_labels);
    }
    let mut columns = vec![table::texts_column("pieces", &pieces), table::texts_column("piece_predictions", &labels)];
    if scheme == LabelScheme::Biobert {
        columns.push(table::texts_column("piece_golds", &golds));
    }
    Ok(table.finish()?.hstack(&columns.into_iter().map(IntoColumn::into_column).collect::<Vec<_>>())?)
}

/// Which label of the head each label of the task is.
fn order_of_task(head: &Head, labels: &[String]) -> Result<Vec<usize>> {
    let of_head = &head.info().labels;
    let place = |label: &String| {
        of_head
            .iter()
            .position(|other| other == label)
            .ok_or_else(|| Error::Unsupported(format!("the task's label `{label}` is not among those of the head: {}", of_head.join(", "))))
    };
    labels.iter().map(place).collect()
}
