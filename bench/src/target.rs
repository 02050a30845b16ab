//! Which server is measured, how it is reached, and as whom.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde::Serialize;
use sterna_stun::credentials::rest_password;
use sterna_turn::client::Credentials;

use crate::BenchError;
use crate::tls::Trust;

/// How long credentials that are made from a secret are good for.
const SECRET_CREDENTIALS_LAST: Duration = Duration::from_secs(24 * 3600);

/// The server that is measured.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The TURN server, as HOST:PORT.
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,

    /// What carries the packets between client and server.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,

    /// User name of a long-term credential; with --secret, the label of the time-limited name.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Password of --user.
    #[arg(
        long,
        value_name = "WORD",
        conflicts_with = "secret",
        requires = "user"
    )]
    pub password: Option<String>,

    /// Shared secret of the server's time-limited credentials (TURN REST).
    #[arg(
        long,
        value_name = "WORD",
        env = "STERNA_BENCH_SECRET",
        hide_env_values = true
    )]
    pub secret: Option<String>,

    /// Certificate (PEM) that the server's certificate must come from; without it the system's
    /// roots are not asked either: give this, or --insecure.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Name that the server's certificate must carry; without it the host of --server.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,

    /// Accept any certificate: right for a test of speed, wrong for anything else.
    #[arg(long)]
    pub insecure: bool,
}

/// What carries the packets between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

impl Target {
    /// The server's address: the first that the name stands for.
    pub fn addr(&self) -> Result<SocketAddr, BenchError> {
        let unknown = |why: String| BenchError::UnknownServer {
            server: self.server.clone(),
            why,
        };
        let mut addrs = self
            .server
            .to_socket_addrs()
            .map_err(|error| unknown(error.to_string()))?;
        addrs
            .next()
            .ok_or_else(|| unknown("the name has no address".to_owned()))
    }

    /// The credentials that the arguments give, if any.
    pub fn credentials(&self) -> Option<Credentials> {
        if let Some(secret) = &self.secret {
            return Some(time_limited(
                secret,
                self.user.as_deref().unwrap_or("bench"),
            ));
        }
        Some(Credentials {
            username: self.user.clone()?,
            password: self.password.clone()?,
        })
    }

    /// Whom a TLS client of this server believes.
    pub(crate) fn trust(&self) -> Result<Trust, BenchError> {
        match &self.ca {
            Some(file) => Ok(Trust::Authority(file.clone())),
            None if self.insecure => Ok(Trust::Anybody),
            None => Err(BenchError::Usage(
                "--transport tls needs --ca FILE or --insecure",
            )),
        }
    }

    /// The host part of `--server`: what a certificate is checked against.
    pub fn host(&self) -> &str {
        let host = self
            .server
            .rsplit_once(':')
            .map_or(self.server.as_str(), |(host, _)| host);
        self.server_name
            .as_deref()
            .unwrap_or_else(|| host.trim_matches(['[', ']']))
    }
}

/// The time-limited credentials of `label`, good for a day from now.
fn time_limited(secret: &str, label: &str) -> Credentials {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let expiry = (since_epoch + SECRET_CREDENTIALS_LAST).as_secs();
    let username = format!("{expiry}:{label}");
    let password = rest_password(secret.as_bytes(), &username).to_string();
    Credentials { username, password }
}

/// The address from which this host would send to `to`. Asks the routing table, sends nothing.
pub(crate) fn local_addr_towards(to: SocketAddr) -> std::io::Result<std::net::IpAddr> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}
