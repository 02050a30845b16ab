//! `[tls]`: the certificate of the stream listeners.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[tls]` section. Both keys or neither; neither is a self-signed certificate in
/// `node.data_dir`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
}
