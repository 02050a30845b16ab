//! `sterna devices …`: what devices there are.

use clap::{Args, Subcommand};
use sterna_control_api::device::{DeviceView, NatReport, SessionView};
use sterna_control_api::{DeviceId, TenantId};
use sterna_control_client::Filter;

use super::table::{from_now, list};
use super::{Service, ServiceArgs, word};
use crate::Failure;

/// `sterna devices …`
#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// Lists the devices.
    #[command(after_help = "Example:\n  sterna devices list --tenant 1 --state online")]
    List(ListArgs),
    /// Shows a device: keys, groups, network, addresses.
    #[command(after_help = "Example:\n  sterna devices show laptop")]
    Show(DeviceArgs),
    /// Lists the paths between devices, as they report them.
    #[command(after_help = "Example:\n  sterna devices paths --tenant 1")]
    Paths(PathsArgs),
    /// Revokes a device: its sessions end on every node, its tickets no longer count, and it comes back
    /// with a new enrolment key only.
    #[command(after_help = "Example:\n  sterna devices revoke laptop")]
    Revoke(DeviceArgs),
}

/// Which devices.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Of this tenant, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    tenant: Option<TenantId>,
    /// In this state.
    #[arg(long, value_name = "STATE", value_parser = ["online", "offline", "revoked"])]
    state: Option<String>,
    /// With this in the name.
    #[arg(long, short, value_name = "TEXT")]
    q: Option<String>,
    #[command(flatten)]
    control: ServiceArgs,
}

/// Whose paths.
#[derive(Args, Debug)]
pub(crate) struct PathsArgs {
    /// Of this tenant, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which device.
#[derive(Args, Debug)]
pub(crate) struct DeviceArgs {
    /// The device's id, or its name where no other has it.
    #[arg(allow_hyphen_values = true)]
    device: String,
    #[command(flatten)]
    control: ServiceArgs,
}

pub(super) async fn run(command: &DevicesCommand) -> Result<(), Failure> {
    match command {
        DevicesCommand::List(args) => show_all(args).await,
        DevicesCommand::Show(args) => {
            let service = args.control.service()?;
            let device = find(&service, &args.device).await?;
            service.print_one(&device, lines)
        }
        DevicesCommand::Paths(args) => show_paths(args).await,
        DevicesCommand::Revoke(args) => {
            let service = args.control.service()?;
            let device = find(&service, &args.device).await?;
            service.got(service.client.revoke_device(&device.id).await)?;
            let told = format!(
                "{} is revoked: its sessions end on every node; it comes back with a new enrolment key only",
                device.name
            );
            let revoked = DeviceView {
                revoked: true,
                ..device
            };
            service.print_done(&told, &revoked)
        }
    }
}

async fn show_all(args: &ListArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let filter = Filter {
        tenant: args.tenant.map(|tenant| tenant.to_string()),
        state: args.state.clone(),
        q: args.q.clone(),
        ..Filter::default()
    };
    let page = async |filter: Filter| service.client.devices(&filter).await;
    let devices: Vec<DeviceView> = service.all(&filter, None, page).await?;
    let header = [
        "name", "tenant", "state", "home", "platform", "version", "overlay", "seen", "id",
    ];
    let none = "no devices (`sterna token enrol` makes a key that lets one enrol)";
    service.print_list(&devices, none, &header, |device| {
        vec![
            device.name.clone(),
            device.tenant.to_string(),
            state(device).to_owned(),
            dash(&device.home),
            device.platform.clone(),
            device.version.clone(),
            list(&device.overlay),
            from_now(device.last_seen),
            device.id.to_string(),
        ]
    })
}

async fn show_paths(args: &PathsArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let filter = Filter {
        tenant: args.tenant.map(|tenant| tenant.to_string()),
        ..Filter::default()
    };
    let page = async |filter: Filter| service.client.sessions(&filter).await;
    let paths: Vec<SessionView> = service.all(&filter, None, page).await?;
    let header = [
        "device",
        "peer",
        "tenant",
        "path",
        "home",
        "round trip",
        "loss",
        "reported",
    ];
    service.print_list(&paths, "no paths were reported", &header, |session| {
        let path = &session.path;
        vec![
            session.device.to_string(),
            path.peer.to_string(),
            session.tenant.to_string(),
            word(&path.path),
            dash(&session.home),
            format!("{:.1} ms", f64::from(path.rtt_us) / 1e3),
            format!("{:.2} %", f64::from(path.loss_ppm) / 1e4),
            from_now(session.at),
        ]
    })
}

fn state(device: &DeviceView) -> &'static str {
    match (device.revoked, device.online) {
        (true, _) => "revoked",
        (false, true) => "online",
        (false, false) => "offline",
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

fn lines(device: &DeviceView) -> Vec<(&'static str, String)> {
    vec![
        ("name", device.name.clone()),
        ("id", device.id.to_string()),
        ("tenant", device.tenant.to_string()),
        ("groups", list(&device.groups)),
        ("tags", device.tags.join(" ")),
        ("state", state(device).to_owned()),
        ("home", dash(&device.home)),
        ("overlay", list(&device.overlay)),
        ("platform", device.platform.clone()),
        ("version", device.version.clone()),
        ("seen", from_now(device.last_seen)),
        ("registered", from_now(device.registered)),
        ("identity", device.identity.to_string()),
        ("device key", device.device_key.to_string()),
        ("relay key", device.relay_key.to_string()),
        ("network", network(&device.nat)),
        ("public", list(&device.nat.public)),
    ]
}

fn network(nat: &NatReport) -> String {
    let udp = match nat.udp {
        Some(true) => "UDP passes",
        Some(false) => "UDP is blocked",
        None => "UDP not tried",
    };
    let (mapping, filtering) = (word(&nat.mapping), word(&nat.filtering));
    format!("{udp}, mapping {mapping}, filtering {filtering}").replace('_', " ")
}

/// A device by its id, or by a name that no other has.
pub(super) async fn find(service: &Service, given: &str) -> Result<DeviceView, Failure> {
    if let Ok(id) = given.parse::<DeviceId>() {
        return service.got(service.client.device(&id).await);
    }
    let filter = Filter {
        q: Some(given.to_owned()),
        ..Filter::default()
    };
    let page = async |filter: Filter| service.client.devices(&filter).await;
    let devices: Vec<DeviceView> = service.all(&filter, None, page).await?;
    let mut found = devices.into_iter().filter(|device| device.name == given);
    match (found.next(), found.next()) {
        (Some(device), None) => Ok(device),
        (Some(_), Some(_)) => Err(Failure::Failed(format!(
            "several devices are called {given}; name the id that `sterna devices list -q {given}` shows"
        ))),
        (None, _) => Err(Failure::Failed(format!(
            "there is no device {given}; `sterna devices list` shows those that there are"
        ))),
    }
}
