//! Tasks: examples and their gold answers.

use crate::{Call, Column, Component, Result, Table};

/// What is asked. It knows nothing of models.
pub trait Task: Component {
    /// The metrics a run reports when it names none, as a run file writes them.
    fn default_metrics(&self) -> Vec<String>;

    /// The examples and the candidates, which [`ExampleRows`] and [`CandidateRows`] collect.
    ///
    /// # Errors
    /// If a file is missing or malformed; the error names file and line.
    fn examples(&self, call: &Call<'_>) -> Result<(Table, Table)>;
}

/// Collects examples.
#[derive(Debug, Clone, Default)]
pub struct ExampleRows {
    rows: Vec<ExampleRow>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleRow {
    /// Stable identifier, unique in the task.
    pub example_id: String,
    /// The relation asked for; macro averages are over these.
    pub relation: String,
    /// The entity asked about.
    pub subject: String,
    /// The question with the subject filled in and `[Y]` where the object stands.
    pub prompt: String,
    /// Every right answer.
    pub golds: Vec<String>,
    /// The candidate pool to answer from.
    pub pool: String,
}

impl ExampleRows {
    /// No questions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a question.
    pub fn push(&mut self, row: ExampleRow) {
        self.rows.push(row);
    }

    /// The questions as a table.
    ///
    /// # Errors
    /// Never, as things stand.
    pub fn into_table(self) -> Result<Table> {
        let texts = |cell: fn(&ExampleRow) -> &String| Column::texts(self.rows.iter().map(cell));
        Table::new()
            .with("example_id", texts(|row| &row.example_id))?
            .with("relation", texts(|row| &row.relation))?
            .with("subject", texts(|row| &row.subject))?
            .with("prompt", texts(|row| &row.prompt))?
            .with("golds", Column::text_lists(self.rows.iter().map(|row| &row.golds)))?
            .with("pool", texts(|row| &row.pool))
    }
}

/// Collects the candidates of pools, in ascending byte order of the names, each once.
#[derive(Debug, Clone, Default)]
pub struct CandidateRows {
    rows: std::collections::BTreeSet<(String, String)>,
}

impl CandidateRows {
    /// No candidates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a candidate to a pool; one that is known is not added again.
    pub fn push(&mut self, pool: impl Into<String>, name: impl Into<String>) {
        self.rows.insert((pool.into(), name.into()));
    }

    /// The candidates as a table.
    ///
    /// # Errors
    /// Never, as things stand.
    pub fn into_table(self) -> Result<Table> {
        Table::new().with("pool", Column::texts(self.rows.iter().map(|(pool, _)| pool)))?.with("name", Column::texts(self.rows.iter().map(|(_, name)| name)))
    }
}
