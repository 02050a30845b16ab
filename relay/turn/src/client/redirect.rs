//! Going to another server at the word of the one that was asked (RFC 8489 §10).
//!
//! A 300 (Try Alternate) to an Allocate names a server. The machine owns no socket, so it says so
//! ([`Event::Redirected`]); its owner opens the same kind of transport to that server and calls
//! [`TurnClient::follow`], which asks there for the same allocation with the same credentials.

use std::net::SocketAddr;
use std::time::Instant;

use sterna_stun::attr::{AlternateDomain, AlternateServer};
use sterna_stun::message::Message;

use super::TurnClient;
use super::config::AllocateOptions;
use super::event::{ClientError, Event, Redirect};
use super::limits::{SERVERS_MAX, SERVERS_REMEMBERED};
use super::request::Request;

/// Where the client has been lately, and where it is to go.
#[derive(Debug, Default)]
pub(super) struct Redirection {
    /// Servers that were asked for an allocation, and when.
    asked: Vec<(SocketAddr, Instant)>,
    next: Option<(SocketAddr, AllocateOptions)>,
}

impl Redirection {
    /// Notes that `server` is asked now, and forgets what is long ago.
    pub(super) fn note(&mut self, now: Instant, server: Option<SocketAddr>) {
        self.next = None;
        self.asked
            .retain(|(_, at)| now.duration_since(*at) < SERVERS_REMEMBERED);
        if let Some(server) = server {
            self.asked.retain(|(asked, _)| *asked != server);
            self.asked.push((server, now));
        }
    }

    /// Whether a redirection to `server` may be followed.
    ///
    /// RFC 8489 §10: "If the client has been redirected to a server to which it has already sent
    /// this request within the last five minutes, it MUST ignore the redirection and consider the
    /// transaction to have failed."
    fn may_lead_to(&self, now: Instant, server: SocketAddr) -> bool {
        let mut recent = self
            .asked
            .iter()
            .filter(|(_, at)| now.duration_since(*at) < SERVERS_REMEMBERED);
        self.asked.len() < SERVERS_MAX && !recent.any(|(asked, _)| *asked == server)
    }
}

impl TurnClient {
    /// Asks for the allocation at the server that [`Event::Redirected`] named, over a socket or
    /// connection to it that the owner has opened; what comes from the old one is not to be given
    /// to the machine any more. Answered by [`Event::Allocated`].
    pub fn follow(&mut self, now: Instant) -> Result<(), ClientError> {
        let next = self.redirection.next.take();
        let (server, options) = next.ok_or(ClientError::NotRedirected)?;
        self.config.server = Some(server);
        self.pending.clear();
        self.to_send.clear();
        // RFC 8489 §10: "the same credentials"; realm and nonce are the other server's own.
        self.auth.forget();
        self.allocate(now, options)
    }

    /// Takes in a 300 to an Allocate.
    pub(super) fn redirected(
        &mut self,
        now: Instant,
        options: AllocateOptions,
        message: &Message<'_>,
    ) {
        let Some(redirect) = self.way_out(message) else {
            self.fail(now, Request::Allocate(options), ClientError::BadAnswer);
            return;
        };
        if !self.redirection.may_lead_to(now, redirect.server) {
            let error = ClientError::RedirectedInCircles;
            self.fail(now, Request::Allocate(options), error);
            return;
        }
        self.redirection.next = Some((redirect.server, options));
        self.events.push_back(Event::Redirected(redirect));
    }

    /// The server of the family that the client uses now, else the first.
    fn way_out(&self, message: &Message<'_>) -> Option<Redirect> {
        let servers = message.find_all::<AlternateServer>();
        let usable = |server: &SocketAddr| server.port() != 0 && !server.ip().is_unspecified();
        let servers: Vec<_> = servers
            .filter_map(|server| server.ok().map(|AlternateServer(server)| server))
            .filter(usable)
            .collect();
        let is_ipv4 = self.config.server.map(|server| server.is_ipv4());
        let alike = servers
            .iter()
            .find(|server| is_ipv4.is_none_or(|is_ipv4| server.is_ipv4() == is_ipv4));
        let server = *alike.or(servers.first())?;
        let domain = message.find::<AlternateDomain<'_>>().ok()?;
        Some(Redirect {
            server,
            domain: domain.map(|AlternateDomain(domain)| domain.into()),
        })
    }
}
