//! Tables and lines for people, times as they say them.

use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Spaces between two columns.
const GAP: u16 = 2;

/// A table without lines or colours.
pub(super) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A name a line, what it is beside it.
pub(super) fn lines(lines: &[(&str, String)]) -> String {
    let width = lines
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}\n", plain(value));
    lines
        .iter()
        .map(line)
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// A text that others have chosen, without what would move a terminal's cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '\u{FFFD}' } else { char })
        .collect()
}

/// Several of something in one cell.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(" ")
}

/// A number where zero means none.
pub(super) fn or_none(number: u32) -> String {
    if number == 0 {
        "none".to_owned()
    } else {
        number.to_string()
    }
}

/// A time in the past or future, from now: "12 s ago", "in 3 h"; zero was never.
pub(super) fn from_now(unix_s: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    relative(unix_s, now.map_or(0, |now| now.as_secs()))
}

fn relative(unix_s: u64, now: u64) -> String {
    if unix_s == 0 {
        return "never".to_owned();
    }
    let away = unix_s.abs_diff(now);
    let (number, unit) = match away {
        0..120 => (away, "s"),
        120..7200 => (away / 60, "min"),
        7200..172_800 => (away / 3600, "h"),
        _ => (away / 86_400, "days"),
    };
    if unix_s > now {
        format!("in {number} {unit}")
    } else {
        format!("{number} {unit} ago")
    }
}

/// A time as a date (RFC 3339, UTC).
pub(super) fn date(unix_s: u64) -> String {
    let at = i64::try_from(unix_s).ok();
    at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_s.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_their_letters() {
        let rows = [["eu-1", "ready"], ["münchen-1", "lost"]];
        let rows = rows.into_iter().map(|row| row.map(str::to_owned).to_vec());
        let text = table(&["name", "status"], rows);
        let expected = "NAME       STATUS\neu-1       ready\nmünchen-1  lost\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{FFFD}[2Jb\u{FFFD}");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = 1_700_000_000;
        for (at, told) in [
            (0, "never"),
            (now, "0 s ago"),
            (now - 119, "119 s ago"),
            (now - 120, "2 min ago"),
            (now + 7200, "in 2 h"),
            (now + 864_000, "in 10 days"),
        ] {
            assert_eq!(relative(at, now), told);
        }
        assert_eq!(date(now), "2023-11-14T22:13:20Z");
    }
}
