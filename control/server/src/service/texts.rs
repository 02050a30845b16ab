//! Texts and lists of callers: none is longer than it may be, and none confuses a terminal.

use super::refusal::Refusal;
use crate::limits::TEXT_BYTES_MAX;

/// A name: something, of bounded length, without control characters.
pub(crate) fn name(field: &str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::malformed(format!("{field}: empty")));
    }
    note(field, text)
}

/// A text that may be empty.
pub(crate) fn note(field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        let sentence = format!("{field}: longer than {TEXT_BYTES_MAX} bytes");
        return Err(Refusal::malformed(sentence));
    }
    if text.chars().any(char::is_control) {
        let sentence = format!("{field}: control characters are not allowed");
        return Err(Refusal::malformed(sentence));
    }
    Ok(())
}

/// A list of bounded length.
pub(crate) fn at_most<T>(field: &str, list: &[T], max: usize) -> Result<(), Refusal> {
    if list.len() > max {
        return Err(Refusal::malformed(format!("{field}: at most {max}")));
    }
    Ok(())
}

/// A number within a range.
pub(crate) fn within(field: &str, number: u64, min: u64, max: u64) -> Result<(), Refusal> {
    if !(min..=max).contains(&number) {
        return Err(Refusal::malformed(format!("{field}: {min} to {max}")));
    }
    Ok(())
}

/// The code of a region.
pub(crate) fn region_code(field: &str, code: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&code.len()) && code.bytes().all(allowed) {
        return Ok(());
    }
    let sentence = format!("{field}: 1 to 32 of a-z, 0-9 and '-'");
    Err(Refusal::malformed(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_plain() {
        assert!(name("name", "eu-1").is_ok() && note("note", "").is_ok());
        assert!(name("name", " ").is_err());
        assert!(note("note", &"x".repeat(129)).is_err());
        assert!(note("note", "a\u{1b}[2J").is_err());
        assert!(region_code("code", "eu-1").is_ok());
        for wrong in ["", "EU", "a b", &"x".repeat(33)] {
            assert!(region_code("code", wrong).is_err(), "{wrong}");
        }
        assert!(within("weight", 0, 1, 1000).is_err() && within("weight", 1000, 1, 1000).is_ok());
    }
}
