//! Load on the control service: requests that are signed ahead of time, since k6 cannot sign Ed25519.
//!
//! `sterna bench control sign` registers the nodes and devices that a scenario needs, and writes
//! every request of it, with the plan by which `bench/k6/` sends them. A signature counts for a
//! minute to either side of its time, so each request carries the time at which the plan sends it,
//! and the file is written right before the run.

mod fleet;
mod plan;
mod requests;

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use sterna_control_client::{Caller, ControlClient, Options};

use self::fleet::Fleet;
use self::plan::{Plan, Profile, Scenario};
use self::requests::{Clock, Signed};
use crate::error::BenchError;

/// `sterna bench control …`
#[derive(Subcommand, Clone, Debug)]
pub enum ControlCommand {
    /// Write the signed requests of a scenario, right before k6 sends them.
    #[command(
        after_help = "Example:\n  sterna bench control sign --scenario heartbeats --profile load --out requests.json\n  \
                      k6 run --env REQUESTS=$PWD/requests.json bench/k6/heartbeats.js"
    )]
    Sign(SignArgs),
}

/// What to sign.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// The control service.
    #[arg(
        long,
        value_name = "URL",
        env = "STERNA_CONTROL_URL",
        default_value = "http://127.0.0.1:8478"
    )]
    url: String,
    /// The file with an operator's API token, to make regions, tokens and keys with.
    #[arg(long, value_name = "FILE", default_value = "control-data/admin.token")]
    token_file: PathBuf,
    /// What is asked for.
    #[arg(long)]
    scenario: Scenario,
    /// How much of it, and for how long.
    #[arg(long, env = "PROFILE", default_value = "smoke")]
    profile: Profile,
    /// Where the requests are written to.
    #[arg(long, value_name = "FILE", default_value = "requests.json")]
    out: PathBuf,
    /// Talk to another host without TLS.
    #[arg(long)]
    insecure_http: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct SignReport {
    /// What is asked for.
    scenario: Scenario,
    /// How much of it.
    profile: Profile,
    /// Requests in the file.
    requests: usize,
    /// Nodes and devices that were registered for them.
    registered: usize,
    /// Seconds that the plan takes.
    seconds: u32,
    /// Where they are.
    out: PathBuf,
}

impl fmt::Display for SignReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} signed requests for {} s in {} ({} registered for them); send them within a minute",
            self.requests,
            self.seconds,
            self.out.display(),
            self.registered
        )
    }
}

/// The file that k6 reads.
#[derive(Serialize)]
struct Document<'a> {
    url: &'a str,
    scenario: Scenario,
    profile: Profile,
    plan: &'a Plan,
    requests: &'a [Signed],
}

pub(crate) fn sign(args: &SignArgs) -> Result<SignReport, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(write(args))
}

async fn write(args: &SignArgs) -> Result<SignReport, BenchError> {
    let token = std::fs::read_to_string(&args.token_file).map_err(|error| BenchError::Control {
        what: args.token_file.display().to_string(),
        why: error.to_string(),
    })?;
    let options = Options {
        insecure_http: args.insecure_http,
        ..Options::default()
    };
    let client = ControlClient::new(&args.url, Caller::Bearer(token.trim().to_owned()), &options)
        .map_err(|error| BenchError::Control {
        what: "--url".to_owned(),
        why: error.to_string(),
    })?;
    let plan = Plan::new(args.scenario, args.profile);
    let fleet = Fleet::make(&client, args.scenario, &plan).await?;
    let requests = requests::all(args.scenario, &plan, &fleet, &client, &Clock::now());
    let file = File::create(&args.out).map_err(|error| BenchError::Control {
        what: args.out.display().to_string(),
        why: error.to_string(),
    })?;
    let mut file = BufWriter::new(file);
    let document = Document {
        url: client.url(),
        scenario: args.scenario,
        profile: args.profile,
        plan: &plan,
        requests: &requests,
    };
    serde_json::to_writer(&mut file, &document).map_err(std::io::Error::from)?;
    file.flush()?;
    Ok(SignReport {
        scenario: args.scenario,
        profile: args.profile,
        requests: requests.len(),
        registered: fleet.registered(),
        seconds: plan.seconds(),
        out: args.out.clone(),
    })
}
