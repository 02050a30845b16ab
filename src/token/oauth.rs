//! `sterna token oauth` and `oauth-key`: what an authorisation server does (RFC 7635), offline.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sterna_relay::config::{Config, OAuthKey};
use sterna_stun::access_token::{SessionToken, TOKEN_BYTES_MAX, TokenAlgorithm};
use sterna_stun::integrity::Key;

use crate::cli::ConfigArgs;
use crate::config::print_json;
use crate::{Failure, say};

/// RFC 7635 §6.2: a session key of 160 bits is what every server takes.
const SESSION_KEY_BYTES: usize = 20;

/// Seals a new session key for the server of the configuration.
pub(super) fn token(
    kid: Option<&str>,
    source: &ConfigArgs,
    ttl: u32,
    json: bool,
) -> Result<(), Failure> {
    let config = Config::load(
        source.config.as_deref(),
        sterna_daemon::config::environment(),
        &source.set,
    )
    .map_err(|error| Failure::Usage(error.to_string()))?;
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Failure::Failed("the system's clock is before 1970; set it".into()))?
        .as_secs();
    let key = chosen(&config, kid, now_s)?;
    let sealing = key.token_key().map_err(Failure::Usage)?;
    let session_key: [u8; SESSION_KEY_BYTES] = rand::random();
    let token = SessionToken::new(&Key::new(&session_key), now_s, ttl)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let server_name = config.auth.server_name(&config.turn.realm);
    let mut out = [0; TOKEN_BYTES_MAX];
    let len = sealing.seal(server_name, &rand::random(), &token, &mut out);
    let (token, session_key) = (STANDARD.encode(&out[..len]), STANDARD.encode(session_key));
    if json {
        // The names of RFC 7635 appendix B, which an authorisation server answers with.
        return print_json(&json!({
            "access_token": token,
            "token_type": "pop",
            "expires_in": ttl,
            "kid": key.kid,
            "key": session_key,
            "alg": "HMAC-SHA-1",
        }));
    }
    say(&format!(
        "kid           {}\naccess token  {token}\nkey           {session_key}\n\nBoth are base64. The kid is the USERNAME, the token is \
         ACCESS-TOKEN in Allocate and Refresh, and requests are\nsigned with the key. For the server {server_name:?}, during the next {ttl} s.\n",
        key.kid
    ));
    Ok(())
}

/// Makes a key to be shared with an authorisation server.
pub(super) fn key(kid: &str, algorithm: TokenAlgorithm, json: bool) -> Result<(), Failure> {
    let random: [u8; 32] = rand::random();
    let key = STANDARD.encode(&random[..algorithm.key_bytes()]);
    let algorithm = algorithm.as_str();
    if json {
        return print_json(&json!({ "kid": kid, "key": key, "algorithm": algorithm }));
    }
    say(&format!(
        "Add it to the node's file, tell the authorisation server, and reload (SIGHUP):\n\n  [auth]\n  oauth_keys = [{{ kid = {kid:?}, \
         key = \"{key}\", algorithm = \"{algorithm}\" }}]\n"
    ));
    Ok(())
}

/// The key of this name, else the last one whose time it is: the one that was rolled over to.
fn chosen<'a>(config: &'a Config, kid: Option<&str>, now_s: u64) -> Result<&'a OAuthKey, Failure> {
    let keys = &config.auth.oauth_keys;
    let is_current = |key: &&OAuthKey| {
        key.not_before_unix_s <= now_s && key.not_after_unix_s.is_none_or(|end| now_s < end)
    };
    let key = match kid {
        Some(kid) => keys.iter().find(|key| key.kid == kid),
        None => keys
            .iter()
            .filter(is_current)
            .max_by_key(|key| key.not_before_unix_s),
    };
    key.ok_or_else(|| {
        Failure::Usage(match kid {
            Some(kid) => format!("auth.oauth_keys has no kid {kid:?}"),
            None => {
                "auth.oauth_keys has no key whose time it is; `sterna token oauth-key` makes one"
                    .to_owned()
            }
        })
    })
}
