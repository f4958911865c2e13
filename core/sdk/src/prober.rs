//! Probers: ways of asking an encoder.

use crate::{Call, Candidates, Column, Component, Error, Examples, Needs, Result, Table};

/// A way of asking. It knows nothing of how answers are scored.
pub trait Prober: Component {
    /// What the prober asks of an encoder.
    fn needs(&self) -> Needs;

    /// Asks, and returns one row an example in their order, which [`PredictionRows`] collects. Encoders stand in slots from 0 on: [`Call::encoder`].
    ///
    /// # Errors
    /// If the encoder fails or the examples cannot be asked.
    fn run(&self, examples: &Examples, candidates: &Candidates, call: &Call<'_>) -> Result<Table>;
}

/// Collects predictions in the order of the examples.
#[derive(Debug)]
pub struct PredictionRows<'a> {
    examples: &'a Examples,
    ranks: Vec<Option<i64>>,
    sizes: Vec<i64>,
    ends: Vec<usize>,
    names: Vec<String>,
    scores: Vec<f64>,
}

impl<'a> PredictionRows<'a> {
    /// No answers to these examples.
    pub fn new(examples: &'a Examples) -> Self {
        Self { examples, ranks: Vec::new(), sizes: Vec::new(), ends: vec![0], names: Vec::new(), scores: Vec::new() }
    }

    /// Appends the answer to the next example: the rank of its best gold from 1 (empty if none is in the pool), how many candidates were ranked, and the
    /// first of them with their scores, best first; higher is better.
    ///
    /// # Errors
    /// If a number does not fit the table.
    pub fn push<'b>(&mut self, rank: Option<usize>, n_candidates: usize, best: impl IntoIterator<Item = (&'b str, f64)>) -> Result<()> {
        self.ranks.push(rank.map(crate::rows::count).transpose()?);
        self.sizes.push(crate::rows::count(n_candidates)?);
        for (name, score) in best {
            self.names.push(name.to_owned());
            self.scores.push(score);
        }
        self.ends.push(self.names.len());
        Ok(())
    }

    /// The answers as a table.
    ///
    /// # Errors
    /// If there are not as many answers as examples.
    pub fn into_table(self) -> Result<Table> {
        if self.ranks.len() != self.examples.len() {
            return Err(Error::internal(format!("{} answers to {} examples", self.ranks.len(), self.examples.len())));
        }
        let mut table = Table::new();
        for name in ["example_id", "relation", "subject", "golds"] {
            table.push(name, self.examples.table().column(name)?.clone())?;
        }
        table
            .with("rank", Column::optional_i64s(self.ranks))?
            .with("n_candidates", Column::i64s(self.sizes))?
            .with("predictions", Column::lists(&self.ends, Column::texts(&self.names))?)?
            .with("scores", Column::lists(&self.ends, Column::f64s(self.scores))?)
    }
}
