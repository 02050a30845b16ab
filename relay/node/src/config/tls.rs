//! `[tls]`: the certificate of the stream listeners.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
