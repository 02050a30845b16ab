//! `[tls]`: the certificate of the stream listeners.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

use super::acme::Acme;

/// The `[tls]` section. Certificate and key or neither; without them a certificate is obtained by
/// ACME where that is configured, and else a self-signed one is made in `node.data_dir`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
    /// Where to obtain a certificate instead.
    pub acme: Option<Acme>,
}

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "tls",
    about: "The certificate of the TLS listeners: files, or `acme`; without either, a self-signed one is made in `node.data_dir`. The files are watched: a renewed certificate is served within some ten seconds, once both files fit each other.",
    keys: &[
        Key {
            path: "tls.certificate",
            meaning: "PEM file with the certificate and its chain.",
            kind: Kind::Path,
            advice: "together with `tls.key`; both are read again on reload, and when they have changed",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "tls.key",
            meaning: "PEM file with the private key of the certificate.",
            kind: Kind::Path,
            advice: "readable by the node's user only",
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "tls.acme",
            meaning: "Obtain the certificate from an ACME authority (RFC 8555) instead, and renew it at two thirds of its life; setting this agrees to the authority's terms. `domains`: names, or addresses, that lead to this node. `directory`: the authority's URL (Let's Encrypt's by default). `contact`: mail addresses. `challenge`: `\"tls-alpn-01\"` (the default; the authority connects to port 443, which turn.tls_listen or a forwarded port must serve) or `\"http-01\"` (port 80, answered on `http_listen`, by default port 80 of every address). `ca_file`: roots for the directory's own certificate instead of the system's. `profile`: what to order where there are several. `external_account = { key_id, hmac_key }`: where the authority asks for one. Account and certificate are kept in `node.data_dir`/acme. Until the first certificate has come, a self-signed one is served.",
            kind: Kind::Table("{ domains = [\"relay.example.org\"] }"),
            advice: "{ domains = [\"relay.example.org\"], contact = [\"ops@example.org\"] }, first with the authority's staging directory",
            ..Key::PLAIN
        },
    ],
};
