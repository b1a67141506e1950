//! Columns for people: aligned, two spaces apart, nothing else.

use std::fmt;

use crate::output::printable;

/// Rows under a line of headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    empty: &'static str,
}

impl Table {
    /// `empty` is printed where there are no rows.
    pub(crate) fn new(headings: &[&'static str], empty: &'static str) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), empty }
    }

    /// One row, a cell for each heading.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len(), "a cell for each heading");
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "{}", self.empty);
        }
        let width = |column: usize, heading: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(heading.chars().count())
        };
        let widths: Vec<_> =
            self.headings.iter().enumerate().map(|(column, heading)| width(column, heading)).collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &str>| {
            // The last column is not filled up: no line ends in spaces.
            let mut gap = 0;
            for (cell, width) in cells.zip(&widths) {
                write!(f, "{:gap$}{cell}", "")?;
                gap = width.saturating_sub(cell.chars().count()) + 2;
            }
            writeln!(f)
        };
        line(f, &mut self.headings.iter().copied())?;
        self.rows.iter().try_for_each(|row| line(f, &mut row.iter().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "N", "NOTE"], "nobody");
        table.row(["jürgen".into(), "1".into(), "".into()]);
        table.row(["al".into(), "1000".into(), "x y".into()]);
        assert_eq!(
            table.to_string(),
            "NAME    N     NOTE\n\
             jürgen  1     \n\
             al      1000  x y\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&["NAME"], "no accounts").to_string(), "no accounts\n");
    }

    #[test]
    fn a_cell_cannot_break_its_line() {
        let mut table = Table::new(&["NAME"], "");
        table.row(["a\nb".into()]);
        assert_eq!(table.to_string(), "NAME\na\\nb\n");
    }
}
