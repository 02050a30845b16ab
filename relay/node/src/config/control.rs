//! `[control]`: the control service that the node belongs to.

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Fault, Key, Kind, Section};

use super::Config;
use super::secret::Secret;

/// What a join token begins with.
const TOKEN_PREFIX: &str = "sterna-join-1.";

/// The longest code of a region.
const REGION_BYTES_MAX: usize = 32;

/// The `[control]` section. Without a URL the node stands alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Where the control service is; empty: the node belongs to none.
    pub url: String,
    /// What the node shows to be let in, the first time.
    pub join_token: Option<Secret>,
    /// The file that it stands in instead.
    pub join_token_file: Option<PathBuf>,
    /// Whether the service may be reached without TLS beyond loopback.
    pub insecure_http: bool,
    /// Authorities that the service's certificate may be from, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Control {
    /// Whether the node belongs to a control service.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }
}

/// What is wrong with the section, alone and beside the others.
pub(super) fn faults(config: &Config, faults: &mut Vec<Fault>) {
    let control = &config.control;
    if control.join_token.is_some() && control.join_token_file.is_some() {
        faults.push((
            "control.join_token_file",
            "there is a control.join_token as well; keep one of them".to_owned(),
        ));
    }
    let token = control.join_token.as_ref().map(Secret::expose);
    if token.is_some_and(|token| !token.trim().starts_with(TOKEN_PREFIX)) {
        faults.push((
            "control.join_token",
            format!("a join token looks like {TOKEN_PREFIX}… (`sterna token join` makes one)"),
        ));
    }
    if !control.is_on() {
        if control.join_token.is_some() || control.join_token_file.is_some() {
            faults.push((
                "control.url",
                "there is a join token and nobody to show it to; write the control service's address, such as \
                 \"https://control.example.org\""
                    .to_owned(),
            ));
        }
        return;
    }
    if let Some(sentence) = url_fault(control) {
        faults.push(("control.url", sentence));
    }
    if !is_region(&config.node.region) {
        faults.push((
            "node.region",
            format!(
                "a node of a fleet stands in one of its regions; write the region's code (1 to {REGION_BYTES_MAX} of a-z, \
                 0-9 and '-'), the one that its join token was made for"
            ),
        ));
    }
}

fn url_fault(control: &Control) -> Option<String> {
    let url = &control.url;
    let Ok(uri) = url.parse::<Uri>() else {
        return Some(format!(
            "{url:?} is no URL; write such as \"https://control.example.org\""
        ));
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    match uri.scheme_str() {
        _ if authority.contains('@') => Some(
            "no user or password goes into the URL; the node proves itself with its own key"
                .to_owned(),
        ),
        _ if !matches!(uri.path(), "" | "/") || uri.query().is_some() => Some(format!(
            "{url:?} has a path; write scheme, host and port only"
        )),
        Some("https") => None,
        Some("http") if control.insecure_http || is_loopback(uri.host()) => None,
        Some("http") => Some(format!(
            "{url:?} is without TLS and not on this host: whoever is on the way could read the TURN secrets; write \
             https://, or, where something else protects the way, control.insecure_http = true"
        )),
        _ => Some(format!("{url:?} begins with neither https:// nor http://")),
    }
}

fn is_loopback(host: Option<&str>) -> bool {
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

fn is_region(code: &str) -> bool {
    (1..=REGION_BYTES_MAX).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "control",
    about: "The control service of the fleet that the node belongs to: it sends TURN secrets, ticket keys, limits and what is revoked, and shows devices the way here. What it sent last lies in `orders.json` in `node.data_dir`, so that the node serves, and starts, without it.",
    keys: &[
        Key {
            path: "control.url",
            meaning: "Where the control service is. Empty: the node stands alone.",
            advice: "https://HOST or https://HOST:PORT; plain http:// on this host only",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "control.join_token",
            meaning: "What the node shows to be let into the fleet, the first time; from then on it proves itself with the key in `node.data_dir`.",
            kind: Kind::Secret,
            advice: "from `sterna token join --region REGION`; remove it once the node has registered",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "control.join_token_file",
            meaning: "A file that holds the join token instead; read whenever the token is needed.",
            kind: Kind::Path,
            advice: "readable by the node's user only",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "control.insecure_http",
            meaning: "Lets `control.url` be http:// on another host: TURN secrets go over the network in clear.",
            kind: Kind::Flag,
            advice: "false, but where something else protects the way, such as a tunnel",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "control.ca_file",
            meaning: "PEM file with the authorities that the service's certificate may be from, instead of the system's.",
            kind: Kind::Path,
            advice: "for a service with a certificate of your own authority",
            reload: true,
            ..Key::PLAIN
        },
    ],
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(sets: &[&str]) -> String {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::load(None, std::iter::empty(), &sets)
            .map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_node_of_a_fleet_needs_no_credentials_and_no_ticket_keys_of_its_own() {
        let sets = [
            "control.url=https://control.example.org",
            "node.region=eu",
            "flow.quic_listen=127.0.0.1:443",
        ];
        assert_eq!(said(&sets), "");
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        assert!(
            Config::load(None, std::iter::empty(), &sets)
                .unwrap()
                .flow_is_on()
        );
    }

    #[test]
    fn a_service_beyond_this_host_is_reached_over_tls_unless_the_operator_says_so() {
        let region = "node.region=eu";
        for fine in [
            "http://127.0.0.1:8478",
            "http://[::1]:8478/",
            "http://localhost:1",
        ] {
            assert_eq!(said(&[&format!("control.url={fine}"), region]), "");
        }
        let far = "control.url=http://control.example.org:8478";
        assert!(said(&[far, region]).contains("control.insecure_http"));
        assert_eq!(said(&[far, region, "control.insecure_http=true"]), "");
    }

    #[test]
    fn what_is_no_url_of_a_service_is_said() {
        for (url, word) in [
            ("control.example.org", "neither"),
            ("ftp://control.example.org", "neither"),
            ("https://user@control.example.org", "no user"),
            ("https://control.example.org/api", "has a path"),
            ("https://", "no URL"),
        ] {
            let said = said(&[&format!("control.url={url}"), "node.region=eu"]);
            assert!(said.contains(word), "{url}: {said}");
        }
    }

    #[test]
    fn a_token_has_its_form_and_somebody_to_be_shown_to() {
        let (url, region) = ("control.url=https://c.example", "node.region=eu");
        let wrong = said(&[url, region, "control.join_token=secret"]);
        assert!(wrong.contains("sterna token join"), "{wrong}");
        assert!(!wrong.contains("=secret"), "{wrong}");
        assert!(said(&["control.join_token=sterna-join-1.a.b"]).contains("nobody to show it to"));
        let twice = said(&[
            url,
            region,
            "control.join_token=sterna-join-1.a.b",
            "control.join_token_file=/t",
        ]);
        assert!(twice.contains("keep one of them"), "{twice}");
        assert!(said(&[url]).contains("node.region"));
    }
}
