//! What a node asks for.

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

    /// `POST /nodes/{id}/heartbeat`
    ///
    /// # Errors
    /// `Unauthorized` where the node is not registered; `Gone` where it was forgotten.
    pub async fn heartbeat(
        &self,
        node: &NodeId,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatAnswer, CallError> {
        let path = format!("{API}/nodes/{node}/heartbeat");
        self.call(Call::new(Method::POST, &path, Effect::Reads).body(heartbeat)?)
            .await
    }
}
