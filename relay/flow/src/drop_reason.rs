//! Why a frame went nowhere: log field, metric label and test assertion in one.

use crate::code::codes;

codes! {
    /// Why a frame went nowhere. The numbers are those of STATS.
    DropReason {
        /// The first byte belongs to no frame.
        NotFlow = 0, "not_flow";
        /// The frame is shorter than its layout, or a message in it is not well formed.
        Malformed = 1, "malformed";
        /// A version, a kind or a reserved bit that is not understood.
        UnknownKind = 2, "unknown_kind";
        /// A frame that only the other side sends, or that has no place on this rung.
        Unexpected = 3, "unexpected";
        /// The packet says that it came from port 0.
        SourcePortZero = 4, "source_port_zero";
        /// The source prefix has used up its answers to HELLO.
        HelloRate = 5, "hello_rate";
        /// The source prefix has used up its handshakes.
        HandshakeRate = 6, "handshake_rate";
        /// The cookie is not the node's, not this address's, or too old.
        Cookie = 7, "cookie";
        /// The session is not known here.
        NoSession = 8, "no_session";
        /// The sealed frame does not open.
        Seal = 9, "seal";
        /// The sealed frame's counter was used before, or is too old.
        Replay = 10, "replay";
        /// The frame does not come from the session's proved address.
        WrongAddress = 11, "wrong_address";
        /// The session has used up its control frames.
        ControlRate = 12, "control_rate";
        /// The flow number is nobody's, or an earlier use of its slot.
        NoFlow = 13, "no_flow";
        /// The flow's other end is not here.
        PeerAbsent = 14, "peer_absent";
        /// The session has used up its bytes.
        ByteRate = 15, "byte_rate";
        /// The session has used up its packets.
        PacketRate = 16, "packet_rate";
        /// The flow has used up its share of a busy session.
        FlowShare = 17, "flow_share";
        /// The strict class has used up its tenth.
        PriorityRate = 18, "priority_rate";
        /// The session has used up its KEYED frames.
        KeyedRate = 19, "keyed_rate";
        /// The payload is longer than the receiving end can take.
        TooLong = 20, "too_long";
        /// The data frame has no payload.
        Empty = 21, "empty";
        /// The session's queue was full.
        QueueFull = 22, "queue_full";
        /// The session's queue was too slow for too long.
        QueueSojourn = 23, "queue_sojourn";
        /// The mailbox of another shard was full.
        MailboxFull = 24, "mailbox_full";
        /// The session was welcomed and has not spoken yet.
        Embryo = 25, "embryo";
        /// A half whose other half did not come in time.
        HalfLost = 26, "half_lost";
        /// A half that does not fit what is known of its message.
        HalfUnfit = 27, "half_unfit";
    }
}

impl From<crate::frame::FrameError> for DropReason {
    fn from(error: crate::frame::FrameError) -> Self {
        use crate::frame::FrameError as E;
        match error {
            E::NotFlow => Self::NotFlow,
            E::CutShort => Self::Malformed,
            E::Unknown => Self::UnknownKind,
        }
    }
}
