//! A data frame between two UDP devices: one verdict, and no allocation.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_control_api::{
    DeviceId, DeviceKey, Fleet, GroupId, Groups, KeySet, NodeId, RateClass, SigningKey, TenantId,
    Ticket, TicketId,
};
use sterna_flow::device::{Config, Session};
use sterna_flow::limits::{CONTROL_FRAME_BYTES_MAX, PAYLOAD_BYTES_INITIAL};
use sterna_flow::{
    Command, Directory, Epoch, Link, Mark, Relay, RelayConfig, Rung, Secret, ShardId, Verdict,
};

const UNIX_S: u64 = 1_700_000_000;

fn addr(name: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, name], 4000))
}

fn link(name: u8) -> Link {
    Link::Udp {
        listener: 0,
        addr: addr(name),
    }
}

/// A relay of one worker with devices 1 and 2, which have a flow.
fn relay_and_devices(now: Instant, rate: RateClass) -> (Relay, [Session; 2]) {
    let signer = SigningKey::from_seed(&[1; 32]);
    let keys = KeySet::new([signer.verifying_key()]).unwrap();
    let (fleet, secret) = (Fleet::new("test").unwrap(), Secret::new([2; 32]));
    let node_key = secret.public();
    let epoch = Epoch {
        instant: now,
        unix_s: UNIX_S,
    };
    let config = RelayConfig::new(NodeId([3; 32]), secret, fleet, keys, epoch, 1, 1);
    let directory = Arc::new(Directory::new(now, [4; 32]));
    let mut relay = Relay::new(now, ShardId(0), Arc::new(config), directory, [5; 32]);
    let mut devices = [1_u8, 2].map(|name| {
        let secret = Secret::new([name + 10; 32]);
        let ticket = Ticket {
            tenant: TenantId(1),
            ticket_id: TicketId(1),
            device_id: DeviceId([name; 16]),
            device_key: DeviceKey([name; 32]),
            relay_key: secret.public(),
            not_before: UNIX_S,
            expires: UNIX_S + 3600,
            rate,
            audience: fleet,
            groups: Groups::new(&[GroupId(1)]).unwrap(),
        };
        let config = Config {
            node_key,
            secret,
            ticket: ticket.issue(&signer).unwrap(),
        };
        Session::new(
            now,
            config,
            Rung::Udp,
            None,
            PAYLOAD_BYTES_INITIAL,
            [name; 32],
        )
    });
    devices[0].open(now, DeviceKey([2; 32]));
    let mut out = [0; CONTROL_FRAME_BYTES_MAX];
    for _ in 0..10 {
        for (device, name) in devices.iter_mut().zip([1, 2]) {
            while let Some(len) = device.poll_transmit(&mut out) {
                relay.handle_packet(now, link(name), &out[..len]);
            }
        }
        while let Some(command) = relay.poll_command(&mut out) {
            if let Command::Send {
                link: Link::Udp { addr: to, .. },
                len,
            } = command
            {
                let index = usize::from(to != addr(1));
                devices[index].handle_packet(now, &out[..len]);
            }
        }
    }
    (relay, devices)
}

#[test]
fn data_between_two_udp_devices_allocates_nothing_whether_it_is_sent_or_dropped() {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    for rate in [
        RateClass::default(),
        RateClass {
            bytes_per_s: 1_000_000,
            packets_per_s: 500,
            flows: 0,
        },
    ] {
        let (mut relay, mut devices) = relay_and_devices(now, rate);
        let flow = devices[0].flow_to(&DeviceKey([2; 32])).unwrap();
        let frames = devices[0].send(now, flow, Mark::default(), 1000).unwrap();
        let (head, _) = frames.iter().next().unwrap();
        let frame = [head.bytes(), &[7; 1000]].concat();
        let mut sent = 0;
        let allocated = allocation_counter::measure(|| {
            for packet in 0..2000_u64 {
                let at = now + Duration::from_micros(packet * 500);
                match relay.handle_packet(at, link(1), &frame) {
                    Verdict::ToUdp { to, payload, .. } => {
                        assert_eq!((to, payload), (addr(2), 4..1004));
                        sent += 1;
                    }
                    Verdict::Drop(_) => {}
                    verdict => panic!("{verdict:?}"),
                }
            }
        });
        assert_eq!(allocated.count_total, 0);
        assert_eq!(
            sent == 2000,
            rate == RateClass::default(),
            "{sent} were sent"
        );
    }
}
