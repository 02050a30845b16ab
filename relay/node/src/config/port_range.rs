//! A range of relay ports, written `LOW-HIGH`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// RFC 8656 §7.2 and RFC 6056: relayed ports come from above the well-known ones.
const PORT_MIN: u16 = 1024;

/// Ports for relayed transport addresses; both ends belong to it, neither is below [`PORT_MIN`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortRange {
    low: u16,
    high: u16,
}

/// Why a text is not a usable range.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PortRangeError {
    /// Not two numbers with a hyphen.
    #[error(
        "a port range is written LOW-HIGH with both between 1024 and 65535, such as \"49152-65535\""
    )]
    Form,
    /// The first port is above the last.
    #[error("the range runs backwards: {0} is above {1}; write \"{1}-{0}\"")]
    Backwards(u16, u16),
    /// Ports below 1024 belong to well-known services, which peers would take us for.
    #[error(
        "port {0} is below 1024: relayed addresses must not look like a well-known service; begin at 1024 or above, such as \"49152-65535\""
    )]
    TooLow(u16),
}

impl PortRange {
    /// The range as the relay takes it.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.low..=self.high
    }

    /// How many ports it holds; at least one.
    pub fn count(self) -> u32 {
        u32::from(self.high) - u32::from(self.low) + 1
    }
}

impl Default for PortRange {
    /// RFC 6335 §6: the dynamic ports.
    fn default() -> Self {
        Self {
            low: 49_152,
            high: 65_535,
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let (low, high) = text.split_once('-').ok_or(PortRangeError::Form)?;
        let parse = |part: &str| part.trim().parse::<u16>().map_err(|_| PortRangeError::Form);
        let (low, high) = (parse(low)?, parse(high)?);
        if low > high {
            return Err(PortRangeError::Backwards(low, high));
        }
        if low < PORT_MIN {
            return Err(PortRangeError::TooLow(low));
        }
        Ok(Self { low, high })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_both_its_ends() {
        let range: PortRange = "50000-50009".parse().expect("a range");
        assert_eq!(range.ports(), 50_000..=50_009);
        assert_eq!(range.count(), 10);
        assert_eq!(range.to_string(), "50000-50009");
    }

    #[test]
    fn a_range_of_one_port_is_a_range() {
        let range: PortRange = "50000-50000".parse().expect("a range");
        assert_eq!(range.count(), 1);
    }

    #[test]
    fn what_is_not_a_range_is_told_apart() {
        let parse = |text: &str| text.parse::<PortRange>().expect_err("refused");
        assert_eq!(parse("0-0"), PortRangeError::TooLow(0));
        assert_eq!(parse("80-90"), PortRangeError::TooLow(80));
        assert_eq!(
            parse("60000-50000"),
            PortRangeError::Backwards(60_000, 50_000)
        );
        for text in ["", "50000", "50000-", "-50000", "1024-65536", "a-b"] {
            assert_eq!(parse(text), PortRangeError::Form, "{text}");
        }
    }
}
