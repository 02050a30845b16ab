//! What a node asks for.

use std::time::Duration;

use hyper::Method;
use sterna_control_api::NodeId;
use sterna_control_api::node::{Heartbeat, HeartbeatAnswer, NodeRegistered, RegisterNode};

use super::API;
use crate::caller::Effect;
use crate::error::CallError;
use crate::transport::{Call, ControlClient};

impl ControlClient {
    /// `POST /nodes/register`, with a join token the first time.
    ///
    /// # Errors
    /// `Unauthorized` without a token that counts; `Conflict` where another node has the name; `Gone`
    /// where the node was forgotten.
    pub async fn register_node(
        &self,
        node: &RegisterNode,
        join_token: Option<&str>,
    ) -> Result<NodeRegistered, CallError> {
        let path = format!("{API}/nodes/register");
        let call = Call::new(Method::POST, &path, Effect::Changes).body(node)?;
        self.call(call.token(join_token)).await
    }

    /// `POST /nodes/{id}/heartbeat`, answered at once.
    ///
    /// # Errors
    /// `Unauthorized` where the node is not registered; `Gone` where it was forgotten.
    pub async fn heartbeat(
        &self,
        node: &NodeId,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatAnswer, CallError> {
        self.heartbeat_held(node, heartbeat, Duration::ZERO).await
    }

    /// `POST /nodes/{id}/heartbeat`, whose answer the service holds for so long, or until there are new
    /// orders. A service that does not know how answers at once.
    ///
    /// # Errors
    /// As of [`ControlClient::heartbeat`].
    pub async fn heartbeat_held(
        &self,
        node: &NodeId,
        heartbeat: &Heartbeat,
        wait: Duration,
    ) -> Result<HeartbeatAnswer, CallError> {
        let wait_ms = wait.as_millis();
        let query = if wait_ms == 0 {
            String::new()
        } else {
            format!("?wait_ms={wait_ms}")
        };
        let path = format!("{API}/nodes/{node}/heartbeat{query}");
        let call = Call::new(Method::POST, &path, Effect::Reads).body(heartbeat)?;
        self.call(call.held(wait)).await
    }
}
