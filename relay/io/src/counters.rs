//! What an engine counts.

/// Totals since the engine was made. Plain numbers: an engine belongs to one thread.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Calls of [`Engine::turn`](crate::Engine::turn).
    pub turns: u64,
    /// Wakes that ended or shortened a wait.
    pub wakes: u64,
    /// Datagrams received, each segment of a train for itself.
    pub packets_in: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Receives that carried them: trains and single datagrams.
    pub trains_in: u64,
    /// Datagrams that the kernel took for sending, each segment of a group for itself.
    pub packets_out: u64,
    /// Payload bytes of those, headers and tails included.
    pub bytes_out: u64,
    /// Send operations handed to the kernel, groups and single datagrams.
    pub sends_out: u64,
    /// Groups handed to the kernel for segmentation.
    pub gso_groups: u64,
    /// Groups that the kernel refused and that were sent singly.
    pub gso_fallbacks: u64,
    /// Datagrams lost because the socket's send buffer was full.
    pub send_would_block: u64,
    /// Datagrams that were refused for an ICMP error about another one, each time they were tried.
    pub send_refused: u64,
    /// Datagrams without a route, or with an unreachable host or network.
    pub send_unreachable: u64,
    /// Datagrams longer than UDP or the path allows.
    pub send_too_big: u64,
    /// Datagrams that a firewall rule forbade.
    pub send_forbidden: u64,
    /// Datagrams lost because the kernel had no memory for them.
    pub send_no_memory: u64,
    /// Datagrams lost for any other reason, an address of the wrong family among them.
    pub send_other: u64,
    /// Datagrams not sent because their port was closed or their packet belonged to an earlier
    /// batch: a fault of the caller.
    pub send_stale: u64,
    /// Times that the outgoing queue was full and was flushed before the turn ended.
    pub early_flushes: u64,
    /// Times that a receive found no free buffer; the packets stay in the socket.
    pub buffers_exhausted: u64,
    /// Datagrams dropped because they were longer than a buffer.
    pub truncated: u64,
    /// Datagrams that the kernel dropped because a socket's receive buffer was full.
    pub receive_overflow: u64,
    /// Receives that failed for no datagram's fault; the socket is left alone for a while.
    pub receive_errors: u64,
    /// Multishot receives that ended and were armed again.
    pub rearmed: u64,
    /// ICMP errors read from the relay ports' error queues, those of the host itself included.
    pub icmp_errors: u64,
    /// Datagrams sent again since an ICMP error about another one failed the first attempt.
    pub send_retries: u64,
    /// Notices forgotten because nobody took the ones before them.
    pub notices_lost: u64,
    /// Packets not handed to another worker because too many were out already.
    pub share_limit: u64,
}

impl Counters {
    /// Datagrams that could not be sent, for all reasons together.
    #[must_use]
    pub fn send_errors(&self) -> u64 {
        self.send_would_block
            + self.send_refused
            + self.send_unreachable
            + self.send_too_big
            + self.send_forbidden
            + self.send_no_memory
            + self.send_other
    }

    /// Counts one send operation of `packets` datagrams that failed with `errno`, and takes them
    /// back from what was counted as sent when they were handed over.
    pub(crate) fn send_failed(&mut self, errno: i32, packets: u64, bytes: u64) {
        self.packets_out = self.packets_out.saturating_sub(packets);
        self.bytes_out = self.bytes_out.saturating_sub(bytes);
        let counter = match errno {
            libc::EAGAIN => &mut self.send_would_block,
            libc::ECONNREFUSED => &mut self.send_refused,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => {
                &mut self.send_unreachable
            }
            libc::EMSGSIZE => &mut self.send_too_big,
            libc::EPERM | libc::EACCES => &mut self.send_forbidden,
            libc::ENOBUFS | libc::ENOMEM => &mut self.send_no_memory,
            _ => &mut self.send_other,
        };
        *counter += packets;
    }
}
