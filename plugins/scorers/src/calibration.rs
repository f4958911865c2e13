//! Whether a model is right as often as it says.

use std::ops::AddAssign;

use serde::Serialize;

use crate::{Error, Result};

/// Bins of [`Calibration`].
pub const N_BINS: usize = 15;

/// Predictions whose confidence lies in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// How many there are.
    pub n: u64,
    /// How many of them are right.
    pub correct: u64,
    /// The sum of their confidences.
    pub confidence: f64,
}

/// Predictions in [`N_BINS`] equal intervals of the probability of the predicted label: (0, 1/15], (1/15, 2/15], ...
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// From low to high confidence.
    pub bins: [Bin; N_BINS],
}

impl Calibration {
    /// Counts a prediction: the probability it was given, and whether it is right.
    ///
    /// # Errors
    ///
    /// If the probability is not in [0, 1].
    pub fn add(&mut self, confidence: f64, correct: bool) -> Result<()> {
        if !(0.0..=1.0).contains(&confidence) {
            return Err(Error::Value(format!("confidence {confidence} is not in [0, 1]")));
        }
        #[expect(clippy::cast_precision_loss, reason = "there are fifteen")]
        let place = (1..N_BINS).find(|upper| confidence <= *upper as f64 / N_BINS as f64).unwrap_or(N_BINS) - 1;
        let bin = &mut self.bins[place];
        bin.n += 1;
        bin.correct += u64::from(correct);
        bin.confidence += confidence;
        Ok(())
    }

    /// The expected calibration error: the distance of accuracy and mean confidence in each bin, averaged over predictions (Guo et al. 2017,
    /// <https://arxiv.org/abs/1706.04599>). `None` without predictions.
    #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
    pub fn expected_error(&self) -> Option<f64> {
        let n: u64 = self.bins.iter().map(|bin| bin.n).sum();
        (n > 0).then(|| self.bins.iter().map(|bin| (bin.correct as f64 - bin.confidence).abs()).sum::<f64>() / n as f64)
    }
}

impl AddAssign for Calibration {
    fn add_assign(&mut self, other: Self) {
        for (bin, more) in self.bins.iter_mut().zip(other.bins) {
            bin.n += more.n;
            bin.correct += more.correct;
            bin.confidence += more.confidence;
        }
    }
}

impl AddAssign<&Self> for Calibration {
    fn add_assign(&mut self, other: &Self) {
        *self += *other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(predictions: &[(f64, bool)]) -> Calibration {
        let mut calibration = Calibration::default();
        for (confidence, correct) in predictions {
            calibration.add(*confidence, *correct).unwrap();
        }
        calibration
    }

    #[test]
    fn confidence_that_is_kept_is_no_error() {
        assert_eq!(of(&[(0.5, true), (0.5, false)]).expected_error(), Some(0.0));
        assert_eq!(of(&[(1.0, true)]).expected_error(), Some(0.0));
        assert_eq!(of(&[(1.0, false)]).expected_error(), Some(1.0));
    }

    #[test]
    fn bins_are_judged_for_themselves() {
        // Bin of 0.75: 1 right of 2, off by 0.25; bin of 0.25: 1 right of 2, off by 0.25. Taken together there would be no error.
        assert_eq!(of(&[(0.75, true), (0.75, false), (0.25, true), (0.25, false)]).expected_error(), Some(0.25));
    }

    #[test]
    fn upper_edges_belong_to_their_bin() {
        let calibration = of(&[(0.0, false), (1.0 / 15.0, false), (0.067, false), (0.2, true), (0.4, true), (1.0, true)]);
        let filled: Vec<usize> = (0..N_BINS).filter(|bin| calibration.bins[*bin].n > 0).collect();
        assert_eq!((filled, calibration.bins[0].n), (vec![0, 1, 2, 5, 14], 2));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for (confidence, said) in [(1.1, "confidence 1.1 is not in [0, 1]"), (f64::NAN, "confidence NaN is not in [0, 1]")] {
            assert_eq!(Calibration::default().add(confidence, true).unwrap_err().to_string(), said);
        }
        assert_eq!(Calibration::default().expected_error(), None);
    }

    #[test]
    fn counts_add_up() {
        let mut sum = of(&[(0.75, true), (0.75, false)]);
        sum += of(&[(0.25, true), (0.25, false)]);
        assert_eq!(sum.expected_error(), Some(0.25));
    }
}
