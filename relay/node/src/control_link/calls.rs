//! The calls themselves: the node's key signs them, its configuration says where they go.

use std::fs;
use std::time::Duration;

use sterna_control_api::NodeId;
use sterna_control_api::node::{Heartbeat, HeartbeatAnswer, NodeRegistered, RegisterNode};
use sterna_control_client::{CallError, Caller, ConfigError, ControlClient, Options};
use zeroize::Zeroizing;

use super::limits::CALL_MAX;
use super::machine::Refusal;
use crate::config::{self, Secret};
use crate::flow::Identity;

/// The service of a configuration, as this node calls it.
pub(super) struct Service {
    client: ControlClient,
    node: NodeId,
}

impl Service {
    /// None where the configuration names no service.
    ///
    /// # Errors
    /// [`ConfigError`] says which key to mend.
    pub(super) fn new(
        terms: &config::Control,
        identity: &Identity,
    ) -> Result<Option<Self>, ConfigError> {
        if !terms.is_on() {
            return Ok(None);
        }
        let caller = Caller::Node(identity.signing_key().clone());
        let options = Options {
            ca_file: terms.ca_file.clone(),
            insecure_http: terms.insecure_http,
            call_timeout: CALL_MAX,
            ..Options::default()
        };
        Ok(Some(Self {
            client: ControlClient::new(&terms.url, caller, &options)?,
            node: identity.node_id(),
        }))
    }

    pub(super) async fn register(
        &self,
        node: &RegisterNode,
        token: Option<&Secret>,
    ) -> Result<NodeRegistered, Refusal> {
        let token = token.map(Secret::expose);
        let answer = self.client.register_node(node, token).await;
        answer.map_err(Refusal::from)
    }

    pub(super) async fn heartbeat(
        &self,
        heartbeat: &Heartbeat,
        wait: Duration,
    ) -> Result<HeartbeatAnswer, Refusal> {
        let answer = self.client.heartbeat_held(&self.node, heartbeat, wait);
        let answer = answer.await;
        answer.map_err(Refusal::from)
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        match error.code() {
            Some(code) => Self::Problem {
                code,
                detail: error.to_string(),
                retry_after: error.retry_after(),
            },
            None => Self::Unreachable(error.to_string()),
        }
    }
}

/// The join token, from wherever the configuration has it.
///
/// # Errors
/// A file that cannot be read, as a refusal: it is tried again.
pub(super) fn join_token(terms: &config::Control) -> Result<Option<Secret>, Refusal> {
    let Some(path) = &terms.join_token_file else {
        return Ok(terms.join_token.clone());
    };
    let text = fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Refusal::Unreachable(format!("control.join_token_file: {path}: {error}"))
    })?;
    let text = Zeroizing::new(text);
    Ok(Some(Secret::new(text.trim())))
}
