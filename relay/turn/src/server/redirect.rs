//! Sending a client elsewhere: 300 (Try Alternate) in place of an allocation (RFC 8489 §10, RFC 8656
//! §7.2 step 11).
//!
//! Only who has shown credentials is sent away, so that the answer can be signed and nobody on the
//! path can forge it. Whoever has an allocation keeps it.

use sterna_stun::attr::ErrorCode;

use super::{
    Server,
    authenticate::Credentials,
    respond::{Refusal, Request},
};
use crate::{RedirectWhen, Transport, algorithm::Algorithm};

impl Server {
    /// What a client is told that gets no allocation for this `cause`: where to go in place of a 508,
    /// `otherwise` in place of anything else, or where there is nowhere to go.
    pub(super) fn elsewhere(
        &mut self,
        request: &Request,
        credentials: Option<&Credentials>,
        cause: RedirectWhen,
        otherwise: Refusal,
    ) -> Refusal {
        let is_508 = matches!(otherwise, Refusal::Code(ErrorCode::INSUFFICIENT_CAPACITY));
        if self.config.alternates.when < cause || !is_508 {
            return otherwise;
        }
        let Some(credentials) = credentials else {
            return otherwise;
        };
        // RFC 8489 §10: ALTERNATE-DOMAIN is for clients that sign by SHA-256. The older ones would
        // look for the wrong name in the certificate, and are not sent into that.
        let is_tls = request.client.transport == Transport::Tls;
        let knows_domain = credentials.mac.algorithm() != Algorithm::Unnamed;
        if is_tls && !knows_domain && !self.config.alternates.domain.is_empty() {
            return otherwise;
        }
        let config = std::sync::Arc::clone(&self.config);
        let client = &request.client;
        let found = config
            .alternates
            .pick(client.transport, client.addr, |bound| self.below(bound));
        found.map_or(otherwise, |alternate| Refusal::Elsewhere(alternate.into()))
    }

    /// Takes nobody while the node drains, or where the operator wants it to take nobody.
    pub(super) fn check_open(
        &mut self,
        request: &Request,
        credentials: Option<&Credentials>,
    ) -> Result<(), Refusal> {
        let cause = if self.draining {
            RedirectWhen::Draining
        } else if self.config.alternates.when == RedirectWhen::Always {
            RedirectWhen::Always
        } else {
            return Ok(());
        };
        let refusal = self.elsewhere(request, credentials, cause, Refusal::CAPACITY);
        if self.draining && matches!(refusal, Refusal::Code(_)) {
            self.counters.refused_draining += 1;
        }
        Err(refusal)
    }
}

#[cfg(test)]
mod tests;
