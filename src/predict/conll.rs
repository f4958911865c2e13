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

    #[test]
    fn a_line_without_a_word_is_an_error() {
        let mut lines = WordLines::new(Path::new("x.tsv"), Box::new("a\tO\n\tO\n".as_bytes()));
        assert!(lines.next().unwrap_err().to_string().ends_with("x.tsv:2: the first column, which holds the word, is empty"));
    }
}
