//! What a device asks for, and an application for its users.

use hyper::Method;
use sterna_control_api::credentials::{TicketIssued, TicketRequest, TurnCredentials, TurnRequest};
use sterna_control_api::device::{
    DeviceKeyRotated, DeviceMetrics, DeviceRegistered, Netmap, RegisterDevice, RotateDeviceKey,
};
use sterna_control_api::{DeviceId, SignedRelayMap};

use super::API;
use crate::caller::Effect;
use crate::error::CallError;
use crate::socket::{self, Socket};
use crate::transport::{Call, ControlClient};

impl ControlClient {
    /// `POST /device/register`, with an enrolment key the first time.
    ///
    /// # Errors
    /// `Unauthorized` without a key that counts; `Gone` where the device was revoked.
    pub async fn register_device(
        &self,
        device: &RegisterDevice,
        enrolment_key: Option<&str>,
    ) -> Result<DeviceRegistered, CallError> {
        let path = format!("{API}/device/register");
        let call = Call::new(Method::POST, &path, Effect::Changes).body(device)?;
        self.call(call.token(enrolment_key)).await
    }

    /// `GET /device/{id}/netmap`; none where it is still the version that is known.
    ///
    /// # Errors
    /// `NotFound` for another device's.
    pub async fn netmap(
        &self,
        device: &DeviceId,
        known: Option<u64>,
    ) -> Result<Option<Netmap>, CallError> {
        let path = format!("{API}/device/{device}/netmap");
        self.call_unless(Call::get(&path).unless(known)).await
    }

    /// `GET /relay-map`; none where it is still the version that is known. The answer's signature is
    /// the caller's to verify.
    ///
    /// # Errors
    /// `Unauthorized` for who is no device, node or person.
    pub async fn relay_map(&self, known: Option<u64>) -> Result<Option<SignedRelayMap>, CallError> {
        let path = format!("{API}/relay-map");
        self.call_unless(Call::get(&path).unless(known)).await
    }

    /// `POST /device/metrics`: a device's heartbeat.
    ///
    /// # Errors
    /// `Gone` where the device was revoked.
    pub async fn device_metrics(&self, metrics: &DeviceMetrics) -> Result<(), CallError> {
        let path = format!("{API}/device/metrics");
        self.call_done(Call::new(Method::POST, &path, Effect::Reads).body(metrics)?)
            .await
    }

    /// `POST /device/rotate-key`
    ///
    /// # Errors
    /// `Conflict` where another device has the key, or there is nothing to go back to.
    pub async fn rotate_device_key(
        &self,
        keys: &RotateDeviceKey,
    ) -> Result<DeviceKeyRotated, CallError> {
        self.change(Method::POST, "device/rotate-key", keys).await
    }

    /// `POST /turn-credentials`
    ///
    /// # Errors
    /// `Unavailable` while no node is ready.
    pub async fn turn_credentials(
        &self,
        request: &TurnRequest,
    ) -> Result<TurnCredentials, CallError> {
        self.ask("turn-credentials", request).await
    }

    /// `POST /relay-tickets`
    ///
    /// # Errors
    /// `Gone` where the device was revoked.
    pub async fn relay_ticket(&self, request: &TicketRequest) -> Result<TicketIssued, CallError> {
        self.ask("relay-tickets", request).await
    }

    /// `GET /ws`: signalling and pushes.
    ///
    /// # Errors
    /// As a call's: the service's refusal comes before the connection.
    pub async fn socket(&self) -> Result<Socket, CallError> {
        socket::connect(self, &format!("{API}/ws")).await
    }
}
