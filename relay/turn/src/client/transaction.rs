//! One request in flight, and when it is sent again (RFC 8489 §6.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_stun::message::TransactionId;

use super::auth::Challenge;
use super::config::{Link, Timers};
use super::request::Request;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) request: Request,
    /// The bytes as sent: a repetition is the same message, bit for bit.
    pub(super) bytes: Box<[u8]>,
    /// What it was signed with, if it was: its answer then has to prove itself by the same.
    pub(super) signed: Option<Arc<Challenge>>,
    /// 438 answers that led to this request.
    pub(super) stale_nonces: u8,
    schedule: Schedule,
}

impl Transaction {
    pub(super) fn new(
        id: TransactionId,
        request: Request,
        bytes: Box<[u8]>,
        signed: Option<Arc<Challenge>>,
        stale_nonces: u8,
        schedule: Schedule,
    ) -> Self {
        Self {
            id,
            request,
            bytes,
            signed,
            stale_nonces,
            schedule,
        }
    }

    /// When [`Transaction::expire`] wants to be called.
    pub(super) fn deadline(&self) -> Instant {
        self.schedule.deadline
    }

    /// Says what is to be done when the deadline has come.
    pub(super) fn expire(&mut self) -> Expired {
        self.schedule.expire()
    }
}

/// What follows from a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// Send the same bytes again.
    Repeat,
    /// No answer came in the whole time allowed.
    TimedOut,
}

/// Send times of one request: after 0, 1, 3, 7, 15, 31 and 63 times the RTO, given up 16 RTO after
/// the last of them (39.5 s in all with the default RTO).
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    deadline: Instant,
    next_wait: Duration,
    last_wait: Duration,
    sends_left: u32,
}

impl Schedule {
    /// The schedule of a request that is sent at `now`.
    pub(super) fn new(now: Instant, link: Link, timers: &Timers) -> Self {
        match link {
            Link::Datagram => {
                let mut schedule = Self {
                    deadline: now,
                    next_wait: timers.rto,
                    last_wait: timers.rto * timers.last_wait_rtos,
                    sends_left: timers.sends_max.max(1),
                };
                schedule.sent();
                schedule
            }
            // RFC 8489 §6.2.2: over a reliable transport a request is sent once.
            Link::Stream => Self {
                deadline: now + timers.stream_timeout,
                next_wait: Duration::ZERO,
                last_wait: Duration::ZERO,
                sends_left: 0,
            },
        }
    }

    fn expire(&mut self) -> Expired {
        if self.sends_left == 0 {
            return Expired::TimedOut;
        }
        self.sent();
        Expired::Repeat
    }

    /// Counts from the deadline, not from the time of the call: a late caller does not stretch it.
    fn sent(&mut self) {
        self.sends_left -= 1;
        if self.sends_left == 0 {
            self.deadline += self.last_wait;
        } else {
            self.deadline += self.next_wait;
            self.next_wait *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_times(link: Link) -> (Vec<u64>, u64) {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
        let start = Instant::now();
        let mut schedule = Schedule::new(start, link, &Timers::default());
        let mut times = vec![0];
        loop {
            let at = schedule.deadline.duration_since(start).as_millis();
            let at = u64::try_from(at).expect("a short time");
            match schedule.expire() {
                Expired::Repeat => times.push(at),
                Expired::TimedOut => return (times, at),
            }
        }
    }

    #[test]
    fn a_datagram_request_is_sent_at_the_times_of_the_rfc() {
        // RFC 8489 §6.2.1: "assuming an RTO of 500 ms, requests would be sent at times 0 ms, 500 ms,
        // 1500 ms, 3500 ms, 7500 ms, 15500 ms, and 31500 ms. If the client has not received a
        // response after 39500 ms, the client will consider the transaction to have timed out."
        assert_eq!(
            send_times(Link::Datagram),
            (vec![0, 500, 1500, 3500, 7500, 15500, 31500], 39_500)
        );
    }

    #[test]
    fn a_stream_request_is_sent_once_and_given_up_after_ti() {
        assert_eq!(send_times(Link::Stream), (vec![0], 39_500));
    }
}
