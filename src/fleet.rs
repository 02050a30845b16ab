//! The operator's commands: what they ask the control service for, and who asks.

mod audit;
mod devices;
mod keys;
mod login;
mod nodes;
mod regions;
mod revoke;
mod table;
mod tokens;
mod users;

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sterna_control_api::audit::Page;
use sterna_control_api::problem::Code;
use sterna_control_client::{CallError, Caller, ControlClient, Filter, Options};

pub(crate) use self::audit::AuditArgs;
pub(crate) use self::devices::DevicesCommand;
pub(crate) use self::keys::KeysCommand;
pub(crate) use self::login::{LoginArgs, LogoutArgs};
pub(crate) use self::nodes::NodesCommand;
pub(crate) use self::regions::RegionsCommand;
pub(crate) use self::revoke::RevocationArgs;
pub(crate) use self::tokens::{ApiArgs, EnrolArgs, JoinArgs, RevokeArgs, TokensArgs};
pub(crate) use self::users::UsersCommand;
use crate::Failure;
use crate::config::print_json;

/// Entries of one page, the most that the service gives.
const PAGE: u32 = 500;
/// Pages of one list; whoever has more narrows it down.
const PAGES_MAX: usize = 200;

/// Where a control service on this host leaves the first administrator's token, in the order of looking.
const ADMIN_TOKENS: [&str; 3] = [
    "control-data/admin.token",
    "sterna-data/control/admin.token",
    "sterna-data/admin.token",
];

/// Which control service, and who asks.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServiceArgs {
    /// Where the control service is.
    #[arg(
        long,
        value_name = "URL",
        env = "STERNA_CONTROL_URL",
        default_value = "http://127.0.0.1:8478"
    )]
    pub(crate) url: String,
    /// The file with the API token or session. Without it: the variable STERNA_CONTROL_TOKEN, else the
    /// first administrator's of a service that was started here.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself; from the environment only, where other users do not see it.
    #[arg(
        long,
        env = "STERNA_CONTROL_TOKEN",
        hide = true,
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    pub(crate) token: Option<String>,
    /// Certificate authorities to trust instead of the system's (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Talk to another host without TLS, because a tunnel protects it.
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Does a command of the operator.
pub(crate) fn nodes(command: &NodesCommand) -> Result<(), Failure> {
    block_on(nodes::run(command))
}

/// Does a command of the operator.
pub(crate) fn regions(command: &RegionsCommand) -> Result<(), Failure> {
    block_on(regions::run(command))
}

/// Does a command of the operator.
pub(crate) fn devices(command: &DevicesCommand) -> Result<(), Failure> {
    block_on(devices::run(command))
}

/// Does a command of the operator.
pub(crate) fn keys(command: &KeysCommand) -> Result<(), Failure> {
    block_on(keys::run(command))
}

/// Shows the audit log.
pub(crate) fn audit(args: &AuditArgs) -> Result<(), Failure> {
    block_on(audit::run(args))
}

/// Begins a person's session.
pub(crate) fn login(args: &LoginArgs) -> Result<(), Failure> {
    block_on(login::run(args))
}

/// Ends a person's session.
pub(crate) fn logout(args: &LogoutArgs) -> Result<(), Failure> {
    block_on(login::end(args))
}

/// Does a command of the operator.
pub(crate) fn users(command: &UsersCommand) -> Result<(), Failure> {
    block_on(users::run(command))
}

/// Revokes tickets, devices and tenants.
pub(crate) fn revoke(args: &RevocationArgs) -> Result<(), Failure> {
    block_on(revoke::run(args))
}

/// Makes a join token.
pub(crate) fn join_token(args: &JoinArgs) -> Result<(), Failure> {
    block_on(tokens::join(args))
}

/// Makes an enrolment key.
pub(crate) fn enrolment_key(args: &EnrolArgs) -> Result<(), Failure> {
    block_on(tokens::enrol(args))
}

/// Makes an API token.
pub(crate) fn api_token(args: &ApiArgs) -> Result<(), Failure> {
    block_on(tokens::api(args))
}

/// Lists tokens.
pub(crate) fn list_tokens(args: &TokensArgs) -> Result<(), Failure> {
    block_on(tokens::list(args))
}

/// Takes a token back.
pub(crate) fn revoke_token(args: &RevokeArgs) -> Result<(), Failure> {
    block_on(tokens::revoke(args))
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(work)
}

/// The control service, called by whoever has the token.
struct Service {
    client: ControlClient,
    json: bool,
    /// Where the token came from, for what is said when it does not count.
    token_from: Option<String>,
}

impl ServiceArgs {
    fn service(&self) -> Result<Service, Failure> {
        let (caller, token_from) = match self.find_token()? {
            Some((token, from)) => (Caller::Bearer(token), Some(from)),
            None => (Caller::Anonymous, None),
        };
        Ok(Service {
            client: self.client(caller)?,
            json: self.json,
            token_from,
        })
    }

    fn client(&self, caller: Caller) -> Result<ControlClient, Failure> {
        let options = Options {
            ca_file: self.ca_file.clone(),
            insecure_http: self.insecure_http,
            ..Options::default()
        };
        ControlClient::new(&self.url, caller, &options)
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    /// The token, and where it was found.
    fn find_token(&self) -> Result<Option<(String, String)>, Failure> {
        if let Some(path) = &self.token_file {
            return read_token(path).map(Some);
        }
        if let Some(token) = self
            .token
            .as_deref()
            .filter(|token| !token.trim().is_empty())
        {
            let from = "STERNA_CONTROL_TOKEN".to_owned();
            return Ok(Some((token.trim().to_owned(), from)));
        }
        let found = ADMIN_TOKENS
            .iter()
            .map(Path::new)
            .find(|path| path.exists());
        found.map(read_token).transpose()
    }
}

fn read_token(path: &Path) -> Result<(String, String), Failure> {
    let from = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{from}: {error}")))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::Usage(format!("{from}: it is empty")));
    }
    Ok((token.to_owned(), from))
}

impl Service {
    /// What went wrong, with what to do about it.
    fn failure(&self, error: &CallError) -> Failure {
        let url = self.client.url();
        let token = self.token_from.as_deref();
        Failure::Failed(match (error, error.code()) {
            (CallError::Unreachable(reason), _) => format!(
                "{url}: {reason}; name the control service with --url or STERNA_CONTROL_URL (`sterna control` starts one)"
            ),
            (_, Some(Code::Unauthorized)) if token.is_none() => {
                "the control service wants a token: name its file with --token-file, or set STERNA_CONTROL_TOKEN (the first \
                 administrator's is admin.token in the service's data directory)"
                    .to_owned()
            }
            (_, Some(Code::Unauthorized)) => format!(
                "the control service does not accept the token of {}; it may have run out, been taken back, or be another service's",
                token.unwrap_or_default()
            ),
            (_, Some(Code::RoleTooLow)) => format!(
                "the token of {} may not do this: {error}; `sterna token api --role …` makes one that may",
                token.unwrap_or_default()
            ),
            _ => table::plain(&error.to_string()),
        })
    }

    /// A call's answer, or its failure in words.
    fn got<T>(&self, answer: Result<T, CallError>) -> Result<T, Failure> {
        answer.map_err(|error| self.failure(&error))
    }

    /// All pages of a list, up to `limit` entries where one is given.
    async fn all<T, F>(
        &self,
        filter: &Filter,
        limit: Option<usize>,
        page: impl Fn(Filter) -> F,
    ) -> Result<Vec<T>, Failure>
    where
        T: DeserializeOwned,
        F: Future<Output = Result<Page<T>, CallError>>,
    {
        let mut items = Vec::new();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let wanted = limit.map_or(PAGE, |limit| {
                u32::try_from(limit - items.len()).unwrap_or(PAGE).min(PAGE)
            });
            let filter = Filter {
                limit: Some(wanted),
                after: next,
                ..filter.clone()
            };
            let mut got = self.got(page(filter).await)?;
            items.append(&mut got.items);
            next = got.next;
            if next.is_none() || limit.is_some_and(|limit| items.len() >= limit) {
                return Ok(items);
            }
        }
        Err(Failure::Failed(format!(
            "there are more than {} entries; narrow the list down",
            items.len()
        )))
    }

    /// Prints a list: JSON for scripts, a table for people.
    fn print_list<T: Serialize>(
        &self,
        items: &[T],
        none: &str,
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.json {
            return print_json(&items);
        }
        if items.is_empty() {
            crate::say(&format!("{none}\n"));
            return Ok(());
        }
        crate::say(&table::table(header, items.iter().map(row)));
        Ok(())
    }

    /// Prints one thing: JSON for scripts, lines for people.
    fn print_one<T: Serialize>(
        &self,
        item: &T,
        lines: impl FnOnce(&T) -> Vec<(&'static str, String)>,
    ) -> Result<(), Failure> {
        if self.json {
            return print_json(item);
        }
        crate::say(&table::lines(&lines(item)));
        Ok(())
    }

    /// Says that something is done: words for people, the thing for scripts.
    fn print_done(&self, words: &str, item: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            return print_json(item);
        }
        crate::say(&format!("{}\n", table::plain(words)));
        Ok(())
    }
}

/// A word of the API ("address_dependent") as it travels.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
