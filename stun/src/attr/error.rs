//! What went wrong (RFC 8489 §14.8, §14.13; RFC 8656 §18.12).

use super::{
    AddressFamily, Attribute, AttributeError, AttributeType, TEXT_BYTES_MAX, TEXT_SENT_BYTES_MAX,
    put_text, text,
};
use crate::be16;
use crate::message::TransactionId;
use crate::writer::Full;

/// An error's number and its words (RFC 8489 §14.8).
///
/// ```text
/// |           Reserved, should be 0         |Class|     Number    |
/// |      Reason Phrase (variable)                                ..
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorCode<'a> {
    /// The number: 300–699.
    pub code: u16,
    /// For people; may be empty.
    pub reason: &'a str,
}

impl ErrorCode<'_> {
    /// RFC 8489 §14.8: go to ALTERNATE-SERVER.
    pub const TRY_ALTERNATE: u16 = 300;
    /// RFC 8489 §14.8: the request was malformed.
    pub const BAD_REQUEST: u16 = 400;
    /// RFC 8489 §14.8: credentials are missing or wrong.
    pub const UNAUTHENTICATED: u16 = 401;
    /// RFC 8656 §19: the peer is forbidden by policy.
    pub const FORBIDDEN: u16 = 403;
    /// RFC 8016 §3.4: mobility is switched off.
    pub const MOBILITY_FORBIDDEN: u16 = 405;
    /// RFC 8489 §14.8: a comprehension-required attribute is unknown.
    pub const UNKNOWN_ATTRIBUTE: u16 = 420;
    /// RFC 8656 §19: there is an allocation already, or there is none.
    pub const ALLOCATION_MISMATCH: u16 = 437;
    /// RFC 8489 §14.8: the nonce is no longer valid.
    pub const STALE_NONCE: u16 = 438;
    /// RFC 8656 §19: no relayed address of that family.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: u16 = 440;
    /// RFC 8656 §19: not the credentials that made the allocation.
    pub const WRONG_CREDENTIALS: u16 = 441;
    /// RFC 8656 §19: no such protocol towards the peer.
    pub const UNSUPPORTED_TRANSPORT: u16 = 442;
    /// RFC 8656 §19: the peer is of another family than the relayed address.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: u16 = 443;
    /// RFC 6062 §6.3: connected to that peer already.
    pub const CONNECTION_ALREADY_EXISTS: u16 = 446;
    /// RFC 6062 §6.3: the peer could not be connected.
    pub const CONNECTION_TIMEOUT_OR_FAILURE: u16 = 447;
    /// RFC 8656 §19: the user has too many allocations.
    pub const ALLOCATION_QUOTA_REACHED: u16 = 486;
    /// RFC 8445 §16.2: both sides claim the same role.
    pub const ROLE_CONFLICT: u16 = 487;
    /// RFC 8489 §14.8: try again.
    pub const SERVER_ERROR: u16 = 500;
    /// RFC 8656 §19: the server has no more to give.
    pub const INSUFFICIENT_CAPACITY: u16 = 508;
}

/// Splits a number into class and the rest, as both error attributes carry it.
#[inline]
fn class_and_number(code: u16) -> [u8; 2] {
    // Both fit: a class is at most 655, of which three bits are kept, a number below 100.
    [
        u8::try_from(code / 100 % 8).unwrap_or(0),
        u8::try_from(code % 100).unwrap_or(0),
    ]
}

/// RFC 8489 §14.8: the class is 3 to 6, the number 0 to 99.
#[inline]
fn code_of(class: u8, number: u8) -> Result<u16, AttributeError> {
    let class = class & 0x07;
    if !(3..=6).contains(&class) || number > 99 {
        return Err(AttributeError::Range);
    }
    Ok(u16::from(class) * 100 + u16::from(number))
}

impl<'a> Attribute<'a> for ErrorCode<'a> {
    const TYPE: AttributeType = AttributeType::ERROR_CODE;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let Some((&[_, _, class, number], reason)) = value.split_first_chunk() else {
            return Err(AttributeError::Length);
        };
        Ok(Self {
            code: code_of(class, number)?,
            reason: text(reason, TEXT_BYTES_MAX)?,
        })
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        let [class, number] = class_and_number(self.code);
        let (head, rest) = out.split_at_mut_checked(4).ok_or(Full)?;
        head.copy_from_slice(&[0, 0, class, number]);
        Ok(4 + put_text(rest, self.reason, TEXT_SENT_BYTES_MAX)?)
    }
}

/// Why one of the two families of a dual allocation was not given (RFC 8656 §18.12).
///
/// ```text
/// |  Family       |    Reserved             |Class|     Number    |
/// |      Reason Phrase (variable)                                ..
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressErrorCode<'a> {
    /// The family that is meant.
    pub family: AddressFamily,
    /// The number: 300–699.
    pub code: u16,
    /// For people; may be empty.
    pub reason: &'a str,
}

impl<'a> Attribute<'a> for AddressErrorCode<'a> {
    const TYPE: AttributeType = AttributeType::ADDRESS_ERROR_CODE;

    #[inline]
    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let Some((&[family, _, class, number], reason)) = value.split_first_chunk() else {
            return Err(AttributeError::Length);
        };
        Ok(Self {
            family: AddressFamily::of_code(family)?,
            code: code_of(class, number)?,
            reason: text(reason, TEXT_BYTES_MAX)?,
        })
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        let [class, number] = class_and_number(self.code);
        let (head, rest) = out.split_at_mut_checked(4).ok_or(Full)?;
        head.copy_from_slice(&[self.family.code(), 0, class, number]);
        Ok(4 + put_text(rest, self.reason, TEXT_SENT_BYTES_MAX)?)
    }
}

/// The comprehension-required types that a server did not know (RFC 8489 §14.13).
///
/// Holds at most [`UnknownAttributes::LEN_MAX`], each once, so that a 420 stays within the
/// amplification budget and needs no allocation. More are left out.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct UnknownAttributes {
    types: [u16; Self::LEN_MAX],
    len: usize,
}

impl UnknownAttributes {
    /// How many types the list holds.
    pub const LEN_MAX: usize = 8;

    /// Adds a type, unless it stands there already or the list is full.
    #[inline]
    pub fn push(&mut self, type_: AttributeType) {
        if self.len < Self::LEN_MAX && !self.types[..self.len].contains(&type_.0) {
            self.types[self.len] = type_.0;
            self.len += 1;
        }
    }

    /// Tells whether nothing was unknown.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many types are listed.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The listed types, in the order of the message.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = AttributeType> {
        self.types[..self.len].iter().copied().map(AttributeType)
    }
}

impl std::fmt::Debug for UnknownAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Attribute<'_> for UnknownAttributes {
    const TYPE: AttributeType = AttributeType::UNKNOWN_ATTRIBUTES;

    #[inline]
    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        if !value.len().is_multiple_of(2) {
            return Err(AttributeError::Length);
        }
        let mut list = Self::default();
        for pair in value.chunks_exact(2) {
            list.push(AttributeType(be16(pair, 0)));
        }
        Ok(list)
    }

    #[inline]
    fn encode(&self, _: &TransactionId, out: &mut [u8]) -> Result<usize, Full> {
        let out = out.get_mut(..2 * self.len).ok_or(Full)?;
        for (pair, type_) in out.chunks_exact_mut(2).zip(self.iter()) {
            pair.copy_from_slice(&type_.0.to_be_bytes());
        }
        Ok(out.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TRANSACTION_ID, on_the_wire, refused};
    use super::*;

    #[test]
    fn an_error_code_is_class_number_and_reason() {
        on_the_wire(
            ErrorCode {
                code: 401,
                reason: "Unauthenticated",
            },
            b"\0\0\x04\x01Unauthenticated",
        );
        on_the_wire(
            ErrorCode {
                code: 699,
                reason: "",
            },
            &[0, 0, 6, 99],
        );
        on_the_wire(
            ErrorCode {
                code: ErrorCode::TRY_ALTERNATE,
                reason: "",
            },
            &[0, 0, 3, 0],
        );
        refused::<ErrorCode<'_>>(&[0, 0, 4], AttributeError::Length);
        refused::<ErrorCode<'_>>(&[0, 0, 2, 0], AttributeError::Range);
        refused::<ErrorCode<'_>>(&[0, 0, 7, 0], AttributeError::Range);
        refused::<ErrorCode<'_>>(&[0, 0, 4, 100], AttributeError::Range);
        refused::<ErrorCode<'_>>(&[0, 0, 4, 1, 0xFF], AttributeError::Utf8);
    }

    #[test]
    fn the_reserved_bits_of_an_error_code_are_ignored() {
        assert_eq!(
            ErrorCode::decode(&[0xFF, 0xFF, 0xFC, 38], &TRANSACTION_ID),
            Ok(ErrorCode {
                code: 438,
                reason: ""
            })
        );
    }

    #[test]
    fn an_address_error_code_names_its_family() {
        on_the_wire(
            AddressErrorCode {
                family: AddressFamily::Ipv6,
                code: 440,
                reason: "no",
            },
            &[2, 0, 4, 40, b'n', b'o'],
        );
        refused::<AddressErrorCode<'_>>(&[0, 0, 4, 40], AttributeError::Family);
        refused::<AddressErrorCode<'_>>(&[1, 0, 1, 40], AttributeError::Range);
        refused::<AddressErrorCode<'_>>(&[1, 0, 4], AttributeError::Length);
    }

    #[test]
    fn unknown_attributes_are_listed_once_and_at_most_eight() {
        let mut list = UnknownAttributes::default();
        list.push(AttributeType(0x0030));
        list.push(AttributeType(0x0031));
        list.push(AttributeType(0x0030));
        on_the_wire(list, &[0, 0x30, 0, 0x31]);
        for number in 0..20 {
            list.push(AttributeType(number));
        }
        assert_eq!(list.len(), UnknownAttributes::LEN_MAX);
        refused::<UnknownAttributes>(&[0, 0x30, 0], AttributeError::Length);
    }
}
