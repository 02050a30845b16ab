//! A certificate from an ACME authority (RFC 8555): obtained, renewed in time, served without a
//! pause.
//!
//! The names are proved by TLS-ALPN-01 (RFC 8737) on the node's own TLS listeners, or by HTTP-01 on a
//! listener that speaks only while an order is open. What is obtained goes into a file that is
//! served like any other certificate: connections that stand keep theirs. Until the first one is
//! there, a self-signed one is served, so that TCP and UDP need not wait for the authority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

mod challenge;
mod error;
mod files;
mod http01;
mod order;
mod web;

pub use error::AcmeError;

pub(crate) use challenge::{ACME_TLS, Answers, is_authority};
pub(crate) use files::certificate_path;
pub(crate) use http01::HttpListeners;

use files::{Held, Store};
use order::Issuer;
use web::Web;

use super::{Certificates, unix_s};
use crate::config;

/// The schedule looks at the clock this often, so that one that is set does not cost a renewal.
const CLOCK_LOOK: Duration = Duration::from_secs(3600);

/// How long after a first failure the next try comes; each further failure doubles it. An authority
/// that takes five failures an hour (Let's Encrypt) is asked five times in the first.
const RETRY_FIRST: Duration = Duration::from_secs(120);

/// Beyond this it does not grow.
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);

/// The least where the authority says that it was asked too often.
const RETRY_RATE_LIMITED: Duration = Duration::from_secs(3600);

/// What the node's metrics say of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AcmeCounters {
    /// Certificates that were obtained.
    pub issued: u64,
    /// Orders that failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    issued: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    pub(super) fn read(&self) -> AcmeCounters {
        AcmeCounters {
            issued: self.issued.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The running renewal and its listener; ends when dropped.
#[derive(Debug)]
pub(crate) struct Renewal(Vec<JoinHandle<()>>);

impl Renewal {
    /// Obtains and renews from now on, on the runtime that this is called on; nothing where ACME is
    /// not configured.
    pub(crate) fn start(
        certificates: &Certificates,
        config: &config::Config,
        listeners: HttpListeners,
    ) -> std::io::Result<Self> {
        let Some(acme) = &config.tls.acme else {
            return Ok(Self(Vec::new()));
        };
        let answers = certificates.answers();
        let mut tasks = listeners.serve(&answers)?;
        let provider = Arc::clone(certificates.server.crypto_provider());
        let (ca_file, trusted) = (acme.ca_file.clone(), Arc::clone(&provider));
        let issuer = Issuer {
            config: acme.clone(),
            store: Store::new(&config.node.data_dir, &acme.directory),
            answers,
            provider,
            connect: Box::new(move || Ok(Box::new(Web::new(ca_file.as_deref(), &trusted)?))),
        };
        let keeper = Keeper {
            issuer,
            certificates: certificates.clone(),
            retry_first: RETRY_FIRST,
        };
        tasks.push(tokio::spawn(keeper.run()));
        Ok(Self(tasks))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Reads what a configuration names without asking anybody.
pub(super) fn check(acme: &config::Acme) -> Result<(), AcmeError> {
    acme.ca_file
        .as_deref()
        .map_or(Ok(()), |path| web::roots(Some(path)).map(drop))
}

/// Keeps the certificate valid.
#[derive(Debug)]
struct Keeper {
    issuer: Issuer,
    certificates: Certificates,
    retry_first: Duration,
}

impl Keeper {
    async fn run(self) {
        let mut failures = 0;
        // Nodes that were set up together do not all come at the same moment.
        let jitter = rand::random::<f64>();
        loop {
            self.until_due(jitter).await;
            match self.renew().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let wait = backoff(self.retry_first, failures, &error, rand::random::<f64>());
                    let expires = self.certificates.certificate().expires();
                    warn!(%error, retry_in_s = wait.as_secs(), %expires, "no certificate could be obtained; the one that is served stays");
                    sleep(wait).await;
                }
            }
        }
    }

    async fn until_due(&self, jitter: f64) {
        loop {
            let wait = match self.due_unix_s(jitter) {
                None => return,
                Some(due) => u64::try_from(due - unix_s()).unwrap_or(0),
            };
            if wait == 0 {
                return;
            }
            sleep(Duration::from_secs(wait).min(CLOCK_LOOK)).await;
        }
    }

    /// When the certificate is to be renewed; nothing where there is none, or another is wanted.
    fn due_unix_s(&self, jitter: f64) -> Option<i64> {
        let held = self.issuer.store.certificate()?;
        let fits =
            held.directory == self.issuer.config.directory && held.names == self.issuer.names();
        fits.then(|| renewal_unix_s(&held, jitter))
    }

    async fn renew(&self) -> Result<(), AcmeError> {
        let tally = &self.certificates.acme;
        let renewed = self.issuer.obtain().await.and_then(|()| self.serve());
        let counter = if renewed.is_ok() {
            &tally.issued
        } else {
            &tally.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
        renewed
    }

    /// Serves what was obtained, from the next handshake on.
    fn serve(&self) -> Result<(), AcmeError> {
        let served = self.certificates.refresh();
        served.map_err(|error| AcmeError::Unusable(error.to_string()))?;
        let due = self.due_unix_s(0.0);
        let Some(due) = due.filter(|due| *due > unix_s()) else {
            // Asking again at once would bring the same.
            return Err(AcmeError::Unusable(
                "it is due for renewal already, or for other names; check this host's clock"
                    .to_owned(),
            ));
        };
        let renewal_in_s = due - unix_s();
        info!(names = ?self.issuer.config.domains, renewal_in_s, "a certificate was obtained by ACME");
        Ok(())
    }
}

/// Two thirds through a certificate's life, up to a thirtieth of it earlier: `jitter` is from 0 to 1.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "seconds of a life of years"
)]
fn renewal_unix_s(held: &Held, jitter: f64) -> i64 {
    let life = (held.not_after_unix_s - held.not_before_unix_s) as f64;
    held.not_before_unix_s + (life * (2.0 / 3.0 - jitter / 30.0)) as i64
}

/// How long to wait after so many failures in a row: `jitter` from 0 to 1 adds up to a quarter.
fn backoff(first: Duration, failures: u32, error: &AcmeError, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(
        1u32.checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    let least = if error.is_rate_limit() {
        RETRY_RATE_LIMITED
    } else {
        Duration::ZERO
    };
    doubled
        .min(RETRY_MAX)
        .max(least)
        .mul_f64(1.0 + jitter / 4.0)
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
