//! The router's rules, one set a kind of NAT, for nftables. The end-to-end tests of NAT discovery
//! include this file.
//!
//! A prerouting nat chain is always there, also when empty: without one, some kernels do not
//! translate the answers.

/// How the router of the lab translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nat {
    Open,
    FullCone,
    Restricted,
    LinuxHome,
    LinuxHost,
    Symmetric,
    UdpBlocked,
}

/// Answers come in, nothing else does.
const FORWARD_ANSWERS_ONLY: &str = "\
chain forward {
  type filter hook forward priority 0;
  iifname wan ct state established,related accept
  iifname wan drop
}
";

/// The router itself answers nobody outside. Without it, an early packet from a peer leaves a
/// connection entry, and the later packet to that peer is mapped to another port.
const INPUT_ANSWERS_ONLY: &str = "\
chain input {
  type filter hook input priority 0;
  iifname wan ct state established,related accept
  iifname wan drop
}
";

const NO_PREROUTING: &str = "chain prerouting { type nat hook prerouting priority -100; }\n";

/// Stands for the router's outside address.
const OUTSIDE: &str = "OUTSIDE";

/// Any outside address reaches the inside port that last sent from this outside port.
const CONE: &str = "\
map mapped {
  type inet_service : ipv4_addr . inet_service
  flags dynamic,timeout
  timeout 300s
}
chain prerouting {
  type nat hook prerouting priority -100;
  iifname wan meta l4proto udp dnat to udp dport map @mapped
}
chain postrouting {
  type nat hook postrouting priority 100;
  oifname wan meta l4proto udp update @mapped { udp sport timeout 300s : ip saddr . udp sport }
  oifname wan snat to OUTSIDE
}
";

/// On top of the cone: only addresses that this inside port has sent to.
const RESTRICT: &str = "\
set seen {
  type ipv4_addr . inet_service . ipv4_addr
  flags dynamic,timeout
  timeout 300s
}
chain forward {
  type filter hook forward priority 0;
  oifname wan meta l4proto udp update @seen { ip saddr . udp sport . ip daddr timeout 300s }
  iifname wan ct state established,related accept
  iifname wan ip daddr . udp dport . ip saddr @seen accept
  iifname wan drop
}
";

const UDP_BLOCKED: &str = "\
chain forward {
  type filter hook forward priority 0;
  meta l4proto udp drop
  iifname wan ct state established,related accept
  iifname wan drop
}
";

impl Nat {
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("open", Self::Open),
        ("full-cone", Self::FullCone),
        ("restricted", Self::Restricted),
        ("linux-home", Self::LinuxHome),
        ("linux-host", Self::LinuxHost),
        ("symmetric", Self::Symmetric),
        ("udp-blocked", Self::UdpBlocked),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, nat)| *nat)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, nat)| *nat == self)
            .map_or("", |(name, _)| name)
    }

    /// The whole table for a router with interfaces `lan` and `wan`, as `nft -f` reads it.
    pub(crate) fn rules(self, outside: &str) -> String {
        let masquerade = |how: &str| {
            format!(
                "{NO_PREROUTING}chain postrouting {{\n  type nat hook postrouting priority 100;\n  \
                 oifname wan masquerade {how}\n}}\n"
            )
        };
        let chains = match self {
            Self::Open => String::new(),
            Self::FullCone => CONE.to_owned(),
            Self::Restricted => format!("{CONE}{RESTRICT}"),
            Self::LinuxHome => masquerade("") + FORWARD_ANSWERS_ONLY + INPUT_ANSWERS_ONLY,
            Self::LinuxHost => masquerade("") + FORWARD_ANSWERS_ONLY,
            Self::Symmetric => {
                masquerade("fully-random") + FORWARD_ANSWERS_ONLY + INPUT_ANSWERS_ONLY
            }
            Self::UdpBlocked => masquerade("") + UDP_BLOCKED + INPUT_ANSWERS_ONLY,
        };
        format!("table ip lab {{\n{chains}}}\n").replace(OUTSIDE, outside)
    }
}
