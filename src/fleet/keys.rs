//! `sterna keys …`: rotation of what signs tickets, maps and orders, and of the TURN secrets.

use clap::{Args, Subcommand, ValueEnum};
use sterna_control_api::rotation::{KeyPurpose, KeyView, RotateKeys, RotationStep};
use sterna_control_client::Filter;

use super::table::from_now;
use super::{Service, ServiceArgs, word};
use crate::Failure;

/// `sterna keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Lists the keys: what they are for, where they are in their life, how many nodes know them.
    #[command(after_help = "Example:\n  sterna keys list")]
    List(ListArgs),
    /// Takes the next step of a rotation: prepare, wait until all nodes know the key, promote, and
    /// retire the old one when what it has signed has run out. Rollback undoes a promotion.
    #[command(
        after_help = "Example:\n  sterna keys rotate signing prepare\n  sterna keys list        until KNOWN BY says all\n  \
                      sterna keys rotate signing promote\n  sterna keys rotate signing retire"
    )]
    Rotate(RotateArgs),
}

/// Which keys.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which step of which keys.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// Whose keys: those that sign tickets, relay maps and orders, or the TURN secrets.
    purpose: Purpose,
    /// Which step.
    step: Step,
    /// Take the step although not every node has confirmed the key: those nodes will refuse what it signs.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    control: ServiceArgs,
}

/// [`KeyPurpose`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Purpose {
    /// Signs tickets, relay maps and orders.
    Signing,
    /// Makes time-limited TURN passwords.
    Turn,
}

/// [`RotationStep`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Step {
    /// Makes the next key, which nodes learn.
    Prepare,
    /// The next key is used from now on; the one before still counts.
    Promote,
    /// The one before is used again.
    Rollback,
    /// Takes out those before whose signatures have all run out.
    Retire,
}

pub(super) async fn run(command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::List(args) => {
            let service = args.control.service()?;
            print(&service).await
        }
        KeysCommand::Rotate(args) => {
            let service = args.control.service()?;
            let step = RotateKeys {
                purpose: match args.purpose {
                    Purpose::Signing => KeyPurpose::Signing,
                    Purpose::Turn => KeyPurpose::Turn,
                },
                step: match args.step {
                    Step::Prepare => RotationStep::Prepare,
                    Step::Promote => RotationStep::Promote,
                    Step::Rollback => RotationStep::Rollback,
                    Step::Retire => RotationStep::Retire,
                },
                force: args.force,
            };
            service.got(service.client.rotate_keys(&step).await)?;
            print(&service).await
        }
    }
}

async fn print(service: &Service) -> Result<(), Failure> {
    let page = async |filter: Filter| service.client.keys(&filter).await;
    let keys: Vec<KeyView> = service.all(&Filter::default(), None, page).await?;
    let header = ["purpose", "stage", "id", "made", "so since", "known by"];
    service.print_list(&keys, "no keys", &header, |key| {
        vec![
            word(&key.purpose),
            word(&key.stage),
            key.id.clone(),
            from_now(key.created),
            from_now(key.since),
            known_by(key),
        ]
    })
}

fn known_by(key: &KeyView) -> String {
    match (key.known_by, key.nodes) {
        (_, 0) => "no nodes yet".to_owned(),
        (known, nodes) if known >= nodes => format!("all {nodes} nodes"),
        (known, nodes) => format!("{known} of {nodes} nodes"),
    }
}
