//! `sterna users …`: the people who may log in, and what each may do.

use clap::{Args, Subcommand};
use serde_json::json;
use sterna_control_api::access::{NewUser, PatchUser, UserView};
use sterna_control_client::Filter;

use super::login::new_password;
use super::table::from_now;
use super::tokens::RoleName;
use super::{ServiceArgs, word};
use crate::Failure;

/// `sterna users …`
#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Lists the people.
    #[command(after_help = "Example:\n  sterna users list")]
    List(ListArgs),
    /// Adds a person.
    #[command(
        after_help = "The password is asked for twice, or read from standard input: 12 characters at least.\n\n\
                      Example:\n  sterna users add olga --role operator"
    )]
    Add(AddArgs),
    /// Gives a person another role.
    #[command(after_help = "Example:\n  sterna users role olga administrator")]
    Role(RoleArgs),
    /// Gives a person a new password, which ends the person's sessions.
    #[command(
        after_help = "It is asked for twice, or read from standard input: 12 characters at least. Everybody may change \
                      the own one.\n\nExample:\n  sterna users password olga"
    )]
    Password(UserArgs),
    /// Takes a person away, and ends the person's sessions; the last administrator stays.
    #[command(after_help = "Example:\n  sterna users remove olga")]
    Remove(UserArgs),
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which person.
#[derive(Args, Debug)]
pub(crate) struct UserArgs {
    /// The person's name.
    name: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// A new person.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// The person's name: no other has it.
    name: String,
    /// What the person may do.
    #[arg(long)]
    role: RoleName,
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which person, and what the person may do.
#[derive(Args, Debug)]
pub(crate) struct RoleArgs {
    /// The person's name.
    name: String,
    /// What the person may do from now on.
    role: RoleName,
    #[command(flatten)]
    control: ServiceArgs,
}

pub(super) async fn run(command: &UsersCommand) -> Result<(), Failure> {
    match command {
        UsersCommand::List(args) => list(args).await,
        UsersCommand::Add(args) => add(args).await,
        UsersCommand::Role(args) => {
            let patch = PatchUser {
                role: Some(args.role.into()),
                ..PatchUser::default()
            };
            patched(&args.control, &args.name, &patch, "from now on").await
        }
        UsersCommand::Password(args) => {
            let patch = PatchUser {
                password: Some(new_password()?),
                ..PatchUser::default()
            };
            let told = "with a new password; the sessions of before have ended";
            patched(&args.control, &args.name, &patch, told).await
        }
        UsersCommand::Remove(args) => {
            let service = args.control.service()?;
            service.got(service.client.remove_user(&args.name).await)?;
            let told = format!("{} is gone, and so are the sessions", args.name);
            service.print_done(&told, &json!({ "name": args.name, "removed": true }))
        }
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let page = async |filter: Filter| service.client.users(&filter).await;
    let users: Vec<UserView> = service.all(&Filter::default(), None, page).await?;
    let none =
        "nobody (`sterna users add` adds a person); API tokens are in `sterna token list api`";
    service.print_list(&users, none, &["name", "role", "added"], |user| {
        vec![user.name.clone(), word(&user.role), from_now(user.created)]
    })
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let user = NewUser {
        name: args.name.clone(),
        password: new_password()?,
        role: args.role.into(),
    };
    let added = service.got(service.client.add_user(&user).await)?;
    let told = format!(
        "{} is {}, and logs in with `sterna login {}`",
        added.name,
        word(&added.role),
        added.name
    );
    service.print_done(&told, &added)
}

async fn patched(
    control: &ServiceArgs,
    name: &str,
    patch: &PatchUser,
    told: &str,
) -> Result<(), Failure> {
    let service = control.service()?;
    let user = service.got(service.client.patch_user(name, patch).await)?;
    let told = format!("{} is {} {told}", user.name, word(&user.role));
    service.print_done(&told, &user)
}
