//! The prober `example/frequency-prior`: always the relation's most frequent right answers. It asks no model.

use std::cmp::Reverse;
use std::collections::HashMap;

use lmprobe_sdk::{Call, Candidates, Component, Examples, Needs, NoParams, PredictionRows, Prober, Result, Table};

use crate::pools::{KEPT, Pools};

/// Ranks a relation's pool by how often each name is right.
#[derive(Debug)]
pub struct FrequencyPrior;

impl Component for FrequencyPrior {
    type Params = NoParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "baseline: always the relation's most frequent gold answers (an oracle, asks no model)";

    fn build(_: NoParams, _: &Call<'_>) -> Result<Self> {
        Ok(Self)
    }
}

impl Prober for FrequencyPrior {
    fn needs(&self) -> Needs {
        Needs::nothing()
    }

    fn run(&self, examples: &Examples, candidates: &Candidates, call: &Call<'_>) -> Result<Table> {
        let pools = Pools::new(examples, candidates)?;
        let relations = examples.relation();
        let mut counts: HashMap<&str, RelationCounts<'_>> = HashMap::new();
        for (row, relation) in relations.iter().enumerate() {
            let counts = counts.entry(relation).or_default();
            counts.questions += 1;
            for &gold in pools.golds(row) {
                *counts.names.entry(pools.names[pools.pool(row)][gold]).or_default() += 1;
            }
        }
        let mut priors: HashMap<(&str, usize), Prior<'_>> = HashMap::new();
        let mut rows = PredictionRows::new(examples);
        for (row, relation) in relations.iter().enumerate() {
            call.check_cancelled()?;
            let pool = pools.pool(row);
            let names = &pools.names[pool];
            let prior = priors.entry((relation, pool)).or_insert_with(|| Prior::new(names, &counts[relation]));
            let rank = pools.golds(row).iter().map(|&gold| prior.ranks[gold]).min();
            rows.push(rank, names.len(), prior.first.iter().copied())?;
        }
        rows.into_table()
    }
}

/// How many questions a relation has, and how many of them each name answers.
#[derive(Debug, Default)]
struct RelationCounts<'a> {
    questions: u64,
    names: HashMap<&'a str, u64>,
}

/// The one answer to all questions of a relation that share a pool.
#[derive(Debug)]
struct Prior<'a> {
    /// The rank of each candidate, from 1.
    ranks: Vec<usize>,
    /// The first names with the share of questions they answer.
    first: Vec<(&'a str, f64)>,
}

impl<'a> Prior<'a> {
    fn new(names: &[&'a str], counts: &RelationCounts<'_>) -> Self {
        let count = |candidate: usize| counts.names.get(names[candidate]).copied().unwrap_or(0);
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&candidate| (Reverse(count(candidate)), candidate));
        let mut ranks = vec![0; order.len()];
        for (rank, &candidate) in (1..).zip(&order) {
            ranks[candidate] = rank;
        }
        order.truncate(KEPT);
        let first = order.iter().map(|&candidate| (names[candidate], count(candidate) as f64 / counts.questions as f64)).collect();
        Self { ranks, first }
    }
}
