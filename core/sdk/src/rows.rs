//! The tables of the host, read: examples, candidates and predictions.

use crate::{Error, NumberLists, Numbers, Result, Table, TextLists, Texts};

/// A number of things as a table holds it.
pub(crate) fn count(n: usize) -> Result<i64> {
    i64::try_from(n).map_err(|_| Error::internal(format!("{n} does not fit a table")))
}

const CHECKED: &str = "the columns were checked when the table came";

macro_rules! reader {
    ($(#[$doc:meta])* $name:ident { $($(#[$cell_doc:meta])* $cell:ident: $method:ident -> $view:ty;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            table: Table,
        }

        impl $name {
            /// Reads a table.
            ///
            /// # Errors
            /// If a column is missing or of another type.
            pub fn new(table: Table) -> Result<Self> {
                $(let _: $view = table.$method(stringify!($cell))?;)*
                Ok(Self { table })
            }

            /// Number of rows.
            pub fn len(&self) -> usize {
                self.table.height()
            }

            /// Whether there is no row.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The table, which may have more columns.
            pub fn table(&self) -> &Table {
                &self.table
            }

            $(
                $(#[$cell_doc])*
                pub fn $cell(&self) -> $view {
                    self.table.$method(stringify!($cell)).expect(CHECKED)
                }
            )*
        }
    };
}

reader! {
    /// What a task asks: one row a question.
    Examples {
        /// Stable identifiers, unique in the task.
        example_id: texts -> Texts<'_>;
        /// The relations asked for.
        relation: texts -> Texts<'_>;
        /// The entities asked about.
        subject: texts -> Texts<'_>;
        /// The questions, with `[Y]` where the object stands.
        prompt: texts -> Texts<'_>;
        /// Every right answer of each question.
        golds: text_lists -> TextLists<'_>;
        /// The pools to answer from.
        pool: texts -> Texts<'_>;
    }
}

reader! {
    /// What a task allows as answers: one row a candidate of a pool.
    Candidates {
        /// The pools.
        pool: texts -> Texts<'_>;
        /// The candidates, in ascending byte order in each pool.
        name: texts -> Texts<'_>;
    }
}

reader! {
    /// What a prober answered: one row a question.
    Predictions {
        /// The questions.
        example_id: texts -> Texts<'_>;
        /// Their relations.
        relation: texts -> Texts<'_>;
        /// Their subjects.
        subject: texts -> Texts<'_>;
        /// Every right answer of each question.
        golds: text_lists -> TextLists<'_>;
        /// Rank of the best right answer among all candidates, from 1; empty if none is in the pool.
        rank: numbers -> Numbers<'_, i64>;
        /// Candidates ranked.
        n_candidates: numbers -> Numbers<'_, i64>;
        /// The first candidates, best first.
        predictions: text_lists -> TextLists<'_>;
        /// Their scores, higher is better.
        scores: number_lists -> NumberLists<'_, f64>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CandidateRows, Column, ExampleRow, ExampleRows, PredictionRows};

    #[test]
    fn what_a_task_writes_a_prober_reads_and_what_it_answers_a_metric_reads() {
        let mut rows = ExampleRows::new();
        rows.push(ExampleRow {
            example_id: "treats/aspirin".into(),
            relation: "treats".into(),
            subject: "aspirin".into(),
            prompt: "aspirin treats [Y]".into(),
            golds: vec!["pain".into()],
            pool: "treats".into(),
        });
        let mut pool = CandidateRows::new();
        for name in ["pain", "fever", "pain"] {
            pool.push("treats", name);
        }
        let candidates = Candidates::new(pool.into_table().unwrap()).unwrap();
        assert_eq!(candidates.name().iter().collect::<Vec<_>>(), ["fever", "pain"]);
        let examples = Examples::new(rows.into_table().unwrap()).unwrap();
        let mut answers = PredictionRows::new(&examples);
        answers.push(Some(2), 2, [("fever", 0.5), ("pain", 0.25)]).unwrap();
        let predictions = Predictions::new(answers.into_table().unwrap()).unwrap();
        assert_eq!((predictions.rank().get(0), predictions.scores().get(0).values()), (Some(2), &[0.5, 0.25][..]));
        assert_eq!(predictions.golds().get(0).get(0), "pain");
        assert!(PredictionRows::new(&examples).into_table().unwrap_err().message().contains("0 answers to 1 examples"));
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = Candidates::new(Table::new().with("pool", Column::texts(["a"])).unwrap()).unwrap_err();
        assert_eq!((error.path(), error.message()), ("name", "there is no column `name`; the table has pool"));
    }
}
