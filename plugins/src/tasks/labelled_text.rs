//! Texts and pairs of texts with labels, and which labels there are.

use std::collections::{BTreeSet, HashSet};

use lmprobe_core::{Error, Examples, Problem, Result, table};

use super::splits::{self, Found, Notes, PerSplit};
use super::template::listed;

/// A text, or a pair of texts, with its labels.
#[derive(Debug, Clone)]
pub(crate) struct LabelledText {
    pub(crate) text: String,
    pub(crate) text_pair: Option<String>,
    pub(crate) golds: Vec<String>,
}

/// The tables of labelled texts. Labels of the test or development split that no training example has are noted.
///
/// # Errors
/// If the table library refuses the columns.
pub(crate) fn examples(problem: Problem, splits: &PerSplit<Vec<Found<LabelledText>>>, labels: Vec<String>, mut notes: Notes) -> Result<Examples> {
    if !splits.train.is_empty() {
        let learned: HashSet<&String> = splits.train.iter().flat_map(|example| &example.content.golds).collect();
        let held_out = splits.dev.iter().chain(&splits.test);
        let strange: BTreeSet<&String> = held_out.flat_map(|example| &example.content.golds).filter(|label| !learned.contains(label)).collect();
        if !strange.is_empty() {
            let strange: Vec<&String> = strange.into_iter().collect();
            notes.say(format!("no training example has the label {}, which held-out examples have", listed(&strange)));
        }
    }
    splits::examples(problem, splits, labels, notes, |rows| {
        let golds: Vec<&Vec<String>> = rows.iter().map(|row| &row.golds).collect();
        vec![
            table::text_column("text", rows.iter().map(|row| Some(row.text.as_str()))),
            table::text_column("text_pair", rows.iter().map(|row| row.text_pair.as_deref())),
            table::texts_column("golds", &golds),
        ]
    })
}

/// Refuses declared labels of which one comes twice.
///
/// # Errors
/// With the first such label.
pub(crate) fn check_declared(labels: &[String]) -> Result<()> {
    match labels.iter().enumerate().find_map(|(place, label)| labels[..place].contains(label).then_some(label)) {
        Some(twice) => Err(Error::Config(format!("`labels` names `{twice}` twice; every label stands there once"))),
        None => Ok(()),
    }
}

/// The labels of a task: the declared ones, or those of all splits in byte order.
///
/// # Errors
/// If an example has a label that was not declared, or labels that are whole numbers leave one out.
pub(crate) fn labels(declared: &[String], splits: &PerSplit<Vec<Found<LabelledText>>>) -> Result<Vec<String>> {
    if !declared.is_empty() {
        check(declared, splits)?;
        return Ok(declared.to_vec());
    }
    let seen: BTreeSet<&String> = splits.all().flat_map(|example| &example.content.golds).collect();
    if let (Some(gap), Some(example)) = (gap(&seen), splits.all().next()) {
        let seen: Vec<&String> = seen.into_iter().collect();
        return Err(example.place.error(format!("the labels are {}, but `{gap}` never occurs; declare all with `labels`", listed(&seen))));
    }
    Ok(seen.into_iter().cloned().collect())
}

/// Refuses labels that are not among these.
///
/// # Errors
/// With the first such label and its place.
pub(crate) fn check(known: &[String], splits: &PerSplit<Vec<Found<LabelledText>>>) -> Result<()> {
    for example in splits.all() {
        if let Some(label) = example.content.golds.iter().find(|label| !known.contains(label)) {
            return Err(example.place.error(format!("unknown label `{label}`; the labels are {}", listed(known))));
        }
    }
    Ok(())
}

/// The first number that is missing between labels which are all whole numbers.
fn gap(labels: &BTreeSet<&String>) -> Option<u64> {
    let numbers = labels.iter().map(|label| label.parse()).collect::<Result<BTreeSet<u64>, _>>().ok()?;
    numbers.iter().zip(numbers.iter().skip(1)).find_map(|(&low, &high)| (high > low + 1).then_some(low + 1))
}
