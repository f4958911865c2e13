//! Correlation of two measurements of the same things.

/// Pearson's r of pairs; `None` where it is undefined: fewer than two pairs, a side that does not vary, or a number that is not finite.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 2 || pairs.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    // Equal numbers have a mean that may differ from them by a rounding error, which would count as variance.
    let varies = |side: fn(&(f64, f64)) -> f64| pairs.iter().any(|pair| side(pair) != side(&pairs[0]));
    if !varies(|pair| pair.0) || !varies(|pair| pair.1) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
    let n = pairs.len() as f64;
    let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / n;
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (x, y) = (x - mean_x, y - mean_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    let r = xy / (xx.sqrt() * yy.sqrt());
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

/// Spearman's rank correlation: Pearson's r of the ranks, ties sharing the mean of theirs. `None` where that is undefined.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.iter().any(|(x, y)| x.is_nan() || y.is_nan()) {
        return None;
    }
    let x = ranks(&pairs.iter().map(|(x, _)| *x).collect::<Vec<_>>());
    let y = ranks(&pairs.iter().map(|(_, y)| *y).collect::<Vec<_>>());
    pearson(&x.into_iter().zip(y).collect::<Vec<_>>())
}

/// The rank of each number from 1; equal numbers have the mean of the ranks they take up.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        #[expect(clippy::cast_precision_loss, reason = "counts of examples are far below 2^53")]
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        for index in tied {
            ranks[*index] = rank;
        }
        before += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: Option<f64>, expected: f64) -> bool {
        (value.unwrap() - expected).abs() < 1e-15
    }

    #[test]
    fn pearson_is_the_cosine_of_deviations() {
        // Deviations (-1, 0, 1) and (-1, 1, 0): 1 / (sqrt 2 * sqrt 2).
        assert!(close(pearson(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)]), 0.5));
        assert!(close(pearson(&[(1.0, 5.0), (2.0, 3.0), (3.0, 1.0)]), -1.0));
    }

    #[test]
    fn spearman_sees_order_only() {
        assert!(close(spearman(&[(1.0, 1.0), (2.0, 10.0), (3.0, 1e9)]), 1.0));
        assert!(pearson(&[(1.0, 1.0), (2.0, 10.0), (3.0, 1e9)]).unwrap() < 0.9);
        // Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): deviations give 4.5 / sqrt(4.5 * 5).
        assert!(close(spearman(&[(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (4.0, 4.0)]), 4.5 / 22.5f64.sqrt()));
        assert!(close(spearman(&[(f64::NEG_INFINITY, 1.0), (0.0, 2.0)]), 1.0));
    }

    #[test]
    fn ties_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 3.0, 0.0]), [4.0, 2.0, 4.0, 4.0, 1.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    #[test]
    fn what_is_undefined_is_none() {
        for pairs in [&[][..], &[(1.0, 1.0)], &[(1.0, 1.0), (1.0, 2.0)], &[(0.1, 1.0), (0.2, 1.0)], &[(f64::NAN, 1.0), (2.0, 2.0)]] {
            assert_eq!((pearson(pairs), spearman(pairs)), (None, None), "{pairs:?}");
        }
        assert_eq!(pearson(&[(f64::INFINITY, 1.0), (2.0, 2.0)]), None);
        // 0.1 summed three times and divided is not 0.1.
        assert_eq!(pearson(&[(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)]), None);
    }
}
