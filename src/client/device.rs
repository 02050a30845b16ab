//! A device of the command line: node, ticket and secret from files or from a control service, and a
//! path or the reason why not.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sterna_client::control::{Account, AccountError, Following};
use sterna_client::relay::{self, Event, Node, Packet, PeerState, Relay, Rung, Secret};
use sterna_control_api::relay_map::NodeState;
use sterna_control_api::{DeviceKey, NodeId, ParseIdError, RelayKey, Ticket};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::account;
use super::args::DeviceArgs;
use crate::Failure;

/// How long the node's farewell may take.
const FAREWELL: Duration = Duration::from_millis(50);

/// Who we are and where we go.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) key: DeviceKey,
    secret: Secret,
    ticket: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    /// The rungs that are wanted and that a node serves.
    pub(super) rungs: Vec<Rung>,
    /// Where all that comes from, if not from files.
    account: Option<Account>,
}

/// A device that has a path.
pub(super) struct Device {
    pub(super) relay: Arc<Relay>,
    pub(super) packets: mpsc::Receiver<Packet>,
    pub(super) events: mpsc::Receiver<Event>,
    /// Keeps ticket and nodes fresh.
    _following: Option<Following>,
}

impl Terms {
    /// Enrols with the control service, or reads the files.
    pub(super) async fn of(args: &DeviceArgs) -> Result<Self, Failure> {
        match &args.control {
            Some(url) => Self::enrolled(args, account::enrol(args, url).await?),
            None => Self::read(args),
        }
    }

    fn enrolled(args: &DeviceArgs, account: Account) -> Result<Self, Failure> {
        let nodes = account.nodes();
        if nodes.is_empty() {
            return Err(Failure::Failed(AccountError::NoNode.to_string()));
        }
        Ok(Self {
            key: account.device_key(),
            secret: account.relay_secret(),
            ticket: account.ticket().to_vec(),
            rungs: rungs(args, &nodes)?,
            nodes,
            account: Some(account),
        })
    }

    /// Reads the files and sees whether they belong together.
    fn read(args: &DeviceArgs) -> Result<Self, Failure> {
        let ticket = args.ticket.as_deref();
        let file = TicketFile::read(ticket.expect("invariant: asked for without --control"))?;
        let secret = secret(args, file.secret.as_deref())?;
        let claims = &file.claims;
        if secret.public() != claims.relay_key {
            return Err(Failure::Usage(
                "the secret is not the one that the ticket was made for; give the one that `sterna token ticket` printed \
                 beside it, or have a ticket made for this one with --relay-key"
                    .into(),
            ));
        }
        still_valid(claims)?;
        let nodes = nodes(args)?;
        Ok(Self {
            key: claims.device_key,
            secret,
            ticket: file.ticket,
            rungs: rungs(args, &nodes)?,
            nodes,
            account: None,
        })
    }

    /// The key of the other device, which is another one than ours.
    pub(super) async fn peer(
        &mut self,
        given: &str,
        patience: Duration,
    ) -> Result<DeviceKey, Failure> {
        let key = match (given.parse(), &mut self.account) {
            (Ok(key), _) => key,
            (Err(_), Some(account)) => {
                account::peer_by_name(account, given, Instant::now() + patience).await?
            }
            (Err(error), None) => Self::peer_of_file(given, error)?,
        };
        if key == self.key {
            return Err(Failure::Usage(
                "--peer is this device itself; give the other one's key".into(),
            ));
        }
        Ok(key)
    }

    fn peer_of_file(given: &str, error: ParseIdError) -> Result<DeviceKey, Failure> {
        if Path::new(given).is_file() {
            return Ok(TicketFile::read(Path::new(given))?.claims.device_key);
        }
        Err(Failure::Usage(format!(
            "--peer {given}: {error}, or a file of `sterna token ticket --json`"
        )))
    }

    /// Connects by the best of `rungs`.
    ///
    /// The failure says what each rung has met with.
    pub(super) async fn connect(
        &self,
        rungs: &[Rung],
        deadline: Instant,
    ) -> Result<Device, Failure> {
        let (relay, packets, events) = Relay::start(relay::Config {
            secret: self.secret.clone(),
            ticket: self.ticket.clone(),
            nodes: self.nodes.clone(),
            rungs: rungs.to_vec(),
        });
        let relay = Arc::new(relay);
        let follow = |account: &Account| Following::start(account.clone(), Arc::clone(&relay)).0;
        let mut device = Device {
            _following: self.account.as_ref().map(follow),
            relay: Arc::clone(&relay),
            packets,
            events,
        };
        drop(relay);
        let mut met: Vec<(Rung, String)> = Vec::new();
        loop {
            let event = tokio::select! {
                _ = device.relay.connected() => return Ok(device),
                event = timeout_at(deadline.into(), device.events.recv()) => event,
            };
            match event {
                Ok(Some(Event::Unreachable { rung, error, .. })) => {
                    met.retain(|(known, _)| *known != rung);
                    met.push((rung, error));
                }
                Ok(Some(Event::Refused { text, .. })) => return Err(refused(&text)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Err(self.unreachable(rungs, &met)),
            }
        }
    }

    fn unreachable(&self, rungs: &[Rung], met: &[(Rung, String)]) -> Failure {
        let mut text = "the node cannot be reached".to_owned();
        for rung in rungs {
            let addrs = self.nodes.iter().flat_map(|node| addrs(node, *rung));
            let addrs: Vec<_> = addrs.map(ToString::to_string).collect();
            let why = met.iter().find(|(known, _)| known == rung);
            let why = why.map_or("no answer", |(_, error)| error);
            let _ = write!(text, "\n  {} at {}: {why}", rung.as_str(), addrs.join(", "));
        }
        text.push_str(
            "\nSee whether it runs, whether these are its addresses and its key (`sterna token relay-node`), and whether the \
             networks between let UDP, or TCP, through",
        );
        Failure::Failed(text)
    }
}

impl Device {
    /// Opens a flow and waits until the other device is there.
    pub(super) async fn reach(
        &mut self,
        peer: DeviceKey,
        deadline: Instant,
    ) -> Result<(), Failure> {
        self.relay.open(peer).await;
        loop {
            match timeout_at(deadline.into(), self.events.recv()).await {
                Ok(Some(Event::Peer {
                    peer: of,
                    state: PeerState::Online,
                    ..
                })) if of == peer => return Ok(()),
                Ok(Some(Event::Refused { text, .. })) => return Err(refused(&text)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    return Err(Failure::Failed(format!(
                        "{peer} is not at this node: start the other device there, and see that the two tickets share \
                         tenant and group"
                    )));
                }
            }
        }
    }

    /// Says goodbye, and gives the words a moment to leave.
    pub(super) async fn leave(self) {
        drop(self);
        tokio::time::sleep(FAREWELL).await;
    }
}

/// What a ticket's file says.
struct TicketFile {
    ticket: Vec<u8>,
    claims: Ticket,
    secret: Option<String>,
}

impl TicketFile {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = read(path)?;
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let field = |name: &str| {
            let value = json.as_ref()?.get(name)?.as_str()?;
            Some(value.to_owned())
        };
        let ticket = field("ticket").unwrap_or_else(|| text.trim().to_owned());
        let ticket = Ticket::bytes_of_text(&ticket);
        let read = ticket.and_then(|ticket| Ok((Ticket::read_unverified(&ticket)?.0, ticket)));
        let (claims, ticket) = read.map_err(|error| {
            Failure::Usage(format!(
                "{}: {error}; it holds a ticket as `sterna token ticket` prints it, alone or with --json",
                path.display()
            ))
        })?;
        Ok(Self {
            ticket,
            claims,
            secret: field("relay_secret"),
        })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn secret(args: &DeviceArgs, beside_ticket: Option<&str>) -> Result<Secret, Failure> {
    let text = match (&args.secret, &args.secret_text, beside_ticket) {
        (Some(path), _, _) => read(path)?,
        (None, Some(text), _) => text.clone(),
        (None, None, Some(text)) => text.to_owned(),
        (None, None, None) => {
            return Err(Failure::Usage(
                "the ticket's file does not hold the relay key's secret; name its file with --secret, or put it into \
                 STERNA_CLIENT_SECRET"
                    .into(),
            ));
        }
    };
    let bytes: RelayKey = text
        .trim()
        .parse()
        .map_err(|error| Failure::Usage(format!("the relay key's secret: {error}")))?;
    Ok(Secret::new(bytes.0))
}

/// The node would refuse it too, after a while on the way.
fn still_valid(claims: &Ticket) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |now| now.as_secs());
    if claims.expires <= now_s {
        return Err(Failure::Failed(format!(
            "the ticket has expired {} s ago; `sterna token ticket` makes another one",
            now_s - claims.expires
        )));
    }
    Ok(())
}

/// The node's own word, with what helps.
fn refused(text: &str) -> Failure {
    let remedy = match text {
        text if text.contains("expired") => {
            "have another ticket made (`sterna token ticket`), and compare the clocks"
        }
        text if text.contains("fleet") => {
            "make the ticket for the node's fleet (`sterna config explain flow.fleet`)"
        }
        text if text.contains("key") || text.contains("signature") => {
            "make the ticket with a key whose public half is in the node's flow.ticket_keys"
        }
        text if text.contains("revoked") => "ask the node's operator",
        _ => "see the node's log",
    };
    Failure::Failed(format!("the node refuses this device: {text}; {remedy}"))
}

/// The rungs that are wanted and that a node serves.
fn rungs(args: &DeviceArgs, nodes: &[Node]) -> Result<Vec<Rung>, Failure> {
    let served = |rung: &Rung| nodes.iter().any(|node| serves(node, *rung));
    let wanted: Vec<_> = args.rungs.iter().map(|rung| rung.rung()).collect();
    let rungs: Vec<_> = Rung::ALL
        .into_iter()
        .filter(|rung| wanted.is_empty() || wanted.contains(rung))
        .filter(served)
        .collect();
    if rungs.is_empty() {
        return Err(Failure::Usage(
            "the node does not serve any of the rungs that were asked for; see its udp, quic and wss addresses".into(),
        ));
    }
    Ok(rungs)
}

fn nodes(args: &DeviceArgs) -> Result<Vec<Node>, Failure> {
    if let Some(noise_key) = args.node_key {
        return Ok(vec![Node {
            name: "node".to_owned(),
            // Its name only; the handshake proves the other key.
            identity: NodeId(noise_key.0),
            noise_key,
            state: NodeState::Ready,
            load: 0,
            stun: Vec::new(),
            udp: args.udp.clone(),
            quic: args.quic.clone(),
            wss: args.wss.clone(),
            host: String::new(),
            pins: Vec::new(),
        }]);
    }
    if args.nodes.is_empty() {
        return Err(Failure::Usage(
            "name the node: --node FILE (`sterna token relay-node` on its host prints one), or --node-key with --udp, --quic \
             or --wss"
                .into(),
        ));
    }
    let node = |path: &std::path::PathBuf| {
        serde_json::from_str(&read(path)?).map_err(|error| {
            Failure::Usage(format!(
                "{}: {error}; `sterna token relay-node` on the node's host prints what belongs there",
                path.display()
            ))
        })
    };
    args.nodes.iter().map(node).collect()
}

fn addrs(node: &Node, rung: Rung) -> &[std::net::SocketAddr] {
    match rung {
        Rung::Udp => &node.udp,
        Rung::Quic => &node.quic,
        Rung::Wss => &node.wss,
    }
}

fn serves(node: &Node, rung: Rung) -> bool {
    !addrs(node, rung).is_empty()
}
