//! Figures of several rounds as text, and the file that holds all tables.

use std::fs;
use std::path::Path;

use crate::BenchError;

/// What the table of `sterna bench compare` ends at: sections from here on are others'.
pub(crate) const OTHERS: &str = "\n# ";

/// `median (smallest–largest)`.
pub(crate) fn spread(values: &[f64]) -> String {
    let sorted = sorted(values);
    let (Some(median), Some(first), Some(last)) = (median(values), sorted.first(), sorted.last())
    else {
        return "–".to_owned();
    };
    if sorted.len() == 1 || written(*first) == written(*last) {
        return written(median);
    }
    format!(
        "**{}** ({}–{})",
        written(median),
        written(*first),
        written(*last)
    )
}

/// The one in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Three digits, or thousands with a separator.
pub(crate) fn written(value: f64) -> String {
    if value.abs() < 9.995 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut grouped = if value < 0.0 {
        "−".to_owned()
    } else {
        String::new()
    };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Where this was measured: processor, cores, kernel.
pub(crate) fn host() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux {kernel}")
}

/// Puts a section, which begins with its heading, in the place of the one with the same heading, or
/// at the file's end.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn replace_section(file: &Path, heading: &str, section: &str) -> Result<(), BenchError> {
    let failed = |error: std::io::Error| BenchError::Failed {
        what: file.display().to_string(),
        why: error.to_string(),
    };
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed)?,
    };
    fs::write(file, with_section(&before, heading, section)).map_err(failed)?;
    eprintln!("written to {}", file.display());
    Ok(())
}

fn with_section(text: &str, heading: &str, section: &str) -> String {
    let begins = |text: &str| text.starts_with(&format!("{heading}\n"));
    let mut kept = Vec::new();
    let mut placed = false;
    for part in parts(text) {
        if begins(part) {
            placed = true;
            kept.push(section.trim_end().to_owned());
        } else {
            kept.push(part.trim_end().to_owned());
        }
    }
    if !placed {
        kept.push(section.trim_end().to_owned());
    }
    kept.retain(|part| !part.is_empty());
    kept.join("\n\n") + "\n"
}

/// What stands under each heading of the first order.
fn parts(text: &str) -> Vec<&str> {
    let mut cuts = vec![0];
    cuts.extend(text.match_indices(OTHERS).map(|(at, _)| at + 1));
    cuts.push(text.len());
    cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_with_the_digits_that_matter() {
        let values = [0.0, 1.234, 123.4, 12_345.6, -2_000_000.0].map(written);
        assert_eq!(values, ["0.00", "1.23", "123", "12,346", "−2,000,000"]);
        assert_eq!(spread(&[80.0, 120.0, f64::NAN, 100.0]), "**100** (80–120)");
        assert_eq!(spread(&[]), "–");
    }

    #[test]
    fn a_section_takes_the_place_of_its_former_self_and_of_nobody_else() {
        let text = "# Results\n\n## one\n\na\n\n# Flows\n\nold\n\n# More\n\nc\n";
        let now = with_section(text, "# Flows", "# Flows\n\nnew\n");
        assert_eq!(
            now,
            "# Results\n\n## one\n\na\n\n# Flows\n\nnew\n\n# More\n\nc\n"
        );
        assert_eq!(with_section(&now, "# Flows", "# Flows\n\nnew\n"), now);
        assert_eq!(
            with_section("# Results\n", "# Flows", "# Flows\n"),
            "# Results\n\n# Flows\n"
        );
    }
}
