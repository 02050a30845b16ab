//! Binding where NAT behaviour discovery is served (RFC 5780 §6.1).
//!
//! Whatever is asked, the answer goes to the address that the request came from, takes a token of
//! its prefix, and is at most 3.6 times as long (5 times over IPv6, whose addresses are 12 bytes
//! longer): who forges a source gains nothing by CHANGE-REQUEST, RESPONSE-PORT or PADDING that he
//! would not have without.

use std::sync::Arc;

use sterna_stun::{
    attr::{
        AttributeError, ChangeRequest, MappedAddress, OtherAddress, Padding, ResponseOrigin,
        ResponsePort, XorMappedAddress,
    },
    message::Message,
};

use super::{
    Server,
    respond::{Refusal, Request},
};
use crate::{
    Client,
    limits::{PADDING_BYTES_MAX, RESPONSE_PORT_MIN},
};

/// A request this long pays for MAPPED-ADDRESS over IPv6 within five times its length.
const MAPPED_V6_REQUEST_BYTES_MIN: usize = 24;

const _: () = assert!(20 + 4 * 24 <= 5 * MAPPED_V6_REQUEST_BYTES_MIN);

/// What a request asks for beside its answer.
struct Asked {
    change: ChangeRequest,
    port: Option<u16>,
    /// The length of the PADDING that it brings.
    padding: Option<usize>,
}

impl Server {
    /// Tells whether the client has sent to one of the sockets of discovery.
    pub(super) fn discovers(&self, client: &Client) -> bool {
        let mut served = self.config.discovery.iter();
        served.any(|discovery| discovery.place_of(client).is_some())
    }

    /// Answers a request whose attributes are all understood.
    pub(super) fn discover(&mut self, request: &Request, message: &Message<'_>) {
        let Ok(Some(asked)) = Asked::of(message) else {
            return self.refuse(request, None, &Refusal::BAD_REQUEST);
        };
        let config = Arc::clone(&self.config);
        let Some(place) = config
            .discovery
            .iter()
            .find_map(|discovery| discovery.place_of(&request.client))
        else {
            return;
        };
        let Client { addr: mapped, .. } = request.client;
        let origin = place.origin(asked.change);
        let padding = asked.padding.map(|len| len.min(PADDING_BYTES_MAX));
        let pays_for_mapped =
            mapped.is_ipv4() || message.bytes().len() >= MAPPED_V6_REQUEST_BYTES_MIN;

        let mut answered = *request;
        answered.client.route = origin.route;
        answered.client.server = origin.local;
        // RFC 5780 §7.5: "to the source IP address of the Binding Request and the port contained
        // in RESPONSE-PORT".
        answered
            .client
            .addr
            .set_port(asked.port.unwrap_or(mapped.port()));
        answered.room += padding.map_or(0, |len| 4 + len);
        self.succeed(&answered, None, |writer| {
            writer.attr(&XorMappedAddress(mapped))?;
            if pays_for_mapped {
                writer.attr(&MappedAddress(mapped))?;
            }
            writer.attr(&ResponseOrigin(origin.public))?;
            writer.attr(&OtherAddress(place.other().public))?;
            padding.map_or(Ok(()), |len| {
                writer.attr(&Padding(&[0; PADDING_BYTES_MAX][..len]))
            })
        });
        self.counters.discovery_changed += u64::from(asked.change.ip || asked.change.port);
        self.counters.discovery_redirected += u64::from(asked.port.is_some());
        self.counters.discovery_padded += u64::from(padding.is_some());
    }
}

impl Asked {
    /// Reads the request; nothing where it asks for what is not granted.
    fn of(message: &Message<'_>) -> Result<Option<Self>, AttributeError> {
        let asked = Self {
            change: message.find()?.unwrap_or(ChangeRequest {
                ip: false,
                port: false,
            }),
            port: message.find()?.map(|ResponsePort(port)| port),
            padding: message.find()?.map(|Padding(bytes)| bytes.len()),
        };
        // A client's port behind any NAT is one that is not a service's: the answer is not to
        // reach a service beside the client that might answer it.
        let is_service = asked.port.is_some_and(|port| port < RESPONSE_PORT_MIN);
        // RFC 5780 §6.1: PADDING together with RESPONSE-PORT is 400.
        let is_both = asked.port.is_some() && asked.padding.is_some();
        Ok((!is_service && !is_both).then_some(asked))
    }
}

#[cfg(test)]
mod tests;
