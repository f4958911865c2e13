//! Where the answers to a question stand in its context.

use super::splits::{Notes, Place};

/// An answer as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// The text, without blanks around it.
    pub(crate) text: String,
    /// Where the file says that it begins, in characters; nothing if it does not say.
    pub(crate) start: Option<u64>,
}

/// Answers that stand in a context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// As the context has them, each place once.
    pub(crate) texts: Vec<String>,
    /// Where they begin, in characters.
    pub(crate) starts: Vec<u64>,
    /// How many answers do not stand in it.
    pub(crate) strangers: usize,
}

impl Written {
    /// An answer of a file; `None` if it is empty.
    pub(crate) fn new(text: &str, start: Option<u64>) -> Option<Self> {
        let before = text.chars().count() - text.trim_start().chars().count();
        let text = text.trim().to_owned();
        (!text.is_empty()).then(|| Self { text, start: start.map(|start| start + before as u64) })
    }
}

/// A context whose characters can be counted.
pub(crate) struct Context<'a> {
    pub(crate) text: &'a str,
    /// Where each character begins, in bytes.
    bytes: Vec<usize>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.char_indices().map(|(byte, _)| byte).collect() }
    }

    /// The answers where they truly stand. Which were moved, and which the context writes with other blanks, is counted.
    pub(crate) fn place(&self, written: &[Written], place: &Place, notes: &mut Notes) -> Placed {
        let mut placed = Placed::default();
        for answer in written {
            let found = match self.nearest(answer) {
                Some(start) => Some((answer.text.clone(), start)),
                None => self
                    .nearest_but_for_blanks(answer)
                    .inspect(|_| notes.count("answers stand in their context with other blanks and were taken from it", place)),
            };
            let Some((text, start)) = found else {
                placed.strangers += 1;
                continue;
            };
            if let Some(said) = answer.start.filter(|said| *said != start) {
                notes.count(&format!("answers were moved by {} to where the context has them", distance(said, start)), place);
            }
            if !placed.texts.iter().zip(&placed.starts).any(|other| other == (&text, &start)) {
                placed.texts.push(text);
                placed.starts.push(start);
            }
        }
        placed
    }

    /// Where the context has the answer, nearest to where it was said to be; the earlier of two.
    fn nearest(&self, answer: &Written) -> Option<u64> {
        let said = answer.start.unwrap_or(0);
        let there = usize::try_from(said).ok().and_then(|start| self.bytes.get(start)).is_some_and(|&byte| self.text[byte..].starts_with(&answer.text));
        if there {
            return Some(said);
        }
        let starts = places(self.text, &answer.text).map(|byte| self.bytes.binary_search(&byte).expect("a match begins at a character") as u64);
        starts.min_by_key(|start| (start.abs_diff(said), *start))
    }

    /// The same where runs of blanks, tabs and line ends count as one blank, as BioBERT's `run_qa.py` reads contexts: what the context has, and where.
    fn nearest_but_for_blanks(&self, answer: &Written) -> Option<(String, u64)> {
        let mut squeezed = String::new();
        // The character of the context that each byte of `squeezed` stands for.
        let mut of: Vec<usize> = Vec::new();
        for (index, character) in self.text.chars().enumerate() {
            let blank = character.is_whitespace();
            if !(blank && squeezed.ends_with(' ')) {
                squeezed.push(if blank { ' ' } else { character });
                of.resize(squeezed.len(), index);
            }
        }
        let wanted = answer.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = answer.start.unwrap_or(0);
        let spans = places(&squeezed, &wanted).map(|byte| (of[byte], of[byte + wanted.len() - 1]));
        let (first, last) = spans.min_by_key(|(first, _)| ((*first as u64).abs_diff(said), *first))?;
        let end = self.bytes.get(last + 1).copied().unwrap_or(self.text.len());
        Some((self.text[self.bytes[first]..end].to_owned(), first as u64))
    }
}

/// The bytes at which a text that is not empty stands in another, overlaps included.
fn places(text: &str, wanted: &str) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text[from..].find(wanted)?;
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        Some(at)
    })
}

fn distance(from: u64, to: u64) -> String {
    let n = from.abs_diff(to);
    format!("{}{n}", if to < from { "-" } else { "+" })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place(context: &str, answers: &[(&str, Option<u64>)]) -> (Placed, Vec<String>) {
        let mut notes = Notes::default();
        let written: Vec<Written> = answers.iter().map(|(text, start)| Written::new(text, *start).unwrap()).collect();
        let placed = Context::new(context).place(&written, &Place::item(Path::new("a.json"), "question `q`"), &mut notes);
        (placed, notes.sentences())
    }

    fn found(texts: &[&str], starts: &[u64]) -> Placed {
        Placed { texts: texts.iter().map(|&text| text.to_owned()).collect(), starts: starts.to_vec(), strangers: 0 }
    }

    #[test]
    fn blanks_of_the_context_are_taken_where_the_answer_has_others() {
        let context = "β-catenin binds\n  TCF\u{202f}4 here; binds TCF 4";
        let (placed, notes) = place(context, &[("binds TCF 4", Some(10))]);
        assert_eq!(placed, found(&["binds TCF 4"], &[30]), "an answer that stands somewhere as it is written is taken from there");
        assert_eq!(notes, ["a.json: 1 answers were moved by +20 to where the context has them (question `q`)"]);
        let (placed, notes) = place(context, &[("binds TCF 4 here", Some(10))]);
        assert_eq!(placed, found(&["binds\n  TCF\u{202f}4 here"], &[10]));
        assert_eq!(notes, ["a.json: 1 answers stand in their context with other blanks and were taken from it (question `q`)"]);
        // The nearer of two, and with the distance.
        let (placed, notes) = place("a  b a\tb", &[("a\nb", Some(4))]);
        assert_eq!(placed, found(&["a\tb"], &[5]));
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn blanks_around_an_answer_are_no_part_of_it() {
        assert_eq!(Written::new("  39 °C\n", Some(7)), Some(Written { text: "39 °C".to_owned(), start: Some(9) }));
        assert_eq!(Written::new(" \n", Some(7)), None);
        let (placed, notes) = place("of IL-2", &[(" IL-2", Some(2))]);
        assert_eq!((placed, notes.len()), (found(&["IL-2"], &[3]), 0));
    }

    #[test]
    fn an_answer_without_a_place_stands_at_its_first_and_one_that_is_nowhere_is_kept_apart() {
        let (placed, notes) = place("ab ab", &[("ab", None), ("x", Some(0)), ("ab", Some(3)), ("ab", Some(3))]);
        assert_eq!((placed.texts.len(), placed.starts, placed.strangers), (2, vec![0, 3], 1));
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn a_blank_at_an_end_of_the_context_does_no_harm() {
        assert_eq!(place(" a  b ", &[("a b", Some(1))]).0, found(&["a  b"], &[1]));
        assert_eq!(place("", &[("a", None)]).0.strangers, 1);
    }
}
