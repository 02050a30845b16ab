//! Says that packets are being dropped by the thousand: one line a window, whatever comes.
//!
//! The data path counts and writes nothing. This looks at the counters once in [`REPEAT_WINDOW`] and
//! warns when a flood or a lack of means has cost packets since the last look, so that an operator
//! who reads only the log knows where to look.

use std::sync::Arc;

use sterna_daemon::log::REPEAT_WINDOW;
use sterna_turn::DropReason;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::shared::Shared;
use crate::admin::NodeHandle as _;
use crate::metrics::NodeSnapshot;

/// The running look-out; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct LookOut(JoinHandle<()>);

impl Drop for LookOut {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts to look.
pub(super) fn watch(shared: Arc<Shared>) -> LookOut {
    LookOut(tokio::spawn(async move {
        let mut window = interval(REPEAT_WINDOW);
        window.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut most = Lost::default();
        loop {
            window.tick().await;
            Lost::of(&shared.snapshot().await).news(&mut most).warn();
        }
    }))
}

/// What packets were lost to, in the order of a line's fields.
const CAUSES: usize = 5;

/// Packets that went nowhere although nobody meant to drop them for what they are: of strangers beyond
/// `limits.unauthenticated_replies_per_prefix_per_s`; of clients beyond
/// `limits.failed_credentials_per_client_per_s`; where the buffer of a socket was full; for another
/// worker, which was too far behind; not taken by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost([u64; CAUSES]);

impl Lost {
    fn of(snapshot: &NodeSnapshot) -> Self {
        let mut sum = Self::default();
        for worker in &snapshot.workers {
            let lost = [
                worker.turn.dropped(DropReason::UnauthenticatedRate),
                worker.turn.dropped(DropReason::FailedCredentialsRate),
                worker.io.receive_overflow,
                worker.own.mailbox_full + worker.io.share_limit,
                worker.io.send_errors(),
            ];
            sum = sum.with(Self(lost), |sum, lost| sum + lost);
        }
        sum
    }

    fn with(self, other: Self, each: fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|cause| {
            each(self.0[cause], other.0[cause])
        }))
    }

    /// What has come on top of the most that was ever seen: a worker that does not answer in time takes
    /// its counts with it, and brings them back.
    fn news(self, most: &mut Self) -> Self {
        let news = self.with(*most, u64::saturating_sub);
        *most = self.with(*most, u64::max);
        news
    }

    fn warn(self) {
        if self == Self::default() {
            return;
        }
        let [strangers, guesses, overflow, handovers, unsent] = self.0;
        warn!(
            strangers,
            guesses,
            overflow,
            handovers,
            unsent,
            within_s = REPEAT_WINDOW.as_secs(),
            "packets were dropped: of strangers and of guesses at passwords beyond their rate, where a \
             socket's buffer was full, between workers, and unsent; /metrics has them by reason"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told_and_nothing_twice() {
        let mut most = Lost::default();
        assert_eq!(Lost([5, 0, 7, 0, 0]).news(&mut most).0, [5, 0, 7, 0, 0]);
        // One of two workers is busy.
        assert_eq!(Lost([2, 0, 7, 0, 0]).news(&mut most).0, [0; CAUSES]);
        assert_eq!(Lost([6, 0, 7, 0, 0]).news(&mut most).0, [1, 0, 0, 0, 0]);
    }
}
