//! `sterna token join|enrol|api|list|revoke`: what lets nodes join, devices enrol and scripts call.

use clap::{Args, ValueEnum};
use serde_json::json;
use sterna_control_api::access::{
    NewApiToken, NewEnrolmentKey, NewJoinToken, Role, TokenKind, TokenMade, TokenView,
};
use sterna_control_api::{GroupId, TenantId};
use sterna_control_client::Filter;

use super::table::{date, from_now};
use super::{Service, ServiceArgs, word};
use crate::config::print_json;
use crate::{Failure, say};

/// `sterna token join`
#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// The code of the region that its nodes are of.
    #[arg(long, value_name = "CODE")]
    region: String,
    /// How many nodes it lets in.
    #[arg(long, value_name = "NODES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// How long it is valid, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// What it is for, for people.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// `sterna token enrol`
#[derive(Args, Debug)]
pub(crate) struct EnrolArgs {
    /// The tenant of its devices, in hexadecimal. Devices of different tenants never meet.
    #[arg(long, value_name = "HEX")]
    tenant: TenantId,
    /// A group of its devices, in hexadecimal; two devices may talk when they share one. Up to 8 times.
    #[arg(long = "group", value_name = "HEX", required = true)]
    groups: Vec<GroupId>,
    /// A tag of its devices. Repeatable.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// How many devices it lets in; 0: any number.
    #[arg(long, value_name = "DEVICES", default_value_t = 1)]
    uses: u32,
    /// How long it is valid, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// What it is for, for people.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// `sterna token api`
#[derive(Args, Debug)]
pub(crate) struct ApiArgs {
    /// What it may do: at most what the token that makes it may.
    #[arg(long)]
    role: RoleName,
    /// How long it is valid, in seconds; 0: until it is taken back.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    ttl: u32,
    /// What it is for, for people.
    #[arg(long)]
    note: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// `sterna token list`
#[derive(Args, Debug)]
pub(crate) struct TokensArgs {
    /// Of this kind; all when left out.
    kind: Option<Kind>,
    #[command(flatten)]
    control: ServiceArgs,
}

/// `sterna token revoke`
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The token's id, as `sterna token list` shows it.
    #[arg(allow_hyphen_values = true)]
    id: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// [`Role`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    /// Sees everything but secrets.
    Auditor,
    /// Drains nodes, makes regions, tokens and keys.
    Operator,
    /// Makes users and gives roles.
    Administrator,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Auditor => Self::Auditor,
            RoleName::Operator => Self::Operator,
            RoleName::Administrator => Self::Administrator,
        }
    }
}

/// [`TokenKind`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Lets nodes join.
    Join,
    /// Lets devices enrol.
    Enrol,
    /// Lets scripts call.
    Api,
}

pub(super) async fn join(args: &JoinArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let wanted = NewJoinToken {
        region: args.region.clone(),
        uses_max: args.uses,
        ttl_s: args.ttl,
        note: args.note.clone(),
    };
    let made = service.got(service.client.make_join_token(&wanted).await)?;
    let next = format!(
        "On the node, which keeps its own key afterwards:\n\n  STERNA_NODE_REGION={} STERNA_CONTROL_URL={} STERNA_CONTROL_JOIN_TOKEN={} sterna relay\n",
        args.region,
        service.client.url(),
        made.token
    );
    print_made(&service, &made, &next)
}

pub(super) async fn enrol(args: &EnrolArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let wanted = NewEnrolmentKey {
        tenant: args.tenant,
        groups: args.groups.clone(),
        tags: args.tags.clone(),
        uses_max: args.uses,
        ttl_s: args.ttl,
        note: args.note.clone(),
    };
    let made = service.got(service.client.make_enrolment_key(&wanted).await)?;
    print_made(
        &service,
        &made,
        "A device shows it once, and proves itself by its own key afterwards.\n",
    )
}

pub(super) async fn api(args: &ApiArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let wanted = NewApiToken {
        role: args.role.into(),
        ttl_s: args.ttl,
        note: args.note.clone(),
    };
    let made = service.got(service.client.make_api_token(&wanted).await)?;
    let next =
        "Put it into a file that nobody else reads (--token-file), or into STERNA_CONTROL_TOKEN.\n";
    print_made(&service, &made, next)
}

/// The secret is shown here and never again.
fn print_made(service: &Service, made: &TokenMade, next: &str) -> Result<(), Failure> {
    if service.json {
        return print_json(made);
    }
    let until = match made.expires {
        0 => "until it is taken back".to_owned(),
        at => format!("until {}", date(at)),
    };
    say(&format!(
        "token  {}\nid     {}\nvalid  {until}\n\nIt is shown this once. {next}",
        made.token, made.id
    ));
    Ok(())
}

pub(super) async fn list(args: &TokensArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let client = &service.client;
    let wants = |kind| args.kind.is_none_or(|wanted| wanted == kind);
    let every = Filter::default();
    let mut tokens: Vec<TokenView> = Vec::new();
    if wants(Kind::Join) {
        let page = async |filter: Filter| client.join_tokens(&filter).await;
        tokens.extend(service.all(&every, None, page).await?);
    }
    if wants(Kind::Enrol) {
        let page = async |filter: Filter| client.enrolment_keys(&filter).await;
        tokens.extend(service.all(&every, None, page).await?);
    }
    if wants(Kind::Api) {
        let page = async |filter: Filter| client.api_tokens(&filter).await;
        tokens.extend(service.all(&every, None, page).await?);
    }
    let header = ["kind", "for", "uses", "made", "runs out", "note", "id"];
    service.print_list(&tokens, "no tokens", &header, |token| {
        vec![
            match token.kind {
                TokenKind::Join => "join",
                TokenKind::Enrolment => "enrol",
                TokenKind::Api => "api",
            }
            .to_owned(),
            whom_for(token),
            uses(token),
            from_now(token.created),
            runs_out(token),
            token.note.clone(),
            token.id.clone(),
        ]
    })
}

fn whom_for(token: &TokenView) -> String {
    let region = token
        .region
        .as_ref()
        .map(|region| format!("region {region}"));
    let tenant = token.tenant.map(|tenant| format!("tenant {tenant}"));
    let role = token.role.map(|role| word(&role));
    region.or(tenant).or(role).unwrap_or_else(|| "-".to_owned())
}

fn uses(token: &TokenView) -> String {
    match (token.kind, token.uses_max) {
        (TokenKind::Api, _) => "-".to_owned(),
        (_, 0) => format!("{}", token.uses),
        (_, max) => format!("{} of {max}", token.uses),
    }
}

fn runs_out(token: &TokenView) -> String {
    if token.revoked {
        "revoked".to_owned()
    } else {
        from_now(token.expires)
    }
}

pub(super) async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    service.got(service.client.revoke_token(&args.id).await)?;
    let told = format!("token {} no longer counts", args.id);
    service.print_done(&told, &json!({ "id": args.id, "revoked": true }))
}
