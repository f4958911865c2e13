//! Precision, recall and F1 of classes that are counted by cluster: the rows of all metrics that are made of correct, found and gold.

use std::collections::BTreeMap;

use lmprobe_core::Seed;
use lmprobe_core::table::MetricRows;
use lmprobe_scorers::{Counts, Scores};

use super::clusters::{Quantity, push_bootstrapped, sum};

/// What the three numbers of a metric are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// Correct of found.
    pub(crate) precision: &'a str,
    /// Correct of gold.
    pub(crate) recall: &'a str,
    /// Their harmonic mean.
    pub(crate) f1: &'a str,
}

/// Classes, and their counts in each cluster.
///
/// The macro mean is over the classes that are gold or were found. In a resample it is over those of them that are gold or found there: a class that was not drawn
/// says nothing, where 0 would pull every resample below the value.
#[derive(Debug)]
pub(crate) struct ClassCounts {
    /// The classes.
    pub(crate) classes: Vec<String>,
    /// Which of them are summed for the micro average.
    pub(crate) micro: Vec<bool>,
    /// One entry a class in each cluster.
    pub(crate) clusters: Vec<Vec<Counts>>,
}

impl ClassCounts {
    /// Counts that are kept by name; all classes take part in both averages. The empty name, of tags without type, is called `untyped`.
    pub(crate) fn by_name(clusters: &[BTreeMap<String, Counts>]) -> Self {
        let mut names: Vec<&str> = clusters.iter().flat_map(|cluster| cluster.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let dense = |cluster: &BTreeMap<String, Counts>| names.iter().map(|name| cluster.get(*name).copied().unwrap_or_default()).collect();
        Self {
            clusters: clusters.iter().map(dense).collect(),
            micro: vec![true; names.len()],
            classes: names.into_iter().map(|name| if name.is_empty() { "untyped" } else { name }.to_owned()).collect(),
        }
    }

    /// The counts of each class over all clusters.
    pub(crate) fn totals(&self) -> Vec<Counts> {
        self.over(self.clusters.iter())
    }

    /// Appends precision, recall and F1: `micro`, and with more than one class `macro` and a `label` row a class.
    pub(crate) fn push_rows(&self, rows: &mut MetricRows, names: Names<'_>, seed: Seed) {
        let totals = self.totals();
        let in_clusters = |of: &dyn Fn(&[Counts]) -> Counts| Parts::of(self.clusters.iter().map(|cluster| of(cluster)));
        let mut quantities = three(names, "micro", None, self.summed(&totals), in_clusters(&|cluster| self.summed(cluster))).to_vec();
        if self.classes.len() > 1 {
            let n = occurring(&totals).count() as u64;
            let all = in_clusters(&|cluster| sum(cluster.iter().copied()));
            quantities.extend(three(names, "macro", None, Counts { correct: n, found: n, gold: n }, all));
            for (place, (class, counts)) in self.classes.iter().zip(&totals).enumerate() {
                quantities.extend(three(names, "label", Some(class), *counts, in_clusters(&|cluster| cluster[place])));
            }
        }
        push_bootstrapped(rows, quantities, &self.clusters, |drawn| self.values(drawn), seed);
    }

    /// The numbers of the rows, for these clusters. What is neither gold nor found has none.
    fn values(&self, drawn: &[&Vec<Counts>]) -> Vec<Option<f64>> {
        let totals = self.over(drawn.iter().copied());
        let of = |counts: Counts| list(occurs(counts).then(|| counts.scores()));
        let mut values = of(self.summed(&totals)).to_vec();
        if self.classes.len() > 1 {
            values.extend(list(occurring(&totals).next().is_some().then(|| Scores::mean(occurring(&totals)))));
            values.extend(totals.iter().flat_map(|counts| of(*counts)));
        }
        values
    }

    fn over<'a>(&self, clusters: impl Iterator<Item = &'a Vec<Counts>>) -> Vec<Counts> {
        let mut totals = vec![Counts::default(); self.classes.len()];
        for cluster in clusters {
            totals.iter_mut().zip(cluster).for_each(|(total, counts)| *total += *counts);
        }
        totals
    }

    fn summed(&self, totals: &[Counts]) -> Counts {
        sum(totals.iter().zip(&self.micro).filter(|(_, counted)| **counted).map(|(counts, _)| *counts))
    }
}

/// Whether a class is gold or was found.
fn occurs(counts: Counts) -> bool {
    counts.found + counts.gold > 0
}

fn occurring(totals: &[Counts]) -> impl Iterator<Item = Counts> {
    totals.iter().copied().filter(|counts| occurs(*counts))
}

/// How many clusters have a part in each of the three numbers: something found, something gold, or either.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parts {
    precision: usize,
    recall: usize,
    f1: usize,
}

impl Parts {
    /// Of these counts, one a cluster.
    pub(crate) fn of(clusters: impl Iterator<Item = Counts>) -> Self {
        let mut parts = Self::default();
        for counts in clusters {
            parts.precision += usize::from(counts.found > 0);
            parts.recall += usize::from(counts.gold > 0);
            parts.f1 += usize::from(occurs(counts));
        }
        parts
    }

    /// In the order precision, recall, F1.
    pub(crate) fn each(self) -> [usize; 3] {
        [self.precision, self.recall, self.f1]
    }
}

/// Precision of what was found, recall of what is gold, F1 of what is gold.
fn three(names: Names<'_>, aggregate: &'static str, label: Option<&String>, counts: Counts, parts: Parts) -> [Quantity; 3] {
    let [precision, recall, f1] = parts.each();
    [(names.precision, counts.found, precision), (names.recall, counts.gold, recall), (names.f1, counts.gold, f1)].map(|(metric, n, clusters)| Quantity {
        aggregate,
        label: label.cloned(),
        n_clusters: Some(clusters),
        ..Quantity::fraction(metric, n)
    })
}

fn list(scores: Option<Scores>) -> [Option<f64>; 3] {
    [scores.map(|scores| scores.precision), scores.map(|scores| scores.recall), scores.map(|scores| scores.f1)]
}

#[cfg(test)]
mod tests {
    use super::super::labelled_fixture::{Row, read};
    use super::*;

    const NAMES: Names<'static> = Names { precision: "p", recall: "r", f1: "f" };

    fn rows(counts: &ClassCounts) -> Vec<Row> {
        let mut rows = MetricRows::default();
        counts.push_rows(&mut rows, NAMES, Seed(1));
        read(&rows.into_frame().unwrap())
    }

    fn counts(correct: u64, found: u64, gold: u64) -> Counts {
        Counts { correct, found, gold }
    }

    #[test]
    fn each_number_names_what_it_is_computed_from() {
        let clusters = [BTreeMap::from([("x".to_owned(), counts(1, 2, 4))]), BTreeMap::from([("y".to_owned(), counts(1, 1, 1))])];
        let rows = rows(&ClassCounts::by_name(&clusters));
        let seen: Vec<(&str, &str, Option<&str>, f64, u64)> =
            rows.iter().map(|row| (row.metric.as_str(), row.aggregate.as_str(), row.label.as_deref(), row.value, row.n)).collect();
        assert_eq!(
            seen,
            [
                ("p", "micro", None, 2.0 / 3.0, 3),
                ("r", "micro", None, 0.4, 5),
                ("f", "micro", None, 0.5, 5),
                ("p", "macro", None, 0.75, 2),
                ("r", "macro", None, 0.625, 2),
                ("f", "macro", None, f64::midpoint(1.0 / 3.0, 1.0), 2),
                ("p", "label", Some("x"), 0.5, 2),
                ("r", "label", Some("x"), 0.25, 4),
                ("f", "label", Some("x"), 1.0 / 3.0, 4),
                ("p", "label", Some("y"), 1.0, 1),
                ("r", "label", Some("y"), 1.0, 1),
                ("f", "label", Some("y"), 1.0, 1),
            ]
        );
    }

    #[test]
    fn a_single_class_has_no_mean_over_classes() {
        let rows = rows(&ClassCounts::by_name(&[BTreeMap::from([(String::new(), counts(1, 2, 4))])]));
        assert_eq!(rows.iter().map(|row| row.aggregate.as_str()).collect::<Vec<_>>(), ["micro"; 3]);
        assert!(rows.iter().all(|row| (row.low, row.high) == (0.0, 1.0)), "one cluster says nothing of the spread");
    }

    #[test]
    fn a_class_that_occurs_nowhere_is_not_averaged_and_nothing_is_known_of_it() {
        let classes = ClassCounts {
            classes: vec!["x".to_owned(), "never".to_owned()],
            micro: vec![true, true],
            clusters: vec![vec![counts(1, 1, 1), counts(0, 0, 0)]; 2],
        };
        let rows = rows(&classes);
        assert_eq!((rows[5].value, rows[5].n), (1.0, 1));
        let never = &rows[11];
        assert_eq!((never.label.as_deref(), never.value, never.n, never.low, never.high), (Some("never"), 0.0, 0, 0.0, 1.0));
    }

    #[test]
    fn a_mean_over_classes_skips_those_that_are_not_drawn() {
        // Twenty clusters have `x` with F1 2/3, one of them has `y` too, with F1 2/3: every resample has 2/3, with `y` or without.
        let mut clusters = vec![vec![counts(1, 2, 1), counts(0, 0, 0)]; 20];
        clusters[0][1] = counts(1, 1, 2);
        let rows = rows(&ClassCounts { classes: vec!["x".to_owned(), "y".to_owned()], micro: vec![true, true], clusters });
        let mean = &rows[5];
        assert_eq!((mean.aggregate.as_str(), mean.value, mean.low, mean.high), ("macro", 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0));
    }

    #[test]
    fn a_class_of_one_cluster_has_the_whole_range_and_one_that_is_always_right_wilsons() {
        // `x` is right in all ten clusters, `y` in the only one that has it; `z` is gold in two and never found.
        let mut clusters = vec![vec![counts(1, 1, 1), counts(0, 0, 0), counts(0, 0, 0)]; 10];
        clusters[0][1] = counts(1, 1, 1);
        (clusters[1][2], clusters[2][2]) = (counts(0, 0, 1), counts(0, 0, 1));
        let classes = ["x", "y", "z"].map(str::to_owned).to_vec();
        let rows = rows(&ClassCounts { classes, micro: vec![true; 3], clusters });
        let seen = |row: usize| (rows[row].label.as_deref(), rows[row].value, rows[row].low, rows[row].high, rows[row].method.as_str());
        assert_eq!((rows[8].label.as_deref(), rows[8].value, rows[8].high, rows[8].method.as_str()), (Some("x"), 1.0, 1.0, "wilson"));
        assert!((rows[8].low - 0.722_467_2).abs() < 1e-6); // 10 of 10
        assert_eq!(seen(11), (Some("y"), 1.0, 0.0, 1.0, "cluster-bootstrap"));
        assert_eq!(seen(12), (Some("z"), 0.0, 0.0, 1.0, "cluster-bootstrap"), "precision: nothing was found");
        assert_eq!((rows[13].value, rows[13].low, rows[13].method.as_str()), (0.0, 0.0, "wilson"));
        assert!((rows[13].high - 0.657_620_0).abs() < 1e-5, "{}", rows[13].high); // recall: 0 of 2
    }

    #[test]
    fn nothing_there_and_nothing_found_is_zero() {
        let rows = rows(&ClassCounts::by_name(&[BTreeMap::new(), BTreeMap::new()]));
        assert_eq!(rows.iter().map(|row| (row.value, row.n, row.low, row.high)).collect::<Vec<_>>(), [(0.0, 0, 0.0, 1.0); 3]);
    }
}
