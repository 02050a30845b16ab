//! What `sterna up` makes up so that nobody has to: a user with a password, and a configuration.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sterna_relay::listeners::expand;

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
}

const CONFIG_FILE: &str = "first-look.toml";
const PASSWORD_FILE: &str = "first-look.password";
const USER: &str = "sterna";

impl FirstLook {
    /// Writes the configuration of a first look into `data_dir`; the password stays the same from
    /// start to start.
    pub(super) fn prepare(data_dir: &Path, public: Option<IpAddr>) -> Result<Self, Failure> {
        let remedy = "name a directory that you may write with --data-dir";
        let failed = |error: io::Error| {
            Failure::Failed(format!(
                "cannot keep data in {}: {error}; {remedy}",
                data_dir.display()
            ))
        };
        fs::create_dir_all(data_dir).map_err(failed)?;
        let password = password(&data_dir.join(PASSWORD_FILE)).map_err(failed)?;
        let config_file = data_dir.join(CONFIG_FILE);
        let reach = match public {
            None => loopback(),
            Some(address) => reach_of(address)?,
        };
        let text = config_text(data_dir, &password, &reach);
        // A new file each time: an old one may have another owner's mode.
        let _ = fs::remove_file(&config_file);
        write_private(&config_file, &text).map_err(failed)?;
        Ok(Self {
            config_file,
            allows_loopback_peers: reach.allow_loopback,
            external: reach.external.map(|(_, outside)| outside),
        })
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

fn config_text(data_dir: &Path, password: &str, reach: &Reach) -> String {
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
         [node]\ndata_dir = {data_dir:?}\n\n\
         [turn]\nlisten = [{plain}]\ntls_listen = [{tls}]\n{external}\n\
         [auth]\nusers = [{{ name = \"{USER}\", password = \"{password}\" }}]\n{peers}\n\
         [log]\nlevel = \"warn\"\n",
        plain = listen(3478),
        tls = listen(5349),
    )
}

/// The password of the last start, or a new one.
fn password(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => {
            fs::remove_file(file)?;
            new_password(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => new_password(file),
        Err(error) => Err(error),
    }
}

fn new_password(file: &Path) -> io::Result<String> {
    let password = random_password();
    write_private(file, &password)?;
    Ok(password)
}

/// Writes a file that only its owner can read.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text.as_bytes())
}
