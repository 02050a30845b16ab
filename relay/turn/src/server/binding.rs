//! Binding (RFC 8489 §12): what the client looks like from here. Touches no table.

use sterna_stun::{
    attr::XorMappedAddress,
    message::{Class, Message},
};

use super::{
    Server, known,
    respond::{Refusal, Request},
};
use crate::{DropReason, Method, Outcome, Verdict, tick::Tick};

impl Server {
    pub(super) fn binding(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
    ) -> Result<Verdict, DropReason> {
        let discovers = self.discovers(&request.client);
        let unknown = message.unknown_required(|type_| {
            known::is_known(request.method, type_) || (discovers && known::is_of_discovery(type_))
        });
        if message.class() == Class::Indication {
            // RFC 8489 §6.3.2: an indication is never answered; this one keeps a NAT's mapping.
            if !unknown.is_empty() {
                return Err(DropReason::UnknownAttribute);
            }
            self.counters
                .count_message(Method::Binding, Outcome::Success);
            return Ok(Verdict::Handled);
        }
        self.may_answer(now, request, false)?;
        if !unknown.is_empty() {
            self.refuse(request, None, &Refusal::Unknown(unknown));
        } else if discovers {
            self.discover(request, message);
        } else {
            let mapped = XorMappedAddress(request.client.addr);
            self.succeed(request, None, |writer| writer.attr(&mapped));
        }
        Ok(Verdict::Handled)
    }
}

#[cfg(test)]
mod tests;
