//! Answers as rows of a table.

use std::fmt::Write as _;

use lmprobe_core::{Problem, Result, table};
use polars::prelude::DataFrame;

use super::inputs::Asked;

/// A table of tab-separated values: id, prediction, and the probability of every label.
#[derive(Debug)]
pub(crate) struct AnswerTable {
    problem: Problem,
    /// The labels of the head; questions with choices have none, and name their own.
    labels: Vec<String>,
    begun: bool,
    /// Rows of questions with choices, which wait until the widest is known.
    waiting: Vec<Row>,
}

/// A row: its id, its prediction, and the rest.
#[derive(Debug)]
struct Row {
    id: String,
    prediction: String,
    scores: Vec<f64>,
}

impl AnswerTable {
    pub(crate) fn new(problem: Problem, labels: &[String]) -> Self {
        Self { problem, labels: labels.to_vec(), begun: false, waiting: Vec::new() }
    }

    /// The lines of some answers, as far as they can be written yet.
    pub(crate) fn push(&mut self, asked: &[Asked], predictions: &DataFrame) -> Result<String> {
        let mut text = String::new();
        let begins = !std::mem::replace(&mut self.begun, true);
        if self.problem == Problem::Regression {
            if begins {
                text.push_str("id\tprediction\n");
            }
            for (asked, value) in asked.iter().zip(table::optional_reals(predictions, "prediction")?) {
                let _ = writeln!(text, "{}\t{}", id(asked), value.unwrap_or(f64::NAN));
            }
            return Ok(text);
        }
        let (chosen, scores) = (table::text_lists(predictions, "predictions")?, table::real_lists(predictions, "scores")?);
        let rows = asked.iter().zip(chosen).zip(scores).map(|((asked, chosen), scores)| Row { id: id(asked), prediction: cell(&chosen.join(",")), scores });
        if self.problem == Problem::MultipleChoice {
            for labels in table::text_lists(predictions, "labels")? {
                if labels.len() > self.labels.len() {
                    self.labels = labels;
                }
            }
            self.waiting.extend(rows);
            return Ok(text);
        }
        if begins {
            text.push_str(&self.header());
        }
        rows.for_each(|row| text.push_str(&self.line(&row)));
        Ok(text)
    }

    /// The lines that had to wait.
    pub(crate) fn finish(&mut self) -> String {
        if self.waiting.is_empty() {
            return String::new();
        }
        let rows = std::mem::take(&mut self.waiting);
        rows.iter().fold(self.header(), |text, row| text + &self.line(row))
    }

    fn header(&self) -> String {
        let names: Vec<String> = self.labels.iter().map(|label| cell(label)).collect();
        format!("id\tprediction\t{}\n", names.join("\t"))
    }

    /// A row with a cell for every label; those that a question does not have are empty.
    fn line(&self, row: &Row) -> String {
        let scores: Vec<String> = (0..self.labels.len()).map(|label| row.scores.get(label).map(f64::to_string).unwrap_or_default()).collect();
        format!("{}\t{}\t{}\n", row.id, row.prediction, scores.join("\t"))
    }
}

fn id(asked: &Asked) -> String {
    cell(&asked.id.as_str().map_or_else(|| asked.id.to_string(), str::to_owned))
}

/// A text as a cell: tabs and line ends as `\t`, `\n` and `\r`.
fn cell(text: &str) -> String {
    text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn asked(ids: &[Value]) -> Vec<Asked> {
        ids.iter().map(|id| Asked { id: id.clone(), offset: None, text: String::new(), words: Vec::new() }).collect()
    }

    fn answers(rows: &[(&[&str], &str, &[f64])]) -> DataFrame {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let columns = vec![
            table::texts_column("labels", &rows.iter().map(|row| texts(row.0)).collect::<Vec<_>>()),
            table::texts_column("predictions", &rows.iter().map(|row| texts(&[row.1])).collect::<Vec<_>>()),
            table::reals_column("scores", &rows.iter().map(|row| row.2.to_vec()).collect::<Vec<_>>()),
        ];
        table::frame_of(columns).unwrap()
    }

    #[test]
    fn the_widest_question_names_the_choices() {
        let mut table = AnswerTable::new(Problem::MultipleChoice, &[]);
        let two: (&[&str], &str, &[f64]) = (&["A", "B"], "B", &[0.25, 0.75]);
        let three: (&[&str], &str, &[f64]) = (&["A", "B", "C"], "A", &[0.5, 0.25, 0.25]);
        assert_eq!(table.push(&asked(&["q1".into()]), &answers(&[two])).unwrap(), "");
        assert_eq!(table.push(&asked(&["q2".into(), 3.into()]), &answers(&[three, two])).unwrap(), "");
        assert_eq!(table.finish(), "id\tprediction\tA\tB\tC\nq1\tB\t0.25\t0.75\t\nq2\tA\t0.5\t0.25\t0.25\n3\tB\t0.25\t0.75\t\n");
    }

    #[test]
    fn an_id_stays_in_its_cell() {
        let mut table = AnswerTable::new(Problem::SequenceClassification, &["no".into(), "yes".into()]);
        let row: (&[&str], &str, &[f64]) = (&["no", "yes"], "no", &[0.75, 0.25]);
        let text = table.push(&asked(&["a\tb\r\nc".into()]), &answers(&[row])).unwrap();
        assert_eq!(text, "id\tprediction\tno\tyes\na\\tb\\r\\nc\tno\t0.75\t0.25\n");
        assert_eq!(table.push(&asked(&[2.into()]), &answers(&[row])).unwrap(), "2\tno\t0.75\t0.25\n", "one header");
        assert_eq!(table.finish(), "");
    }
}
