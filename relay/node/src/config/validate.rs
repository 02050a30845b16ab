//! What one value cannot show alone: bounds, contradictions, and what must not be by accident.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sterna_daemon::config::{Fault, out_of_range};

use super::Config;

/// A longer realm would make a 401 larger than the amplification budget allows (RFC 8489 §14.9
/// allows 127 characters).
const REALM_BYTES_MAX: usize = sterna_turn::limits::REALM_BYTES_MAX;
/// RFC 8489 §14.3: a user name is fewer than 509 bytes.
const USER_NAME_BYTES_MAX: usize = 508;
/// RFC 8489 §14.14: SOFTWARE is fewer than 128 characters.
const SOFTWARE_BYTES_MAX: usize = sterna_turn::limits::SOFTWARE_BYTES_MAX;
/// Beyond it a 401 has no room for PASSWORD-ALGORITHMS.
const REALM_BYTES_ADVISED: usize = sterna_turn::limits::REALM_BYTES_WITH_ALGORITHMS_MAX;
/// The longest name of a host (RFC 1035 §2.3.4).
const SERVER_NAME_BYTES_MAX: usize = 255;
/// Shorter ones can be guessed from one captured message.
const SECRET_BYTES_ADVISED: usize = 16;

/// Everything that keeps the node from starting.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = out_of_range(config);
    listeners(config, &mut faults);
    discovery(config, &mut faults);
    faults.extend(config.turn.alternate_faults());
    relaying(config, &mut faults);
    credentials(config, &mut faults);
    oauth(config, &mut faults);
    peer_users(config, &mut faults);
    tls(config, &mut faults);
    admin(config, &mut faults);
    flow(config, &mut faults);
    super::control::faults(config, &mut faults);
    faults
}

/// What the node starts with all the same, and says at start.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.auth.open_relay {
        warnings.push(
            "auth.open_relay = true: ANYBODY who reaches this node can relay through it, to wherever its peer policy \
             lets him; set auth.users or auth.secrets and remove the key"
                .to_owned(),
        );
    }
    let short = |text: &str| text.len() < SECRET_BYTES_ADVISED;
    if config
        .auth
        .secrets
        .iter()
        .any(|secret| short(secret.expose()))
    {
        warnings.push(format!(
            "auth.secrets: one is shorter than {SECRET_BYTES_ADVISED} characters and can be guessed from one captured message"
        ));
    }
    if config
        .admin
        .token
        .as_ref()
        .is_some_and(|token| short(token.expose()))
    {
        warnings.push(format!(
            "admin.token is shorter than {SECRET_BYTES_ADVISED} characters"
        ));
    }
    if config
        .tcp
        .proxy_protocol_from
        .iter()
        .any(|range| range.prefix_len() == 0)
    {
        warnings.push(
            "tcp.proxy_protocol_from names every address: ANYBODY can claim to be any client, and a client without a load \
             balancer is cut; name the load balancer's addresses only"
                .to_owned(),
        );
    }
    if let Some(acme) = &config.tls.acme {
        warnings.extend(acme.warning(listening(config).map(|(_, addr)| addr)));
    }
    if config.turn.realm.len() > REALM_BYTES_ADVISED {
        warnings.push(format!(
            "turn.realm is longer than {REALM_BYTES_ADVISED} bytes: PASSWORD-ALGORITHMS is left out of 401 answers \
             over UDP, so that they stay within the amplification budget"
        ));
    }
    warnings
}

fn listeners(config: &Config, faults: &mut Vec<Fault>) {
    let turn = &config.turn;
    if turn.listen.is_empty() && turn.tls_listen.is_empty() {
        faults.push((
            "turn.listen",
            "there is nothing to listen on; write [\"0.0.0.0:3478\", \"[::]:3478\"]".to_owned(),
        ));
    }
    let mut seen = BTreeSet::new();
    for (key, addr) in listening(config) {
        if addr.port() != 0 && !seen.insert(addr) {
            faults.push((key, format!("{addr} is listed twice; every TCP listener needs an address and port of its own")));
        }
    }
}

fn listening(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let plain = config.turn.listen.iter().map(|addr| ("turn.listen", *addr));
    plain
        .chain(
            config
                .turn
                .tls_listen
                .iter()
                .map(|addr| ("turn.tls_listen", *addr)),
        )
        .chain(
            config
                .flow
                .wss_listen
                .iter()
                .map(|addr| ("flow.wss_listen", *addr)),
        )
}

/// RFC 5780 §6: two addresses, each with the same two ports.
fn discovery(config: &Config, faults: &mut Vec<Fault>) {
    const KEY: &str = "turn.alternate_listen";
    let turn = &config.turn;
    let mut families = BTreeSet::new();
    for &alternate in &turn.alternate_listen {
        let family = if alternate.is_ipv4() { "IPv4" } else { "IPv6" };
        let sentence = if !is_host(alternate.ip()) || alternate.port() == 0 {
            format!(
                "{alternate} does not say which address and port; write one of this host's addresses with a port, such as \
                 \"203.0.113.8:3479\""
            )
        } else if !families.insert(family) {
            format!("{alternate} is a second one of {family}; keep one a family")
        } else if let Some(primary) = turn.primary_of(alternate) {
            if primary.ip() == alternate.ip() || primary.port() == alternate.port() {
                format!(
                    "{alternate} has the address or the port of {primary}, its primary in turn.listen; both must differ"
                )
            } else if turn.public(primary.ip()) == turn.public(alternate.ip()) {
                format!(
                    "{alternate} and {primary} are the same address to the outside (turn.external_addresses); map them to two"
                )
            } else {
                continue;
            }
        } else {
            format!(
                "turn.listen names no {family} address that {alternate} could be the other of; list one with its port \
                 instead of every address of the host, such as \"203.0.113.7:3478\""
            )
        };
        faults.push((KEY, sentence));
    }
}

fn relaying(config: &Config, faults: &mut Vec<Fault>) {
    let turn = &config.turn;
    if turn.realm.is_empty() || turn.realm.len() > REALM_BYTES_MAX || !is_quotable(&turn.realm) {
        faults.push((
            "turn.realm",
            format!("a realm is 1 to {REALM_BYTES_MAX} bytes without control characters, quotes and backslashes, such as \"sterna\""),
        ));
    }
    if turn.software.len() > SOFTWARE_BYTES_MAX {
        faults.push((
            "turn.software",
            format!("at most {SOFTWARE_BYTES_MAX} bytes fit the SOFTWARE attribute"),
        ));
    }
    for addr in &turn.relay_addresses {
        if !is_host(*addr) {
            faults.push((
                "turn.relay_addresses",
                format!("{addr} cannot be relayed from; name an address of this host, or leave the list empty"),
            ));
        }
    }
    for (internal, public) in &turn.external_addresses {
        if internal.is_ipv4() != public.is_ipv4() {
            faults.push((
                "turn.external_addresses",
                format!("{internal} and {public} are of different families; map IPv4 to IPv4 and IPv6 to IPv6"),
            ));
        }
        for addr in [internal, public] {
            if !is_host(*addr) {
                faults.push((
                    "turn.external_addresses",
                    format!("{addr} is not the address of a host"),
                ));
            }
        }
    }
}

fn credentials(config: &Config, faults: &mut Vec<Fault>) {
    let auth = &config.auth;
    if !auth.has_credentials() && !auth.open_relay && !config.control.is_on() {
        faults.push((
            "auth.users",
            "there are no credentials, and an open relay would serve attackers; set auth.users = [{ name = \"…\", \
             password = \"…\" }] or auth.secrets = [\"…\"] (`sterna token turn-user` makes one), or auth.oauth_keys, or have them come from \
             a control service (control.url), or, on a closed network only, auth.open_relay = true"
                .to_owned(),
        ));
    }
    let mut names = BTreeSet::new();
    for user in &auth.users {
        let name = user.name.as_str();
        if name.is_empty() || name.len() > USER_NAME_BYTES_MAX || name.chars().any(char::is_control)
        {
            let sentence = format!(
                "a user name is 1 to {USER_NAME_BYTES_MAX} bytes without control characters"
            );
            faults.push(("auth.users", sentence));
        } else if !names.insert(name) {
            faults.push((
                "auth.users",
                format!("user {name:?} is listed twice; remove one of them"),
            ));
        } else if user.password.expose().is_empty() {
            faults.push((
                "auth.users",
                format!("user {name:?} has an empty password; give him one or remove him"),
            ));
        } else if looks_time_limited(name) && !auth.secrets.is_empty() {
            faults.push((
                "auth.users",
                format!("user {name:?} looks like a time-limited name (a number, a colon, a name), which auth.secrets would \
                         judge; rename him"),
            ));
        }
    }
    if auth.secrets.iter().any(|secret| secret.expose().is_empty()) {
        faults.push((
            "auth.secrets",
            "a secret is empty: anybody could make credentials with it; remove it".to_owned(),
        ));
    }
}

fn peer_users(config: &Config, faults: &mut Vec<Fault>) {
    let mut names = BTreeSet::new();
    for user in &config.peers.users {
        let sentence = if user.name.is_empty() {
            "rules without a name are nobody's; name the account, or use peers.allow and peers.deny"
                .to_owned()
        } else if !names.insert(user.name.as_str()) {
            format!("{:?} has rules twice; keep one", user.name)
        } else {
            continue;
        };
        faults.push(("peers.users", sentence));
    }
}

fn oauth(config: &Config, faults: &mut Vec<Fault>) {
    const KEY: &str = "auth.oauth_keys";
    let auth = &config.auth;
    let mut kids = BTreeSet::new();
    for key in &auth.oauth_keys {
        let kid = key.kid.as_str();
        if kid.is_empty() || kid.len() > USER_NAME_BYTES_MAX || kid.chars().any(char::is_control) {
            let sentence =
                format!("a kid is 1 to {USER_NAME_BYTES_MAX} bytes without control characters");
            faults.push((KEY, sentence));
        } else if !kids.insert(kid) {
            faults.push((
                KEY,
                format!("kid {kid:?} is listed twice; remove one of them"),
            ));
        } else if auth.users.iter().any(|user| user.name == kid) {
            faults.push((
                KEY,
                format!("kid {kid:?} is also the name of a user; rename one of them"),
            ));
        }
        if let Err(sentence) = key.token_key() {
            faults.push((KEY, sentence));
        }
        let end = key.not_after_unix_s;
        if end.is_some_and(|end| end <= key.not_before_unix_s) {
            faults.push((
                KEY,
                format!(
                    "the key of {kid:?} ends before it begins; not_after_unix_s comes after not_before_unix_s"
                ),
            ));
        }
    }
    let name = &auth.oauth_server_name;
    if name.len() > SERVER_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        faults.push((
            "auth.oauth_server_name",
            format!("a server's name is at most {SERVER_NAME_BYTES_MAX} bytes without control characters, such as \"turn.example.com\""),
        ));
    }
}

fn tls(config: &Config, faults: &mut Vec<Fault>) {
    match (&config.tls.certificate, &config.tls.key) {
        (Some(_), None) => faults.push((
            "tls.key",
            "there is a tls.certificate without its key; set tls.key to the PEM file of its private key, or remove \
             tls.certificate to have a self-signed one made"
                .to_owned(),
        )),
        (None, Some(_)) => faults.push((
            "tls.certificate",
            "there is a tls.key without its certificate; set tls.certificate to the PEM file of the certificate and its \
             chain, or remove tls.key to have a self-signed one made"
                .to_owned(),
        )),
        _ => {}
    }
    let Some(acme) = &config.tls.acme else { return };
    if config.tls.certificate.is_some() || config.tls.key.is_some() {
        faults.push((
            "tls.acme",
            "there is a tls.certificate (or tls.key) as well, and only one can be served; remove tls.certificate and tls.key to \
             have the certificate obtained, or tls.acme to serve the files"
                .to_owned(),
        ));
    }
    acme.faults(faults);
}

fn admin(config: &Config, faults: &mut Vec<Fault>) {
    let admin = &config.admin;
    match &admin.token {
        Some(token) if token.expose().is_empty() => {
            faults.push(("admin.token", "the token is empty; write a random text of 32 characters, or remove the key".to_owned()));
        }
        None if !admin.listen.ip().is_loopback() => faults.push((
            "admin.listen",
            format!(
                "{} can be reached from other hosts, and there is no admin.token: whoever reaches it could drain the node; \
                 set admin.token, or listen on 127.0.0.1:{}",
                admin.listen,
                admin.listen.port()
            ),
        )),
        _ => {}
    }
    let clash = listening(config).find(|(_, addr)| {
        addr.port() == admin.listen.port()
            && addr.port() != 0
            && addr.is_ipv4() == admin.listen.is_ipv4()
            && (addr.ip() == admin.listen.ip()
                || addr.ip().is_unspecified()
                || admin.listen.ip().is_unspecified())
    });
    if let Some((key, addr)) = clash {
        faults.push((
            "admin.listen",
            format!("{} is taken by {key} ({addr}): administration is never served on a TURN port; choose another port", admin.listen),
        ));
    }
}

fn flow(config: &Config, faults: &mut Vec<Fault>) {
    let flow = &config.flow;
    if let Err(error) = crate::flow::key_set(&flow.ticket_keys) {
        faults.push(("flow.ticket_keys", error));
    }
    if let Err(error) = flow.fleet.parse::<sterna_control_api::Fleet>() {
        faults.push(("flow.fleet", format!("{:?}: {error}", flow.fleet)));
    }
    if flow.alternates.len() > sterna_flow::limits::ALTERNATES_MAX {
        faults.push((
            "flow.alternates",
            format!(
                "more than {}, which is what devices can be told",
                sterna_flow::limits::ALTERNATES_MAX
            ),
        ));
    }
    for id in &flow.alternates {
        if let Err(error) = id.parse::<sterna_control_api::NodeId>() {
            faults.push(("flow.alternates", format!("{id:?}: {error}")));
        }
    }
    let sections = [
        ("flow.quic_listen", &flow.quic_listen),
        ("flow.wss_listen", &flow.wss_listen),
    ];
    for (key, listeners) in sections {
        if !listeners.is_empty() && flow.ticket_keys.is_empty() && !config.control.is_on() {
            faults.push((
                key,
                "nobody could be admitted: flow.ticket_keys is empty; `sterna token ticket-key` makes a key".to_owned(),
            ));
        }
        if !listeners.is_empty()
            && usize::from(config.node.workers) >= sterna_flow::limits::SHARDS_MAX
        {
            faults.push((
                key,
                format!(
                    "node.workers leaves no thread for it; set it to {} at most",
                    sterna_flow::limits::SHARDS_MAX - 1
                ),
            ));
        }
    }
    let mut seen = BTreeSet::new();
    let udp = config.turn.listen.iter().map(|addr| ("turn.listen", *addr));
    let quic = flow
        .quic_listen
        .iter()
        .map(|addr| ("flow.quic_listen", *addr));
    for (key, addr) in udp.chain(quic) {
        // QUIC's short headers and TURN's channels begin with the same bytes.
        if addr.port() != 0 && !seen.insert(addr) {
            faults.push((
                key,
                format!("{addr} is listed twice; QUIC needs a UDP port of its own"),
            ));
        }
    }
}

fn is_host(addr: IpAddr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast() && addr != IpAddr::from([255, 255, 255, 255])
}

/// RFC 8489 §14.9: a realm is a quoted string without its quotes.
fn is_quotable(text: &str) -> bool {
    !text
        .chars()
        .any(|char| char.is_control() || char == '"' || char == '\\')
}

fn looks_time_limited(name: &str) -> bool {
    name.split_once(':')
        .is_some_and(|(time, _)| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()))
}
