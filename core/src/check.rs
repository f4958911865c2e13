//! Checks of what plugins return: the same for built-in and third-party plugins, after every call.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::prelude::DataFrame;

use crate::{Error, Examples, Result, table};

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
    table::EXAMPLES.check(&examples.examples, origin)?;
    table::CANDIDATES.check(&examples.candidates, origin)?;
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: "examples", message });
    if examples.examples.height() == 0 {
        return fail("there is no example".into());
    }
    let mut seen = HashSet::new();
    for id in table::texts(&examples.examples, "example_id")? {
        if !seen.insert(id) {
            return fail(format!("example_id `{id}` comes twice"));
        }
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

/// Checks what a prober returned for these examples.
///
/// # Errors
/// [`Error::Frame`] with the first thing that is wrong.
pub fn predictions(predictions: &DataFrame, examples: &Examples, origin: &str) -> Result<()> {
    table::PREDICTIONS.check(predictions, origin)?;
    let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: "predictions", message });
    let asked = table::texts(&examples.examples, "example_id")?;
    let answered = table::texts(predictions, "example_id")?;
    if asked.len() != answered.len() {
        return fail(format!("{} rows for {} examples", answered.len(), asked.len()));
    }
    if let Some((row, (asked, answered))) = asked.iter().zip(&answered).enumerate().find(|(_, (asked, answered))| asked != answered) {
        return fail(format!("row {row} answers `{answered}`, expected `{asked}`"));
    }
    let ranks = predictions.column("rank")?.u64()?;
    let sizes = predictions.column("n_candidates")?.u64()?;
    for (row, (rank, size)) in ranks.iter().zip(sizes.iter()).enumerate() {
        let size = size.unwrap_or(0);
        if rank.is_some_and(|rank| rank == 0 || rank > size) {
            return fail(format!("row {row} has rank {} of {size} candidates", rank.unwrap_or(0)));
        }
    }
    let scores = predictions.column("scores")?.list()?;
    for row in 0..scores.len() {
        if let Some(scores) = scores.get_as_series(row)
            && scores.f64()?.iter().flatten().any(f64::is_nan)
        {
            return fail(format!("row {row} has a NaN score"));
        }
    }
    Ok(())
}
