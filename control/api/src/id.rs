//! Names and public keys, each a type of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::FLEET_BYTES_MAX;
use crate::text;

/// A text that is no name or key of the kind that was asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseIdError {
    expected: &'static str,
}

/// A fixed number of bytes, written as base64url (standard base64 is read too, as WireGuard's tools
/// print it).
macro_rules! byte_names {
    ($($(#[doc = $doc:literal])+ $name:ident: $len:literal, $expected:literal;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(given: &str) -> Result<Self, ParseIdError> {
                let standard = given.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
                text::decode_array(&standard)
                    .map(Self)
                    .ok_or(ParseIdError { expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        crate::schema::text_schema!($name, $expected, crate::schema::base64url($len));
    )+ };
}

byte_names! {
    /// A device's WireGuard public key: its name, and never used in our own cryptography.
    DeviceKey: 32, "a WireGuard public key: 32 bytes in base64";
    /// A device's X25519 public key for the handshake with a relay.
    RelayKey: 32, "an X25519 public key: 32 bytes in base64";
    /// A device's registration with the control service.
    DeviceId: 16, "a device id: 16 bytes in base64";
    /// A device's Ed25519 identity, which signs what it asks of the control service.
    DeviceIdentity: 32, "a device's identity: 32 bytes in base64";
    /// A node's Ed25519 identity.
    NodeId: 32, "a node's identity: 32 bytes in base64";
}

/// Numbers that stand for things, written in hexadecimal.
macro_rules! number_names {
    ($($(#[doc = $doc:literal])+ $name:ident: $number:ty, $width:literal, $expected:literal;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:0width$x}", self.0, width = $width)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(given: &str) -> Result<Self, ParseIdError> {
                let digits = given.bytes().all(|byte| byte.is_ascii_hexdigit());
                <$number>::from_str_radix(given, 16)
                    .ok()
                    .filter(|_| digits)
                    .map(Self)
                    .ok_or(ParseIdError { expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        crate::schema::text_schema!($name, $expected, format!("^[0-9a-fA-F]{{1,{}}}$", $width));
    )+ };
}

number_names! {
    /// A tenant of the control service.
    TenantId: u64, 16, "a tenant: up to 16 hexadecimal digits";
    /// One ticket; what a revocation names.
    TicketId: u64, 16, "a ticket id: up to 16 hexadecimal digits";
    /// A group of devices within a tenant; two devices may talk when they share one.
    GroupId: u32, 8, "a group: up to 8 hexadecimal digits";
}

/// The name of a fleet, which is whom a ticket is made out to.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fleet {
    bytes: [u8; FLEET_BYTES_MAX],
    len: u8,
}

impl Fleet {
    /// Takes a name of 1 to [`FLEET_BYTES_MAX`] characters: lower-case letters, digits, `-`, `.`
    /// and `_`.
    ///
    /// # Errors
    /// When the name is anything else.
    pub fn new(name: &str) -> Result<Self, ParseIdError> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        let fits = (1..=FLEET_BYTES_MAX).contains(&name.len());
        let len = u8::try_from(name.len()).ok();
        let Some(len) = len.filter(|_| fits && name.bytes().all(allowed)) else {
            return Err(ParseIdError {
                expected: "a fleet's name: 1 to 32 of a-z, 0-9, '-', '.' and '_'",
            });
        };
        let mut bytes = [0; FLEET_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)])
            .expect("invariant: `new` lets ASCII pass only")
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fleet({self})")
    }
}

impl FromStr for Fleet {
    type Err = ParseIdError;

    fn from_str(name: &str) -> Result<Self, ParseIdError> {
        Self::new(name)
    }
}

impl Serialize for Fleet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Fleet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
crate::schema::text_schema!(Fleet, "a fleet's name", "^[-a-z0-9._]{1,32}$".to_owned());

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_read_as_wireguard_prints_it_and_as_json_carries_it() {
        let key = DeviceKey([0xFB; 32]);
        assert_eq!(key.to_string().parse::<DeviceKey>().unwrap(), key);
        let padded = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
        assert_eq!(padded.parse::<DeviceKey>().unwrap(), key);
        assert!("AAAA".parse::<DeviceKey>().is_err());
        assert!("not base64 at all".parse::<DeviceKey>().is_err());
    }

    #[test]
    fn a_number_is_read_from_hexadecimal_digits_only() {
        assert_eq!("ff".parse::<GroupId>().unwrap(), GroupId(255));
        assert_eq!(GroupId(255).to_string(), "000000ff");
        for wrong in ["", "+1", "-1", "123456789", "x"] {
            assert!(wrong.parse::<GroupId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_fleet_has_a_short_plain_name() {
        assert_eq!(Fleet::new("example-1.eu").unwrap().as_str(), "example-1.eu");
        for wrong in ["", "With Space", "UPPER", "ü", &"x".repeat(33)] {
            assert!(Fleet::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
