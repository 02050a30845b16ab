//! What the machine is told: plain values, converted by the node from its configuration file.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use sterna_stun::nonce::{Features, NonceKeys};

use crate::{
    Alternates, Discovery, Limits, OAuth, Policy, PolicyConfig, Rules, Transport, Users,
    limits::{
        LIFETIME_DEFAULT_S, REALM_BYTES_MAX, REALM_BYTES_WITH_ALGORITHMS_MAX, SOFTWARE_BYTES_MAX,
    },
};

/// The configuration of a [`crate::Server`].
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The realm of the long-term credentials; at most [`REALM_BYTES_MAX`] bytes.
    pub realm: Box<str>,
    /// SOFTWARE in authenticated answers and on streams; empty: none.
    pub software: Box<str>,
    /// Every address and port that TURN is served on.
    pub listeners: Vec<SocketAddr>,
    /// Where NAT behaviour discovery is served, at most one a family; empty: nowhere.
    pub discovery: Vec<Discovery>,
    /// The addresses that relay sockets are opened on; empty: those of `listeners`.
    pub relay_addresses: Vec<IpAddr>,
    /// Internal and public forms of relay addresses, where they differ.
    pub external_addresses: Vec<(IpAddr, IpAddr)>,
    /// The ports that relay sockets are opened on.
    pub relay_ports: RangeInclusive<u16>,
    /// The longest lifetime that is granted at a time, in seconds.
    pub lifetime_max_s: u32,
    /// The longest that an allocation lives, however often it is refreshed, in seconds; 0: no end.
    pub session_max_s: u32,
    /// The static users.
    pub users: Arc<Users>,
    /// The secrets of time-limited credentials, newest first.
    pub secrets: Vec<Box<str>>,
    /// The keys that authorisation servers seal tokens with (RFC 7635).
    pub oauth: Arc<OAuth>,
    /// Offers the password algorithms SHA-256 and MD5 where there is room for the offer, and lets
    /// names be hashed where all of them can be recognised. Otherwise MD5 goes without saying.
    pub password_algorithms: bool,
    /// Where clients are sent that get no allocation here.
    pub alternates: Alternates,
    /// Asks nobody for credentials.
    pub open_relay: bool,
    /// Lets clients bind the channel numbers of RFC 5766, 0x4000–0x7FFF, not only those of RFC 8656.
    pub rfc5766_channels: bool,
    /// Gives tickets to clients that ask, with which they take their allocation along to another
    /// address (RFC 8016). Never on an open relay, where nobody can be told from anybody else.
    pub mobility: bool,
    /// Serves TCP allocations (RFC 6062) to clients over TCP and TLS.
    pub tcp_allocations: bool,
    /// The keys of the stateless nonces.
    pub nonce_keys: NonceKeys,
    /// What time it is, in the world's terms.
    pub epoch: Epoch,
    /// Which peers may be reached.
    pub policy: Arc<Policy>,
    /// What differs for single accounts.
    pub rules: Arc<Rules>,
    /// The caps.
    pub limits: Limits,
}

impl ServerConfig {
    /// The defaults: no listener, no user, no secret; the built-in peer policy and limits.
    ///
    /// What is added to this type has its default here, so that those who do not care need not change.
    #[must_use]
    pub fn new(realm: &str, nonce_keys: NonceKeys, epoch: Epoch) -> Self {
        Self {
            realm: realm.into(),
            software: "".into(),
            listeners: Vec::new(),
            discovery: Vec::new(),
            relay_addresses: Vec::new(),
            external_addresses: Vec::new(),
            relay_ports: 49_152..=65_535,
            lifetime_max_s: 3600,
            session_max_s: 0,
            users: Arc::new(Users::default()),
            secrets: Vec::new(),
            oauth: Arc::new(OAuth::default()),
            password_algorithms: true,
            alternates: Alternates::default(),
            open_relay: false,
            rfc5766_channels: false,
            mobility: true,
            tcp_allocations: false,
            nonce_keys,
            epoch,
            policy: Arc::new(Policy::new(&PolicyConfig::default())),
            rules: Arc::default(),
            limits: Limits::default(),
        }
    }

    /// Checks what cannot be checked by types.
    ///
    /// # Errors
    /// The first thing that keeps the machine from working as promised.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.realm.is_empty() || self.realm.len() > REALM_BYTES_MAX {
            return Err(ConfigError::Realm(self.realm.len()));
        }
        if self.software.len() > SOFTWARE_BYTES_MAX {
            return Err(ConfigError::Software(self.software.len()));
        }
        if self.relay_ports.is_empty() {
            return Err(ConfigError::NoRelayPorts);
        }
        if *self.relay_ports.start() < 1024 {
            return Err(ConfigError::LowRelayPorts(*self.relay_ports.start()));
        }
        if self.lifetime_max_s < LIFETIME_DEFAULT_S {
            return Err(ConfigError::Lifetime(self.lifetime_max_s));
        }
        if !self.open_relay
            && self.users.is_empty()
            && self.secrets.is_empty()
            && self.oauth.is_empty()
        {
            return Err(ConfigError::NoCredentials);
        }
        Ok(())
    }

    /// What nonces for clients of a transport announce.
    pub(crate) fn features(&self, transport: Transport) -> Features {
        if !self.password_algorithms {
            return Features::NONE;
        }
        Features {
            // Streams have proved their address: their answers may be of any size.
            password_algorithms: transport.is_stream()
                || self.realm.len() <= REALM_BYTES_WITH_ALGORITHMS_MAX,
            // RFC 8489 §9.2.5: who sees this bit must not send a name, and a time-limited name
            // cannot be told from its hash.
            username_anonymity: self.secrets.is_empty(),
        }
    }

    /// Tells whether clients may move. RFC 8016 §5: without credentials "the TURN client and server
    /// MUST fail and not proceed with TURN mobility".
    pub(crate) fn allows_mobility(&self) -> bool {
        self.mobility && !self.open_relay
    }

    /// The addresses that relay sockets are opened on.
    pub(crate) fn relay_ips(&self) -> Vec<IpAddr> {
        let mut ips = self.relay_addresses.clone();
        if ips.is_empty() {
            ips.extend(self.listeners.iter().map(SocketAddr::ip));
        }
        let mut seen = Vec::with_capacity(ips.len());
        ips.retain(|ip| {
            let new = !ip.is_unspecified() && !seen.contains(ip);
            seen.push(*ip);
            new
        });
        ips
    }

    /// The form of a relay address that clients are told.
    pub(crate) fn external(&self, internal: IpAddr) -> IpAddr {
        let pair = self
            .external_addresses
            .iter()
            .find(|(inside, _)| *inside == internal);
        pair.map_or(internal, |(_, outside)| *outside)
    }
}

/// A configuration that the machine cannot work with; the text names the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The realm would make answers to strangers larger than the amplification budget.
    #[error("the realm has {0} bytes; give it 1 to {REALM_BYTES_MAX}")]
    Realm(usize),
    /// The software name does not fit.
    #[error("the software name has {0} bytes; give it at most {SOFTWARE_BYTES_MAX}")]
    Software(usize),
    /// There is no port to relay on.
    #[error("the range of relay ports is empty; give it as \"49152-65535\"")]
    NoRelayPorts,
    /// Relay ports must not be privileged.
    #[error("relay ports begin at {0}; begin at 1024 or above")]
    LowRelayPorts(u16),
    /// RFC 8656 §7.2 raises shorter lifetimes to the default.
    #[error("the longest lifetime is {0} s; give it at least {LIFETIME_DEFAULT_S}")]
    Lifetime(u32),
    /// Without credentials the node would relay for anybody.
    #[error("no users, secrets or OAuth keys: add some, or say open_relay if anybody may relay")]
    NoCredentials,
}

/// Connects the monotonic clock with the world's: one moment, read on both.
#[derive(Copy, Clone, Debug)]
pub struct Epoch {
    /// The moment, monotonic.
    pub instant: Instant,
    /// The same moment in seconds since 1970.
    pub unix_s: u64,
}

impl Epoch {
    /// Seconds since 1970 at `now`.
    #[must_use]
    pub fn unix_s(&self, now: Instant) -> u64 {
        let ahead = now.saturating_duration_since(self.instant);
        let behind = self.instant.saturating_duration_since(now);
        let behind_s = behind.as_secs() + u64::from(behind > Duration::from_secs(behind.as_secs()));
        (self.unix_s + ahead.as_secs()).saturating_sub(behind_s)
    }
}
