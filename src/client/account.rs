//! A device of the command line that is the control service's: keys in a file, everything else from there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sterna_client::control::{Account, AccountError, DeviceKeys, Options, Terms};
use sterna_control_api::DeviceKey;
use sterna_control_api::device::NatReport;
use sterna_control_api::problem::Code;

use super::args::DeviceArgs;
use crate::Failure;

/// How often it is looked whether the other device has enrolled.
const LOOK: Duration = Duration::from_millis(250);

/// Enrols the device, or comes back as it.
pub(super) async fn enrol(args: &DeviceArgs, url: &str) -> Result<Account, Failure> {
    let keys = DeviceKeys::load_or_make(&args.device);
    let keys = keys.map_err(|error| Failure::Failed(error.to_string()))?;
    let terms = Terms {
        url: url.to_owned(),
        enrolment_key: args.enrol.as_deref().map(text_or_file).transpose()?,
        name: args.name.clone().unwrap_or_else(|| stem(&args.device)),
        nat: NatReport::default(),
        options: Options {
            ca_file: args.ca_file.clone(),
            insecure_http: args.insecure_http,
            ..Options::default()
        },
    };
    Account::enrol(keys, terms).await.map_err(|error| {
        let remedy = match &error {
            AccountError::Config(_) => return Failure::Usage(error.to_string()),
            AccountError::Call(call) => match call.code() {
                Some(Code::Unauthorized) => {
                    "; give an enrolment key with --enrol (`sterna token enrol` makes one)"
                }
                Some(Code::Gone) => "; ask the fleet's operator",
                _ => "",
            },
            _ => "",
        };
        Failure::Failed(format!("the control service at {url}: {error}{remedy}"))
    })
}

/// The key of a device by its name, as soon as it has enrolled.
pub(super) async fn peer_by_name(
    account: &mut Account,
    name: &str,
    deadline: Instant,
) -> Result<DeviceKey, Failure> {
    loop {
        let peers = &account.netmap().peers;
        if let Some(peer) = peers.iter().find(|peer| peer.name == name) {
            return Ok(peer.device_key);
        }
        if Instant::now() >= deadline {
            let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
            return Err(Failure::Failed(format!(
                "--peer {name}: neither a public key nor a device that this one may talk to, which are: {}",
                names.join(", ")
            )));
        }
        tokio::time::sleep(LOOK).await;
        account
            .refresh_netmap()
            .await
            .map_err(|error| Failure::Failed(format!("the netmap: {error}")))?;
    }
}

/// A secret as it is given: itself, or the file that holds it.
fn text_or_file(given: &str) -> Result<String, Failure> {
    if !Path::new(given).is_file() {
        return Ok(given.to_owned());
    }
    let text = fs::read_to_string(given);
    let text = text.map_err(|error| Failure::Usage(format!("{given}: {error}")))?;
    Ok(text.trim().to_owned())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(
        || "device".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}
