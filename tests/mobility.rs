//! A client changes its address, or its NAT forgets it, and goes on with the same relayed address, by
//! the mobility of RFC 8016; its peers notice nothing but the gap. The node has three workers, so
//! that two of three moves come to a worker that does not have the allocation.
//!
//! A test runs itself again in a network namespace of its own, where the node and the peers are; the
//! client's sockets are in another one, on the same link or behind a NAT:
//!
//! ```text
//!   home 198.51.100.10 … 29 ── 198.51.100.1 the node, 198.51.100.2 the peers
//!   home 10.77.0.2 ── 10.77.0.1 router 198.51.100.10, 11 ── 198.51.100.1 the node, …
//! ```
#![forbid(unsafe_code)]

mod common;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::holdings::Holdings;
use common::namespace::{self, home_behind_router, router_rules, shell};
use common::node::{Node, PASSWORD, USER};
use common::{SOON, report, wait_for};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sterna_turn::client::{
    AllocateOptions, Carrier, ClientConfig, Credentials, Event, Link, Received, TurnClient,
};

const SERVER: &str = "198.51.100.1:3478";
const MOVES: u8 = 20;
const ENGINES: [&str; 2] = ["node.engine=auto", "node.engine=mmsg"];

fn enter(test: &str) -> bool {
    namespace::enter(
        test,
        &[("ip", "iproute2"), ("nft", "nftables")],
        "mount -t tmpfs tests /run && ip link set lo up && ip netns add one && nft list ruleset",
    )
}

/// One allocation is all that the account may have: a move that counted twice would be refused.
fn node(engine: &str) -> Node {
    Node::start(&[
        engine,
        "node.workers=3",
        "turn.listen=[\"198.51.100.1:3478\"]",
        "turn.tls_listen=[]",
        "turn.relay_addresses=[\"198.51.100.1\"]",
        "peers.allow=[\"198.51.100.2/32\"]",
        "limits.allocations_per_user_max=1",
    ])
}

/// A socket of another namespace. A namespace is a thread's, a socket stays where it was made.
fn socket_in(name: &str, addr: (Ipv4Addr, u16)) -> UdpSocket {
    let name_space = File::open(format!("/run/netns/{name}")).expect("ip netns add");
    let open = move || {
        use std::os::fd::AsFd as _;
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(name_space.as_fd(), kind).expect("our own namespace");
        let socket = UdpSocket::bind(addr).expect("an address of it");
        socket.connect(SERVER).expect("a route");
        socket
    };
    std::thread::spawn(open).join().expect("a socket")
}

/// A peer that says what it has been sent, and by whom.
struct Peer(UdpSocket);

impl Peer {
    fn new() -> Self {
        let socket = UdpSocket::bind("198.51.100.2:0").expect("an address of the node's host");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        Self(socket)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    /// The next datagram, which must be this one, from there.
    fn hears(&self, expected: &str, from: SocketAddr) {
        let mut buffer = [0; 2_048];
        let (len, sender) = self.0.recv_from(&mut buffer).expect(expected);
        assert_eq!(sender, from, "{expected}");
        assert_eq!(String::from_utf8_lossy(&buffer[..len]), expected);
    }

    fn says(&self, text: &str, to: SocketAddr) {
        self.0
            .send_to(text.as_bytes(), to)
            .expect("the node's host");
    }

    fn has_heard_nothing_else(&self) {
        self.0.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 2_048];
        let more = self.0.recv_from(&mut buffer).ok();
        assert_eq!(more.map(|(len, _)| buffer[..len].to_vec()), None);
        self.0.set_nonblocking(false).expect("a socket");
    }
}

/// The client: the machine, and a socket at a time.
struct Device {
    machine: TurnClient,
    socket: UdpSocket,
    events: Vec<Event>,
}

impl Device {
    fn new(socket: UdpSocket) -> Self {
        let credentials = Credentials {
            username: USER.to_owned(),
            password: PASSWORD.to_owned(),
        };
        let config = ClientConfig::new(Link::Datagram, Some(credentials));
        let seed = [std::process::id().to_be_bytes(); 8].concat();
        Self {
            machine: TurnClient::new(config, seed.try_into().expect("32 bytes")),
            socket,
            events: Vec::new(),
        }
    }

    /// Does what the machine wants done until there is an event that `pick` takes.
    fn wait_for<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            self.transmit();
            while let Some(event) = self.machine.poll_event() {
                if let Some(taken) = pick(&event) {
                    self.transmit();
                    return taken;
                }
                let failed = matches!(event, Event::Failed { .. } | Event::Ended(_));
                assert!(!failed, "{what}: {event:?}");
                self.events.push(event);
            }
            let alarm = self.machine.poll_timeout();
            let until = alarm.map_or(deadline, |alarm| alarm.min(deadline));
            if let Some(packet) = receive(&self.socket, until) {
                let received = self.machine.handle_packet(Instant::now(), &packet);
                let is_answer = matches!(received, Received::Answer);
                assert!(is_answer, "{what}: {received:?} of {packet:02x?}");
            } else {
                assert!(Instant::now() < deadline, "{what}: not in time");
                self.machine.handle_timeout(Instant::now());
            }
        }
    }

    fn transmit(&mut self) {
        while let Some(bytes) = self.machine.poll_transmit() {
            // An address that has just come may still refuse; what matters is sent again.
            let _ = self.socket.send(bytes);
        }
    }

    /// An allocation to move with, a channel to one peer and a permission for the other's host.
    fn set_up(&mut self, by_channel: &Peer) -> SocketAddr {
        let options = AllocateOptions {
            mobile: true,
            ..AllocateOptions::default()
        };
        let now = Instant::now();
        self.machine.allocate(now, options).expect("none yet");
        let made = self.wait_for("Allocate", |event| match event {
            Event::Allocated(made) => Some(*made),
            _ => None,
        });
        assert!(made.is_mobile);
        let now = Instant::now();
        let bound = self.machine.bind_channel(now, by_channel.addr());
        bound.expect("a channel");
        self.wait_for("ChannelBind", |event| {
            matches!(event, Event::ChannelBound { .. }).then_some(())
        });
        let now = Instant::now();
        let asked = self.machine.permit(now, &[by_channel.addr().ip()]);
        asked.expect("a permission");
        self.wait_for("CreatePermission", |event| {
            matches!(event, Event::Permitted { .. }).then_some(())
        });
        made.relayed
    }

    fn moved(&mut self) {
        let asked = self.machine.moved(Instant::now(), Link::Datagram);
        asked.expect("an allocation");
        self.transmit();
    }

    fn has_moved(&mut self) {
        self.wait_for("Refresh with a ticket", |event| {
            matches!(event, Event::Moved { .. }).then_some(())
        });
    }

    /// Sends to both peers and hears both, by the socket given.
    fn talks(&mut self, by: &UdpSocket, what: &str, relayed: SocketAddr, peers: &[Peer; 2]) {
        for (peer, carrier) in peers.iter().zip(["a channel", "an indication"]) {
            let text = format!("{what} by {carrier}");
            let prefix = self.machine.prefix(peer.addr(), text.len());
            let prefix = prefix.expect("a permitted peer");
            let tail = &[0; 3][..prefix.tail()];
            let packet = [prefix.bytes(), text.as_bytes(), tail].concat();
            by.send(&packet).expect("a route");
            peer.hears(&text, relayed);
            self.hears(by, &format!("back: {text}"), relayed, peer, carrier);
        }
    }

    /// A peer sends to the relayed address, which arrives by the socket given.
    fn hears(
        &mut self,
        by: &UdpSocket,
        text: &str,
        relayed: SocketAddr,
        peer: &Peer,
        carrier: &str,
    ) {
        peer.says(text, relayed);
        let packet = receive(by, Instant::now() + SOON).unwrap_or_else(|| panic!("no {text}"));
        let received = self.machine.handle_packet(Instant::now(), &packet);
        let Received::Data {
            peer: from,
            payload,
            carrier: came_by,
        } = received
        else {
            panic!("{text}: {received:?}");
        };
        assert_eq!(String::from_utf8_lossy(&packet[payload]), text);
        assert_eq!(from, peer.addr(), "{text}");
        let is_channel = came_by == Carrier::Channel;
        assert_eq!(is_channel, carrier == "a channel", "{text}");
    }

    fn release(&mut self) {
        let asked = self.machine.release(Instant::now());
        asked.expect("an allocation");
        self.wait_for("Refresh with lifetime 0", |event| {
            matches!(event, Event::Ended(_)).then_some(())
        });
    }
}

fn receive(socket: &UdpSocket, until: Instant) -> Option<Vec<u8>> {
    let mut buffer = [0; 2_048];
    loop {
        // A timeout of zero would mean none.
        let left = until.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).expect("a timeout");
        match socket.recv(&mut buffer) {
            Ok(len) => return Some(buffer[..len].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            // The way back was closed for a moment.
            Err(_) if Instant::now() < until => {}
            Err(_) => return None,
        }
    }
}

/// What the node says of the one allocation that there is: counted once, whatever it moved to.
fn is_held_once(node: &Node, relayed: SocketAddr) {
    let list = node.get("/allocations").json();
    let list = list["allocations"].as_array().expect("a list").clone();
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(
        list[0].to_string().contains(&relayed.to_string()),
        "{list:?}"
    );
    for gauge in [
        "turn_allocations_active",
        "turn_users_active",
        "turn_prefixes_active",
        "turn_ports_in_use",
    ] {
        wait_for(gauge, SOON, || {
            (node.metric(gauge, &[]) == 1.0).then_some(())
        });
    }
}

/// The end: nothing is left, and so many moves were counted.
fn ends(node: Node, mut device: Device, before: &Holdings) {
    device.release();
    for gauge in ["turn_moved_clients", "turn_mobility_tickets"] {
        wait_for(gauge, SOON, || {
            (node.metric(gauge, &[]) == 0.0).then_some(())
        });
    }
    let moves = |result| node.metric("turn_moves_total", &[&format!("result=\"{result}\"")]);
    assert_eq!(
        [moves("granted"), moves("completed"), moves("refused")],
        [f64::from(MOVES), f64::from(MOVES), 0.0]
    );
    // That none of twenty comes to another of three workers happens once in 3^20.
    let handed = node.metric("sterna_handovers_total", &["result=\"moved\""]);
    assert!(handed > 0.0);
    report(&format!(
        "{MOVES} moves, {handed} packets by another worker"
    ));
    assert_eq!(Holdings::of_idle(&node, SOON), *before);
    node.stop();
}

#[test]
fn a_client_that_changes_its_address_keeps_its_peers() {
    if !enter("a_client_that_changes_its_address_keeps_its_peers") {
        return;
    }
    shell(
        "mount -t tmpfs tests /run
         ip link set lo up
         ip netns add home
         ip link add uplink type veth peer name uplink netns home
         ip addr add 198.51.100.1/24 dev uplink
         ip addr add 198.51.100.2/24 dev uplink
         ip link set uplink up
         for host in $(seq 10 31); do ip -n home addr add 198.51.100.$host/24 dev uplink; done
         ip -n home link set uplink up",
    );
    let home = |number: u8| (Ipv4Addr::new(198, 51, 100, 10 + number), 0);
    for engine in ENGINES {
        let node = node(engine);
        let before = Holdings::of_idle(&node, SOON);
        let peers = [Peer::new(), Peer::new()];
        let mut device = Device::new(socket_in("home", home(0)));
        let relayed = device.set_up(&peers[0]);
        for number in 1..=MOVES {
            let old = std::mem::replace(&mut device.socket, socket_in("home", home(number)));
            device.moved();
            if number % 2 == 0 {
                // Make before break: the old address serves until the client speaks by the new one.
                wait_for("the answer", SOON, || device.socket.peek(&mut [0; 64]).ok());
                device.talks(&old, &format!("{number}, old"), relayed, &peers);
            }
            device.has_moved();
            let new = device.socket.try_clone().expect("a descriptor");
            device.talks(&new, &format!("{number}, new"), relayed, &peers);
            // What comes by the old address now is nobody's; the next words show it.
            let prefix = device
                .machine
                .prefix(peers[0].addr(), 4)
                .expect("a channel");
            old.send(&[prefix.bytes(), b"late"].concat())
                .expect("a route");
            device.talks(&new, &format!("{number}, again"), relayed, &peers);
        }
        is_held_once(&node, relayed);
        for peer in &peers {
            peer.has_heard_nothing_else();
        }
        ends(node, device, &before);
    }
}

#[test]
fn a_client_whose_nat_forgets_it_goes_on_by_another_port() {
    if !enter("a_client_whose_nat_forgets_it_goes_on_by_another_port") {
        return;
    }
    home_behind_router("198.51.100.10");
    for engine in ENGINES {
        let node = node(engine);
        let before = Holdings::of_idle(&node, SOON);
        let peers = [Peer::new(), Peer::new()];
        nat_by(20_000);
        // The same socket all the time: the client's own address never changes.
        let mut device = Device::new(socket_in("home", (Ipv4Addr::new(10, 77, 0, 2), 0)));
        let relayed = device.set_up(&peers[0]);
        let socket = device.socket.try_clone().expect("a descriptor");
        for number in 1..=MOVES {
            let port = 20_000 + u16::from(number);
            nat_by(port);
            // The client asks until it sees that it has another address.
            wait_for("another port", SOON, || {
                device.machine.binding(Instant::now()).expect("a request");
                let mapped = device.wait_for("Binding", |event| match event {
                    Event::Mapped { addr } => Some(*addr),
                    _ => None,
                });
                (mapped.port() == port).then_some(())
            });
            device.moved();
            device.has_moved();
            device.talks(&socket, &format!("{number}"), relayed, &peers);
        }
        is_held_once(&node, relayed);
        for peer in &peers {
            peer.has_heard_nothing_else();
        }
        ends(node, device, &before);
    }
}

/// The router forgets what it has translated, since its address goes for a moment, and translates to
/// this port from now on.
fn nat_by(port: u16) {
    router_rules(&format!(
        "table ip nat_of_the_test\ndelete table ip nat_of_the_test\ntable ip nat_of_the_test {{
           chain prerouting {{ type nat hook prerouting priority -100; }}
           chain postrouting {{
             type nat hook postrouting priority 100;
             oifname wan udp dport 3478 masquerade to :{port}
           }}
         }}\n"
    ));
    shell(
        "ip -n router addr del 198.51.100.10/24 dev wan
         ip -n router addr add 198.51.100.10/24 dev wan",
    );
}
