//! `sterna revoke`: what is no longer admitted, and ends where it runs.

use clap::Args;
use sterna_control_api::node::Revocations;
use sterna_control_api::{TenantId, TicketId};

use super::{ServiceArgs, devices};
use crate::Failure;

/// `sterna revoke`
#[derive(Args, Debug)]
pub(crate) struct RevocationArgs {
    /// A single ticket, by its id in hexadecimal. Repeatable.
    #[arg(long = "ticket", value_name = "HEX", required_unless_present_any = ["devices", "tenants"])]
    tickets: Vec<TicketId>,
    /// A device, by its id, or by its name where no other has it: as `sterna devices revoke` does.
    /// Repeatable.
    #[arg(long = "device", value_name = "DEVICE", allow_hyphen_values = true)]
    devices: Vec<String>,
    /// A whole tenant, in hexadecimal, for good: its devices get nothing more, and none enrols. Repeatable.
    #[arg(long = "tenant", value_name = "HEX")]
    tenants: Vec<TenantId>,
    #[command(flatten)]
    control: ServiceArgs,
}

pub(super) async fn run(args: &RevocationArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let mut revocations = Revocations {
        tickets: args.tickets.clone(),
        tenants: args.tenants.clone(),
        devices: Vec::new(),
    };
    for device in &args.devices {
        let found = devices::find(&service, device).await?;
        revocations.devices.push(found.id);
    }
    service.got(service.client.revoke(&revocations).await)?;
    let named = [
        (revocations.tickets.len(), "ticket"),
        (revocations.devices.len(), "device"),
        (revocations.tenants.len(), "tenant"),
    ];
    let named: Vec<_> = named
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        .collect();
    let told = format!(
        "revoked: {}; nodes hear of it at once and end what runs by it",
        named.join(", ")
    );
    service.print_done(&told, &revocations)
}
