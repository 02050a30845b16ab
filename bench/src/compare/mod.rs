//! `sterna bench compare`: Sterna beside coturn and beside bare forwarding loops, on one table.
//!
//! Two network namespaces are joined by a veth pair. The server that is measured runs in one, pinned
//! to one core together with the kernel threads that receive its packets; the generator with its
//! sink runs in the other, on another core. All variants are measured in turn, several rounds over,
//! and the table shows medians and spread. What is billed to a server is the processor time of its
//! process, of its receive thread and of its core's `ksoftirqd`: a process's own time alone would
//! hide what it leaves to the kernel's threads.

mod lab;
mod memory;
mod rows;
mod server;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::turn::seconds;
use crate::{BenchError, results};

use lab::Lab;
use rows::{Row, measure};
use server::{Server, Variant};
use table::Table;

/// Arguments of `sterna bench compare`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Needs root, two processor cores, ip, ethtool, taskset, and Debian's coturn.

Example:
  sterna bench compare --rounds 3"
)]
pub struct CompareArgs {
    /// Rounds in which each variant is measured once.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,

    /// Seconds that each row is measured.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub duration: Duration,

    /// Which variants; all of them without it.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub variants: Vec<Variant>,

    /// Which rows; all of them without it.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub rows: Vec<Row>,

    /// The core of the measured server.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub server_core: u16,

    /// The core of the generator and its sink.
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    pub generator_core: u16,

    /// Where the table is written, beside being printed.
    #[arg(long, value_name = "FILE", default_value = "bench/RESULTS.md")]
    pub out: PathBuf,

    /// Only print the table.
    #[arg(long)]
    pub no_write: bool,
}

/// Measures everything and prints the table.
///
/// # Errors
/// When a tool is missing, a namespace cannot be made, or a server does not start.
pub fn run(args: &CompareArgs) -> Result<(), BenchError> {
    let variants = all_or(&args.variants);
    let rows: Vec<Row> = all_or(&args.rows);
    if args.server_core == args.generator_core {
        return Err(BenchError::Usage("server and generator need a core each"));
    }
    server::check_tools(&variants)?;
    let lab = Lab::build(args.server_core, args.generator_core)?;
    let mut table = Table::new(&variants, &rows);
    for round in 1..=args.rounds {
        for variant in &variants {
            let server = Server::start(&lab, *variant)?;
            for row in rows.iter().filter(|row| row.applies_to(*variant)) {
                eprintln!("round {round} of {}: {variant}, {row}", args.rounds);
                match measure(&lab, &server, *row, args.duration) {
                    Ok(figures) => table.add(*variant, *row, figures),
                    Err(error) => table.fail(*variant, *row, &error),
                }
            }
            server.stop();
        }
    }
    let text = table.to_markdown(args);
    println!("{text}");
    if !args.no_write {
        results::replace_section(&args.out, table::HEADING, &text)?;
    }
    Ok(())
}

fn all_or<T: clap::ValueEnum + Clone>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() {
        T::value_variants().to_vec()
    } else {
        chosen.to_vec()
    }
}
