//! Several labels an example: every (example, label) cell is a decision.
//!
//! "F1" of such data means different things in different papers. For the hallmarks of cancer LinkBERT reports the micro average over cells, BLUE the
//! example-based F1, others the mean over labels; each has its own name here.

use std::ops::AddAssign;

use serde::Serialize;

use crate::{Counts, Error, Result, Scores};

/// The hallmarks of cancer in the order of BLURB's `0_0,1_1,...` labels.
pub const HALLMARKS_OF_CANCER: [&str; 10] = [
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
];

/// Counts of cells by label, and sums over examples.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LabelCells {
    labels: Vec<String>,
    by_label: Vec<Counts>,
    /// Examples.
    pub n: u64,
    /// Examples without a gold label for which none was predicted: right, but precision and recall are 0/0 and so 0.
    pub n_empty: u64,
    /// Examples with exactly the gold labels.
    pub n_exact: u64,
    example_sums: Scores,
}

impl LabelCells {
    /// No examples yet.
    pub fn new<L: AsRef<str>>(labels: &[L]) -> Self {
        let labels: Vec<String> = labels.iter().map(|label| label.as_ref().to_owned()).collect();
        Self { by_label: vec![Counts::default(); labels.len()], labels, ..Self::default() }
    }

    /// Counts an example by one flag a label.
    ///
    /// # Errors
    ///
    /// If there are not as many flags as labels.
    pub fn add(&mut self, gold: &[bool], predicted: &[bool]) -> Result<()> {
        let n = self.labels.len();
        if gold.len() != n || predicted.len() != n {
            return Err(Error::Value(format!("{} gold and {} predicted flags of {n} labels", gold.len(), predicted.len())));
        }
        let mut example = Counts::default();
        for ((gold, predicted), label) in gold.iter().zip(predicted).zip(&mut self.by_label) {
            let cell = Counts { correct: u64::from(*gold && *predicted), found: u64::from(*predicted), gold: u64::from(*gold) };
            *label += cell;
            example += cell;
        }
        let Scores { precision, recall, f1 } = example.scores();
        self.example_sums.precision += precision;
        self.example_sums.recall += recall;
        self.example_sums.f1 += f1;
        self.n += 1;
        self.n_empty += u64::from(example.gold + example.found == 0);
        self.n_exact += u64::from(gold == predicted);
        Ok(())
    }

    /// Counts an example by the names of its labels.
    ///
    /// # Errors
    ///
    /// If a name is not in the list.
    pub fn add_names<G: AsRef<str>, P: AsRef<str>>(&mut self, gold: &[G], predicted: &[P]) -> Result<()> {
        let gold = self.flags(gold.iter().map(AsRef::as_ref))?;
        let predicted = self.flags(predicted.iter().map(AsRef::as_ref))?;
        self.add(&gold, &predicted)
    }

    /// Each label with the counts of its cells.
    pub fn classes(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.labels.iter().map(String::as_str).zip(self.by_label.iter().copied())
    }

    /// All cells together: the counts behind the micro-averaged scores (`hoc` of LinkBERT).
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.by_label.iter().for_each(|counts| total += *counts);
        total
    }

    /// The unweighted mean over all labels of the list.
    pub fn label_mean(&self) -> Scores {
        Scores::mean(self.by_label.iter().copied())
    }

    /// Precision and recall of each example averaged over examples, and the harmonic mean of these two averages: the example-based F1 of Zhang and Zhou (2014),
    /// <https://doi.org/10.1109/TKDE.2013.39>, as BLUE reports it.
    pub fn example_based(&self) -> Scores {
        let Scores { precision, recall, .. } = self.example_mean();
        let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        Scores { precision, recall, f1 }
    }

    /// Precision, recall and F1 of each example, averaged (`average="samples"` of scikit-learn).
    #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
    pub fn example_mean(&self) -> Scores {
        if self.n == 0 {
            return Scores::default();
        }
        let (Scores { precision, recall, f1 }, n) = (self.example_sums, self.n as f64);
        Scores { precision: precision / n, recall: recall / n, f1: f1 / n }
    }

    /// Examples with exactly the gold labels, of all.
    pub fn exact_match(&self) -> f64 {
        crate::counts::ratio(self.n_exact, self.n)
    }

    fn flags<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<bool>> {
        let mut flags = vec![false; self.labels.len()];
        for name in names {
            let place = self.labels.iter().position(|label| label == name);
            let place = place.ok_or_else(|| Error::UnknownLabel { label: name.to_owned(), known: self.labels.clone() })?;
            flags[place] = true;
        }
        Ok(flags)
    }
}

impl AddAssign<&Self> for LabelCells {
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
        self.by_label.iter_mut().zip(&other.by_label).for_each(|(label, more)| *label += *more);
        self.n += other.n;
        self.n_empty += other.n_empty;
        self.n_exact += other.n_exact;
        self.example_sums.precision += other.example_sums.precision;
        self.example_sums.recall += other.example_sums.recall;
        self.example_sums.f1 += other.example_sums.f1;
    }
}

impl AddAssign for LabelCells {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> LabelCells {
        let mut cells = LabelCells::new(&["a", "b", "c"]);
        cells.add_names(&["a", "b"], &["a"]).unwrap(); // P 1, R 1/2, F 2/3
        cells.add_names(&["c"], &["b", "c"]).unwrap(); // P 1/2, R 1, F 2/3
        cells.add_names(&["a"], &["b"]).unwrap(); // 0
        cells.add_names(&[] as &[&str], &[] as &[&str]).unwrap(); // 0/0
        cells
    }

    #[test]
    fn the_averages_differ_and_each_has_its_name() {
        let cells = cells();
        // Cells: 2 right of 4 predicted and 4 gold.
        assert_eq!(cells.total(), Counts { correct: 2, found: 4, gold: 4 });
        // a: 1/1, 1/2, F 2/3; b: 0/2, 0/1; c: 1/1, 1/1.
        assert!((cells.label_mean().f1 - 5.0 / 9.0).abs() < 1e-15);
        assert_eq!(cells.example_based(), Scores { precision: 0.375, recall: 0.375, f1: 0.375 });
        assert!((cells.example_mean().f1 - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!((cells.n, cells.n_empty, cells.n_exact, cells.exact_match()), (4, 1, 1, 0.25));
    }

    #[test]
    fn flags_and_names_count_alike() {
        let mut flags = LabelCells::new(&["a", "b", "c"]);
        for (gold, predicted) in [([true, true, false], [true, false, false]), ([false, false, true], [false, true, true])] {
            flags.add(&gold, &predicted).unwrap();
        }
        flags.add(&[true, false, false], &[false, true, false]).unwrap();
        flags.add(&[false; 3], &[false; 3]).unwrap();
        assert_eq!(flags, cells());
        assert_eq!(flags.add(&[true], &[true; 3]).unwrap_err().to_string(), "1 gold and 3 predicted flags of 3 labels");
        assert_eq!(flags.add_names(&["d"], &["a"]).unwrap_err().to_string(), "unknown label `d`; the labels are `a`, `b`, `c`");
    }

    #[test]
    fn counts_add_up() {
        let mut sum = LabelCells::default();
        assert_eq!((sum.example_based(), sum.exact_match()), (Scores::default(), 0.0));
        sum += &cells();
        sum += cells();
        assert_eq!((sum.n, sum.total(), sum.example_based()), (8, Counts { correct: 4, found: 8, gold: 8 }, cells().example_based()));
        assert_eq!(sum.classes().next(), Some(("a", Counts { correct: 2, found: 2, gold: 4 })));
    }

    #[test]
    fn there_are_ten_hallmarks_in_order() {
        let mut sorted = HALLMARKS_OF_CANCER;
        sorted.sort_unstable();
        assert_eq!(sorted, HALLMARKS_OF_CANCER);
    }
}
