//! Who may call: tokens, sessions, people.

use hyper::Method;
use sterna_control_api::access::{
    Login, NewApiToken, NewEnrolmentKey, NewJoinToken, NewUser, PatchUser, SessionBegun, TokenMade,
    TokenView, UserView,
};
use sterna_control_api::audit::Page;

use crate::error::CallError;
use crate::list::{Filter, segment};
use crate::transport::ControlClient;

impl ControlClient {
    /// `POST /join-tokens`: what lets a node join.
    ///
    /// # Errors
    /// `NotFound` where the region is not there.
    pub async fn make_join_token(&self, token: &NewJoinToken) -> Result<TokenMade, CallError> {
        self.change(Method::POST, "join-tokens", token).await
    }

    /// `GET /join-tokens`
    ///
    /// # Errors
    /// As any call.
    pub async fn join_tokens(&self, filter: &Filter) -> Result<Page<TokenView>, CallError> {
        self.page("join-tokens", filter).await
    }

    /// `POST /enrolment-keys`: what lets a device enrol.
    ///
    /// # Errors
    /// `RoleTooLow`.
    pub async fn make_enrolment_key(&self, key: &NewEnrolmentKey) -> Result<TokenMade, CallError> {
        self.change(Method::POST, "enrolment-keys", key).await
    }

    /// `GET /enrolment-keys`
    ///
    /// # Errors
    /// As any call.
    pub async fn enrolment_keys(&self, filter: &Filter) -> Result<Page<TokenView>, CallError> {
        self.page("enrolment-keys", filter).await
    }

    /// `POST /api-tokens`: what lets a script call.
    ///
    /// # Errors
    /// `RoleTooLow` for a role above the caller's own.
    pub async fn make_api_token(&self, token: &NewApiToken) -> Result<TokenMade, CallError> {
        self.change(Method::POST, "api-tokens", token).await
    }

    /// `GET /api-tokens`
    ///
    /// # Errors
    /// As any call.
    pub async fn api_tokens(&self, filter: &Filter) -> Result<Page<TokenView>, CallError> {
        self.page("api-tokens", filter).await
    }

    /// `DELETE /tokens/{id}`: takes a token of any kind back.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_token(&self, id: &str) -> Result<(), CallError> {
        self.delete(&format!("tokens/{}", segment(id))).await
    }

    /// `POST /login`: begins a person's session.
    ///
    /// # Errors
    /// `Unauthorized`; `TooMany` after several.
    pub async fn login(&self, login: &Login) -> Result<SessionBegun, CallError> {
        self.change(Method::POST, "login", login).await
    }

    /// `POST /logout`: ends the caller's session.
    ///
    /// # Errors
    /// As any call.
    pub async fn logout(&self) -> Result<(), CallError> {
        self.change_done(Method::POST, "logout", &serde_json::json!({}))
            .await
    }

    /// `GET /users`
    ///
    /// # Errors
    /// `RoleTooLow`.
    pub async fn users(&self, filter: &Filter) -> Result<Page<UserView>, CallError> {
        self.page("users", filter).await
    }

    /// `POST /users`
    ///
    /// # Errors
    /// `Conflict` where the name is taken.
    pub async fn add_user(&self, user: &NewUser) -> Result<UserView, CallError> {
        self.change(Method::POST, "users", user).await
    }

    /// `PATCH /users/{name}`
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn patch_user(&self, name: &str, patch: &PatchUser) -> Result<UserView, CallError> {
        self.change(Method::PATCH, &format!("users/{}", segment(name)), patch)
            .await
    }

    /// `DELETE /users/{name}`
    ///
    /// # Errors
    /// `Conflict` for the last administrator.
    pub async fn remove_user(&self, name: &str) -> Result<(), CallError> {
        self.delete(&format!("users/{}", segment(name))).await
    }
}
