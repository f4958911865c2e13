//! Tokens one by one: the score that BioBERT logs, and word-level scores by type.
//!
//! Neither is a score of entities: the first counts padding and word pieces, and `O` outnumbers everything. They are here to be compared with published ones.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use crate::classes::Confusion;
use crate::{Counts, Error, Result, Scores};

/// The labels of BioBERT's `run_ner.py` in the order of their ids; padding has 0.
pub const BIOBERT_LABELS: [&str; 7] = ["[PAD]", "B", "I", "O", "X", "[CLS]", "[SEP]"];

/// The labels that BioBERT's token-level evaluation is about.
const POSITIVE: [usize; 2] = [1, 2];

/// BioBERT's token-level evaluation: all positions of all sequences, padding included, over [`BIOBERT_LABELS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BioBertTokens {
    /// Positions by gold and predicted label.
    pub confusion: Confusion,
}

impl Default for BioBertTokens {
    fn default() -> Self {
        Self { confusion: Confusion::new(&BIOBERT_LABELS) }
    }
}

impl BioBertTokens {
    /// Counts the positions of a padded sequence by the ids of their labels.
    ///
    /// # Errors
    ///
    /// If gold and prediction differ in length, or an id is above 6.
    pub fn add(&mut self, gold: &[usize], predicted: &[usize]) -> Result<()> {
        if gold.len() != predicted.len() {
            return Err(Error::Lengths { what: "positions", gold: gold.len(), predicted: predicted.len() });
        }
        if let Some(unknown) = gold.iter().chain(predicted).find(|id| **id >= BIOBERT_LABELS.len()) {
            return Err(Error::UnknownLabel { label: unknown.to_string(), known: self.confusion.labels().to_vec() });
        }
        for (gold, predicted) in gold.iter().zip(predicted) {
            self.confusion.add_indices(*gold, *predicted);
        }
        Ok(())
    }

    /// Counts the positions of a sequence by the names of their labels.
    ///
    /// # Errors
    ///
    /// If gold and prediction differ in length, or a name is none of [`BIOBERT_LABELS`].
    pub fn add_names<G: AsRef<str>, P: AsRef<str>>(&mut self, gold: &[G], predicted: &[P]) -> Result<()> {
        let gold = gold.iter().map(|label| self.confusion.index(label.as_ref())).collect::<Result<Vec<_>>>()?;
        let predicted = predicted.iter().map(|label| self.confusion.index(label.as_ref())).collect::<Result<Vec<_>>>()?;
        self.add(&gold, &predicted)
    }

    /// The counts of `B` and of `I`, all that the three scores are made of.
    pub fn begin_and_inside(&self) -> [Counts; 2] {
        POSITIVE.map(|label| self.confusion.class(label))
    }

    /// `eval_precision`, `eval_recall` and `eval_f` of the original: the means over `B` and `I`, each of the three for itself.
    pub fn macro_mean(&self) -> Scores {
        self.confusion.macro_over(&POSITIVE)
    }

    /// Summed over `B` and `I`.
    pub fn micro(&self) -> Scores {
        self.confusion.micro_over(&POSITIVE).scores()
    }

    /// The mean over `B` and `I` by how often each is gold.
    pub fn weighted(&self) -> Scores {
        self.confusion.weighted_over(&POSITIVE)
    }
}

impl AddAssign<&Self> for BioBertTokens {
    fn add_assign(&mut self, other: &Self) {
        self.confusion += &other.confusion;
    }
}

impl AddAssign for BioBertTokens {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

/// Whether tokens outside all entities take part as a class of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// `O` is a class like the others; micro-averaged scores are then the accuracy.
    Counted,
    /// Only types are classes.
    LeftOut,
}

/// Tokens by type, whatever the letter in front of it: `B-PAR` and `I-PAR` are both `PAR`.
///
/// Without `O` this is the word-level score of EBM-PICO, where every token is an entity of its own; with five types and `O` the six-class token score.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TypedTokens {
    /// By type, those that were only predicted included; untyped tags have the empty type.
    pub by_kind: BTreeMap<String, Counts>,
    /// Tokens outside.
    pub outside: Counts,
}

impl TypedTokens {
    /// Counts the tokens of a sentence.
    ///
    /// # Errors
    ///
    /// If gold and prediction differ in length.
    pub fn of<G: AsRef<str>, P: AsRef<str>>(gold: &[G], predicted: &[P]) -> Result<Self> {
        if gold.len() != predicted.len() {
            return Err(Error::Lengths { what: "tags", gold: gold.len(), predicted: predicted.len() });
        }
        let mut counts = Self::default();
        for (gold, predicted) in gold.iter().map(AsRef::as_ref).zip(predicted.iter().map(AsRef::as_ref)) {
            let correct = kind(gold) == kind(predicted);
            *counts.class(gold) += Counts { correct: u64::from(correct), found: 0, gold: 1 };
            counts.class(predicted).found += 1;
        }
        Ok(counts)
    }

    /// All classes together.
    pub fn micro(&self, outside: Outside) -> Counts {
        let mut total = Counts::default();
        self.classes(outside).for_each(|counts| total += counts);
        total
    }

    /// The unweighted mean over the classes that occur in gold or prediction.
    pub fn macro_mean(&self, outside: Outside) -> Scores {
        Scores::mean(self.classes(outside).filter(|counts| counts.gold + counts.found > 0))
    }

    /// Tokens of the right class, `O` included; 0 without tokens.
    pub fn accuracy(&self) -> f64 {
        self.micro(Outside::Counted).recall()
    }

    fn classes(&self, outside: Outside) -> impl Iterator<Item = Counts> {
        self.by_kind.values().copied().chain((outside == Outside::Counted).then_some(self.outside))
    }

    fn class(&mut self, tag: &str) -> &mut Counts {
        match kind(tag) {
            Some(kind) => self.by_kind.entry(kind.to_owned()).or_default(),
            None => &mut self.outside,
        }
    }
}

impl AddAssign<&Self> for TypedTokens {
    fn add_assign(&mut self, other: &Self) {
        for (kind, counts) in &other.by_kind {
            *self.by_kind.entry(kind.clone()).or_default() += *counts;
        }
        self.outside += other.outside;
    }
}

impl AddAssign for TypedTokens {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

/// The type of a tag: what follows its first hyphen; none outside.
fn kind(tag: &str) -> Option<&str> {
    (tag != "O").then(|| tag.split_once('-').map_or("", |(_, kind)| kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biobert_counts_every_position() {
        let mut tokens = BioBertTokens::default();
        //                [CLS] B  I  X  O [SEP] pad
        tokens.add(&[5, 1, 2, 4, 3, 6, 0], &[5, 1, 1, 4, 2, 6, 0]).unwrap();
        assert_eq!(tokens.confusion.n(), 7);
        // B: 1 of 2 found, 1 of 1 there, F 2/3; I: 0 of 1, 0 of 1.
        assert_eq!(tokens.macro_mean(), Scores { precision: 0.25, recall: 0.5, f1: 1.0 / 3.0 });
        // 1 of 3 found, 1 of 2 there.
        assert_eq!(tokens.micro(), Scores { precision: 1.0 / 3.0, recall: 0.5, f1: 0.4 });
        // Both are gold once.
        assert_eq!(tokens.weighted(), tokens.macro_mean());
    }

    #[test]
    fn names_stand_for_ids() {
        let (mut by_name, mut by_id) = (BioBertTokens::default(), BioBertTokens::default());
        by_name.add_names(&["[CLS]", "B", "X", "I", "[SEP]"], &["[CLS]", "B", "B", "O", "[SEP]"]).unwrap();
        by_id.add(&[5, 1, 4, 2, 6], &[5, 1, 1, 3, 6]).unwrap();
        assert_eq!(by_name, by_id);
        assert_eq!(by_name.begin_and_inside(), [Counts { correct: 1, found: 2, gold: 1 }, Counts { correct: 0, found: 0, gold: 1 }]);
        let error = by_name.add_names(&["B-X"], &["B"]).unwrap_err().to_string();
        assert_eq!(error, "unknown label `B-X`; the labels are `[PAD]`, `B`, `I`, `O`, `X`, `[CLS]`, `[SEP]`");
    }

    #[test]
    fn padding_predicted_as_an_entity_lowers_precision() {
        let mut tokens = BioBertTokens::default();
        tokens.add(&[1, 2, 0, 0], &[1, 2, 1, 0]).unwrap();
        assert_eq!(tokens.macro_mean().precision, 0.75, "no mask is applied");
    }

    #[test]
    fn ids_beyond_the_list_are_refused() {
        let mut tokens = BioBertTokens::default();
        let error = tokens.add(&[1], &[7]).unwrap_err().to_string();
        assert_eq!(error, "unknown label `7`; the labels are `[PAD]`, `B`, `I`, `O`, `X`, `[CLS]`, `[SEP]`");
        let error = tokens.add(&[1], &[]).unwrap_err().to_string();
        assert_eq!(error, "1 gold positions against 0 predicted; each needs its counterpart");
        let mut sum = BioBertTokens::default();
        sum += tokens.clone();
        assert_eq!(sum, tokens);
    }

    #[test]
    fn tokens_count_by_type() {
        let gold = ["I-PAR", "I-PAR", "I-INT", "O", "O"];
        let predicted = ["B-PAR", "I-INT", "I-INT", "O", "I-OUT"];
        let counts = TypedTokens::of(&gold, &predicted).unwrap();
        assert_eq!(counts.by_kind["PAR"], Counts { correct: 1, found: 1, gold: 2 });
        assert_eq!(counts.by_kind["INT"], Counts { correct: 1, found: 2, gold: 1 });
        assert_eq!(counts.by_kind["OUT"], Counts { correct: 0, found: 1, gold: 0 });
        assert_eq!(counts.outside, Counts { correct: 1, found: 1, gold: 2 });
        // F1: PAR 2/3, INT 2/3, OUT 0, O 2/3.
        assert!((counts.macro_mean(Outside::LeftOut).f1 - 4.0 / 9.0).abs() < 1e-15);
        assert!((counts.macro_mean(Outside::Counted).f1 - 0.5).abs() < 1e-15);
        assert_eq!(counts.micro(Outside::LeftOut), Counts { correct: 2, found: 4, gold: 3 });
        assert_eq!((counts.micro(Outside::Counted).f1(), counts.accuracy()), (0.6, 0.6));
    }

    #[test]
    fn without_a_token_outside_there_is_no_such_class() {
        let counts = TypedTokens::of(&["B"], &["I"]).unwrap();
        assert_eq!(counts.macro_mean(Outside::Counted).f1, 1.0);
        assert!(TypedTokens::of(&["B"], &[] as &[&str]).is_err());
    }

    #[test]
    fn typed_tokens_add_up() {
        let mut sum = TypedTokens::of(&["B-X"], &["O"]).unwrap();
        sum += TypedTokens::of(&["O", "B-Y"], &["O", "B-Y"]).unwrap();
        assert_eq!(sum, TypedTokens::of(&["B-X", "O", "B-Y"], &["O", "O", "B-Y"]).unwrap());
    }
}
