//! Questions with written answers: one sequence, or its windows, an answer.

use std::ops::Range;

use lmprobe_core::{Encoder, Result};

use super::settings::InputSettings;
use super::texts::{Text, Texts};

/// Questions with their answers as sequences.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    /// The pairs of a question and an answer.
    pub(crate) texts: Texts,
    /// The pairs of each question among all pairs.
    pub(crate) options: Vec<Range<usize>>,
}

impl Choices {
    /// Makes sequences of questions and answers. `ids` name them in errors, `what` names them all in notes.
    ///
    /// # Errors
    /// As [`Texts::of`].
    pub(crate) fn of(questions: &[&str], choices: &[Vec<String>], ids: &[&str], encoder: &dyn Encoder, settings: &InputSettings, what: &str) -> Result<Self> {
        // A blank before the answer, as LinkBERT's programs have it: byte-level vocabularies write words behind one.
        let spaced: Vec<Vec<String>> = choices.iter().map(|choices| choices.iter().map(|choice| format!(" {choice}")).collect()).collect();
        let (mut pairs, mut pair_ids, mut options): (Vec<Text<'_>>, Vec<&str>, Vec<Range<usize>>) = (Vec::new(), Vec::new(), Vec::new());
        for ((question, choices), id) in questions.iter().zip(&spaced).zip(ids) {
            let begin = pairs.len();
            pairs.extend(choices.iter().map(|choice| (*question, Some(choice.as_str()))));
            pair_ids.extend(std::iter::repeat_n(*id, choices.len()));
            options.push(begin..pairs.len());
        }
        let texts = Texts::of(&pairs, &pair_ids, encoder, settings, &format!("choices of {what}"))?;
        Ok(Self { texts, options })
    }
}
