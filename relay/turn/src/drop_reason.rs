//! Why a packet went nowhere: log field, metric label and test assertion in one.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet went nowhere.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name used in logs and metric labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for the documentation of the metric.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The first byte belongs to no protocol spoken here.
    NotStun = "not_stun",
    /// The packet claims to be STUN or ChannelData and is not well formed.
    Malformed = "malformed",
    /// FINGERPRINT is there and wrong (RFC 8489 §7.3).
    FingerprintMismatch = "fingerprint_mismatch",
    /// The packet says that it came from port 0.
    SourcePortZero = "source_port_zero",
    /// A STUN response, or an indication that only servers send.
    UnexpectedClass = "unexpected_class",
    /// A STUN method that this server does not speak (RFC 8489 §6.3).
    UnknownMethod = "unknown_method",
    /// An indication with an attribute that must be understood and is not (RFC 8489 §6.3.2).
    UnknownAttribute = "unknown_attribute",
    /// An indication that lacks an attribute, or holds a malformed one (RFC 8656 §11.2).
    BadIndication = "bad_indication",
    /// An unauthenticated Allocate without REQUESTED-TRANSPORT, too small for an honest answer.
    NoRequestedTransport = "no_requested_transport",
    /// The source prefix has used up its unauthenticated answers.
    UnauthenticatedRate = "unauthenticated_rate",
    /// The client's address has used up its attempts with wrong credentials.
    FailedCredentialsRate = "failed_credentials_rate",
    /// Data from a 5-tuple without an allocation (RFC 8656 §11.2, §12.6).
    NoAllocation = "no_allocation",
    /// The peer has no permission, or it has expired (RFC 8656 §9).
    NoPermission = "no_permission",
    /// The channel is not bound, or its binding has expired (RFC 8656 §12.6).
    NoChannel = "no_channel",
    /// ChannelData over UDP that is shorter than its length field (RFC 8656 §12.6).
    TruncatedChannelData = "truncated_channel_data",
    /// A Send indication to a peer of the other address family.
    PeerFamilyMismatch = "peer_family_mismatch",
    /// A Send indication to a port that peers may not have.
    PeerPortDenied = "peer_port_denied",
    /// The peer is one of the node's own addresses, on a port that is no living relay.
    OwnAddress = "own_address",
    /// A peer's packet for a relay port that no allocation has.
    UnknownRelayPort = "unknown_relay_port",
    /// A packet from another worker for a relayed address that is gone.
    UnknownRelayedAddress = "unknown_relayed_address",
    /// The payload and its header do not fit the client's transport.
    PayloadTooLong = "payload_too_long",
    /// The allocation has used up its packets of this second.
    SessionPacketRate = "session_packet_rate",
    /// The allocation has used up its bytes of this second.
    SessionByteRate = "session_byte_rate",
    /// An ICMP error of a type that clients are not told (RFC 8656 §11.5).
    IcmpType = "icmp_type",
    /// The allocation has been told as many ICMP errors as it may be in a second.
    IcmpRate = "icmp_rate",
    /// Data by datagram for an allocation that relays TCP connections (RFC 6062 §3).
    TcpAllocation = "tcp_allocation",
    /// Too many relay sockets are being opened at once.
    PendingBindsFull = "pending_binds_full",
    /// A move from another worker's client while too many such clients are handed on.
    MovedClientsFull = "moved_clients_full",
    /// A stream's request for an allocation that was ended while its socket was being opened.
    ClientGone = "client_gone",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_reason_is_its_place_in_the_list() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn names_are_snake_case_and_unique() {
        let mut names: Vec<_> = DropReason::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        for name in &names {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
