//! Correct, found and gold: what precision, recall and F1 are made of.

use std::ops::AddAssign;

use serde::Serialize;

/// How many things are gold, how many were found, and how many of these are correct.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Found and gold.
    pub correct: u64,
    /// Predicted.
    pub found: u64,
    /// There to be found.
    pub gold: u64,
}

impl Counts {
    /// Correct of those found; 0 if none was found.
    pub fn precision(self) -> f64 {
        ratio(self.correct, self.found)
    }

    /// Correct of those there; 0 if there is none.
    pub fn recall(self) -> f64 {
        ratio(self.correct, self.gold)
    }

    /// The harmonic mean of precision and recall; 0 if nothing is there and nothing was found.
    pub fn f1(self) -> f64 {
        ratio(2 * self.correct, self.found + self.gold)
    }

    /// All three.
    pub fn scores(self) -> Scores {
        Scores { precision: self.precision(), recall: self.recall(), f1: self.f1() }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.correct += other.correct;
        self.found += other.found;
        self.gold += other.gold;
    }
}

/// Precision, recall and F1, fractions in [0, 1].
///
/// Of a mean over classes `f1` is the mean of their F1, not the harmonic mean of the two other numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Correct of those found.
    pub precision: f64,
    /// Correct of those there.
    pub recall: f64,
    /// Their harmonic mean, or a mean of such.
    pub f1: f64,
}

impl Scores {
    /// The unweighted mean of the scores of classes, each of the three for itself; 0 without classes.
    pub fn mean(classes: impl IntoIterator<Item = Counts>) -> Self {
        Self::weighted(classes.into_iter().map(|counts| (counts, 1.0)))
    }

    /// The mean of the scores of classes by weight; 0 if all weights are.
    pub fn weighted(classes: impl IntoIterator<Item = (Counts, f64)>) -> Self {
        let (mut sum, mut total) = (Self::default(), 0.0);
        for (counts, weight) in classes {
            sum.precision += weight * counts.precision();
            sum.recall += weight * counts.recall();
            sum.f1 += weight * counts.f1();
            total += weight;
        }
        if total == 0.0 {
            return Self::default();
        }
        Self { precision: sum.precision / total, recall: sum.recall / total, f1: sum.f1 / total }
    }
}

/// A part of a whole; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_is_the_harmonic_mean() {
        let counts = Counts { correct: 1, found: 2, gold: 4 };
        assert_eq!((counts.precision(), counts.recall()), (0.5, 0.25));
        // 2 * 1/2 * 1/4 / (3/4)
        assert_eq!(counts.f1(), 1.0 / 3.0);
    }

    #[test]
    fn nothing_of_nothing_is_zero() {
        assert_eq!(Counts::default().scores(), Scores::default());
        assert_eq!(Scores::mean([]), Scores::default());
    }

    #[test]
    fn a_mean_of_f1_is_not_the_f1_of_the_means() {
        let classes = [Counts { correct: 1, found: 1, gold: 4 }, Counts { correct: 1, found: 4, gold: 1 }];
        let mean = Scores::mean(classes);
        assert_eq!((mean.precision, mean.recall, mean.f1), (0.625, 0.625, 0.4));
    }

    #[test]
    fn weights_shift_the_mean() {
        let classes = [(Counts { correct: 1, found: 1, gold: 1 }, 3.0), (Counts { correct: 0, found: 1, gold: 1 }, 1.0)];
        assert_eq!(Scores::weighted(classes).recall, 0.75);
    }
}
