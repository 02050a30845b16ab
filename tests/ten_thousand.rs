//! Ten thousand allocations held at once by one node, each with a permission and a channel, and all
//! of them relaying.
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::client::{Client, Echo};
use common::node::{Node, PASSWORD, USER};
use common::{SOON, raise_descriptor_limit, report, skip};

const ALLOCATIONS: usize = 10_000;

/// Resident memory of the node beyond the idle one.
const RESIDENT_BYTES_MAX: u64 = 4 * 1024;

const CHANNEL: u16 = 0x4000;

/// What one client of one address needs beyond the defaults; descriptors and ports suffice.
const SETTINGS: [&str; 4] = [
    "limits.allocations_per_user_max=10000",
    "limits.allocations_per_prefix_max=10000",
    // Each allocation begins with a 401, and all come from one /24.
    "limits.unauthenticated_replies_per_prefix_per_s=100000",
    "turn.relay_ports=40000-65535",
];

/// Clients have an address of their own, so that their ports are none of the relay's.
const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[test]
fn ten_thousand_allocations_are_held_at_once_and_all_relay() {
    let test = "ten_thousand_allocations_are_held_at_once_and_all_relay";
    let descriptors = raise_descriptor_limit();
    if descriptors < ALLOCATIONS as u64 + 1_000 {
        skip(
            test,
            &format!("the hard descriptor limit is {descriptors}; ulimit -Hn 20000"),
        );
        return;
    }
    let node = Node::start(&SETTINGS);
    let peer = Echo::start(Ipv4Addr::LOCALHOST);
    let idle = node.resident_bytes();
    let kernel_idle = kernel_bytes();

    let began = Instant::now();
    let clients: Vec<Client> = (0..ALLOCATIONS)
        .map(|number| {
            let client = Client::from_address(CLIENTS, node.v4(), USER, PASSWORD);
            let relayed = client.allocate();
            assert!(relayed.is_ok(), "allocation {number}: {relayed:?}");
            assert_eq!(
                client.bind_channel(CHANNEL, peer.addr()),
                Ok(()),
                "channel {number}"
            );
            client
        })
        .collect();
    let made_in = began.elapsed();

    // Twice through all, so that none had to make room for another.
    relay_through_all(&clients);
    relay_through_all(&clients);
    let each = node.resident_bytes().saturating_sub(idle) / ALLOCATIONS as u64;
    // Both ends of it are on this machine, and other programs may allocate meanwhile.
    let kernel_each = kernel_bytes().saturating_sub(kernel_idle) / ALLOCATIONS as u64;
    report(&format!(
        "{ALLOCATIONS} allocations, each with a permission and a channel, made in {} ms, all relaying: \
         {each} bytes of resident memory each beyond the idle node's {} KiB; kernel memory of both \
         ends {kernel_each} bytes each; set: {}",
        made_in.as_millis(),
        idle / 1024,
        SETTINGS.join(" "),
    ));
    assert!(
        each <= RESIDENT_BYTES_MAX,
        "{each} bytes of resident memory an allocation"
    );

    assert!(
        node.metric("turn_allocations_active", &[]) >= 10_000.0,
        "all of them still live"
    );
    assert_eq!(node.get("/readyz").status, 200, "the node still answers");
    drop(clients);
    drop(node);
}

/// Sends a message through every allocation and takes its echo.
fn relay_through_all(clients: &[Client]) {
    // So many at once that the system's socket buffers hold them.
    for (group, some) in clients.chunks(50).enumerate() {
        for (place, client) in some.iter().enumerate() {
            client.send(CHANNEL, &message(group, place));
        }
        for (place, client) in some.iter().enumerate() {
            let (channel, data) = client.receive(SOON).unwrap_or_else(|| {
                panic!("the message of client {place} of group {group} was lost")
            });
            assert_eq!((channel, data), (CHANNEL, message(group, place)));
        }
    }
    // Nothing comes twice.
    assert!(clients[0].receive(Duration::from_millis(1)).is_none());
}

fn message(group: usize, place: usize) -> Vec<u8> {
    let mut message = vec![0xA5; 172];
    message[..8].copy_from_slice(&(group as u64).to_be_bytes());
    message[8..16].copy_from_slice(&(place as u64).to_be_bytes());
    message
}

/// What the kernel holds in its own structures, on the whole machine.
fn kernel_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("SUnreclaim:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
