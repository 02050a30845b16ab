//! Which hash makes the key out of a password (RFC 8489 §14.11, §14.12, §18.5).
//!
//! ```text
//! |          Algorithm           |  Algorithm Parameters Length   |
//! |                    Algorithm Parameters (variable, padded to 4)
//! ```
//!
//! PASSWORD-ALGORITHMS is a list of these, PASSWORD-ALGORITHM one.

use super::{Attribute, AttributeError, AttributeType, put};
use crate::message::TransactionId;
use crate::writer::Full;
use crate::{be16, padding};

/// An algorithm's number (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Algorithm(pub u16);

impl Algorithm {
    /// MD5 over user, realm and password; without parameters (RFC 8489 §18.5.1.1).
    pub const MD5: Self = Self(1);
    /// SHA-256 over user, realm and password; without parameters (RFC 8489 §18.5.1.2).
    pub const SHA256: Self = Self(2);
}

/// The algorithm that a client chose (RFC 8489 §14.12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PasswordAlgorithm<'a> {
    /// Its number.
    pub algorithm: Algorithm,
    /// Its parameters, without padding: empty for MD5 and SHA-256.
    pub parameters: &'a [u8],
}

impl PasswordAlgorithm<'_> {
    /// MD5.
    pub const MD5: Self = Self {
        algorithm: Algorithm::MD5,
        parameters: &[],
    };
    /// SHA-256.
    pub const SHA256: Self = Self {
        algorithm: Algorithm::SHA256,
        parameters: &[],
    };
}

/// Splits the first algorithm from a list. The last one's padding may be missing, because some
/// count it into the attribute's length and some do not.
fn split_first(list: &[u8]) -> Option<(PasswordAlgorithm<'_>, &[u8])> {
    let (head, rest) = list.split_at_checked(4)?;
    let len = usize::from(be16(head, 2));
    let (parameters, rest) = rest.split_at_checked(len)?;
    let algorithm = PasswordAlgorithm {
        algorithm: Algorithm(be16(head, 0)),
        parameters,
    };
    Some((algorithm, rest.get(padding(len)..).unwrap_or(&[])))
}

impl<'a> Attribute<'a> for PasswordAlgorithm<'a> {
    const TYPE: AttributeType = AttributeType::PASSWORD_ALGORITHM;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        match split_first(value) {
            Some((algorithm, [])) => Ok(algorithm),
            _ => Err(AttributeError::Length),
        }
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        let len = u16::try_from(self.parameters.len()).map_err(|_| Full)?;
        let (head, rest) = out.split_at_mut_checked(4).ok_or(Full)?;
        head[..2].copy_from_slice(&self.algorithm.0.to_be_bytes());
        head[2..].copy_from_slice(&len.to_be_bytes());
        let written = put(rest, self.parameters)?;
        let pad = padding(written);
        rest.get_mut(written..written + pad).ok_or(Full)?.fill(0);
        Ok(4 + written + pad)
    }
}

/// The algorithms that a server accepts, best first (RFC 8489 §14.11).
///
/// Two lists are the same where their bytes are: that is what bid-down protection compares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PasswordAlgorithms<'a> {
    list: &'a [u8],
}

impl PasswordAlgorithms<'static> {
    /// SHA-256, then MD5: what a server with both offers.
    pub const SHA256_MD5: Self = Self {
        list: &[0, 2, 0, 0, 0, 1, 0, 0],
    };
    /// SHA-256 only.
    pub const SHA256: Self = Self {
        list: &[0, 2, 0, 0],
    };
}

impl<'a> PasswordAlgorithms<'a> {
    /// The algorithms, in the server's order.
    pub fn iter(&self) -> impl Iterator<Item = PasswordAlgorithm<'a>> + use<'a> {
        let mut rest = self.list;
        std::iter::from_fn(move || {
            let (first, left) = split_first(rest)?;
            rest = left;
            Some(first)
        })
    }

    /// Tells whether the list holds this algorithm with these parameters.
    #[must_use]
    pub fn contains(&self, algorithm: PasswordAlgorithm<'_>) -> bool {
        self.iter().any(|each| each == algorithm)
    }
}

impl<'a> Attribute<'a> for PasswordAlgorithms<'a> {
    const TYPE: AttributeType = AttributeType::PASSWORD_ALGORITHMS;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let mut rest = value;
        while !rest.is_empty() {
            (_, rest) = split_first(rest).ok_or(AttributeError::Length)?;
        }
        Ok(Self { list: value })
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        put(out, self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TRANSACTION_ID, on_the_wire, refused};
    use super::*;

    #[test]
    fn an_algorithm_is_a_number_and_its_padded_parameters() {
        on_the_wire(PasswordAlgorithm::SHA256, &[0, 2, 0, 0]);
        on_the_wire(
            PasswordAlgorithm {
                algorithm: Algorithm(9),
                parameters: b"abcde",
            },
            b"\0\x09\0\x05abcde\0\0\0",
        );
        refused::<PasswordAlgorithm<'_>>(&[0, 2, 0], AttributeError::Length);
        refused::<PasswordAlgorithm<'_>>(&[0, 2, 0, 1], AttributeError::Length);
        refused::<PasswordAlgorithm<'_>>(&[0, 2, 0, 0, 0, 1, 0, 0], AttributeError::Length);
    }

    #[test]
    fn a_list_of_algorithms_keeps_the_servers_order() {
        on_the_wire(PasswordAlgorithms::SHA256_MD5, &[0, 2, 0, 0, 0, 1, 0, 0]);
        let numbers: Vec<_> = PasswordAlgorithms::SHA256_MD5.iter().collect();
        assert_eq!(numbers, [PasswordAlgorithm::SHA256, PasswordAlgorithm::MD5]);
        assert!(!PasswordAlgorithms::SHA256.contains(PasswordAlgorithm::MD5));
        refused::<PasswordAlgorithms<'_>>(&[0, 2, 0, 0, 0, 1, 0], AttributeError::Length);
        refused::<PasswordAlgorithms<'_>>(&[0, 2, 0, 9, 0, 1, 0, 0], AttributeError::Length);
    }

    #[test]
    fn parameters_in_the_middle_of_a_list_are_padded() {
        let bytes = b"\0\x09\0\x01x\0\0\0\0\x01\0\0";
        let list = PasswordAlgorithms::decode(bytes, &TRANSACTION_ID).expect("a list");
        let first = PasswordAlgorithm {
            algorithm: Algorithm(9),
            parameters: b"x",
        };
        assert!(list.iter().eq([first, PasswordAlgorithm::MD5]));
    }
}
