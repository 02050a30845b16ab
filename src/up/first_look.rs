//! What `sterna up` makes up so that nobody has to: a user with a password, and a configuration.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sterna_control_api::SigningKey;
use sterna_relay::listeners::expand;

use super::fleet::{Fleet, REGION};
use crate::Failure;
use crate::token::random_password;

/// The generated configuration, and where it lies.
#[derive(Debug)]
pub(super) struct FirstLook {
    /// The file, to start an own one from.
    pub(super) config_file: PathBuf,
    /// Whether the policy lets the self-check's peer, which is on loopback, be reached.
    pub(super) allows_loopback_peers: bool,
    /// The address by which others know this host, where it is not its own.
    pub(super) external: Option<IpAddr>,
    /// What signs the tickets of the flow relay's devices.
    pub(super) ticket_key: SigningKey,
    /// The file that it lies in.
    pub(super) ticket_key_file: PathBuf,
    /// Where the node's description for devices goes.
    pub(super) node_file: PathBuf,
    /// Ports that were not to be had, in words.
    pub(super) notes: Vec<String>,
}

const CONFIG_FILE: &str = "first-look.toml";
const PASSWORD_FILE: &str = "first-look.password";
const TICKET_KEY_FILE: &str = "first-look.ticket-secret";
const NODE_FILE: &str = "first-look.node.json";
const USER: &str = "sterna";

/// Where QUIC and WebSocket are served, unless something else is: no privilege is needed there, and
/// nothing well known lives there.
const FLOW_PORT: u16 = 7443;

impl FirstLook {
    /// Writes the configuration of a first look into `data_dir`; the password and the key of tickets
    /// stay the same from start to start.
    pub(super) fn prepare(
        data_dir: &Path,
        public: Option<IpAddr>,
        fleet: Option<&Fleet>,
    ) -> Result<Self, Failure> {
        let remedy = "name a directory that you may write with --data-dir";
        let failed = |error: io::Error| {
            Failure::Failed(format!(
                "cannot keep data in {}: {error}; {remedy}",
                data_dir.display()
            ))
        };
        fs::create_dir_all(data_dir).map_err(failed)?;
        let password = kept(&data_dir.join(PASSWORD_FILE), random_password).map_err(failed)?;
        let ticket_key_file = data_dir.join(TICKET_KEY_FILE);
        let new_key = || {
            SigningKey::from_seed(&rand::random())
                .to_secret_text()
                .to_string()
        };
        let ticket_key = kept(&ticket_key_file, new_key).map_err(failed)?;
        let ticket_key: SigningKey = ticket_key.parse().map_err(|error| {
            let file = ticket_key_file.display();
            Failure::Failed(format!("{file}: {error}; remove it to have a new one made"))
        })?;
        let config_file = data_dir.join(CONFIG_FILE);
        let reach = match public {
            None => loopback(),
            Some(address) => reach_of(address)?,
        };
        let flow = FlowPorts::choose(&reach.listen);
        let control = fleet.map_or(String::new(), control_text);
        let text = config_text(data_dir, &password, &reach, &ticket_key, &flow, &control);
        // A new file each time: an old one may have another owner's mode.
        let _ = fs::remove_file(&config_file);
        write_private(&config_file, &text).map_err(failed)?;
        Ok(Self {
            config_file,
            allows_loopback_peers: reach.allow_loopback,
            external: reach.external.map(|(_, outside)| outside),
            ticket_key,
            ticket_key_file,
            node_file: data_dir.join(NODE_FILE),
            notes: flow.notes,
        })
    }
}

/// The ports of the flow relay's outer rungs.
struct FlowPorts {
    quic: u16,
    wss: u16,
    notes: Vec<String>,
}

impl FlowPorts {
    /// [`FLOW_PORT`] where it is free on every address, else whatever the system gives.
    fn choose(listen: &[IpAddr]) -> Self {
        let free = |bind: fn(SocketAddr) -> bool| {
            let mut addrs = listen.iter().map(|ip| SocketAddr::new(*ip, FLOW_PORT));
            addrs.all(bind)
        };
        let rungs = [
            ("UDP", "quic", free(|addr| UdpSocket::bind(addr).is_ok())),
            ("TCP", "wss", free(|addr| TcpListener::bind(addr).is_ok())),
        ];
        let taken = rungs.iter().filter(|(_, _, is_free)| !is_free);
        let notes = taken.map(|(transport, rung, _)| {
            format!(
                "{transport} port {FLOW_PORT} is taken, so the flow relay's {rung} is on another one; `--set \
                 'flow.{rung}_listen=[\"ADDRESS:PORT\"]'` chooses it"
            )
        });
        let port = |is_free| if is_free { FLOW_PORT } else { 0 };
        Self {
            notes: notes.collect(),
            quic: port(rungs[0].2),
            wss: port(rungs[1].2),
        }
    }
}

/// The sections that depend on who is to be served.
struct Reach {
    listen: Vec<IpAddr>,
    external: Option<(IpAddr, IpAddr)>,
    allow_loopback: bool,
}

fn loopback() -> Reach {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let mut listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    if UdpSocket::bind(SocketAddr::new(v6, 0)).is_ok() {
        listen.push(v6);
    }
    Reach {
        listen,
        external: None,
        allow_loopback: true,
    }
}

/// Listens on the address itself, or, behind a one-to-one NAT, on the one that it stands for.
fn reach_of(public: IpAddr) -> Result<Reach, Failure> {
    let wildcard = match public {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let local: Vec<IpAddr> = expand(wildcard)
        .into_iter()
        .filter(|ip| !ip.is_loopback())
        .collect();
    match local.as_slice() {
        _ if local.contains(&public) => Ok(Reach {
            listen: vec![public],
            external: None,
            allow_loopback: false,
        }),
        [one] => Ok(Reach {
            listen: vec![*one],
            external: Some((*one, public)),
            allow_loopback: false,
        }),
        [] => Err(Failure::Usage(format!(
            "--public {public}: this host has no address of that family to listen on"
        ))),
        several => Err(Failure::Usage(format!(
            "--public {public} is not an address of this host, which has {several:?}; say which one stands for it in a \
             configuration of your own, as turn.external_addresses"
        ))),
    }
}

/// The control service's sections: it runs in the same process, and ends with it.
fn control_text(fleet: &Fleet) -> String {
    format!(
        "\n# The control service of this first look, which ends with it.\n\
         [control]\nurl = {:?}\njoin_token_file = {:?}\n",
        fleet.url(),
        fleet.join_token_file,
    )
}

fn config_text(
    data_dir: &Path,
    password: &str,
    reach: &Reach,
    ticket_key: &SigningKey,
    flow: &FlowPorts,
    control: &str,
) -> String {
    let listen = |port: u16| {
        let addrs = reach
            .listen
            .iter()
            .map(|ip| format!("{:?}", SocketAddr::new(*ip, port).to_string()));
        addrs.collect::<Vec<_>>().join(", ")
    };
    let external = reach.external.map_or(String::new(), |(inside, outside)| {
        format!("external_addresses = {{ \"{inside}\" = \"{outside}\" }}\n")
    });
    let peers = if reach.allow_loopback {
        "\n# For the self-check only, whose peer is on this host. Leave it out when others use the node.\n\
         [peers]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\n"
    } else {
        ""
    };
    format!(
        "# Written by `sterna up` at every start. Copy it to begin a configuration of your own:\n\
         #   sterna relay --config COPY\n\
         [node]\ndata_dir = {data_dir:?}\nregion = {REGION:?}\n\n\
         [turn]\nlisten = [{plain}]\ntls_listen = [{tls}]\n{external}\n\
         [auth]\nusers = [{{ name = \"{USER}\", password = \"{password}\" }}]\n{peers}\n\
         # Devices with a ticket of the key in {TICKET_KEY_FILE} meet here.\n\
         [flow]\nticket_keys = [\"{ticket_key}\"]\nquic_listen = [{quic}]\nwss_listen = [{wss}]\n{control}\n\
         [log]\nlevel = \"warn\"\n",
        plain = listen(3478),
        tls = listen(5349),
        quic = listen(flow.quic),
        wss = listen(flow.wss),
        ticket_key = ticket_key.verifying_key(),
    )
}

/// The secret of the last start, or a new one.
pub(super) fn kept(file: &Path, make: impl Fn() -> String) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => fs::remove_file(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let made = make();
    write_private(file, &made)?;
    Ok(made)
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text.as_bytes())
}
