//! `sterna token …`: credentials for those who use the node.

mod oauth;
mod relay_node;
mod ticket;

use std::time::{SystemTime, UNIX_EPOCH};

use rand::distr::{Alphanumeric, SampleString};
use serde_json::json;
use sterna_relay::config::Config;
use sterna_stun::access_token::TokenAlgorithm;
use sterna_stun::credentials::rest_password;

use crate::cli::{ConfigArgs, OauthAlgorithm, TokenCommand};
use crate::config::print_json;
use crate::{Failure, fleet, say};

/// Characters of a generated password: 62^24 of them, more than a guess will find.
const PASSWORD_CHARS: usize = 24;

/// Does what `sterna token` was asked to.
pub(crate) fn run(command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::TurnUser {
            name,
            source,
            secret,
            ttl,
            json,
        } => turn_user(name, source, secret.as_deref(), *ttl, *json),
        TokenCommand::Oauth {
            kid,
            source,
            ttl,
            json,
        } => oauth::token(kid.as_deref(), source, *ttl, *json),
        TokenCommand::OauthKey {
            kid,
            algorithm,
            json,
        } => {
            let algorithm = match algorithm {
                OauthAlgorithm::A128gcm => TokenAlgorithm::A128Gcm,
                OauthAlgorithm::A256gcm => TokenAlgorithm::A256Gcm,
            };
            oauth::key(kid, algorithm, *json)
        }
        TokenCommand::TicketKey { json } => ticket::make_key(*json),
        TokenCommand::Ticket(args) => ticket::issue(args),
        TokenCommand::Join(args) => fleet::join_token(args),
        TokenCommand::Enrol(args) => fleet::enrolment_key(args),
        TokenCommand::Api(args) => fleet::api_token(args),
        TokenCommand::List(args) => fleet::list_tokens(args),
        TokenCommand::Revoke(args) => fleet::revoke_token(args),
        TokenCommand::RelayNode {
            source, address, ..
        } => relay_node::describe(source, *address),
    }
}

fn turn_user(
    name: &str,
    source: &ConfigArgs,
    secret: Option<&str>,
    ttl: u32,
    json: bool,
) -> Result<(), Failure> {
    if name.is_empty() || name.contains(':') {
        return Err(Failure::Usage(
            "a user's name has at least one character and no colon".into(),
        ));
    }
    match shared_secret(secret, source)? {
        Some(secret) => time_limited(name, &secret, ttl, json),
        None => static_user(name, json),
    }
}

/// A password that nobody guesses.
pub(crate) fn random_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_CHARS)
}

/// The secret to sign with: the one given, else the configuration's newest.
fn shared_secret(given: Option<&str>, source: &ConfigArgs) -> Result<Option<String>, Failure> {
    if let Some(secret) = given {
        return Ok(Some(secret.to_owned()));
    }
    // Not validated: who makes the first user has no credentials to pass the check with.
    let config = Config::read(
        source.config.as_deref(),
        sterna_daemon::config::environment(),
        &source.set,
    )
    .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config
        .auth
        .secrets
        .first()
        .map(|secret| secret.expose().to_owned()))
}

fn time_limited(name: &str, secret: &str, ttl: u32, json: bool) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| {
        Failure::Failed(
            "the system's clock is before 1970; set it, or the credentials would have run out"
                .into(),
        )
    })?;
    let username = format!("{}:{name}", now.as_secs() + u64::from(ttl));
    let password = rest_password(secret.as_bytes(), &username);
    if json {
        return print_json(
            &json!({ "username": username, "password": password.as_str(), "ttl_s": ttl }),
        );
    }
    say(&format!(
        "username  {username}\npassword  {}\nfor new allocations during the next {ttl} s\n",
        password.as_str()
    ));
    Ok(())
}

fn static_user(name: &str, json: bool) -> Result<(), Failure> {
    let password = random_password();
    if json {
        return print_json(&json!({ "username": name, "password": password }));
    }
    say(&format!(
        "username  {name}\npassword  {password}\n\nThe configuration has no secret, so this is a static user. Add it to \
         the node's file and reload (SIGHUP):\n\n  [auth]\n  users = [{{ name = \"{name}\", password = \"{password}\" }}]\n"
    ));
    Ok(())
}
