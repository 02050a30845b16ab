//! Attributes: one type each (RFC 8489 §14, RFC 8656 §18, and the RFCs beside them).
//!
//! | file | attributes |
//! |---|---|
//! | [`address`] | MAPPED-ADDRESS, the XOR'd addresses, ALTERNATE-SERVER, RESPONSE-ORIGIN, OTHER-ADDRESS |
//! | [`allocation`] | LIFETIME, REQUESTED-TRANSPORT, the address families, DONT-FRAGMENT |
//! | [`authorization`] | ACCESS-TOKEN, THIRD-PARTY-AUTHORIZATION |
//! | [`credential`] | USERNAME, USERHASH, REALM, NONCE |
//! | [`discovery`] | CHANGE-REQUEST, RESPONSE-PORT, PADDING |
//! | [`error`] | ERROR-CODE, UNKNOWN-ATTRIBUTES, ADDRESS-ERROR-CODE |
//! | [`ice`] | PRIORITY, USE-CANDIDATE, ICE-CONTROLLED, ICE-CONTROLLING |
//! | [`icmp`] | ICMP |
//! | [`password_algorithm`] | PASSWORD-ALGORITHM, PASSWORD-ALGORITHMS |
//! | [`relaying`] | DATA, CHANNEL-NUMBER |
//! | [`reservation`] | EVEN-PORT, RESERVATION-TOKEN |
//! | [`session`] | MOBILITY-TICKET, CONNECTION-ID |
//! | [`software`] | SOFTWARE, ALTERNATE-DOMAIN |
//!
//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT depend on the bytes before them and
//! have modules of their own: [`crate::integrity`], [`crate::fingerprint`].

pub mod address;
pub mod allocation;
pub mod authorization;
pub mod credential;
pub mod discovery;
pub mod error;
pub mod ice;
pub mod icmp;
pub mod password_algorithm;
pub mod relaying;
pub mod reservation;
pub mod session;
pub mod software;
mod types;

pub use address::{
    AlternateServer, MappedAddress, OtherAddress, ResponseOrigin, XorMappedAddress, XorPeerAddress,
    XorRelayedAddress,
};
pub use allocation::{
    AdditionalAddressFamily, AddressFamily, DontFragment, Lifetime, RequestedAddressFamily,
    RequestedTransport,
};
pub use authorization::{AccessToken, ThirdPartyAuthorization};
pub use credential::{Nonce, Realm, UserHash, Username};
pub use discovery::{ChangeRequest, Padding, ResponsePort};
pub use error::{AddressErrorCode, ErrorCode, UnknownAttributes};
pub use ice::{IceControlled, IceControlling, Priority, UseCandidate};
pub use icmp::Icmp;
pub use password_algorithm::{Algorithm, PasswordAlgorithm, PasswordAlgorithms};
pub use relaying::{ChannelNumber, Data};
pub use reservation::{EvenPort, ReservationToken};
pub use session::{ConnectionId, MobilityTicket};
pub use software::{AlternateDomain, Software};
pub use types::AttributeType;

use crate::message::TransactionId;
use crate::writer::Full;

/// An attribute's value, decoded: borrowed from the message where it is of variable length.
pub trait Attribute<'a>: Sized {
    /// The type by which it is sent and found.
    const TYPE: AttributeType;

    /// Another type under which somebody sends it; looked for only where `TYPE` is absent.
    const ALIAS: Option<AttributeType> = None;

    /// Decodes a value, given without its padding.
    fn decode(value: &'a [u8], transaction_id: &TransactionId) -> Result<Self, AttributeError>;

    /// Writes the value to the start of `out` and returns its length, padding not counted.
    fn encode(&self, transaction_id: &TransactionId, out: &mut [u8]) -> Result<usize, Full>;
}

/// Why an attribute's value is not what its type promises. A request with one is answered by 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The value is shorter or longer than the attribute allows.
    #[error("the value has a length that the attribute forbids")]
    Length,
    /// The address family is neither IPv4 nor IPv6.
    #[error("neither IPv4 nor IPv6")]
    Family,
    /// The text is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// A number is outside the range that the attribute allows.
    #[error("a number outside the allowed range")]
    Range,
}

/// The longest text that is read (RFC 8489 §14.3, §14.8 to §14.10, §14.14: "as long as 763 bytes
/// when decoding").
pub const TEXT_BYTES_MAX: usize = 763;

/// The longest text of fewer than 128 characters that is sent (RFC 8489 §14.8 to §14.10, §14.14:
/// "as long as 509 bytes when encoding").
pub const TEXT_SENT_BYTES_MAX: usize = 509;

/// Copies `value` to the start of `out`.
#[inline]
fn put(out: &mut [u8], value: &[u8]) -> Result<usize, Full> {
    out.get_mut(..value.len())
        .ok_or(Full)?
        .copy_from_slice(value);
    Ok(value.len())
}

/// Copies text of at most `bytes_max` bytes to the start of `out`.
#[inline]
fn put_text(out: &mut [u8], value: &str, bytes_max: usize) -> Result<usize, Full> {
    if value.len() > bytes_max {
        return Err(Full);
    }
    put(out, value.as_bytes())
}

/// A value of exactly `N` bytes.
#[inline]
fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], AttributeError> {
    value.try_into().map_err(|_| AttributeError::Length)
}

/// Text of at most `bytes_max` bytes.
#[inline]
fn text(value: &[u8], bytes_max: usize) -> Result<&str, AttributeError> {
    if value.len() > bytes_max {
        return Err(AttributeError::Length);
    }
    std::str::from_utf8(value).map_err(|_| AttributeError::Utf8)
}

#[cfg(test)]
pub(crate) mod testing {
    //! What every attribute's tests ask: these bytes decode to this value, and back.

    use super::*;

    pub(crate) const TRANSACTION_ID: TransactionId = TransactionId([
        0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE,
    ]);

    /// Asserts that `bytes` is how `value` stands on the wire, both ways.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "literals read better at the call"
    )]
    pub(crate) fn on_the_wire<'a, A>(value: A, bytes: &'a [u8])
    where
        A: Attribute<'a> + PartialEq + std::fmt::Debug,
    {
        assert_eq!(A::decode(bytes, &TRANSACTION_ID).as_ref(), Ok(&value));
        let mut out = [0xEE; 1024];
        let len = value.encode(&TRANSACTION_ID, &mut out).expect("fits");
        assert_eq!(&out[..len], bytes);
        assert_eq!(out[len], 0xEE, "wrote beyond the value");
        if let Some(short) = bytes.len().checked_sub(1) {
            assert_eq!(value.encode(&TRANSACTION_ID, &mut out[..short]), Err(Full));
        }
    }

    /// Asserts that `bytes` are refused, and why.
    pub(crate) fn refused<'a, A>(bytes: &'a [u8], error: AttributeError)
    where
        A: Attribute<'a> + PartialEq + std::fmt::Debug,
    {
        assert_eq!(A::decode(bytes, &TRANSACTION_ID), Err(error));
    }
}
