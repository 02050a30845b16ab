//! What the passing of time changes: repetitions, upkeep, expiry.

use std::time::Instant;

use super::TurnClient;
use super::event::{ClientError, EndReason};
use super::request::Request;
use super::transaction::Expired;
use super::upkeep::Allocation;

impl TurnClient {
    /// Repeats what has waited long enough and gives up what has waited too long.
    pub(super) fn expire_transactions(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(waiting) = self.pending.get_mut(index) {
            if waiting.deadline() > now {
                index += 1;
                continue;
            }
            match waiting.expire() {
                // Its deadline has moved; it is looked at again, in case the caller is very late.
                Expired::Repeat => {
                    let id = waiting.id;
                    if !self.to_send.contains(&id) {
                        self.to_send.push_back(id);
                    }
                }
                Expired::TimedOut => {
                    let transaction = self.pending.swap_remove(index);
                    self.fail(now, transaction.request, ClientError::TimedOut);
                    index = 0;
                }
            }
        }
    }

    pub(super) fn expire_allocation(&mut self, now: Instant) {
        let expired = |allocation: &Allocation| allocation.expires_at <= now;
        if self.allocation.as_ref().is_some_and(expired) {
            self.end(EndReason::Expired);
        }
    }

    /// Asks for what would otherwise end soon.
    pub(super) fn keep_up(&mut self, now: Instant) {
        let Some(allocation) = self
            .allocation
            .as_mut()
            .filter(|living| !living.releasing && !living.moving)
        else {
            return;
        };
        for request in take_due(now, allocation) {
            if let Err(error) = self.send(now, request.clone(), 0) {
                self.put_off(now, request, error);
            }
        }
    }

    /// A request of upkeep that could not even be sent: as good as an unanswered one.
    fn put_off(&mut self, now: Instant, request: Request, error: ClientError) {
        let as_unanswered = match error {
            ClientError::Busy => ClientError::TimedOut,
            other => other,
        };
        self.fail(now, request, as_unanswered);
    }
}

fn take_due(now: Instant, allocation: &mut Allocation) -> Vec<Request> {
    let mut due = Vec::new();
    if allocation.upkeep.take_due(now) {
        let lifetime = allocation.options.lifetime;
        // Of a dual allocation one Refresh keeps both halves.
        due.push(Request::Refresh {
            lifetime,
            family: None,
        });
    }
    for set in &mut allocation.permissions.sets {
        if set.upkeep.take_due(now) {
            let peers = set.peers.clone();
            due.push(Request::CreatePermission { peers });
        }
    }
    for channel in &mut allocation.channels.list {
        if channel.upkeep.take_due(now) {
            let (number, peer) = (channel.number, channel.peer);
            due.push(Request::ChannelBind { number, peer });
        }
    }
    due
}
