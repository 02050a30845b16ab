//! `cargo xtask soak`: the long forms of the tests that `cargo xtask test` runs for seconds.

use crate::process::{Failure, Outcome, cargo, run as run_command};

pub(crate) const HELP: &str = "\
Soaks a node: allocations come and go at random over UDP, TCP and TLS, with refreshes, permissions,
channels, data both ways, clients that move, clients that are gone without a word, nonsense, reloads
and revocations; then nothing may be left over. Both engines at the same time, a line a window.

Usage: cargo xtask soak [--duration TIME] [--seed N] [--only NAME]

Options:
  --duration TIME   how long, such as 90s, 10m or 1h (1h when nothing is said)
  --seed N          what happens; the summary and a failure name it
  --only NAME       soak, flood or mutation instead of soak:
                      flood     10,000 strange sources beside sessions that must not notice
                      mutation  valid messages with real credentials, spoiled in every way

Examples:
  cargo xtask soak --duration 10m
  cargo xtask soak --only mutation --duration 5m --seed 7
";

/// The tests that know a long form.
const TESTS: [&str; 3] = ["soak", "flood", "mutation"];

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    test: &'static str,
    seconds: u64,
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let wish = parse(arguments)?;
    let mut command = cargo();
    command
        .args([
            "test",
            "--release",
            "--package",
            "sterna",
            "--test",
            wish.test,
        ])
        .args(["--", "--nocapture"])
        .env("STERNA_SOAK_S", wish.seconds.to_string());
    if let Some(seed) = wish.seed {
        command.env("STERNA_SEED", seed.to_string());
    }
    run_command(&mut command)
}

fn parse(arguments: &[String]) -> Result<Wish, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("{what}: see cargo xtask soak --help"));
    let mut wish = Wish {
        test: TESTS[0],
        seconds: 3_600,
        seed: None,
    };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().ok_or_else(|| wrong(flag))?;
        match flag.as_str() {
            "--duration" => wish.seconds = seconds(value).ok_or_else(|| wrong(value))?,
            "--seed" => wish.seed = Some(value.parse().map_err(|_| wrong(value))?),
            "--only" => {
                let test = TESTS.iter().find(|test| *test == value);
                wish.test = test.ok_or_else(|| wrong(value))?;
            }
            _ => return Err(wrong(flag)),
        }
    }
    Ok(wish)
}

/// `90s`, `10m`, `1h`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Wish> {
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words).ok()
    }

    #[test]
    fn an_hour_of_soak_is_what_nothing_means() {
        let wish = parsed("").expect("good usage");
        assert_eq!((wish.test, wish.seconds, wish.seed), ("soak", 3_600, None));
        let wish = parsed("--only mutation --duration 10m --seed 7").expect("good usage");
        assert_eq!(
            (wish.test, wish.seconds, wish.seed),
            ("mutation", 600, Some(7))
        );
    }

    #[test]
    fn a_time_without_its_unit_is_wrong_usage() {
        for text in [
            "--duration 10",
            "--duration m",
            "--seed x",
            "--only abuse",
            "--seed",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
