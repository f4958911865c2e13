//! A packed batch of token sequences.

use std::ops::Range;

use crate::{Column, Error, Result, Table};

/// Token sequences laid end to end, without padding.
///
/// Every vector but `offsets` and `truncated` has one entry a token; sequence `i` owns the entries `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Vocabulary ids, special tokens included, `(tokens)`.
    pub ids: Vec<u32>,
    /// Segment ids (0 for the first text, 1 for the second), `(tokens)`.
    pub type_ids: Vec<u32>,
    /// Whether the token was added by the tokenizer and stands for no text, `(tokens)`.
    pub special: Vec<bool>,
    /// Index of the word the token belongs to, `(tokens)`.
    pub word_ids: Vec<Option<u32>>,
    /// Start and end of the token in its text, in characters, `(tokens)`.
    pub char_offsets: Vec<(u32, u32)>,
    /// Sequence boundaries, `(batch + 1)`; the first is 0.
    pub offsets: Vec<usize>,
    /// Whether the sequence lost tokens to the length limit, `(batch)`.
    pub truncated: Vec<bool>,
}

/// One token of a batch that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Token {
    /// Vocabulary id.
    pub id: u32,
    /// Segment id.
    pub type_id: u32,
    /// Whether it stands for no text.
    pub special: bool,
    /// Index of the word it belongs to.
    pub word: Option<u32>,
    /// Start and end in its text, in characters.
    pub chars: (u32, u32),
}

impl Default for TokenBatch {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            type_ids: Vec::new(),
            special: Vec::new(),
            word_ids: Vec::new(),
            char_offsets: Vec::new(),
            offsets: vec![0],
            truncated: Vec::new(),
        }
    }
}

impl TokenBatch {
    /// Appends a sequence.
    pub fn push(&mut self, tokens: impl IntoIterator<Item = Token>, truncated: bool) {
        for token in tokens {
            self.ids.push(token.id);
            self.type_ids.push(token.type_id);
            self.special.push(token.special);
            self.word_ids.push(token.word);
            self.char_offsets.push(token.chars);
        }
        self.offsets.push(self.ids.len());
        self.truncated.push(truncated);
    }

    /// A batch of which only ids, and perhaps segment ids, are known.
    pub(crate) fn from_ids(ids: &[u32], type_ids: Option<&[u32]>, offsets: Vec<usize>) -> Self {
        let n = ids.len();
        Self {
            ids: ids.to_vec(),
            type_ids: type_ids.map_or_else(|| vec![0; n], <[u32]>::to_vec),
            special: vec![false; n],
            word_ids: vec![None; n],
            char_offsets: vec![(0, 0); n],
            truncated: vec![false; offsets.len() - 1],
            offsets,
        }
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed positions of sequence `index`.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// The ids of sequence `index`.
    pub fn sequence(&self, index: usize) -> &[u32] {
        &self.ids[self.range(index)]
    }

    /// Appends sequence `index` of `other`.
    pub fn push_from(&mut self, other: &Self, index: usize) {
        let range = other.range(index);
        self.ids.extend_from_slice(&other.ids[range.clone()]);
        self.type_ids.extend_from_slice(&other.type_ids[range.clone()]);
        self.special.extend_from_slice(&other.special[range.clone()]);
        self.word_ids.extend_from_slice(&other.word_ids[range.clone()]);
        self.char_offsets.extend_from_slice(&other.char_offsets[range]);
        self.offsets.push(self.ids.len());
        self.truncated.push(other.truncated[index]);
    }

    /// The chosen sequences, in the order given.
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut selected = Self::default();
        for index in indices {
            selected.push_from(self, index);
        }
        selected
    }

    /// Packed position of the first token with this id in sequence `index`.
    pub fn position_of(&self, index: usize, id: u32) -> Option<usize> {
        self.range(index).find(|&position| self.ids[position] == id)
    }

    /// The sequence of every token.
    fn sequences(&self) -> Vec<i64> {
        (0i64..).zip(self.offsets.windows(2)).flat_map(|(sequence, pair)| std::iter::repeat_n(sequence, pair[1] - pair[0])).collect()
    }

    /// The batch as it crosses, one row a token.
    pub(crate) fn into_table(self) -> Result<Table> {
        let n = self.ids.len();
        let whole = self.type_ids.len() == n && self.special.len() == n && self.word_ids.len() == n && self.char_offsets.len() == n;
        if !whole || self.offsets.last() != Some(&n) || !self.offsets.is_sorted() || self.truncated.len() != self.len() {
            return Err(Error::internal("the vectors of a batch of tokens have different lengths"));
        }
        let sequences = self.sequences();
        let widened = |values: &[u32]| values.iter().map(|&value| i64::from(value)).collect::<Vec<_>>();
        let truncated = self.offsets.windows(2).zip(&self.truncated).flat_map(|(pair, &cut)| std::iter::repeat_n(cut, pair[1] - pair[0]));
        Table::new()
            .with("sequence", Column::i64s(sequences))?
            .with("id", Column::i64s(widened(&self.ids)))?
            .with("type_id", Column::i64s(widened(&self.type_ids)))?
            .with("special", Column::flags(self.special))?
            .with("word", Column::optional_i64s(self.word_ids.iter().map(|word| word.map(i64::from))))?
            .with("start", Column::i64s(self.char_offsets.iter().map(|&(start, _)| i64::from(start)).collect::<Vec<_>>()))?
            .with("end", Column::i64s(self.char_offsets.iter().map(|&(_, end)| i64::from(end)).collect::<Vec<_>>()))?
            .with("truncated", Column::flags(truncated))
    }

    /// Reads what crossed. `n` is the number of texts that were asked about.
    pub(crate) fn from_table(table: &Table, n: usize) -> Result<Self> {
        let height = table.height();
        let required = |name: &str| -> Result<Vec<u32>> {
            let cells = table.numbers::<i64>(name)?;
            cells
                .iter()
                .map(|cell| cell.and_then(|cell| u32::try_from(cell).ok()).ok_or_else(|| Error::input(format!("`{name}` holds {cell:?}")).at(name)))
                .collect()
        };
        let optional = |name: &str| if table.index_of(name).is_some() { required(name) } else { Ok(vec![0; height]) };
        let flags = |name: &str| -> Result<Vec<bool>> {
            if table.index_of(name).is_none() {
                return Ok(vec![false; height]);
            }
            let cells = table.flags(name)?;
            Ok((0..height).map(|row| cells.get(row).unwrap_or_default()).collect())
        };
        let sequences = required("sequence")?;
        if !sequences.is_sorted() || sequences.last().is_some_and(|&last| last as usize >= n) {
            return Err(Error::input(format!("`sequence` decreases or leaves 0..{n}")).at("sequence"));
        }
        let offsets: Vec<usize> = (0..=n).map(|sequence| sequences.partition_point(|&known| (known as usize) < sequence)).collect();
        let cut = flags("truncated")?;
        let word_ids = if table.index_of("word").is_some() {
            table.numbers::<i64>("word")?.iter().map(|word| word.and_then(|word| u32::try_from(word).ok())).collect()
        } else {
            vec![None; height]
        };
        Ok(Self {
            ids: required("id")?,
            type_ids: optional("type_id")?,
            special: flags("special")?,
            word_ids,
            char_offsets: optional("start")?.into_iter().zip(optional("end")?).collect(),
            truncated: offsets.windows(2).map(|pair| cut[pair[0]..pair[1]].contains(&true)).collect(),
            offsets,
        })
    }
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokenization {
    /// Longest sequence in tokens, special tokens included; `None` is the encoder's own limit. Longer texts are cut and marked in
    /// [`TokenBatch::truncated`].
    pub max_length: Option<usize>,
    /// Where longer texts are cut; special tokens at both ends stay.
    pub cut: Side,
    /// The vocabulary pieces of texts that follow other text, without special tokens.
    pub pieces: bool,
}

impl Tokenization {
    /// At most so many tokens, cut at the right.
    pub fn at_most(max_length: usize) -> Self {
        Self { max_length: Some(max_length), ..Self::default() }
    }
}

/// An end of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    #[default]
    Right,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_crosses_even_if_its_last_sequence_is_empty() {
        let mut batch = TokenBatch::default();
        batch.push([Token { id: 1, special: true, ..Token::default() }, Token { id: 9, word: Some(0), chars: (0, 4), ..Token::default() }], true);
        batch.push([], false);
        let table = batch.clone().into_table().unwrap();
        assert_eq!(TokenBatch::from_table(&table, 2).unwrap(), batch);
        assert!(TokenBatch::from_table(&table, 0).unwrap_err().message().contains("leaves 0..0"));
    }

    #[test]
    fn ids_alone_are_enough() {
        let table = Table::new().with("sequence", Column::i64s([0, 0, 1])).unwrap().with("id", Column::i64s([5, 6, 7])).unwrap();
        let batch = TokenBatch::from_table(&table, 2).unwrap();
        assert_eq!((batch.sequence(0), batch.sequence(1), batch.position_of(0, 6)), (&[5, 6][..], &[7][..], Some(1)));
        assert_eq!(batch.select([1, 0]).ids, [7, 5, 6]);
    }
}
