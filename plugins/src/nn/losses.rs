//! Losses of heads, in nats. What several of an example's rows say is averaged before.

use candle_core::{Device, Tensor};
use lmprobe_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ops;

/// What becomes of the losses of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// They are averaged.
    #[default]
    Mean,
    /// They are summed.
    Sum,
}

impl Reduction {
    /// The mean of `n` losses, or their sum.
    fn of(self, mean: Tensor, n: usize) -> Result<Tensor> {
        #[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^53 losses")]
        let n = n as f64;
        Ok(if self == Self::Sum { (mean * n)? } else { mean })
    }
}

/// The means of neighbouring rows: `(rows, width)` to `(groups, width)`, where `ends` has one entry more than there are groups.
///
/// # Errors
/// If a group is empty.
pub(crate) fn group_means(rows: &Tensor, ends: &[usize]) -> Result<Tensor> {
    // A mean of one is the row itself, to the bit.
    if ends.len() == rows.dim(0)? + 1 { Ok(rows.clone()) } else { Ok(ops::sequence_mean(rows, ends)?) }
}

/// Cross-entropy of `logits (rows, labels)` with one label a row.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn cross_entropy(logits: &Tensor, labels: &Tensor, reduction: Reduction) -> Result<Tensor> {
    reduction.of(ops::negative_log_likelihood(&ops::log_softmax(&logits.contiguous()?)?, labels)?, labels.dim(0)?)
}

/// Cross-entropy of a softmax over each group of `logits (rows, 1)` with the chosen row of each group.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn choice_cross_entropy(logits: &Tensor, ends: &[usize], chosen: &[u32], reduction: Reduction) -> Result<Tensor> {
    let losses = ends.windows(2).zip(chosen).map(|(ends, &chosen)| {
        let row = logits.narrow(0, ends[0], ends[1] - ends[0])?.t()?.contiguous()?; // (1, choices)
        ops::negative_log_likelihood(&ops::log_softmax(&row)?, &Tensor::from_vec(vec![chosen], 1, &Device::Cpu)?)
    });
    let losses = losses.collect::<candle_core::Result<Vec<_>>>()?;
    reduction.of(Tensor::stack(&losses, 0)?.mean_all()?, chosen.len())
}

/// Binary cross-entropy of `logits (rows, labels)` with flags 0 and 1 of the same shape, averaged over all cells.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn binary_cross_entropy(logits: &Tensor, flags: &Tensor, reduction: Reduction) -> Result<Tensor> {
    // The sigmoid of x is the softmax of 0 and x.
    let cells = logits.contiguous()?.reshape(((), 1))?;
    let pairs = Tensor::cat(&[&cells.zeros_like()?, &cells], 1)?; // (cells, 2)
    cross_entropy(&pairs, &flags.flatten_all()?, reduction)
}

/// Squared error of `logits (rows, 1)` and a number a row.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn squared_error(logits: &Tensor, targets: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let difference = (logits.flatten_all()? - targets.to_device(logits.device())?)?;
    reduction.of(difference.sqr()?.mean_all()?, targets.dim(0)?)
}

/// Half the cross-entropies of first and last token of `logits (tokens, 2)`, each a softmax over the tokens of a sequence, which `ends` bound.
///
/// # Errors
/// If the shapes do not fit.
pub(crate) fn span_cross_entropy(logits: &Tensor, ends: &[usize], spans: &[[u32; 2]], reduction: Reduction) -> Result<Tensor> {
    let losses = ends.windows(2).zip(spans).map(|(ends, span)| {
        let both = logits.narrow(0, ends[0], ends[1] - ends[0])?.t()?.contiguous()?; // (2, tokens)
        ops::negative_log_likelihood(&ops::log_softmax(&both)?, &Tensor::from_vec(span.to_vec(), 2, &Device::Cpu)?)
    });
    let losses = losses.collect::<candle_core::Result<Vec<_>>>()?;
    reduction.of(Tensor::stack(&losses, 0)?.mean_all()?, spans.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32], shape: (usize, usize)) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn value(loss: Result<Tensor>) -> f64 {
        f64::from(loss.unwrap().to_scalar::<f32>().unwrap())
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    const LN_2: f64 = std::f64::consts::LN_2;

    #[test]
    fn cross_entropy_of_equal_logits_is_the_logarithm_of_their_number() {
        let labels = Tensor::from_slice(&[0u32, 2], 2, &Device::Cpu).unwrap();
        close(value(cross_entropy(&tensor(&[1.0; 6], (2, 3)), &labels, Reduction::Mean)), 3f64.ln());
        close(value(cross_entropy(&tensor(&[1.0; 6], (2, 3)), &labels, Reduction::Sum)), 2.0 * 3f64.ln());
    }

    #[test]
    fn binary_cross_entropy_is_that_of_sigmoids() {
        let flags = Tensor::from_slice(&[1u32, 0, 1, 0], (2, 2), &Device::Cpu).unwrap();
        // -ln sigmoid(0) twice, -ln sigmoid(100) = 0, -ln(1 - sigmoid(100)) = 100.
        let loss = value(binary_cross_entropy(&tensor(&[0.0, 0.0, 100.0, 100.0], (2, 2)), &flags, Reduction::Mean));
        close(loss, (2.0 * LN_2 + 100.0) / 4.0);
    }

    #[test]
    fn choices_and_spans_are_softmaxes_of_their_own_rows() {
        let logits = tensor(&[0.0, 0.0, 5.0, 5.0, 5.0, 5.0], (6, 1));
        close(value(choice_cross_entropy(&logits, &[0, 2, 6], &[1, 0], Reduction::Mean)), 8f64.ln() / 2.0);
        let logits = tensor(&[0.0, 3.0, 0.0, 3.0, 7.0, 8.0], (3, 2));
        // Two tokens, then one alone, whose loss is 0.
        close(value(span_cross_entropy(&logits, &[0, 2, 3], &[[0, 1], [0, 0]], Reduction::Sum)), LN_2);
    }

    #[test]
    fn squared_error_is_averaged() {
        let targets = Tensor::from_slice(&[1f32, 0.0], 2, &Device::Cpu).unwrap();
        close(value(squared_error(&tensor(&[3.0, 1.0], (2, 1)), &targets, Reduction::Mean)), 2.5);
    }

    #[test]
    fn groups_of_one_are_the_rows_themselves() {
        let rows = tensor(&[1.0, 2.0, 3.0, 6.0], (4, 1));
        assert_eq!(group_means(&rows, &[0, 1, 2, 3, 4]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0, 6.0]);
        assert_eq!(group_means(&rows, &[0, 2, 4]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.5, 4.5]);
    }
}
