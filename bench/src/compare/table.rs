//! Medians and spread of all rounds, as Markdown.

use std::fmt::Write as _;

use super::CompareArgs;
use super::rows::{Row, generator_line};
use super::server::Variant;
use crate::{BenchError, results};

/// What the section of the results begins with.
pub(super) const HEADING: &str = "# Results";

/// All figures of a comparison.
#[derive(Debug)]
pub(super) struct Table {
    variants: Vec<Variant>,
    rows: Vec<Row>,
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    variant: Variant,
    row: Row,
    /// One entry a round.
    rounds: Vec<Vec<f64>>,
    failures: Vec<String>,
}

impl Table {
    pub(super) fn new(variants: &[Variant], rows: &[Row]) -> Self {
        let cells = rows.iter().flat_map(|row| {
            let cell = |variant: &Variant| Cell {
                variant: *variant,
                row: *row,
                rounds: Vec::new(),
                failures: Vec::new(),
            };
            variants.iter().map(cell)
        });
        Self {
            variants: variants.to_vec(),
            rows: rows.to_vec(),
            cells: cells.collect(),
        }
    }

    pub(super) fn add(&mut self, variant: Variant, row: Row, figures: Vec<f64>) {
        if let Some(cell) = self.cell_mut(variant, row) {
            cell.rounds.push(figures);
        }
    }

    pub(super) fn fail(&mut self, variant: Variant, row: Row, error: &BenchError) {
        eprintln!("{variant}, {row}: {error}");
        if let Some(cell) = self.cell_mut(variant, row) {
            cell.failures.push(error.to_string());
        }
    }

    fn cell_mut(&mut self, variant: Variant, row: Row) -> Option<&mut Cell> {
        self.cells
            .iter_mut()
            .find(|cell| cell.variant == variant && cell.row == row)
    }

    fn cell(&self, variant: Variant, row: Row) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.variant == variant && cell.row == row)
    }

    pub(super) fn to_markdown(&self, args: &CompareArgs) -> String {
        let mut text = String::new();
        self.write(&mut text, args)
            .expect("invariant: writing to a String cannot fail");
        text
    }

    fn write(&self, text: &mut String, args: &CompareArgs) -> std::fmt::Result {
        writeln!(text, "{HEADING}\n")?;
        writeln!(
            text,
            "Written by `cargo xtask bench compare`; `bench/README.md` says what is measured and how."
        )?;
        writeln!(
            text,
            "Neither nanoseconds nor ratios quite carry over to other machines: they depend on what a system call costs there.\n"
        )?;
        writeln!(text, "{}\n", host(args))?;
        for row in &self.rows {
            self.write_row(text, *row, args)?;
        }
        Ok(())
    }

    fn write_row(&self, text: &mut String, row: Row, args: &CompareArgs) -> std::fmt::Result {
        writeln!(
            text,
            "## {}{}\n",
            row.to_string()[..1].to_uppercase(),
            &row.to_string()[1..]
        )?;
        writeln!(text, "`sterna {}`\n", generator_line(row, args.duration))?;
        if let Some(bar) = row.bar() {
            writeln!(text, "The bar: at least {bar} times less than coturn.\n")?;
        }
        let heads = row
            .figures()
            .iter()
            .map(|(name, unit)| format!("{name} ({unit})"));
        writeln!(
            text,
            "| server | {} | times less than coturn |",
            heads.collect::<Vec<_>>().join(" | ")
        )?;
        writeln!(text, "|---|{}---|", "---|".repeat(row.figures().len()))?;
        let coturn = self
            .cell(Variant::Coturn, row)
            .and_then(|cell| cell.median(0));
        for variant in self
            .variants
            .iter()
            .filter(|variant| row.applies_to(**variant))
        {
            if let Some(cell) = self.cell(*variant, row) {
                cell.write(text, coturn)?;
            }
        }
        writeln!(text)
    }
}

impl Cell {
    fn write(&self, text: &mut String, coturn: Option<f64>) -> std::fmt::Result {
        write!(text, "| {} |", self.variant)?;
        if self.rounds.is_empty() {
            let why = self.failures.first().map_or("not measured", String::as_str);
            return writeln!(text, " {} |", why.replace(['|', '\n'], " "));
        }
        for index in 0..self.row.figures().len() {
            write!(text, " {} |", self.figure(index))?;
        }
        let ratio = coturn
            .zip(self.median(0))
            .map(|(theirs, ours)| theirs / ours);
        match ratio.filter(|_| self.row != Row::Overload && self.variant != Variant::Coturn) {
            Some(ratio) => writeln!(text, " {ratio:.2} |"),
            None => writeln!(text, " |"),
        }
    }

    fn figure(&self, index: usize) -> String {
        results::spread(&self.values(index))
    }

    fn median(&self, index: usize) -> Option<f64> {
        results::median(&self.values(index))
    }

    fn values(&self, index: usize) -> Vec<f64> {
        let rounds = self.rounds.iter();
        rounds
            .filter_map(|figures| figures.get(index).copied())
            .collect()
    }
}

/// Where this was measured.
fn host(args: &CompareArgs) -> String {
    let (rounds, seconds) = (args.rounds, args.duration.as_secs_f64());
    format!(
        "{}; coturn {}; {rounds} interleaved rounds of {seconds} s a row, \
         medians with smallest and largest; 172-byte packets unless said otherwise; one worker or relay \
         thread; processor time is that of the process, its receive thread and its core's ksoftirqd.",
        results::host(),
        coturn_version()
    )
}

fn coturn_version() -> String {
    let output = std::process::Command::new("turnserver")
        .arg("--version")
        .output();
    let said = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let version = said
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    version.unwrap_or("(unknown version)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_median_and_spread_and_how_much_less_than_coturn() {
        let mut table = Table::new(&[Variant::Coturn, Variant::Uring], &[Row::Alloc]);
        for figure in [80.0, 100.0, 120.0] {
            table.add(Variant::Coturn, Row::Alloc, vec![figure, 1.0]);
        }
        table.add(Variant::Uring, Row::Alloc, vec![20.0, 1.0]);
        let mut text = String::new();
        let coturn = table.cells[0].median(0);
        table.cells[0].write(&mut text, coturn).expect("a string");
        table.cells[1].write(&mut text, coturn).expect("a string");
        assert_eq!(
            text,
            "| coturn | **100** (80–120) | 1.00 | |\n| Sterna (io_uring) | 20 | 1.00 | 5.00 |\n"
        );
    }
}
