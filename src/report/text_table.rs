//! Tables of text: aligned columns for terminals, Markdown for papers.

/// A table with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextTable {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// An empty table.
    pub(crate) fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Appends a row with a cell for every column.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.header.len(), "a row has a cell for every column");
        self.rows.push(row);
    }

    /// The table with aligned columns, ending in a line break.
    pub(crate) fn plain(&self) -> String {
        let widths: Vec<usize> =
            (0..self.header.len()).map(|column| self.lines().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in self.lines() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// The table in GitHub's Markdown, ending in a line break.
    pub(crate) fn markdown(&self) -> String {
        let line = |row: &[String]| {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = self.header.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{}{rows}", line(&self.header), line(&rule))
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.header).chain(&self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TextTable {
        let mut table = TextTable::new(["name", "value"]);
        table.push(vec!["Müller".into(), "1".into()]);
        table.push(vec!["a|b".into(), String::new()]);
        table
    }

    #[test]
    fn columns_align_by_characters_not_bytes() {
        assert_eq!(table().plain(), "name    value\nMüller  1\na|b\n");
    }

    #[test]
    fn markdown_escapes_what_would_end_a_cell() {
        assert_eq!(table().markdown(), "| name | value |\n| --- | --- |\n| Müller | 1 |\n| a\\|b |  |\n");
    }
}
