//! The part of structured fields (RFC 8941) that signatures are written in, in its canonical form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits::SIGNATURE_HEADER_BYTES_MAX;

/// Components of one signature; six are known.
const COMPONENTS_MAX: usize = 8;
/// Parameters of one signature; five are known.
const PARAMS_MAX: usize = 8;
/// RFC 8941 §3.3.1: digits of an integer.
const DIGITS_MAX: usize = 15;

/// `signature-input` of one signature (RFC 9421 §4.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input<'a> {
    /// The name of the signature within the message.
    pub(super) label: &'a str,
    /// What is covered, in order, each once.
    pub(super) components: Vec<&'a str>,
    /// The parameters, in order, each once.
    pub(super) params: Vec<(&'a str, Value<'a>)>,
    /// Components and parameters as they stand, which is how they are signed.
    pub(super) params_text: &'a str,
}

/// A parameter's value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer that is not negative.
    Integer(u64),
    /// A string without escapes.
    Text(&'a str),
}

/// Reads a `signature-input` with one signature.
pub(super) fn input(header: &str) -> Option<Input<'_>> {
    let mut rest = Rest(bounded(header)?);
    let label = rest.key()?;
    rest.expect('=')?;
    let params_text = rest.0;
    let components = components(&mut rest)?;
    let mut params: Vec<(&str, Value<'_>)> = Vec::new();
    while !rest.0.is_empty() {
        rest.expect(';')?;
        let name = rest.key()?;
        rest.expect('=')?;
        let value = rest.value()?;
        if params.len() == PARAMS_MAX || params.iter().any(|(known, _)| *known == name) {
            return None;
        }
        params.push((name, value));
    }
    Some(Input {
        label,
        components,
        params,
        params_text,
    })
}

/// Reads a `signature` with one signature, of that label (RFC 9421 §4.2).
pub(super) fn signature(header: &str, label: &str) -> Option<Vec<u8>> {
    let encoded = bounded(header)?
        .strip_prefix(label)?
        .strip_prefix("=:")?
        .strip_suffix(':')?;
    STANDARD.decode(encoded).ok()
}

/// RFC 9421 §2: an inner list of component identifiers; none that we read has parameters, and none
/// may come twice.
fn components<'a>(rest: &mut Rest<'a>) -> Option<Vec<&'a str>> {
    let mut components: Vec<&str> = Vec::new();
    rest.expect('(')?;
    while !rest.0.starts_with(')') {
        if !components.is_empty() {
            rest.expect(' ')?;
        }
        let name = rest.string()?;
        if components.len() == COMPONENTS_MAX || components.contains(&name) {
            return None;
        }
        components.push(name);
    }
    rest.expect(')')?;
    Some(components)
}

fn bounded(header: &str) -> Option<&str> {
    (header.len() <= SIGNATURE_HEADER_BYTES_MAX).then(|| header.trim_matches([' ', '\t']))
}

/// What has not been read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn expect(&mut self, expected: char) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// As many bytes as `belongs` takes; the bytes are ASCII.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let end = self.0.bytes().position(|byte| !belongs(byte));
        let (taken, rest) = self
            .0
            .split_at_checked(end.unwrap_or(self.0.len()))
            .unwrap_or(("", self.0));
        self.0 = rest;
        taken
    }

    /// RFC 8941 §3.1.2: `key`.
    fn key(&mut self) -> Option<&'a str> {
        let key = self.take_while(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        key.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
            .then_some(key)
    }

    /// RFC 8941 §3.3.3, without escapes: nothing that we read needs one.
    fn string(&mut self) -> Option<&'a str> {
        self.expect('"')?;
        let text =
            self.take_while(|byte| (0x20..0x7F).contains(&byte) && byte != b'"' && byte != b'\\');
        self.expect('"')?;
        Some(text)
    }

    /// RFC 8941 §3.3.1, as it is written canonically: no sign, no leading zero.
    fn integer(&mut self) -> Option<u64> {
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let canonical = digits == "0" || !digits.starts_with('0');
        (canonical && digits.len() <= DIGITS_MAX)
            .then(|| digits.parse().ok())
            .flatten()
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.0.starts_with('"') {
            return self.string().map(Value::Text);
        }
        self.integer().map(Value::Integer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_input_is_read_into_its_parts() {
        let read = input(r#" sig1=("@method" "date");created=1618884473;keyid="k" "#).unwrap();
        assert_eq!(read.label, "sig1");
        assert_eq!(read.components, ["@method", "date"]);
        assert_eq!(
            read.params,
            [
                ("created", Value::Integer(1_618_884_473)),
                ("keyid", Value::Text("k"))
            ]
        );
        assert_eq!(
            read.params_text,
            r#"("@method" "date");created=1618884473;keyid="k""#
        );
        assert_eq!(input("s=()").unwrap().components, [""; 0]);
    }

    #[test]
    fn what_is_not_canonical_or_not_one_signature_is_refused() {
        for wrong in [
            "",
            "s",
            "s=",
            "s=(",
            "s=(\"a\"",
            "s=(\"a\" )",
            "s=( \"a\")",
            "s=(\"a\"  \"b\")",
            "s=(\"a\"\"b\")",
            "s=(\"a\" \"a\")",
            "s=(\"a\";sf)",
            "s=(a)",
            "S=()",
            "1=()",
            "s=();",
            "s=();a",
            "s=();a=",
            "s=();a=1;a=2",
            "s=(); a=1",
            "s=();a=01",
            "s=();a=-1",
            "s=();a=1.0",
            "s=();a=1234567890123456",
            "s=();a=\"b",
            "s=();a=\"\\\"\"",
            "s=();a=\"\u{e9}\"",
            "s=();a=?1",
            "s=(), t=()",
            "s=(\"a\" \"b\" \"c\" \"d\" \"e\" \"f\" \"g\" \"h\" \"i\")",
            "s=();a=1;b=1;c=1;d=1;e=1;f=1;g=1;h=1;i=1",
            "\u{e9}=()",
        ] {
            assert_eq!(input(wrong), None, "{wrong}");
        }
        let long = format!("s=();a=\"{}\"", "x".repeat(SIGNATURE_HEADER_BYTES_MAX));
        assert_eq!(input(&long), None);
    }

    #[test]
    fn a_signature_is_read_by_its_label_only() {
        assert_eq!(signature("s=:AAEC:", "s"), Some(vec![0, 1, 2]));
        for wrong in [
            "t=:AAEC:",
            "s=AAEC",
            "s=:AAEC",
            "s=:A:",
            "s=:AA-_:",
            "s=:AAEC:, t=:AAEC:",
        ] {
            assert_eq!(signature(wrong, "s"), None, "{wrong}");
        }
    }
}
