//! `sterna token relay-node`: what devices must know of a node, where no relay map tells them.

use std::net::IpAddr;

use sterna_relay::flow::{Identity, configured};

use crate::Failure;
use crate::cli::ConfigArgs;
use crate::config::{load, print_json};

/// Prints the node of a configuration.
pub(super) fn describe(source: &ConfigArgs, address: Option<IpAddr>) -> Result<(), Failure> {
    let config = load(source).map_err(|error| Failure::Usage(error.to_string()))?;
    if !config.flow_is_on() {
        return Err(Failure::Usage(
            "the flow relay is off in this configuration: flow.ticket_keys is empty (`sterna token ticket-key` makes a key)"
                .into(),
        ));
    }
    let identity = Identity::read(&config.node.data_dir);
    let identity = identity.map_err(|error| Failure::Failed(error.to_string()))?;
    let node = configured(&config, &identity, address);
    if node.udp.is_empty() && node.quic.is_empty() && node.wss.is_empty() {
        return Err(Failure::Usage(match address {
            Some(address) => {
                format!("--address {address}: no listener of the flow relay is reached there")
            }
            None => "the flow relay has no listener".to_owned(),
        }));
    }
    print_json(&node)
}
