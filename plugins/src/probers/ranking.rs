//! What every prober that ranks candidates shares: the pools with the gold answers in them, and the table of predictions.

use std::collections::HashMap;

use lmprobe_core::{Error, Examples, Result, table};
use polars::prelude::{DataFrame, NamedFrom, Series};

/// How many candidates a prediction keeps.
pub(crate) const KEPT: usize = 10;

/// The names of a pool in ascending byte order. An index into them is a candidate; of equal scores the lower index ranks first.
#[derive(Debug)]
pub(crate) struct Pool {
    /// The names, each once.
    pub(crate) names: Vec<String>,
}

impl Pool {
    /// The candidate of this name, compared byte by byte.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|candidate| candidate.as_str().cmp(name)).ok()
    }
}

/// The pools of a task, and for each question its pool and the right answers in it.
#[derive(Debug)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
    rows: Vec<PoolRow>,
}

#[derive(Debug)]
struct PoolRow {
    pool: usize,
    golds: Vec<usize>,
}

impl Pools {
    /// Reads the candidates and looks up every gold.
    ///
    /// # Errors
    /// If a candidate comes twice in a pool, or a question answers from a pool that has no candidate.
    pub(crate) fn new(examples: &Examples) -> Result<Self> {
        let mut pools: Vec<Pool> = Vec::new();
        let mut index = HashMap::new();
        let names = table::texts(&examples.candidates, "name")?;
        for (pool, name) in table::texts(&examples.candidates, "pool")?.into_iter().zip(names) {
            let pool = *index.entry(pool).or_insert_with(|| {
                pools.push(Pool { names: Vec::new() });
                pools.len() - 1
            });
            pools[pool].names.push(name.to_owned());
        }
        for (label, &pool) in &index {
            let names = &mut pools[pool].names;
            // A sorted pool costs one pass; a task that hands it over unsorted still gets the documented tie rule.
            names.sort_unstable();
            if let Some((name, _)) = names.iter().zip(&names[1..]).find(|(name, next)| name == next) {
                return Err(malformed("candidates", format!("`{name}` comes twice in the pool `{label}`")));
            }
        }
        let golds = table::text_lists(&examples.examples, "golds")?;
        let mut rows = Vec::with_capacity(golds.len());
        for (row, (label, golds)) in table::texts(&examples.examples, "pool")?.into_iter().zip(golds).enumerate() {
            let Some(&pool) = index.get(label) else {
                return Err(malformed("examples", format!("row {row} answers from the pool `{label}`, which has no candidate")));
            };
            let mut golds: Vec<usize> = golds.iter().filter_map(|gold| pools[pool].index_of(gold)).collect();
            golds.sort_unstable();
            golds.dedup();
            rows.push(PoolRow { pool, golds });
        }
        Ok(Self { pools, rows })
    }

    /// All pools, in the order of their first candidate in the table.
    pub(crate) fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The index of a question's pool in [`Pools::pools`].
    pub(crate) fn pool_idx(&self, row: usize) -> usize {
        self.rows[row].pool
    }

    /// A question's pool.
    pub(crate) fn pool(&self, row: usize) -> &Pool {
        &self.pools[self.rows[row].pool]
    }

    /// The right answers of a question that are in its pool, each once, ascending; empty if none is.
    pub(crate) fn golds(&self, row: usize) -> &[usize] {
        &self.rows[row].golds
    }
}

/// Collects predictions in the order of the examples.
#[derive(Debug)]
pub(crate) struct PredictionsBuilder<'a> {
    examples: &'a DataFrame,
    ranks: Vec<Option<u64>>,
    sizes: Vec<u64>,
    names: Vec<Vec<String>>,
    scores: Vec<Vec<f64>>,
}

impl<'a> PredictionsBuilder<'a> {
    /// A table without rows for these examples.
    pub(crate) fn new(examples: &'a Examples) -> Self {
        let n = examples.examples.height();
        Self {
            examples: &examples.examples,
            ranks: Vec::with_capacity(n),
            sizes: Vec::with_capacity(n),
            names: Vec::with_capacity(n),
            scores: Vec::with_capacity(n),
        }
    }

    /// Appends the answer to the next question: the rank of its best gold from 1 (empty if none is in the pool), how many
    /// candidates were ranked, the first of them and their scores, best first.
    pub(crate) fn push(&mut self, rank: Option<u64>, n_candidates: u64, names: Vec<String>, scores: Vec<f64>) {
        self.ranks.push(rank);
        self.sizes.push(n_candidates);
        self.names.push(names);
        self.scores.push(scores);
    }

    /// The table, [`table::PREDICTIONS`].
    ///
    /// # Errors
    /// If there are not as many answers as questions.
    pub(crate) fn finish(self) -> Result<DataFrame> {
        if self.ranks.len() != self.examples.height() {
            return Err(malformed("predictions", format!("{} answers to {} questions", self.ranks.len(), self.examples.height())));
        }
        let mut columns = Vec::with_capacity(table::PREDICTIONS.columns.len());
        for name in ["example_id", "relation", "subject", "golds"] {
            columns.push(self.examples.column(name)?.as_materialized_series().clone());
        }
        columns.push(Series::new("rank".into(), self.ranks));
        columns.push(Series::new("n_candidates".into(), self.sizes));
        columns.push(table::texts_column("predictions", &self.names));
        columns.push(table::reals_column("scores", &self.scores));
        table::frame_of(columns)
    }
}

fn malformed(schema: &'static str, message: String) -> Error {
    Error::Frame { origin: "a ranking prober".to_owned(), schema, message }
}

/// Examples and candidates written out by hand, for the tests of probers.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// A question: relation, subject, golds, pool.
    pub(crate) type Question<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

    /// The examples of these questions; `example_id` is `relation:subject`.
    pub(crate) fn examples(questions: &[Question<'_>], candidates: &[(&str, &str)]) -> Examples {
        let ids: Vec<String> = questions.iter().map(|(relation, subject, _, _)| format!("{relation}:{subject}")).collect();
        let prompts: Vec<String> = questions.iter().map(|(relation, subject, _, _)| format!("{subject} {relation} [Y] .")).collect();
        let golds: Vec<Vec<String>> = questions.iter().map(|(_, _, golds, _)| golds.iter().map(|&gold| gold.to_owned()).collect()).collect();
        let frame = table::frame_of(vec![
            table::text_column("example_id", ids.iter().map(|id| Some(id.as_str()))),
            table::text_column("relation", questions.iter().map(|question| Some(question.0))),
            table::text_column("subject", questions.iter().map(|question| Some(question.1))),
            table::text_column("prompt", prompts.iter().map(|prompt| Some(prompt.as_str()))),
            table::texts_column("golds", &golds),
            table::text_column("pool", questions.iter().map(|question| Some(question.3))),
        ]);
        let pools = table::frame_of(vec![
            table::text_column("pool", candidates.iter().map(|candidate| Some(candidate.0))),
            table::text_column("name", candidates.iter().map(|candidate| Some(candidate.1))),
        ]);
        Examples::cloze(frame.unwrap(), pools.unwrap()).unwrap()
    }

    /// The ranks of a table of predictions.
    pub(crate) fn ranks(predictions: &DataFrame) -> Vec<Option<u64>> {
        predictions.column("rank").unwrap().u64().unwrap().iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golds_are_looked_up_in_the_pool_of_their_question() {
        let examples = fixture::examples(
            &[("treats", "aspirin", &["pain", "fever", "pain"], "a"), ("treats", "insulin", &["diabetes"], "b"), ("treats", "water", &["thirst"], "a")],
            &[("a", "pain"), ("b", "asthma"), ("a", "Zoster"), ("a", "fever"), ("b", "diabetes")],
        );
        let pools = Pools::new(&examples).unwrap();
        assert_eq!(pools.pools().len(), 2);
        assert_eq!(pools.pool(0).names, ["Zoster", "fever", "pain"]); // upper case before lower case: bytes
        assert_eq!((pools.pool_idx(0), pools.pool_idx(1), pools.pool_idx(2)), (0, 1, 0));
        assert_eq!(pools.golds(0), [1, 2]);
        assert_eq!(pools.golds(1), [1]);
        assert!(pools.golds(2).is_empty());
        assert_eq!(pools.pool(1).index_of("asthma"), Some(0));
        assert_eq!(pools.pool(1).index_of("Asthma"), None);
    }

    #[test]
    fn a_candidate_that_comes_twice_is_refused() {
        let examples = fixture::examples(&[("treats", "aspirin", &["pain"], "a")], &[("a", "pain"), ("a", "pain")]);
        let message = Pools::new(&examples).unwrap_err().to_string();
        assert!(message.contains("`pain` comes twice in the pool `a`"), "{message}");
    }

    #[test]
    fn predictions_carry_their_question_and_fit_the_schema() {
        let examples = fixture::examples(&[("r", "s", &["g"], "a"), ("r", "t", &["h"], "a")], &[("a", "g"), ("a", "x")]);
        let mut builder = PredictionsBuilder::new(&examples);
        builder.push(Some(1), 2, vec!["g".to_owned(), "x".to_owned()], vec![0.5, 0.25]);
        builder.push(None, 2, Vec::new(), Vec::new());
        let frame = builder.finish().unwrap();
        table::PREDICTIONS.check(&frame, "prober `x`").unwrap();
        let names: Vec<&str> = frame.get_column_names().into_iter().map(polars::prelude::PlSmallStr::as_str).collect();
        assert_eq!(names, table::PREDICTIONS.columns.iter().map(|column| column.name).collect::<Vec<_>>());
        assert_eq!(fixture::ranks(&frame), [Some(1), None]);
        assert_eq!(table::text_lists(&frame, "predictions").unwrap(), [vec!["g".to_owned(), "x".to_owned()], vec![]]);
    }

    #[test]
    fn a_question_without_answer_is_an_error() {
        let examples = fixture::examples(&[("r", "s", &["g"], "a")], &[("a", "g")]);
        let message = PredictionsBuilder::new(&examples).finish().unwrap_err().to_string();
        assert!(message.contains("0 answers to 1 questions"), "{message}");
    }
}
