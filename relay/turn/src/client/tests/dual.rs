//! Dual allocations: both families in one allocation, and the end of either half.

use sterna_stun::attr::{AdditionalAddressFamily, AddressErrorCode, RequestedAddressFamily};

use super::*;

const RELAYED_V6: &str = "[2001:db8::1]:50001";
const PEER_V6: &str = "[2001:db8::9]:9000";
const BOTH: AllocateOptions = AllocateOptions {
    relayed: Relayed::Udp,
    family: FamilyWish::Both,
    lifetime: None,
    port: PortWish::Any,
    dont_fragment: false,
    mobile: false,
};

impl Bench {
    /// Asks for both families and answers by the relayed addresses and what `fill` adds.
    fn answered_by(&mut self, relayed: &[&str], fill: impl Fn(&mut MessageWriter<'_>)) {
        self.client.allocate(self.now, BOTH).unwrap();
        let challenged = self.sent_one();
        self.give(&challenged.error(401, Some("nonce-1")));
        let signed = self.sent_one();
        let asked = signed.message().find().unwrap();
        assert_eq!(asked, Some(AdditionalAddressFamily(AddressFamily::Ipv6)));
        let answer = signed.answer(Class::Success, true, |writer| {
            for relayed in relayed {
                writer.attr(&XorRelayedAddress(addr(relayed))).unwrap();
            }
            writer.attr(&XorMappedAddress(addr(MAPPED))).unwrap();
            writer.attr(&Lifetime(600)).unwrap();
            fill(writer);
        });
        self.give(&answer);
    }

    fn dual() -> Self {
        let mut bench = Self::new();
        bench.answered_by(&[RELAYED, RELAYED_V6], |_| ());
        let [Event::Allocated(allocated)] = bench.events()[..] else {
            panic!("an allocation")
        };
        assert_eq!(allocated.relayed, addr(RELAYED));
        assert_eq!(allocated.relayed_second, Some(addr(RELAYED_V6)));
        bench
    }

    fn succeed(&mut self) {
        let request = self.sent_one();
        self.give(&request.success(600));
    }
}

#[test]
fn both_addresses_are_told_and_found_by_their_family() {
    let bench = Bench::dual();
    let of = |family| bench.client.relayed_addr_of(family);
    assert_eq!(of(AddressFamily::Ipv4), Some(addr(RELAYED)));
    assert_eq!(of(AddressFamily::Ipv6), Some(addr(RELAYED_V6)));
    assert_eq!(bench.client.relayed_addr(), Some(addr(RELAYED)));
}

#[test]
fn what_was_not_to_be_had_is_told_with_its_reason() {
    let mut bench = Bench::new();
    bench.answered_by(&[RELAYED], |writer| {
        let refused = AddressErrorCode {
            family: AddressFamily::Ipv6,
            code: 508,
            reason: "",
        };
        writer.attr(&refused).unwrap();
    });
    let [Event::Allocated(allocated)] = bench.events()[..] else {
        panic!("an allocation")
    };
    assert_eq!(allocated.relayed_second, None);
    assert_eq!(allocated.refused, Some((AddressFamily::Ipv6, 508)));
}

#[test]
fn two_addresses_of_one_family_are_nonsense() {
    let mut bench = Bench::new();
    bench.answered_by(&[RELAYED, "203.0.113.1:50001"], |_| ());
    let [Event::Failed { error, .. }] = &bench.events()[..] else {
        panic!("no allocation")
    };
    assert_eq!(*error, ClientError::BadAnswer);
}

#[test]
fn no_port_is_reserved_for_both_families() {
    let mut bench = Bench::new();
    let options = AllocateOptions {
        port: PortWish::EvenAndNext,
        ..BOTH
    };
    let refused = bench.client.allocate(bench.now, options);
    assert_eq!(refused, Err(ClientError::PortOfBothFamilies));
}

#[test]
fn one_refresh_keeps_both_halves() {
    let mut bench = Bench::dual();
    let asked = bench.serve_for(3600);
    assert_eq!(asked, vec![Method::REFRESH; 6]);
    assert!(bench.client.relayed_addr_of(AddressFamily::Ipv6).is_some());
}

#[test]
fn a_released_half_goes_with_its_peers_and_the_other_one_is_kept_up() {
    let mut bench = Bench::dual();
    let peers = [ip("192.0.2.9"), ip("2001:db8::9")];
    bench.client.permit(bench.now, &peers).unwrap();
    bench.succeed();
    let v4 = bench.client.bind_channel(bench.now, addr(PEER)).unwrap();
    bench.succeed();
    let v6 = bench.client.bind_channel(bench.now, addr(PEER_V6)).unwrap();
    bench.succeed();
    bench.events();

    bench
        .client
        .release_half(bench.now, AddressFamily::Ipv4)
        .unwrap();
    let request = bench.sent_one();
    let message = request.message();
    assert_eq!(
        message.find().unwrap(),
        Some(RequestedAddressFamily(AddressFamily::Ipv4))
    );
    assert_eq!(message.find().unwrap(), Some(Lifetime(0)));
    bench.give(&request.success(0));
    let relayed = addr(RELAYED);
    assert_eq!(bench.events(), [Event::HalfEnded { relayed }]);

    assert_eq!(bench.client.relayed_addr(), Some(addr(RELAYED_V6)));
    assert!(bench.client.channel_prefix(v4, 1).is_err());
    assert!(bench.client.channel_prefix(v6, 1).is_ok());
    assert!(bench.client.indication_prefix(addr(PEER), 1).is_err());
    assert!(bench.client.indication_prefix(addr(PEER_V6), 1).is_ok());
    let released = bench.client.release_half(bench.now, AddressFamily::Ipv4);
    assert_eq!(released, Err(ClientError::NoSuchFamily));

    // 240 s later permission and channel are due, without the peers that are gone.
    bench.sleep();
    for request in bench.sent() {
        let peers = request.message().find_all::<XorPeerAddress>().count();
        assert_eq!(peers, 1);
        let peer = request.message().find::<XorPeerAddress>().unwrap();
        assert!(peer.unwrap().0.is_ipv6());
        bench.give(&request.success(600));
    }

    bench
        .client
        .release_half(bench.now, AddressFamily::Ipv6)
        .unwrap();
    bench.succeed();
    assert_eq!(bench.events(), [Event::Ended(EndReason::Released)]);
}

#[test]
fn a_half_that_the_server_has_no_more_is_released() {
    let mut bench = Bench::dual();
    bench
        .client
        .release_half(bench.now, AddressFamily::Ipv6)
        .unwrap();
    let request = bench.sent_one();
    bench.give(&request.error(443, None));
    let relayed = addr(RELAYED_V6);
    assert_eq!(bench.events(), [Event::HalfEnded { relayed }]);
}
