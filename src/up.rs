//! `sterna up`: a first look at the whole thing, on embedded defaults.
//!
//! Starts a control service and one node that registers with it, relays real packets through the node's
//! own public listeners with credentials that a device would get, and says what was measured and what
//! to do next.

mod first_look;
mod fleet;
mod flow;
mod summary;

use std::net::SocketAddr;

use sterna_bench::self_check::{self, Report, SelfCheck};
use sterna_bench::{Credentials, Trust};
use sterna_daemon::log;
use sterna_relay::config::Config;
use sterna_relay::node::{Addresses, Node};

use self::first_look::FirstLook;
use self::fleet::Fleet;
use self::flow::FlowLook;
use crate::Failure;
use crate::cli::{ConfigArgs, UpArgs};
use crate::relay::{runtime, source};

/// Starts the node, checks it, prints the summary, and stays up until a signal.
pub(crate) fn run(args: &UpArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let fleet = match has_own_service(args) {
            true => None,
            false => Some(Fleet::start(&args.data_dir).await?),
        };
        let done = look(args, fleet.as_ref()).await;
        // Behind the node, whose farewell it may still hear.
        if let Some(fleet) = fleet {
            fleet.stop().await;
        }
        done
    })
}

/// Whether the node is to belong to somebody else's service, or to none.
fn has_own_service(args: &UpArgs) -> bool {
    sets_service(args) || std::env::var_os("STERNA_CONTROL_URL").is_some()
}

fn sets_service(args: &UpArgs) -> bool {
    let mut sets = args.set.iter().map(|set| set.trim_start());
    sets.any(|set| set.starts_with("control."))
}

/// Why no control service was started, and what that means for the node.
fn whose_service(args: &UpArgs, config: &Config) -> String {
    let control = &config.control;
    let (because, otherwise) = if sets_service(args) {
        ("--set control.…", "leave that out")
    } else {
        ("STERNA_CONTROL_URL", "unset it")
    };
    if !control.is_on() {
        return format!(
            "no control service was started, since {because} names none; {otherwise} to have one here"
        );
    }
    let token = if control.join_token.is_some() || control.join_token_file.is_some() {
        "`sterna nodes list` shows whether it has joined"
    } else {
        "where that does not know it yet, STERNA_CONTROL_JOIN_TOKEN lets it in (`sterna token join`)"
    };
    format!(
        "no control service was started, since {because} names the one at {}, to which the node belongs: {token}; \
         {otherwise} to have one here",
        control.url
    )
}

/// Everything but the control service.
async fn look(args: &UpArgs, fleet: Option<&Fleet>) -> Result<(), Failure> {
    if let Some(fleet) = fleet {
        fleet.invite_node().await?;
    }
    let mut look = FirstLook::prepare(&args.data_dir, args.public, fleet)?;
    let from = ConfigArgs {
        config: Some(look.config_file.clone()),
        set: args.set.clone(),
    };
    let config = crate::config::load(&from).map_err(|error| Failure::Usage(error.to_string()))?;
    if fleet.is_none() {
        look.notes.push(whose_service(args, &config));
    }
    let log = log::init(&config.log).map_err(|error| Failure::Failed(error.to_string()))?;
    let user = credentials(&config);
    let terms = flow::Terms::of(&config, &look);
    let node = Node::start(config, source(&from), Some(log)).await;
    let node = node.map_err(|error| Failure::Failed(error.to_string()))?;
    let checked = check_all(&node, &look, fleet, user.as_ref(), terms).await;
    let (report, flow) = match checked {
        Ok(checked) => checked,
        Err(failure) => {
            node.stop().await;
            return Err(failure);
        }
    };
    let (report, flow) = (report.as_ref(), &flow);
    summary::print(args, &look, &node, fleet, user.as_ref(), report, flow)?;
    let good = report.is_none_or(Report::is_good) && flow.is_good();
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
}

/// The self-check: with what a device gets from the control service, where there is one.
async fn check_all(
    node: &Node,
    look: &FirstLook,
    fleet: Option<&Fleet>,
    user: Option<&Credentials>,
    terms: flow::Terms,
) -> Result<(Option<Report>, FlowLook), Failure> {
    if let (Some(fleet), Some(id)) = (fleet, node.node_id()) {
        fleet.node_is_ready(id).await?;
    }
    let report = match (fleet, user) {
        _ if !look.allows_loopback_peers => None,
        (Some(fleet), _) => Some(check(node, fleet.turn_credentials().await?).await?),
        (None, Some(user)) => Some(check(node, user.clone()).await?),
        (None, None) => None,
    };
    let flow = terms.check(node, look, fleet).await?;
    Ok((report, flow))
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
