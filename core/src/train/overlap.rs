//! What the splits of a task share: the same question twice, or questions of one document.

use std::collections::{BTreeSet, HashMap, HashSet};

use polars::prelude::DataFrame;

use super::task_share::Overlap;
use crate::{Problem, Result, table};

/// Takes out of splits what others have too, or only counts it.
pub(super) struct Separation {
    problem: Problem,
    overlap: Overlap,
    /// What was found, for the record.
    pub(super) notes: Vec<String>,
}

/// The examples that others are compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Against {
    /// Those that are asked.
    Asked,
    /// Those that recipes are chosen by.
    Development,
}

impl Against {
    fn all(self) -> &'static str {
        match self {
            Self::Asked => "among those asked",
            Self::Development => "development examples",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Asked => "one that is asked",
            Self::Development => "a development example",
        }
    }
}

impl Separation {
    /// For the tables of a problem.
    pub(super) fn new(problem: Problem, overlap: Overlap) -> Self {
        Self { problem, overlap, notes: Vec::new() }
    }

    /// The examples of `frame`, called `what` in notes, that may stay beside `others`.
    pub(super) fn apart(&mut self, frame: &DataFrame, what: &str, others: &DataFrame, against: Against) -> Result<DataFrame> {
        let stay = self.staying(frame, what, others, against)?;
        if stay.len() == frame.height() { Ok(frame.clone()) } else { table::rows(frame, &stay) }
    }

    /// As [`Self::apart`], as rows of `frame`, ascending.
    pub(super) fn staying(&mut self, frame: &DataFrame, what: &str, others: &DataFrame, against: Against) -> Result<Vec<usize>> {
        let n = frame.height();
        let all = (0..n).collect();
        if n == 0 || others.height() == 0 {
            return Ok(all);
        }
        let shared = Shared::of(&Contents::of(frame, self.problem)?, &Contents::of(others, self.problem)?);
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
        let (same, related) = (count(&shared.same), count(&shared.related));
        let fate = if self.overlap == Overlap::Keep { "kept" } else { "left out" };
        if same > 0 {
            self.notes.push(format!("{same} of {n} {what} examples are also {} and were {fate}", against.all()));
        }
        if related > 0 {
            let of = if same > 0 { format!("the other {}", n - same) } else { n.to_string() };
            self.notes.push(format!("{related} of {of} {what} examples have their document or premise in common with {} and were {fate}", against.one()));
        }
        if let Some((n, name)) = shared.uncertain {
            self.notes.push(format!(
                "{n} {what} examples are of a document called as that of {}, such as `{name}`; these names count on from the beginning of each split, so \
                 they were not taken for the same documents",
                against.one()
            ));
        }
        if self.overlap == Overlap::Keep {
            return Ok(all);
        }
        Ok((0..n).filter(|&row| !shared.same[row] && !shared.related[row]).collect())
    }
}

/// What the examples of one split have in common with those of another, row by row.
struct Shared {
    /// The same is asked.
    same: Vec<bool>,
    /// Something else is asked of the same document or premise.
    related: Vec<bool>,
    /// How many examples have a cluster of the same name that may be another one, and such a name.
    uncertain: Option<(usize, String)>,
}

impl Shared {
    fn of(these: &Contents<'_>, others: &Contents<'_>) -> Self {
        let asked: HashSet<&str> = others.asked.iter().map(String::as_str).collect();
        let clusters: HashSet<&str> = others.clusters.iter().copied().collect();
        let (counted, counted_there) = (these.counted(), others.counted());
        let mut shared = Self { same: vec![false; these.asked.len()], related: vec![false; these.asked.len()], uncertain: None };
        for (row, cluster) in these.clusters.iter().enumerate() {
            shared.same[row] = asked.contains(these.asked[row].as_str());
            if shared.same[row] || !clusters.contains(cluster) {
                continue;
            }
            let is_position =
                !these.named_by_text[row] && series(cluster).is_some_and(|(series, _)| counted.contains(&series) || counted_there.contains(&series));
            if is_position {
                shared.uncertain.get_or_insert_with(|| (0, (*cluster).to_owned())).0 += 1;
            } else {
                shared.related[row] = true;
            }
        }
        shared
    }
}

/// The examples of a split by what they ask and what they belong to.
struct Contents<'a> {
    /// What an example asks, without its gold: two examples of the same content are the same question.
    asked: Vec<String>,
    clusters: Vec<&'a str>,
    /// Whether the cluster is called by a text of the example, as premises are: such a name says what it is.
    named_by_text: Vec<bool>,
}

impl<'a> Contents<'a> {
    fn of(frame: &'a DataFrame, problem: Problem) -> Result<Self> {
        const SEPARATOR: &str = "\u{1f}";
        let names: &[&str] = match problem {
            Problem::Cloze => &["prompt"],
            Problem::TokenClassification => &[],
            Problem::SequenceClassification | Problem::MultiLabel | Problem::Regression => &["text", "text_pair"],
            Problem::MultipleChoice => &["text"],
            Problem::ExtractiveQa => &["question", "context"],
        };
        let columns = names.iter().map(|column| table::texts(frame, column)).collect::<Result<Vec<_>>>()?;
        let clusters = if problem == Problem::Cloze { table::texts(frame, "example_id")? } else { table::texts(frame, "cluster")? };
        let lists = match problem {
            Problem::TokenClassification => table::text_lists(frame, "words")?,
            Problem::MultipleChoice => table::text_lists(frame, "choices")?,
            _ => vec![Vec::new(); frame.height()],
        };
        let asked = (0..frame.height()).map(|row| {
            let texts = columns.iter().map(|column| column[row]);
            texts.chain(lists[row].iter().map(String::as_str)).collect::<Vec<_>>().join(SEPARATOR)
        });
        let named_by_text = (0..frame.height()).map(|row| columns.iter().any(|column| column[row] == clusters[row])).collect();
        Ok(Self { asked: asked.collect(), named_by_text, clusters })
    }

    /// The series of names that count from 0 or 1 on, with fewer numbers missing than there. `train.tsv:1`, `train.tsv:2` are such: if one split has them, the same
    /// number in another need not mean the same document. Numbers of a registry do not begin at 1, and a title with a number stands alone.
    fn counted(&self) -> HashSet<(&'a str, &'a str)> {
        let mut numbers: HashMap<(&str, &str), BTreeSet<u64>> = HashMap::new();
        for (cluster, _) in self.clusters.iter().zip(&self.named_by_text).filter(|(_, by_text)| !**by_text) {
            if let Some((series, number)) = series(cluster) {
                numbers.entry(series).or_default().insert(number);
            }
        }
        let counts = |numbers: &BTreeSet<u64>| {
            let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else { return false };
            first <= 1 && numbers.len() as u64 * 2 > last - first
        };
        numbers.into_iter().filter(|(_, numbers)| counts(numbers)).map(|(series, _)| series).collect()
    }
}

/// What stands before and behind the last number of a name, and the number.
fn series(name: &str) -> Option<((&str, &str), u64)> {
    let end = name.rfind(|character: char| character.is_ascii_digit())? + 1;
    let start =
        name[..end].rfind(|character: char| !character.is_ascii_digit()).map_or(0, |before| before + name[before..].chars().next().map_or(1, char::len_utf8));
    Some(((&name[..start], &name[end..]), name[start..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with the cluster of each.
    fn texts(rows: &[(&str, &str)]) -> DataFrame {
        let column = |name: &str, cells: Vec<&str>| table::text_column(name, cells.into_iter().map(Some));
        let (clusters, texts): (Vec<&str>, Vec<&str>) = rows.iter().copied().unzip();
        table::frame_of(vec![
            column("example_id", texts.clone()),
            column("cluster", clusters),
            column("text", texts),
            table::text_column("text_pair", rows.iter().map(|_| None)),
        ])
        .unwrap()
    }

    /// Which rows of the first table stay beside the second, and what is said.
    fn staying(these: &[(&str, &str)], others: &[(&str, &str)], overlap: Overlap) -> (Vec<usize>, Vec<String>) {
        let mut separation = Separation::new(Problem::SequenceClassification, overlap);
        let stay = separation.staying(&texts(these), "training", &texts(others), Against::Asked).unwrap();
        (stay, separation.notes)
    }

    #[test]
    fn what_is_the_same_or_of_the_same_document_is_left_out_or_kept_and_counted() {
        let these = [("PMC77", "a"), ("PMC77", "b"), ("PMC78", "c"), ("PMC79", "d")];
        let asked = [("PMC77", "e"), ("PMC99", "d")];
        let said = |fate: &str| {
            [
                format!("1 of 4 training examples are also among those asked and were {fate}"),
                format!("2 of the other 3 training examples have their document or premise in common with one that is asked and were {fate}"),
            ]
        };
        assert_eq!(staying(&these, &asked, Overlap::LeaveOut), (vec![2], said("left out").to_vec()));
        assert_eq!(staying(&these, &asked, Overlap::Keep), (vec![0, 1, 2, 3], said("kept").to_vec()));
        assert_eq!(staying(&these[..3], &asked[1..], Overlap::LeaveOut), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn names_that_count_in_each_split_do_not_make_documents_the_same() {
        let these = [("x/data.tsv:1", "a"), ("x/data.tsv:2", "b"), ("x/data.tsv:4", "c")];
        let asked = [("x/data.tsv:1", "e"), ("x/data.tsv:2", "f")];
        let said = "2 training examples are of a document called as that of one that is asked, such as `x/data.tsv:1`; these names count on from the beginning of \
                    each split, so they were not taken for the same documents";
        assert_eq!(staying(&these, &asked, Overlap::LeaveOut), (vec![0, 1, 2], vec![said.to_owned()]));
        let alone = [("x/data.tsv:1", "e")];
        assert_eq!(staying(&these, &alone, Overlap::LeaveOut).0, [0, 1, 2], "a split of one document");
        assert_eq!(staying(&[("x/data.tsv:2", "a")], &asked, Overlap::LeaveOut).0, [0], "only the one split counts: the other was drawn from more");
        for name in ["train-1", "1", "(1", "document 1."] {
            assert_eq!(staying(&[(name, "a")], &[(name, "b")], Overlap::LeaveOut).0, [0], "{name}");
        }
    }

    #[test]
    fn names_that_do_not_count_are_those_of_documents() {
        for name in ["90092414", "Super_Bowl_50", "P", "x/data.tsv:7"] {
            assert_eq!(staying(&[(name, "a"), ("other", "c")], &[(name, "b")], Overlap::LeaveOut).0, [1], "{name}");
        }
        // Numbers that lie far apart do not count, even if 1 is among them.
        let these = [("d1", "a"), ("d40", "b"), ("d77", "c")];
        assert_eq!(staying(&these, &[("d40", "e"), ("d60", "f")], Overlap::LeaveOut).0, [0, 2]);
    }

    #[test]
    fn a_premise_that_ends_with_a_number_is_a_premise() {
        let premises = |pair: &str| {
            let frame = texts(&[("Tumour of grade 1", "Tumour of grade 1")]);
            let mut frame = frame.clone();
            frame.with_column(table::text_column("text_pair", [Some(pair)].into_iter()).into()).unwrap();
            frame
        };
        let mut separation = Separation::new(Problem::SequenceClassification, Overlap::LeaveOut);
        let stay = separation.staying(&premises("It is large."), "training", &premises("It is small."), Against::Development).unwrap();
        assert_eq!(
            (stay, separation.notes),
            (vec![], vec!["1 of 1 training examples have their document or premise in common with a development example and were left out".to_owned()])
        );
    }

    #[test]
    fn the_last_number_of_a_name_is_found() {
        assert_eq!(series("x/data.tsv:12"), Some((("x/data.tsv:", ""), 12)));
        assert_eq!(series("7"), Some((("", ""), 7)));
        assert_eq!(series("é12ß"), Some((("é", "ß"), 12)));
        assert_eq!((series("abc"), series("")), (None, None));
        assert_eq!(series("99999999999999999999999"), None, "too great for a count");
    }
}
