//! Byte-pair encoding of whole words in the manner of fairseq: the last character of a word carries `</w>`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use lmprobe_checkpoints::vocabulary::Merge;

/// What marks the end of a word.
pub(super) const WORD_END: &str = "</w>";

/// Merges, by the numbers of their symbols.
pub(super) struct FairseqBpe {
    /// Number of each character as a symbol, inside a word and at its end.
    characters: HashMap<char, [u32; 2]>,
    /// Rank and resulting symbol of each pair.
    merges: HashMap<(u32, u32), (u32, u32)>,
}

/// No merge has this symbol.
const NO_SYMBOL: u32 = u32::MAX;

/// No symbol comes next.
const END: usize = usize::MAX;

/// A symbol of a word: its number and the characters it covers.
#[derive(Clone, Copy)]
struct Symbol {
    number: u32,
    start: usize,
    end: usize,
    next: usize,
}

impl FairseqBpe {
    /// Takes merges in the order of their importance; of a pair that is there twice the last one counts.
    pub(super) fn new(merges: &[Merge]) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut number = |symbol: String| {
            let next = u32::try_from(numbers.len()).unwrap_or(NO_SYMBOL);
            *numbers.entry(symbol).or_insert(next)
        };
        let mut ranked = HashMap::with_capacity(merges.len());
        for (rank, merge) in (0u32..).zip(merges) {
            let pair = (number(merge.first.clone()), number(merge.second.clone()));
            let result = number(format!("{}{}", merge.first, merge.second));
            ranked.insert(pair, (rank, result));
        }
        let mut characters: HashMap<char, [u32; 2]> = HashMap::new();
        for (symbol, number) in numbers {
            let (inside, at_end) = (single(&symbol), symbol.strip_suffix(WORD_END).and_then(single));
            if let Some(character) = inside.or(at_end) {
                characters.entry(character).or_insert([NO_SYMBOL; 2])[usize::from(inside.is_none())] = number;
            }
        }
        Self { characters, merges: ranked }
    }

    /// The pieces of a word, as the characters they cover; the last one carries the mark of the word's end.
    ///
    /// The pair that comes first in the list is merged wherever it stands, from left to right, then the next, until none is left.
    /// The work grows with the length of the word times its logarithm: a long chain of letters is no attack.
    pub(super) fn pieces(&self, word: &str) -> Vec<(usize, usize)> {
        let number = |character: char, at_end: usize| self.characters.get(&character).map_or(NO_SYMBOL, |numbers| numbers[at_end]);
        let symbol = |(index, character): (usize, char)| Symbol { number: number(character, 0), start: index, end: index + 1, next: index + 1 };
        let mut symbols: Vec<Symbol> = word.chars().enumerate().map(symbol).collect();
        let (Some(last), Some(character)) = (symbols.last_mut(), word.chars().next_back()) else { return Vec::new() };
        (last.number, last.next) = (number(character, 1), END);

        let mut previous: Vec<usize> = (0..symbols.len()).map(|index| index.wrapping_sub(1)).collect();
        let mut queue: BinaryHeap<Reverse<(u32, usize)>> =
            (0..symbols.len()).filter_map(|index| Some(Reverse((self.merge_at(&symbols, index)?.0, index)))).collect();
        let mut changed = Vec::new();
        while let Some(Reverse((rank, index))) = queue.pop() {
            // Entries of symbols that were merged meanwhile are out of date.
            if let Some((_, result)) = self.merge_at(&symbols, index).filter(|(found, _)| *found == rank) {
                let right = symbols[index].next;
                let Symbol { end, next, .. } = symbols[right];
                symbols[right].number = NO_SYMBOL;
                symbols[index] = Symbol { number: result, end, next, ..symbols[index] };
                if next != END {
                    previous[next] = index;
                }
                changed.push(index);
            }
            // New pairs wait until the present one is merged everywhere, which matters if they come before it in the list.
            if queue.peek().is_none_or(|Reverse((next_rank, _))| *next_rank != rank) {
                for index in changed.drain(..) {
                    for start in [previous[index], index] {
                        queue.extend(self.merge_at(&symbols, start).map(|(rank, _)| Reverse((rank, start))));
                    }
                }
            }
        }
        let mut index = 0;
        let walk = || {
            let symbol = symbols.get(index)?;
            index = symbol.next;
            Some((symbol.start, symbol.end))
        };
        std::iter::from_fn(walk).collect()
    }

    /// Rank and result of merging the symbol at `index` with the next one.
    fn merge_at(&self, symbols: &[Symbol], index: usize) -> Option<(u32, u32)> {
        let left = symbols.get(index)?;
        let right = symbols.get(left.next)?;
        self.merges.get(&(left.number, right.number)).copied()
    }
}

/// The one character of a string.
fn single(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bpe(merges: &[(&str, &str)]) -> FairseqBpe {
        let merge = |(line, (first, second)): (usize, &(&str, &str))| Merge { line, first: (*first).into(), second: (*second).into() };
        FairseqBpe::new(&merges.iter().enumerate().map(merge).collect::<Vec<_>>())
    }

    #[test]
    fn pairs_are_merged_in_the_order_of_the_list() {
        let bpe = bpe(&[("g", "e"), ("n", "e</w>"), ("ge", "ne</w>"), ("e", "n")]);
        assert_eq!(bpe.pieces("gene"), [(0, 4)]); // g e n e -> ge n e -> ge ne -> gene
        assert_eq!(bpe.pieces("genes"), [(0, 2), (2, 3), (3, 4), (4, 5)]); // the last e carries no mark
        assert_eq!(bpe.pieces("xen"), [(0, 1), (1, 2), (2, 3)]); // n carries one
        assert_eq!(bpe.pieces("e"), [(0, 1)]);
        assert_eq!(bpe.pieces(""), []);
    }

    #[test]
    fn equal_letters_are_paired_from_the_left() {
        let bpe = bpe(&[("a", "a"), ("aa", "a")]);
        assert_eq!(bpe.pieces("aaaaab"), [(0, 2), (2, 5), (5, 6)]); // aa aa a b -> aa aaa b
    }

    #[test]
    fn a_pair_is_merged_everywhere_before_an_earlier_one_that_it_makes_possible() {
        // By the list, `xab` comes first; but when `ab` is merged at one place, it is merged at the other too.
        let bpe = bpe(&[("ab", "ab"), ("x", "ab"), ("a", "b")]);
        assert_eq!(bpe.pieces("xababz"), [(0, 1), (1, 5), (5, 6)]);
    }

    #[test]
    fn a_long_word_is_no_attack() {
        let bpe = bpe(&[("a", "a"), ("aa", "aa"), ("aaaa", "aaaa")]);
        assert_eq!(bpe.pieces(&"a".repeat(800_001)).len(), 100_001);
    }
}
