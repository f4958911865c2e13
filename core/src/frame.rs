//! Declared schemas of tables, and the check against them.

use polars::prelude::{DataFrame, DataType};

use crate::{Error, Result};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// 64-bit unsigned whole number.
    Count,
    /// 64-bit float; NaN is refused.
    Real,
    /// Boolean.
    Flag,
    /// List of texts.
    Texts,
    /// List of 64-bit floats.
    Reals,
    /// List of 64-bit unsigned whole numbers.
    Counts,
}

impl ColumnType {
    /// The Polars type.
    pub fn dtype(self) -> DataType {
        match self {
            Self::Text => DataType::String,
            Self::Count => DataType::UInt64,
            Self::Real => DataType::Float64,
            Self::Flag => DataType::Boolean,
            Self::Texts => DataType::List(Box::new(DataType::String)),
            Self::Reals => DataType::List(Box::new(DataType::Float64)),
            Self::Counts => DataType::List(Box::new(DataType::UInt64)),
        }
    }
}

/// A column of a declared schema.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name, in lower snake case.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
    /// Whether a cell may be empty.
    pub nullable: bool,
    /// What a cell says, with its unit.
    pub doc: &'static str,
}

/// A table's declared schema.
#[derive(Debug, Clone, Copy)]
pub struct FrameSchema {
    /// The table's name.
    pub name: &'static str,
    /// What a row is.
    pub doc: &'static str,
    /// The columns, in order. A table may carry more columns behind them.
    pub columns: &'static [Column],
}

impl FrameSchema {
    /// Checks names, types, empty cells and NaN.
    ///
    /// # Errors
    /// [`Error::Frame`] with the first thing that is wrong; `origin` names the call that made the table.
    pub fn check(&self, frame: &DataFrame, origin: &str) -> Result<()> {
        let fail = |message: String| Err(Error::Frame { origin: origin.to_owned(), schema: self.name, message });
        for column in self.columns {
            let Ok(found) = frame.column(column.name) else {
                let names: Vec<&str> = frame.get_column_names().into_iter().map(polars::prelude::PlSmallStr::as_str).collect();
                return fail(format!("column `{}` is missing; it has {}", column.name, names.join(", ")));
            };
            if *found.dtype() != column.kind.dtype() {
                return fail(format!("column `{}` has type {}, expected {}", column.name, found.dtype(), column.kind.dtype()));
            }
            if !column.nullable && found.null_count() > 0 {
                return fail(format!("column `{}` has {} empty cells", column.name, found.null_count()));
            }
            if column.kind == ColumnType::Real && found.f64()?.iter().flatten().any(f64::is_nan) {
                return fail(format!("column `{}` holds NaN", column.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    const SCHEMA: FrameSchema = FrameSchema {
        name: "demo",
        doc: "A row is an example.",
        columns: &[
            Column { name: "id", kind: ColumnType::Text, nullable: false, doc: "" },
            Column { name: "score", kind: ColumnType::Real, nullable: true, doc: "" },
        ],
    };

    fn message(frame: &DataFrame) -> String {
        SCHEMA.check(frame, "prober `x`").unwrap_err().to_string()
    }

    #[test]
    fn a_table_that_fits_passes_and_may_carry_more() {
        let frame = df!["id" => ["a"], "score" => [Some(1.0)], "extra" => [1i32]].unwrap();
        SCHEMA.check(&frame, "prober `x`").unwrap();
    }

    #[test]
    fn every_misfit_is_named() {
        assert!(message(&df!["id" => ["a"]].unwrap()).contains("column `score` is missing; it has id"));
        assert!(message(&df!["id" => [1i64], "score" => [1.0]].unwrap()).contains("column `id` has type i64, expected str"));
        assert!(message(&df!["id" => [None::<&str>], "score" => [1.0]].unwrap()).contains("column `id` has 1 empty cells"));
        assert!(message(&df!["id" => ["a"], "score" => [f64::NAN]].unwrap()).contains("column `score` holds NaN"));
    }
}
