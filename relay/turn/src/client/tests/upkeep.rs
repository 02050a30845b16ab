//! What is kept for as long as time is given, and how it ends.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn allocation_permission_and_channel_are_kept_for_as_long_as_time_is_given() {
    let mut bench = Bench::new().with_channel();
    bench.client.permit(bench.now, &[ip("192.0.2.77")]).unwrap();
    let asked = bench.serve_for(3600);
    let count = |method| asked.iter().filter(|asked| **asked == method).count();
    // Every 540 s, and every 240 s.
    assert_eq!(count(Method::REFRESH), 6);
    assert_eq!(count(Method::CHANNEL_BIND), 15);
    assert_eq!(count(Method::CREATE_PERMISSION), 1 + 15);
    let mut events = bench.events();
    events.retain(|event| !matches!(event, Event::Refreshed { .. }));
    assert_eq!(
        events,
        [Event::Permitted {
            peers: [ip("192.0.2.77")].into()
        }]
    );
    assert!(bench.client.channel_prefix(0x4000, 5).is_ok());
}

#[test]
fn an_unanswered_refresh_is_tried_again_until_the_allocation_ends() {
    let mut bench = Bench::new().allocated();
    let mut ended_at = 0.0;
    while bench.client.poll_timeout().is_some() {
        ended_at = bench.sleep();
        bench.sent();
    }
    assert!((ended_at - 600.0).abs() < 1e-6);
    let request = Request::Refresh {
        lifetime: None,
        family: None,
    };
    assert_eq!(
        bench.events(),
        [
            Event::Failed {
                request,
                error: ClientError::TimedOut
            },
            Event::Ended(EndReason::Expired)
        ]
    );
    assert_eq!(bench.client.relayed_addr(), None);
}

#[test]
fn a_server_that_has_forgotten_the_allocation_ends_it() {
    let mut bench = Bench::new().with_channel();
    bench.client.permit(bench.now, &[ip("192.0.2.1")]).unwrap();
    let request = bench.sent_one();
    bench.give(&request.error(437, None));
    let [failed, ended] = bench.events().try_into().unwrap();
    assert!(matches!(
        failed,
        Event::Failed {
            error: ClientError::Refused(437),
            ..
        }
    ));
    assert_eq!(ended, Event::Ended(EndReason::Lost));
    assert_eq!(
        bench.client.channel_prefix(0x4000, 5),
        Err(ClientError::NoAllocation)
    );
    assert!(
        bench
            .client
            .allocate(bench.now, AllocateOptions::default())
            .is_ok()
    );
}

#[test]
fn a_release_ends_the_allocation_and_its_upkeep() {
    let mut bench = Bench::new().with_channel();
    bench.client.release(bench.now).unwrap();
    let request = bench.sent_one();
    assert_eq!(request.message().find().unwrap(), Some(Lifetime(0)));
    assert_eq!(
        bench.client.release(bench.now),
        Err(ClientError::NoAllocation)
    );
    bench.give(&request.success(0));
    assert_eq!(bench.events(), [Event::Ended(EndReason::Released)]);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn what_is_being_given_back_is_not_kept_up() {
    let mut bench = Bench::new().with_channel();
    bench.serve_for(230);
    bench.client.release(bench.now).unwrap();
    // The channel would be due in ten seconds; nothing but the release is asked for.
    let mut asked = Vec::new();
    while bench.client.poll_timeout().is_some() {
        asked.extend(bench.sent().iter().map(Seen::method));
        bench.sleep();
    }
    assert!(asked.iter().all(|method| *method == Method::REFRESH));
    assert_eq!(
        bench.events().last(),
        Some(&Event::Ended(EndReason::Released))
    );
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let mut bench = Bench::new();
    let now = bench.now;
    assert_eq!(bench.client.refresh(now), Err(ClientError::NoAllocation));
    assert_eq!(
        bench.client.permit(now, &[]),
        Err(ClientError::NoAllocation)
    );
    assert_eq!(
        bench.client.bind_channel(now, addr(PEER)),
        Err(ClientError::NoAllocation)
    );
    bench
        .client
        .allocate(now, AllocateOptions::default())
        .unwrap();
    let again = bench.client.allocate(now, AllocateOptions::default());
    assert_eq!(again, Err(ClientError::AlreadyAllocated));

    let mut bench = Bench::new().allocated();
    let many = vec![ip("192.0.2.1"); PEERS_PER_REQUEST_MAX + 1];
    assert_eq!(bench.client.permit(now, &many), Err(ClientError::Busy));
    for _ in 0..PENDING_REQUESTS_MAX {
        bench.client.binding(now).unwrap();
    }
    assert_eq!(bench.client.binding(now), Err(ClientError::Busy));
}
