//! `sterna up`: a first look at the whole thing, on embedded defaults.
//!
//! Starts one node with generated credentials, relays real packets through its own public
//! listeners, and says what was measured and what to do next.

mod first_look;
mod summary;

use std::net::SocketAddr;

use sterna_bench::self_check::{self, Report, SelfCheck};
use sterna_bench::{Credentials, Trust};
use sterna_relay::config::Config;
use sterna_relay::log;
use sterna_relay::node::{Addresses, Node};

use self::first_look::FirstLook;
use crate::Failure;
use crate::cli::{ConfigArgs, UpArgs};
use crate::relay::{runtime, source};

/// Starts the node, checks it, prints the summary, and stays up until a signal.
pub(crate) fn run(args: &UpArgs) -> Result<(), Failure> {
    let look = FirstLook::prepare(&args.data_dir, args.public)?;
    let from = ConfigArgs {
        config: Some(look.config_file.clone()),
        set: args.set.clone(),
    };
    let config = crate::config::load(&from).map_err(|error| Failure::Usage(error.to_string()))?;
    let log = log::init(&config.log).map_err(|error| Failure::Failed(error.to_string()))?;
    runtime()?.block_on(async {
        let credentials = credentials(&config);
        let node = Node::start(config, source(&from), Some(log)).await;
        let node = node.map_err(|error| Failure::Failed(error.to_string()))?;
        let report = match (&credentials, look.allows_loopback_peers) {
            (Some(credentials), true) => Some(check(&node, credentials.clone()).await?),
            _ => None,
        };
        summary::print(args, &look, &node, credentials.as_ref(), report.as_ref())?;
        let good = report.as_ref().is_none_or(Report::is_good);
        if args.once {
            node.stop().await;
        } else {
            node.run()
                .await
                .map_err(|error| Failure::Failed(error.to_string()))?;
        }
        if good {
            Ok(())
        } else {
            Err(Failure::Failed(
                "the self-check failed; see its lines above".into(),
            ))
        }
    })
}

/// The user that the summary shows: the configuration's first.
fn credentials(config: &Config) -> Option<Credentials> {
    let user = config.auth.users.first()?;
    Some(Credentials {
        username: user.name.clone(),
        password: user.password.expose().to_owned(),
    })
}

/// Relays packets through each transport of the node.
async fn check(node: &Node, credentials: Credentials) -> Result<Report, Failure> {
    let Addresses { udp, tcp, tls, .. } = node.addresses();
    let check = SelfCheck {
        udp: first(udp),
        tcp: first(tcp),
        // The plain port serves TLS too, where there is no listener for nothing else.
        tls: first(tls).or_else(|| first(tcp)),
        trust: Trust::Certificate(node.certificate()),
        server_name: "localhost".into(),
        credentials,
    };
    self_check::run(&check, |_progress| {})
        .await
        .map_err(|error| Failure::Failed(format!("the self-check: {error}")))
}

/// The address that is shown and tried: IPv4 where there is one.
fn first(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    addrs
        .iter()
        .find(|addr| addr.is_ipv4())
        .or_else(|| addrs.first())
        .copied()
}
