//! The table: medians and spread by server, beside derper.

use std::fmt::Write as _;

use super::{DerpArgs, Variant};
use crate::results::{host, median, spread};

/// What the section of the results begins with.
pub(super) const HEADING: &str = "# The flow relay beside derper";

/// What one round has shown of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// In a closed loop: millions of payload bytes a second of the server's processor time.
    pub(super) bytes_per_cpu_s: f64,
    /// In a closed loop: millions of bits of payload a second.
    pub(super) goodput: f64,
    /// In a closed loop: per cent.
    pub(super) loss: f64,
    /// At the rate: as above.
    pub(super) bytes_per_cpu_s_at_rate: f64,
    /// At the rate.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

#[derive(Debug)]
pub(super) struct Table(Vec<(Variant, Vec<Figures>)>);

impl Table {
    pub(super) fn new(variants: &[Variant]) -> Self {
        Self(variants.iter().map(|one| (*one, Vec::new())).collect())
    }

    pub(super) fn add(&mut self, variant: Variant, figures: Figures) {
        let row = self.0.iter_mut().find(|(of, _)| *of == variant);
        row.expect("invariant: a row for each variant")
            .1
            .push(figures);
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
             sending {}-byte packets to the next; {} on their way in the closed loop, {} a second at the rate; \
             one worker and one thread of connections; processor time is that of the server's process.\n",
            host(),
            derper.unwrap_or("was not there"),
            args.rounds,
            args.duration.as_secs_f64(),
            args.devices,
            args.packet_size,
            args.outstanding,
            args.rate,
        )?;
        writeln!(
            text,
            "| server | MB a processor-second | times derper's | goodput (Mbit/s) | loss (%) | at the rate: MB a processor-second | p50 (µs) | p99 (µs) |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        let cost = |figures: &Figures| figures.bytes_per_cpu_s;
        let theirs = self.median(Variant::Derper, cost);
        for (variant, rounds) in &self.0 {
            let column = |of: fn(&Figures) -> f64| {
                let values: Vec<f64> = rounds.iter().map(of).collect();
                spread(&values)
            };
            let ratio = self.median(*variant, cost).zip(theirs);
            let ratio = ratio.filter(|_| *variant != Variant::Derper);
            writeln!(
                text,
                "| {variant} | {} | {} | {} | {} | {} | {} | {} |",
                column(|figures| figures.bytes_per_cpu_s),
                ratio.map_or(String::new(), |(ours, theirs)| format!(
                    "{:.2}",
                    ours / theirs
                )),
                column(|figures| figures.goodput),
                column(|figures| figures.loss),
                column(|figures| figures.bytes_per_cpu_s_at_rate),
                column(|figures| figures.p50_us),
                column(|figures| figures.p99_us),
            )?;
        }
        writeln!(text)
    }

    fn median(&self, variant: Variant, of: impl Fn(&Figures) -> f64) -> Option<f64> {
        let (_, rounds) = self.0.iter().find(|(held, _)| *held == variant)?;
        median(&rounds.iter().map(of).collect::<Vec<_>>())
    }
}
