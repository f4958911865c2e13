//! Intervals.

use crate::Seed;

/// The 97.5 % quantile of the standard normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// Resamples of a bootstrap interval.
pub const RESAMPLES: usize = 2_000;

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How it was made.
    pub method: &'static str,
}

/// Wilson's score interval of a proportion (Wilson 1927). It has positive width at 0 and at 1.
///
/// With `n = 0` nothing is known: the interval is [0, 1].
pub fn wilson(hits: u64, n: u64) -> Interval {
    const METHOD: &str = "wilson";
    if n == 0 {
        return Interval { low: 0.0, high: 1.0, method: METHOD };
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of questions are far below 2^53")]
    let (hits, n) = (hits as f64, n as f64);
    let p = hits / n;
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0), method: METHOD }
}

/// A cluster's sufficient statistics: the sum of the values and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cluster {
    /// Sum of the values.
    pub sum: f64,
    /// How many.
    pub n: f64,
}

/// Which mean is bootstrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mean {
    /// Over all values: sum of sums over sum of counts.
    Micro,
    /// Over clusters: the mean of the clusters' means.
    Macro,
}

/// The seeded percentile bootstrap of a mean that resamples whole clusters [`RESAMPLES`] times (Efron 1979; Field and Welsh 2007).
///
/// Resampling works on the clusters' sufficient statistics, so its cost does not depend on the number of values. Ends are the
/// 2.5 % and 97.5 % quantiles with linear interpolation. With fewer than two clusters the width is unknown: the interval is
/// unbounded within `range`.
pub fn cluster_bootstrap(clusters: &[Cluster], mean: Mean, range: (f64, f64), seed: Seed) -> Interval {
    const METHOD: &str = "cluster-bootstrap";
    if clusters.len() < 2 {
        return Interval { low: range.0, high: range.1, method: METHOD };
    }
    let mut random = seed.random();
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..clusters.len()).map(|_| clusters[random.below(clusters.len())]);
            mean_of(drawn, mean)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Interval { low: quantile(&means, 0.025), high: quantile(&means, 0.975), method: METHOD }
}

/// The mean of clusters.
pub fn mean_of(clusters: impl Iterator<Item = Cluster>, mean: Mean) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for cluster in clusters {
        match mean {
            Mean::Micro => {
                sum += cluster.sum;
                n += cluster.n;
            }
            Mean::Macro => {
                sum += cluster.sum / cluster.n;
                n += 1.0;
            }
        }
    }
    sum / n
}

/// The quantile of sorted values with linear interpolation (numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a short list")]
    let (position, below) = {
        let position = q * (sorted.len() - 1) as f64;
        (position, position.floor() as usize)
    };
    let above = (below + 1).min(sorted.len() - 1);
    #[expect(clippy::cast_precision_loss, reason = "a position in a short list")]
    let share = position - below as f64;
    sorted[below] + (sorted[above] - sorted[below]) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn wilson_equals_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(count, n, method="wilson")
        let interval = wilson(7, 10);
        close(interval.low, 0.396_778_1);
        close(interval.high, 0.892_208_7);
        let none = wilson(0, 10);
        close(none.low, 0.0);
        close(none.high, 0.277_532_8);
    }

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        close(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        close(quantile(&[1.0, 2.0, 3.0, 4.0], 0.025), 1.075);
    }

    #[test]
    fn a_bootstrap_is_seeded_and_holds_the_mean() {
        let clusters: Vec<Cluster> = (0..20).map(|i| Cluster { sum: f64::from(i), n: 20.0 }).collect();
        let a = cluster_bootstrap(&clusters, Mean::Macro, (0.0, 1.0), Seed(1));
        assert_eq!(a, cluster_bootstrap(&clusters, Mean::Macro, (0.0, 1.0), Seed(1)));
        let mean = mean_of(clusters.into_iter(), Mean::Macro);
        close(mean, 9.5 / 20.0);
        assert!(a.low < mean && mean < a.high);
        // Standard error of the mean of 0..19 over 20 draws is 5.77 / sqrt(20) = 1.29, over 20 = 0.0645.
        assert!((a.high - a.low - 4.0 * 0.0645).abs() < 0.03, "{a:?}");
    }

    #[test]
    fn micro_weighs_values_and_macro_weighs_clusters() {
        let clusters = [Cluster { sum: 9.0, n: 10.0 }, Cluster { sum: 0.0, n: 90.0 }];
        close(mean_of(clusters.into_iter(), Mean::Micro), 0.09);
        close(mean_of(clusters.into_iter(), Mean::Macro), 0.45);
    }

    #[test]
    fn one_cluster_says_nothing_about_spread() {
        let interval = cluster_bootstrap(&[Cluster { sum: 1.0, n: 2.0 }], Mean::Macro, (0.0, 1.0), Seed(1));
        assert_eq!((interval.low, interval.high), (0.0, 1.0));
    }
}
