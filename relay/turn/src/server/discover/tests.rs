use std::net::SocketAddr;

use sterna_stun::{
    attr::{
        AttributeType, ChangeRequest, ErrorCode, MappedAddress, OtherAddress, Padding,
        ResponseOrigin, ResponsePort, UnknownAttributes, XorMappedAddress,
    },
    message::Method,
    writer::{Full, MessageWriter},
};

use crate::{
    Discovery, DiscoverySocket, DropReason, Outcome, ServerConfig, Transport, Verdict,
    limits::PADDING_BYTES_MAX,
    testing::{Answer, Caller, Node, config},
};

const V4: [&str; 4] = [
    "198.51.100.1:3478",
    "198.51.100.1:3479",
    "198.51.100.2:3478",
    "198.51.100.2:3479",
];
const V6: [&str; 4] = [
    "[2620:5::1]:3478",
    "[2620:5::1]:3479",
    "[2620:5::2]:3478",
    "[2620:5::2]:3479",
];

/// The four sockets of IPv4 have the routes 10 to 13, those of IPv6 20 to 23.
fn discovering() -> ServerConfig {
    let discovery = |addrs: [&str; 4], mut route: u32| {
        Discovery::new(addrs.map(|addr| {
            let local = addr.parse().expect("an address");
            route += 1;
            DiscoverySocket {
                route: route - 1,
                local,
                public: local,
            }
        }))
    };
    ServerConfig {
        discovery: vec![discovery(V4, 10), discovery(V6, 20)],
        ..config()
    }
}

fn node() -> Node {
    Node::new(1, discovering())
}

/// Somebody who sends to one of the four sockets of his family.
fn caller(addr: &str, socket: usize) -> Caller {
    let mut caller = Caller::new(addr, "", "");
    let (addrs, first) = if caller.client.addr.is_ipv4() {
        (V4, 10)
    } else {
        (V6, 20)
    };
    caller.client.route = first + u32::try_from(socket).expect("small");
    caller.client.server = addrs[socket].parse().expect("an address");
    caller
}

fn v4(socket: usize) -> Caller {
    caller("203.0.113.10:40000", socket)
}

/// Asks, and returns the length of the request and the only answer, wherever that went.
fn ask(
    node: &mut Node,
    caller: &mut Caller,
    attributes: impl FnOnce(&mut MessageWriter<'_>) -> Result<(), Full>,
) -> (usize, Answer) {
    node.answers.clear();
    let packet = caller.unsigned(Method::BINDING, attributes);
    assert_eq!(node.send(caller, &packet), Verdict::Handled);
    assert_eq!(node.answers.len(), 1, "one request, one answer");
    let answer = node.answers.pop_front().expect("counted");
    assert_eq!(answer.client.addr.ip(), caller.client.addr.ip());
    (packet.len(), answer)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

// RFC 5780 §6.1: "OTHER-ADDRESS and RESPONSE-ORIGIN are still included in the Binding Response";
// "The server MUST include both MAPPED-ADDRESS and XOR-MAPPED-ADDRESS in its Response." The
// amplification budget with discovery on: 3.6 times the request.
#[test]
fn a_plain_binding_is_told_where_it_was_answered_from_and_the_other_address() {
    let mut node = node();
    let (asked, answer) = ask(&mut node, &mut v4(0), |_| Ok(()));
    assert_eq!((asked, answer.bytes.len()), (20, 68));
    assert!(answer.bytes.len() * 5 <= asked * 18, "3.6 times");
    assert_eq!(
        answer.types(),
        [
            AttributeType::XOR_MAPPED_ADDRESS,
            AttributeType::MAPPED_ADDRESS,
            AttributeType::RESPONSE_ORIGIN,
            AttributeType::OTHER_ADDRESS,
        ]
    );
    let seen = addr("203.0.113.10:40000");
    assert_eq!(answer.find(), Some(XorMappedAddress(seen)));
    assert_eq!(answer.find(), Some(MappedAddress(seen)));
    assert_eq!(answer.find(), Some(ResponseOrigin(addr(V4[0]))));
    assert_eq!(answer.find(), Some(OtherAddress(addr(V4[3]))));
    assert_eq!(answer.client, v4(0).client);

    let mut printed = v4(0);
    printed.fingerprint = true;
    let (asked, answer) = ask(&mut node, &mut printed, |_| Ok(()));
    assert_eq!((asked, answer.bytes.len()), (28, 76));
}

#[test]
fn over_ipv6_a_request_of_24_bytes_pays_for_the_mapped_address_in_the_clear() {
    let mut node = node();
    let mut caller = caller("[2620:99::1]:40000", 1);
    let (asked, answer) = ask(&mut node, &mut caller, |_| Ok(()));
    assert_eq!((asked, answer.bytes.len()), (20, 92));
    assert_eq!(answer.find::<MappedAddress>(), None);
    assert_eq!(answer.find(), Some(ResponseOrigin(addr(V6[1]))));
    assert_eq!(answer.find(), Some(OtherAddress(addr(V6[2]))));
    let (asked, answer) = ask(&mut node, &mut caller, |writer| writer.attr(&Padding(&[])));
    assert_eq!((asked, answer.bytes.len()), (24, 120));
    assert_eq!(
        answer.find(),
        Some(MappedAddress(addr("[2620:99::1]:40000")))
    );
}

// RFC 5780 §6.1, table 1.
#[test]
fn change_request_is_answered_from_the_other_address_and_port() {
    let mut node = node();
    for (socket, from) in V4.iter().enumerate() {
        for flags in 0..4_usize {
            let (ip, port) = (flags & 2 != 0, flags & 1 != 0);
            let (asked, answer) = ask(&mut node, &mut v4(socket), |writer| {
                writer.attr(&ChangeRequest { ip, port })
            });
            assert_eq!((asked, answer.bytes.len()), (28, 68));
            let origin = socket ^ flags;
            assert_eq!(
                answer.client.route,
                10 + u32::try_from(origin).expect("small")
            );
            assert_eq!(answer.client.server, addr(V4[origin]), "{from} {flags}");
            assert_eq!(answer.client.addr, v4(socket).client.addr);
            assert_eq!(answer.find(), Some(ResponseOrigin(addr(V4[origin]))));
            assert_eq!(answer.find(), Some(OtherAddress(addr(V4[socket ^ 3]))));
        }
    }
    assert_eq!(node.server().counters().discovery_changed, 12);
}

#[test]
fn behind_a_one_to_one_nat_clients_are_told_the_public_addresses() {
    let mut config = discovering();
    let public = [
        "192.0.2.7:3478",
        "192.0.2.7:3479",
        "192.0.2.8:3478",
        "192.0.2.8:3479",
    ];
    let mut route = 10;
    config.discovery = vec![Discovery::new([0, 1, 2, 3].map(|socket: usize| {
        route += 1;
        DiscoverySocket {
            route: route - 1,
            local: addr(V4[socket]),
            public: addr(public[socket]),
        }
    }))];
    let mut node = Node::new(1, config);
    let (_, answer) = ask(&mut node, &mut v4(0), |writer| {
        writer.attr(&ChangeRequest {
            ip: true,
            port: false,
        })
    });
    assert_eq!(answer.client.server, addr(V4[2]));
    assert_eq!(answer.find(), Some(ResponseOrigin(addr(public[2]))));
    assert_eq!(answer.find(), Some(OtherAddress(addr(public[3]))));
}

// RFC 5780 §7.5: "the Binding Response MUST be transmitted to the source IP address of the Binding
// Request and the port contained in RESPONSE-PORT."
#[test]
fn response_port_sends_the_answer_to_another_port_of_the_same_address() {
    let mut node = node();
    let (asked, answer) = ask(&mut node, &mut v4(0), |writer| {
        writer.attr(&ResponsePort(41_000))
    });
    assert_eq!((asked, answer.bytes.len()), (28, 68));
    assert_eq!(answer.client.addr, addr("203.0.113.10:41000"));
    assert_eq!(
        answer.find(),
        Some(XorMappedAddress(addr("203.0.113.10:40000")))
    );
    assert_eq!(node.server().counters().discovery_redirected, 1);
}

#[test]
fn a_response_port_below_1024_is_400() {
    for (port, code) in [(0, 400), (53, 400), (1023, 400), (1024, 0)] {
        let mut node = node();
        let (_, answer) = ask(&mut node, &mut v4(0), |writer| {
            writer.attr(&ResponsePort(port))
        });
        assert_eq!(answer.code(), code, "{port}");
        if code != 0 {
            assert_eq!(
                answer.client,
                v4(0).client,
                "an error goes where it came from"
            );
            assert_eq!(answer.bytes.len(), 28);
        }
    }
}

// RFC 5780 §6.1: "If the Request contained a PADDING attribute, PADDING MUST be included in the
// Binding Response."
#[test]
fn padding_is_answered_by_padding_that_is_no_longer() {
    for (brought, given) in [(0, 0), (5, 5), (1500, 1500), (60_000, PADDING_BYTES_MAX)] {
        let mut node = node();
        let (asked, answer) = ask(&mut node, &mut v4(0), |writer| {
            writer.attr(&Padding(&vec![0x55; brought]))
        });
        let padding = answer.find::<Padding<'_>>().expect("PADDING");
        assert_eq!(padding, Padding(&vec![0; given]));
        assert_eq!(answer.bytes.len(), 68 + 4 + given.next_multiple_of(4));
        assert!(answer.bytes.len() * 5 <= asked * 18, "3.6 times {asked}");
        assert_eq!(node.server().counters().discovery_padded, 1);
    }
}

// RFC 5780 §6.1: "If the Request also contains the RESPONSE-PORT attribute the server MUST return an
// error response of type 400."
#[test]
fn padding_with_response_port_is_400() {
    let mut node = node();
    let (_, answer) = ask(&mut node, &mut v4(0), |writer| {
        writer.attr(&ResponsePort(41_000))?;
        writer.attr(&Padding(&[0; 100]))
    });
    assert_eq!(answer.code(), 400);
    assert_eq!(answer.client, v4(0).client);
}

#[test]
fn a_malformed_change_request_is_400() {
    let mut node = node();
    let (_, answer) = ask(&mut node, &mut v4(0), |writer| {
        writer.raw(AttributeType::CHANGE_REQUEST, &[6])
    });
    assert_eq!(answer.code(), 400);
}

// RFC 5780 §6.1: "If the Request contains the CHANGE-REQUEST attribute and the server does not have
// an alternate address and port as described above, the server MUST generate an error response of
// type 420."
#[test]
fn a_listener_that_is_none_of_the_four_knows_nothing_of_discovery() {
    let mut node = node();
    let mut elsewhere = Caller::alice();
    let (_, answer) = ask(&mut node, &mut elsewhere, |_| Ok(()));
    assert_eq!(answer.types(), [AttributeType::XOR_MAPPED_ADDRESS]);
    let mut stream = v4(0).over(Transport::Tls, 10);
    for caller in [&mut elsewhere, &mut stream] {
        let (_, answer) = ask(&mut node, caller, |writer| {
            writer.attr(&ChangeRequest {
                ip: true,
                port: true,
            })
        });
        assert_eq!(answer.find::<ErrorCode<'_>>().expect("an error").code, 420);
        let unknown = answer.find::<UnknownAttributes>().expect("a list");
        assert!(unknown.iter().eq([AttributeType::CHANGE_REQUEST]));
    }
}

// RFC 5780 §7: "These attributes are all used only with Binding Requests and Binding Responses."
#[test]
fn other_methods_do_not_understand_the_attributes_of_discovery() {
    let mut node = node();
    let mut alice = Caller::alice();
    let refused = node.allocate_with(&mut alice, |writer| {
        writer.attr(&ChangeRequest {
            ip: true,
            port: true,
        })
    });
    assert_eq!(refused, Err(420));
}

#[test]
fn answers_by_another_socket_come_out_of_the_same_bucket() {
    let mut config = discovering();
    config.limits.unauthenticated_replies_per_prefix_per_s = 2;
    let mut node = Node::new(1, config);
    let mut caller = v4(0);
    ask(&mut node, &mut caller, |writer| {
        writer.attr(&ChangeRequest {
            ip: true,
            port: true,
        })
    });
    ask(&mut node, &mut caller, |writer| {
        writer.attr(&ResponsePort(41_000))
    });
    let packet = caller.unsigned(Method::BINDING, |writer| {
        writer.attr(&ChangeRequest {
            ip: false,
            port: true,
        })
    });
    assert_eq!(
        node.dropped(&caller, &packet),
        DropReason::UnauthenticatedRate
    );
}

#[test]
fn an_indication_with_attributes_of_discovery_is_not_answered() {
    let mut node = node();
    let mut caller = v4(0);
    let packet = caller.indication(Method::BINDING, |writer| {
        writer.attr(&ChangeRequest {
            ip: true,
            port: true,
        })
    });
    assert_eq!(node.send(&caller, &packet), Verdict::Handled);
    assert!(node.answers.is_empty());
    let bindings = node
        .server()
        .counters()
        .count(crate::Method::Binding, Outcome::Success);
    assert_eq!(bindings, 1);
}
