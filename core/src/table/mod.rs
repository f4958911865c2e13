//! Every table of a run, documented in one place.

mod columns;
mod metric_rows;

pub use columns::{
    count_lists, counts_column, empty, frame_of, optional_reals, optional_texts, real_lists, reals_column, rows, text_column, text_lists, texts, texts_column,
};
pub use metric_rows::{MetricRow, MetricRows};

use crate::{Column, ColumnType, FrameSchema};

const fn column(name: &'static str, kind: ColumnType, nullable: bool, doc: &'static str) -> Column {
    Column { name, kind, nullable, doc }
}

/// What a task asks.
pub const EXAMPLES: FrameSchema = FrameSchema {
    name: "examples",
    doc: "One row a question.",
    columns: &[
        column("example_id", ColumnType::Text, false, "Stable identifier, unique in the task."),
        column("relation", ColumnType::Text, false, "The relation asked for; macro averages are over these."),
        column("subject", ColumnType::Text, false, "The entity asked about."),
        column("prompt", ColumnType::Text, false, "The question with the subject filled in and `[Y]` where the object stands."),
        column("golds", ColumnType::Texts, false, "Every right answer."),
        column("pool", ColumnType::Text, false, "The candidate pool to answer from."),
    ],
};

/// What a task allows as answers.
pub const CANDIDATES: FrameSchema = FrameSchema {
    name: "candidates",
    doc: "One row a candidate of a pool, in ascending byte order of the names.",
    columns: &[column("pool", ColumnType::Text, false, "The pool."), column("name", ColumnType::Text, false, "The candidate.")],
};

/// What a prober answers.
pub const PREDICTIONS: FrameSchema = FrameSchema {
    name: "predictions",
    doc: "One row a question, in the order of the examples.",
    columns: &[
        column("example_id", ColumnType::Text, false, "The question."),
        column("relation", ColumnType::Text, false, "Its relation."),
        column("subject", ColumnType::Text, false, "Its subject."),
        column("golds", ColumnType::Texts, false, "Every right answer."),
        column("rank", ColumnType::Count, true, "Rank of the best right answer among all candidates, from 1; empty if none is in the pool."),
        column("n_candidates", ColumnType::Count, false, "Candidates ranked."),
        column("predictions", ColumnType::Texts, false, "The first candidates, best first."),
        column("scores", ColumnType::Reals, false, "Their scores, higher is better (a distance is negated)."),
    ],
};

const EXAMPLE_ID: Column = column("example_id", ColumnType::Text, false, "Stable identifier, unique in the task over all its splits.");
const CLUSTER: Column = column(
    "cluster",
    ColumnType::Text,
    false,
    "What belongs together: a document, a premise. Subsets keep it whole, intervals resample it. The example's own id if nothing is known.",
);

const TEXT: Column = column("text", ColumnType::Text, false, "The text, or the first of a pair.");
const TEXT_PAIR: Column = column("text_pair", ColumnType::Text, true, "The second text of a pair; empty for a single text.");

/// Words with a tag each.
pub const TAGGED_EXAMPLES: FrameSchema = FrameSchema {
    name: "tagged examples",
    doc: "One row a sentence.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column("words", ColumnType::Texts, false, "The words, as the file splits them."),
        column("tags", ColumnType::Texts, false, "The tag of each word, `B-Disease`; empty where nothing is known of the gold."),
    ],
};

/// Texts, or pairs of texts, with labels.
pub const LABELLED_EXAMPLES: FrameSchema = FrameSchema {
    name: "labelled examples",
    doc: "One row a text or pair of texts.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        TEXT,
        TEXT_PAIR,
        column("golds", ColumnType::Texts, false, "The right labels: one of a classification, any number of a multi-label problem."),
    ],
};

/// Texts, or pairs of texts, with a number.
pub const SCORED_EXAMPLES: FrameSchema = FrameSchema {
    name: "scored examples",
    doc: "One row a text or pair of texts.",
    columns: &[EXAMPLE_ID, CLUSTER, TEXT, TEXT_PAIR, column("target", ColumnType::Real, true, "The right number; empty where nothing is known of the gold.")],
};

/// Questions with written answers to choose from.
pub const CHOICE_EXAMPLES: FrameSchema = FrameSchema {
    name: "choice examples",
    doc: "One row a question.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column("text", ColumnType::Text, false, "The question, with its context if it has one."),
        column("choices", ColumnType::Texts, false, "The answers to choose from; the first is called `A`."),
        column("golds", ColumnType::Texts, false, "The letter of the right answer."),
    ],
};

/// Questions about a context that holds the answer.
pub const QUESTION_EXAMPLES: FrameSchema = FrameSchema {
    name: "question examples",
    doc: "One row a question about one context.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column("question", ColumnType::Text, false, "The question."),
        column("context", ColumnType::Text, false, "The text that holds the answer."),
        column(
            "golds",
            ColumnType::Texts,
            false,
            "Every right answer, those that stand in the context first and as it has them; one empty text if the context does not answer it; empty where nothing is known of the gold.",
        ),
        column(
            "starts",
            ColumnType::Counts,
            false,
            "Where those of `golds` that stand in the context begin in it, in characters, in their order: so many of the first ones, and none for the empty text.",
        ),
    ],
};

/// Tags predicted for words.
pub const TAGGED_PREDICTIONS: FrameSchema = FrameSchema {
    name: "tagged predictions",
    doc: "One row a sentence, in the order of the examples. All lists of a row have one entry a word.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column("words", ColumnType::Texts, false, "The words."),
        column("golds", ColumnType::Texts, false, "Their right tags; empty where nothing is known of the gold."),
        column("predictions", ColumnType::Texts, false, "Their predicted tags."),
        column("scores", ColumnType::Reals, false, "Probability of each predicted tag."),
    ],
};

/// Labels predicted for texts, or letters for questions with choices.
pub const LABELLED_PREDICTIONS: FrameSchema = FrameSchema {
    name: "labelled predictions",
    doc: "One row a text, in the order of the examples.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column("labels", ColumnType::Texts, false, "All labels, in the order of the task; the same in every row but for choices, whose number may differ."),
        column("negative", ColumnType::Text, true, "The label that says that nothing is there, such as `0` or `false`, if the task declares one."),
        column("golds", ColumnType::Texts, false, "The right labels; empty of a classification where nothing is known of the gold."),
        column(
            "predictions",
            ColumnType::Texts,
            false,
            "The predicted labels: one of a classification, those with a probability above 0.5 of a multi-label problem.",
        ),
        column("scores", ColumnType::Reals, false, "Probability of each of `labels`; they sum to 1 for a classification."),
    ],
};

/// Numbers predicted for texts.
pub const SCORED_PREDICTIONS: FrameSchema = FrameSchema {
    name: "scored predictions",
    doc: "One row a text or pair of texts, in the order of the examples.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column("target", ColumnType::Real, true, "The right number; empty where nothing is known of the gold."),
        column("prediction", ColumnType::Real, false, "The predicted number."),
    ],
};

/// Answers predicted for questions.
pub const ANSWERED_PREDICTIONS: FrameSchema = FrameSchema {
    name: "answered predictions",
    doc: "One row a question, in the order of the examples. `predictions`, `scores`, `starts` and the logits have one entry an answer, best first.",
    columns: &[
        EXAMPLE_ID,
        CLUSTER,
        column(
            "golds",
            ColumnType::Texts,
            false,
            "Every right answer; one empty text if the context does not answer the question; empty where nothing is known of the gold.",
        ),
        column("predictions", ColumnType::Texts, false, "The answers, best first; an empty text says that the context holds none."),
        column("scores", ColumnType::Reals, false, "Their probabilities among the answers listed."),
        column("starts", ColumnType::Counts, false, "Where each begins in the context, in characters; 0 of an empty answer."),
        column("start_logits", ColumnType::Reals, false, "Logit of the first piece."),
        column("end_logits", ColumnType::Reals, false, "Logit of the last piece."),
    ],
};

/// What a metric computes.
pub const METRIC_ROWS: FrameSchema = FrameSchema { name: "metric rows", doc: "One row a number.", columns: METRIC_COLUMNS };

const METRIC_COLUMNS: &[Column] = &[
    column("metric", ColumnType::Text, false, "Name of the metric, `acc@10`."),
    column(
        "aggregate",
        ColumnType::Text,
        false,
        "`micro` over all examples, `macro` mean over relations or labels, `relation` one relation, `label` one label or entity type.",
    ),
    column("relation", ColumnType::Text, true, "The relation of a `relation` row, the label of a `label` row."),
    column("value", ColumnType::Real, false, "The number; proportions are fractions in [0, 1]."),
    column("ci_low", ColumnType::Real, false, "Lower end of the 95 % interval."),
    column("ci_high", ColumnType::Real, false, "Upper end of the 95 % interval."),
    column("ci_method", ColumnType::Text, false, "How the interval was made."),
    column("n", ColumnType::Count, false, "What the value is computed from: examples or entities (micro, relation, label), relations or labels (macro)."),
    column("unit", ColumnType::Text, false, "Unit of the value."),
    column("higher_is_better", ColumnType::Flag, false, "Direction."),
];

/// The result of a run.
pub const SCORES: FrameSchema = FrameSchema {
    name: "scores",
    doc: "One row a number.",
    columns: &[
        column("run", ColumnType::Text, false, "Name of the run."),
        column("job_id", ColumnType::Text, false, "The job that made the predictions: same id, same numbers."),
        column("encoder", ColumnType::Text, true, "Label of the encoder; empty for a baseline."),
        column("adapt", ColumnType::Text, true, "Label of the adaptation; empty for a baseline."),
        column(
            "training_size",
            ColumnType::Real,
            true,
            "Share of the training examples that was learned from, in percent; empty where nothing was learned from a task.",
        ),
        column("task", ColumnType::Text, false, "Label of the task."),
        column("prober", ColumnType::Text, false, "Label of the prober or baseline."),
        column("baseline", ColumnType::Flag, false, "Whether the row is a baseline that asks no model."),
        column("seed", ColumnType::Count, true, "The seed; empty if the numbers do not depend on one."),
        column("limit", ColumnType::Count, true, "Questions a relation that `--limit` allowed; empty for a full run."),
        METRIC_COLUMNS[0],
        METRIC_COLUMNS[1],
        METRIC_COLUMNS[2],
        METRIC_COLUMNS[3],
        METRIC_COLUMNS[4],
        METRIC_COLUMNS[5],
        METRIC_COLUMNS[6],
        METRIC_COLUMNS[7],
        METRIC_COLUMNS[8],
        METRIC_COLUMNS[9],
    ],
};

/// What a training job records. Times stand in the manifest, so that the same run gives the same bytes.
pub const TRAINING: FrameSchema = FrameSchema {
    name: "training",
    doc: "One row an optimiser step.",
    columns: &[
        column("step", ColumnType::Count, false, "Optimiser step, from 1."),
        column("loss", ColumnType::Real, false, "Mean loss of the step's batches, in nats."),
        column("learning_rate", ColumnType::Real, false, "Learning rate of the step."),
        column("grad_norm", ColumnType::Real, false, "Euclidean norm of all gradients before clipping."),
    ],
};

/// Scores on the examples that are held out for development, at the end of each epoch.
pub const EVALUATIONS: FrameSchema = FrameSchema {
    name: "evaluations",
    doc: "One row an evaluation during a training.",
    columns: &[
        column("step", ColumnType::Count, false, "Optimiser steps done."),
        column("epoch", ColumnType::Count, false, "Passes over the training examples; the last may be incomplete."),
        column("metric", ColumnType::Text, false, "Name of the metric."),
        column("value", ColumnType::Real, false, "The number."),
        column("kept", ColumnType::Flag, false, "Whether it was the best so far, so that these weights were kept."),
    ],
};

/// The examples that a training learned from.
pub const SUBSET: FrameSchema = FrameSchema {
    name: "subset",
    doc: "One row an example of the training or development split that the training used.",
    columns: &[EXAMPLE_ID, column("split", ColumnType::Text, false, "`train` or `dev`.")],
};
