//! Which of two devices punches first, out of what both know of their NATs (RFC 4787 §4.1, §5).
//!
//! | the one | the other | the one does | the other does |
//! |---|---|---|---|
//! | UDP is blocked | any | relay | relay |
//! | port foreseeable or not found out | the same, equally strict filters | together | together |
//! | port foreseeable, stricter filter | port foreseeable, laxer filter | first | second |
//! | port not foreseeable | port foreseeable, lets anybody in | first | second |
//! | port not foreseeable | port foreseeable, lets addresses in | second | first |
//! | port not foreseeable | port foreseeable, lets endpoints in | spray | second |
//! | port not foreseeable | not found out | together | together |
//! | port not foreseeable | port not foreseeable | relay | relay |
//!
//! A port is foreseeable where the NAT maps independently of the other side, or keeps the port.
//! Both orders come from one rule, so that the two devices never disagree.

use sterna_control_api::device::{Behaviour, NatReport};
use sterna_control_api::signal::PunchOrder;

/// What each of two devices does, in the order of the arguments.
#[must_use]
pub fn order(one: &NatReport, other: &NatReport) -> (PunchOrder, PunchOrder) {
    if one.udp == Some(false) || other.udp == Some(false) {
        return (PunchOrder::Relay, PunchOrder::Relay);
    }
    match (Port::of(one), Port::of(other)) {
        (Port::Hidden, Port::Hidden) => (PunchOrder::Relay, PunchOrder::Relay),
        (Port::Hidden, Port::Foreseeable) => hidden(filter(other)),
        (Port::Foreseeable, Port::Hidden) => {
            let (other, one) = hidden(filter(one));
            (one, other)
        }
        (Port::Foreseeable, Port::Foreseeable) => match filter(one).cmp(&filter(other)) {
            // The stricter one opens its own filter; what it sends gets through the laxer one's.
            std::cmp::Ordering::Greater => (PunchOrder::First, PunchOrder::Second),
            std::cmp::Ordering::Less => (PunchOrder::Second, PunchOrder::First),
            std::cmp::Ordering::Equal => (PunchOrder::Together, PunchOrder::Together),
        },
        (Port::NotFoundOut, _) | (_, Port::NotFoundOut) => {
            (PunchOrder::Together, PunchOrder::Together)
        }
    }
}

/// What a device whose port cannot be foreseen and one with a foreseeable port behind `filter` do.
fn hidden(filter: Filter) -> (PunchOrder, PunchOrder) {
    match filter {
        Filter::Anybody => (PunchOrder::First, PunchOrder::Second),
        // It first lets the other's address in; then the port shows itself.
        Filter::Addresses => (PunchOrder::Second, PunchOrder::First),
        Filter::Endpoints => (PunchOrder::Spray, PunchOrder::Second),
    }
}

/// What can be said of the public port towards the other device.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Port {
    Foreseeable,
    Hidden,
    NotFoundOut,
}

impl Port {
    fn of(nat: &NatReport) -> Self {
        match nat.mapping {
            Behaviour::None | Behaviour::EndpointIndependent => Self::Foreseeable,
            Behaviour::AddressDependent | Behaviour::AddressAndPortDependent => {
                if nat.port_preserving == Some(true) {
                    Self::Foreseeable
                } else {
                    Self::Hidden
                }
            }
            Behaviour::Unknown => Self::NotFoundOut,
        }
    }
}

/// Whom a NAT lets in, from lax to strict.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Filter {
    Anybody,
    Addresses,
    Endpoints,
}

/// What was not found out counts as the strictest, which most are.
fn filter(nat: &NatReport) -> Filter {
    match nat.filtering {
        Behaviour::None | Behaviour::EndpointIndependent => Filter::Anybody,
        Behaviour::AddressDependent => Filter::Addresses,
        Behaviour::AddressAndPortDependent | Behaviour::Unknown => Filter::Endpoints,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Behaviour; 5] = [
        Behaviour::Unknown,
        Behaviour::None,
        Behaviour::EndpointIndependent,
        Behaviour::AddressDependent,
        Behaviour::AddressAndPortDependent,
    ];

    fn nat(mapping: Behaviour, filtering: Behaviour) -> NatReport {
        NatReport {
            mapping,
            filtering,
            udp: Some(true),
            port_preserving: Some(false),
            ..NatReport::default()
        }
    }

    /// Each report that the rule could tell apart.
    fn reports() -> Vec<NatReport> {
        let mut reports = Vec::new();
        for mapping in ALL {
            for filtering in ALL {
                for udp in [None, Some(false), Some(true)] {
                    for port_preserving in [None, Some(false), Some(true)] {
                        reports.push(NatReport {
                            udp,
                            port_preserving,
                            ..nat(mapping, filtering)
                        });
                    }
                }
            }
        }
        reports
    }

    #[test]
    fn both_sides_agree_whoever_asks_for_every_pair_of_reports() {
        use PunchOrder::{First, Relay, Second, Spray, Together};
        let reports = reports();
        for one in &reports {
            for other in &reports {
                let (ours, theirs) = order(one, other);
                assert_eq!(order(other, one), (theirs, ours), "{one:?} and {other:?}");
                let fits = matches!(
                    (ours, theirs),
                    (First, Second)
                        | (Second, First)
                        | (Spray, Second)
                        | (Second, Spray)
                        | (Together, Together)
                        | (Relay, Relay)
                );
                assert!(fits, "{ours:?} with {theirs:?}");
            }
        }
    }

    #[test]
    fn without_udp_on_either_side_nothing_is_tried() {
        let blocked = NatReport {
            udp: Some(false),
            ..nat(Behaviour::None, Behaviour::None)
        };
        for other in reports() {
            assert_eq!(
                order(&blocked, &other),
                (PunchOrder::Relay, PunchOrder::Relay)
            );
        }
    }

    #[test]
    fn the_stricter_filter_opens_first() {
        use Behaviour::{
            AddressAndPortDependent as Endpoints, AddressDependent as Addresses,
            EndpointIndependent as Anybody,
        };
        let cases = [
            (Anybody, Anybody, PunchOrder::Together),
            (Endpoints, Endpoints, PunchOrder::Together),
            (Endpoints, Anybody, PunchOrder::First),
            (Endpoints, Addresses, PunchOrder::First),
            (Addresses, Anybody, PunchOrder::First),
            (Anybody, Addresses, PunchOrder::Second),
        ];
        for (ours, theirs, expected) in cases {
            let (did, _) = order(&nat(Anybody, ours), &nat(Anybody, theirs));
            assert_eq!(did, expected, "{ours:?} against {theirs:?}");
        }
    }

    #[test]
    fn a_hidden_port_shows_itself_to_a_lax_filter_and_is_searched_behind_a_strict_one() {
        use Behaviour::{
            AddressAndPortDependent as Endpoints, AddressDependent as Addresses,
            EndpointIndependent as Anybody,
        };
        let hidden = nat(Endpoints, Endpoints);
        let cases = [
            (Anybody, (PunchOrder::First, PunchOrder::Second)),
            (Addresses, (PunchOrder::Second, PunchOrder::First)),
            (Endpoints, (PunchOrder::Spray, PunchOrder::Second)),
        ];
        for (filtering, expected) in cases {
            assert_eq!(order(&hidden, &nat(Anybody, filtering)), expected);
        }
        assert_eq!(
            order(&hidden, &hidden),
            (PunchOrder::Relay, PunchOrder::Relay)
        );
        let keeps_ports = NatReport {
            port_preserving: Some(true),
            ..hidden.clone()
        };
        let (ours, _) = order(&keeps_ports, &keeps_ports);
        assert_eq!(ours, PunchOrder::Together, "the ports can be foreseen");
    }
}
