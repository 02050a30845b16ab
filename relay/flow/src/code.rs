//! Codes on the wire: why the node refuses, why a side closes, what a peer's state is.

/// A list of codes with their numbers, names and meanings.
macro_rules! codes {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $byte:literal, $text:literal;)+ }) => {
        $(#[doc = $about])+
        #[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// Every one, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The number on the wire.
            #[must_use]
            pub const fn byte(self) -> u8 {
                match self { $(Self::$variant => $byte,)+ }
            }

            /// What a number on the wire means.
            #[must_use]
            pub const fn of_byte(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$variant),)+ _ => None }
            }

            /// The stable name used in logs, metric labels and texts to people.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// One sentence for documents.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// Why the node refuses a handshake or a request.
    Refusal {
        /// Noise message 1 does not open: another node's key, or something between that ends TLS.
        Handshake = 1, "handshake";
        /// The ticket is cut short or not well formed.
        TicketMalformed = 2, "ticket_malformed";
        /// The ticket's version is not understood.
        TicketVersion = 3, "ticket_version";
        /// The ticket is signed by a key that the node does not know.
        TicketUnknownKey = 4, "ticket_unknown_key";
        /// The ticket's signature is wrong.
        TicketSignature = 5, "ticket_signature";
        /// The ticket is for another fleet.
        TicketAudience = 6, "ticket_audience";
        /// The ticket is not valid yet.
        TicketNotYet = 7, "ticket_not_yet";
        /// The ticket has expired.
        TicketExpired = 8, "ticket_expired";
        /// The ticket, its device or its tenant is revoked.
        Revoked = 9, "revoked";
        /// The handshake's static key is not the ticket's relay key.
        NotTheHolder = 10, "not_the_holder";
        /// The node goes away and takes no new sessions.
        Draining = 11, "draining";
        /// A limit of the node is reached.
        Busy = 12, "busy";
        /// The device has more flows than its ticket allows.
        TooManyFlows = 13, "too_many_flows";
        /// A ticket that renews another must name the same device.
        OtherDevice = 14, "other_device";
    }
}

codes! {
    /// Why a side ends a session.
    CloseReason {
        /// The device is done.
        Done = 1, "done";
        /// The ticket has expired and was not renewed.
        Expired = 2, "expired";
        /// The ticket, its device or its tenant has been revoked.
        Revoked = 3, "revoked";
        /// The device has more sessions than it may have, and this is the oldest.
        Displaced = 4, "displaced";
        /// The node goes away.
        Restarting = 5, "restarting";
        /// Nothing valid was heard for too long.
        Idle = 6, "idle";
        /// The connection that carried the session is gone.
        LinkGone = 7, "link_gone";
        /// The session never spoke after WELCOME.
        NeverSpoke = 8, "never_spoke";
        /// An operator ended it.
        Operator = 9, "operator";
        /// The node does not know the session any more.
        Unknown = 10, "unknown";
    }
}

codes! {
    /// What the node says of a flow's other end. Absent and forbidden are the same.
    PeerState {
        /// The peer is not here, or may not be talked to.
        Unknown = 0, "unknown";
        /// Data reaches the peer.
        Online = 1, "online";
        /// The peer was here; its flow comes back by itself when it does.
        Gone = 2, "gone";
    }
}

codes! {
    /// What has most limited a session lately.
    LimitedBy {
        /// Nothing.
        Nothing = 0, "nothing";
        /// The device's rate class.
        Rate = 1, "rate";
        /// The device's own link: its queue at the node was full or too slow.
        Queue = 2, "queue";
        /// The receiving peer's link.
        Peer = 3, "peer";
    }
}

impl From<sterna_control_api::TicketError> for Refusal {
    fn from(error: sterna_control_api::TicketError) -> Self {
        use sterna_control_api::TicketError as E;
        match error {
            E::Version => Self::TicketVersion,
            E::UnknownKey => Self::TicketUnknownKey,
            E::BadSignature => Self::TicketSignature,
            E::Audience => Self::TicketAudience,
            E::NotYet => Self::TicketNotYet,
            E::Expired => Self::TicketExpired,
            _ => Self::TicketMalformed,
        }
    }
}
