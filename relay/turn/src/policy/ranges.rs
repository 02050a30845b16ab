//! Overlapping prefixes compiled into disjoint ranges, one binary search to ask.
//!
//! Longest-prefix matching is the wrong question here: a denied /8 beats an allowed /32 inside it.
//! So every address gets the strongest layer that covers it, worked out once.

use std::net::IpAddr;

use ipnet::IpNet;

/// The strongest layer that names an address.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Deny,
    Allow,
    BuiltIn,
    Public,
}

/// The layers of both families.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    v4: Ranges,
    v6: Ranges,
}

impl Layers {
    pub(super) fn new(deny: &[IpNet], allow: &[IpNet], builtin: &[&str]) -> Self {
        let builtin: Vec<IpNet> = builtin
            .iter()
            .map(|text| {
                text.parse()
                    .expect("invariant: the built-in list is well formed")
            })
            .collect();
        let layers = [
            (Layer::Deny, deny),
            (Layer::Allow, allow),
            (Layer::BuiltIn, &builtin[..]),
        ];
        let of_family = |v4: bool| {
            let prefixes = layers.iter().flat_map(|(layer, prefixes)| {
                let family = prefixes
                    .iter()
                    .filter(move |net| net.addr().is_ipv4() == v4);
                family.map(|net| (*layer, first_and_last(net)))
            });
            Ranges::new(prefixes)
        };
        Self {
            v4: of_family(true),
            v6: of_family(false),
        }
    }

    pub(super) fn of(&self, ip: IpAddr) -> Layer {
        match ip {
            IpAddr::V4(ip) => self.v4.of(u128::from(ip.to_bits())),
            IpAddr::V6(ip) => self.v6.of(ip.to_bits()),
        }
    }
}

fn first_and_last(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (
            net.network().to_bits().into(),
            u128::from(net.broadcast().to_bits()),
        ),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

/// Starts of ranges in ascending order, each with the layer that holds up to the next start.
#[derive(Clone, Debug, Default)]
struct Ranges {
    starts: Vec<(u128, Layer)>,
}

impl Ranges {
    fn new(prefixes: impl Iterator<Item = (Layer, (u128, u128))>) -> Self {
        // One event where a prefix begins and one behind its end; between two events the layers
        // that are open do not change.
        let mut events: Vec<(u128, Layer, i32)> = Vec::new();
        for (layer, (first, last)) in prefixes {
            events.push((first, layer, 1));
            if let Some(behind) = last.checked_add(1) {
                events.push((behind, layer, -1));
            }
        }
        events.sort_unstable();
        let mut open = [0_i32; 3];
        let mut starts: Vec<(u128, Layer)> = Vec::new();
        for (at, layer, change) in events {
            open[layer as usize] += change;
            let strongest = [Layer::Deny, Layer::Allow, Layer::BuiltIn]
                .into_iter()
                .find(|layer| open[*layer as usize] > 0)
                .unwrap_or(Layer::Public);
            match starts.last_mut() {
                Some((last, current)) if *last == at => *current = strongest,
                _ => starts.push((at, strongest)),
            }
        }
        starts.dedup_by_key(|(_, layer)| *layer);
        Self { starts }
    }

    fn of(&self, address: u128) -> Layer {
        let behind = self.starts.partition_point(|(start, _)| *start <= address);
        behind
            .checked_sub(1)
            .map_or(Layer::Public, |place| self.starts[place].1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_strongest_layer_wins_whatever_the_prefix_lengths() {
        let nets = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<_>>()
        };
        let layers = Layers::new(
            &nets(&["10.1.0.0/16"]),
            &nets(&["10.1.2.3/32", "10.2.0.0/16"]),
            &["10.0.0.0/8", "ff00::/8"],
        );
        let of = |ip: &str| layers.of(ip.parse().unwrap());
        assert_eq!(of("10.1.2.3"), Layer::Deny);
        assert_eq!(of("10.2.255.255"), Layer::Allow);
        assert_eq!(of("10.3.0.0"), Layer::BuiltIn);
        assert_eq!(of("9.255.255.255"), Layer::Public);
        assert_eq!(of("11.0.0.0"), Layer::Public);
        assert_eq!(
            of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            Layer::BuiltIn
        );
        assert_eq!(of("::10.1.2.3"), Layer::Public);
    }

    fn nets() -> impl Strategy<Value = Vec<IpNet>> {
        let net = (0_u8..16, 24_u8..=32)
            .prop_map(|(low, len)| IpNet::new(IpAddr::from([10, 0, 0, low]), len).unwrap());
        prop::collection::vec(net, 0..5)
    }

    proptest! {
        #[test]
        fn a_compiled_policy_agrees_with_a_scan_of_the_lists(deny in nets(), allow in nets(), low: u8) {
            let layers = Layers::new(&deny, &allow, &["10.0.0.4/30"]);
            let ip = IpAddr::from([10, 0, 0, low]);
            let built_in: IpNet = "10.0.0.4/30".parse().unwrap();
            let expected = if deny.iter().any(|net| net.contains(&ip)) {
                Layer::Deny
            } else if allow.iter().any(|net| net.contains(&ip)) {
                Layer::Allow
            } else if built_in.contains(&ip) {
                Layer::BuiltIn
            } else {
                Layer::Public
            };
            prop_assert_eq!(layers.of(ip), expected);
        }
    }
}
