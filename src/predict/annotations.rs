//! Stand-off annotations (BRAT), and the document that they stand off from.

use std::fmt::Write as _;

use lmprobe_core::{Result, table};
use polars::prelude::DataFrame;

use super::entities::{Mention, mentions};
use super::inputs::Asked;

/// Annotations of one document, numbered through.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// Entities so far.
    n: usize,
    /// Characters of the document that is written beside them.
    document: usize,
}

/// What some texts add to the two files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Annotated {
    /// Lines of the `.ann`.
    pub(crate) annotations: String,
    /// Lines of the `.txt`, one a text; empty if the input is the document.
    pub(crate) document: String,
}

impl Annotations {
    /// Annotates some texts. Places count from the beginning of the input where it is plain text, of a document of these texts where it is not.
    pub(crate) fn of(&mut self, asked: &[Asked], predictions: &DataFrame) -> Result<Annotated> {
        let (tags, scores) = (table::text_lists(predictions, "predictions")?, table::real_lists(predictions, "scores")?);
        let mut written = Annotated { annotations: String::new(), document: String::new() };
        for ((asked, tags), scores) in asked.iter().zip(&tags).zip(&scores) {
            let found = mentions(&asked.text, &asked.words, tags, scores)?;
            self.push(&mut written, asked, &found);
        }
        Ok(written)
    }

    fn push(&mut self, written: &mut Annotated, asked: &Asked, found: &[Mention]) {
        let begin = asked.offset.unwrap_or(self.document);
        for mention in found {
            self.n += 1;
            let kind = if mention.kind.is_empty() { "Entity".to_owned() } else { mention.kind.replace(char::is_whitespace, "_") };
            let (start, end, text) = (mention.start + begin, mention.end + begin, one_line(&mention.text));
            let _ = writeln!(written.annotations, "T{}\t{kind} {start} {end}\t{text}", self.n);
        }
        if asked.offset.is_none() {
            let _ = writeln!(written.document, "{}", one_line(&asked.text));
            // The line feed behind the text is a character of the document too.
            self.document += asked.text.chars().count() + 1;
        }
    }
}

/// A text in which every line break and tab is a blank, so that it fills one line of as many characters.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotate(texts: &[(&str, Option<usize>)], kind: &str) -> Annotated {
        let (mut annotations, mut written) = (Annotations::default(), Annotated { annotations: String::new(), document: String::new() });
        for (text, offset) in texts {
            let asked = Asked { id: 1.into(), offset: *offset, text: (*text).to_owned(), words: Vec::new() };
            let mention = Mention { start: 2, end: text.chars().count(), kind: kind.to_owned(), text: text.chars().skip(2).collect(), score: 1.0 };
            annotations.push(&mut written, &asked, &[mention]);
        }
        written
    }

    #[test]
    fn places_in_plain_text_are_those_of_the_file() {
        let written = annotate(&[("a bc", Some(1)), ("d é", Some(7))], "Cell line");
        assert_eq!(written.annotations, "T1\tCell_line 3 5\tbc\nT2\tCell_line 9 10\té\n");
        assert_eq!(written.document, "");
    }

    #[test]
    fn other_texts_are_lines_of_a_document_of_their_own() {
        let written = annotate(&[("a b\nc", None), ("d\te\tf", None)], "");
        assert_eq!(written.annotations, "T1\tEntity 2 5\tb c\nT2\tEntity 8 11\te f\n");
        assert_eq!(written.document, "a b c\nd e f\n");
        let document: Vec<char> = written.document.chars().collect();
        assert_eq!((document[2..5].iter().collect::<String>(), document[8..11].iter().collect::<String>()), ("b c".into(), "e f".into()));
    }
}
