//! BioBERT's named entities: word pieces back to words, and words beside their gold tags, as `ner_detokenize.py` does it.
//!
//! The original aligns by position alone: a word that the tokenizer split without `##`, or a line too many, shifts every later tag in silence. Here sentences
//! are aligned with sentences, and one that has more words than its gold is an error with its place. Of files that the original reads rightly the result is
//! byte for byte the same.

use std::fmt::Write;

use crate::{Error, Result, text_lines};

/// A sentence of words with their tags, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sentence {
    /// Line of its first word or of its `[CLS]`, from 1.
    line: usize,
    words: Vec<(String, String)>,
}

/// The files that are compared: their names and their bytes.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// `token_test.txt`.
    pub tokens: (&'a str, &'a [u8]),
    /// `label_test.txt`.
    pub labels: (&'a str, &'a [u8]),
    /// `test.tsv`: a word and its tag a line, an empty line behind each sentence.
    pub gold: (&'a str, &'a [u8]),
}

/// `NER_result_conll.txt`, and what happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detokenized {
    /// A word, its gold tag and its predicted tag a line, an empty line behind each sentence.
    pub conll: String,
    /// Sentences that the model saw only in part.
    pub n_truncated: usize,
    /// Words at the ends of these, which count as predicted `O`.
    pub n_filled: usize,
    /// Words that differ from the gold's by more than case, `[UNK]` left out. Tokenizers that strip accents make some; many mean that the files do not belong
    /// together.
    pub n_different: usize,
    /// The first of them: line in the gold file, gold word, word of the tokens.
    pub first_different: Option<(usize, String, String)>,
}

/// Puts words and tags together.
///
/// # Errors
///
/// If the files do not fit each other; the message names file and line.
pub fn detokenize(files: Files) -> Result<Detokenized> {
    let predicted = predicted(files.tokens, files.labels)?;
    let gold = gold(files.gold)?;
    if gold.len() != predicted.len() {
        return Err(Error::file(
            files.gold.0,
            format!("{} sentences, but {} has {}; they are not of the same text", gold.len(), files.tokens.0, predicted.len()),
        ));
    }
    let mut result = Detokenized { conll: String::new(), n_truncated: 0, n_filled: 0, n_different: 0, first_different: None };
    for (gold, predicted) in gold.iter().zip(&predicted) {
        if predicted.words.len() > gold.words.len() {
            let message = format!(
                "the sentence that begins here has {} words, but {} in {}:{}; a word was split by more than `##`",
                predicted.words.len(),
                gold.words.len(),
                files.gold.0,
                gold.line
            );
            return Err(Error::at(files.tokens.0, predicted.line, message));
        }
        let n_filled = gold.words.len() - predicted.words.len();
        result.n_truncated += usize::from(n_filled > 0);
        result.n_filled += n_filled;
        for (index, (gold_word, gold_tag)) in gold.words.iter().enumerate() {
            let (word, tag) = predicted.words.get(index).map_or((gold_word.as_str(), "O"), |(word, tag)| (word, tag));
            let _ = writeln!(result.conll, "{word} {gold_tag}-MISC {tag}-MISC");
            if !word.contains("[UNK]") && word.to_lowercase() != gold_word.to_lowercase() {
                result.n_different += 1;
                result.first_different.get_or_insert_with(|| (gold.line + index, gold_word.clone(), word.to_owned()));
            }
        }
        result.conll.push('\n');
    }
    Ok(result)
}

/// `token_test.txt`: every piece of every sentence on a line, `[CLS]` and `[SEP]` included.
pub fn write_tokens<S: AsRef<[P]>, P: AsRef<str>>(sentences: &[S]) -> String {
    written(sentences, |piece| piece)
}

/// `label_test.txt`: the label of each piece; a predicted `[PAD]` is written as `O`.
pub fn write_labels<S: AsRef<[P]>, P: AsRef<str>>(sentences: &[S]) -> String {
    written(sentences, |label| if label == "[PAD]" { "O" } else { label })
}

fn written<S: AsRef<[P]>, P: AsRef<str>>(sentences: &[S], text_of: impl Fn(&str) -> &str) -> String {
    let mut text = String::new();
    for item in sentences.iter().flat_map(AsRef::as_ref) {
        text.push_str(text_of(item.as_ref()));
        text.push('\n');
    }
    text
}

/// Joins pieces to words; a word has the label of its first piece.
fn predicted((token_file, tokens): (&str, &[u8]), (label_file, labels): (&str, &[u8])) -> Result<Vec<Sentence>> {
    let (tokens, labels) = (text_lines(tokens, token_file)?, text_lines(labels, label_file)?);
    if tokens.len() != labels.len() {
        return Err(Error::file(label_file, format!("{} labels for {} tokens in {token_file}; each line needs its counterpart", labels.len(), tokens.len())));
    }
    let mut sentences = Vec::new();
    let mut open: Option<Sentence> = None;
    for (index, (token, label)) in tokens.iter().zip(&labels).enumerate() {
        let (line, token, label) = (index + 1, token.trim(), label.trim());
        if token.is_empty() {
            return Err(Error::at(token_file, line, "the line is empty, expected a word piece"));
        }
        if label.is_empty() {
            return Err(Error::at(label_file, line, "the line is empty, expected a label"));
        }
        match (token, &mut open) {
            ("[CLS]", None) => open = Some(Sentence { line, words: Vec::new() }),
            ("[CLS]", Some(begun)) => return Err(Error::at(token_file, line, format!("`[CLS]` before the `[SEP]` of the sentence of line {}", begun.line))),
            (_, None) => return Err(Error::at(token_file, line, format!("`{token}` where a sentence begins, expected `[CLS]`"))),
            ("[SEP]", Some(_)) => sentences.extend(open.take()),
            (piece, Some(sentence)) => match (piece.strip_prefix("##"), sentence.words.last_mut()) {
                (Some(rest), Some((word, _))) => word.push_str(rest),
                (Some(_), None) => return Err(Error::at(token_file, line, format!("`{piece}` goes on with a word, but no word is begun"))),
                (None, _) => {
                    let label = if matches!(label, "[CLS]" | "[SEP]" | "X") { "O" } else { label };
                    sentence.words.push((piece.to_owned(), label.to_owned()));
                }
            },
        }
    }
    match open {
        Some(begun) => Err(Error::at(token_file, begun.line, "the sentence that begins here has no `[SEP]`")),
        None => Ok(sentences),
    }
}

fn gold((file, bytes): (&str, &[u8])) -> Result<Vec<Sentence>> {
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut begins = true;
    for (index, line) in text_lines(bytes, file)?.into_iter().enumerate() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [word, tag] => {
                let word = (word.to_owned(), tag.to_owned());
                match sentences.last_mut().filter(|_| !begins) {
                    Some(sentence) => sentence.words.push(word),
                    None => sentences.push(Sentence { line: index + 1, words: vec![word] }),
                }
                begins = false;
            }
            [] if line.is_empty() => begins = true,
            [] => return Err(Error::at(file, index + 1, "the line holds only blanks; sentences are separated by empty lines")),
            [word] => return Err(Error::at(file, index + 1, format!("`{word}` has no tag"))),
            ref cells => return Err(Error::at(file, index + 1, format!("{} columns, expected 2: a word and its tag", cells.len()))),
        }
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLD: &str = "IL2\tB\ngene\tI\n\nx\tO\ny\tB\nz\tI\n\n";
    const TOKENS: &str = "[CLS]\nI\n##L\n##2\ngene\n[SEP]\n[CLS]\nx\n[SEP]\n";
    const LABELS: &str = "[CLS]\nB\nX\nX\nI\n[SEP]\n[CLS]\nX\n[SEP]\n";

    fn joined(tokens: &str, labels: &str, gold: &str) -> Result<Detokenized> {
        detokenize(Files { tokens: ("t", tokens.as_bytes()), labels: ("l", labels.as_bytes()), gold: ("g", gold.as_bytes()) })
    }

    #[test]
    fn pieces_become_words_and_what_was_cut_off_is_outside() {
        let result = joined(TOKENS, LABELS, GOLD).unwrap();
        assert_eq!(result.conll, "IL2 B-MISC B-MISC\ngene I-MISC I-MISC\n\nx O-MISC O-MISC\ny B-MISC O-MISC\nz I-MISC O-MISC\n\n");
        assert_eq!((result.n_truncated, result.n_filled, result.n_different), (1, 2, 0));
    }

    #[test]
    fn empty_lines_and_a_missing_last_one_do_not_shift_tags() {
        let expected = joined(TOKENS, LABELS, GOLD).unwrap();
        assert_eq!(joined(TOKENS, LABELS, &format!("\n{}", GOLD.replace("\n\n", "\n\n\n"))).unwrap(), expected);
        assert_eq!(joined(TOKENS, LABELS, GOLD.trim_end()).unwrap(), expected);
    }

    #[test]
    fn words_that_differ_are_counted() {
        let result = joined(TOKENS, LABELS, &GOLD.replace("gene", "Gène").replace("IL2", "il2")).unwrap();
        assert_eq!((result.n_different, result.first_different), (1, Some((2, "Gène".to_owned(), "gene".to_owned()))));
        assert_eq!(joined(&TOKENS.replace("gene", "[UNK]"), LABELS, GOLD).unwrap().n_different, 0);
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_the_place() {
        let refused = |tokens: &str, labels: &str, gold: &str| joined(tokens, labels, gold).unwrap_err().to_string();
        assert_eq!(refused(TOKENS, "[CLS]\n", GOLD), "l: 1 labels for 9 tokens in t; each line needs its counterpart");
        assert_eq!(refused(TOKENS, LABELS, "a\tO\n"), "g: 1 sentences, but t has 2; they are not of the same text");
        assert_eq!(
            refused(&TOKENS.replace("##L", "-"), LABELS, GOLD),
            "t:1: the sentence that begins here has 3 words, but 2 in g:1; a word was split by more than `##`"
        );
        for (tokens, message) in [
            ("[CLS]\n##a\n[SEP]\n", "t:2: `##a` goes on with a word, but no word is begun"),
            ("a\n[SEP]\n[SEP]\n", "t:1: `a` where a sentence begins, expected `[CLS]`"),
            ("[CLS]\n[CLS]\n[SEP]\n", "t:2: `[CLS]` before the `[SEP]` of the sentence of line 1"),
            ("[CLS]\na\nb\n", "t:1: the sentence that begins here has no `[SEP]`"),
            ("[CLS]\n\n[SEP]\n", "t:2: the line is empty, expected a word piece"),
        ] {
            assert_eq!(refused(tokens, "O\nO\nO\n", GOLD), message);
        }
        assert_eq!(refused("[CLS]\na\n[SEP]\n", "O\n\nO\n", GOLD), "l:2: the line is empty, expected a label");
        assert_eq!(refused(TOKENS, LABELS, "a\tO\n \n"), "g:2: the line holds only blanks; sentences are separated by empty lines");
        assert_eq!(refused(TOKENS, LABELS, "a\tO\nb\n"), "g:2: `b` has no tag");
        assert_eq!(refused(TOKENS, LABELS, "a\tO\nb\tNN\tO\n"), "g:2: 3 columns, expected 2: a word and its tag");
        assert_eq!(refused(TOKENS, LABELS, ""), "g: the file is empty");
    }

    #[test]
    fn pieces_and_labels_are_written_line_by_line() {
        let sentences = [vec!["[CLS]", "a", "##b", "[SEP]"], vec!["[CLS]", "[SEP]"]];
        assert_eq!(write_tokens(&sentences), "[CLS]\na\n##b\n[SEP]\n[CLS]\n[SEP]\n");
        assert_eq!(write_labels(&[["[CLS]", "[PAD]", "X"]]), "[CLS]\nO\nX\n");
    }

    #[test]
    fn the_case_made_with_the_script_agrees() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/ner_detokenize_golden.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped: no {path}");
            return;
        };
        let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
        let field = |name: &str| cases[0][name].as_str().unwrap();
        let result = joined(field("token_test"), field("label_test"), field("test_tsv")).unwrap();
        assert_eq!(result.conll, field("NER_result_conll"));
    }
}
