//! Words of a raw text, with their places.

/// A word and where it stands, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Splits a text as the corpora of the field are split: at white space, and every character that is neither letter, digit nor mark is a word of its own.
/// Invisible characters, as the soft hyphen, neither begin nor end a word: the tokenizer of BERT deletes them, so `can\u{ad}cer` is one word.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    // Invisible characters behind the open word: part of it if it goes on.
    let mut invisible = String::new();
    for (place, character) in text.chars().enumerate() {
        if is_invisible(character) {
            invisible.push(character);
            continue;
        }
        if character.is_whitespace() || character.is_control() {
            open = false;
        } else if character.is_alphanumeric() || is_mark(character) {
            match words.last_mut().filter(|_| open) {
                Some(word) => {
                    word.text.push_str(&invisible);
                    word.text.push(character);
                    word.end = place + 1;
                }
                None => words.push(Word { text: character.to_string(), start: place, end: place + 1 }),
            }
            open = true;
        } else {
            words.push(Word { text: character.to_string(), start: place, end: place + 1 });
            open = false;
        }
        invisible.clear();
    }
    words
}

/// Combining marks belong to the letter before them.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// The general category `Cf` (format) of Unicode 15.1.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// The characters `start..end` of a text.
pub(crate) fn slice(text: &str, start: usize, end: usize) -> String {
    text.chars().skip(start).take(end.saturating_sub(start)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_stands_alone_and_places_count_characters() {
        let found: Vec<(String, usize, usize)> = words("Naïve (IL-2)  cells").into_iter().map(|word| (word.text, word.start, word.end)).collect();
        let expected = [("Naïve", 0, 5), ("(", 6, 7), ("IL", 7, 9), ("-", 9, 10), ("2", 10, 11), (")", 11, 12), ("cells", 14, 19)];
        assert_eq!(found, expected.map(|(text, start, end)| (text.to_owned(), start, end)));
        assert_eq!(slice("Naïve (IL-2)", 7, 11), "IL-2");
    }

    #[test]
    fn invisible_characters_neither_begin_nor_end_a_word() {
        let found = |text: &str| words(text).into_iter().map(|word| (word.text, word.start, word.end)).collect::<Vec<_>>();
        assert_eq!(found("can\u{ad}cer\u{200b} x"), [("can\u{ad}cer".to_owned(), 0, 7), ("x".to_owned(), 9, 10)]);
        assert_eq!(found("\u{feff}IL\u{200b}-\u{200b}2"), [("IL".to_owned(), 1, 3), ("-".to_owned(), 4, 5), ("2".to_owned(), 6, 7)]);
        assert_eq!(found("a \u{ad}b"), [("a".to_owned(), 0, 1), ("b".to_owned(), 3, 4)]);
        assert!(found("\u{200b}\u{ad}").is_empty());
    }

    #[test]
    fn a_combining_mark_stays_with_its_letter() {
        assert_eq!(words("e\u{301}a").len(), 1);
        assert!(words(" \t\n").is_empty());
    }
}
