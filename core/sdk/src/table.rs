//! Tables: columns with names.

use crate::column::Column;
use crate::{Error, Flags, Number, NumberLists, Numbers, Result, TextLists, Texts};

/// Columns of one length, each with a name.
///
/// Cells of a table that came from the host are read where they stand: nothing is copied.
#[derive(Debug, Clone, Default)]
pub struct Table {
    height: usize,
    columns: Vec<(String, Column)>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_columns(height: usize, columns: Vec<(String, Column)>) -> Self {
        Self { height, columns }
    }

    /// Appends a column.
    ///
    /// # Errors
    /// If the name is taken or the lengths differ.
    pub fn push(&mut self, name: impl Into<String>, column: Column) -> Result<()> {
        let name = name.into();
        if self.index_of(&name).is_some() {
            return Err(Error::internal(format!("the column `{name}` comes twice")).at(name));
        }
        if self.columns.is_empty() {
            self.height = column.len();
        } else if column.len() != self.height {
            return Err(Error::internal(format!("the column `{name}` has {} cells, the others have {}", column.len(), self.height)).at(name));
        }
        self.columns.push((name, column));
        Ok(())
    }

    /// The table with one more column.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn with(mut self, name: impl Into<String>, column: Column) -> Result<Self> {
        self.push(name, column)?;
        Ok(self)
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The columns with their names, in order.
    pub fn columns(&self) -> &[(String, Column)] {
        &self.columns
    }

    pub(crate) fn into_columns(self) -> Vec<(String, Column)> {
        self.columns
    }

    /// The number of the column of this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(known, _)| known == name)
    }

    /// The column of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn column(&self, name: &str) -> Result<&Column> {
        match self.index_of(name) {
            Some(index) => Ok(&self.columns[index].1),
            None => Err(Error::input(format!("there is no column `{name}`; the table has {}", self.names().collect::<Vec<_>>().join(", "))).at(name)),
        }
    }

    /// The cells of a column of texts.
    ///
    /// # Errors
    /// If there is no such column or it holds something else; likewise below.
    pub fn texts(&self, name: &str) -> Result<Texts<'_>> {
        self.column(name)?.as_texts().map_err(|error| error.at(name))
    }

    /// The cells of a column of numbers.
    ///
    /// # Errors
    /// As [`Self::texts`].
    pub fn numbers<T: Number>(&self, name: &str) -> Result<Numbers<'_, T>> {
        self.column(name)?.as_numbers().map_err(|error| error.at(name))
    }

    /// The cells of a column of truth values.
    ///
    /// # Errors
    /// As [`Self::texts`].
    pub fn flags(&self, name: &str) -> Result<Flags<'_>> {
        self.column(name)?.as_flags().map_err(|error| error.at(name))
    }

    /// The cells of a column of lists of texts.
    ///
    /// # Errors
    /// As [`Self::texts`].
    pub fn text_lists(&self, name: &str) -> Result<TextLists<'_>> {
        self.column(name)?.as_text_lists().map_err(|error| error.at(name))
    }

    /// The cells of a column of lists of numbers.
    ///
    /// # Errors
    /// As [`Self::texts`].
    pub fn number_lists<T: Number>(&self, name: &str) -> Result<NumberLists<'_, T>> {
        self.column(name)?.as_number_lists().map_err(|error| error.at(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_what_does_not_fit() {
        let table = Table::new().with("a", Column::i64s([1, 2])).unwrap();
        assert_eq!(table.height(), 2);
        assert_eq!(table.column("b").unwrap_err().message(), "there is no column `b`; the table has a");
        assert_eq!(table.texts("a").unwrap_err().path(), "a");
        assert!(table.clone().with("a", Column::i64s([1, 2])).unwrap_err().message().contains("comes twice"));
        assert!(table.with("b", Column::i64s([1])).unwrap_err().message().contains("has 1 cells, the others have 2"));
    }
}
