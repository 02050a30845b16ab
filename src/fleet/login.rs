//! `sterna login` and `sterna logout`: a person's session, from name and password to its end.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sterna_control_api::access::{Login, SessionBegun};
use sterna_control_client::Caller;

use super::table::date;
use super::{Service, ServiceArgs, word};
use crate::config::print_json;
use crate::{Failure, say};

/// `sterna login`
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// The person's name.
    name: String,
    /// Where the session is kept, readable by nobody else; `--token-file` takes it. Printed when left out.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    control: ServiceArgs,
}

pub(super) async fn run(args: &LoginArgs) -> Result<(), Failure> {
    let service = Service {
        client: args.control.client(Caller::Anonymous)?,
        json: args.control.json,
        token_from: Some("this name and password".to_owned()),
    };
    let login = Login {
        name: args.name.clone(),
        password: ask("password: ")?,
    };
    let begun = service.got(service.client.login(&login).await)?;
    if let Some(path) = &args.save {
        save(path, &begun)
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        say(&format!(
            "{} until {}; the session is in {}\n",
            word(&begun.role),
            date(begun.expires),
            path.display()
        ));
        return Ok(());
    }
    if service.json {
        return print_json(&begun);
    }
    say(&format!(
        "token  {}\nrole   {}\nvalid  until {}\n",
        begun.token,
        word(&begun.role),
        date(begun.expires)
    ));
    Ok(())
}

/// `sterna logout`
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    control: ServiceArgs,
}

/// Ends the session whose token is found.
pub(super) async fn end(args: &LogoutArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    service.got(service.client.logout().await)?;
    service.print_done("the session has ended", &json!({ "ended": true }))
}

/// A password that is new: typed twice where it is typed.
pub(super) fn new_password() -> Result<String, Failure> {
    let password = ask("new password: ")?;
    if std::io::stdin().is_terminal() && ask("the same again: ")? != password {
        return Err(Failure::Usage("these were two passwords".to_owned()));
    }
    Ok(password)
}

/// The password: typed unseen at a terminal, else the first line of standard input.
fn ask(prompt: &str) -> Result<String, Failure> {
    let read = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(prompt)
    } else {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    let password = read.map_err(|error| Failure::Failed(format!("the password: {error}")))?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage("the password is empty".to_owned()));
    }
    Ok(password.to_owned())
}

/// Made anew, so that nobody has it open who may not read it.
fn save(path: &Path, begun: &SessionBegun) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", begun.token)
}
