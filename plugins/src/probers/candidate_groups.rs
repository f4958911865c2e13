//! Candidates an encoder can tell apart.

use std::collections::HashMap;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};

/// What happens to candidates whose tokens are the same: no encoder can tell them apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Ties {
    /// They are one candidate, which is right if any of its names is.
    #[default]
    Merge,
    /// Each is a candidate of its own; the one whose name comes first in byte order is ranked first.
    Index,
}

/// The candidates of one pool, in byte order of their first names.
#[derive(Debug)]
pub(crate) struct CandidateGroups {
    /// For each candidate, its first name as an index into the pool's names.
    pub(crate) first: Vec<usize>,
    /// For each candidate, its row among the distinct token sequences.
    pub(crate) row: Vec<usize>,
    /// For each name of the pool, its candidate.
    of_name: Vec<usize>,
}

impl CandidateGroups {
    /// Groups the names of a pool by the row of their token sequence.
    pub(crate) fn new(rows: &[usize], ties: Ties) -> Self {
        let mut groups = Self { first: Vec::new(), row: Vec::new(), of_name: Vec::with_capacity(rows.len()) };
        let mut seen: HashMap<usize, usize> = HashMap::new();
        for (name, &row) in rows.iter().enumerate() {
            let known = if ties == Ties::Merge { seen.get(&row).copied() } else { None };
            let group = known.unwrap_or_else(|| {
                groups.first.push(name);
                groups.row.push(row);
                groups.first.len() - 1
            });
            seen.insert(row, group);
            groups.of_name.push(group);
        }
        groups
    }

    /// Number of candidates.
    pub(crate) fn len(&self) -> usize {
        self.first.len()
    }

    /// The candidates that hold one of these names, ascending, each once.
    pub(crate) fn holding(&self, names: &[usize]) -> Vec<usize> {
        let mut groups: Vec<usize> = names.iter().map(|&name| self.of_name[name]).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

/// Gives each distinct key a row, in order of first appearance.
#[derive(Debug)]
pub(crate) struct Distinct<K> {
    rows: HashMap<K, usize>,
}

impl<K: std::hash::Hash + Eq> Distinct<K> {
    pub(crate) fn new() -> Self {
        Self { rows: HashMap::new() }
    }

    /// The row of a key, and whether it is new.
    pub(crate) fn row(&mut self, key: K) -> (usize, bool) {
        let next = self.rows.len();
        let row = *self.rows.entry(key).or_insert(next);
        (row, row == next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_the_same_tokens_are_one_candidate() {
        let groups = CandidateGroups::new(&[7, 3, 7, 9], Ties::Merge);
        assert_eq!(groups.first, [0, 1, 3]);
        assert_eq!(groups.row, [7, 3, 9]);
        assert_eq!(groups.holding(&[2, 3]), [0, 2]);
        assert_eq!(groups.holding(&[0, 2]), [0]);
    }

    #[test]
    fn by_index_every_name_stands_alone() {
        let groups = CandidateGroups::new(&[7, 3, 7], Ties::Index);
        assert_eq!(groups.len(), 3);
        assert_eq!(groups.holding(&[2]), [2]);
    }
}
