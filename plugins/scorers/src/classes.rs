//! One label an example: who was taken for whom, and what follows from it.

use std::ops::AddAssign;

use serde::Serialize;

use crate::counts::ratio;
use crate::{Counts, Error, Result, Scores};

/// Relations of ChemProt in the order of BioBERT; `false` is no relation.
pub const CHEMPROT: [&str; 6] = ["cpr:3", "cpr:4", "cpr:5", "cpr:6", "cpr:9", "false"];
/// Relations of ChemProt in the order of BLURB as LinkBERT writes it; `0` is no relation.
pub const CHEMPROT_BLURB: [&str; 6] = ["0", "CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9"];
/// Relations of DDI in the order of BLURB as LinkBERT writes it; `0` is no relation.
pub const DDI: [&str; 5] = ["0", "DDI-advise", "DDI-effect", "DDI-int", "DDI-mechanism"];
/// GAD and EU-ADR: whether the two mentions are related.
pub const RELATED: [&str; 2] = ["0", "1"];
/// Answers of PubMedQA.
pub const PUBMEDQA: [&str; 3] = ["maybe", "no", "yes"];
/// Answers of BioASQ's yes/no questions.
pub const YES_NO: [&str; 2] = ["no", "yes"];

/// Counts of examples by gold and predicted label, over a fixed list of labels.
///
/// The list is fixed so that no score depends on which labels a test file or a sample of it happens to hold: a label that occurs nowhere has precision, recall
/// and F1 0 and takes part in the means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    labels: Vec<String>,
    /// Row by row: (gold, predicted).
    cells: Vec<u64>,
}

impl Confusion {
    /// No examples yet.
    pub fn new<L: AsRef<str>>(labels: &[L]) -> Self {
        Self { labels: labels.iter().map(|label| label.as_ref().to_owned()).collect(), cells: vec![0; labels.len() * labels.len()] }
    }

    /// Counts examples.
    ///
    /// # Errors
    ///
    /// If gold and prediction differ in length, or a label is not in the list.
    pub fn of<L: AsRef<str>, G: AsRef<str>, P: AsRef<str>>(labels: &[L], gold: &[G], predicted: &[P]) -> Result<Self> {
        if gold.len() != predicted.len() {
            return Err(Error::Lengths { what: "labels", gold: gold.len(), predicted: predicted.len() });
        }
        let mut confusion = Self::new(labels);
        for (gold, predicted) in gold.iter().zip(predicted) {
            confusion.add(gold.as_ref(), predicted.as_ref())?;
        }
        Ok(confusion)
    }

    /// Counts one example.
    ///
    /// # Errors
    ///
    /// If a label is not in the list.
    pub fn add(&mut self, gold: &str, predicted: &str) -> Result<()> {
        let (gold, predicted) = (self.index(gold)?, self.index(predicted)?);
        self.add_indices(gold, predicted);
        Ok(())
    }

    /// Counts one example by the places of its labels in the list.
    ///
    /// # Panics
    ///
    /// If a place is not in the list.
    pub fn add_indices(&mut self, gold: usize, predicted: usize) {
        let n = self.labels.len();
        assert!(gold < n && predicted < n, "labels {gold} and {predicted} of {n}");
        self.cells[gold * n + predicted] += 1;
    }

    /// The place of a label in the list.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn index(&self, label: &str) -> Result<usize> {
        let place = self.labels.iter().position(|known| known == label);
        place.ok_or_else(|| Error::UnknownLabel { label: label.to_owned(), known: self.labels.clone() })
    }

    /// The labels.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Examples of this gold label that were given this predicted label, by their places in the list.
    pub fn cell(&self, gold: usize, predicted: usize) -> u64 {
        self.cells[gold * self.labels.len() + predicted]
    }

    /// All examples.
    pub fn n(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Correct of all examples; 0 of none.
    pub fn accuracy(&self) -> f64 {
        let correct = (0..self.labels.len()).map(|label| self.cell(label, label)).sum();
        ratio(correct, self.n())
    }

    /// Correct, found and gold of a label, by its place in the list.
    pub fn class(&self, label: usize) -> Counts {
        let others = 0..self.labels.len();
        Counts {
            correct: self.cell(label, label),
            found: others.clone().map(|gold| self.cell(gold, label)).sum(),
            gold: others.map(|predicted| self.cell(label, predicted)).sum(),
        }
    }

    /// Each label with its counts.
    pub fn classes(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.labels.iter().enumerate().map(|(index, label)| (label.as_str(), self.class(index)))
    }

    /// The unweighted mean of precision, recall and F1 over these labels.
    pub fn macro_over(&self, labels: &[usize]) -> Scores {
        Scores::mean(labels.iter().map(|label| self.class(*label)))
    }

    /// The unweighted mean over all labels.
    pub fn macro_mean(&self) -> Scores {
        Scores::mean((0..self.labels.len()).map(|label| self.class(label)))
    }

    /// The mean over these labels by how many gold examples they have.
    #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
    pub fn weighted_over(&self, labels: &[usize]) -> Scores {
        Scores::weighted(labels.iter().map(|label| self.class(*label)).map(|counts| (counts, counts.gold as f64)))
    }

    /// Correct, found and gold summed over these labels: the counts behind micro-averaged scores.
    pub fn micro_over(&self, labels: &[usize]) -> Counts {
        let mut total = Counts::default();
        for label in labels {
            total += self.class(*label);
        }
        total
    }

    /// The same over all labels but the one that means that there is nothing: `PRF1` of LinkBERT, and the score of ChemProt and DDI.
    ///
    /// # Errors
    ///
    /// If the label is not in the list.
    pub fn micro_without(&self, negative: &str) -> Result<Counts> {
        let negative = self.index(negative)?;
        let others: Vec<usize> = (0..self.labels.len()).filter(|label| *label != negative).collect();
        Ok(self.micro_over(&others))
    }

    /// Of the examples whose gold is another label, those that were not given this one: TN / (TN + FP); 0 if there are none.
    pub fn specificity(&self, positive: usize) -> f64 {
        let class = self.class(positive);
        let negatives = self.n() - class.gold;
        let false_positives = class.found - class.correct;
        ratio(negatives - false_positives, negatives)
    }
}

impl AddAssign<&Self> for Confusion {
    /// # Panics
    ///
    /// If both have labels and these differ.
    fn add_assign(&mut self, other: &Self) {
        if self.labels.is_empty() {
            self.clone_from(other);
            return;
        }
        if other.labels.is_empty() {
            return;
        }
        assert_eq!(self.labels, other.labels, "counts over different labels");
        self.cells.iter_mut().zip(&other.cells).for_each(|(cell, more)| *cell += more);
    }
}

impl AddAssign for Confusion {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes, gold by row:
    ///
    /// ```text
    ///        maybe no yes
    /// maybe    1    1   0
    /// no       0    2   0
    /// yes      1    1   4
    /// ```
    fn answers() -> Confusion {
        let mut confusion = Confusion::new(&PUBMEDQA);
        for (gold, predicted, n) in [(0, 0, 1), (0, 1, 1), (1, 1, 2), (2, 0, 1), (2, 1, 1), (2, 2, 4)] {
            (0..n).for_each(|_| confusion.add_indices(gold, predicted));
        }
        confusion
    }

    #[test]
    fn classes_are_counted_by_hand() {
        let confusion = answers();
        assert_eq!((confusion.n(), confusion.accuracy()), (10, 0.7));
        assert_eq!(confusion.class(0), Counts { correct: 1, found: 2, gold: 2 });
        assert_eq!(confusion.class(1), Counts { correct: 2, found: 4, gold: 2 });
        assert_eq!(confusion.class(2), Counts { correct: 4, found: 4, gold: 6 });
        // F1: 1/2, 2/3, 4/5.
        assert!((confusion.macro_mean().f1 - (0.5 + 2.0 / 3.0 + 0.8) / 3.0).abs() < 1e-15);
        // Recall by gold counts: (2 * 1/2 + 2 * 1 + 6 * 2/3) / 10, which is the accuracy.
        assert!((confusion.weighted_over(&[0, 1, 2]).recall - 0.7).abs() < 1e-15);
        assert_eq!(confusion.micro_over(&[0, 1, 2]).f1(), 0.7, "over all labels micro F1 is the accuracy");
        assert_eq!(confusion.micro_without("maybe").unwrap(), Counts { correct: 6, found: 8, gold: 8 });
        // 4 of the 4 that are not yes.
        assert_eq!(confusion.specificity(2), 1.0);
        // 8 are not maybe, one of them was taken for it.
        assert_eq!(confusion.specificity(0), 0.875);
    }

    #[test]
    fn relations_are_scored_without_the_negative_class() {
        let gold = ["0", "0", "DDI-int", "DDI-int", "DDI-effect"];
        let predicted = ["0", "DDI-int", "DDI-int", "0", "DDI-int"];
        let counts = Confusion::of(&DDI, &gold, &predicted).unwrap().micro_without("0").unwrap();
        // Of 3 predicted relations 1 is right, and 1 of 3 is found.
        assert_eq!(counts, Counts { correct: 1, found: 3, gold: 3 });
    }

    #[test]
    fn an_unknown_label_is_refused_with_the_list() {
        let error = Confusion::of(&RELATED, &["1"], &["true"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown label `true`; the labels are `0`, `1`");
        let error = Confusion::of(&RELATED, &["1"], &["1", "0"]).unwrap_err();
        assert_eq!(error.to_string(), "1 gold labels against 2 predicted; each needs its counterpart");
        assert!(Confusion::new(&RELATED).micro_without("false").is_err());
    }

    #[test]
    fn a_label_that_never_occurs_takes_part_in_the_mean() {
        let confusion = Confusion::of(&PUBMEDQA, &["yes", "no"], &["yes", "no"]).unwrap();
        assert_eq!(confusion.macro_mean().f1, 2.0 / 3.0);
        assert_eq!(confusion.macro_over(&[1, 2]).f1, 1.0);
        assert_eq!(Confusion::new(&YES_NO).accuracy(), 0.0);
    }

    #[test]
    fn counts_add_up_from_nothing() {
        let mut sum = Confusion::default();
        sum += &answers();
        sum += answers();
        sum += Confusion::default();
        assert_eq!((sum.n(), sum.cell(2, 2), sum.labels()), (20, 8, answers().labels()));
        assert_eq!(sum.classes().map(|(label, counts)| (label, counts.gold)).collect::<Vec<_>>(), [("maybe", 4), ("no", 4), ("yes", 12)]);
    }

    #[test]
    #[should_panic(expected = "counts over different labels")]
    fn counts_over_different_labels_do_not_add() {
        let mut sum = Confusion::new(&YES_NO);
        sum += Confusion::new(&RELATED);
    }
}
