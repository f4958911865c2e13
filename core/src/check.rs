//! Checks of what plugins return: the same for built-in and third-party plugins, after every call.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::prelude::DataFrame;

use crate::{Error, Examples, Problem, Result, table};

/// Runs a plugin call and turns a panic into an error that names it.
///
/// # Errors
/// What the call returns, or [`Error::Panic`].
pub fn contained<T>(origin: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(Error::Panic { origin: origin.to_owned(), message })
    })
}

/// Checks what a task returned.
///
/// # Errors
/// [`Error::Frame`] with the first thing that is wrong.
pub fn examples(examples: &Examples, origin: &str) -> Result<()> {
    let schema = examples.problem.examples_schema();
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: schema.name, message });
    let mut seen = HashSet::new();
    for frame in [&examples.examples, &examples.train, &examples.dev] {
        schema.check(frame, origin)?;
        for id in table::texts(frame, "example_id")? {
            if !seen.insert(id) {
                return fail(format!("example_id `{id}` comes twice"));
            }
        }
    }
    table::CANDIDATES.check(&examples.candidates, origin)?;
    if examples.problem == Problem::Cloze { cloze_examples(examples, origin) } else { labelled_examples(examples, origin) }
}

fn cloze_examples(examples: &Examples, origin: &str) -> Result<()> {
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: "examples", message });
    if examples.examples.height() == 0 {
        return fail("there is no example".into());
    }
    let pools: HashSet<&str> = table::texts(&examples.candidates, "pool")?.into_iter().collect();
    for (row, pool) in table::texts(&examples.examples, "pool")?.into_iter().enumerate() {
        if !pools.contains(pool) {
            return fail(format!("row {row} answers from the pool `{pool}`, which has no candidate"));
        }
    }
    for (row, prompt) in table::texts(&examples.examples, "prompt")?.into_iter().enumerate() {
        if prompt.matches("[Y]").count() != 1 {
            return fail(format!("the prompt of row {row} must hold `[Y]` once: {prompt:?}"));
        }
    }
    Ok(())
}

fn labelled_examples(examples: &Examples, origin: &str) -> Result<()> {
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: examples.problem.examples_schema().name, message });
    if examples.examples.height() == 0 && examples.train.height() == 0 {
        return fail("there is no example, neither to learn from nor to ask".into());
    }
    let known: HashSet<&str> = examples.labels.iter().map(String::as_str).collect();
    let gold = match examples.problem {
        Problem::TokenClassification => "tags",
        Problem::SequenceClassification | Problem::MultiLabel | Problem::MultipleChoice => "golds",
        Problem::ExtractiveQa => return question_examples(examples, origin),
        Problem::Regression | Problem::Cloze => return Ok(()),
    };
    for frame in [&examples.examples, &examples.train, &examples.dev] {
        let golds = table::text_lists(frame, gold)?;
        for (row, golds) in golds.iter().enumerate() {
            if let Some(label) = golds.iter().find(|label| !known.contains(label.as_str())) {
                return fail(format!("row {row} has the label `{label}`, which is not among the task's: {}", examples.labels.join(", ")));
            }
            let single = matches!(examples.problem, Problem::SequenceClassification | Problem::MultipleChoice);
            if single && golds.len() > 1 {
                return fail(format!("row {row} has {} labels, expected one", golds.len()));
            }
        }
        if examples.problem == Problem::TokenClassification {
            for (row, (words, tags)) in table::text_lists(frame, "words")?.iter().zip(&golds).enumerate() {
                if !tags.is_empty() && words.len() != tags.len() {
                    return fail(format!("row {row} has {} words and {} tags", words.len(), tags.len()));
                }
            }
        }
    }
    Ok(())
}

fn question_examples(examples: &Examples, origin: &str) -> Result<()> {
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: table::QUESTION_EXAMPLES.name, message });
    for frame in [&examples.examples, &examples.train, &examples.dev] {
        for (row, (golds, starts)) in table::text_lists(frame, "golds")?.iter().zip(table::count_lists(frame, "starts")?).enumerate() {
            let empty = golds.iter().any(String::is_empty);
            if empty && golds.len() > 1 {
                return fail(format!("row {row} has an empty answer, which says that the context holds none, among {} answers", golds.len()));
            }
            let places = if empty { 0 } else { golds.len() };
            if starts.len() > places {
                return fail(format!("row {row} has {} places for {places} answers", starts.len()));
            }
        }
    }
    Ok(())
}

/// Checks what a prober returned for these examples.
///
/// # Errors
/// [`Error::Frame`] with the first thing that is wrong.
pub fn predictions(predictions: &DataFrame, examples: &Examples, origin: &str) -> Result<()> {
    let schema = examples.problem.predictions_schema();
    schema.check(predictions, origin)?;
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: schema.name, message });
    let asked = table::texts(&examples.examples, "example_id")?;
    let answered = table::texts(predictions, "example_id")?;
    if asked.len() != answered.len() {
        return fail(format!("{} rows for {} examples", answered.len(), asked.len()));
    }
    if let Some((row, (asked, answered))) = asked.iter().zip(&answered).enumerate().find(|(_, (asked, answered))| asked != answered) {
        return fail(format!("row {row} answers `{answered}`, expected `{asked}`"));
    }
    if examples.problem != Problem::Regression {
        for (row, scores) in table::real_lists(predictions, "scores")?.into_iter().enumerate() {
            if scores.iter().any(|score| score.is_nan()) {
                return fail(format!("row {row} has a NaN score"));
            }
        }
    }
    // Lists that belong together have one length.
    let together: &[&str] = match examples.problem {
        Problem::Cloze => return ranks(predictions, origin),
        Problem::TokenClassification => &["words", "predictions", "scores"],
        Problem::SequenceClassification | Problem::MultiLabel | Problem::MultipleChoice => &["labels", "scores"],
        Problem::ExtractiveQa => &["predictions", "scores", "starts", "start_logits", "end_logits"],
        Problem::Regression => &[],
    };
    let lengths = |name: &str| -> Result<Vec<usize>> {
        let column = predictions.column(name)?.list()?;
        Ok((0..column.len()).map(|row| column.get_as_series(row).map_or(0, |cell| cell.len())).collect())
    };
    if let [first, rest @ ..] = together {
        let expected = lengths(first)?;
        for name in rest {
            if let Some((row, (found, expected))) = lengths(name)?.iter().zip(&expected).enumerate().find(|(_, (found, expected))| found != expected) {
                return fail(format!("row {row} has {expected} entries in `{first}` and {found} in `{name}`"));
            }
        }
    }
    Ok(())
}

fn ranks(predictions: &DataFrame, origin: &str) -> Result<()> {
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: "predictions", message });
    let ranks = predictions.column("rank")?.u64()?;
    let sizes = predictions.column("n_candidates")?.u64()?;
    for (row, (rank, size)) in ranks.iter().zip(sizes.iter()).enumerate() {
        let size = size.unwrap_or(0);
        if rank.is_some_and(|rank| rank == 0 || rank > size) {
            return fail(format!("row {row} has rank {} of {size} candidates", rank.unwrap_or(0)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Splits;

    /// What is said of a task with one question that has these answers and places.
    fn said(golds: &[&str], starts: &[u64]) -> String {
        let golds: Vec<String> = golds.iter().map(|&gold| gold.to_owned()).collect();
        let texts = ["example_id", "cluster", "question", "context"].map(|name| table::text_column(name, std::iter::once(Some("IL-2"))));
        let lists = [table::texts_column("golds", &[golds]), table::counts_column("starts", &[starts.to_vec()])];
        let test = table::frame_of(texts.into_iter().chain(lists).collect()).unwrap();
        let nothing = test.head(Some(0));
        let task = Examples::labelled(Problem::ExtractiveQa, Splits { train: nothing.clone(), dev: nothing, test }, Vec::new()).unwrap();
        examples(&task, "x").map_or_else(|error| error.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn answers_have_at_most_a_place_each_and_no_answer_stands_alone() {
        let fitting: [(&[&str], &[u64]); 5] = [(&["IL-2"], &[0]), (&["IL-2", "interleukin 2"], &[0]), (&["TP53"], &[]), (&[""], &[]), (&[], &[])];
        assert!(fitting.iter().all(|(golds, starts)| said(golds, starts) == "fits"));
        assert!(said(&["IL-2"], &[0, 1]).ends_with("row 0 has 2 places for 1 answers"), "{}", said(&["IL-2"], &[0, 1]));
        assert!(said(&[""], &[0]).ends_with("row 0 has 1 places for 0 answers"));
        assert!(said(&["IL-2", ""], &[0]).ends_with("row 0 has an empty answer, which says that the context holds none, among 2 answers"));
    }
}
