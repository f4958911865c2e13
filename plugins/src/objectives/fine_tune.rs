//! The objective `fine-tune`: a head on top of an encoder, trained together on a task.

use std::sync::Arc;

use lmprobe_core::{
    Build, BuildContext, Encoder, Error, Examples, Learner, Material, Needs, Objective, Origin, Problem, RecipeDefaults, Registration, Result, Seed, Selection,
    TaskHead, TaskHeadInfo, schema_of, table,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fine_tune_presets as presets;
use super::head_learner::{Development, HeadLearner};
use super::lessons::{EmptyWindows, Lessons};
use crate::nn::head::Head;
use crate::nn::inputs::model_inputs::ModelInputs;
use crate::nn::inputs::sequence_layout::SequenceLayout;
use crate::nn::inputs::settings::{InputSettings, LabelPosition, LabelScheme, LongInputs, PairSeparator};
use crate::nn::losses::Reduction;

inventory::submit! {
    Registration {
        id: "fine-tune",
        version: 2,
        build: Build::Objective(&build),
        summary: "trains an encoder and a head for a task: tags, labels, numbers, choices, spans",
        manual: MANUAL,
        schema: &schema_of::<FineTuneParams>,
        families: &[],
        recipe: Some(RecipeDefaults::Task(&presets::recipe)),
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = concat!(
    "\
## What it does

Puts a head for the task on top of an encoder and trains both on the task's training split, or a share of it (`training_size`). The checkpoint is one of
transformers; the prober `task-head` asks it. With `training_size: 0` nothing is trained: the encoder stays as it is, with a fresh head.

## How

| task | head reads | loss | development score |
|---|---|---|---|
| token-classification | every token | cross-entropy of the labelled pieces | F1 of entities, as conlleval |
| sequence-classification | pooler, first token, or last token of a decoder | cross-entropy | accuracy |
| multi-label | the same | binary cross-entropy, mean over texts and labels | F1 of all cells |
| regression | the same | squared error | mean squared error (lower is better: a correlation of few examples need not exist) |
| multiple-choice | the same, one sequence a choice | cross-entropy over the choices of a question | accuracy |
| extractive-qa | every token | half the cross-entropies of first and last token | F1 of words, as SQuAD |

A fresh head is drawn from the seed with the model's own deviation. `head: keep` goes on with the head of the checkpoint, whose labels must be the task's.

**Words** are split into pieces one by one. The label stands on the first piece of a word (`label_position: first`), on the last, which is the only one of a causal
decoder that has seen the whole word, or on all (`mean`: their logits are averaged); `auto` is the last for causal models, the first for others. Words without pieces
are tagged `O` and counted. `label_scheme: biobert` is that of the original BioBERT: seven classes `[PAD]`, `B`, `I`, `O`, `X`, `[CLS]`, `[SEP]`, a label for every
token, that of a word on its first piece: `auto` is `first` with it, for causal models too, and `last` and `mean` are refused. The original sums its loss over padding
too, which depends on how far sequences are padded; here there is no padding, so that part is not reproduced.

**Long inputs** are split into windows by default (`long_inputs: window`). Sentences are split into windows of whole words that overlap; each word is learned and read
once, where it has most context. Of a pair the longer text is split, and the logits of an example are the mean over its windows. Nothing is lost but of a pair of two
long texts: the shorter one keeps what fits half of the room, and such pairs are counted. `cut` cuts as the tokenizer does, of a pair the longer text first; words
behind the cut are not learned from, and are answered with `O`. Contexts of questions are always split; every window is an example of its own, and one without the
whole answer points to its first token. Of a long context nearly all windows are such: `windows_without_answer` takes so many of each question, drawn from the seed, as Alberti et al. do for Natural Questions.
`window_overlap` is what two windows share, a third of `max_length` if empty; `window_step` in its place is how far they are apart, as in the original BioBERT. One of
them replaces what a preset says of the other; both together are refused.

**Pairs** are put together as the tokenizer does. Where it puts nothing between two texts (GPT-2), `<|endoftext|>` stands there unless `pair_separator: none`.
`segments: false` gives the second text the token type of the first.

`checkpoint: best` keeps the weights of the epoch with the best development score; the last weights are scored too where the training ends within an epoch. `patience`
ends training after so many epochs without a better score; as long as the best is an F1 or accuracy of exactly 0, nothing has been learned yet and no epoch counts. A
task without a development split has one held out (`hold_out`).

Examples without a gold are left out and counted, as is everything that is cut.

## Presets

A preset sets defaults; what the run file says replaces them. `linkbert-base` and `linkbert-large` want a `dataset`.

",
    include_str!("fine_tune_presets.md"),
    "
## Example

```yaml
adapt:
  - {use: fine-tune, training_size: [0, 10, 30, 50, 100]}
  - {use: fine-tune, name: as-biobert, preset: biobert}
probers: [task-head]
```

## Reference

Devlin et al. 2019, arXiv:1810.04805; Lee et al. 2020 (BioBERT), arXiv:1901.08746; Yasunaga et al. 2022 (LinkBERT), arXiv:2203.15827; Mosbach et al. 2021,
arXiv:2006.04884, for the recommended recipe; Alberti et al. 2019, arXiv:1901.08634, for windows without an answer.
"
);

/// Parameters of the objective `fine-tune`, beside the recipe of the training.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FineTuneParams {
    /// Whose recipe the defaults are.
    #[serde(default)]
    pub preset: Preset,
    /// The data set whose published recipe is taken, where the preset has one for each; empty is that of the kind of task.
    #[serde(default)]
    pub dataset: Option<String>,
    /// Longest sequence in tokens, special tokens included. The encoder's own limit holds if it is less.
    #[serde(default = "max_length")]
    #[schemars(range(min = 8))]
    pub max_length: usize,
    /// What happens to longer inputs.
    #[serde(default)]
    pub long_inputs: LongInputs,
    /// Tokens that two neighbouring windows share; empty is a third of `max_length`, if `window_step` is empty too.
    #[serde(default)]
    pub window_overlap: Option<usize>,
    /// Tokens from the beginning of a window to that of the next, in the place of `window_overlap`: one of the two may be set.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub window_step: Option<usize>,
    /// Windows learned from that do not hold the whole answer, of each question about a context; empty is all of them.
    #[serde(default)]
    pub windows_without_answer: Option<usize>,
    /// Longest question about a context, in pieces.
    #[serde(default = "max_query_length")]
    #[schemars(range(min = 1))]
    pub max_query_length: usize,
    /// Longest answer from a context, in pieces.
    #[serde(default = "max_answer_length")]
    #[schemars(range(min = 1))]
    pub max_answer_length: usize,
    /// Answers listed for a question about a context.
    #[serde(default = "n_best")]
    #[schemars(range(min = 1))]
    pub n_best: usize,
    /// By how much the logits of no answer must exceed those of the best one to say that there is none.
    #[serde(default)]
    pub null_threshold: f64,
    /// Which piece of a word carries its label. With `label_scheme: biobert` it is the first.
    #[serde(default)]
    pub label_position: LabelPositionChoice,
    /// What the labels of pieces are.
    #[serde(default)]
    pub label_scheme: LabelScheme,
    /// What becomes of the losses of a batch.
    #[serde(default)]
    pub loss: Reduction,
    /// Which weights are kept.
    #[serde(default)]
    pub checkpoint: CheckpointChoice,
    /// Epochs without a better development score after which training ends; empty for never. Epochs do not count while the best score is exactly 0 and a higher one
    /// would be better: nothing has been learned yet.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// Where the head comes from.
    #[serde(default)]
    pub head: HeadChoice,
    /// Whether the second text of a pair has token type 1.
    #[serde(default = "yes")]
    pub segments: bool,
    /// What stands between two texts where the tokenizer puts nothing; other tokenizers put their own tokens there, whatever is said here.
    #[serde(default)]
    pub pair_separator: PairSeparator,
}

fn max_length() -> usize {
    256
}
fn max_query_length() -> usize {
    64
}
fn max_answer_length() -> usize {
    30
}
fn n_best() -> usize {
    20
}
fn yes() -> bool {
    true
}

/// Whose recipe it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// One that works for most tasks.
    #[default]
    Recommended,
    /// The original `BioBERT`.
    Biobert,
    /// `LinkBERT` and `BioLinkBERT`, base.
    LinkbertBase,
    /// `LinkBERT` and `BioLinkBERT`, large.
    LinkbertLarge,
    /// Bonfigli et al. 2024.
    Bonfigli,
}

/// Which piece of a word carries its label, as a run file chooses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LabelPositionChoice {
    /// The last for causal models, the first for others and for `label_scheme: biobert`.
    #[default]
    Auto,
    /// The first.
    First,
    /// The last.
    Last,
    /// All: their logits are averaged.
    Mean,
}

/// Which weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointChoice {
    /// Those of the epoch with the best development score.
    #[default]
    Best,
    /// The last.
    Last,
}

/// Where the head comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeadChoice {
    /// It is drawn from the seed.
    #[default]
    Fresh,
    /// It is that of the checkpoint.
    Keep,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Objective>> {
    let params: FineTuneParams = serde_json::from_value(params)?;
    if let (Some(overlap), Some(step)) = (params.window_overlap, params.window_step) {
        return Err(Error::Config(format!(
            "`window_overlap` {overlap} and `window_step` {step} are both set, and say the same in two ways: remove one of them"
        )));
    }
    let elsewhere = match params.label_position {
        LabelPositionChoice::Last => Some("last"),
        LabelPositionChoice::Mean => Some("mean"),
        LabelPositionChoice::Auto | LabelPositionChoice::First => None,
    };
    if let Some(position) = elsewhere.filter(|_| params.label_scheme == LabelScheme::Biobert) {
        return Err(Error::Config(format!(
            "`label_position: {position}` does not go with `label_scheme: biobert`, which puts the label of a word on its first piece: write `label_position: first` \
             or `label_scheme: words`"
        )));
    }
    Ok(Arc::new(FineTune { params }))
}

struct FineTune {
    params: FineTuneParams,
}

impl Objective for FineTune {
    fn needs(&self) -> Needs {
        Needs { trainable: true, problems: &Problem::LABELLED, ..Needs::one_encoder() }
    }

    fn needs_dev(&self) -> bool {
        self.params.checkpoint == CheckpointChoice::Best || self.params.patience.is_some()
    }

    fn prepare(&self, material: &Material<'_>, encoder: &dyn Encoder, seed: Seed) -> Result<Box<dyn Learner>> {
        let examples = material.task()?;
        let mut notes = Vec::new();
        let settings = self.settings(examples, encoder, &mut notes)?;
        let head = self.head(examples, encoder, &settings, seed)?;
        let inputs = ModelInputs::of(&examples.train, examples.problem, encoder, &settings, "training")?;
        notes.extend_from_slice(inputs.notes());
        let empty = EmptyWindows { most: self.params.windows_without_answer, seed: seed.child("windows without answer") };
        let lessons = Lessons::new(&examples.train, inputs, &settings, head.info(), &examples.labels, empty)?;
        notes.extend_from_slice(&lessons.notes);
        let development = self.development(examples, encoder, &settings, &mut notes)?;
        let best = self.params.checkpoint == CheckpointChoice::Best && development.is_some();
        let selection = Selection { best, patience: self.params.patience.filter(|_| development.is_some()) };
        Ok(Box::new(HeadLearner { head, lessons, settings, reduction: self.params.loss, development, selection, notes }))
    }
}

impl FineTune {
    /// How inputs are made, with nothing left to decide.
    fn settings(&self, examples: &Examples, encoder: &dyn Encoder, notes: &mut Vec<String>) -> Result<InputSettings> {
        let params = &self.params;
        let info = encoder.info();
        if params.max_length > info.max_length {
            notes.push(format!("`max_length` {} is more than the encoder takes: {} tokens are", params.max_length, info.max_length));
        }
        let mut settings = InputSettings {
            max_length: params.max_length.min(info.max_length),
            long_inputs: params.long_inputs,
            window_overlap: params.window_overlap,
            window_step: params.window_step,
            max_query_length: params.max_query_length,
            max_answer_length: params.max_answer_length,
            n_best: params.n_best,
            null_threshold: params.null_threshold,
            label_position: match params.label_position {
                LabelPositionChoice::Auto if info.causal && params.label_scheme == LabelScheme::Words => LabelPosition::Last,
                LabelPositionChoice::Auto | LabelPositionChoice::First => LabelPosition::First,
                LabelPositionChoice::Last => LabelPosition::Last,
                LabelPositionChoice::Mean => LabelPosition::Mean,
            },
            label_scheme: params.label_scheme,
            segments: params.segments,
            pair_separator: PairSeparator::None,
            unanswerable: examples.problem == Problem::ExtractiveQa && table::text_lists(&examples.train, "golds")?.iter().flatten().any(String::is_empty),
            outside: examples.negative.clone().filter(|_| examples.problem == Problem::TokenClassification).unwrap_or_else(|| "O".to_owned()),
        };
        if !SequenceLayout::of(encoder, &settings)?.separates_pairs() {
            settings.pair_separator = params.pair_separator;
        }
        if params.head == HeadChoice::Keep
            && let Some(stored) = encoder.task_head()
        {
            settings.unanswerable |= stored.settings["unanswerable"] == true;
        }
        Ok(settings)
    }

    fn head(&self, examples: &Examples, encoder: &dyn Encoder, settings: &InputSettings, seed: Seed) -> Result<Head> {
        let problem = examples.problem;
        let labels = match problem {
            Problem::TokenClassification => settings.label_scheme.head_labels(&examples.labels),
            Problem::SequenceClassification | Problem::MultiLabel => examples.labels.clone(),
            Problem::Regression | Problem::MultipleChoice | Problem::ExtractiveQa | Problem::Cloze => Vec::new(),
        };
        if examples.labels.is_empty() && matches!(problem, Problem::TokenClassification | Problem::SequenceClassification | Problem::MultiLabel) {
            return Err(Error::Unsupported(format!("a {problem} task without labels cannot be learned")));
        }
        let info = TaskHeadInfo { problem, labels };
        let (layout, hidden) = (encoder.head_layout(problem)?, encoder.info().hidden);
        match self.params.head {
            HeadChoice::Fresh => Head::draw(info, layout, hidden, seed.child("head")),
            HeadChoice::Keep => Head::of(fitting(encoder.task_head(), &info)?, layout, hidden),
        }
    }

    /// The development examples, if the recipe asks for them and there are some.
    fn development(&self, examples: &Examples, encoder: &dyn Encoder, settings: &InputSettings, notes: &mut Vec<String>) -> Result<Option<Development>> {
        let frame = &examples.dev;
        if !self.needs_dev() || examples.train.height() == 0 {
            return Ok(None);
        }
        if !has_gold(frame, examples.problem)? {
            notes.push("there is no development example with a gold: training goes to its end, and the last weights are kept".to_owned());
            return Ok(None);
        }
        let inputs = ModelInputs::of(frame, examples.problem, encoder, settings, "development")?;
        notes.extend_from_slice(inputs.notes());
        Ok(Some(Development { examples: Examples { examples: frame.clone(), ..examples.clone() }, inputs }))
    }
}

/// Whether something is known of the gold of an example.
fn has_gold(frame: &DataFrame, problem: Problem) -> Result<bool> {
    Ok(match problem {
        Problem::TokenClassification => table::text_lists(frame, "tags")?.iter().any(|tags| !tags.is_empty()),
        Problem::SequenceClassification | Problem::MultipleChoice | Problem::ExtractiveQa => {
            table::text_lists(frame, "golds")?.iter().any(|golds| !golds.is_empty())
        }
        Problem::Regression => table::optional_reals(frame, "target")?.iter().any(Option::is_some),
        // An empty list of labels is a gold too.
        Problem::MultiLabel | Problem::Cloze => frame.height() > 0,
    })
}

/// The head of the checkpoint, if it is for the task.
///
/// # Errors
/// If there is none, or it is for something else: the message says what differs.
fn fitting<'a>(stored: Option<&'a TaskHead>, wanted: &TaskHeadInfo) -> Result<&'a TaskHead> {
    let fail = |why: String| Err(Error::Config(format!("`head: keep`: {why}; `head: fresh` draws a new one")));
    let Some(stored) = stored else { return fail("the checkpoint has no head".to_owned()) };
    if stored.info.problem != wanted.problem {
        return fail(format!("the head of the checkpoint is for {} tasks, this is a {} task", stored.info.problem, wanted.problem));
    }
    let sorted = |labels: &[String]| {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        labels
    };
    if sorted(&stored.info.labels) != sorted(&wanted.labels) {
        let list = |labels: &[String]| labels.join("`, `");
        return fail(format!("the head of the checkpoint has the labels `{}`, the task `{}`", list(&stored.info.labels), list(&wanted.labels)));
    }
    Ok(stored)
}
