//! A typed call for each path of the API. Where an answer says nothing that its request did not, it
//! is not read.

mod device;
mod node;
mod operator;
mod people;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sterna_control_api::audit::Page;

use crate::caller::Effect;
use crate::error::CallError;
use crate::list::Filter;
use crate::transport::{Call, ControlClient};

/// What the paths of the API begin with.
const API: &str = "/api/v1";

impl ControlClient {
    /// `GET /readyz`: whether the service answers calls.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ready(&self) -> Result<(), CallError> {
        self.call_done(Call::get("/readyz")).await
    }

    /// A page of a list.
    async fn page<T: DeserializeOwned>(
        &self,
        list: &str,
        filter: &Filter,
    ) -> Result<Page<T>, CallError> {
        let query = filter.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        self.call(Call::get(&format!("{API}/{list}{mark}{query}")))
            .await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Call::get(&format!("{API}/{path}"))).await
    }

    /// Asks for what is made for the caller and kept nowhere: as often as it likes, so by counter.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let path = format!("{API}/{path}");
        let call = Call::new(Method::POST, &path, Effect::Reads);
        self.call(call.body(body)?).await
    }

    /// A change with a body, whose answer is read.
    async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let path = format!("{API}/{path}");
        self.call(Call::new(method, &path, Effect::Changes).body(body)?)
            .await
    }

    /// A change with a body, whose answer is not.
    async fn change_done(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), CallError> {
        let path = format!("{API}/{path}");
        self.call_done(Call::new(method, &path, Effect::Changes).body(body)?)
            .await
    }

    async fn delete(&self, path: &str) -> Result<(), CallError> {
        let path = format!("{API}/{path}");
        self.call_done(Call::new(Method::DELETE, &path, Effect::Changes))
            .await
    }
}
