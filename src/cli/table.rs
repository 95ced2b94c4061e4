//! Tables without borders.

use super::output::{Output, Paint};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// The gap between two columns.
const GAP: usize = 2;

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) right: bool,
    /// Left out where the terminal is too narrow for all columns, those with the highest
    /// rank first; 0 stays.
    pub(super) rank: u8,
}

/// A column that always stays, with text on the left.
pub(super) const fn left(title: &'static str) -> Column {
    Column { title, right: false, rank: 0 }
}

/// A column that always stays, with numbers on the right.
pub(super) const fn right(title: &'static str) -> Column {
    Column { title, right: true, rank: 0 }
}

impl Column {
    /// The same, but to be left out early.
    pub(super) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// Words that are shown in colour, where there is colour.
const MARKED: &[(&str, Paint)] = &[
    ("dead", Paint::Red),
    ("unhealthy", Paint::Red),
    ("ambiguous", Paint::Red),
    ("unqueryable", Paint::Red),
    ("busy", Paint::Yellow),
    ("outside", Paint::Yellow),
    ("simulated", Paint::Yellow),
];

/// The table's lines. On a terminal it fits: columns are left out (not with `wide`), and then
/// long cells are broken. Elsewhere nothing is left out or broken, and each row is one line.
pub(super) fn render(
    columns: &[Column],
    rows: &[Vec<String>],
    wide: bool,
    output: &Output,
) -> String {
    let kept = match output.width {
        Some(width) if !wide => fitting(columns, rows, usize::from(width)),
        _ => (0..columns.len()).collect(),
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match output.width {
        Some(width) if !wide => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
        }
        _ => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let shown = kept.iter().filter_map(|at| columns.get(*at));
    table.set_header(shown.clone().map(|column| Cell::new(column.title)));
    for row in rows {
        table.add_row(kept.iter().filter_map(|at| row.get(*at)).map(Cell::new));
    }
    for ((at, column), shown) in (1..).zip(shown).zip(table.column_iter_mut()) {
        shown.set_padding((0, if at == kept.len() { 0 } else { u16::try_from(GAP).unwrap_or(2) }));
        if column.right {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let line = if number == 0 { output.paint(Paint::Bold, line) } else { mark(line, output) };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The columns that fit into `width`, in their order.
fn fitting(columns: &[Column], rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let width_of = |at: usize| {
        let title = columns.get(at).map_or(0, |column| column.title.chars().count());
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(title)
    };
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    loop {
        let needed: usize = kept.iter().map(|at| width_of(*at) + GAP).sum();
        let rank = |at: &usize| columns.get(*at).map_or(0, |column| column.rank);
        let first_to_go = kept.iter().copied().max_by_key(rank);
        match first_to_go {
            Some(at) if needed > width + GAP && rank(&at) > 0 => kept.retain(|other| *other != at),
            _ => return kept,
        }
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
