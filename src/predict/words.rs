//! Words of a raw text, with their places.

/// A word and where it stands, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Splits a text as the corpora of the field are split: at white space, and every character that is neither letter, digit nor mark is a word of its own.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    for (place, character) in text.chars().enumerate() {
        if character.is_whitespace() || character.is_control() {
            open = false;
        } else if character.is_alphanumeric() || is_mark(character) {
            match words.last_mut().filter(|_| open) {
                Some(word) => {
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
    }
    words
}

/// Combining marks belong to the letter before them.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
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
    fn a_combining_mark_stays_with_its_letter() {
        assert_eq!(words("e\u{301}a").len(), 1);
        assert!(words(" \t\n").is_empty());
    }
}
