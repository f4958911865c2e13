//! The task `example/facts`: facts of a CSV file.

use std::collections::BTreeMap;

use lmprobe_sdk::schemars::JsonSchema;
use lmprobe_sdk::serde::Deserialize;
use lmprobe_sdk::{Call, CandidateRows, Component, Error, ExampleRow, ExampleRows, ExistingFile, Result, Table, Task};

const HEADER: [&str; 3] = ["subject", "relation", "object"];

/// Parameters of `example/facts`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub struct FactsParams {
    /// A CSV file with the columns subject, relation and object, one fact a line.
    path: ExistingFile,
}

/// Asks for the object of each subject and relation of a file.
#[derive(Debug)]
pub struct Facts {
    path: ExistingFile,
}

impl Component for Facts {
    type Params = FactsParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "facts of a CSV file with the columns subject, relation and object";

    fn build(params: FactsParams, _: &Call<'_>) -> Result<Self> {
        Ok(Self { path: params.path })
    }
}

impl Task for Facts {
    fn default_metrics(&self) -> Vec<String> {
        vec!["example/share-right".to_owned()]
    }

    fn examples(&self, call: &Call<'_>) -> Result<(Table, Table)> {
        let path = self.path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(format!("{}: {error}", path.display())))?;
        // Questions in the order of their first line, so that a file reads like its table.
        let mut order: Vec<(String, String)> = Vec::new();
        let mut golds: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let mut candidates = CandidateRows::new();
        for Record { line, cells } in records(&text).map_err(|(line, message)| Error::input(format!("{}:{line}: {message}", path.display())))? {
            let fail = |message: String| Error::input(format!("{}:{line}: {message}", path.display()));
            let [subject, relation, object] = <[String; 3]>::try_from(cells).map_err(|cells| fail(format!("{} cells, expected 3", cells.len())))?;
            if line == 1 {
                if [&subject, &relation, &object] != HEADER.each_ref() {
                    return Err(fail(format!("the header is `{subject},{relation},{object}`, expected `{}`", HEADER.join(","))));
                }
                continue;
            }
            if let Some((_, name)) = [&subject, &relation, &object].iter().zip(HEADER).find(|(cell, _)| cell.trim().is_empty()) {
                return Err(fail(format!("`{name}` is empty")));
            }
            candidates.push(&relation, &object);
            let key = (relation, subject);
            let known = golds.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                Vec::new()
            });
            if !known.contains(&object) {
                known.push(object);
            }
        }
        if order.is_empty() {
            return Err(Error::input(format!("{}: there is no fact in it", path.display())));
        }
        call.debug(format!("{} questions from {}", order.len(), path.display()));
        let mut examples = ExampleRows::new();
        for (relation, subject) in order {
            let golds = golds.remove(&(relation.clone(), subject.clone())).unwrap_or_default();
            examples.push(ExampleRow {
                example_id: format!("{relation}/{subject}"),
                prompt: format!("{subject} {relation} [Y]"),
                pool: relation.clone(),
                relation,
                subject,
                golds,
            });
        }
        Ok((examples.into_table()?, candidates.into_table()?))
    }
}

/// A line of a file, or several if a quoted cell holds line breaks.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    line: usize,
    cells: Vec<String>,
}

/// The records of a CSV text (RFC 4180); empty lines are skipped. An error carries its line.
fn records(text: &str) -> Result<Vec<Record>, (usize, String)> {
    let mut records = Vec::new();
    let mut chars = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let (mut line, mut start) = (1, 1);
    let (mut cells, mut cell) = (Vec::new(), String::new());
    loop {
        match chars.next() {
            Some('"') if cell.is_empty() => {
                loop {
                    match chars.next() {
                        Some('"') if chars.next_if_eq(&'"').is_some() => cell.push('"'),
                        Some('"') => break,
                        Some(char) => {
                            line += usize::from(char == '\n');
                            cell.push(char);
                        }
                        None => return Err((start, "a quoted cell does not end".to_owned())),
                    }
                }
                if chars.peek().is_some_and(|next| !matches!(next, ',' | '\r' | '\n')) {
                    return Err((line, "text follows a quoted cell".to_owned()));
                }
            }
            Some(',') => cells.push(std::mem::take(&mut cell)),
            Some('\r') if chars.peek() == Some(&'\n') => {}
            end @ (Some('\n') | None) => {
                if !cells.is_empty() || !cell.is_empty() {
                    cells.push(std::mem::take(&mut cell));
                    records.push(Record { line: start, cells: std::mem::take(&mut cells) });
                }
                if end.is_none() {
                    return Ok(records);
                }
                line += 1;
                start = line;
            }
            Some(char) => cell.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<(usize, Vec<String>)> {
        records(text).unwrap().into_iter().map(|record| (record.line, record.cells)).collect()
    }

    #[test]
    fn quotes_commas_and_line_breaks_are_read() {
        let read = cells("a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\n\nlast,");
        let expected = [(1, ["a", "b"]), (2, ["x, \"y\"", "two\nlines"]), (5, ["last", ""])];
        assert_eq!(read, expected.map(|(line, cells)| (line, cells.map(str::to_owned).to_vec())));
    }

    #[test]
    fn broken_quotes_are_named_with_their_line() {
        assert_eq!(records("a\n\"b").unwrap_err(), (2, "a quoted cell does not end".to_owned()));
        assert_eq!(records("a\n\"b\"c").unwrap_err(), (2, "text follows a quoted cell".to_owned()));
    }
}
