//! The prober `task-head`: asks the head that fine-tuning has left in a checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Encoder, Error, Examples, Needs, Origin, Prober, Problem, Registration, Result, TaskHeadInfo, schema_of};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::head_answers::{Asked, predictions};
use crate::nn::head::Head;
use crate::nn::inputs::model_inputs::ModelInputs;
use crate::nn::inputs::settings::{InputSettings, LabelScheme};

inventory::submit! {
    Registration {
        id: "task-head",
        version: 1,
        build: Build::Prober(&build),
        summary: "asks the head that fine-tuning has left in a checkpoint",
        manual: MANUAL,
        schema: &schema_of::<TaskHeadParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does

Asks a fine-tuned model in the way it was trained: tags for words, labels or numbers for texts and pairs, one of several choices, spans of a context.

## How

Inputs are made as in training; the checkpoint says how (`lmprobe.settings` in its `config.json`). What is too long is split into windows that overlap: a word is
read in the window where it has most context, the logits of a text are averaged over its windows, and a span counts in the window where its first piece has most
context. Of equal logits the first label wins. Labels of head and task must be the same; their order may differ.

Words for which the vocabulary has no piece are tagged `O` with probability 0. Token classification has two more columns: `pieces`, each token of a sentence once, and
`piece_predictions`, its label. A head of `label_scheme: biobert` has a third, `piece_golds`, the right label of each, from which `token-f1` computes BioBERT's own score.

A span has its first piece no later than its last and at most `max_answer_length` pieces; of equal texts the best is kept; the probabilities are a softmax over the
`n_best` answers of the question. That there is no answer is said only by a head that has learned from such questions.

A checkpoint of another program does not say how its inputs were made. Then windows of 512 tokens (384 for questions about a context, 128 of which are shared) are taken,
the first piece of a word carries its label, and pairs are put together as the tokenizer does; a warning says so.

## Example

```yaml
adapt:
  - {use: fine-tune, preset: recommended, training_size: 100}
probers: [task-head]
```

## Reference

Heads as in transformers 5.23; spans as in the original BioBERT (`run_qa.py`), Lee et al. 2020, Bioinformatics 36(4):1234.
";

/// The prober has no parameters: the checkpoint says how it is asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskHeadParams {}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let TaskHeadParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(AskHead))
}

/// Asks the head of a checkpoint.
#[derive(Debug)]
struct AskHead;

impl Prober for AskHead {
    fn needs(&self) -> Needs {
        Needs { problems: &Problem::LABELLED, task_head: true, ..Needs::one_encoder() }
    }

    fn probe(&self, encoders: &[&dyn Encoder], examples: &Examples, cx: &CallContext<'_>) -> Result<DataFrame> {
        let encoder = encoders[0];
        let stored = encoder.task_head().ok_or_else(|| {
            Error::Unsupported(
                "the checkpoint has no head for a task: fine-tune it first (`adapt: {use: fine-tune}`), or name a checkpoint that has one".into(),
            )
        })?;
        if stored.info.problem != examples.problem {
            return Err(Error::Unsupported(format!("the head of the checkpoint is for {} tasks, this is a {} task", stored.info.problem, examples.problem)));
        }
        let outside = examples.negative.as_deref().filter(|_| examples.problem == Problem::TokenClassification).unwrap_or("O");
        let (mut settings, note) = InputSettings::of_head(stored, encoder.info(), outside)?;
        if let Some(note) = note {
            cx.warn(note);
        }
        settings.max_length = settings.max_length.min(encoder.info().max_length);
        check_labels(&stored.info, &examples.labels, settings.label_scheme)?;
        let head = Head::of(stored, encoder.head_layout(examples.problem)?, encoder.info().hidden)?;
        let inputs = ModelInputs::of(&examples.examples, examples.problem, encoder, &settings, "asked")?;
        inputs.notes().iter().for_each(|note| cx.warn(note));
        let (frame, notes) = predictions(encoder, &head, &Asked { examples, inputs: &inputs, settings: &settings }, "inputs", cx)?;
        for note in notes {
            cx.warn(note);
        }
        Ok(frame)
    }
}

/// Whether a head answers with the labels of a task, in any order.
///
/// # Errors
/// If one of the two has a label that the other does not have.
pub(crate) fn check_labels(head: &TaskHeadInfo, task: &[String], scheme: LabelScheme) -> Result<()> {
    if !matches!(head.problem, Problem::TokenClassification | Problem::SequenceClassification | Problem::MultiLabel) {
        return Ok(());
    }
    // Whoever asks a head for its own labels lists the scheme's too.
    let of_words = |labels: &[String]| -> BTreeSet<String> { labels.iter().filter(|label| !scheme.is_own(label)).cloned().collect() };
    let (of_head, of_task) = (of_words(&head.labels), of_words(task));
    let unknown: Vec<&str> = of_head.symmetric_difference(&of_task).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "the head of the checkpoint and the task differ in the labels `{}`: the head has {}; the task has {}",
        unknown.join("`, `"),
        list(&head.labels),
        list(task)
    )))
}

fn list(labels: &[String]) -> String {
    if labels.is_empty() { "none".to_owned() } else { format!("`{}`", labels.join("`, `")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(labels: &[&str]) -> TaskHeadInfo {
        TaskHeadInfo { problem: Problem::TokenClassification, labels: labels.iter().map(|label| (*label).to_owned()).collect() }
    }

    fn task(labels: &[&str]) -> Vec<String> {
        head(labels).labels
    }

    #[test]
    fn labels_may_stand_in_another_order_but_must_be_the_same() {
        assert!(check_labels(&head(&["O", "B", "I"]), &task(&["B", "I", "O"]), LabelScheme::Words).is_ok());
        let seven = head(&["[PAD]", "B", "I", "O", "X", "[CLS]", "[SEP]"]);
        assert!(check_labels(&seven, &task(&["B", "I", "O"]), LabelScheme::Biobert).is_ok());
        assert!(check_labels(&seven, &seven.labels, LabelScheme::Biobert).is_ok(), "asked for what it has");
        assert!(check_labels(&seven, &task(&["B", "I", "O"]), LabelScheme::Words).is_err());
        let error = check_labels(&head(&["B", "O"]), &task(&["B", "I", "O"]), LabelScheme::Words).unwrap_err().to_string();
        assert_eq!(error, "the head of the checkpoint and the task differ in the labels `I`: the head has `B`, `O`; the task has `B`, `I`, `O`");
    }
}
