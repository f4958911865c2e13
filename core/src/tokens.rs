//! A packed batch of token sequences.

use std::ops::Range;

/// Token sequences laid end to end, without padding.
///
/// Every vector but `offsets` and `truncated` has one entry a token; sequence `i` owns the entries `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Vocabulary ids, special tokens included, `(tokens)`.
    pub ids: Vec<u32>,
    /// Segment ids (0 for the first sentence, 1 for the second), `(tokens)`.
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

    /// The length of sequence `index` in tokens.
    pub fn sequence_len(&self, index: usize) -> usize {
        self.offsets[index + 1] - self.offsets[index]
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
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut selected = Self::default();
        for &index in indices {
            selected.push_from(self, index);
        }
        selected
    }

    /// Packed position of the first token with this id in sequence `index`.
    pub fn position_of(&self, index: usize, id: u32) -> Option<usize> {
        self.range(index).find(|&position| self.ids[position] == id)
    }

    /// Groups of sequence indices of at most `max_tokens` tokens each (one sequence at least), longest first.
    ///
    /// Sequences of one group have similar lengths, so a padded implementation wastes little; a packed one wastes nothing.
    pub fn groups(&self, max_tokens: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&index| (std::cmp::Reverse(self.sequence_len(index)), index));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut filled = usize::MAX;
        for index in order {
            let length = self.sequence_len(index);
            match groups.last_mut() {
                Some(group) if filled.saturating_add(length) <= max_tokens => group.push(index),
                _ => {
                    groups.push(vec![index]);
                    filled = 0;
                }
            }
            filled += length;
        }
        groups
    }
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokenization {
    /// Longest sequence in tokens, special tokens included; `None` is the encoder's own limit. Longer texts are cut and marked in
    /// [`TokenBatch::truncated`].
    pub max_length: Option<usize>,
    /// Whether nothing is cut, however long a sequence becomes: to be cut into windows, since no model takes what is longer than its limit.
    pub whole: bool,
    /// Where longer texts are cut; special tokens at both ends stay.
    pub cut: Side,
}

impl Tokenization {
    /// At most so many tokens, cut at the right.
    pub fn at_most(max_length: usize) -> Self {
        Self { max_length: Some(max_length), ..Self::default() }
    }

    /// All tokens, however many.
    pub fn whole() -> Self {
        Self { whole: true, ..Self::default() }
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

    fn batch(lengths: &[usize]) -> TokenBatch {
        let mut batch = TokenBatch::default();
        for (sequence, &length) in lengths.iter().enumerate() {
            for _ in 0..length {
                batch.ids.push(u32::try_from(sequence).unwrap());
                batch.type_ids.push(0);
                batch.special.push(false);
                batch.word_ids.push(None);
                batch.char_offsets.push((0, 0));
            }
            batch.offsets.push(batch.ids.len());
            batch.truncated.push(false);
        }
        batch
    }

    #[test]
    fn groups_hold_every_sequence_once_and_respect_the_limit() {
        let batch = batch(&[3, 9, 1, 4, 4, 12]);
        let groups = batch.groups(10);
        assert_eq!(groups, [vec![5], vec![1], vec![3, 4], vec![0, 2]]); // 12 stands alone, 9, 4 + 4, 3 + 1
    }

    #[test]
    fn select_keeps_the_order_given() {
        let selected = batch(&[2, 1, 3]).select(&[2, 0]);
        assert_eq!(selected.ids, [2, 2, 2, 0, 0]);
        assert_eq!(selected.offsets, [0, 3, 5]);
    }
}
