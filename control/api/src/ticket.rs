//! The relay ticket: what a device shows a node, signed by the control service.
//!
//! A ticket names a device, the key that the device proves itself with, and what it may do. Nodes
//! verify it offline. It is bound to no address, and without the private half of its relay key it
//! is worth nothing.
//!
//! ```text
//! offset  bytes  field
//!      0      1  version: 1
//!      1      4  id of the signing key: the first bytes of its public half
//!      5      8  tenant
//!     13      8  ticket id
//!     21     16  device id
//!     37     32  device key: the WireGuard public key, a name only
//!     69     32  relay key: X25519, the static key of the device's handshakes
//!    101      8  not before, seconds since 1970
//!    109      8  expiry, seconds since 1970
//!    117      8  rate class: bytes a second, 0 for the node's own cap
//!    125      4  rate class: packets a second, 0 for the node's own cap
//!    129      2  rate class: flows, 0 for the node's own cap
//!    131      1  a: length of the audience, 1 to 32
//!    132      a  audience: the fleet's name
//!  132+a      1  g: number of groups, 0 to 8
//!  133+a    4·g  groups, ascending
//!      …     64  Ed25519 signature over the context string and everything before
//! ```
//!
//! Integers are in network order. Nothing follows the signature.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, DeviceKey, Fleet, GroupId, RelayKey, TenantId, TicketId};
use crate::key::{KeyId, KeySet, SIGNATURE_BYTES, SigningKey};
use crate::limits::{
    CLOCK_SKEW_MAX_S, FLEET_BYTES_MAX, GROUPS_MAX, TICKET_BYTES_MAX, TICKET_LIFETIME_MAX_S,
};
use crate::text;

/// The version that is issued and understood.
pub const VERSION: u8 = 1;

/// What the signature is over, before the ticket's own bytes, so that no other signature of the
/// same key is ever one of a ticket.
const CONTEXT: &[u8] = b"sterna relay ticket 1\0";

const FIXED_BYTES: usize = 131;
const _: () = assert!(
    FIXED_BYTES + 1 + FLEET_BYTES_MAX + 1 + 4 * GROUPS_MAX + SIGNATURE_BYTES <= TICKET_BYTES_MAX
);

/// Why a ticket is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// There are fewer bytes than the ticket says, or none.
    #[error("the ticket is cut short")]
    CutShort,
    /// The version is not understood here.
    #[error("the ticket has a version that is not understood")]
    Version,
    /// A field holds what no ticket holds, or something follows the signature.
    #[error("the ticket is not well formed")]
    Malformed,
    /// No key of the set has signed it.
    #[error("the ticket is signed by a key that is not known")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the ticket's signature is wrong")]
    BadSignature,
    /// It is made out to another fleet.
    #[error("the ticket is for another fleet")]
    Audience,
    /// It will be valid later.
    #[error("the ticket is not valid yet")]
    NotYet,
    /// It was valid earlier.
    #[error("the ticket has expired")]
    Expired,
}

/// Why a ticket cannot be issued as asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// It would be valid for longer than [`TICKET_LIFETIME_MAX_S`], or for no time at all.
    #[error("a ticket is valid for 1 to {TICKET_LIFETIME_MAX_S} seconds")]
    Lifetime,
}

/// What a device may use; 0 leaves it to the node's own caps.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateClass {
    /// Payload bytes a second.
    pub bytes_per_s: u64,
    /// Packets a second.
    pub packets_per_s: u32,
    /// Flows at a time.
    pub flows: u16,
}

/// Up to [`GROUPS_MAX`] groups, ascending and each once.
#[derive(Copy, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<GroupId>", into = "Vec<GroupId>")]
pub struct Groups {
    ids: [u32; GROUPS_MAX],
    len: u8,
}

/// More groups than a ticket holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ticket names at most {GROUPS_MAX} groups")]
pub struct TooManyGroups;

impl Groups {
    /// Takes groups in any order; a group that is named twice counts once.
    ///
    /// # Errors
    /// [`TooManyGroups`] for more than [`GROUPS_MAX`].
    pub fn new(groups: &[GroupId]) -> Result<Self, TooManyGroups> {
        let mut sorted: Vec<u32> = groups.iter().map(|group| group.0).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let len = u8::try_from(sorted.len()).map_err(|_| TooManyGroups)?;
        let mut made = Self {
            len,
            ..Self::default()
        };
        made.ids
            .get_mut(..sorted.len())
            .ok_or(TooManyGroups)?
            .copy_from_slice(&sorted);
        Ok(made)
    }

    /// The groups, ascending.
    pub fn iter(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.ids[..usize::from(self.len)]
            .iter()
            .copied()
            .map(GroupId)
    }

    /// Tells whether a device of these and a device of those groups share one.
    #[must_use]
    pub fn shares_one_with(&self, other: &Self) -> bool {
        self.iter()
            .any(|group| other.iter().any(|theirs| theirs == group))
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl TryFrom<Vec<GroupId>> for Groups {
    type Error = TooManyGroups;

    fn try_from(groups: Vec<GroupId>) -> Result<Self, TooManyGroups> {
        Self::new(&groups)
    }
}

impl From<Groups> for Vec<GroupId> {
    fn from(groups: Groups) -> Self {
        groups.iter().collect()
    }
}

/// What a ticket says.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The device's tenant; devices of different tenants never meet.
    pub tenant: TenantId,
    /// This ticket's own name.
    pub ticket_id: TicketId,
    /// The device's registration.
    pub device_id: DeviceId,
    /// The name by which its peers know the device.
    pub device_key: DeviceKey,
    /// What the device proves itself with.
    pub relay_key: RelayKey,
    /// From when it is valid, in seconds since 1970.
    pub not_before: u64,
    /// Until when it is valid, in seconds since 1970.
    pub expires: u64,
    /// What the device may use.
    pub rate: RateClass,
    /// The fleet that it is made out to.
    pub audience: Fleet,
    /// Whom the device may talk to.
    pub groups: Groups,
}

impl Ticket {
    /// Signs the ticket and returns its bytes.
    ///
    /// # Errors
    /// [`IssueError::Lifetime`] where no node would take it.
    pub fn issue(&self, key: &SigningKey) -> Result<Vec<u8>, IssueError> {
        let lifetime = self.expires.checked_sub(self.not_before);
        if !lifetime.is_some_and(|s| (1..=TICKET_LIFETIME_MAX_S).contains(&s)) {
            return Err(IssueError::Lifetime);
        }
        let mut bytes = self.encode(key.id());
        let signature = key.sign(&signed(&bytes));
        bytes.extend_from_slice(&signature);
        Ok(bytes)
    }

    /// Signs the ticket and returns it as base64url, for JSON.
    ///
    /// # Errors
    /// As [`Ticket::issue`].
    pub fn issue_text(&self, key: &SigningKey) -> Result<String, IssueError> {
        self.issue(key).map(|bytes| text::encode(&bytes))
    }

    /// Verifies a ticket that is shown to a node of `audience` at `unix_s`.
    ///
    /// `grace_s` is how long a ticket is taken after its expiry: 0, but for devices that the node
    /// knows while the control service cannot renew it.
    ///
    /// # Errors
    /// The first reason that applies, in the order of [`TicketError`].
    pub fn verify(
        bytes: &[u8],
        keys: &KeySet,
        audience: &Fleet,
        unix_s: u64,
        grace_s: u64,
    ) -> Result<Self, TicketError> {
        let (ticket, key_id, signed_len) = Self::decode(bytes)?;
        let key = keys.find(key_id).ok_or(TicketError::UnknownKey)?;
        let (body, signature) = bytes.split_at(signed_len);
        let signature = signature.try_into().map_err(|_| TicketError::Malformed)?;
        if !key.verify(&signed(body), signature) {
            return Err(TicketError::BadSignature);
        }
        if ticket.audience != *audience {
            return Err(TicketError::Audience);
        }
        if ticket.not_before > unix_s.saturating_add(CLOCK_SKEW_MAX_S) {
            return Err(TicketError::NotYet);
        }
        if ticket.expires.saturating_add(grace_s) <= unix_s {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }

    /// Reads a ticket without verifying it: for whoever holds it, never for whoever is shown it.
    ///
    /// # Errors
    /// [`TicketError::CutShort`], [`TicketError::Version`] or [`TicketError::Malformed`].
    pub fn read_unverified(bytes: &[u8]) -> Result<(Self, KeyId), TicketError> {
        Self::decode(bytes).map(|(ticket, key_id, _)| (ticket, key_id))
    }

    /// The bytes of a ticket that came as base64url.
    ///
    /// # Errors
    /// [`TicketError::Malformed`] where the text is none.
    pub fn bytes_of_text(given: &str) -> Result<Vec<u8>, TicketError> {
        text::decode(given)
            .filter(|bytes| bytes.len() <= TICKET_BYTES_MAX)
            .ok_or(TicketError::Malformed)
    }

    fn encode(&self, key_id: KeyId) -> Vec<u8> {
        let mut out = Vec::with_capacity(TICKET_BYTES_MAX);
        out.push(VERSION);
        out.extend_from_slice(&key_id.0);
        out.extend_from_slice(&self.tenant.0.to_be_bytes());
        out.extend_from_slice(&self.ticket_id.0.to_be_bytes());
        out.extend_from_slice(&self.device_id.0);
        out.extend_from_slice(&self.device_key.0);
        out.extend_from_slice(&self.relay_key.0);
        out.extend_from_slice(&self.not_before.to_be_bytes());
        out.extend_from_slice(&self.expires.to_be_bytes());
        out.extend_from_slice(&self.rate.bytes_per_s.to_be_bytes());
        out.extend_from_slice(&self.rate.packets_per_s.to_be_bytes());
        out.extend_from_slice(&self.rate.flows.to_be_bytes());
        let audience = self.audience.as_str();
        out.push(u8::try_from(audience.len()).expect("invariant: a fleet's name has 32 bytes"));
        out.extend_from_slice(audience.as_bytes());
        out.push(self.groups.len);
        for group in self.groups.iter() {
            out.extend_from_slice(&group.0.to_be_bytes());
        }
        out
    }

    /// The ticket, the id of its key, and how many bytes are signed.
    fn decode(bytes: &[u8]) -> Result<(Self, KeyId, usize), TicketError> {
        let mut fields = Fields(bytes);
        if fields.u8()? != VERSION {
            return Err(TicketError::Version);
        }
        let key_id = KeyId(fields.array()?);
        let ticket = Self {
            tenant: TenantId(fields.u64()?),
            ticket_id: TicketId(fields.u64()?),
            device_id: DeviceId(fields.array()?),
            device_key: DeviceKey(fields.array()?),
            relay_key: RelayKey(fields.array()?),
            not_before: fields.u64()?,
            expires: fields.u64()?,
            rate: RateClass {
                bytes_per_s: fields.u64()?,
                packets_per_s: u32::from_be_bytes(fields.array()?),
                flows: u16::from_be_bytes(fields.array()?),
            },
            audience: fields.fleet()?,
            groups: fields.groups()?,
        };
        let signed_len = bytes.len() - fields.0.len();
        match fields.0.len() {
            ..SIGNATURE_BYTES => return Err(TicketError::CutShort),
            SIGNATURE_BYTES => {}
            _ => return Err(TicketError::Malformed),
        }
        let lifetime = ticket.expires.checked_sub(ticket.not_before);
        if !lifetime.is_some_and(|s| (1..=TICKET_LIFETIME_MAX_S).contains(&s)) {
            return Err(TicketError::Malformed);
        }
        Ok((ticket, key_id, signed_len))
    }
}

fn signed(body: &[u8]) -> Vec<u8> {
    [CONTEXT, body].concat()
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], TicketError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TicketError::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TicketError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| TicketError::CutShort)
    }

    fn u8(&mut self) -> Result<u8, TicketError> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    fn u64(&mut self) -> Result<u64, TicketError> {
        self.array().map(u64::from_be_bytes)
    }

    fn fleet(&mut self) -> Result<Fleet, TicketError> {
        let len = usize::from(self.u8()?);
        if len > FLEET_BYTES_MAX {
            return Err(TicketError::Malformed);
        }
        let name = std::str::from_utf8(self.take(len)?).map_err(|_| TicketError::Malformed)?;
        Fleet::new(name).map_err(|_| TicketError::Malformed)
    }

    fn groups(&mut self) -> Result<Groups, TicketError> {
        let len = self.u8()?;
        let mut groups = Groups::default();
        if usize::from(len) > GROUPS_MAX {
            return Err(TicketError::Malformed);
        }
        groups.len = len;
        for place in 0..usize::from(len) {
            groups.ids[place] = u32::from_be_bytes(self.array()?);
        }
        let used = &groups.ids[..usize::from(len)];
        if used.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(TicketError::Malformed);
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests;
