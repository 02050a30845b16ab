//! What an operator asks for: nodes, regions, devices, keys, the audit log.

use hyper::Method;
use hyper::header::{ACCEPT, HeaderValue};
use sterna_control_api::audit::{AuditEntry, Page};
use sterna_control_api::device::{DeviceView, SessionView};
use sterna_control_api::node::{NodeView, PatchNode, Revocations};
use sterna_control_api::region::{PatchRegion, Region};
use sterna_control_api::rotation::{KeyView, RotateKeys};
use sterna_control_api::{DeviceId, NodeId};

use super::API;
use crate::error::CallError;
use crate::list::{Filter, segment};
use crate::transport::{Call, ControlClient};

impl ControlClient {
    /// `GET /nodes`, by `region`, `state` and `q`.
    ///
    /// # Errors
    /// As any call.
    pub async fn nodes(&self, filter: &Filter) -> Result<Page<NodeView>, CallError> {
        self.page("nodes", filter).await
    }

    /// `GET /nodes/{id}`
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn node(&self, node: &NodeId) -> Result<NodeView, CallError> {
        self.read(&format!("nodes/{node}")).await
    }

    /// `PATCH /nodes/{id}`: drain, cordon, activate, limit.
    ///
    /// # Errors
    /// `RoleTooLow`, `NotFound`.
    pub async fn patch_node(
        &self,
        node: &NodeId,
        patch: &PatchNode,
    ) -> Result<NodeView, CallError> {
        self.change(Method::PATCH, &format!("nodes/{node}"), patch)
            .await
    }

    /// `DELETE /nodes/{id}`: forgets it; it needs a join token to come back.
    ///
    /// # Errors
    /// `RoleTooLow`, `NotFound`.
    pub async fn forget_node(&self, node: &NodeId) -> Result<(), CallError> {
        self.delete(&format!("nodes/{node}")).await
    }

    /// `GET /regions`
    ///
    /// # Errors
    /// As any call.
    pub async fn regions(&self, filter: &Filter) -> Result<Page<Region>, CallError> {
        self.page("regions", filter).await
    }

    /// `POST /regions`
    ///
    /// # Errors
    /// `Conflict` where the code is taken.
    pub async fn add_region(&self, region: &Region) -> Result<Region, CallError> {
        self.change(Method::POST, "regions", region).await
    }

    /// `PATCH /regions/{code}`
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn patch_region(&self, code: &str, patch: &PatchRegion) -> Result<Region, CallError> {
        self.change(Method::PATCH, &format!("regions/{}", segment(code)), patch)
            .await
    }

    /// `DELETE /regions/{code}`
    ///
    /// # Errors
    /// `Conflict` while it has nodes.
    pub async fn remove_region(&self, code: &str) -> Result<(), CallError> {
        self.delete(&format!("regions/{}", segment(code))).await
    }

    /// `GET /devices`, by `tenant`, `state` and `q`.
    ///
    /// # Errors
    /// As any call.
    pub async fn devices(&self, filter: &Filter) -> Result<Page<DeviceView>, CallError> {
        self.page("devices", filter).await
    }

    /// `GET /devices/{id}`
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn device(&self, device: &DeviceId) -> Result<DeviceView, CallError> {
        self.read(&format!("devices/{device}")).await
    }

    /// `DELETE /devices/{id}`: revokes it.
    ///
    /// # Errors
    /// `RoleTooLow`, `NotFound`.
    pub async fn revoke_device(&self, device: &DeviceId) -> Result<(), CallError> {
        self.delete(&format!("devices/{device}")).await
    }

    /// `GET /sessions`, by `tenant`: the paths between devices, as they report them.
    ///
    /// # Errors
    /// As any call.
    pub async fn sessions(&self, filter: &Filter) -> Result<Page<SessionView>, CallError> {
        self.page("sessions", filter).await
    }

    /// `GET /keys`
    ///
    /// # Errors
    /// As any call.
    pub async fn keys(&self, filter: &Filter) -> Result<Page<KeyView>, CallError> {
        self.page("keys", filter).await
    }

    /// `POST /keys/rotate`
    ///
    /// # Errors
    /// `Conflict` where the step does not fit the keys that there are, or not every node knows the next.
    pub async fn rotate_keys(&self, step: &RotateKeys) -> Result<(), CallError> {
        self.change_done(Method::POST, "keys/rotate", step).await
    }

    /// `POST /revocations`: single tickets, whole devices, whole tenants.
    ///
    /// # Errors
    /// `RoleTooLow`.
    pub async fn revoke(&self, revocations: &Revocations) -> Result<(), CallError> {
        self.change_done(Method::POST, "revocations", revocations)
            .await
    }

    /// `GET /audit`, newest first, by `actor`, `action`, `subject`, `since` and `until`.
    ///
    /// # Errors
    /// As any call.
    pub async fn audit(&self, filter: &Filter) -> Result<Page<AuditEntry>, CallError> {
        self.page("audit", filter).await
    }

    /// A list as comma-separated values: "nodes", "devices", "audit".
    ///
    /// # Errors
    /// As any call.
    pub async fn export(&self, list: &str, filter: &Filter) -> Result<String, CallError> {
        let path = format!("{API}/{}?{}", segment(list), filter.to_query());
        let mut call = Call::get(path.trim_end_matches('?'));
        call.headers
            .insert(ACCEPT, HeaderValue::from_static("text/csv"));
        self.call_text(call).await
    }
}
