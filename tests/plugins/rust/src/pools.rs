//! The pools of a task and the right answers in them, as both probers need them.

use std::collections::HashMap;

use lmprobe_sdk::{Candidates, Error, Examples, Result};

/// How many candidates a prediction keeps.
pub(crate) const KEPT: usize = 10;

/// The pools, and for each question its pool and the right answers in it.
#[derive(Debug)]
pub(crate) struct Pools<'a> {
    /// The names of each pool in ascending byte order, each once.
    pub(crate) names: Vec<Vec<&'a str>>,
    rows: Vec<(usize, Vec<usize>)>,
}

impl<'a> Pools<'a> {
    pub(crate) fn new(examples: &Examples, candidates: &'a Candidates) -> Result<Self> {
        let mut names: Vec<Vec<&str>> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        for (pool, name) in candidates.pool().iter().zip(candidates.name().iter()) {
            let pool = *index.entry(pool).or_insert_with(|| {
                names.push(Vec::new());
                names.len() - 1
            });
            names[pool].push(name);
        }
        for names in &mut names {
            names.sort_unstable();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Error::input(format!("the candidate `{}` comes twice in a pool", pair[0])).at("name"));
            }
        }
        let mut rows = Vec::with_capacity(examples.len());
        for (row, label) in examples.pool().iter().enumerate() {
            let pool =
                *index.get(label).ok_or_else(|| Error::input(format!("row {row} answers from the pool `{label}`, which has no candidate")).at("pool"))?;
            let mut golds: Vec<usize> = examples.golds().get(row).iter().filter_map(|gold| names[pool].binary_search(&gold).ok()).collect();
            golds.sort_unstable();
            golds.dedup();
            rows.push((pool, golds));
        }
        Ok(Self { names, rows })
    }

    /// The number of a question's pool.
    pub(crate) fn pool(&self, row: usize) -> usize {
        self.rows[row].0
    }

    /// The right answers of a question that are in its pool, each once, ascending.
    pub(crate) fn golds(&self, row: usize) -> &[usize] {
        &self.rows[row].1
    }
}
