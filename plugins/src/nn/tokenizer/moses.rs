//! English Moses tokenization, as `BioGPT` was trained with it.
//!
//! Follows `MosesTokenizer.tokenize(text, aggressive_dash_splits=True, escape=True)` of sacremoses 0.2.0
//! (<https://github.com/hplt-project/sacremoses>, `sacremoses/tokenize.py`), which works by rewriting the text with one regular
//! expression after the other. Here each rewriting is one pass over characters that remember where they come from: that is what
//! gives every token its place in the text, which the reference cannot tell.
//!
//! Three of its habits surprise and are kept, because models were trained with them. Control characters vanish. A run of dots is
//! written as the word `DOTDOTMULTI` meanwhile, so that a text which holds the word `DOTMULTI` gets a dot. A comma is only looked at
//! once, so that rules which would need the character before it twice do not fire.

use super::moses_classes::{is_alphabetic, is_alphanumeric, is_lowercase, is_numeric};

/// One token, escaped as Moses does, with the place of each of its characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MosesToken {
    /// The token; `&`, `|`, `<`, `>`, `'`, `"`, `[` and `]` are written as entities, a split hyphen as `@-@`.
    pub text: String,
    /// Start and end in the text, in characters, of what each character of the token stands for. An entity's characters all stand
    /// for the one character, those of `@-@` for the hyphen.
    pub spans: Vec<(u32, u32)>,
}

/// Splits a text into Moses tokens.
///
/// ```
/// # use lmprobe_plugins::nn::tokenizer::moses;
/// let tokens: Vec<String> = moses::tokenize("TNF-alpha's end.").into_iter().map(|token| token.text).collect();
/// assert_eq!(tokens, ["TNF", "@-@", "alpha", "&apos;s", "end", "."]);
/// ```
pub fn tokenize(text: &str) -> Vec<MosesToken> {
    let mut units = clean(text);
    units = separate_symbols(&units);
    units = mark_dot_runs(&units);
    if units.iter().any(|unit| unit.ch == ',') {
        units = separate_commas(&units);
    }
    if units.iter().any(|unit| unit.ch == '\'') {
        units = separate_apostrophes(units);
    }
    let mut words = separate_periods(&units);
    split_final_dot_and_quote(&mut words);
    words.iter().map(|word| escape(&restore_dot_runs(word))).collect()
}

/// Whether Python counts the character as white space: Unicode's, and four control characters.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// A character of the text as rewritten so far, and the characters of the original it stands for.
#[derive(Debug, Clone, Copy)]
struct Unit {
    ch: char,
    span: (u32, u32),
}

/// A space that a rule puts in; spaces never become part of a token.
const SPACE: Unit = Unit { ch: ' ', span: (0, 0) };

/// Makes every run of white space one space, drops control characters, and trims.
fn clean(text: &str) -> Vec<Unit> {
    let mut units = Vec::with_capacity(text.len() + 16);
    let mut after_space = false;
    for (index, ch) in (0u32..).zip(text.chars()) {
        let space = is_space(ch);
        if space && !after_space {
            units.push(SPACE);
        } else if !space && ch >= ' ' {
            units.push(Unit { ch, span: (index, index + 1) });
        }
        after_space = space;
    }
    while units.last().is_some_and(|unit| unit.ch == ' ') {
        units.pop();
    }
    let leading = units.iter().take_while(|unit| unit.ch == ' ').count();
    units.drain(..leading);
    units
}

/// Puts spaces round everything that is no part of a word, and writes a hyphen between word characters as ` @-@ `.
fn separate_symbols(units: &[Unit]) -> Vec<Unit> {
    let mut out = Vec::with_capacity(units.len() * 5 / 4);
    let in_word = |index: usize| units.get(index).is_some_and(|unit| is_alphanumeric(unit.ch));
    for (index, &unit) in units.iter().enumerate() {
        let at = |ch| Unit { ch, span: unit.span };
        match unit.ch {
            '-' if index > 0 && in_word(index - 1) && in_word(index + 1) => out.extend([SPACE, at('@'), at('-'), at('@'), SPACE]),
            ' ' | '.' | '\'' | '`' | ',' | '-' => out.push(unit),
            ch if is_alphanumeric(ch) => out.push(unit),
            _ => out.extend([SPACE, unit, SPACE]),
        }
    }
    out
}

/// Writes each run of dots as a word of its own, `DOT` for each dot and `MULTI` at the end.
fn mark_dot_runs(units: &[Unit]) -> Vec<Unit> {
    let mut out = Vec::with_capacity(units.len());
    let mut index = 0;
    while index < units.len() {
        let run = units[index..].iter().take_while(|unit| unit.ch == '.').count();
        if run < 2 {
            out.push(units[index]);
            index += 1;
            continue;
        }
        out.push(SPACE);
        for dot in &units[index..index + run] {
            out.extend("DOT".chars().map(|ch| Unit { ch, span: dot.span }));
        }
        let span = units[index + run - 1].span;
        out.extend("MULTI".chars().map(|ch| Unit { ch, span }));
        index += run;
        if index < units.len() {
            out.push(SPACE);
        }
    }
    out
}

/// Takes the dots back out of a word, also where the word was in the text.
fn restore_dot_runs(word: &[Unit]) -> Vec<Unit> {
    let starts_with = |index: usize, pattern: &str| {
        let mut units = word[index..].iter();
        pattern.chars().all(|ch| units.next().is_some_and(|unit| unit.ch == ch))
    };
    let mut out = Vec::with_capacity(word.len());
    let mut index = 0;
    while index < word.len() {
        let mut end = index;
        while starts_with(end, "DOT") {
            end += 3;
        }
        if end == index || !starts_with(end, "MULTI") {
            out.push(word[index]);
            index += 1;
            continue;
        }
        for dot in word[index..end].chunks(3) {
            out.push(Unit { ch: '.', span: (dot[0].span.0, dot[2].span.1) });
        }
        index = end + "MULTI".len();
        if let Some(last) = out.last_mut() {
            last.span.1 = word[index - 1].span.1;
        }
    }
    out
}

/// Separates commas except between numbers, in the three steps of the reference.
fn separate_commas(units: &[Unit]) -> Vec<Unit> {
    let no_number = |unit: Option<&Unit>| unit.is_some_and(|unit| !is_numeric(unit.ch));
    let units = rewrite(units, 2, |pair| {
        (no_number(pair.first()) && pair[1].ch == ',').then(|| vec![pair[0], SPACE, pair[1], SPACE]) // a,
    });
    let mut units = rewrite(&units, 2, |pair| {
        (pair[0].ch == ',' && no_number(pair.get(1))).then(|| vec![SPACE, pair[0], SPACE, pair[1]]) // ,a
    });
    if let [.., before, comma] = units.as_slice()
        && comma.ch == ','
        && is_numeric(before.ch)
    {
        units.insert(units.len() - 1, SPACE); // 7, at the very end
    }
    units
}

/// Separates apostrophes by what stands at their two sides, in the five steps of the reference.
fn separate_apostrophes(mut units: Vec<Unit>) -> Vec<Unit> {
    type Test = fn(char) -> bool;
    let no_letter: Test = |ch| !is_alphabetic(ch);
    let other: Test = |ch| !is_alphabetic(ch) && !is_numeric(ch);
    let steps: [(Test, Test, bool); 5] = [
        (no_letter, no_letter, true),          // 5 ' (
        (other, is_alphabetic, true),          // ( ' a
        (is_alphabetic, no_letter, true),      // a ' (
        (is_alphabetic, is_alphabetic, false), // a 's
        (is_numeric, |ch| ch == 's', false),   // 1990 's
    ];
    for (before, after, space_behind) in steps {
        units = rewrite(&units, 3, |three| {
            let fits = before(three[0].ch) && three[1].ch == '\'' && after(three[2].ch);
            let with_space = || vec![three[0], SPACE, three[1], SPACE, three[2]];
            let without = || vec![three[0], SPACE, three[1], three[2]];
            fits.then(|| if space_behind { with_space() } else { without() })
        });
    }
    units
}

/// Replaces windows of `width` characters from left to right; a replaced window is not looked at again, as in `re.sub`.
fn rewrite(units: &[Unit], width: usize, replace: impl Fn(&[Unit]) -> Option<Vec<Unit>>) -> Vec<Unit> {
    let mut out = Vec::with_capacity(units.len() + 8);
    let mut index = 0;
    while index < units.len() {
        let window = units.get(index..index + width);
        if let Some(new) = window.and_then(&replace) {
            out.extend(new);
            index += width;
        } else {
            out.push(units[index]);
            index += 1;
        }
    }
    out
}

/// Splits at spaces, and splits the final dot off each word that is no abbreviation.
fn separate_periods(units: &[Unit]) -> Vec<Vec<Unit>> {
    let words: Vec<&[Unit]> = units.split(|unit| unit.ch == ' ').filter(|word| !word.is_empty()).collect();
    let mut out = Vec::with_capacity(words.len() + 4);
    for (index, word) in words.iter().enumerate() {
        match word {
            [prefix @ .., dot] if dot.ch == '.' && !prefix.is_empty() && !keeps_dot(prefix, words.get(index + 1).copied()) => {
                out.push(prefix.to_vec());
                out.push(vec![*dot]);
            }
            _ => out.push(word.to_vec()),
        }
    }
    out
}

/// Whether the dot behind `prefix` belongs to it: `e.g.`, `Dr.`, `No. 5`, or a word that a lower-case word follows.
fn keeps_dot(prefix: &[Unit], next: Option<&[Unit]>) -> bool {
    if prefix.iter().any(|unit| unit.ch == '.') && prefix.iter().any(|unit| is_alphabetic(unit.ch)) {
        return true;
    }
    let next = next.and_then(<[Unit]>::first).map(|unit| unit.ch);
    if next.is_some_and(is_lowercase) {
        return true;
    }
    if let [letter] = prefix {
        return letter.ch.is_ascii_uppercase() || letter.ch == 'v';
    }
    let same = |abbreviation: &&str| abbreviation.chars().eq(prefix.iter().map(|unit| unit.ch));
    ABBREVIATIONS.iter().any(same) || (next.is_some_and(|ch| ch.is_ascii_digit()) && BEFORE_NUMBERS.iter().any(same))
}

/// Abbreviations that keep their dot, beside single capitals and `v`: titles, months and the like, from
/// `nonbreaking_prefix.en` of Moses (<https://github.com/moses-smt/mosesdecoder>, `scripts/share/nonbreaking_prefixes`).
const ABBREVIATIONS: [&str; 73] = [
    "Adj", "Adm", "Adv", "Apr", "Asst", "Aug", "Bart", "Bldg", "Brig", "Bros", "Capt", "Cmdr", "Col", "Comdr", "Con", "Corp", "Cpl", "DR", "Dec", "Dr", "Drs",
    "Ens", "Feb", "Gen", "Gov", "Hon", "Hosp", "Hr", "Insp", "Jan", "Jul", "Jun", "Lt", "MM", "MR", "MRS", "MS", "Maj", "Mar", "Messrs", "Mlle", "Mme", "Mr",
    "Mrs", "Ms", "Msgr", "Nos", "Nov", "Nr", "Oct", "Op", "Ord", "Pfc", "Ph", "Prof", "Pvt", "Rep", "Reps", "Res", "Rev", "Rs", "Rt", "Sen", "Sens", "Sep",
    "Sfc", "Sgt", "Sr", "St", "Supt", "Surg", "rev", "vs",
];

/// Abbreviations that keep their dot before a number only, from the same list.
const BEFORE_NUMBERS: [&str; 3] = ["Art", "No", "pp"];

/// Splits `.'` off the end of the text.
fn split_final_dot_and_quote(words: &mut Vec<Vec<Unit>>) {
    if let Some([.., dot, quote]) = words.last().map(Vec::as_slice)
        && dot.ch == '.'
        && quote.ch == '\''
    {
        let (dot, quote) = (*dot, *quote);
        let word = words.pop().unwrap_or_default();
        if word.len() > 2 {
            words.push(word[..word.len() - 2].to_vec());
        }
        words.extend([vec![dot], vec![quote]]);
    }
}

fn escape(word: &[Unit]) -> MosesToken {
    let mut token = MosesToken { text: String::with_capacity(word.len()), spans: Vec::with_capacity(word.len()) };
    for unit in word {
        let start = token.text.len();
        match entity(unit.ch) {
            Some(entity) => token.text.push_str(entity),
            None => token.text.push(unit.ch),
        }
        token.spans.extend(token.text[start..].chars().map(|_| unit.span));
    }
    token
}

fn entity(character: char) -> Option<&'static str> {
    Some(match character {
        '&' => "&amp;",
        '|' => "&#124;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\'' => "&apos;",
        '"' => "&quot;",
        '[' => "&#91;",
        ']' => "&#93;",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> String {
        tokenize(text).into_iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_string_of_the_specification_is_tokenized_as_written_there() {
        let text = "IL-2 receptor (NF-kappa B) p65/p50 & TNF-alpha's 5' end [3H] a|b";
        let expected = "IL @-@ 2 receptor ( NF @-@ kappa B ) p65 / p50 &amp; TNF @-@ alpha &apos;s 5 &apos; end &#91; 3H &#93; a &#124; b";
        assert_eq!(joined(text), expected);
    }

    #[test]
    fn dots_stay_with_abbreviations_only() {
        assert_eq!(joined("Dr. Smith left."), "Dr. Smith left .");
        assert_eq!(joined("See No. 5 or No. Yes."), "See No. 5 or No . Yes .");
        assert_eq!(joined("E. coli, e.g. this. And"), "E. coli , e.g. this . And");
        assert_eq!(joined("stop. go"), "stop. go"); // a lower-case word follows
        assert_eq!(joined("and so ... on.. 'x.'"), "and so ... on .. &apos; x . &apos;");
    }

    #[test]
    fn commas_stay_inside_numbers_only() {
        assert_eq!(joined("1,000 mg, a,b,c 5, x"), "1,000 mg , a , b , c 5 , x");
        assert_eq!(joined("up to 7,"), "up to 7 ,");
    }

    #[test]
    fn control_characters_vanish_and_the_reserved_word_becomes_a_dot() {
        assert_eq!(joined(" a\u{0}b\u{a0}\u{1c}c "), "ab c");
        assert_eq!(joined("DOTMULTI"), ".");
        assert_eq!(joined(""), "");
        assert_eq!(joined(" \n "), "");
    }

    #[test]
    fn every_character_knows_its_place() {
        let tokens = tokenize("a-b 'c' d");
        let spans: Vec<(&str, (u32, u32))> = tokens.iter().map(|token| (token.text.as_str(), token.spans[0])).collect();
        assert_eq!(spans, [("a", (0, 1)), ("@-@", (1, 2)), ("b", (2, 3)), ("&apos;", (4, 5)), ("c", (5, 6)), ("&apos;", (6, 7)), ("d", (8, 9))]);
        assert!(tokens[1].spans.iter().all(|&span| span == (1, 2)));
        assert_eq!(tokenize("x...")[1].spans, [(1, 2), (2, 3), (3, 4)]);
    }

    /// Texts of signs that the rules treat differently, drawn by a small generator.
    fn odd_texts(n: usize) -> impl Iterator<Item = String> {
        let alphabet: Vec<char> = "aB1.,'-@&|<>[]\"` \t\u{1}\u{1c}éλ中²。…DOTMULTI".chars().collect();
        let mut state = 1u64;
        let mut draw = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        (0..n).map(move |_| (0..draw(30)).map(|_| alphabet[draw(alphabet.len())]).collect())
    }

    #[test]
    fn tokens_cover_the_text_in_order() {
        for text in odd_texts(20_000) {
            let characters: Vec<char> = text.chars().collect();
            let mut covered = vec![false; characters.len()];
            let mut last = 0;
            for token in tokenize(&text) {
                assert_eq!(token.text.chars().count(), token.spans.len(), "{text:?}");
                for &(start, end) in &token.spans {
                    assert!(start >= last && start < end && end as usize <= characters.len(), "{text:?}: {token:?}");
                    last = start;
                    covered[start as usize..end as usize].fill(true);
                }
                let (start, end) = (token.spans[0].0 as usize, token.spans[token.spans.len() - 1].1 as usize);
                let source: String = characters[start..end].iter().filter(|&&ch| ch >= ' ').collect();
                let plain = match token.text.as_str() {
                    "@-@" => "-".to_owned(),
                    text => unescape(text),
                };
                assert!(plain == source || source.contains("MULTI"), "{text:?}: {plain:?} is not {source:?}");
            }
            for (ch, covered) in characters.iter().zip(covered) {
                assert_eq!(covered, !is_space(*ch) && *ch >= ' ', "{text:?}: {ch:?}");
            }
        }
    }

    fn unescape(text: &str) -> String {
        let mut text = text.to_owned();
        for ch in ['|', '<', '>', '\'', '"', '[', ']', '&'] {
            text = text.replace(entity(ch).unwrap(), &ch.to_string());
        }
        text
    }
}
