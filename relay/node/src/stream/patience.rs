//! How long something may take, by the limits of the moment: a reload reaches also who waits already.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{StreamConfig, StreamLimits};

/// It took too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Elapsed;

/// Awaits a future that began at `since` for as many seconds as `bound` says, now or after the next
/// reload.
pub(super) async fn within<T>(
    config: &mut watch::Receiver<StreamConfig>,
    bound: fn(&StreamLimits) -> u32,
    since: Instant,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    loop {
        let bound_s = bound(&config.borrow_and_update().limits);
        let deadline = since + Duration::from_secs(bound_s.into());
        tokio::select! {
            // Whoever is ready costs neither a timer nor a place in the queue of the reload.
            biased;
            done = &mut future => return Ok(done),
            Ok(()) = config.changed() => {}
            () = sleep_until(deadline) => return Err(Elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::test_limits;

    fn config(handshake_s: u32) -> StreamConfig {
        StreamConfig {
            limits: StreamLimits {
                handshake_s,
                ..test_limits()
            },
            proxy_protocol_from: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_bound_that_is_lowered_ends_a_wait_that_stands_and_one_that_is_raised_prolongs_it() {
        let (sender, mut receiver) = watch::channel(config(3600));
        let began = Instant::now();
        let mut waiting = pin!(within(
            &mut receiver,
            |limits| limits.handshake_s,
            began,
            std::future::pending::<()>()
        ));
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        sender.send_replace(config(7200));
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        sender.send_replace(config(0));
        assert_eq!(waiting.await, Err(Elapsed));
    }

    #[tokio::test]
    async fn what_is_ready_needs_no_patience_and_no_sender() {
        let (sender, mut receiver) = watch::channel(config(0));
        drop(sender);
        let ready = within(
            &mut receiver,
            |limits| limits.handshake_s,
            Instant::now(),
            async { 7 },
        );
        assert_eq!(ready.await, Ok(7));
        let pending = std::future::pending::<()>();
        let late = within(
            &mut receiver,
            |limits| limits.handshake_s,
            Instant::now(),
            pending,
        );
        assert_eq!(late.await, Err(Elapsed));
    }
}
