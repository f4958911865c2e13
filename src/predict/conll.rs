//! Files with one word a line.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use lmprobe_core::{Error, Result};

/// Sentences of a file with one word a line: the first column is the word, a blank line ends a sentence, `-DOCSTART-` lines are no words.
pub(crate) struct WordLines {
    reader: Box<dyn BufRead>,
    path: PathBuf,
    line: usize,
}

/// A sentence and the line of its first word, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) line: usize,
    pub(crate) words: Vec<String>,
}

impl WordLines {
    pub(crate) fn new(path: &Path, reader: Box<dyn BufRead>) -> Self {
        Self { reader, path: path.to_owned(), line: 0 }
    }

    /// The next sentence.
    pub(crate) fn next(&mut self) -> Result<Option<Sentence>> {
        let mut sentence = Sentence { line: 0, words: Vec::new() };
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = self.reader.read_until(b'\n', &mut bytes).map_err(Error::io(&self.path))?;
            self.line += 1;
            let text = std::str::from_utf8(&bytes).map_err(|_| Error::data(&self.path, self.line, "the line is not UTF-8; save the file as UTF-8"))?;
            let text = if self.line == 1 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
            // A blank of the line's beginning is no word: columns are split at tabs where there are any.
            let word =
                if text.contains('\t') { text.split('\t').next().unwrap_or_default().trim() } else { text.split_whitespace().next().unwrap_or_default() };
            let ends = text.trim().is_empty() || word.starts_with("-DOCSTART-");
            if self.line == 1
                && self.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"))
                && let Some(name) = column_of_texts(text)
            {
                let message = format!("this is the header of a table: read its texts with `--column {name}`; if `{name}` is a word, name the file .conll");
                return Err(Error::data(&self.path, 1, message));
            }
            if !ends && word.contains(char::is_whitespace) {
                let shown: String = word.chars().take(40).collect();
                let message = format!("the first column, `{shown}`, is more than one word; name the column of the texts of a table with --column");
                return Err(Error::data(&self.path, self.line, message));
            }
            if !ends && word.is_empty() {
                return Err(Error::data(&self.path, self.line, "the first column, which holds the word, is empty"));
            }
            if !ends {
                if sentence.words.is_empty() {
                    sentence.line = self.line;
                }
                sentence.words.push(word.to_owned());
            }
            if (ends && !sentence.words.is_empty()) || read == 0 {
                return Ok((!sentence.words.is_empty()).then_some(sentence));
            }
        }
    }
}

/// The column of texts of a table, if its header is this line and no word with its tag.
fn column_of_texts(line: &str) -> Option<&str> {
    let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
    let is_tag = |cell: &str| cell.chars().next().is_some_and(|letter| "OBIESLU".contains(letter)) && matches!(cell.as_bytes().get(1), None | Some(b'-'));
    if cells.last().is_some_and(|last| is_tag(last)) {
        return None;
    }
    cells.into_iter().find(|cell| ["text", "sentence"].iter().any(|name| cell.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &'static str) -> Vec<(usize, Vec<String>)> {
        let mut lines = WordLines::new(Path::new("x.tsv"), Box::new(text.as_bytes()));
        std::iter::from_fn(|| lines.next().unwrap()).map(|sentence| (sentence.line, sentence.words)).collect()
    }

    #[test]
    fn blank_lines_end_sentences_and_the_first_column_is_the_word() {
        let of = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected = vec![(3, of(&["IL", "-"])), (6, of(&["x"]))];
        assert_eq!(sentences("-DOCSTART-\tO\n\nIL\tB\n-\tO\n\nx\n"), expected);
        assert_eq!(
            sentences("\u{feff}-DOCSTART- O\r\n\r\nIL B\r\n- O\r\n\r\nx"),
            expected,
            "other systems' line ends, a mark of the byte order, no last line end"
        );
    }

    fn refusal(name: &str, text: &'static str) -> String {
        WordLines::new(Path::new(name), Box::new(text.as_bytes())).next().unwrap_err().to_string()
    }

    #[test]
    fn a_table_of_texts_is_no_file_of_words() {
        for (name, table) in [("text", "pmid\ttext\n1\tfever\n"), ("Sentence", "\u{feff}Sentence\tlabel\r\nacute fever\t1\r\n"), ("text", "text\nfever\n")] {
            let expected =
                format!("x.tsv:1: this is the header of a table: read its texts with `--column {name}`; if `{name}` is a word, name the file .conll");
            assert!(refusal("x.tsv", table).ends_with(&expected), "{}", refusal("x.tsv", table));
        }
        let expected = "x.tsv:2: the first column, `acute fever`, is more than one word; name the column of the texts of a table with --column";
        assert!(refusal("x.tsv", "fever\tB\nacute fever\tB\n").ends_with(expected));
    }

    #[test]
    fn a_line_between_documents_is_no_word() {
        assert_eq!(sentences("-DOCSTART- (1)\tO\n\nfever\tB\n"), [(3, vec!["fever".to_owned()])]);
        assert!(refusal("X.TSV", "pmid\ttext\n1\tfever\n").contains("this is the header of a table"));
    }

    #[test]
    fn a_word_that_is_called_text_is_a_word() {
        assert_eq!(sentences("text\tO\nthe\tO\n").len(), 1);
        assert_eq!(sentences("sentence\tNN\tB-X\n").len(), 1);
        let mut lines = WordLines::new(Path::new("x.conll"), Box::new("text\nthe\n".as_bytes()));
        assert_eq!(lines.next().unwrap().unwrap().words, ["text", "the"]);
    }

    #[test]
    fn a_line_without_a_word_is_an_error() {
        let mut lines = WordLines::new(Path::new("x.tsv"), Box::new("a\tO\n\tO\n".as_bytes()));
        assert!(lines.next().unwrap_err().to_string().ends_with("x.tsv:2: the first column, which holds the word, is empty"));
    }
}
