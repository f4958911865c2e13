//! The score that decides which weights are kept: one a kind of problem, of the predictions for the development examples.

use lmprobe_core::{DevScore, Error, Problem, Result, table};
use lmprobe_scorers::Counts;
use lmprobe_scorers::answers::{AnswerCounts, Match};
use lmprobe_scorers::entities::{EntityCounts, Scheme};
use lmprobe_scorers::label_cells::LabelCells;
use polars::prelude::DataFrame;

/// The score of predictions, [`Problem::predictions_schema`]; `None` if nothing is known of any gold.
///
/// # Errors
/// If the table lacks a column, or a tag is empty.
pub(super) fn development_score(predictions: &DataFrame, problem: Problem) -> Result<Option<DevScore>> {
    let fail = |error: lmprobe_scorers::Error| Error::Unsupported(format!("the development score cannot be computed: {error}"));
    let (metric, value, n) = match problem {
        Problem::TokenClassification => {
            let (mut counts, mut n) = (Counts::default(), 0);
            for (golds, found) in table::text_lists(predictions, "golds")?.iter().zip(table::text_lists(predictions, "predictions")?) {
                if !golds.is_empty() {
                    counts += EntityCounts::of(golds, &found, Scheme::Conlleval).map_err(fail)?.total();
                    n += 1;
                }
            }
            ("entity-f1", counts.f1(), n)
        }
        Problem::SequenceClassification | Problem::MultipleChoice => {
            let rows = table::text_lists(predictions, "golds")?.into_iter().zip(table::text_lists(predictions, "predictions")?);
            let right: Vec<bool> = rows.filter(|(golds, _)| !golds.is_empty()).map(|(golds, found)| golds == found).collect();
            ("accuracy", mean(right.iter().map(|&right| if right { 1.0 } else { 0.0 })), right.len())
        }
        Problem::MultiLabel => {
            let labels = table::text_lists(predictions, "labels")?;
            let mut cells = LabelCells::new(labels.first().map_or(&[][..], Vec::as_slice));
            for (golds, found) in table::text_lists(predictions, "golds")?.iter().zip(table::text_lists(predictions, "predictions")?) {
                cells.add_names(golds, &found).map_err(fail)?;
            }
            ("cell-f1", cells.total().f1(), labels.len())
        }
        Problem::Regression => {
            let rows = table::optional_reals(predictions, "target")?.into_iter().zip(table::optional_reals(predictions, "prediction")?);
            let errors: Vec<f64> = rows.filter_map(|(target, found)| Some((found? - target?).powi(2))).collect();
            ("mse", mean(errors.iter().copied()), errors.len())
        }
        Problem::ExtractiveQa => {
            let mut counts = AnswerCounts::default();
            for (golds, found) in table::text_lists(predictions, "golds")?.iter().zip(table::text_lists(predictions, "predictions")?) {
                if !golds.is_empty() {
                    counts.add(Match::of(found.first().map_or("", String::as_str), golds));
                }
            }
            ("answer-f1", counts.f1(), usize::try_from(counts.n).unwrap_or(usize::MAX))
        }
        Problem::Cloze => return Err(Error::Unsupported("a cloze task has no development score".into())),
    };
    Ok((n > 0).then(|| DevScore { metric: metric.to_owned(), value, higher_is_better: problem != Problem::Regression }))
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "examples are far below 2^53")]
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use polars::prelude::{NamedFrom, Series};

    use super::*;

    fn lists(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells.iter().map(|cell| cell.iter().map(|text| (*text).to_owned()).collect()).collect()
    }

    fn frame(golds: &[&[&str]], predictions: &[&[&str]]) -> DataFrame {
        let labels = vec![vec!["a".to_owned(), "b".to_owned()]; golds.len()];
        let columns = [("golds", lists(golds)), ("predictions", lists(predictions)), ("labels", labels)];
        table::frame_of(columns.iter().map(|(name, cells)| table::texts_column(name, cells)).collect()).unwrap()
    }

    fn score(frame: &DataFrame, problem: Problem) -> Option<(String, f64)> {
        development_score(frame, problem).unwrap().map(|score| (score.metric, score.value))
    }

    #[test]
    fn each_problem_has_its_score() {
        // One of two entities found, and one more: 2 x 1 / (2 + 2).
        let tags = frame(&[&["B", "I", "O", "B"], &[]], &[&["B", "I", "B", "O"], &["B"]]);
        assert_eq!(score(&tags, Problem::TokenClassification), Some(("entity-f1".into(), 0.5)));
        let classes = frame(&[&["a"], &["b"], &[]], &[&["a"], &["a"], &["a"]]);
        assert_eq!(score(&classes, Problem::SequenceClassification), Some(("accuracy".into(), 0.5)));
        // Cells: two right of three gold and three found.
        let flags = frame(&[&["a", "b"], &["a"]], &[&["a"], &["a", "b"]]);
        assert!((score(&flags, Problem::MultiLabel).unwrap().1 - 2.0 / 3.0).abs() < 1e-12);
        // One of two words of the answer, and the right refusal: (2/3 + 1) / 2.
        // Of the third nothing is known.
        let answers = frame(&[&["TP53 gene"], &[""], &[]], &[&["TP53"], &[""], &[""]]);
        assert!((score(&answers, Problem::ExtractiveQa).unwrap().1 - 5.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn regression_is_scored_by_its_error_where_the_target_is_known() {
        let numbers =
            table::frame_of(vec![Series::new("target".into(), vec![Some(1.0), None, Some(3.0)]), Series::new("prediction".into(), vec![2.0, 9.0, 3.0])])
                .unwrap();
        let score = development_score(&numbers, Problem::Regression).unwrap().unwrap();
        assert_eq!((score.metric.as_str(), score.value, score.higher_is_better), ("mse", 0.5, false));
    }

    #[test]
    fn without_gold_there_is_no_score() {
        assert_eq!(score(&frame(&[&[]], &[&["a"]]), Problem::SequenceClassification), None);
        assert_eq!(score(&frame(&[&[]], &[&[""]]), Problem::ExtractiveQa), None);
    }
}
