//! What one value cannot show alone.

use sterna_daemon::config::{Fault, out_of_range};
use sterna_daemon::log::LogLevel;

use super::Config;

/// Everything that keeps the service from starting.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let control = &config.control;
    let beyond_loopback = !control.listen.ip().is_loopback();
    let url = &control.public_url;
    let given = [
        (
            control.tls_certificate.is_some() && control.tls_key.is_none(),
            "control.tls_key",
            "there is a control.tls_certificate without its key; give both, or neither".to_owned(),
        ),
        (
            control.tls_key.is_some() && control.tls_certificate.is_none(),
            "control.tls_certificate",
            "there is a control.tls_key without its certificate; give both, or neither".to_owned(),
        ),
        (
            beyond_loopback && !config.is_tls() && !control.insecure_http,
            "control.listen",
            format!(
                "{} can be reached from other hosts, and passwords and tokens would travel in the clear; \
                 set control.tls_certificate and control.tls_key, or control.insecure_http = true behind a proxy that ends TLS",
                control.listen
            ),
        ),
        (
            !url.is_empty() && authority_of(url).is_none(),
            "control.public_url",
            "write a URL such as \"https://control.example.org\", without a path".to_owned(),
        ),
        (
            !["", "sqlite", "postgres", "postgresql"].contains(&scheme(&config.database.url)),
            "database.url",
            "write sqlite:PATH or postgres://user:password@host/name".to_owned(),
        ),
        (
            config.limits.websockets_max > config.limits.connections_max,
            "limits.websockets_max",
            "a WebSocket is a connection; raise limits.connections_max above it".to_owned(),
        ),
    ];
    let mut faults = out_of_range(config);
    faults.extend(
        given
            .into_iter()
            .filter_map(|(applies, key, sentence)| applies.then_some((key, sentence))),
    );
    faults
}

/// What the service starts with all the same.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let control = &config.control;
    let beyond_loopback = !control.listen.ip().is_loopback();
    let faults = [
        (
            beyond_loopback && !config.is_tls(),
            format!(
                "control.listen: {} speaks plain HTTP; whoever is on the way reads tokens. A proxy in front must end TLS",
                control.listen
            ),
        ),
        (
            control.behind_proxy && control.listen.ip().is_unspecified(),
            "control.behind_proxy: whoever reaches the port without the proxy chooses the address by which rates are counted".to_owned(),
        ),
        (
            config.log.level == LogLevel::Trace,
            "log.level: trace writes of each request".to_owned(),
        ),
    ];
    faults
        .into_iter()
        .filter_map(|(applies, sentence)| applies.then_some(sentence))
        .collect()
}

/// Host and port of the service's URL, as requests are signed over them.
pub(crate) fn authority_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    (!authority.is_empty() && !authority.contains(['/', '?', '#', '@'])).then_some(authority)
}

fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}
