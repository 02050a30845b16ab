//! The header's fields: class, method, transaction id (RFC 8489 §5).
//!
//! ```text
//!  0                 1
//!  2  3  4 5 6 7 8 9 0 1 2 3 4 5
//! +--+--+-+-+-+-+-+-+-+-+-+-+-+-+
//! |M |M |M|M|M|C|M|M|M|C|M|M|M|M|
//! |11|10|9|8|7|1|6|5|4|0|3|2|1|0|
//! +--+--+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

/// The class of a message (RFC 8489 §5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Asks for an answer.
    Request,
    /// Is never answered.
    Indication,
    /// Answers a request that succeeded.
    Success,
    /// Answers a request that failed.
    Error,
}

impl Class {
    #[inline]
    pub(crate) const fn of_type(message_type: u16) -> Self {
        match message_type & 0x0110 {
            0x0000 => Self::Request,
            0x0010 => Self::Indication,
            0x0100 => Self::Success,
            _ => Self::Error,
        }
    }

    /// Composes a message type out of this class and a method.
    #[inline]
    #[must_use]
    pub const fn message_type(self, method: Method) -> u16 {
        let class = match self {
            Self::Request => 0x0000,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        };
        let m = method.0;
        class | (m & 0x000F) | ((m & 0x0070) << 1) | ((m & 0x0F80) << 2)
    }
}

/// A method: 12 bits (RFC 8489 §5, §18.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Method(pub u16);

impl Method {
    /// Binding (RFC 8489 §2).
    pub const BINDING: Self = Self(0x001);
    /// Allocate (RFC 8656 §17).
    pub const ALLOCATE: Self = Self(0x003);
    /// Refresh (RFC 8656 §17).
    pub const REFRESH: Self = Self(0x004);
    /// Send, an indication only (RFC 8656 §17).
    pub const SEND: Self = Self(0x006);
    /// Data, an indication only (RFC 8656 §17).
    pub const DATA: Self = Self(0x007);
    /// CreatePermission (RFC 8656 §17).
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// ChannelBind (RFC 8656 §17).
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Connect (RFC 6062 §6.1).
    pub const CONNECT: Self = Self(0x00A);
    /// ConnectionBind (RFC 6062 §6.1).
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// ConnectionAttempt, an indication only (RFC 6062 §6.1).
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    #[inline]
    pub(crate) const fn of_type(message_type: u16) -> Self {
        let t = message_type;
        Self((t & 0x000F) | ((t & 0x00E0) >> 1) | ((t & 0x3E00) >> 2))
    }
}

/// A transaction id: 96 bits that the asker drew at random (RFC 8489 §5).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransactionId(pub [u8; 12]);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_method_are_woven_as_rfc_8489_draws_them() {
        assert_eq!(Class::Request.message_type(Method::BINDING), 0x0001);
        assert_eq!(Class::Success.message_type(Method::BINDING), 0x0101);
        assert_eq!(Class::Error.message_type(Method::ALLOCATE), 0x0113);
        assert_eq!(Class::Indication.message_type(Method::SEND), 0x0016);
        assert_eq!(Class::Indication.message_type(Method::DATA), 0x0017);
        assert_eq!(Class::Error.message_type(Method(0xFFF)), 0x3FFF);
    }

    #[test]
    fn every_method_and_class_survives_the_message_type() {
        let classes = [
            Class::Request,
            Class::Indication,
            Class::Success,
            Class::Error,
        ];
        for class in classes {
            for method in 0..=0xFFF {
                let message_type = class.message_type(Method(method));
                assert_eq!(message_type & 0xC000, 0);
                assert_eq!(Class::of_type(message_type), class);
                assert_eq!(Method::of_type(message_type), Method(method));
            }
        }
    }
}
