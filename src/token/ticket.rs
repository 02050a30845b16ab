//! `sterna token ticket-key` and `sterna token ticket`: relay tickets without a control service.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;
use serde_json::json;
use sterna_control_api::{
    DeviceId, DeviceKey, Groups, RateClass, RelayKey, SigningKey, TenantId, Ticket, TicketId,
};
use sterna_flow::Secret;

use crate::cli::TicketArgs;
use crate::config::print_json;
use crate::{Failure, say};

/// Makes a pair of keys: one half signs tickets, the other goes to the nodes.
pub(super) fn make_key(json: bool) -> Result<(), Failure> {
    let key = SigningKey::from_seed(&random());
    let (secret, public) = (key.to_secret_text(), key.verifying_key().to_string());
    if json {
        return print_json(&json!({
            "key_id": key.id().to_string(), "secret": secret.as_str(), "public": public,
        }));
    }
    say(&format!(
        "secret  {}\npublic  {public}\n\nKeep the secret where tickets are made, in a file that nobody else reads. The public half goes \
         to every node,\nbeside the one that it replaces for as long as that one's tickets last:\n\n  \
         [flow]\n  ticket_keys = [\"{public}\"]\n",
        secret.as_str()
    ));
    Ok(())
}

/// Signs a ticket.
pub(super) fn issue(args: &TicketArgs) -> Result<(), Failure> {
    let key = signing_key(args)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| {
        Failure::Failed(
            "the system's clock is before 1970; set it, or the ticket would have run out".into(),
        )
    })?;
    // Without a relay key of the device's own, it gets one made here.
    let made = args.relay_key.is_none().then(|| Secret::new(random()));
    let relay_key = match (&args.relay_key, &made) {
        (Some(key), _) => *key,
        (None, Some(secret)) => secret.public(),
        (None, None) => RelayKey([0; 32]),
    };
    let ticket = Ticket {
        tenant: args.tenant.unwrap_or(TenantId(1)),
        ticket_id: TicketId(u64::from_be_bytes(random())),
        device_id: args.device_id.unwrap_or_else(|| DeviceId(random())),
        device_key: args.device_key.unwrap_or_else(|| DeviceKey(random())),
        relay_key,
        not_before: now.as_secs(),
        expires: now.as_secs() + u64::from(args.ttl),
        rate: RateClass {
            bytes_per_s: args.bytes_per_s,
            packets_per_s: args.packets_per_s,
            flows: args.flows,
        },
        audience: args.fleet,
        groups: Groups::new(&args.groups).map_err(|error| Failure::Usage(error.to_string()))?,
    };
    let text = ticket
        .issue_text(&key)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let relay_secret = made.map(|secret| RelayKey(*secret.expose()).to_string());
    if args.json {
        return print_json(&json!({
            "ticket": text, "claims": ticket, "key_id": key.id().to_string(), "relay_secret": relay_secret,
        }));
    }
    let secret_line =
        relay_secret.map_or(String::new(), |secret| format!("relay secret  {secret}\n"));
    say(&format!(
        "ticket        {text}\ndevice key    {}\n{secret_line}valid for the next {} s at the nodes of {}\n",
        ticket.device_key, args.ttl, args.fleet
    ));
    Ok(())
}

/// The key of `--key-file`, or of the environment.
fn signing_key(args: &TicketArgs) -> Result<SigningKey, Failure> {
    let text = match (&args.key_file, &args.key) {
        (Some(path), _) => fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?,
        (None, Some(key)) => key.clone(),
        (None, None) => {
            return Err(Failure::Usage(
                "name the signing key's file with --key-file, or put the key into STERNA_TICKET_SECRET \
                 (`sterna token ticket-key` makes one)"
                    .into(),
            ));
        }
    };
    text.trim()
        .parse()
        .map_err(|error: sterna_control_api::KeyError| Failure::Usage(error.to_string()))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
