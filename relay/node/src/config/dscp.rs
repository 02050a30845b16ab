//! The value of `turn.dscp`.

use serde::{Deserialize, Serialize};

/// The differentiated services code point of relayed packets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Spelling", into = "String")]
pub enum Dscp {
    /// That of the packet that came in.
    #[default]
    Copy,
    /// Always this one, at most 63.
    Fixed(u8),
}

/// How it is written: a number may stand without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Spelling {
    Number(i64),
    Text(String),
}

impl TryFrom<Spelling> for Dscp {
    type Error = String;

    fn try_from(spelling: Spelling) -> Result<Self, String> {
        let number = match &spelling {
            Spelling::Text(text) if text == "copy" => return Ok(Self::Copy),
            Spelling::Text(text) => text.parse().ok(),
            Spelling::Number(number) => u8::try_from(*number).ok(),
        };
        number
            .filter(|number| *number <= 63)
            .map(Self::Fixed)
            .ok_or_else(|| "write \"copy\" or a number from 0 to 63".to_owned())
    }
}

impl From<Dscp> for String {
    fn from(dscp: Dscp) -> Self {
        match dscp {
            Dscp::Copy => "copy".to_owned(),
            Dscp::Fixed(number) => number.to_string(),
        }
    }
}

impl From<Dscp> for sterna_io::Dscp {
    fn from(dscp: Dscp) -> Self {
        match dscp {
            Dscp::Copy => Self::Kept,
            Dscp::Fixed(number) => Self::Fixed(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Section {
        dscp: Dscp,
    }

    fn read(text: &str) -> Option<Dscp> {
        toml::from_str::<Section>(&format!("dscp = {text}"))
            .ok()
            .map(|section| section.dscp)
    }

    #[test]
    fn a_code_point_is_copied_or_has_six_bits() {
        assert_eq!(read("\"copy\""), Some(Dscp::Copy));
        assert_eq!(read("46"), Some(Dscp::Fixed(46)));
        assert_eq!(read("\"63\""), Some(Dscp::Fixed(63)));
        for wrong in ["64", "-1", "\"EF\"", "true"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let written = toml::to_string(&Section {
            dscp: Dscp::Fixed(10),
        });
        assert_eq!(written.as_deref(), Ok("dscp = \"10\"\n"));
    }
}
