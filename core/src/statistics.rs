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

/// What is known of a statistic before its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The lowest and the highest possible value.
    pub range: (f64, f64),
    /// How many clusters have a part in it: one in which nothing is counted for it has none.
    pub n_clusters: usize,
}

/// The seeded percentile bootstrap of statistics that are computed from clusters of examples: whole clusters are drawn with replacement, as many as there are,
/// [`RESAMPLES`] times (Efron 1979; Field and Welsh 2007).
///
/// A cluster is whatever the statistics need of its examples, such as counts that can be added; the cost does not depend on how many examples a cluster has.
/// `statistics` is given the clusters drawn and returns one value a statistic, always in the same order; `None` where it is undefined. All statistics see the same
/// resamples, so the interval of one does not depend on which others there are. `bounds` has what is known of each.
///
/// The ends are the 2.5 % and 97.5 % quantiles with linear interpolation. Resamples in which a statistic is undefined are dropped for it. The width is unknown, and
/// the interval is the whole range, if fewer than two clusters have a part in a statistic or it is undefined in more than half of its resamples. If all resamples of
/// a statistic in [0, 1] are 0, or all are 1, they say nothing of the width either: the interval is that of [`wilson`] for as many tries as clusters have a part.
///
/// # Panics
/// If `statistics` returns another number of values than there are bounds.
pub fn bootstrap_of<T>(clusters: &[T], statistics: impl Fn(&[&T]) -> Vec<Option<f64>>, bounds: &[Bounds], seed: Seed) -> Vec<Interval> {
    let mut values = vec![Vec::with_capacity(RESAMPLES); bounds.len()];
    if bounds.iter().any(|bounds| bounds.n_clusters >= 2) {
        let mut random = seed.random();
        let mut drawn = Vec::with_capacity(clusters.len());
        for _ in 0..RESAMPLES {
            drawn.clear();
            drawn.extend((0..clusters.len()).map(|_| &clusters[random.below(clusters.len())]));
            let found = statistics(&drawn);
            assert_eq!(found.len(), bounds.len(), "one value a statistic");
            for (values, found) in values.iter_mut().zip(found) {
                values.extend(found);
            }
        }
    }
    values.into_iter().zip(bounds).map(|(values, bounds)| bounds.interval(values)).collect()
}

impl Bounds {
    /// The interval of a statistic that had these values in the resamples.
    fn interval(&self, mut values: Vec<f64>) -> Interval {
        const METHOD: &str = "cluster-bootstrap";
        if self.n_clusters < 2 || values.len() < RESAMPLES / 2 {
            return Interval { low: self.range.0, high: self.range.1, method: METHOD };
        }
        values.sort_by(f64::total_cmp);
        let n = self.n_clusters as u64;
        let agreed = (values[0] == values[values.len() - 1] && self.range == (0.0, 1.0)).then_some(values[0]);
        // The end that is known is exact, whatever Wilson's formula rounds it to.
        match agreed {
            Some(0.0) => Interval { low: 0.0, ..wilson(0, n) },
            Some(1.0) => Interval { high: 1.0, ..wilson(n, n) },
            _ => Interval { low: quantile(&values, 0.025), high: quantile(&values, 0.975), method: METHOD },
        }
    }
}

/// [`bootstrap_of`] a mean.
pub fn cluster_bootstrap(clusters: &[Cluster], mean: Mean, range: (f64, f64), seed: Seed) -> Interval {
    let statistic = |drawn: &[&Cluster]| vec![Some(mean_of(drawn.iter().map(|cluster| **cluster), mean))];
    let n_clusters = clusters.iter().filter(|cluster| cluster.n > 0.0).count();
    bootstrap_of(clusters, statistic, &[Bounds { range, n_clusters }], seed)[0]
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

    /// Correct, found and gold of a cluster.
    type Counts = (f64, f64, f64);

    fn f1(drawn: &[&Counts]) -> Option<f64> {
        let (correct, both) = drawn.iter().fold((0.0, 0.0), |(correct, both), cluster| (correct + cluster.0, both + cluster.1 + cluster.2));
        (both > 0.0).then(|| 2.0 * correct / both)
    }

    /// Bounds of a fraction to which all clusters with counts contribute.
    fn fraction(clusters: &[Counts]) -> Bounds {
        Bounds { range: (0.0, 1.0), n_clusters: clusters.iter().filter(|cluster| cluster.1 + cluster.2 > 0.0).count() }
    }

    fn f1_of(clusters: &[Counts]) -> Interval {
        bootstrap_of(clusters, |drawn| vec![f1(drawn)], &[fraction(clusters)], Seed(1))[0]
    }

    #[test]
    fn a_bootstrap_of_counts_equals_numpy() {
        // The same draws in Python, `numpy.quantile(values, [0.025, 0.975])`.
        let clusters = [(1.0, 2.0, 1.0), (0.0, 0.0, 3.0), (2.0, 2.0, 4.0), (3.0, 7.0, 8.0), (5.0, 6.0, 5.0), (0.0, 1.0, 0.0), (2.0, 3.0, 4.0)];
        let interval = bootstrap_of(&clusters, |drawn| vec![f1(drawn)], &[fraction(&clusters)], Seed(33))[0];
        close(interval.low, 0.363_519_813_519_813_55);
        close(interval.high, 0.772_727_272_727_272_7);
    }

    #[test]
    fn resamples_without_a_value_are_dropped_for_that_statistic_alone() {
        // F1 is 2/3 of any draw but those of the empty cluster alone, where it is undefined: 1 in 27, far less than half.
        let clusters = [(1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (2.0, 2.0, 4.0)];
        let correct = |drawn: &[&Counts]| Some(drawn.iter().map(|cluster| cluster.0).sum());
        let sum = Bounds { range: (0.0, 6.0), n_clusters: 3 };
        let intervals = bootstrap_of(&clusters, |drawn| vec![f1(drawn), correct(drawn)], &[fraction(&clusters), sum], Seed(33));
        close(intervals[0].low, 2.0 / 3.0);
        close(intervals[0].high, 2.0 / 3.0);
        assert_eq!((intervals[1].low, intervals[1].high), (0.0, 6.0)); // 1 in 27 draws is of one cluster alone
        assert_eq!(bootstrap_of(&clusters, |drawn| vec![correct(drawn)], &[sum], Seed(33))[0], intervals[1]);
    }

    #[test]
    fn a_statistic_of_one_cluster_has_the_whole_range_however_many_others_there_are() {
        let mut clusters = [(0.0, 0.0, 0.0); 10];
        clusters[0] = (1.0, 2.0, 2.0);
        assert_eq!(f1_of(&clusters), Interval { low: 0.0, high: 1.0, method: "cluster-bootstrap" });
        assert_eq!(f1_of(&clusters[1..]), Interval { low: 0.0, high: 1.0, method: "cluster-bootstrap" });
        // A second one: 1/2 alone, 1 alone, (1 + 2) * 2 / 8 together.
        clusters[1] = (2.0, 2.0, 2.0);
        assert_eq!(f1_of(&clusters), Interval { low: 0.5, high: 1.0, method: "cluster-bootstrap" });
    }

    #[test]
    fn a_statistic_that_is_mostly_undefined_has_the_whole_range() {
        // Two of twenty clusters have something: all but 32 % of the draws have it less than three times.
        let mut clusters = [(0.0, 0.0, 0.0); 20];
        (clusters[0], clusters[1]) = ((1.0, 2.0, 2.0), (1.0, 2.0, 1.0));
        let thrice = |drawn: &[&Counts]| vec![f1(drawn).filter(|_| drawn.iter().filter(|cluster| cluster.0 > 0.0).count() >= 3)];
        let interval = bootstrap_of(&clusters, thrice, &[fraction(&clusters)], Seed(1))[0];
        assert_eq!((interval.low, interval.high), (0.0, 1.0));
    }

    #[test]
    fn resamples_that_agree_on_nothing_or_all_give_way_to_wilson_over_the_clusters_with_a_part() {
        // Ten clusters are right, ten have nothing: Wilson of 10 of 10 is [0.7225, 1], of 0 of 10 [0, 0.2775].
        let mut clusters = vec![(3.0, 3.0, 3.0); 10];
        clusters.resize(20, (0.0, 0.0, 0.0));
        let right = f1_of(&clusters);
        assert_eq!((right.high, right.method), (1.0, "wilson"));
        close(right.low, 0.722_467_2);
        for cluster in &mut clusters {
            cluster.0 = 0.0;
        }
        let wrong = f1_of(&clusters);
        assert_eq!((wrong.low, wrong.method), (0.0, "wilson"));
        close(wrong.high, 0.277_532_8);
        // A mean whose range is another one, and a fraction that is always the same in between, stay as they are.
        let ones = [Cluster { sum: 1.0, n: 1.0 }; 3];
        assert_eq!(cluster_bootstrap(&ones, Mean::Micro, (0.0, 2.0), Seed(1)), Interval { low: 1.0, high: 1.0, method: "cluster-bootstrap" });
        let halves = [Cluster { sum: 1.0, n: 2.0 }; 3];
        assert_eq!(cluster_bootstrap(&halves, Mean::Macro, (0.0, 1.0), Seed(1)), Interval { low: 0.5, high: 0.5, method: "cluster-bootstrap" });
    }
}
