//! Tables without borders, built column by column.

use super::output::{Output, Paint};
use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

/// The gap between two columns.
const GAP: u16 = 2;

/// A table of these rows, to which columns are added.
pub(super) struct Table<'a, T> {
    rows: &'a [T],
    columns: Vec<Column>,
}

struct Column {
    title: &'static str,
    right: bool,
    rank: u8,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        cells.chain([self.title.chars().count()]).max().unwrap_or(0)
    }
}

/// The words that have a colour.
const MARKED: &[(&str, Paint)] = &[
    ("dead", Paint::Red),
    ("unhealthy", Paint::Red),
    ("ambiguous", Paint::Red),
    ("unqueryable", Paint::Red),
    ("busy", Paint::Yellow),
    ("outside", Paint::Yellow),
    ("simulated", Paint::Yellow),
];

impl<'a, T> Table<'a, T> {
    pub(super) const fn of(rows: &'a [T]) -> Self {
        Self { rows, columns: Vec::new() }
    }

    /// Adds a column that is aligned on the left. If the terminal is too narrow for all columns,
    /// those with the highest rank are left out first; rank 0 stays.
    pub(super) fn left(self, title: &'static str, rank: u8, cell: impl Fn(&T) -> String) -> Self {
        self.with(Column { title, right: false, rank, cells: Vec::new() }, cell)
    }

    /// Adds a column that is aligned on the right, as of numbers.
    pub(super) fn right(self, title: &'static str, rank: u8, cell: impl Fn(&T) -> String) -> Self {
        self.with(Column { title, right: true, rank, cells: Vec::new() }, cell)
    }

    fn with(mut self, column: Column, cell: impl Fn(&T) -> String) -> Self {
        let cells = self.rows.iter().map(cell).collect();
        self.columns.push(Column { cells, ..column });
        self
    }

    /// The lines of the table. On a terminal, and without `wide`, columns are left out and then long
    /// cells are broken until it fits. Elsewhere each row is one whole line.
    pub(super) fn render(self, wide: bool, output: &Output) -> String {
        let mut columns = self.columns;
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        match output.width.filter(|_| !wide) {
            Some(width) => {
                fit(&mut columns, usize::from(width));
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table.set_header(columns.iter().map(|column| Cell::new(column.title)));
        for row in 0..self.rows.len() {
            table.add_row(columns.iter().filter_map(|column| column.cells.get(row)).map(Cell::new));
        }
        for ((at, column), shown) in (1..).zip(&columns).zip(table.column_iter_mut()) {
            shown.set_padding((0, if at == columns.len() { 0 } else { GAP }));
            if column.right {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        lines(&table, output)
    }
}

fn lines(table: &comfy_table::Table, output: &Output) -> String {
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let line = if number == 0 { output.paint(Paint::Bold, line) } else { mark(line, output) };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Leaves columns out until they fit into `width`.
fn fit(columns: &mut Vec<Column>, width: usize) {
    let gap = usize::from(GAP);
    while columns.iter().map(|column| column.width() + gap).sum::<usize>() > width + gap
        && let Some(rank) = columns.iter().map(|column| column.rank).max().filter(|rank| *rank > 0)
        && let Some(last) = columns.iter().rposition(|column| column.rank == rank)
    {
        columns.remove(last);
    }
}

fn mark(line: &str, output: &Output) -> String {
    let words = line.split(' ').map(|word| {
        let bare = word.trim_end_matches([',', ':']);
        match MARKED.iter().find(|(marked, _)| *marked == bare) {
            Some((_, paint)) => word.replace(bare, &output.paint(*paint, bare)),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
