//! A device's registration: what it is told, and what it asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sterna_control_api::credentials::{TicketRequest, TurnCredentials, TurnRequest};
use sterna_control_api::device::{
    DeviceMetrics, DeviceRegistered, NatReport, Netmap, RegisterDevice,
};
use sterna_control_api::relay_map::Node;
use sterna_control_api::{
    DeviceId, DeviceKey, KeyError, KeySet, MapError, NodeId, RelayMap, SignedRelayMap, TenantId,
    Ticket, TicketError,
};
use sterna_control_client::{CallError, Caller, ConfigError, ControlClient, Options, Socket};
use sterna_flow::{Rung, Secret};

use super::choice::nodes_of;
use super::keys::DeviceKeys;
use crate::relay;

/// How a device reaches its service, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where the service is.
    pub url: String,
    /// The key that lets it in, the first time.
    pub enrolment_key: Option<String>,
    /// The device's name, for people.
    pub name: String,
    /// What it found out about its network.
    pub nat: NatReport,
    /// How the service is reached.
    pub options: Options,
}

/// What can go wrong between a device and its service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The service cannot be called as the terms say.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A call has come to nothing.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The relay map is not to be believed.
    #[error("the relay map of the control service: {0}")]
    Map(#[from] MapError),
    /// The keys that sign maps are none.
    #[error("the keys of the control service: {0}")]
    Keys(#[from] KeyError),
    /// The ticket is none.
    #[error("the ticket of the control service: {0}")]
    Ticket(#[from] TicketError),
    /// No node of the fleet serves flows now.
    #[error("the fleet has no node that is ready; `sterna nodes list` shows them")]
    NoNode,
}

/// A ticket, and when it runs out.
#[derive(Clone, Debug)]
pub(super) struct FreshTicket {
    pub(super) bytes: Vec<u8>,
    pub(super) claims: Ticket,
}

impl FreshTicket {
    /// How long it is valid from now on.
    pub(super) fn left(&self) -> Duration {
        Duration::from_secs(self.claims.expires.saturating_sub(unix_s()))
    }
}

/// A device that is registered.
#[derive(Clone, Debug)]
pub struct Account {
    client: ControlClient,
    keys: DeviceKeys,
    terms: Terms,
    registered: DeviceRegistered,
    verifying: KeySet,
    ticket: FreshTicket,
    map: RelayMap,
}

impl Account {
    /// Registers the device, and fetches its ticket.
    ///
    /// # Errors
    /// [`AccountError`]; of a refusal the service's own word.
    pub async fn enrol(keys: DeviceKeys, terms: Terms) -> Result<Self, AccountError> {
        let caller = Caller::Device(keys.identity.clone());
        let client = ControlClient::new(&terms.url, caller, &terms.options)?;
        let registered = register(&client, &keys, &terms, terms.enrolment_key.as_deref()).await?;
        let verifying = KeySet::new(registered.keys.iter().copied())?;
        let ticket = fetch_ticket(&client).await?;
        let map = verified(&registered.relay_map, &verifying, &ticket, 0)?;
        Ok(Self {
            client,
            keys,
            terms,
            registered,
            verifying,
            ticket,
            map,
        })
    }

    /// The device's registration.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.registered.id
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.registered.tenant
    }

    /// The name by which its peers know the device.
    #[must_use]
    pub fn device_key(&self) -> DeviceKey {
        self.keys.device_key()
    }

    /// Whom it may talk to, as of the last look.
    #[must_use]
    pub fn netmap(&self) -> &Netmap {
        &self.registered.netmap
    }

    /// The relay map, verified.
    #[must_use]
    pub fn relay_map(&self) -> &RelayMap {
        &self.map
    }

    /// The ticket, as a node is shown it.
    #[must_use]
    pub fn ticket(&self) -> &[u8] {
        &self.ticket.bytes
    }

    /// The private half of its relay key.
    #[must_use]
    pub fn relay_secret(&self) -> Secret {
        self.keys.relay.clone()
    }

    /// The nodes that the device is at home on, the home first; those of a tenant choose alike.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        nodes_of(&self.map, self.registered.tenant)
    }

    /// What a [`Relay`](relay::Relay) needs.
    ///
    /// # Errors
    /// [`AccountError::NoNode`].
    pub fn relay_config(&self, rungs: Vec<Rung>) -> Result<relay::Config, AccountError> {
        let nodes = self.nodes();
        if nodes.is_empty() {
            return Err(AccountError::NoNode);
        }
        Ok(relay::Config {
            secret: self.keys.relay.clone(),
            ticket: self.ticket.bytes.clone(),
            nodes,
            rungs,
        })
    }

    /// Time-limited TURN credentials.
    ///
    /// # Errors
    /// As any call.
    pub async fn turn_credentials(
        &self,
        request: &TurnRequest,
    ) -> Result<TurnCredentials, AccountError> {
        Ok(self.client.turn_credentials(request).await?)
    }

    /// Fetches a new ticket.
    ///
    /// # Errors
    /// As any call; the old ticket stays.
    pub async fn renew_ticket(&mut self) -> Result<(), AccountError> {
        self.ticket = fetch_ticket(&self.client).await?;
        Ok(())
    }

    /// Fetches the relay map, if there is a newer one; tells whether there was. A map of a key that the
    /// device does not know has it ask which ones count.
    ///
    /// # Errors
    /// As any call, or a map that is not to be believed; the old map stays.
    pub async fn refresh_map(&mut self) -> Result<bool, AccountError> {
        let Some(signed) = self.client.relay_map(Some(self.map.version)).await? else {
            return Ok(false);
        };
        let seen = self.map.version;
        let map = match verified(&signed, &self.verifying, &self.ticket, seen) {
            Err(AccountError::Map(MapError::UnknownKey)) => {
                self.registered = register(&self.client, &self.keys, &self.terms, None).await?;
                self.verifying = KeySet::new(self.registered.keys.iter().copied())?;
                verified(
                    &self.registered.relay_map,
                    &self.verifying,
                    &self.ticket,
                    seen,
                )?
            }
            verified => verified?,
        };
        let newer = map.version != seen;
        self.map = map;
        Ok(newer)
    }

    /// Asks whom the device may talk to now.
    ///
    /// # Errors
    /// As any call.
    pub async fn refresh_netmap(&mut self) -> Result<(), AccountError> {
        let known = self.registered.netmap.version;
        if let Some(netmap) = self.client.netmap(&self.registered.id, Some(known)).await? {
            self.registered.netmap = netmap;
        }
        Ok(())
    }

    /// Tells the service which node the device is at home on.
    ///
    /// # Errors
    /// As any call.
    pub async fn report_home(&self, node: NodeId) -> Result<(), AccountError> {
        let known = self.map.nodes().find(|known| known.identity == node);
        let metrics = DeviceMetrics {
            home: known.map_or_else(String::new, |known| known.name.clone()),
            ..DeviceMetrics::default()
        };
        Ok(self.client.device_metrics(&metrics).await?)
    }

    pub(super) fn fresh_ticket(&self) -> &FreshTicket {
        &self.ticket
    }

    pub(super) async fn socket(&self) -> Result<Socket, CallError> {
        self.client.socket().await
    }
}

async fn register(
    client: &ControlClient,
    keys: &DeviceKeys,
    terms: &Terms,
    enrolment_key: Option<&str>,
) -> Result<DeviceRegistered, CallError> {
    let request = RegisterDevice {
        identity: keys.device_identity(),
        device_key: keys.device_key(),
        relay_key: keys.relay.public(),
        name: terms.name.clone(),
        platform: std::env::consts::OS.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nat: terms.nat.clone(),
    };
    client.register_device(&request, enrolment_key).await
}

async fn fetch_ticket(client: &ControlClient) -> Result<FreshTicket, AccountError> {
    let issued = client.relay_ticket(&TicketRequest::default()).await?;
    let bytes = Ticket::bytes_of_text(&issued.ticket)?;
    let (claims, _) = Ticket::read_unverified(&bytes)?;
    Ok(FreshTicket { bytes, claims })
}

/// The fleet is the one that the device's ticket is made out to.
fn verified(
    signed: &SignedRelayMap,
    keys: &KeySet,
    ticket: &FreshTicket,
    seen: u64,
) -> Result<RelayMap, AccountError> {
    Ok(signed.verify(keys, &ticket.claims.audience, unix_s(), seen)?)
}

fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
