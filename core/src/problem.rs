//! Problems: what kind of answer a task asks for, which decides the shape of its tables.

use serde::{Deserialize, Serialize};

use crate::{FrameSchema, table};

/// What kind of answer a task asks for. Tasks have one; probers and metrics say which they can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The right completions of a sentence, among candidates.
    Cloze,
    /// A label for each word: named entities, PICO elements.
    TokenClassification,
    /// One label for a text or a pair of texts: relations, entailment, yes-no questions.
    SequenceClassification,
    /// Any number of labels for a text.
    MultiLabel,
    /// A number for a text or a pair of texts: similarity.
    Regression,
    /// One of a few written answers.
    MultipleChoice,
    /// A span of a context that answers a question.
    ExtractiveQa,
}

impl Problem {
    /// All problems.
    pub const ALL: [Self; 7] =
        [Self::Cloze, Self::TokenClassification, Self::SequenceClassification, Self::MultiLabel, Self::Regression, Self::MultipleChoice, Self::ExtractiveQa];

    /// The problems whose examples carry gold labels to learn from: all but the cloze.
    pub const LABELLED: [Self; 6] =
        [Self::TokenClassification, Self::SequenceClassification, Self::MultiLabel, Self::Regression, Self::MultipleChoice, Self::ExtractiveQa];

    /// The word in messages and tables, `token-classification`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cloze => "cloze",
            Self::TokenClassification => "token-classification",
            Self::SequenceClassification => "sequence-classification",
            Self::MultiLabel => "multi-label",
            Self::Regression => "regression",
            Self::MultipleChoice => "multiple-choice",
            Self::ExtractiveQa => "extractive-qa",
        }
    }

    /// The table of examples.
    pub fn examples_schema(self) -> &'static FrameSchema {
        match self {
            Self::Cloze => &table::EXAMPLES,
            Self::TokenClassification => &table::TAGGED_EXAMPLES,
            Self::SequenceClassification | Self::MultiLabel => &table::LABELLED_EXAMPLES,
            Self::Regression => &table::SCORED_EXAMPLES,
            Self::MultipleChoice => &table::CHOICE_EXAMPLES,
            Self::ExtractiveQa => &table::QUESTION_EXAMPLES,
        }
    }

    /// The table of predictions.
    pub fn predictions_schema(self) -> &'static FrameSchema {
        match self {
            Self::Cloze => &table::PREDICTIONS,
            Self::TokenClassification => &table::TAGGED_PREDICTIONS,
            Self::SequenceClassification | Self::MultiLabel | Self::MultipleChoice => &table::LABELLED_PREDICTIONS,
            Self::Regression => &table::SCORED_PREDICTIONS,
            Self::ExtractiveQa => &table::ANSWERED_PREDICTIONS,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.word())
    }
}
