//! The table: medians and spread by server, beside derper.

use std::fmt::Write as _;

use super::{DerpArgs, Load, Variant, loads};
use crate::results::{host, median, spread};

/// What the section of the results begins with.
pub(super) const HEADING: &str = "# The flow relay beside derper";

/// What one round has shown of one server under one load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Millions of payload bytes a second of the server's processor time.
    pub(super) bytes_per_cpu_s: f64,
    /// Millions of bits of payload a second.
    pub(super) goodput: f64,
    /// Per cent.
    pub(super) loss: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Rows in the order in which they were measured first.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    load: Load,
    variant: Variant,
    rounds: Vec<Figures>,
}

impl Table {
    pub(super) fn add(&mut self, load: Load, variant: Variant, figures: Figures) {
        let of = |row: &&mut Row| row.load == load && row.variant == variant;
        match self.0.iter_mut().find(of) {
            Some(row) => row.rounds.push(figures),
            None => self.0.push(Row {
                load,
                variant,
                rounds: vec![figures],
            }),
        }
    }

    pub(super) fn to_markdown(&self, args: &DerpArgs, derper: Option<&str>) -> String {
        let mut text = String::new();
        self.write(&mut text, args, derper)
            .expect("invariant: writing to a String cannot fail");
        text
    }

    fn write(&self, text: &mut String, args: &DerpArgs, derper: Option<&str>) -> std::fmt::Result {
        writeln!(text, "{HEADING}\n")?;
        writeln!(
            text,
            "Written by `cargo xtask bench derp`; `bench/README.md` says what is measured and how.\n"
        )?;
        writeln!(
            text,
            "{}; derper {}; {} interleaved rounds of {} s, medians with smallest and largest; {} devices, each \
             sending {}-byte packets to the next; one worker and one thread of connections; processor time is that of the server's process.\n",
            host(),
            derper.unwrap_or("was not there"),
            args.rounds,
            args.duration.as_secs_f64(),
            args.devices,
            args.packet_size,
        )?;
        writeln!(
            text,
            "| packets | server | MB a processor-second | times derper's | goodput (Mbit/s) | loss (%) | p50 (µs) | p99 (µs) |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        for load in loads(args) {
            let theirs = self.median(load, Variant::Derper);
            for row in self.0.iter().filter(|row| row.load == load) {
                let column = |of: fn(&Figures) -> f64| {
                    let values: Vec<f64> = row.rounds.iter().map(of).collect();
                    spread(&values)
                };
                let ratio = self.median(load, row.variant).zip(theirs);
                let ratio = ratio.filter(|_| row.variant != Variant::Derper);
                writeln!(
                    text,
                    "| {load} | {} | {} | {} | {} | {} | {} | {} |",
                    row.variant,
                    column(|figures| figures.bytes_per_cpu_s),
                    ratio.map_or(String::new(), |(ours, theirs)| format!(
                        "{:.2}",
                        ours / theirs
                    )),
                    column(|figures| figures.goodput),
                    column(|figures| figures.loss),
                    column(|figures| figures.p50_us),
                    column(|figures| figures.p99_us),
                )?;
            }
        }
        writeln!(text)
    }

    /// The median of what a server carries for its processor time.
    fn median(&self, load: Load, variant: Variant) -> Option<f64> {
        let of = |row: &&Row| row.load == load && row.variant == variant;
        let row = self.0.iter().find(of)?;
        let values = row.rounds.iter().map(|figures| figures.bytes_per_cpu_s);
        median(&values.collect::<Vec<_>>())
    }
}
