//! FINGERPRINT: tells STUN from other protocols on the same port (RFC 8489 §14.7).

use crate::message::Message;

/// What the CRC is XOR'd with, so that it differs from an application's own (RFC 8489 §14.7).
const XOR: u32 = 0x5354_554E;

/// What a message's FINGERPRINT says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fingerprint {
    /// There is none.
    Absent,
    /// It is the message's.
    Valid,
    /// It is another message's, or of the wrong length: drop the message (RFC 8489 §6.3).
    Invalid,
}

/// Checks a message's FINGERPRINT.
#[inline]
#[must_use]
pub fn check(message: &Message<'_>) -> Fingerprint {
    let Some((at, found)) = message.fingerprint() else {
        return Fingerprint::Absent;
    };
    // The attribute stands last, so the header's length field is what the sender computed with.
    if value(&message.bytes()[..at]).to_be_bytes() == found {
        Fingerprint::Valid
    } else {
        Fingerprint::Invalid
    }
}

/// The value over a message's bytes, whose length field counts FINGERPRINT in already.
#[inline]
pub(crate) fn value(covered: &[u8]) -> u32 {
    crc32fast::hash(covered) ^ XOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::testing::TRANSACTION_ID;
    use crate::message::{Class, Method};
    use crate::writer::MessageWriter;

    fn binding() -> ([u8; 28], usize) {
        let mut out = [0; 28];
        let mut writer =
            MessageWriter::new(&mut out, Class::Request, Method::BINDING, TRANSACTION_ID)
                .expect("fits");
        writer.fingerprint().expect("fits");
        let len = writer.finish();
        (out, len)
    }

    #[test]
    fn a_written_fingerprint_is_valid_and_any_changed_bit_breaks_it() {
        let (mut bytes, len) = binding();
        assert_eq!(len, 28);
        assert_eq!(
            check(&Message::parse(&bytes).expect("a message")),
            Fingerprint::Valid
        );
        for at in 8..28 {
            // A changed type or length of the attribute makes it another attribute.
            if (20..24).contains(&at) {
                continue;
            }
            bytes[at] ^= 1;
            assert_eq!(
                check(&Message::parse(&bytes).expect("a message")),
                Fingerprint::Invalid
            );
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn a_message_without_one_says_so() {
        let (mut bytes, _) = binding();
        bytes[3] = 0;
        let message = Message::parse(&bytes[..20]).expect("a message");
        assert_eq!(check(&message), Fingerprint::Absent);
    }
}
