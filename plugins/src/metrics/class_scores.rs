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

/// Which classes a macro mean is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MacroOver {
    /// All that are listed: one that occurs nowhere has 0.
    Listed,
    /// Those that are gold or were found.
    Occurring,
}

/// Classes, and their counts in each cluster.
#[derive(Debug)]
pub(crate) struct ClassCounts {
    /// The classes.
    pub(crate) classes: Vec<String>,
    /// Which of them are summed for the micro average.
    pub(crate) micro: Vec<bool>,
    /// Which the macro mean is over.
    pub(crate) macro_over: MacroOver,
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
            macro_over: MacroOver::Occurring,
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
        let mut quantities = three(names, "micro", None, self.summed(&totals)).to_vec();
        if self.classes.len() > 1 {
            let n = self.macro_classes(&totals).count() as u64;
            quantities.extend(three(names, "macro", None, Counts { correct: n, found: n, gold: n }));
            for (class, counts) in self.classes.iter().zip(&totals) {
                quantities.extend(three(names, "label", Some(class), *counts));
            }
        }
        push_bootstrapped(rows, quantities, &self.clusters, |drawn| self.values(drawn), seed);
    }

    /// The numbers of the rows, for these clusters. What is neither gold nor found has none.
    fn values(&self, drawn: &[&Vec<Counts>]) -> Vec<Option<f64>> {
        let totals = self.over(drawn.iter().copied());
        let occurs = |counts: Counts| counts.found + counts.gold > 0;
        let of = |counts: Counts| list(occurs(counts).then(|| counts.scores()));
        let mut values = of(self.summed(&totals)).to_vec();
        if self.classes.len() > 1 {
            values.extend(list(totals.iter().any(|counts| occurs(*counts)).then(|| Scores::mean(self.macro_classes(&totals)))));
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

    fn macro_classes<'a>(&self, totals: &'a [Counts]) -> impl Iterator<Item = Counts> + 'a {
        let listed = self.macro_over == MacroOver::Listed;
        totals.iter().copied().filter(move |counts| listed || counts.found + counts.gold > 0)
    }
}

/// Precision of what was found, recall of what is gold, F1 of what is gold.
fn three(names: Names<'_>, aggregate: &'static str, label: Option<&String>, counts: Counts) -> [Quantity; 3] {
    [(names.precision, counts.found), (names.recall, counts.gold), (names.f1, counts.gold)].map(|(metric, n)| Quantity {
        aggregate,
        label: label.cloned(),
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
    fn a_listed_class_counts_where_it_does_not_occur_and_an_occurring_one_does_not() {
        let mut classes = ClassCounts {
            classes: vec!["x".to_owned(), "never".to_owned()],
            micro: vec![true, true],
            macro_over: MacroOver::Listed,
            clusters: vec![vec![counts(1, 1, 1), counts(0, 0, 0)]; 2],
        };
        assert_eq!((rows(&classes)[5].value, rows(&classes)[5].n), (0.5, 2));
        classes.macro_over = MacroOver::Occurring;
        assert_eq!((rows(&classes)[5].value, rows(&classes)[5].n), (1.0, 1));
        // F1 of `never` is 0/0: it is 0, and nothing is known of it.
        let never = &rows(&classes)[11];
        assert_eq!((never.label.as_deref(), never.value, never.n, never.low, never.high), (Some("never"), 0.0, 0, 0.0, 1.0));
    }

    #[test]
    fn nothing_there_and_nothing_found_is_zero() {
        let rows = rows(&ClassCounts::by_name(&[BTreeMap::new(), BTreeMap::new()]));
        assert_eq!(rows.iter().map(|row| (row.value, row.n, row.low, row.high)).collect::<Vec<_>>(), [(0.0, 0, 0.0, 1.0); 3]);
    }
}
