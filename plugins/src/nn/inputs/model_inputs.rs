//! A table of labelled examples as model inputs.

use lmprobe_core::{Encoder, Error, Problem, Result, TokenBatch, table};
use polars::prelude::DataFrame;

use super::choices::Choices;
use super::questions::Questions;
use super::sentences::Sentences;
use super::settings::InputSettings;
use super::texts::{Text, Texts};

/// The examples of a table as sequences, by what they are.
#[derive(Debug, Clone)]
pub(crate) enum ModelInputs {
    /// Words, each with a tag.
    Sentences(Sentences),
    /// Texts or pairs of texts.
    Texts(Texts),
    /// Questions with answers to choose from.
    Choices(Choices),
    /// Questions about contexts.
    Questions(Questions),
}

impl ModelInputs {
    /// Makes sequences of the examples. `split` names them in notes, `training`.
    ///
    /// # Errors
    /// If the tokenizer fails, the length leaves no room, or the problem has no labels.
    pub(crate) fn of(frame: &DataFrame, problem: Problem, encoder: &dyn Encoder, settings: &InputSettings, split: &str) -> Result<Self> {
        let ids = table::texts(frame, "example_id")?;
        Ok(match problem {
            Problem::TokenClassification => {
                Self::Sentences(Sentences::of(&table::text_lists(frame, "words")?, encoder, settings, &format!("{split} sentences"))?)
            }
            Problem::SequenceClassification | Problem::MultiLabel | Problem::Regression => {
                let texts: Vec<Text<'_>> = table::texts(frame, "text")?.into_iter().zip(table::optional_texts(frame, "text_pair")?).collect();
                Self::Texts(Texts::of(&texts, &ids, encoder, settings, &format!("{split} texts"))?)
            }
            Problem::MultipleChoice => {
                let (questions, choices) = (table::texts(frame, "text")?, table::text_lists(frame, "choices")?);
                Self::Choices(Choices::of(&questions, &choices, &ids, encoder, settings, &format!("{split} questions"))?)
            }
            Problem::ExtractiveQa => {
                let (questions, contexts) = (table::texts(frame, "question")?, table::texts(frame, "context")?);
                Self::Questions(Questions::of(&questions, &contexts, encoder, settings, &format!("{split} questions"))?)
            }
            Problem::Cloze => return Err(Error::Unsupported("a cloze task has no labels to learn".into())),
        })
    }

    /// All sequences.
    pub(crate) fn tokens(&self) -> &TokenBatch {
        match self {
            Self::Sentences(sentences) => &sentences.tokens,
            Self::Texts(texts) => &texts.tokens,
            Self::Choices(choices) => &choices.texts.tokens,
            Self::Questions(questions) => &questions.tokens,
        }
    }

    /// What was split or cut.
    pub(crate) fn notes(&self) -> &[String] {
        match self {
            Self::Sentences(sentences) => &sentences.notes,
            Self::Texts(texts) => &texts.notes,
            Self::Choices(choices) => &choices.texts.notes,
            Self::Questions(questions) => &questions.notes,
        }
    }
}
