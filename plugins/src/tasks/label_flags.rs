//! Labels as flags: for each label a 0 or a 1, as LinkBERT's files have them.

use lmprobe_core::{Error, Result};
use lmprobe_scorers::label_cells::HALLMARKS_OF_CANCER;

use super::data_file::DataFile;
use super::splits::Notes;

/// The names that the flags of a column stand for, if its cells, which `cells` holds item by item, are flags: of every row as many, two at
/// least, and all of them 0 or 1. The names are the declared ones; ten flags without any are the hallmarks of cancer, which is noted.
///
/// # Errors
/// If there are flags, and not as many names.
pub(crate) fn names(file: &DataFile, column: &str, cells: &[Vec<String>], declared: &[String], notes: &mut Notes) -> Result<Option<Vec<String>>> {
    let Some(n) = width(cells) else { return Ok(None) };
    let refused = |message: String| Error::data(&file.path, file.rows.first().map(|row| row.line), message);
    if declared.is_empty() && n == HALLMARKS_OF_CANCER.len() {
        let path = file.path.display();
        notes.say(format!("{path}: `{column}` holds ten flags, which were read as the hallmarks of cancer; with `labels` they are others"));
        return Ok(Some(HALLMARKS_OF_CANCER.map(str::to_owned).to_vec()));
    }
    if declared.is_empty() {
        return Err(refused(format!("`{column}` holds {n} flags, 0 or 1; say with `labels` what they stand for, in their order")));
    }
    if declared.len() != n {
        return Err(refused(format!("`{column}` holds {n} flags, 0 or 1, but `labels` names {}", declared.len())));
    }
    Ok(Some(declared.to_vec()))
}

/// The names whose flag is 1.
pub(crate) fn raised(names: &[String], flags: &[String]) -> Vec<String> {
    names.iter().zip(flags).filter(|(_, flag)| is_one(flag)).map(|(name, _)| name.clone()).collect()
}

fn width(cells: &[Vec<String>]) -> Option<usize> {
    let n = cells.first()?.len();
    (n > 1 && cells.iter().all(|cell| cell.len() == n && cell.iter().all(|item| is_one(item) || is_zero(item)))).then_some(n)
}

fn is_one(item: &str) -> bool {
    matches!(item, "1" | "1.0")
}

fn is_zero(item: &str) -> bool {
    matches!(item, "0" | "0.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_as_many_zeros_and_ones_in_every_row() {
        let of = |rows: &[&str]| -> Vec<Vec<String>> { rows.iter().map(|row| row.split(' ').map(str::to_owned).collect()).collect() };
        assert_eq!(width(&of(&["0 0 1", "1.0 0.0 0.0"])), Some(3));
        for names in [&["0", "1"][..], &["0 1", "1"], &["0 2"], &["0 x"], &[]] {
            assert_eq!(width(&of(names)), None, "{names:?}");
        }
        assert_eq!(raised(&["a".to_owned(), "b".to_owned()], &of(&["0 1"])[0]), ["b"]);
    }
}
