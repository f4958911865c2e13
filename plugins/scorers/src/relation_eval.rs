//! BioBERT's relation extraction: `test_results.tsv` of probabilities against `test.tsv`, as `re_eval.py` scores and prints it.
//!
//! Unlike the original the labels of a task are a fixed list, so that no score depends on which of them a test file holds; where all occur, the numbers are the
//! same.

use std::fmt::Write;

use serde::Serialize;

use crate::classes::{CHEMPROT, Confusion, RELATED};
use crate::{Error, Result, float32_text, text_lines};

/// What the labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// `0` and `1`, as in GAD and EU-ADR.
    Binary,
    /// The five relations of ChemProt and `false`, in any case.
    ChemProt,
}

impl Task {
    /// The labels in the order of the probabilities.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Binary => &RELATED,
            Self::ChemProt => &CHEMPROT,
        }
    }
}

/// The class probabilities of each test example, `(examples, labels)`, as `run_re.py` writes them: `test_results.tsv`.
pub fn write_probabilities<R: AsRef<[f32]>>(rows: &[R]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.as_ref().iter().map(|probability| float32_text(*probability)).collect();
        let _ = writeln!(text, "{}", cells.join("\t"));
    }
    text
}

/// The label predicted in each row of `test_results.tsv`: the first of the highest probabilities.
///
/// # Errors
///
/// If a row does not hold one number a label; the message names the line.
pub fn read_predictions(bytes: &[u8], file: &str, task: Task) -> Result<Vec<usize>> {
    let n = task.labels().len();
    let row = |(index, line): (usize, &str)| {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells.len() != n {
            let message = format!("{} columns, expected {n}: the probabilities of `{}`", cells.len(), task.labels().join("`, `"));
            return Err(Error::at(file, index + 1, message));
        }
        let mut best = (0, f64::NEG_INFINITY);
        for (label, cell) in cells.iter().enumerate() {
            let value = cell.trim().parse::<f64>().ok().filter(|value| !value.is_nan());
            let value = value.ok_or_else(|| Error::at(file, index + 1, format!("`{cell}` is not a number")))?;
            if value > best.1 {
                best = (label, value);
            }
        }
        Ok(best.0)
    };
    text_lines(bytes, file)?.into_iter().enumerate().map(row).collect()
}

/// The gold labels of `test.tsv`: the column `label` below a header.
///
/// # Errors
///
/// If there is no such column, a row has not as many columns as the header, or a label is not one of the task.
pub fn read_gold(bytes: &[u8], file: &str, task: Task) -> Result<Vec<usize>> {
    let lines = text_lines(bytes, file)?;
    let header: Vec<&str> = lines[0].split('\t').collect();
    let Some(column) = header.iter().position(|name| *name == "label") else {
        let message = format!("no column `label` in the header; there are `{}`", header.join("`, `"));
        return Err(Error::at(file, 1, message));
    };
    let row = |(index, line): (usize, &&str)| {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells.len() != header.len() {
            return Err(Error::at(file, index + 1, format!("{} columns, expected {} as in the header", cells.len(), header.len())));
        }
        let label = task.labels().iter().position(|label| label.eq_ignore_ascii_case(cells[column]));
        label.ok_or_else(|| Error::at(file, index + 1, format!("unknown label `{}`; the labels are `{}`", cells[column], task.labels().join("`, `"))))
    };
    let gold: Vec<usize> = lines.iter().enumerate().skip(1).map(row).collect::<Result<_>>()?;
    if gold.is_empty() { Err(Error::at(file, 1, "there is a header and no example")) } else { Ok(gold) }
}

/// Predictions against gold.
///
/// # Errors
///
/// If they differ in number.
pub fn confusion(gold: &[usize], predicted: &[usize], task: Task) -> Result<Confusion> {
    if gold.len() != predicted.len() {
        return Err(Error::Lengths { what: "labels", gold: gold.len(), predicted: predicted.len() });
    }
    let mut confusion = Confusion::new(task.labels());
    gold.iter().zip(predicted).for_each(|(gold, predicted)| confusion.add_indices(*gold, *predicted));
    Ok(confusion)
}

/// What `re_eval.py` reports, as fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RelationScores {
    /// Of the class `1`, or micro-averaged over the five relations.
    pub f1: f64,
    /// Of the same.
    pub recall: f64,
    /// Of the same.
    pub precision: f64,
    /// Recall of the class `0`; of binary tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specificity: Option<f64>,
}

impl RelationScores {
    /// The scores of a task.
    pub fn of(confusion: &Confusion, task: Task) -> Self {
        let (counts, specificity) = match task {
            Task::Binary => (confusion.class(1), Some(confusion.specificity(1))),
            Task::ChemProt => (confusion.micro_over(&[0, 1, 2, 3, 4]), None),
        };
        Self { f1: counts.f1(), recall: counts.recall(), precision: counts.precision(), specificity }
    }

    /// The text of `re_eval.py`, in percent.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let lines = [("f1 score", Some(self.f1)), ("recall", Some(self.recall)), ("precision", Some(self.precision)), ("specificity", self.specificity)];
        for (name, value) in lines.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let _ = writeln!(text, "{name:11} : {:.2}%", value * 100.0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(tp: usize, fp: usize, tn: usize, fn_: usize) -> String {
        let mut confusion = Confusion::new(&RELATED);
        for (gold, predicted, n) in [(1, 1, tp), (0, 1, fp), (0, 0, tn), (1, 0, fn_)] {
            (0..n).for_each(|_| confusion.add_indices(gold, predicted));
        }
        RelationScores::of(&confusion, Task::Binary).report()
    }

    #[test]
    fn the_runs_of_the_biobert_readme_follow_from_their_counts() {
        assert_eq!(binary(255, 73, 180, 26), "f1 score    : 83.74%\nrecall      : 90.75%\nprecision   : 77.74%\nspecificity : 71.15%\n");
        assert_eq!(binary(261, 83, 170, 20), "f1 score    : 83.52%\nrecall      : 92.88%\nprecision   : 75.87%\nspecificity : 67.19%\n");
    }

    #[test]
    fn chemprot_leaves_false_out() {
        // Gold cpr:3 cpr:3 false false, predicted cpr:3 false cpr:9 false.
        let confusion = confusion(&[0, 0, 5, 5], &[0, 5, 4, 5], Task::ChemProt).unwrap();
        assert_eq!(RelationScores::of(&confusion, Task::ChemProt).report(), "f1 score    : 50.00%\nrecall      : 50.00%\nprecision   : 50.00%\n");
    }

    #[test]
    fn probabilities_are_written_and_read_back() {
        let text = write_probabilities(&[[0.75f32, 0.25], [0.5, 0.5], [1e-5, 0.99999]]);
        assert_eq!(text, "0.75\t0.25\n0.5\t0.5\n1e-05\t0.99999\n");
        assert_eq!(read_predictions(text.as_bytes(), "r.tsv", Task::Binary).unwrap(), [0, 0, 1], "the first of equals");
    }

    #[test]
    fn gold_labels_are_read_by_the_header() {
        let text = b"index\tsentence\tlabel\n0\ta \"quoted\ttext\" b\t1\n";
        assert_eq!(read_gold(text, "t.tsv", Task::Binary).unwrap_err().to_string(), "t.tsv:2: 4 columns, expected 3 as in the header");
        let text = b"index\tsentence\tlabel\n0\ta \"b\tCPR:4\n1\tc\tfalse\n";
        assert_eq!(read_gold(text, "t.tsv", Task::ChemProt).unwrap(), [1, 5], "quotes are characters");
    }

    #[test]
    fn malformed_files_are_refused_with_the_line() {
        for (text, message) in [
            ("0.5\t0.5\n0.5\n", "f:2: 1 columns, expected 2: the probabilities of `0`, `1`"),
            ("0.5\tx\n", "f:1: `x` is not a number"),
            ("0.5\tnan\n", "f:1: `nan` is not a number"),
            ("", "f: the file is empty"),
        ] {
            assert_eq!(read_predictions(text.as_bytes(), "f", Task::Binary).unwrap_err().to_string(), message);
        }
        for (text, message) in [
            ("a\tb\n", "f:1: no column `label` in the header; there are `a`, `b`"),
            ("index\tlabel\n", "f:1: there is a header and no example"),
            ("index\tlabel\n0\t2\n", "f:2: unknown label `2`; the labels are `0`, `1`"),
        ] {
            assert_eq!(read_gold(text.as_bytes(), "f", Task::Binary).unwrap_err().to_string(), message);
        }
        assert_eq!(confusion(&[0], &[], Task::Binary).unwrap_err().to_string(), "1 gold labels against 0 predicted; each needs its counterpart");
    }

    #[test]
    fn gad_is_read_as_it_is_distributed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/re/GAD");
        if !std::path::Path::new(folder).is_dir() {
            println!("skipped: no {folder}");
            return;
        }
        for fold in 1..=10 {
            let file = format!("{folder}/{fold}/test.tsv");
            let gold = read_gold(&std::fs::read(&file).unwrap(), &file, Task::Binary).unwrap();
            if fold == 1 {
                let positive = gold.iter().filter(|label| **label == 1).count();
                assert_eq!((positive, gold.len() - positive), (281, 253));
            }
        }
    }
}
